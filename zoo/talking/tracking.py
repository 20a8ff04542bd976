"""Landmarks of every frame of a clip: a face is found once and then followed.

Following is many times faster than finding, and steadier: each frame is turned, scaled and enlarged
as the face stood in the frame before, so that the landmarks' predictor always starts from the same
place in the face, and its whole pixels are fractions of the frame's.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .. import faces
from ..face_geometry import POINTS, TEMPLATE, Pixels, Points, fit, misfit
from .geometry import sharp_warp

CHIP = 192
"""Pixels a side of the picture in which a face is followed, cut as by `face_geometry.align`."""
LOOK_EVERY = 25
"""Frames after which the face is looked for again, to be sure that it is still followed."""

GROWTH = 1.25
"""A face that grows or shrinks by more from one frame to the next is looked for again."""
FADED = 0.5
"""A frame with less than this share of the contrast before may be damaged: the face is looked for.

Some videos of GRID have plain grey frames, in which the landmarks' predictor finds a face too.
"""

_LOOK = 128  # pixels a side of the picture in which it is looked for
_BOXES = ((0, 0, 0), (2, 2, 0))  # right, down, larger by: pixels of the chip


class LostFaceError(faces.NoFaceError):
    """There is no face to follow in some frame of a clip."""


class FaceFollower(faces.FaceFinder, Protocol):
    """A finder of faces that also tells the landmarks of a face whose place is known."""

    def follow(self, chip: Pixels) -> Points:
        """Landmarks of a face in a picture cut for it.

        Args:
            chip: (192, 192, 3) uint8, as `face_geometry.align` cuts it, nearly.

        Returns:
            (68, 2) pixels.
        """
        ...


class DlibFollower(faces.DlibFinder):
    """dlib's landmarks, from the same start in each frame: the mean of two starts."""

    def follow(self, chip: Pixels) -> Points:
        """Landmarks of a face in a picture cut for it, see `FaceFollower`."""
        left, top, right, bottom = (round(share * CHIP) for share in faces.FACE_BOX)
        total = np.zeros((POINTS, 2))
        for across, down, more in _BOXES:
            box = self._dlib.rectangle(
                left + across - more, top + down - more, right + across + more, bottom + down + more
            )
            total += self._landmarks(chip, box)
        return total / len(_BOXES)


def track(frames: NDArray[np.uint8], follower: FaceFollower, name: str = "clip") -> Points:
    """Find the landmarks of one face through a clip: that which is widest in its first frame.

    Args:
        frames: (T, H, W, 3) uint8, T >= 1.
        follower: finds and follows.
        name: what to call the clip in errors.

    Returns:
        (T, 68, 2) pixels of the frames.

    Raises:
        LostFaceError: there is no face in some frame.
        SmallFaceError: the face is too small, or the frames are.
        ValueError: not such frames.
    """
    if frames.ndim != 4 or not len(frames):
        raise ValueError(f"{name}: frames {frames.shape}; expected (T, H, W, 3)")
    found = np.empty((len(frames), POINTS, 2))
    start = 0
    while start < len(frames):
        end = min(start + LOOK_EVERY, len(frames))
        before = found[start - 1] if start else _find(frames, 0, follower, name)
        if not _followed(frames, found, start, end, before, follower):
            for row in range(start, end):  # rare: a cut, a turned head, a hand before the face
                near = found[row - 1] if row else None
                found[row] = _step(frames[row], _find(frames, row, follower, name, near), follower)
        start = end
    return found


def _followed(
    frames: NDArray[np.uint8],
    found: Points,
    start: int,
    end: int,
    before: Points,
    follower: FaceFollower,
) -> bool:
    """Fill in frames start to end; whether there is still a face at the last of them."""
    if not start:
        before = _step(frames[0], before, follower)  # what the finder gave is only near
    contrast = _contrast(frames[max(start - 1, 0)])
    for row in range(start, end):
        found[row] = _step(frames[row], before, follower)
        growth = found[row].std() / before.std()
        if not 1 / GROWTH < growth < GROWTH or misfit(found[row]) > faces.MISFIT:
            return False
        if _contrast(frames[row]) < FADED * contrast:
            return False
        before = found[row]
    there = fit(before, TEMPLATE * _LOOK)
    seen = follower.find(sharp_warp(frames[end - 1], there, _LOOK))
    return faces.nearest_to_crop(seen, _LOOK) is not None


def _step(frame: Pixels, near: Points, follower: FaceFollower) -> Points:
    """Landmarks in a frame, from where they are nearly."""
    there = fit(near, TEMPLATE * CHIP)
    return there.inverse()(follower.follow(sharp_warp(frame, there, CHIP, sharp=False)))


def _contrast(frame: Pixels) -> float:
    return float(frame[::4, ::4].std())


def _find(
    frames: NDArray[np.uint8],
    row: int,
    follower: FaceFollower,
    name: str,
    near: Points | None = None,
) -> Points:
    """Landmarks of the face nearest to some, or of the widest."""
    try:
        seen = faces.find_faces(frames[row], follower, f"{name}, frame {row}")
    except faces.SmallFaceError:
        raise
    except faces.NoFaceError as error:
        raise LostFaceError(str(error)) from error
    if near is None:
        return max(seen, key=lambda face: face.width).landmarks
    goal = near.mean(0)
    return min(
        seen, key=lambda face: float(np.linalg.norm(face.landmarks.mean(0) - goal))
    ).landmarks
