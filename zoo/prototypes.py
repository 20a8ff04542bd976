"""Ageing by prototypes: faces moved to another age as the mean faces of the age groups differ.

The classical method (Rowland & Perrett 1995; Tiddeman et al. 2001), without a network: faces are
warped to one shape, where the means of two groups differ by colour, and by how strong detail is;
a face is given both differences, and the shape of the target age. It needs the age group of the
face. Here it gives a generator something to begin with where nobody is known at two ages.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from .ages import COUNT
from .spline import warped

SIGMAS = (0.8, 1.6, 3.2, 6.4)
"""Of the Gaussians, in pixels of a face of 128, between which bands of detail lie."""
SPREAD = 5.0
"""Of the Gaussian over which the strength of detail is averaged, in the same pixels."""
LEAST, MOST = 0.4, 2.5
"""Gains of detail are limited to them."""
BESIDE, ABOVE, EDGE = 0.06, 0.3, 0.05
"""How far changes reach beside and above the landmarks, and how softly they end, in sides."""
STRONGER = 1.5
"""Differences count so much more, as means are blurred where faces of a group differ."""
PART = 64


class Prototypes:
    """Mean faces of the age groups, and what tells them apart.

    Args:
        images: (N, 3, S, S) uint8, aligned faces; of each group at least one.
        landmarks: (N, 136), of each.
        groups: (N,) int64, 0 to 9.

    Raises:
        ValueError: a group has no face.
    """

    def __init__(self, images: Tensor, landmarks: Tensor, groups: Tensor) -> None:
        counts = torch.bincount(groups.cpu(), minlength=COUNT)
        if not counts.all():
            raise ValueError(f"prototypes need faces of all age groups; {counts.tolist()} are here")
        size, place = images.shape[2], images.device
        self.shape = landmarks.mean(0, keepdim=True)
        colours = torch.zeros(COUNT, 3, size, size, device=place)
        strengths = torch.zeros(COUNT, len(SIGMAS) - 1, 1, size, size, device=place)
        for rows in torch.arange(len(images), device=place).split(PART):
            faces = images[rows] / 127.5 - 1
            faces = warped(faces, landmarks[rows], self.shape.expand(len(rows), -1))
            colours.index_add_(0, groups[rows], faces)
            detail = torch.stack(bands(faces), 1).square().mean(2, keepdim=True)
            strengths.index_add_(0, groups[rows], detail)
        shares = 1 / counts.to(place)[:, None, None, None]
        self.colours = blurred(colours * shares, SIGMAS[1] * size / 128)
        means = (strengths * shares[:, None]).flatten(0, 1)
        self.strengths = blurred(means, SPREAD * size / 128).clamp(min=1e-8).sqrt()
        self.strengths = self.strengths.view(COUNT, -1, 1, size, size)
        self.where = face_area(self.shape, size)

    def aged(
        self, images: Tensor, landmarks: Tensor, sources: Tensor, targets: Tensor, moved: Tensor
    ) -> Tensor:
        """Faces at another age.

        Args:
            images: (B, 3, S, S) in [-1, 1].
            landmarks: (B, 136), theirs.
            sources: (B,) int64, their age groups.
            targets: (B,) int64, the groups asked for.
            moved: (B, 136), their landmarks at the target age.

        Returns:
            (B, 3, S, S) in [-1, 1].
        """
        shape = self.shape.expand(len(images), -1)
        face = warped(images, landmarks, shape)
        gains = (self.strengths[targets] / self.strengths[sources]) ** STRONGER
        gains = gains.clamp(LEAST, MOST) - 1
        change = STRONGER * (self.colours[targets] - self.colours[sources])
        change = change + (gains * torch.stack(bands(face), 1)).sum(1)
        change = warped(change * self.where, shape, moved)
        return (warped(images, landmarks, moved) + change).clamp(-1, 1)


def bands(images: Tensor) -> list[Tensor]:
    """Detail of images (B, C, S, S) between the Gaussians of `SIGMAS`, the finest first."""
    scale = images.shape[2] / 128
    seen = [blurred(images, sigma * scale) for sigma in SIGMAS]
    return [fine - coarse for fine, coarse in pairwise(seen)]


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images (B, C, S, S) under a Gaussian of so many pixels, edges repeated outwards."""
    reach = max(1, round(3 * sigma))
    weights = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    weights = (-(weights / sigma).square() / 2).exp()
    weights = weights / weights.sum()
    shape = images.shape
    flat = images.reshape(-1, 1, *shape[2:])
    flat = functional.pad(flat, (reach,) * 4, mode="replicate")
    flat = functional.conv2d(flat, weights.view(1, 1, 1, -1))
    return functional.conv2d(flat, weights.view(1, 1, -1, 1)).view(shape)


def face_area(landmarks: Tensor, size: int) -> Tensor:
    """Where a face lies, with its hair line: an oval about the landmarks with soft edges.

    Args:
        landmarks: (B, 136), in sides.
        size: S, pixels a side.

    Returns:
        (B, 1, S, S) float32 in [0, 1].
    """
    points = landmarks.float().view(len(landmarks), -1, 2)
    low, high = points.amin(1) - BESIDE, points.amax(1) + BESIDE
    low = torch.stack([low[:, 0], low[:, 1] - ABOVE], 1)
    middle, half = (low + high) / 2, (high - low) / 2
    steps = (torch.arange(size, device=landmarks.device) + 0.5) / size
    across = (steps - middle[:, :1]) / half[:, :1]
    down = (steps - middle[:, 1:]) / half[:, 1:]
    # A superellipse: fuller than an ellipse, as a face with its hair is.
    inside = 1 - (across[:, None, :] ** 4 + down[:, :, None] ** 4) ** 0.25
    return (inside * half.mean(1)[:, None, None] / EDGE).clamp(0, 1)[:, None]
