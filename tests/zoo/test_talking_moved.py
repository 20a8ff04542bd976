"""Photos that are moved as clips are: points go where they should, and the rest stays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from neuralpaint.zoo.data.talking import Clip, Clips, join
from neuralpaint.zoo.faces import FoundFace
from neuralpaint.zoo.talking import moved
from neuralpaint.zoo.talking.geometry import TEMPLATE, opening

SIDE = 128


def face() -> torch.Tensor:
    """The average face's points in pixels, lips closed."""
    points = torch.tensor(TEMPLATE * SIDE, dtype=torch.float32)
    points[65:68, 1] = points[61:64, 1].flip(0)
    return points


def speaking(frames: int = 4) -> torch.Tensor:
    """The same face, whose lower lip, jaw and brows move down by a pixel a frame: (T, 136)."""
    track = face().repeat(frames, 1, 1)
    for frame in range(frames):
        track[frame, [6, 7, 8, 9, 10, 55, 56, 57, 58, 59, 65, 66, 67], 1] += frame
        track[frame, 17:27, 1] += frame
    return track


def clips(frames: int = 4) -> Clips:
    made = [
        Clip(
            name=f"clip{number}",
            frames=torch.zeros(frames, 3, SIDE, SIDE, dtype=torch.uint8),
            landmarks=(speaking(frames) / SIDE).flatten(1),
            windows=torch.full((frames, 28, 12), float(number)),
            samples=np.full(frames * 640, number / 8, np.float32),
            words=(),
            speaker=0,
            held_out=number == 1,
        )
        for number in range(2)
    ]
    return join("two", made)


class Finder:
    """Finds the average face wherever it is asked to look, but not in black pictures."""

    def __init__(self) -> None:
        self.points = face().double().numpy()

    def find(self, image: NDArray[np.uint8]) -> list[FoundFace]:
        if not image.any():
            return []
        low, high = self.points.min(0), self.points.max(0)
        return [FoundFace((low[0], low[1], high[0], high[1]), self.points, 1.0)]


def test_movements_are_as_large_as_the_mouth_is_and_eyes_keep_still() -> None:
    own, track = face(), speaking().flatten(1)
    half = (own - own[30]) / 2 + own[30]
    places = moved.follow(half.flatten(), track).view(-1, 68, 2)
    assert torch.equal(places[0], half)
    assert places[3, 66].tolist() == pytest.approx([half[66, 0].item(), half[66, 1].item() + 1.5])
    assert torch.equal(places[3, 17:27], half[17:27])
    closed_last = moved.follow(own.flatten(), track.flip(0))  # closest lips are the rest
    assert torch.equal(closed_last[3], own.flatten())


def test_parted_lips_show_teeth_above_and_dark_below() -> None:
    points = face().double().numpy()
    frame = np.full((SIDE, SIDE, 3), 100, np.float32)
    moved.paint_mouth(frame, points, 1.0)
    assert (frame == 100).all()
    points[65:68, 1] += 8
    moved.paint_mouth(frame, points, 1.0)
    x, top = (round(v) for v in points[62])
    assert frame[top + 1, x].mean() > 140
    assert frame[top + 5, x].mean() < 60
    assert (frame[top - 2] == 100).all()


def test_clips_of_photos(tmp_path: Path) -> None:
    for number in range(3):
        picture = np.full((SIDE, SIDE, 3), 60 * (number % 3), np.uint8)  # the first has no face
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    files = sorted(tmp_path.iterdir())
    told: list[tuple[int, int]] = []
    made = moved.moved_photos(
        files, clips(), 5, Finder(), seed=1, report=lambda *two: told.append(two)
    )
    assert len(made) == 2
    assert made.frames.shape == (8, 3, SIDE, SIDE)
    assert not made.held_out.any()
    assert made.speakers.tolist() == [0, 1]
    assert made.words == ((), ())
    assert made.windows.unique().tolist() == [0.0]  # never the clip that is held out
    assert told == [(1, 5), (2, 5)]
    last = made.frames[3].float().mean(0)
    lips = made.landmarks[3].view(68, 2) * SIDE
    x, y = (round(v) for v in ((lips[62] + lips[66]) / 2).tolist())
    assert last[y, x] < last[y - 12, x] - 20  # a dark mouth that the photo has not
    assert opening(made.landmarks)[0] < 0.01 < opening(made.landmarks)[3]
    assert sorted(Path(file).name for file in made.skipped) == ["0.png", "3.png"]
    again = moved.moved_photos(files, clips(), 5, Finder(), seed=1)
    assert torch.equal(made.frames, again.frames)
    assert len(moved.moved_photos(files, clips(), 1, Finder())) == 1
    for file in (files[0], tmp_path / "absent.png"):
        with pytest.raises(ValueError, match="no photo with a face among 1"):
            moved.moved_photos([file], clips(), 1, Finder())
