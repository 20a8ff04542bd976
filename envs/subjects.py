"""Where the subject of a photo is: GrabCut (Rother et al. 2004) from a prior at the centre.

It stands in for M of thesis Eq 6.3 where a data set has no masks. OpenCV cuts; the colour models
that it starts from are made here, because its own are drawn with a random generator that the whole
thread shares.
"""

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..backend import files, media

Image = NDArray[np.float32]
Mask = NDArray[np.float32]

Kind = Literal["object", "face"]
KINDS: tuple[Kind, ...] = get_args(Kind)

WORKING_SIDE = 128
"""Longer side in pixels of the picture that is cut; the mask is enlarged from there."""
ROUNDS = 4
COMPONENTS = 5
"""Gaussians in each colour model, as OpenCV has them."""
SMALLEST, LARGEST = 0.03, 0.97
"""Subjects outside these shares of the picture are none: little more than the prior's core."""
FLAT = 2.0
"""Pictures whose values (of 255) deviate less than this in every channel have no subject."""
VERSION = 1
"""Goes up whenever the masks change, so that cached ones are made anew."""


class Prior(NamedTuple):
    """An ellipse in which the subject is expected, in shares of the picture's sides.

    Attributes:
        radii: half axes, down and across.
        middle: row of the centre; its column is the middle one.
        core: inside this share of the ellipse everything is subject.
        outside: beyond this multiple of the ellipse everything is background ...
        above: ... as far as it lies above this row.
    """

    radii: tuple[float, float]
    middle: float
    core: float
    outside: float
    above: float


# Chosen by looking at aligned face crops and bird crops. Faces fill their crop down to the lower
# edge, so only its upper corners are surely background.
PRIORS: dict[Kind, Prior] = {
    "object": Prior(radii=(0.42, 0.38), middle=0.5, core=0.2, outside=1.3, above=1.0),
    "face": Prior(radii=(0.56, 0.47), middle=0.53, core=0.5, outside=1.22, above=0.5),
}


def subject_mask(image: Image, kind: Kind = "object") -> Mask:
    """Cut the subject out of a photo.

    Of what GrabCut finds, the largest connected part is kept and its holes are filled.

    Args:
        image: (H, W, 3) RGB float32 in [0, 1].
        kind: "object", something whole around the centre with background on all sides, or "face",
            a close-up of a head, whose hair, ears and neck count as subject.

    Returns:
        (H, W) float32, 1 on the subject and 0 elsewhere; zeros where no subject is found. The same
        picture gives the same mask, and no random generator is used.

    Raises:
        ImportError: OpenCV is not there.
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind of subject {kind!r} is unknown; known: {', '.join(KINDS)}")
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "finding subjects needs OpenCV: pip install 'neuralpaint[train]'"
        ) from error
    height, width = image.shape[:2]
    nothing = np.zeros((height, width), dtype=np.float32)
    scale = min(1.0, WORKING_SIDE / max(height, width))
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    small = media.to_uint8(media.resize(image, rows, columns))
    if small.std((0, 1)).max() < FLAT:
        return nothing

    distance = _ellipse(PRIORS[kind], rows, columns)
    labels = np.where(distance < 1, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[distance < PRIORS[kind].core] = cv2.GC_FGD
    far = distance > PRIORS[kind].outside
    far[round(rows * PRIORS[kind].above) :] = False
    labels[far] = cv2.GC_BGD
    inside = distance < 1
    if inside.all() or not inside.any():  # pictures of a few pixels
        return nothing
    outer, inner = _colour_model(small[~inside]), _colour_model(small[inside])
    bgr = np.ascontiguousarray(small[:, :, ::-1])
    no_box = (0, 0, 0, 0)  # GC_EVAL starts from the labels and the models
    cv2.grabCut(bgr, labels, no_box, outer, inner, ROUNDS, cv2.GC_EVAL)

    subject = _largest_part((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    if not SMALLEST <= subject.mean() <= LARGEST:
        return nothing
    planes = np.repeat(subject[:, :, None].astype(np.float32), 3, axis=2)
    return (media.resize(planes, height, width)[:, :, 0] >= 0.5).astype(np.float32)


def cached_mask(
    path: str | os.PathLike[str],
    kind: Kind = "object",
    *,
    image: Image | None = None,
    folder: Path | None = None,
) -> Mask:
    """The mask of an image file, cut once and kept on disk.

    It is kept under the content of the file, not its name. A cached mask that cannot be read, or
    has another size than the image, is made anew.

    Args:
        path: the image file.
        kind: see `subject_mask`.
        image: its pixels (H, W, 3), if they were read already.
        folder: where the masks are kept; see `cache_folder`.

    Returns:
        (H, W) float32 of 0 and 1; zeros where no subject is found.

    Raises:
        MediaError: the image cannot be read.
        UnwritableFolderError: the cache cannot be written to.
        ImportError: OpenCV is not there.
    """
    file = files.input_file(path, media.MediaError)
    image = media.read_image(file) if image is None else image
    folder = cache_folder() if folder is None else folder
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = folder / f"{digest}-{kind}-{VERSION}.png"
    try:
        kept = media.read_image(entry, max_pixels=image.shape[0] * image.shape[1])[:, :, 0]
        if kept.shape == image.shape[:2] and np.isin(kept, (0, 1)).all():
            return np.ascontiguousarray(kept)
    except media.MediaError:
        pass  # absent or damaged: made below
    mask = subject_mask(image, kind)
    try:
        files.writable_folder(folder)
    except files.UnwritableFolderError as error:
        raise files.UnwritableFolderError(f"{error}: set XDG_CACHE_HOME") from error
    media.write_image(entry, mask)
    return mask


def cache_folder() -> Path:
    """Where masks are kept: neuralpaint/masks in $XDG_CACHE_HOME, by default ~/.cache.

    Returns:
        The folder, which may not exist yet.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neuralpaint" / "masks"


def _ellipse(prior: Prior, rows: int, columns: int) -> NDArray[np.float64]:
    """Distance from the prior's centre, 1 on its ellipse: (rows, columns)."""
    y = ((np.arange(rows) + 0.5) / rows - prior.middle) / prior.radii[0]
    x = ((np.arange(columns) + 0.5) / columns - 0.5) / prior.radii[1]
    return np.hypot(y[:, None], x[None, :])


def _colour_model(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A mixture of Gaussians in OpenCV's layout: weights, means (B, G, R), covariances.

    The pixels are sorted along their principal axis and cut into equal shares, a beginning that
    GrabCut's own rounds refine.

    Args:
        pixels: (N, 3) RGB, N >= 1.

    Returns:
        (1, 13 * COMPONENTS).
    """
    values = pixels[:, ::-1].astype(np.float64)
    centred = values - values.mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = np.argsort(centred @ axis, kind="stable")
    weights, means, covariances = [], [], []
    for share in np.array_split(order, COMPONENTS):
        part = values[share] if len(share) else values
        weights.append(len(share) / len(values))
        means.append(part.mean(0))
        deviation = part - part.mean(0)
        # One level of noise keeps the covariance of a flat part invertible.
        covariances.append(deviation.T @ deviation / len(part) + np.eye(3))
    return np.concatenate([weights, np.ravel(means), np.ravel(covariances)])[None]


def _largest_part(subject: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part without twigs that are two pixels wide, its holes filled."""
    labels, count = ndimage.label(ndimage.binary_opening(subject))
    if count == 0:
        return np.zeros_like(subject)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0  # the background
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(labels == sizes.argmax())
    return filled
