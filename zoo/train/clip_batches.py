"""Batches of clips of talking people, and what the trainings of chapter 5 share.

A row is the number of a frame in `Clips.frames`. Frames stay where the data set keeps them, often a
file that is mapped into memory, and only those of a batch are read.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..avwnet_parts import SIDE
from ..data.talking import Clips
from ..ldcgan_parts import COORDINATES, POINTS, mirrored
from ..talking.geometry import MOUTH

LIPS = slice(MOUTH[0], MOUTH[-1] + 1)
VIEW_DRAWS = 7
ALL = slice(None)


class ClipBatches:
    """Clips of one side of the split.

    Args:
        data: all clips.
        held_out: which side.
        device: where batches go.
        least: frames of a clip; shorter ones are left out.

    Raises:
        ValueError: no clip is left.
    """

    def __init__(self, data: Clips, held_out: bool, device: torch.device, least: int = 1) -> None:
        first = data.first.cpu()
        lengths = first.diff()
        self.numbers = ((data.held_out.cpu() == held_out) & (lengths >= least)).nonzero().flatten()
        if not len(self.numbers):
            side = "held out" if held_out else "to train on"
            raise ValueError(f"{data.name}: no clip {side} has {least} frames or more")
        self.data, self.device = data, device
        self.name, self.checksum = data.name, data.checksum
        self.first, self.lengths = first[self.numbers], lengths[self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> int:
        """Side of the frames, S."""
        return int(self.data.frames.shape[-1])

    # --- draws, on the CPU -----------------------------------------------------------------------

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random clips, (count,) int64; each as often as another."""
        return torch.randint(len(self), (count,), generator=generator)

    def draw_rows(self, clips: Tensor, generator: torch.Generator) -> Tensor:
        """A random frame of each clip, (n,) int64 rows."""
        part = torch.rand(len(clips), generator=generator, dtype=torch.float64)
        return self.first[clips] + (part * self.lengths[clips]).long()

    def draw_windows(self, clips: Tensor, frames: int, generator: torch.Generator) -> Tensor:
        """Consecutive frames from a random place of each clip.

        Args:
            clips: (n,) which.
            frames: T, at most as many as the clips have.
            generator: on the CPU.

        Returns:
            (n, T) int64 rows.
        """
        part = torch.rand(len(clips), generator=generator, dtype=torch.float64)
        start = (part * (self.lengths[clips] - frames + 1)).long()
        return (self.first[clips] + start)[:, None] + torch.arange(frames)

    def around(self, clips: Tensor, middles: Tensor, frames: int) -> Tensor:
        """Consecutive frames centred on a time, moved as far as needed to lie within the clip.

        Args:
            clips: (n,) which.
            middles: (n,) times in frames from the clip's start.
            frames: T, at most as many as the clips have.

        Returns:
            (n, T) int64 rows.
        """
        start = (middles - frames / 2).round().long().clamp(min=0)
        start = start.minimum(self.lengths[clips] - frames)
        return (self.first[clips] + start)[:, None] + torch.arange(frames)

    # --- on the device ---------------------------------------------------------------------------

    def frames(self, rows: Tensor, part: tuple[slice, slice] = (ALL, ALL)) -> Tensor:
        """Frames of rows.

        Args:
            rows: of any shape, on the CPU.
            part: rows and columns of pixels that are wanted.

        Returns:
            (..., 3, H, W) float32 in [-1, 1].
        """
        down, across = part
        picked = self.data.frames[rows.flatten()][:, :, down, across].to(self.device)
        frames: Tensor = picked.unflatten(0, rows.shape) / 127.5 - 1
        return frames

    def landmarks(self, rows: Tensor) -> Tensor:
        """Landmarks (..., 136) float32 of rows."""
        return self.data.landmarks[rows].to(self.device)

    def windows(self, rows: Tensor) -> Tensor:
        """MFCC windows (..., 28, 12) float32 of rows."""
        return self.data.windows[rows].to(self.device)

    def rows(self, clip: int) -> Tensor:
        """All rows of a clip, (T,)."""
        return torch.arange(int(self.lengths[clip])) + self.first[clip]


