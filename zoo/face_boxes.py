"""The box of a face in its crop: what ageing may change, and what lies outside."""

import torch
from torch import Tensor

BORDER = 0.05
"""Share of the side that a face's box is larger than its landmarks by."""


def face_box(landmarks: Tensor) -> Tensor:
    """Where faces are: about the landmarks, with the forehead, which has none.

    From the brows to the hair it is half as far as from the brows to the chin, as a face has three
    parts of about one height (Farkas 1994).

    Args:
        landmarks: (N, 136), in sides of the picture.

    Returns:
        (N, 4) left, top, right, bottom, in sides, larger by `BORDER`; they may lie outside.
    """
    points = landmarks.double().unflatten(1, (-1, 2))
    (left, top), (right, bottom) = points.amin(1).T, points.amax(1).T
    top = top - (bottom - top) / 2
    return torch.stack([left - BORDER, top - BORDER, right + BORDER, bottom + BORDER], 1)


def joined(first: Tensor, second: Tensor) -> Tensor:
    """The smallest boxes (N, 4) about both of two boxes."""
    low, high = first[:, :2].minimum(second[:, :2]), first[:, 2:].maximum(second[:, 2:])
    return torch.cat([low, high], 1)


def outside(boxes: Tensor, size: int) -> Tensor:
    """Which pixels lie outside.

    Args:
        boxes: (N, 4) left, top, right, bottom, in sides.
        size: S, pixels a side.

    Returns:
        (N, S, S) bool, True for pixels whose middle lies outside.
    """
    middles = (torch.arange(size, dtype=boxes.dtype, device=boxes.device) + 0.5) / size
    left, top, right, bottom = boxes.T[:, :, None]
    columns = (middles < left) | (middles > right)
    rows = (middles < top) | (middles > bottom)
    found: Tensor = rows[:, :, None] | columns[:, None, :]
    return found
