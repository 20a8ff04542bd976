"""From what a user gives to what talks: a face in its crop. Sounds are read by `sounds`.

Faces are found as LDcGAN's are and cut out to the template of the talking faces.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..face_geometry import Pixels, Points, Similarity, checked
from ..faces import EXTRA, FaceError, FaceFinder, check_image, find_faces, has_dlib
from ..ldcgan_photos import PhotoLike, read_photo
from .geometry import place


class TalkingFace(NamedTuple):
    """A face that shall talk.

    Attributes:
        name: of the photo.
        image: (S, S, 3) uint8, cut out to the template of `geometry`.
        landmarks: (68, 2) float64, pixels of the crop.
        transform: mapping from the photo to the crop.
        notes: what the user should know.
    """

    name: str
    image: Pixels
    landmarks: Points
    transform: Similarity
    notes: tuple[str, ...]

    @classmethod
    def placed(cls, image: Pixels, landmarks: Points, name: str = "the face") -> "TalkingFace":
        """A face that is in its crop already, as a frame of a clip.

        Args:
            image: (S, S, 3) uint8.
            landmarks: (68, 2), pixels.
            name: of it.

        Returns:
            The face.

        Raises:
            ValueError: not such an image or landmarks.
        """
        check_image(image)
        if image.shape[0] != image.shape[1]:
            raise ValueError(f"{name}: {image.shape}; a face in its crop is square")
        return cls(name, image, checked(landmarks), Similarity(1, 0, 0, 0), ())


FaceLike: TypeAlias = PhotoLike | TalkingFace
"""A photo, or a face that is cut out already."""


def read_face(
    photo: FaceLike,
    size: int,
    finder: FaceFinder,
    index: int | None = None,
    *,
    name: str = "the photo",
) -> TalkingFace:
    """Read a photo, find a face and cut it out.

    Args:
        photo: path, PIL image, or array as of `media.as_image`; or a face, which is taken as it is.
        size: S, pixels a side of the crop.
        finder: finds faces.
        index: which face, from left to right from 0; None = the largest.
        name: what to call the photo if it has no name of its own.

    Returns:
        The face.

    Raises:
        TypeError: `index` is not a whole number.
        MediaError: the photo cannot be read.
        FaceError: no face, or none that can be used (names the photo).
        ValueError: the chosen face is not there, or one that is given is of another size.
    """
    if isinstance(photo, TalkingFace):
        if len(photo.image) != size:
            raise ValueError(f"{photo.name}: {len(photo.image)} pixels a side; must be {size}")
        return photo
    if index is not None and (isinstance(index, bool) or not isinstance(index, int)):
        raise TypeError(
            f"face_index is the number of a face, from left to right from 0, not {index!r:.40}"
        )
    read = read_photo(photo, name)
    try:
        found = find_faces(read.pixels, finder, read.name)
    except FaceError as error:
        text = str(error)  # a finder does not know what the photo is called
        raise type(error)(text if text.startswith(read.name) else f"{read.name}: {text}") from None
    if index is not None and not 0 <= index < len(found):
        raise ValueError(
            f"{read.name}: there is no face {index}; it has {len(found)}, which are counted from "
            "left to right from 0"
        )
    chosen = max(range(len(found)), key=lambda i: found[i].width) if index is None else index
    face, notes = found[chosen], list[str]()
    if index is None and len(found) > 1:
        notes.append(
            f"{read.name}: {len(found)} faces; the largest talks, number {chosen} from left to "
            "right from 0; choose another by its number"
        )
    image, transform = place(read.pixels, face.landmarks, size)
    landmarks = transform(face.landmarks)
    if face.score == 0:
        hint = "" if has_dlib() else f"; to have faces found in photos: {EXTRA}"
        notes.append(f"{read.name}: taken for a face cropped as those of UTKFace are{hint}")
    elif _cut(transform, read.pixels, size):
        notes.append(f"{read.name}: the face is near the border; what lies beyond it was guessed")
    if read.grey:
        notes.append(f"{read.name}: has no colours; the video may have some")
    return TalkingFace(read.name, image, landmarks, transform, tuple(notes))


def _cut(transform: Similarity, photo: Pixels, size: int) -> bool:
    """Whether more than a tenth of the crop's side lies beyond the photo."""
    corners = transform.inverse()([(0, 0), (size, 0), (0, size), (size, size)])
    beyond = np.maximum(-corners, corners - np.array(photo.shape[1::-1])).max()
    return bool(beyond * transform.scale > size / 10)


def several(values: object, what: str) -> list[Any] | None:
    """A list of inputs if one was given; None for a single one.

    Args:
        values: what the user gave.
        what: they are, for the error.

    Returns:
        The list, or None.

    Raises:
        ValueError: an empty list.
    """
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes, bytearray, TalkingFace)):
        return None
    if isinstance(values, tuple) and len(values) == 2 and isinstance(values[1], (int, np.integer)):
        return None  # samples and their rate
    if not values:
        raise ValueError(f"an empty list: give at least one {what}")
    return list(values)
