"""Intervals against scipy, agreement with prompts by hand, an evaluation as a table."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuralpaint.zoo.metrics.agreement import agreement
from neuralpaint.zoo.metrics.measures import (
    Evaluation,
    Figure,
    Measure,
    mean_of,
    score_of,
    share_of,
    table,
    text,
)

# --- intervals -----------------------------------------------------------------------------------


@given(hits=st.integers(0, 400), misses=st.integers(0, 400))
def test_shares_have_wilson_intervals(hits: int, misses: int) -> None:
    count = hits + misses
    if not count:
        return
    found = share_of(torch.arange(count) < hits)
    expected = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert found.value == pytest.approx(hits / count)
    assert found[1:3] == pytest.approx((expected.low, expected.high), abs=1e-4)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_means_have_normal_intervals() -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0))
    low, high = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    found = mean_of(values, with_sd=True)
    assert found[:3] == pytest.approx((values.mean().item(), low, high), abs=1e-5)
    assert found.sd == pytest.approx(values.std().item())
    assert mean_of(values).sd is None
    assert mean_of(torch.ones(1)) == (1, 1, 1, None)


def test_parts_have_student_intervals() -> None:
    values = torch.tensor([3.0, 4, 4, 5, 9]).double()
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    found = score_of(5.0, values.std(correction=0).item(), 5)
    assert found[:3] == pytest.approx((5, low, high))


# --- agreement -----------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    predicted = {
        "breast": torch.tensor([1, 2, 3, 0]),
        "wing": torch.tensor([5, 5, 5, 5]),
        "beak": torch.tensor([0, 0, 0, 0]),
    }
    claims = [
        {"breast": 1, "wing": 4},  # half right
        {"breast": 2, "wing": 5},  # right
        {"beak": 1},  # nothing that was asked about
        {"wing": 0},  # wrong
    ]
    hits, shares, whole = agreement(predicted, claims, ["breast", "wing"])
    assert {name: values.tolist() for name, values in hits.items()} == {
        "breast": [True, True],
        "wing": [False, True, False],
    }
    assert shares.tolist() == [0.5, 1, 0]
    assert whole.tolist() == [False, True, False]


def test_agreement_at_floor_and_ceiling() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 8, (4000,), generator=generator)
    claims = [{"breast": value} for value in truth.tolist()]
    guess = torch.randint(0, 8, (4000,), generator=generator)
    assert agreement({"breast": truth}, claims, ["breast"])[1].mean() == 1
    floor = agreement({"breast": guess}, claims, ["breast"])[1].mean().item()
    assert floor == pytest.approx(1 / 8, abs=0.02)


# --- table ---------------------------------------------------------------------------------------


FACTS = {"model": "toy", "count": 7, "size": 64, "set": "a set", "judged_at": 32}


def an_evaluation() -> Evaluation:
    colours = Figure(
        "colours",
        "%",
        Measure(0.805, 0.79, 0.82),
        {"prompts of others": Measure(0.13, 0.12, 0.14)},
        {"real pictures": Measure(1, 0.99, 1)},
        count=7,
        chance=0.125,
    )
    distance = Figure(
        "FID(classifier)",
        "score",
        Measure(3.14159, 3, math.inf),
        {"noise": Measure(400, 390, 410)},
        {"other real pictures": Measure(0.5, 0.4, 0.6)},
        higher=False,
    )
    return Evaluation(FACTS, (colours, distance), ("a note",))


def test_table() -> None:
    lines = table(an_evaluation()).splitlines()
    assert lines[0].startswith("toy: 7 images of 64 pixels, one for each prompt of a set; judged")
    assert lines[4] == (
        "| colours | 80.5 % [79.0, 82.0] | 13.0 % [12.0, 14.0] (prompts of others); chance 12.5 % "
        "| 100.0 % [99.0, 100.0] (real pictures) |"
    )
    assert lines[5].startswith("| FID(classifier), lower is better | 3.14 [3.00, inf] |")
    assert lines[-1] == "- a note"


def test_measures_as_people_write_them() -> None:
    assert text(Measure(0.25281, 0.24, 0.26, 0.165), "cos") == "0.253 [0.240, 0.260], sd 0.165"
    assert text(Measure(4.476, 4.4, 4.5, 0.04), "score") == "4.48 [4.40, 4.50], sd 0.04"


def test_json_knows_no_infinity() -> None:
    values = json.loads(json.dumps(an_evaluation().to_json(), allow_nan=False))
    assert values["figures"][1]["generated"] == {
        "value": 3.14159,
        "low": 3,
        "high": None,
        "sd": None,
    }
    assert values["figures"][0]["floors"]["prompts of others"]["value"] == 0.13
    assert values["model"] == "toy"
    assert values["notes"] == ["a note"]


def test_figures_are_found_by_name() -> None:
    evaluation = an_evaluation()
    assert evaluation["colours"].generated.value == 0.805
    with pytest.raises(KeyError, match="there are colours, FID"):
        evaluation["IS"]
