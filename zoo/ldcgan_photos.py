"""From what a user gives to cropped faces: photos are read, faces found, chosen and cut out."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..backend.media import as_image, read_image, to_uint8
from .face_geometry import Pixels, Points, Similarity, align
from .faces import (
    EXTRA,
    LARGEST_CROP,
    CropFinder,
    DlibFinder,
    FaceError,
    FaceFinder,
    FoundFace,
    NoFaceError,
    find_faces,
    has_dlib,
)

PhotoLike: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[Any]


class Photo(NamedTuple):
    """A photo in memory.

    Attributes:
        name: of it, in messages and in provenance.
        pixels: (H, W, 3) uint8 RGB, upright.
        grey: whether it has no colours.
    """

    name: str
    pixels: Pixels
    grey: bool


class FaceCrop(NamedTuple):
    """A face cut out of a photo.

    Attributes:
        photo: which photo of the call, from 0.
        number: which face of the photo, from 0, from left to right.
        image: (S, S, 3) uint8.
        landmarks: (68, 2) pixels of the crop.
        transform: mapping from the photo to the crop.
    """

    photo: int
    number: int
    image: Pixels
    landmarks: Points
    transform: Similarity


class SharedFinder:
    """dlib where the `faces` extra is installed, one caller at a time.

    Without it, a square picture of up to `LARGEST_CROP` pixels a side is taken for a cropped face.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._dlib: DlibFinder | None = None

    def find(self, image: Pixels) -> list[FoundFace]:
        """Find all faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces; none if there are none.

        Raises:
            NoFaceError: the extra is missing, and the picture is not one that may be a crop.
        """
        if has_dlib():
            with self._lock:
                if self._dlib is None:
                    self._dlib = DlibFinder()
                return self._dlib.find(image)
        height, width = image.shape[:2]
        if height != width or width > LARGEST_CROP:
            raise NoFaceError(
                f"a picture of {width}x{height} pixels; to have faces found in photos: {EXTRA}. "
                f"Without that, give a cropped face: a square of up to {LARGEST_CROP} pixels a "
                "side that shows a face as the pictures of UTKFace do"
            )
        return CropFinder().find(image)


def listed(photos: object) -> list[PhotoLike]:
    """One photo or several, as a list.

    Args:
        photos: path, PIL image, array, or a sequence of them.

    Returns:
        At least one photo, not yet read.

    Raises:
        TypeError: something else.
        ValueError: an empty sequence.
    """
    if isinstance(photos, (str, os.PathLike, Image.Image, np.ndarray)):
        return [photos]
    if not isinstance(photos, Sequence) or isinstance(photos, (bytes, bytearray)):
        raise TypeError(
            f"a photo is a path, a PIL image or an array, or a list of them, not "
            f"{type(photos).__name__}"
        )
    for number, photo in enumerate(photos, 1):
        if not isinstance(photo, (str, os.PathLike, Image.Image, np.ndarray)):
            raise TypeError(
                f"photo {number} is a {type(photo).__name__}, not a path, PIL image or array"
            )
    if not photos:
        raise ValueError("there is no photo: give a path, a PIL image or an array")
    return list(photos)


def read_photo(photo: PhotoLike, name: str) -> Photo:
    """Read a photo.

    Args:
        photo: path, PIL image, or array as of `media.as_image`.
        name: what to call it if it has no name of its own.

    Returns:
        The photo, in 8 bits.

    Raises:
        MediaError: it cannot be read (names it).
    """
    if isinstance(photo, (str, os.PathLike)):
        name, image = Path(photo).name, read_image(photo)
    else:
        image = as_image(photo, name=name)
    pixels = to_uint8(image)
    grey = bool((pixels[:, :, :1] == pixels[:, :, 1:]).all())
    return Photo(name, pixels, grey)


def check_choice(face: Any) -> list[int] | None:
    """Which faces of each photo shall be aged.

    Args:
        face: number of one face from 0, several, or None for all.

    Returns:
        The numbers in order, each once.

    Raises:
        TypeError: not whole numbers.
        ValueError: none, or one below 0.
    """
    if face is None:
        return None
    several = isinstance(face, Sequence) and not isinstance(face, str)
    found = set[int]()
    for number in face if several else [face]:
        if isinstance(number, bool) or not isinstance(number, SupportsIndex):
            raise TypeError(
                f"face is the number of a face, from left to right from 0, not {number!r:.40}"
            )
        found.add(number.__index__())
    numbers = sorted(found)
    if not numbers or numbers[0] < 0:
        raise ValueError("face: give the number of a face, from left to right from 0")
    return numbers


def cut_out(
    photo: Photo,
    index: int,
    size: int,
    finder: FaceFinder,
    chosen: Sequence[int] | None = None,
) -> tuple[list[FaceCrop], list[str]]:
    """Find the faces of a photo and cut them out.

    Args:
        photo: to look in.
        index: number of the photo.
        size: S, pixels a side of the crops.
        finder: finds faces.
        chosen: numbers of the faces from left to right; None = all.

    Returns:
        The crops, at least one, and notes for the user.

    Raises:
        FaceError: no face, or none that can be used (names the photo).
        ValueError: a chosen face is not there.
    """
    try:
        found = find_faces(photo.pixels, finder, photo.name)
    except FaceError as error:
        text = str(error)  # a finder does not know what the photo is called
        raise type(error)(
            text if text.startswith(photo.name) else f"{photo.name}: {text}"
        ) from None
    if chosen is not None and chosen[-1] >= len(found):
        raise ValueError(
            f"{photo.name}: there is no face {chosen[-1]}; it has {len(found)}, which are counted "
            "from left to right from 0"
        )
    numbers = range(len(found)) if chosen is None else chosen
    height, width = photo.pixels.shape[:2]
    crops, notes = [], []
    for number in numbers:
        face = found[number]
        which = photo.name if len(found) == 1 else f"{photo.name}, face {number}"
        image, transform = align(photo.pixels, face.landmarks, size)
        crops.append(FaceCrop(index, number, image, transform(face.landmarks), transform))
        if face.score == 0:
            hint = "" if has_dlib() else f"; to have faces found in photos: {EXTRA}"
            notes.append(f"{which}: taken for a face cropped as those of UTKFace are{hint}")
        elif (face.landmarks < 0).any() or (face.landmarks > (width, height)).any():
            notes.append(f"{which}: cut by the border; what lies beyond it was guessed")
    return crops, notes
