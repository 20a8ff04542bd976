"""Contact sheets: where pictures and titles lie, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpaint.backend.sheet import GAP, HEAD, SHORT_SIDE, sheet


def flat(value: float, height: int = 10, width: int = 20) -> np.ndarray:
    return np.full((height, width, 3), value, np.float32)


def test_pictures_lie_in_columns() -> None:
    shades = [[0.0, 0.2, 0.4], [0.6, 0.8, 1.0]]
    page = sheet([[flat(shade) for shade in column] for column in shades], ["", ""], side=10)
    # 2 columns of 20 pixels and 3 gaps of 8; 22 and 8 above 3 rows of 10 pixels and 8
    assert page.shape == (84, 64, 3)
    assert page.dtype == np.uint8
    covered = np.zeros((84, 64), bool)
    for column, values in enumerate(shades):
        for row, value in enumerate(values):
            place = np.s_[30 + 18 * row : 40 + 18 * row, 8 + 28 * column : 28 + 28 * column]
            assert (page[place] == round(255 * value)).all()
            covered[place] = True
    assert (page[~covered] == 255).all()


def test_titles_stand_above_their_columns() -> None:
    page = sheet([[flat(1)], [flat(1)]], ["", "ab"], side=30)
    assert page.shape == (22 + 8 + 38, 2 * 68 + 8, 3)
    dark = page.min(-1) < 128
    assert dark[:30, 76:].any()
    assert not dark[:, :76].any()
    assert not dark[30:].any()


def test_small_pictures_are_enlarged_and_large_ones_shrunk() -> None:
    for side in (3, 500):
        page = sheet([[flat(0.5, side, 2 * side)]], ["a"])
        assert page.shape == (SHORT_SIDE + GAP + HEAD + GAP, 2 * SHORT_SIDE + 2 * GAP, 3)


@settings(max_examples=20)
@given(height=st.integers(1, 40), width=st.integers(1, 40), side=st.integers(1, 30))
def test_any_shape(height: int, width: int, side: int) -> None:
    page = sheet([[flat(0, height, width)] * 2], ["title"], side)
    zoom = side / min(height, width)
    rows, columns = max(1, round(height * zoom)), max(1, round(width * zoom))
    assert page.shape == (2 * (rows + 8) + 30, columns + 16, 3)
    assert (page[30 : 30 + rows, 8 : 8 + columns] == 0).all()


def test_a_title_for_each_column() -> None:
    with pytest.raises(ValueError, match="zip"):
        sheet([[flat(0)], [flat(0)]], ["one"])
