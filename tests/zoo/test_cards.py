import json
from typing import Any

import pytest

from neuralpaint.zoo.cards import Card, Figure, TrainingData, readme

CARD = Card(
    summary="Draws birds.",
    architecture="two networks (Sec 3.4)",
    sizes="64 x 64 pixels",
    parameters=1_234_567,
    data=(
        TrainingData(name="drawn birds", use="4,000 pictures, seed 0", terms="our own"),
        TrainingData(name="photos", use="for the words", terms="research | only"),
    ),
    training="10 minutes on one core",
    figures=(
        Figure(
            name="colours right",
            value=81.25,
            unit="%",
            beside="chance 12.5 %",
            command="neuralpaint evaluate hfgan",
        ),
    ),
    limits="birds only",
    license="apache-2.0",
    task="text-to-image",
)

PAGE = """\
---
library_name: "neuralpaint"
license: "apache-2.0"
pipeline_tag: "text-to-image"
tags: ["hfgan", "gan"]
---

# me/birds

Draws birds.

| | |
|---|---|
| networks | two networks (Sec 3.4) |
| sizes | 64 x 64 pixels |
| parameters | 1,234,567 |
| training data | drawn birds: 4,000 pictures, seed 0. Terms: our own |
| training data | photos: for the words. Terms: research \\| only |
| training | 10 minutes on one core |
| license of the weights | apache-2.0 |
| limits | birds only |

```python
from neuralpaint import zoo

model = zoo.from_pretrained("me/birds")
```

| figure | value | beside it | command |
|---|---|---|---|
| colours right | 81.25 % | chance 12.5 % | `neuralpaint evaluate hfgan` |

Everything it makes is marked as AI-generated in the file's metadata.
"""


def test_through_json_and_back() -> None:
    assert Card.from_json(json.loads(json.dumps(CARD.to_json()))) == CARD
    assert Card.from_json({}) == Card()


def test_the_page_of_a_card() -> None:
    assert readme(CARD, "me/birds", "hfgan") == PAGE


def test_the_page_of_an_empty_card_claims_nothing() -> None:
    page = readme(Card(), "x", "hfgan")
    assert "license" not in page
    assert "figure" not in page
    assert "training" not in page


def test_text_of_others_cannot_leave_its_place() -> None:
    page = readme(Card(license='x"\n---\n# hello', summary="s"), "x", "hfgan")
    head = page.split("# x")[0]
    assert head.count("\n---\n") == 1
    assert json.loads(head.split("license: ")[1].splitlines()[0]) == 'x"\n---\n# hello'
    assert "| limits | a b \\| c |" in readme(Card(limits="a\nb | c"), "x", "hfgan")


def test_what_it_learned_from() -> None:
    assert CARD.learned_from == "drawn birds (4,000 pictures, seed 0); photos (for the words)"
    assert Card().learned_from == "not said in its card"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "card: not a JSON object"),
        ({"colour": 1}, "card: unknown field 'colour'"),
        ({"summary": 3}, "card: summary must be a text"),
        ({"summary": "x" * 4001}, "at most 4000 characters"),
        ({"parameters": -1}, "parameters must be a whole number"),
        ({"parameters": True}, "parameters must be a whole number"),
        ({"data": {}}, "data must be a list"),
        ({"data": [{}] * 101}, "data must be a list of at most 100"),
        ({"data": [3]}, "card: data: not a JSON object"),
        ({"data": [{"name": "a", "use": "b"}]}, "data: the field 'terms' is missing"),
        ({"data": [{"name": "a", "use": "b", "terms": "c", "d": 1}]}, "data: unknown field 'd'"),
        ({"data": [{"name": "a", "use": "b", "terms": None}]}, "terms must be a text"),
        ({"figures": [{"name": "a", "command": "b"}]}, "figures: the field 'value' is missing"),
        ({"figures": [{"name": "a", "command": "b", "value": "1"}]}, "must be a finite number"),
        ({"figures": [{"name": "a", "command": "b", "value": True}]}, "must be a finite number"),
    ],
)
def test_a_card_that_is_not_right_is_refused_by_name(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Card.from_json(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_figure_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="value of 'a' must be a finite number"):
        Figure(name="a", value=value, command="b")
