"""Measures of face ageing: by hand, and against scipy."""

import math

import pytest
import torch
from scipy import stats

from neuralpaint.zoo.face_boxes import BORDER, face_box, joined, outside
from neuralpaint.zoo.face_template import TEMPLATE
from neuralpaint.zoo.metrics.ageing import (
    change,
    compare,
    group_means,
    landmark_error,
    over_groups,
    pixel_error,
    share_of_people,
)

FACE = torch.from_numpy(TEMPLATE.copy()).float().flatten()[None]

# --- ages ----------------------------------------------------------------------------------------


def test_means_by_group() -> None:
    found = group_means(torch.tensor([1.0, 3, 10]), torch.tensor([0, 0, 9]))
    assert found[0] == 2
    assert found[9] == 10
    assert found[1:9].isnan().all()


def test_groups_count_alike() -> None:
    values = torch.tensor([1.0, 1, 1, 5])  # three of one group, one of another
    groups, people = torch.tensor([0, 0, 0, 4]), torch.arange(4)
    assert over_groups(values, groups, people).value == 3


def test_gaps_are_of_the_means() -> None:
    # Of each group the errors cancel, so nothing is left of them; a mean error would be 2.
    values, groups = torch.tensor([8.0, 12, 28, 32]), torch.tensor([1, 1, 3, 3])
    real = torch.full((10,), torch.nan)
    real[1], real[3] = 10.0, 30.0
    assert over_groups(values, groups, torch.arange(4), real).value == 0
    real[3] = 26.0
    assert over_groups(values, groups, torch.arange(4), real).value == 2
    real[3] = torch.nan  # no real face there
    assert over_groups(values, groups, torch.arange(4), real).value == 0


def test_the_interval_of_one_group_is_that_of_a_mean() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    found = over_groups(values, torch.full((50,), 2), torch.arange(50))
    half = 1.96 * values.std().item() / math.sqrt(50)
    assert found.high - found.value == pytest.approx(half, rel=1e-6)
    assert found.value - found.low == pytest.approx(half, rel=1e-6)


def test_pictures_of_one_person_are_no_independent_draws() -> None:
    values = torch.randn(20, generator=torch.Generator().manual_seed(0))
    once = over_groups(values, torch.zeros(20, dtype=torch.int64), torch.arange(20))
    many = over_groups(
        values.repeat(9), torch.arange(9).repeat_interleave(20), torch.arange(20).repeat(9)
    )
    assert many[:3] == pytest.approx(once[:3], rel=1e-6)


def test_one_person_tells_nothing_about_others() -> None:
    found = over_groups(torch.ones(3), torch.arange(3), torch.zeros(3, dtype=torch.int64))
    assert found[:3] == (1.0, -math.inf, math.inf)
    with pytest.raises(ValueError, match="no picture"):
        over_groups(torch.ones(0), torch.ones(0, dtype=torch.int64), torch.ones(0))


# --- tests ---------------------------------------------------------------------------------------


