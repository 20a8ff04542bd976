"""Figures of talking faces, with values by hand, and intervals of drawing other clips."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint.zoo import faces
from neuralpaint.zoo.data.talking import WordSpan
from neuralpaint.zoo.ldcgan_parts import mirrored
from neuralpaint.zoo.metrics.bootstrap import Bootstrap, Sums, sums_of
from neuralpaint.zoo.metrics.pixels import psnr, ssim
from neuralpaint.zoo.metrics.talking import (
    correlation,
    decibels,
    distance,
    jitter,
    mouth_of,
    mouth_region,
    opening,
    similarity,
    square_error,
)
from neuralpaint.zoo.metrics.talking_found import ClipFinder
from neuralpaint.zoo.metrics.talking_reading import Read, slot_table, word_windows
from neuralpaint.zoo.procedural_talking import take
from neuralpaint.zoo.talking.geometry import TEMPLATE

FACE = torch.from_numpy(TEMPLATE.copy()).float()


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


# --- frames --------------------------------------------------------------------------------------


def test_the_mouths_box_holds_the_lips_of_all_frames() -> None:
    points = FACE.repeat(3, 1, 1)
    points[1, 57, 1] += 0.1  # the lower lip goes down in one frame
    region = mouth_region(points.flatten(1), 128)
    lips = points[:, 48:] * 128
    width = float(lips[..., 0].max() - lips[..., 0].min())
    assert region.left == round(float(lips[..., 0].min()) - width / 4)
    assert region.right == round(float(lips[..., 0].max()) + width / 4)
    assert region.bottom == round(float(lips[..., 1].max()) + width / 4)
    assert region.top == round(float(lips[..., 1].min()) - width / 4)
    frames = torch.arange(128 * 128).view(1, 1, 128, 128)
    part = region.of(frames)
    assert part[0, 0, 0, 0] == region.top * 128 + region.left
    assert part.shape[2:] == (region.bottom - region.top, region.right - region.left)


@given(st.integers(11, 64), st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0.001, 1))
def test_the_box_holds_a_window_of_ssim_wherever_the_mouth_is(
    size: int, x: float, y: float, scale: float
) -> None:
    points = (FACE - 0.5) * scale + torch.tensor([x, y])
    region = mouth_region(points.flatten()[None], size)
    for low, high in ((region.top, region.bottom), (region.left, region.right)):
        assert 0 <= low <= high - 11
        assert high <= size


def test_quality_is_that_of_pixels() -> None:
    real, made = noise(40, 3, 16, 12), noise(40, 3, 16, 12, seed=1)
    assert similarity(made, real).equal(ssim(made.double() / 255, real.double() / 255))
    found = decibels(square_error(made, real))
    assert torch.allclose(found, psnr(made.double() / 255, real.double() / 255))
    assert found.mean() == pytest.approx(7.8, abs=0.2)  # two noises: a mean square of 1 / 6


def test_a_copy_has_the_psnr_of_rounding_and_no_infinite_one() -> None:
    real = noise(2, 3, 12, 12)
    assert decibels(square_error(real, real)).tolist() == pytest.approx([58.92] * 2, abs=0.01)
    assert similarity(real, real).tolist() == pytest.approx([1, 1])
    # 8 bits do not wrap around.
    white, black = torch.full((1, 3, 12, 12), 255), torch.zeros(1, 3, 12, 12)
    assert square_error(white.to(torch.uint8), black.to(torch.uint8)).item() == 1


def test_frames_that_cannot_be_compared() -> None:
    for other in (noise(2, 3, 12, 13), noise(1, 3, 12, 12), noise(2, 3, 12, 12).float()):
        for figure in (square_error, similarity):
            with pytest.raises(ValueError, match="frames"):
                figure(noise(2, 3, 12, 12), other)


# --- landmarks -----------------------------------------------------------------------------------


def moved(*steps: tuple[float, float]) -> Tensor:
    """The face at places."""
    return torch.stack([(FACE + torch.tensor(step)).flatten() for step in steps])


def test_landmark_distance_by_hand() -> None:
    real, made = moved((0, 0), (0, 0)), moved((0, 0), (0.03, 0.04))
    assert distance(made, real, 100).tolist() == pytest.approx([0, 5], abs=1e-4)
    made = real.clone()
    made[:, 2 * 48] += 0.2  # one corner of the mouth, by 20 pixels
    assert distance(made, real, 100).tolist() == pytest.approx([20 / 68] * 2, abs=1e-4)
    lips = distance(mouth_of(made), mouth_of(real), 100)
    assert lips.tolist() == pytest.approx([20 / 20] * 2, abs=1e-4)
    real[1] = torch.nan
    assert distance(made, real, 100).isnan().tolist() == [False, True]


def test_jitter_by_hand() -> None:
    """Even movement has none; with steps of t^2 pixels the speed changes by 2 at every frame."""
    even = moved(*((0.01 * t, 0.0) for t in range(6)))
    assert jitter(even, 100).tolist() == pytest.approx([0] * 4, abs=1e-4)
    faster = moved(*((0.0, 0.01 * t * t) for t in range(6)))
    assert jitter(faster, 100).tolist() == pytest.approx([2] * 4, abs=1e-4)
    shaking = moved(*((0.01 * (t % 2), 0.0) for t in range(6)))
    assert jitter(shaking, 100).tolist() == pytest.approx([2] * 4, abs=1e-4)
    assert len(jitter(even[:2], 100)) == 0


def test_opening_and_its_course() -> None:
    face = FACE.repeat(4, 1, 1)
    face[:, (61, 62, 63)] = torch.tensor([[0.4, 0.6], [0.5, 0.6], [0.6, 0.6]])
    face[:, (67, 66, 65)] = torch.tensor([[0.4, 0.6], [0.5, 0.6], [0.6, 0.6]])
    face[:, (67, 66, 65), 1] += torch.tensor([0, 0.1, 0.3, 0.2])[:, None]
    found = opening(face.flatten(1))
    assert found.tolist() == pytest.approx([0, 0.1, 0.3, 0.2], abs=1e-6)
    assert correlation(found, found).item() == pytest.approx(1)
    assert correlation(1 - 2 * found, found).item() == pytest.approx(-1)
    assert correlation(torch.full((4,), 0.2), found).item() == 0
    assert correlation(found, torch.full((4,), 0.2)).isnan()
    other = torch.tensor([0.1, 0.0, 0.2, 0.5])
    expected = torch.corrcoef(torch.stack([found, other.double()]))[0, 1]
    assert correlation(other, found).item() == pytest.approx(expected.item())


# --- intervals -----------------------------------------------------------------------------------


def normal(clips: int, seed: int) -> Tensor:
    return torch.randn(clips, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_interval_is_the_normal_one_where_clips_are_alike() -> None:
    values = normal(400, 0)
    sums = Sums(values * 10 + 5, torch.ones(400, dtype=torch.float64))
    draw = Bootstrap(400)
    found, half = draw.measure(sums), 1.96 * 10 * float(values.std()) / 20
    assert found.value == pytest.approx(float(sums.total.mean()))
    assert found.low == pytest.approx(found.value - half, abs=half / 8)
    assert found.high == pytest.approx(found.value + half, abs=half / 8)
    assert draw.error(sums) == pytest.approx(half / 1.96, rel=0.06)
    assert Bootstrap(400).measure(sums) == found
    assert Bootstrap(400, seed=1).measure(sums) != found


def test_words_of_one_clip_are_no_independent_draws() -> None:
    """Six equal answers a clip tell no more than one."""
    hits = (normal(200, 1) > 0).double()
    one = Sums(hits, torch.ones_like(hits))
    six = Sums(6 * hits, torch.full_like(hits, 6))
    draw = Bootstrap(200)
    assert draw.error(six) == pytest.approx(draw.error(one))
    share = hits.mean().item()
    assert draw.error(six) == pytest.approx(math.sqrt(share * (1 - share) / 200), rel=0.06)


def test_differences_are_paired() -> None:
    base, ones = 100 * normal(100, 2), torch.ones(100, dtype=torch.float64)
    step = 1 + 0.1 * normal(100, 3)
    draw = Bootstrap(100)
    found = draw.difference(Sums(base + step, ones), Sums(base, ones))
    assert found.value == pytest.approx(float(step.mean()))
    assert found.error == pytest.approx(0.01, rel=0.25)
    assert found.low < 1 < found.high
    assert found.errors == pytest.approx(found.value / found.error)
    assert found.share == 1
    assert draw.difference(Sums(base, ones), Sums(base, ones)).value == 0


def test_clips_of_different_lengths_and_without_values() -> None:
    sums = sums_of([torch.tensor([1.0, 3]), torch.tensor([8.0, torch.nan]), torch.zeros(0)])
    assert sums.total.tolist() == [4, 8, 0]
    assert sums.number.tolist() == [2, 1, 0]
    draw = Bootstrap(3)
    found = draw.measure(sums)
    assert found.value == 4
    assert (found.low, found.high) == (2, 8)  # of draws that hold one of the two alone
    lone = sums_of([torch.tensor([1.0]), torch.zeros(0), torch.zeros(0)])
    assert draw.measure(lone) == (1, -math.inf, math.inf, None)
    assert draw.error(lone) == draw.difference(lone, sums).error == math.inf
    with pytest.raises(ValueError, match="no clip has a value"):
        draw.measure(sums_of([torch.zeros(0)] * 3))
    with pytest.raises(ValueError, match="expected 3"):
        draw.measure(sums_of([torch.ones(1)] * 2))


# --- words ---------------------------------------------------------------------------------------


def test_windows_are_centred_on_words_and_lie_in_the_clip() -> None:
    words = (
        *(WordSpan("sil", 0, 10), WordSpan("bin", 1, 3), WordSpan("blue", 28.6, 34.0)),
        *(WordSpan("odd", 40, 44), WordSpan("now", 70, 74.5)),
    )
    found = word_windows(words, 75, ("bin", "blue", "now", "sil"))
    assert found.labels.tolist() == [0, 1, 2]  # neither silence nor a word that is unknown
    assert found.rows[:, 0].tolist() == [0, 23, 59]
    assert found.rows[:, -1].tolist() == [15, 38, 74]
    short = word_windows(words[1:2], 10, ("bin",))
    assert short.rows.tolist() == [[*range(10), *[9] * 6]]
    assert word_windows((), 10, ("bin",)).rows.shape == (0, 16)


def test_accuracy_by_hand() -> None:
    labels = torch.tensor([0, 1, 0, 2])
    read = Read(
        labels,
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([0, 1, 0, 1]),
        {"who": torch.tensor([0, 0, 0, 2])},
    )
    assert read.sums("who", 3).total.tolist() == [1, 2, 0]
    assert read.sums("who", 3).number.tolist() == [2, 2, 0]
    assert read.chance == 0.5
    assert read.balanced("who") == pytest.approx(2 / 3)
    assert read.by_slot("who") == [100, 50]
    assert read.chance_by_slot() == [100, 50]
    uneven = read._replace(clips=torch.tensor([0, 0, 0, 1]))
    assert slot_table(uneven) is None


# --- dlib ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not faces.has_dlib(), reason="needs the extra `faces`")
def test_dlib_finds_landmarks_in_a_drawn_clip() -> None:
    clip = take(identity=4)
    frames, truth = torch.from_numpy(clip.frames)[::4], torch.from_numpy(clip.landmarks)[::4]
    finder = ClipFinder()
    found = finder.find(frames, truth[0])
    assert found.shape == truth.shape
    assert distance(found, truth, 128).mean() < 4  # it was trained on photographs
    again = mirrored(finder.find(frames.flip(3), mirrored(truth[:1])[0]))
    apart = distance(again, found, 128)
    assert apart.mean() < 1.5
    # It follows the mouth, and not whole pixels.
    assert correlation(opening(found), opening(truth)) > 0.6
    assert len((found * 128).frac().unique()) > 2
    assert finder.detect(torch.cat([frames[:2], torch.full_like(frames[:1], 128)])).tolist() == [
        True,
        True,
        False,
    ]
