"""Talking faces: the one form in which every data set of spoken clips reaches training."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..face_geometry import POINTS
from ..talking.mfcc import COEFFICIENTS, FPS, ROWS, SAMPLE_RATE

SILENCE = "sil"
"""The word of stretches in which nothing is said."""
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS

_FULL_SCALE = 32768  # of 16-bit samples


class WordSpan(NamedTuple):
    """A word of a clip and when it is said.

    Attributes:
        word: lower case; `SILENCE` where nothing is said.
        start: frames from the start of the clip, a fraction as a rule.
        end: frames, > start.
    """

    word: str
    start: float
    end: float


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip, T frames, before it joins others in `Clips`.

    Attributes:
        name: unique in its data set.
        frames: (T, 3, S, S) uint8 RGB, stabilised, see `talking.geometry`.
        landmarks: (T, 136) float32, as in `Clips`.
        windows: (T, 28, 12) float32.
        samples: (M,) mono floats in [-1, 1] at `mfcc.SAMPLE_RATE`.
        words: in the order of time.
        speaker: number of the person.
        held_out: never trained on.
    """

    name: str
    frames: Tensor
    landmarks: Tensor
    windows: Tensor
    samples: NDArray[np.float32]
    words: tuple[WordSpan, ...]
    speaker: int = 0
    held_out: bool = False