def test_comparison_is_that_of_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    one = 40 + 5 * torch.randn(30, generator=generator)
    two = 42 + 9 * torch.randn(17, generator=generator)
    found = compare(one, two, margin=4)
    first, second = one.double().numpy(), two.double().numpy()
    assert found.p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    lower = stats.ttest_ind(second + 4, first, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(second - 4, first, equal_var=False, alternative="less").pvalue
    assert found.equivalent == pytest.approx(max(lower, upper))
    interval = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    pooled = math.sqrt((29 * first.var(ddof=1) + 16 * second.var(ddof=1)) / 45)
    assert found.effect == pytest.approx((second.mean() - first.mean()) / pooled)


def test_a_large_p_is_not_equivalence() -> None:
    generator = torch.Generator().manual_seed(1)
    few = [50 + 12 * torch.randn(5, generator=generator) for _ in range(2)]
    little = compare(few[0], few[1])
    assert little.p > 0.05
    assert little.equivalent > 0.05  # five faces show neither
    many = [50 + 12 * torch.randn(4000, generator=generator) for _ in range(2)]
    assert compare(many[0], many[1]).equivalent < 1e-6
    shifted = compare(many[0], many[1] + 6)
    assert shifted.p < 1e-6
    assert shifted.equivalent > 0.999
    assert shifted.effect == pytest.approx(0.5, abs=0.06)
    assert (shifted.low <= 3) is (shifted.equivalent < 0.05)


def test_constants_are_certain() -> None:
    same, other = torch.full((4,), 30.0), torch.full((3,), 32.0)
    assert compare(same, same)[3:] == (0.0, 1.0, 0.0)
    assert compare(same, other)[3:] == (math.inf, 0.0, 0.0)
    assert compare(same, other, margin=1)[3:] == (math.inf, 0.0, 1.0)
    with pytest.raises(ValueError, match="cannot compare 1 and 4"):
        compare(same[:1], same)
    with pytest.raises(ValueError, match="margin of 0"):
        compare(same, same, margin=0)


def test_shares_of_people() -> None:
    hits, people = torch.tensor([True, True, True, False] * 5), torch.arange(20) // 4
    found = share_of_people(hits, people)
    assert found.value == 0.75
    reference = stats.binomtest(3, 4).proportion_ci(method="wilson")  # of four people
    four = share_of_people(hits[:16], people[:16])
    assert (four.low, four.high) == pytest.approx((reference.low, reference.high), abs=1e-4)
    sure = share_of_people(torch.ones(20, dtype=torch.bool), people)
    assert sure.high == 1
    assert sure.low == pytest.approx(stats.binomtest(5, 5).proportion_ci(method="wilson").low, 1e-4)


# --- pictures ------------------------------------------------------------------------------------


def test_pixel_error_does_not_wrap_around() -> None:
    black = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = black.clone()
    other[1, 0] = 255
    assert pixel_error(black, other).tolist() == [0, 85]
    assert pixel_error(other, black).tolist() == [0, 85]
    with pytest.raises(ValueError, match="uint8"):
        pixel_error(black.float(), other.float())
    with pytest.raises(ValueError, match="shape"):
        pixel_error(black, other[:1])


def test_landmark_error_in_pixels() -> None:
    moved = FACE.clone()
    moved[0, ::2] += 0.03
    moved[0, 1::2] -= 0.04
    found = landmark_error(torch.cat([FACE, moved, FACE * torch.nan]), FACE.expand(3, -1), 128)
    assert found[:2].tolist() == pytest.approx([0, 0.05 * 128], abs=1e-4)
    assert found[2].isnan()


def test_a_face_box_has_the_forehead() -> None:
    left, top, right, bottom = face_box(FACE)[0].tolist()
    x, y = FACE[0, ::2], FACE[0, 1::2]
    assert left == pytest.approx(float(x.min()) - BORDER, abs=1e-6)
    assert right == pytest.approx(float(x.max()) + BORDER, abs=1e-6)
    assert bottom == pytest.approx(float(y.max()) + BORDER, abs=1e-6)
    chin_to_brow = float(y.max() - y.min())
    assert bottom - top == pytest.approx(1.5 * chin_to_brow + 2 * BORDER, abs=1e-5)


def test_change_outside_a_box() -> None:
    boxes = torch.tensor([[0.25, 0.25, 0.75, 0.5], [0, 0, 1, 1]], dtype=torch.float64)
    where = outside(boxes, 4)
    assert where[0].int().tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert not where[1].any()
    before = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    inside = before.clone()
    inside[:, :, 1, 1:3] = 255
    found = change(before, inside, where)
    assert found[0] == 0
    assert found[1].isnan()  # nothing lies outside
    inside[0, :, 0, 0] = 86
    assert change(before, inside, where)[0] == pytest.approx(14 / 14)
    both = joined(boxes[:1], torch.tensor([[0.5, 0.1, 0.6, 0.9]], dtype=torch.float64))
    assert both.tolist() == [[0.25, 0.1, 0.75, 0.9]]
