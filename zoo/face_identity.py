"""Whether two faces are the same person's: dlib's embedding, and verification by its distances.

The embedding judges; it is never trained on here and appears in no loss.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .face_geometry import Similarity, warp
from .faces import load_dlib, model_file

DIMENSIONS = 128
CHIP = 150
"""Pixels a side of what the embedding network looks at."""
CHIP_WIDTH = 1.5 / 1.4
"""Side of that chip in sides of a crop: dlib pads the former by 1/4, UTKFace by 1/5, about one
middle."""
FALSE_ACCEPTS = 1e-3
"""Share of pairs of different people that a threshold lets through."""


class Verification(NamedTuple):
    """How sure a judge is that pairs of faces show the same people (thesis Table 4.3).

    Attributes:
        rate: share of the pairs that are accepted, in [0, 1].
        confidence: in per cent, averaged over the pairs: the share of the pairs of different
            people that are further apart than a pair is. 50 for different people by definition.
        threshold: distance below which a pair is accepted.
        distance: mean distance of the pairs.
    """

    rate: float
    confidence: float
    threshold: float
    distance: float


class DlibEmbedding:
    """dlib's face recognition network (King 2017): 128 numbers for a face.

    Faces of one person are less than 0.6 apart as a rule. It was trained on photos of adults for
    the most part and tells children apart less well.

    Raises:
        ImportError: the `faces` extra is not installed.
    """

    def __init__(self) -> None:
        path = model_file("dlib_face_recognition_resnet_model_v1.dat")
        self._network = load_dlib().face_recognition_model_v1(str(path))

    def __call__(
        self,
        faces: Tensor,
        *,
        batch: int = 16,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """Embed cropped faces.

        They are aligned already, so no landmarks are looked for, which might fail on what a
        network generated. What the network sees beyond a crop repeats its border.

        Args:
            faces: (N, 3, S, S) uint8, crops as those of UTKFace.
            batch: faces at a time.
            report: called with how many are done, of how many.

        Returns:
            (N, 128) float32.

        Raises:
            ValueError: not such faces.
        """
        if faces.dtype != torch.uint8 or faces.ndim != 4 or faces.shape[1] != 3:
            raise ValueError(
                f"faces {faces.dtype} {tuple(faces.shape)}: expected uint8 (N, 3, S, S)"
            )
        size = faces.shape[3]
        scale = CHIP / (CHIP_WIDTH * size)
        there = Similarity(scale, 0.0, (CHIP - scale * size) / 2, (CHIP - scale * size) / 2)
        rows = np.empty((len(faces), DIMENSIONS), np.float32)
        for first in range(0, len(faces), batch):
            some = faces[first : first + batch].permute(0, 2, 3, 1).cpu().numpy()
            chips = [np.rint(warp(face, there, CHIP, CHIP)).astype(np.uint8) for face in some]
            found = self._network.compute_face_descriptor(chips)
            rows[first : first + len(some)] = [np.asarray(vector) for vector in found]
            report(first + len(some), len(faces))
        return torch.from_numpy(rows)


def impostor_distances(embeddings: Tensor, identity: Tensor | None = None) -> Tensor:
    """Distances between faces of different people.

    Args:
        embeddings: (N, D) float, N >= 2.
        identity: (N,) int64, pairs of one number are left out; -1 = unknown, which counts as a
            person of its own. None = all are different people. (UTKFace does not say who is who
            and has some people twice; such pairs lower a threshold, which makes it stricter.)

    Returns:
        (P,) float32, Euclidean, sorted.

    Raises:
        ValueError: no pair is of different people.
    """
    first, second = torch.triu_indices(len(embeddings), len(embeddings), 1)
    if identity is not None:
        same = (identity[first] == identity[second]) & (identity[first] >= 0)
        first, second = first[~same], second[~same]
    if not len(first):
        raise ValueError("no pair of different people among the embeddings")
    found = torch.cdist(embeddings.double(), embeddings.double())[first, second]
    return found.float().sort().values


def threshold(impostors: Tensor, false_accepts: float = FALSE_ACCEPTS) -> float:
    """The largest distance that lets at most a share of pairs of different people through.

    Args:
        impostors: (P,) distances of such pairs, see `impostor_distances`.
        false_accepts: the share, in (0, 1).

    Returns:
        A distance; pairs that are nearer (not as near) are accepted.

    Raises:
        ValueError: fewer pairs than 1 / `false_accepts`, which cannot show so small a share.
    """
    if not 0 < false_accepts < 1:
        raise ValueError(f"false_accepts {false_accepts}: expected a share between 0 and 1")
    needed = math.ceil(1 / false_accepts)
    if len(impostors) < needed:
        raise ValueError(
            f"{len(impostors)} pairs of different people cannot show a false accept rate of "
            f"{false_accepts:g}; at least {needed} are needed, {_faces_for(needed)} faces"
        )
    allowed = math.floor(false_accepts * len(impostors) + 1e-9)
    return float(impostors.sort().values[allowed])


def verify(
    faces: Tensor, others: Tensor, impostors: Tensor, false_accepts: float = FALSE_ACCEPTS
) -> Verification:
    """Verify pairs of faces.

    Args:
        faces: (N, D) embeddings.
        others: (N, D), of what shall be the same people.
        impostors: (P,) distances between different people.
        false_accepts: see `threshold`.

    Returns:
        The rate and what else there is to say.

    Raises:
        ValueError: shapes that differ, no pair, or too few impostors.
    """
    if faces.shape != others.shape or faces.ndim != 2 or not len(faces):
        raise ValueError(
            f"embeddings {tuple(faces.shape)} and {tuple(others.shape)} are not one pair or more"
        )
    limit = threshold(impostors, false_accepts)
    apart = (faces.double() - others.double()).norm(dim=1)
    ordered = impostors.double().sort().values
    # Ties count half, so that different people get 50 % whatever their distances.
    below = torch.searchsorted(ordered, apart)
    upto = torch.searchsorted(ordered, apart, right=True)
    further = 1 - (below + upto) / (2 * len(ordered))
    return Verification(
        rate=float((apart < limit).double().mean()),
        confidence=100 * float(further.mean()),
        threshold=limit,
        distance=float(apart.mean()),
    )


def _faces_for(pairs: int) -> int:
    """How many faces have as many pairs."""
    return math.ceil((1 + math.sqrt(1 + 8 * pairs)) / 2)
