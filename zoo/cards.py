"""Model cards: what a model is, what it learned from and how well it does, as data.

The card lies in config.json beside the weights, and is written out as README.md, the page that the
Hugging Face Hub shows. A figure stands there only with the command that prints it.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

MAX_TEXT = 4000
MAX_ITEMS = 100

Fields = TypeVar("Fields", bound="TrainingData | Figure | Card")


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Something that was learned from.

    Attributes:
        name: of the data set.
        use: what of it was taken, and for what.
        terms: on which it is given, and where that was read.
    """

    name: str
    use: str
    terms: str

    def __post_init__(self) -> None:
        _check_texts(self)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured figure.

    Attributes:
        name: of what was measured, on which pictures.
        value: finite.
        command: that prints it.
        unit: of the value.
        beside: what to compare it to: floor, ceiling, chance.
    """

    name: str
    value: float
    command: str
    unit: str = ""
    beside: str = ""

    def __post_init__(self) -> None:
        _check_texts(self)
        number = isinstance(self.value, (int, float)) and not isinstance(self.value, bool)
        if not number or not math.isfinite(self.value):
            raise ValueError(f"card: value of {self.name!r:.80} must be a finite number")


@dataclass(frozen=True, kw_only=True)
class Card:
    """What there is to say about a model.

    Attributes:
        summary: what it does, in a sentence or two.
        architecture: networks, with the section of the thesis.
        sizes: what goes in and comes out.
        parameters: how many numbers it has; `Model.save_pretrained` counts them.
        data: what it learned from.
        training: what was trained in which order, how long and on what.
        figures: measured ones.
        limits: what it cannot do.
        license: identifier of the Hub for the weights, as "apache-2.0".
        task: of the Hub, as "text-to-image".
    """

    summary: str = ""
    architecture: str = ""
    sizes: str = ""
    parameters: int = 0
    data: tuple[TrainingData, ...] = ()
    training: str = ""
    figures: tuple[Figure, ...] = ()
    limits: str = ""
    license: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        _check_texts(self)
        if type(self.parameters) is not int or self.parameters < 0:
            raise ValueError("card: parameters must be a whole number, 0 or more")

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for `from_json`."""
        values = asdict(self)
        return {**values, "data": list(values["data"]), "figures": list(values["figures"])}

    @classmethod
    def from_json(cls, values: object) -> "Card":
        """Read what anyone may have written.

        Args:
            values: fields by name; those that are absent are empty.

        Returns:
            The card.

        Raises:
            ValueError: an unknown field (names it), or a value of another type or out of range.
        """
        given = _known(cls, values, "card")
        parts: dict[str, type[TrainingData] | type[Figure]]
        parts = {"data": TrainingData, "figures": Figure}
        for name, part in parts.items():
            items = given.get(name, [])
            if not isinstance(items, list) or len(items) > MAX_ITEMS:
                raise ValueError(f"card: {name} must be a list of at most {MAX_ITEMS}")
            given[name] = tuple(_made(part, item, f"card: {name}") for item in items)
        return cls(**given)

    @property
    def learned_from(self) -> str:
        """What it was trained on, in a line."""
        if not self.data:
            return "not said in its card"
        return "; ".join(f"{item.name} ({item.use})" for item in self.data)


def readme(card: Card, name: str, kind: str) -> str:
    """The card as the page that the Hub shows.

    Args:
        card: of the model.
        name: of the model, the heading.
        kind: of the model, a command of `neuralpaint generate`.

    Returns:
        Markdown with the Hub's header.
    """
    header: dict[str, object] = {"library_name": "neuralpaint", "tags": [kind, "gan"]}
    if card.license:
        header["license"] = card.license
    if card.task:
        header["pipeline_tag"] = card.task
    # JSON is YAML, and its quotes keep any text a text.
    lines = ["---", *(f"{key}: {json.dumps(header[key])}" for key in sorted(header)), "---", ""]
    lines += [f"# {name}", ""]
    if card.summary:
        lines += [card.summary, ""]
    rows = [
        ("networks", card.architecture),
        ("sizes", card.sizes),
        ("parameters", f"{card.parameters:,}" if card.parameters else ""),
        *(("training data", f"{i.name}: {i.use}. Terms: {i.terms}") for i in card.data),
        ("training", card.training),
        ("license of the weights", card.license),
        ("limits", card.limits),
    ]
    lines += ["| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in rows if value]
    lines += ["", "```python", "from neuralpaint import zoo", ""]
    lines += [f'model = zoo.from_pretrained("{name}")', "```"]
    if card.figures:
        lines += ["", "| figure | value | beside it | command |", "|---|---|---|---|"]
        for figure in card.figures:
            value = f"{figure.value:.6g} {figure.unit}".rstrip()
            cells = (_cell(figure.name), value, _cell(figure.beside), f"`{_cell(figure.command)}`")
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "Everything it makes is marked as AI-generated in the file's metadata."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _known(cls: type[Fields], values: object, what: str) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise ValueError(f"{what}: not a JSON object")
    names = {field.name for field in fields(cls)}
    for name in values:
        if name not in names:
            raise ValueError(f"{what}: unknown field {name!r:.80}")
    return dict(values)


def _made(cls: type[Fields], values: object, what: str) -> Fields:
    given = _known(cls, values, what)
    for field in fields(cls):
        if field.default is MISSING and field.name not in given:
            raise ValueError(f"{what}: the field {field.name!r} is missing")
    return cls(**given)


def _check_texts(card: "TrainingData | Figure | Card") -> None:
    for field in fields(card):
        value = getattr(card, field.name)
        if field.type in (str, "str") and (not isinstance(value, str) or len(value) > MAX_TEXT):
            raise ValueError(
                f"card: {field.name} must be a text of at most {MAX_TEXT} characters, "
                f"got {value!r:.60}"
            )
