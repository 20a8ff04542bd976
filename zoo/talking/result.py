"""What AVWnet's `generate` returns: a talking video, with all that was made on the way."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from ...backend.video import write_video
from ..result import GeneratedImage, marks
from .inputs import TalkingFace
from .mfcc import FPS, SAMPLE_RATE
from .sounds import Samples
from .streaming import Piece, ReadWord

GENERATED = "AI-generated video"
GAP, HEAD, LEFT = 4, 20, 60
"""Pixels of a strip: between pictures, of the titles above and beside."""


class Masks(NamedTuple):
    """Where frames are new, and where they are the photo (Eq 5.5); 255 is all new, 0 nothing.

    Attributes:
        coarse: (T, S/2, S/2) uint8, of the first stage.
        fine: (T, S, S) uint8, of the second stage, which makes the frames.
    """

    coarse: NDArray[np.uint8]
    fine: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TalkingVideo:
    """A face that says something.

    Attributes:
        frames: (T, S, S, 3) uint8.
        landmarks: (T, 68, 2) float32, that the frames were made to follow, pixels.
        masks: see `Masks`.
        samples: (N,) float32, the sound, at `sample_rate`.
        face: as it was cut out of the photo.
        words: what the lip reader reads from the frames, with times; silent stretches left out.
        notes: what the user should know.
        texts: provenance, keyword -> value.
        fps: frames a second.
        sample_rate: samples a second.
    """

    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    masks: Masks
    samples: Samples
    face: TalkingFace
    words: tuple[ReadWord, ...] = ()
    notes: tuple[str, ...] = ()
    texts: Mapping[str, str] | None = None
    fps: int = FPS
    sample_rate: int = SAMPLE_RATE

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        size = f"{self.frames.shape[2]} x {self.frames.shape[1]}"
        return f"<{len(self) / self.fps:.1f} s of video of {size} pixels of {self.face.name}>"

    @property
    def text(self) -> str:
        """The words that the lip reader reads, in a line."""
        return " ".join(word.word for word in self.words)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write an MP4 with the sound and the provenance, atomically; see `write_talk`.

        Args:
            path: ends in .mp4.

        Returns:
            The file.

        Raises:
            MediaError: another suffix, or ffmpeg fails, as on a full disk.
            OSError: the file cannot be written.
        """
        return write_talk(path, self.frames, self.samples, self.texts or {})

    def strip(self, count: int = 8) -> GeneratedImage:
        """Frames beside each other, with the masks of both stages below, as Fig 5.5.

        Args:
            count: of frames, spread evenly over the video.

        Returns:
            The page; it carries its provenance.
        """
        places = pick(len(self), count)
        return strip(self.piece.at(places), places, self.texts or {})

    @property
    def piece(self) -> Piece:
        """All frames with their landmarks and masks."""
        return Piece(self.frames, self.landmarks, *self.masks)


def provenance(model: str, face: str, origin: Mapping[str, str]) -> dict[str, str]:
    """What the metadata of a talking video says.

    Args:
        model: name and weights.
        face: name of the photo.
        origin: of the sound, as `sounds.Sound.origin`.

    Returns:
        Keyword -> value.
    """
    return {**marks(model, Face=face, **origin), "Source": GENERATED}


def write_talk(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    samples: Samples,
    texts: Mapping[str, str],
) -> Path:
    """Write frames, as they come, and their sound to an MP4, atomically.

    Args:
        path: ends in .mp4.
        frames: (S, S, 3) uint8 each, at `FPS`.
        samples: (N,) at `SAMPLE_RATE`; what a lossy file had beyond full scale is cut.
        texts: provenance, keyword -> value.

    Returns:
        The file.

    Raises:
        MediaError: another suffix, or ffmpeg fails, as on a full disk; nothing is left under the
            path then but what was there.
        OSError: the file cannot be written.
    """
    file = Path(path)
    write_video(
        file, frames, FPS, audio=samples.clip(-1, 1), sample_rate=SAMPLE_RATE, metadata=texts
    )
    return file


def pick(length: int, count: int) -> list[int]:
    """Places in a video, spread evenly.

    Args:
        length: of the video, frames.
        count: of places.

    Returns:
        At most `count` different ones, in order; not the very ends, where a mouth is closed.

    Raises:
        ValueError: no frame is asked for.
    """
    if count < 1:
        raise ValueError(f"count {count}: must be 1 or more")
    number = min(count, length)
    return [(2 * place + 1) * length // (2 * number) for place in range(number)]


def strip(piece: Piece, places: Sequence[int], texts: Mapping[str, str]) -> GeneratedImage:
    """Frames beside each other, with the masks of both stages below, as Fig 5.5.

    Args:
        piece: the frames.
        places: of each, its number in the video.
        texts: provenance.

    Returns:
        The page; it carries the provenance.
    """
    side = piece.frames.shape[1]
    rows = {"frame": piece.frames, "fine": piece.fine_mask, "coarse": piece.coarse_mask}
    size = (LEFT + len(places) * (side + GAP), HEAD + GAP + len(rows) * (side + GAP))
    page = PillowImage.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for column, place in enumerate(places):
        draw.text(
            (LEFT + column * (side + GAP), GAP), f"{place / FPS:.2f} s", fill="black", font_size=12
        )
    for row, (title, pictures) in enumerate(rows.items()):
        top = HEAD + GAP + row * (side + GAP)
        draw.text((GAP, top + side // 2 - 7), title, fill="black", font_size=12)
        for column, picture in enumerate(pictures):
            shown = PillowImage.fromarray(picture)
            page.paste(shown.resize((side, side)), (LEFT + column * (side + GAP), top))
    return GeneratedImage(np.asarray(page), texts)
