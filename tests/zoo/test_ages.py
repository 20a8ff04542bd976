"""Age groups: borders, names, codes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralpaint.zoo.ages import (
    CENTRES,
    GROUPS,
    OLDEST,
    age_code,
    centre,
    group_of,
    groups_of,
    parse_group,
)


@pytest.mark.parametrize(
    ("age", "name"),
    [
        *((0, "0-5"), (5, "0-5"), (6, "6-10"), (10, "6-10"), (11, "11-20"), (20, "11-20")),
        *((21, "21-30"), (40, "31-40"), (41, "41-50"), (60, "51-60"), (70, "61-70")),
        *((80, "71-80"), (81, "81+"), (116, "81+"), (10.5, "6-10"), (80.99, "71-80")),
    ],
)
def test_borders(age: float, name: str) -> None:
    assert GROUPS[group_of(age)] == name


@given(st.integers(0, OLDEST))
def test_a_group_holds_the_ages_that_its_name_says(age: int) -> None:
    first, _, last = GROUPS[group_of(age)].replace("+", f"-{OLDEST}").partition("-")
    assert int(first) <= age <= int(last)


def test_many_at_once_are_as_one_by_one() -> None:
    ages = torch.arange(OLDEST + 1)
    assert groups_of(ages).tolist() == [group_of(age) for age in ages.tolist()]
    assert groups_of(ages.float() + 0.5).tolist() == groups_of(ages).tolist()


def test_numpy_numbers_are_ages() -> None:
    ages: list[Any] = [np.int64(65), np.float32(65), np.float64(65.5)]
    assert [group_of(age) for age in ages] == [7, 7, 7]


@pytest.mark.parametrize("age", [-1, -0.1, 117, 10**9, math.nan, math.inf])
def test_ages_out_of_range(age: float) -> None:
    with pytest.raises(ValueError, match="use 0 to 116 years"):
        group_of(age)


@pytest.mark.parametrize("age", ["70", None, True, [70]])
def test_what_is_no_age(age: Any) -> None:
    with pytest.raises(TypeError, match="number of years"):
        group_of(age)


def test_names() -> None:
    assert [parse_group(name) for name in GROUPS] == list(range(10))
    assert parse_group(" 61–70 ") == 7
    assert parse_group("80+") == parse_group("81+") == 9


@pytest.mark.parametrize("text", ["", "61", "60-70", "old", 7, None, "x" * 10**5])
def test_unknown_names(text: Any) -> None:
    with pytest.raises(ValueError, match="unknown age group") as caught:
        parse_group(text)
    assert len(str(caught.value)) < 200


def test_a_centre_lies_in_its_group() -> None:
    assert [group_of(centre(group)) for group in range(10)] == list(range(10))
    assert list(CENTRES) == sorted(CENTRES)
    for group in (-1, 10):
        with pytest.raises(ValueError, match="out of range"):
            centre(group)


def test_codes() -> None:
    code = age_code(torch.tensor([0, 9, 3]))
    assert code.dtype == torch.float32
    assert code.shape == (3, 10)
    assert code.argmax(1).tolist() == [0, 9, 3]
    assert code.sum().item() == 3
