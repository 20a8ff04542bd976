"""`Clips`: what they check, how they are put together and taken apart."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from neuralpaint.zoo.data.talking import (
    SILENCE,
    Clip,
    Clips,
    WordSpan,
    beside,
    from_int16,
    join,
    to_int16,
)


def clip(number: int, frames: int = 3, held_out: bool = False, size: int = 8) -> Clip:
    return Clip(
        name=f"s1/{number}",
        frames=torch.full((frames, 3, size, size), number, dtype=torch.uint8),
        landmarks=torch.full((frames, 136), number / 10),
        windows=torch.full((frames, 28, 12), float(number)),
        samples=np.full(frames * 640, number / 16, np.float32),
        words=(WordSpan(SILENCE, 0, 0.5), WordSpan(f"word{number}", 0.5, float(frames))),
        speaker=1,
        held_out=held_out,
    )


@pytest.fixture
def clips() -> Clips:
    """Four clips of 3, 2, 4 and 1 frames; the second, which comes last, is held out."""
    return join("made up", [clip(1), clip(2, 2, held_out=True), clip(3, 4), clip(4, 1)])


def test_clips_are_joined_with_those_to_train_on_first(clips: Clips) -> None:
    assert len(clips) == 4
    assert clips.size == 8
    assert clips.names == ("s1/1", "s1/3", "s1/4", "s1/2")
    assert clips.held_out.tolist() == [False, False, False, True]
    assert clips.first.tolist() == [0, 3, 7, 8, 10]
    assert clips.sound_first.tolist() == [0, 3 * 640, 7 * 640, 8 * 640, 10 * 640]
    assert clips.vocabulary == (SILENCE, "word1", "word2", "word3", "word4")
    for number, name in enumerate(clips.names):
        value = int(name[-1])
        rows = clips.rows(number)
        assert clips.frames[rows].unique().tolist() == [value]
        assert clips.windows[rows].unique().tolist() == [value]
        assert clips.words[number][1].word == f"word{value}"
        assert np.unique(clips.sound(number)).tolist() == [value / 16]
        assert len(clips.sound(number)) == 640 * (rows.stop - rows.start)


def test_a_side_of_the_split_shares_the_memory(clips: Clips) -> None:
    train, aside = clips.part(False), clips.part(True)
    assert train.names == ("s1/1", "s1/3", "s1/4")
    assert aside.names == ("s1/2",)
    assert aside.first.tolist() == [0, 2]
    assert aside.sound(0)[0] == pytest.approx(2 / 16)
    assert train.frames.data_ptr() == clips.frames.data_ptr()
    assert aside.frames.data_ptr() == clips.frames[8:].data_ptr()
    with pytest.raises(ValueError, match="no clip is held out"):
        train.part(True)


def test_clips_in_another_order(clips: Clips) -> None:
    chosen = clips.choose([3, 0])
    assert chosen.names == ("s1/2", "s1/1")
    assert chosen.first.tolist() == [0, 2, 5]
    assert chosen.frames[:, 0, 0, 0].tolist() == [2, 2, 1, 1, 1]
    assert chosen.sound(1)[0] == pytest.approx(1 / 16)
    assert chosen.checksum != clips.choose([0, 3]).checksum
    for numbers in ([], [4], [-1]):
        with pytest.raises(ValueError, match="choose from clips 0 to 3"):
            clips.choose(numbers)


CHANGES: dict[str, Callable[[Clips], Any]] = {
    "name": lambda data: "other",
    "frames": lambda data: data.frames + 1,
    "landmarks": lambda data: data.landmarks + 0.01,
    "windows": lambda data: data.windows + 1,
    "words": lambda data: (data.words[0], data.words[0], *data.words[2:]),
    "held_out": lambda data: ~data.held_out,
    "speakers": lambda data: data.speakers + 1,
    "names": lambda data: ("x", *data.names[1:]),
}


@pytest.mark.parametrize("column", CHANGES)
def test_the_checksum_tells_sets_apart(clips: Clips, column: str) -> None:
    assert clips.checksum == replace(clips).checksum
    assert replace(clips, **{column: CHANGES[column](clips)}).checksum != clips.checksum


FAULTS: dict[str, Callable[[Clips], dict[str, Any]]] = {
    "frames are torch.float32": lambda data: {"frames": data.frames.float()},
    "not square": lambda data: {"frames": data.frames[:, :, :4]},
    "first are": lambda data: {"first": data.first[1:]},
    "first does not rise": lambda data: {"first": torch.tensor([0, 3, 3, 8, 10])},
    "sound_first does not rise": lambda data: {"sound_first": data.sound_first - 1},
    "sounds are": lambda data: {"sounds": data.sounds.float()},
    "windows are torch.float32": lambda data: {"windows": data.windows[:, :27]},
    "windows are not all finite": lambda data: {"windows": data.windows * torch.nan},
    "landmarks are not all shares": lambda data: {"landmarks": data.landmarks * torch.nan},
    "same name": lambda data: {"names": ("a", "a", "b", "c")},
    "words of 3 clips": lambda data: {"words": data.words[1:]},
    "without letters or duration": lambda data: {
        "words": ((WordSpan("x", 2, 2),), *data.words[1:])
    },
}


@pytest.mark.parametrize("message", FAULTS)
def test_fields_that_do_not_fit_are_refused(clips: Clips, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(clips, **FAULTS[message](clips))


def test_nothing_to_join() -> None:
    with pytest.raises(ValueError, match="no clip"):
        join("empty", [])


def test_sound_survives_as_16_bit_samples() -> None:
    samples = np.array([-1, -0.25, 0, 1 / 32768, 0.5, 1, 1.5, -2], np.float32)
    back = from_int16(to_int16(samples))
    assert back.dtype == np.float32
    assert back.tolist() == [-1, -0.25, 0, 1 / 32768, 0.5, 32767 / 32768, 32767 / 32768, -1]


def test_a_second_set_is_trained_on_beside_the_first(clips: Clips) -> None:
    other = join("others", [clip(5, 2), clip(6, 3, held_out=True), clip(7, 1)])
    both = beside(clips, other)
    assert both.name == "made up and others"
    assert both.names == (*clips.names, "others: s1/5", "others: s1/7")
    assert both.held_out.tolist() == [False, False, False, True, False, False]
    assert both.words == (*clips.words, (), ())
    assert both.speakers.tolist() == [1, 1, 1, 1, 3, 3]
    for number, value in enumerate((1, 3, 4, 2, 5, 7)):
        assert both.frames[both.rows(number)].unique().tolist() == [value]
        assert both.windows[both.rows(number)].unique().tolist() == [value]
        assert np.unique(both.sound(number)).tolist() == [value / 16]
    with pytest.raises(ValueError, match="others: frames of 16 pixels, made up: 8"):
        beside(clips, join("others", [clip(5, size=16)]))
    with pytest.raises(ValueError, match="no clip is to train on"):
        beside(clips, clips.part(True))