@dataclass(frozen=True, eq=False)
class Clips:
    """Spoken clips, the frames of all one after another; C clips, N frames, M samples of sound.

    The tensors may be maps of a file: they are read from disk as they are used, and must not be
    written to.

    Attributes:
        name: of the data set, for cards and logs.
        frames: (N, 3, S, S) uint8 RGB, stabilised: of a face only its expression moves.
        first: (C + 1,) int64, clip c is frames[first[c] : first[c + 1]].
        landmarks: (N, 136) float32, x0, y0, x1, y1, ... of 68 points as shares of the frame's side:
            (0, 0) is the top left corner, x to the right, y down. A point may lie a little outside.
        windows: (N, 28, 12) float32, the sound that each frame sees, see `talking.mfcc.windows`.
        words: of each clip, in the order of time.
        speakers: (C,) int64, clips of one person have the same number.
        names: of the clips, each once.
        held_out: (C,) bool, True for what is never trained on.
        sounds: (M,) int16, the sounds of all clips one after another, mono at `mfcc.SAMPLE_RATE`.
        sound_first: (C + 1,) int64, clip c is sounds[sound_first[c] : sound_first[c + 1]].
        skipped: file -> why it was left out.
    """

    name: str
    frames: Tensor
    first: Tensor
    landmarks: Tensor
    windows: Tensor
    words: tuple[tuple[WordSpan, ...], ...]
    speakers: Tensor
    names: tuple[str, ...]
    held_out: Tensor
    sounds: Tensor
    sound_first: Tensor
    skipped: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what the fields have to do with each other. The frames themselves are not read.

        Raises:
            ValueError: a shape, dtype or range is not as documented (names the field).
        """
        shape = tuple(self.frames.shape)
        if self.frames.dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3:
            raise ValueError(
                f"{self.name}: frames are {self.frames.dtype} {shape}; expected uint8 (N, 3, S, S)"
            )
        if not shape[0] or shape[2] != shape[3] or not shape[3]:
            raise ValueError(f"{self.name}: frames {shape} are not square, or there are none")
        count = len(self.names)
        expected = {
            "first": (self.first, torch.int64, (count + 1,)),
            "landmarks": (self.landmarks, torch.float32, (shape[0], 2 * POINTS)),
            "windows": (self.windows, torch.float32, (shape[0], ROWS, COEFFICIENTS)),
            "speakers": (self.speakers, torch.int64, (count,)),
            "held_out": (self.held_out, torch.bool, (count,)),
            "sounds": (self.sounds, torch.int16, (len(self.sounds),)),
            "sound_first": (self.sound_first, torch.int64, (count + 1,)),
        }
        for column, (values, dtype, wanted) in expected.items():
            if values.dtype != dtype or tuple(values.shape) != wanted:
                raise ValueError(
                    f"{self.name}: {column} are {values.dtype} {tuple(values.shape)}; "
                    f"expected {dtype} {wanted}"
                )
        for column, offsets, end in (
            ("first", self.first, shape[0]),
            ("sound_first", self.sound_first, len(self.sounds)),
        ):
            steps = offsets.diff()
            least = 1 if column == "first" else 0
            if int(offsets[0]) or int(offsets[-1]) != end or bool((steps < least).any()):
                raise ValueError(f"{self.name}: {column} does not rise from 0 to {end}")
        if len(set(self.names)) != count:
            raise ValueError(f"{self.name}: two clips have the same name")
        if not bool(((self.landmarks >= -1) & (self.landmarks <= 2)).all()):  # NaN is refused too
            raise ValueError(f"{self.name}: landmarks are not all shares of the frame's side")
        if not bool(self.windows.isfinite().all()):
            raise ValueError(f"{self.name}: windows are not all finite")
        if len(self.words) != count:
            raise ValueError(f"{self.name}: words of {len(self.words)} clips, but {count} clips")
        for name, spans in zip(self.names, self.words, strict=True):
            if any(not (span.word and span.start < span.end) for span in spans):
                raise ValueError(f"{self.name}: {name} has a word without letters or duration")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int:
        """Pixels a side, S."""
        return int(self.frames.shape[3])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The words that are said, `SILENCE` with them, each once, sorted."""
        return tuple(sorted({span.word for spans in self.words for span in spans}))

    @property
    def checksum(self) -> str:
        """Tells one set from another: 16 hex digits of all but the frames, of which it samples.

        Of each clip the middle pixels of the first frame are read, so that it costs little.
        """
        spans = [[tuple(span) for span in clip] for clip in self.words]
        text = repr((self.name, self.size, self.names, spans))
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
        middle = self.frames[self.first[:-1], :, self.size // 2, self.size // 2]
        for tensor in (
            *(self.first, self.landmarks, self.windows, self.speakers, self.held_out),
            *(middle, self.sound_first),
        ):
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def rows(self, clip: int) -> slice:
        """Where the frames of a clip are."""
        return slice(int(self.first[clip]), int(self.first[clip + 1]))

    def sound(self, clip: int) -> NDArray[np.float32]:
        """What a clip sounds like.

        Args:
            clip: its number.

        Returns:
            (M,) mono in [-1, 1) at `mfcc.SAMPLE_RATE`.
        """
        here = self.sounds[int(self.sound_first[clip]) : int(self.sound_first[clip + 1])]
        return from_int16(here)

    def part(self, held_out: bool) -> "Clips":
        """Those held out, or those to train on: shared, not copied, where they stand together.

        Args:
            held_out: which side of the split.

        Returns:
            The same set with that side only, in the same order.

        Raises:
            ValueError: that side is empty.
        """
        chosen = torch.nonzero(self.held_out == held_out).flatten()
        if not len(chosen):
            side = "held out" if held_out else "to train on"
            raise ValueError(f"{self.name}: no clip is {side}; the split has one side only")
        return self.choose(chosen.tolist())

    def choose(self, clips: Sequence[int]) -> "Clips":
        """Some of the clips.

        They are shared, not copied, if they follow each other without a gap.

        Args:
            clips: their numbers, at least one, each at most once.

        Returns:
            The same set with those only, in the order given.

        Raises:
            ValueError: none are given, or one that does not exist.
        """
        numbers = list(clips)
        if not numbers or min(numbers) < 0 or max(numbers) >= len(self):
            raise ValueError(f"{self.name}: choose from clips 0 to {len(self) - 1}, at least one")
        frames, first = _chosen(numbers, self.first)
        sounds, sound_first = _chosen(numbers, self.sound_first)
        return replace(
            self,
            frames=self.frames[frames],
            first=first,
            landmarks=self.landmarks[frames],
            windows=self.windows[frames],
            words=tuple(self.words[clip] for clip in numbers),
            speakers=self.speakers[numbers],
            names=tuple(self.names[clip] for clip in numbers),
            held_out=self.held_out[numbers],
            sounds=self.sounds[sounds],
            sound_first=sound_first,
        )


def join(name: str, clips: Sequence[Clip], skipped: dict[str, str] | None = None) -> Clips:
    """Put clips together in memory, those to train on first, so that `part` need not copy.

    Args:
        name: of the data set.
        clips: at least one.
        skipped: file -> why it was left out.

    Returns:
        The data set.

    Raises:
        ValueError: no clip, or clips that do not fit each other or `Clips`.
    """
    if not clips:
        raise ValueError(f"{name}: no clip")
    ordered = sorted(clips, key=lambda clip: clip.held_out)
    frames = torch.cat([clip.frames for clip in ordered])
    return Clips(
        name=name,
        frames=frames,
        first=offsets([len(clip.frames) for clip in ordered]),
        landmarks=torch.cat([clip.landmarks for clip in ordered]),
        windows=torch.cat([clip.windows for clip in ordered]),
        words=tuple(clip.words for clip in ordered),
        speakers=torch.tensor([clip.speaker for clip in ordered]),
        names=tuple(clip.name for clip in ordered),
        held_out=torch.tensor([clip.held_out for clip in ordered]),
        sounds=torch.cat([to_int16(clip.samples) for clip in ordered]),
        sound_first=offsets([len(clip.samples) for clip in ordered]),
        skipped=dict(skipped or {}),
    )


def offsets(lengths: Sequence[int]) -> Tensor:
    """Where each of several things begins that stand one after another, and the end: (C + 1,)."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(lengths).cumsum(0)])


def to_int16(samples: NDArray[np.floating]) -> Tensor:
    """Sound in [-1, 1] as 16-bit samples; what is beyond is cut off."""
    whole = np.rint(np.asarray(samples, np.float64) * _FULL_SCALE)
    return torch.from_numpy(whole.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16))


def from_int16(samples: Tensor) -> NDArray[np.float32]:
    """16-bit samples as floats in [-1, 1)."""
    return np.asarray(samples.numpy() / _FULL_SCALE, np.float32)


def _chosen(clips: list[int], first: Tensor) -> tuple[slice | Tensor, Tensor]:
    """Where the rows of some clips are, as a slice if they follow each other; their own offsets."""
    starts, ends = first[clips], first[1:][clips]
    lengths = offsets((ends - starts).tolist())
    if bool((starts[1:] == ends[:-1]).all()):
        return slice(int(starts[0]), int(ends[-1])), lengths
    parts = [torch.arange(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
    return torch.cat(parts), lengths


def beside(first: Clips, second: Clips) -> Clips:
    """A data set with the clips that another one trains on beside its own, to train on too.

    What is held out stays the first one's, and so do the words: nobody is asked for those of the
    second. All is copied into memory.

    Args:
        first: the data set.
        second: the other, with frames of the same size.

    Returns:
        Both, the first one's clips first.

    Raises:
        ValueError: other sizes, or the second has nothing to train on.
    """
    other = second.part(False)
    if other.size != first.size:
        raise ValueError(f"{other.name}: frames of {other.size} pixels, {first.name}: {first.size}")
    people = int(first.speakers.max()) + 1
    return Clips(
        name=f"{first.name} and {other.name}",
        frames=torch.cat([first.frames, other.frames]),
        first=torch.cat([first.first, other.first[1:] + first.first[-1]]),
        landmarks=torch.cat([first.landmarks, other.landmarks]),
        windows=torch.cat([first.windows, other.windows]),
        words=(*first.words, *((),) * len(other)),
        speakers=torch.cat([first.speakers, other.speakers.clamp(min=0) + people]),
        names=(*first.names, *(f"{other.name}: {name}" for name in other.names)),
        held_out=torch.cat([first.held_out, other.held_out]),
        sounds=torch.cat([first.sounds, other.sounds]),
        sound_first=torch.cat([first.sound_first, other.sound_first[1:] + first.sound_first[-1]]),
        skipped={**first.skipped, **other.skipped},
    )
