"""What people look at: clips with their sound, real beside generated, and a strip of frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from ...backend.video import write_video
from ..data.talking import SILENCE, WordSpan
from ..result import GeneratedImage, marks
from ..talking.mfcc import FPS, SAMPLE_RATE
from .talking_parts import GENERATED, GIVEN, REAL, SHUFFLED, Spoken

COLUMNS = 12
SIDE = 128
GAP, LEFT, HEAD = 4, 150, 20
ROWS = (REAL, GENERATED, GIVEN, SHUFFLED)
SAMPLE = "sample-{}.mp4"


class Sample(NamedTuple):
    """A clip to be looked at.

    Attributes:
        name: of the clip.
        spoken: see `talking_parts.Spoken`.
        sound: (M,) mono in [-1, 1].
        words: of the clip.
    """

    name: str
    spoken: Spoken
    sound: NDArray[np.float32]
    words: tuple[WordSpan, ...]


def write_sample(sample: Sample, model: str, path: Path) -> None:
    """An MP4 with sound: the real clip on the left, the generated one on the right.

    Args:
        sample: see `Sample`.
        model: name and weights.
        path: ends in .mp4.

    Raises:
        MediaError: it cannot be encoded.
        OSError: the file cannot be written.
    """
    pairs = torch.cat([sample.spoken.real, sample.spoken.frames[GENERATED]], 3)
    frames = pairs.permute(0, 2, 3, 1).contiguous().numpy()
    write_video(
        path,
        iter(frames),
        FPS,
        audio=sample.sound,
        sample_rate=SAMPLE_RATE,
        metadata=marks(model, Clip=sample.name, Shows=f"{REAL} (left), {GENERATED} (right)"),
    )


def strip(samples: Sequence[Sample], model: str) -> GeneratedImage:
    """A page as Fig 5.7: of each clip frames while it speaks, a row for each of `ROWS`.

    Args:
        samples: one or more.
        model: name and weights.

    Returns:
        The page; it carries its provenance. Above each frame stands the word that is said.
    """
    block = HEAD + len(ROWS) * (SIDE + GAP)
    page = Image.new("RGB", (LEFT + COLUMNS * (SIDE + GAP), GAP + len(samples) * block), "white")
    draw = ImageDraw.Draw(page)
    for number, sample in enumerate(samples):
        top = GAP + number * block
        times = moments(sample.words, len(sample.spoken.real))
        for column, (_, word) in enumerate(times):
            left = LEFT + column * (SIDE + GAP)
            draw.text((left, top), word, fill="black", font_size=12)
        for row, who in enumerate(ROWS):
            down = top + HEAD + row * (SIDE + GAP)
            draw.text((GAP, down + SIDE // 2 - 7), who, fill="black", font_size=12)
            frames = sample.spoken.real if who == REAL else sample.spoken.frames[who]
            for column, (time, _) in enumerate(times):
                shown = Image.fromarray(_pixels(frames[time])).resize(
                    (SIDE, SIDE), Image.Resampling.LANCZOS
                )
                page.paste(shown, (LEFT + column * (SIDE + GAP), down))
    names = ", ".join(sample.name for sample in samples)
    return GeneratedImage(np.asarray(page), marks(model, Clips=names))


def moments(words: Sequence[WordSpan], frames: int, count: int = COLUMNS) -> list[tuple[int, str]]:
    """Frames spread over what is said; over the whole clip where nothing is.

    Args:
        words: of the clip, in the order of time.
        frames: of the clip.
        count: how many are wanted.

    Returns:
        Of each its place and the word that is said in it, "" where none is.
    """
    said = [span for span in words if span.word != SILENCE]
    start, end = (said[0].start, said[-1].end) if said else (0.0, frames - 1.0)
    places: list[int] = (
        np.linspace(start, end, count).round().astype(int).clip(0, frames - 1).tolist()
    )
    here = [[span.word for span in said if span.start <= at < span.end] for at in places]
    return [(place, found[0] if found else "") for place, found in zip(places, here, strict=True)]


def _pixels(frame: Tensor) -> NDArray[np.uint8]:
    return frame.permute(1, 2, 0).contiguous().numpy()
