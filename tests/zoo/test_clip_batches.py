"""Batches of clips: windows about words, draws, views; what stays in the file is not read."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from neuralpaint.zoo.data.talking import Clips, WordSpan
from neuralpaint.zoo.talking.geometry import TEMPLATE, opening
from neuralpaint.zoo.train.avwnet import chosen, other_rows
from neuralpaint.zoo.train.clip_batches import (
    VIEW_DRAWS,
    ClipBatches,
    Words,
    check_side,
    face_distance,
    mouth_distance,
    reflected,
    tinted,
    views,
)

CPU = torch.device("cpu")
Toys = Callable[..., Clips]


def test_the_sides_of_the_split(toys: Toys) -> None:
    data = toys(6, 2, size=16)
    here, held = ClipBatches(data, False, CPU), ClipBatches(data, True, CPU)
    assert (len(here), len(held), here.size) == (4, 2, 16)
    assert held.rows(0).tolist() == list(range(128, 160))
    assert torch.equal(held.frames(held.rows(1)), data.frames[160:192] / 127.5 - 1)
    assert torch.equal(here.landmarks(here.rows(3)), data.landmarks[96:128])
    assert torch.equal(here.windows(here.rows(3)), data.windows[96:128])
    part = here.frames(torch.tensor([[3, 5]]), (slice(2, 6), slice(1, 4)))
    assert torch.equal(part, data.frames[[3, 5], :, 2:6, 1:4][None] / 127.5 - 1)
    with pytest.raises(ValueError, match="no clip to train on has 33 frames"):
        ClipBatches(data, False, CPU, 33)
    with pytest.raises(ValueError, match="no clip held out has 1 frames"):
        ClipBatches(toys(2, 0, size=16), True, CPU)
    with pytest.raises(ValueError, match="frames of 16 pixels, the networks have 128"):
        check_side(data)


@given(seed=some.integers(0, 2**32 - 1), frames=some.integers(1, 32))
def test_windows_lie_within_their_clips(toys: Toys, seed: int, frames: int) -> None:
    clips = ClipBatches(toys(6, 2, size=16), True, CPU)
    generator = torch.Generator().manual_seed(seed)
    index = clips.draw(20, generator)
    for rows in (
        clips.draw_windows(index, frames, generator),
        clips.draw_rows(index, generator)[:, None],
        clips.around(index, 40 * torch.rand(20, generator=generator) - 4, frames),
    ):
        assert torch.equal((rows - 128) // 32, index[:, None].expand_as(rows))
        assert (rows.diff(dim=1) == 1).all()


def test_words_have_their_window_about_the_middle(toys: Toys) -> None:
    data = toys(2, 1, size=16)
    span = (WordSpan("bin", 10.0, 15.0), WordSpan("new", 1, 2), WordSpan("lay", 30.5, 32.0))
    clips = ClipBatches(replace(data, words=(span, *data.words[1:])), False, CPU)
    words = Words(clips, ("lay", "bin"), 8)
    assert words.labels.tolist() == [1, 0]  # "new" is not asked for
    both = words.rows(torch.arange(2))
    assert both[0].tolist() == list(range(8, 16))  # 8 + 8 / 2 is 12, the frame of 12.5
    assert both[1].tolist() == list(range(24, 32))  # moved to lie within the clip
    assert words.rows(torch.tensor([0]), late=2.0)[0, 0] == 10


def test_balanced_draws_are_of_each_word_as_often(toys: Toys) -> None:
    data = toys(1, 0, size=16)
    spans = (*(WordSpan("bin", k, k + 1) for k in range(20)), WordSpan("set", 5, 9))
    clips = ClipBatches(replace(data, words=(spans,)), False, CPU)
    words = Words(clips, ("set", "lay", "bin"), 4)
    generator = torch.Generator().manual_seed(0)
    shares = [
        (words.labels[words.draw(2000, generator, balanced)] == 0).float().mean().item()
        for balanced in (True, False)
    ]
    assert shares == pytest.approx([1 / 2, 1 / 21], abs=0.05)


def test_views_without_strength_only_mirror() -> None:
    frames = torch.rand(6, 3, 8, 8) * 2 - 1
    draws = torch.rand(6, VIEW_DRAWS)
    draws[:, 4] = torch.tensor([0.1, 0.9, 0.1, 0.9, 0.1, 0.9])
    seen = views(frames, draws, 0.0)
    assert torch.equal(seen[::2], frames[::2].flip(3))
    assert torch.equal(seen[1::2], frames[1::2])


def test_views_move_all_frames_of_a_window_alike() -> None:
    frame = torch.rand(4, 1, 16, 16) * 2 - 1
    seen = views(frame.expand(-1, 5, -1, -1), torch.rand(4, VIEW_DRAWS), 1.0)
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert seen.abs().max() <= 1
    still = torch.full((1, VIEW_DRAWS), 0.5)
    assert torch.allclose(views(frame[:1], still, 1.0), frame[:1], atol=1e-5)
    right = still.clone()
    right[0, 2] = 1.0  # by 4 % of the side
    ramp = torch.linspace(-0.5, 0.5, 100).expand(1, 1, 4, 100)
    moved = views(ramp, right, 1.0) - ramp
    assert moved[..., 10:-10].mean().item() == pytest.approx(4 / 99, rel=1e-3)


def test_distances_by_hand() -> None:
    first = torch.zeros(2, 136)
    second = first.clone()
    second[0, 2 * 60 : 2 * 60 + 2] = torch.tensor([0.3, 0.4])  # a point of the lips
    second[1, :2] = torch.tensor([0.3, 0.4])  # one of the jaw
    assert mouth_distance(first, second, 100).tolist() == pytest.approx([50 / 20, 0])
    assert face_distance(first, second, 100).tolist() == pytest.approx([50 / 68] * 2)
    points = torch.from_numpy(TEMPLATE.copy()).float().flatten()
    wide = points.clone()
    wide[2 * 66 + 1] += 0.25
    assert (opening(wide) - opening(points)).item() == pytest.approx(0.25)
    assert torch.allclose(reflected(reflected(points.expand(2, 3, -1))), points, atol=1e-6)
    assert not torch.allclose(reflected(points), points, atol=1e-3)


@given(seed=some.integers(0, 2**32 - 1), apart=some.integers(0, 16))
def test_sound_that_does_not_match_is_of_the_same_clip(toys: Toys, seed: int, apart: int) -> None:
    clips = ClipBatches(toys(6, 2, size=16), True, CPU)
    generator = torch.Generator().manual_seed(seed)
    index = clips.draw(30, generator)
    rows = clips.draw_windows(index, 16, generator)
    chance = torch.rand(rows.shape, generator=generator, dtype=torch.float64)
    found = other_rows(rows, index, clips, apart, chance)
    assert torch.equal((found - 128) // 32, index[:, None].expand_as(found))
    assert ((found - rows).abs() >= max(1, apart)).all()
    if not apart:
        last = (rows - 128) % 32 == 31
        assert torch.equal(found - rows, 1 - 2 * last.long())


def test_some_frames_of_clips() -> None:
    values = torch.arange(12).view(2, 6, 1)
    assert chosen(values, torch.tensor([[5, 0], [1, 2]])).flatten().tolist() == [5, 0, 7, 8]
    assert torch.equal(chosen(values, torch.arange(6).expand(2, -1)), values.flatten(0, 1))


def test_a_tint_is_the_same_in_all_frames_of_a_clip() -> None:
    frames = torch.full((2, 3, 3, 2, 2), 0.4)
    draws = torch.full((2, 2, 3), 0.5)  # the middle: no change
    draws[1, 0] = torch.tensor([1.0, 0.5, 0.0])  # contrast
    draws[1, 1, 1] = 1.0  # light
    seen = tinted(frames, draws, 0.2)
    assert torch.equal(seen[0], frames[0])
    red, green, blue = (seen[1, :, channel] for channel in range(3))
    assert red.unique().item() == pytest.approx(0.48)
    assert green.unique().item() == pytest.approx(0.5)
    assert blue.unique().item() == pytest.approx(0.32)
    assert tinted(frames * 2.4, draws, 1.0).max() == 1
