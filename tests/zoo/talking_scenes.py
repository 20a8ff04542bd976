"""Made-up faces that can be followed without dlib: white squares on black, and videos of them."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuralpaint.backend.video import write_video
from neuralpaint.zoo.face_geometry import TEMPLATE, Pixels, Points
from neuralpaint.zoo.faces import FoundFace
from neuralpaint.zoo.talking.tracking import CHIP

SHARE = 0.25
"""Side of the white square, of that of the made-up face, in whose middle it is."""


class Square:
    """Takes white squares for the middles of faces; counts how often it is asked."""

    def __init__(self) -> None:
        self.found = self.followed = 0

    def find(self, image: Pixels) -> list[FoundFace]:
        self.found += 1
        light = image[..., 0] > 127
        if light.sum() < 20:
            return []
        y, x = np.nonzero(light)
        face = self._face(image)
        left, top = x.min() - 1.0, y.min() - 1.0
        return [FoundFace((left, top, left + 60, top + 60), face, 1.0)]

    def follow(self, chip: Pixels) -> Points:
        assert chip.shape == (CHIP, CHIP, 3)
        self.followed += 1
        return self._face(chip)

    @staticmethod
    def _face(image: Pixels) -> Points:
        weight = image[..., 0] / 255
        total = max(weight.sum(), 1e-3)
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
        side = max(math.sqrt(total) / SHARE, 8)
        middle = np.array([(weight * columns).sum(), (weight * rows).sum()]) / total
        return np.asarray(TEMPLATE * side + middle - side / 2, np.float64)


def scene(x: float, y: float, side: float = 80) -> Pixels:
    """(120, 160, 3): a square whose borders share pixels, on black."""
    half = SHARE * side / 2

    def cover(count: int, middle: float) -> NDArray[np.float64]:
        edges = np.arange(count)
        inside = np.minimum(edges + 1, middle + half) - np.maximum(edges, middle - half)
        share: NDArray[np.float64] = np.clip(inside, 0, 1)
        return share

    plane = np.outer(cover(120, y), cover(160, x)) * 255
    return np.rint(plane)[..., None].repeat(3, 2).astype(np.uint8)


def write_talk(
    path: Path,
    places: Sequence[tuple[float, float]],
    *,
    fps: float = 25,
    tone: float | None = 440.0,
) -> None:
    """A video of a square at places (x, y), with a tone as long (None = no sound)."""
    rate = 44_100
    time = np.arange(round(len(places) / fps * rate)) / rate
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(
        path,
        (scene(x, y) for x, y in places),
        fps,
        audio=None if tone is None else 0.5 * np.sin(2 * np.pi * tone * time),
        sample_rate=None if tone is None else rate,
    )