class Words:
    """The words of clips, each with the frames about its middle.

    Args:
        batches: the clips, none shorter than `frames`.
        vocabulary: words that count; others are left out.
        frames: T, of the window about a word.
    """

    def __init__(self, batches: ClipBatches, vocabulary: Sequence[str], frames: int) -> None:
        self.batches, self.frames = batches, frames
        known = {word: number for number, word in enumerate(vocabulary)}
        found = [
            (clip, known[span.word], (span.start + span.end) / 2)
            for clip, number in enumerate(batches.numbers.tolist())
            for span in batches.data.words[number]
            if span.word in known
        ]
        clips, labels, middles = zip(*found, strict=True) if found else ((), (), ())
        self.clips = torch.tensor(clips, dtype=torch.int64)
        self.labels = torch.tensor(labels, dtype=torch.int64)
        self.middles = torch.tensor(middles, dtype=torch.float64)
        self.order = self.labels.argsort(stable=True)
        self.counts = torch.bincount(self.labels, minlength=len(vocabulary))
        self.places = self.counts.cumsum(0) - self.counts

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, count: int, generator: torch.Generator, balanced: bool) -> Tensor:
        """Random occurrences of words.

        Args:
            count: how many.
            generator: on the CPU.
            balanced: each word equally often; else each occurrence.

        Returns:
            (count,) int64, on the CPU.
        """
        if not balanced:
            return torch.randint(len(self), (count,), generator=generator)
        present = self.counts.nonzero().flatten()
        word = present[torch.randint(len(present), (count,), generator=generator)]
        part = torch.rand(count, generator=generator, dtype=torch.float64)
        return self.order[self.places[word] + (part * self.counts[word]).long()]

    def rows(self, index: Tensor, late: Tensor | float = 0.0) -> Tensor:
        """Windows about words.

        Args:
            index: (n,) which occurrences.
            late: frames by which the windows begin later.

        Returns:
            (n, T) int64 rows.
        """
        return self.batches.around(self.clips[index], self.middles[index] + late, self.frames)


def check_side(data: Clips) -> None:
    """Raise ValueError unless the frames have the side that the networks of chapter 5 have."""
    if data.size != SIDE:
        raise ValueError(
            f"{data.name}: frames of {data.size} pixels, the networks have {SIDE}; "
            f"load them at {SIDE}"
        )


def views(grey: Tensor, draws: Tensor, strength: float = 1.0) -> Tensor:
    """Windows of grey frames seen a little differently, all frames of a window alike.

    Args:
        grey: (n, T, S, S) in [-1, 1].
        draws: (n, 7) in [0, 1).
        strength: 1 turns by up to 5 degrees, zooms by 8 %, moves by 4 % of the side and changes
            brightness and contrast by 20 %; 0 only mirrors, half of the windows.

    Returns:
        (n, T, S, S) in [-1, 1], edges repeated outwards.
    """
    draws = draws.to(grey.device)
    spread = strength * (2 * draws - 1)
    side = torch.where(draws[:, 4] < 0.5, -1.0, 1.0)
    if not strength:
        return torch.where(side[:, None, None, None] < 0, grey.flip(3), grey)
    angle = spread[:, 0] * (5 * torch.pi / 180)
    zoom = 1 + 0.08 * spread[:, 1]
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    rows = [side * cos, -sin, 0.08 * spread[:, 2], side * sin, cos, 0.08 * spread[:, 3]]
    grid = functional.affine_grid(
        torch.stack(rows, 1).view(-1, 2, 3), list(grey.shape), align_corners=False
    )
    seen = functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)
    gain, light = 1 + 0.2 * spread[:, 5], 0.2 * spread[:, 6]
    return (seen * gain[:, None, None, None] + light[:, None, None, None]).clamp(-1, 1)


def tinted(frames: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Frames in other colours, all frames of a clip alike.

    Args:
        frames: (n, T, 3, S, S) in [-1, 1].
        draws: (n, 2, 3) in [0, 1).
        strength: largest change of a channel's contrast, as a share, and twice that of its light.

    Returns:
        The same shape and range.
    """
    spread = strength * (2 * draws.to(frames.device, frames.dtype) - 1)
    gain, light = (1 + spread[:, 0]), spread[:, 1] / 2
    seen = frames * gain[:, None, :, None, None] + light[:, None, :, None, None]
    return seen.clamp(-1, 1)


def mouth_distance(first: Tensor, second: Tensor, side: int) -> Tensor:
    """Mean distance of the points of the mouth, (..., 136) each: (...,) in pixels.

    Args:
        first: landmarks, shares of the side.
        second: the same shape.
        side: of the crop in pixels.

    Returns:
        The distances.
    """
    return _apart(first, second)[..., LIPS].mean(-1) * side


def face_distance(first: Tensor, second: Tensor, side: int) -> Tensor:
    """Mean distance of all 68 points, as `mouth_distance`."""
    return _apart(first, second).mean(-1) * side


def _apart(first: Tensor, second: Tensor) -> Tensor:
    points = (first - second).unflatten(-1, (POINTS, 2))
    apart: Tensor = points.square().sum(-1).sqrt()
    return apart


def reflected(landmarks: Tensor) -> Tensor:
    """The landmarks of mirrored faces, (..., 136); see `ldcgan_parts.mirrored`."""
    return mirrored(landmarks.reshape(-1, COORDINATES)).view_as(landmarks)
