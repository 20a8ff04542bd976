"""Faces in photos: found, with their 68 landmarks, behind one small interface.

`DlibFinder` is the one that comes with the `faces` extra; anything with its method `find` can take
its place, such as a wrapper of face-alignment, which the thesis uses. `CropFinder` needs no extra
and finds nothing: it takes a square picture for a face that is cropped as those of UTKFace are.
Landmarks and pixels are as in `face_geometry`.
"""

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .face_geometry import TEMPLATE, Pixels, Points, Similarity, fit, misfit, warp

EXTRA = "pip install 'neuralpaint[faces]'"
SMALLEST = 40
"""Pixels that a face must be wide: the finder's window of 80 in a picture enlarged twice."""
LARGEST_CROP = 256
"""A square picture of up to this many pixels a side may be a face that is cropped already."""
FACE_BOX = (0.05, 0.05, 0.91, 0.92)
"""Left, top, right, bottom of what dlib calls the face, on average, as shares of a crop's side."""
LEAST, WEAK = 0.2, -0.25
"""Scores from which a face is accepted: anywhere, and if it fills a picture that may be a crop.

Of 300 faces of UTKFace 98 % reach the first; of 10,687 pictures 99.8 % the second, the others being
turned away, or no faces. No bird among 300 of CUB-200-2011, at 128x128, reaches either. dlib's own
0 takes a badge or a flag for a face now and then.
"""
MISFIT = 0.15
"""Landmarks with a larger `misfit` are none: half as much again as the worst of 10,662 faces."""

SCAN, TURNED_SCAN = 1024, 640
"""Longer side in pixels of the picture that is looked through, upright and turned."""
LARGEST_SCAN = 4096
TURNS = (90, 270, 180, 45, 315, 135, 225)
"""Degrees that a photo is turned by if no face is upright; the finder bears some 25 more or less"""
TINY_SCAN = 512
"""Up to this longer side a picture is enlarged further, to say how small its faces are."""

_NOWHERE = Path("face_recognition_models/models")


class FaceError(ValueError):
    """A picture whose faces cannot be used; the text names it and the remedy."""


class NoFaceError(FaceError):
    """No face is found in a picture."""


class SmallFaceError(FaceError):
    """The faces in a picture, or the picture, have too few pixels."""


class FoundFace(NamedTuple):
    """A face in a picture.

    Attributes:
        box: left, top, right, bottom, pixels; it may reach over the border.
        landmarks: (68, 2) float64, pixels, in the order of iBUG 300-W; they may lie outside.
        score: how sure the finder is, higher is surer, in units of its own; 0 if it only assumes.
    """

    box: tuple[float, float, float, float]
    landmarks: Points
    score: float

    @property
    def width(self) -> float:
        """Of the box, pixels."""
        return self.box[2] - self.box[0]


class FaceFinder(Protocol):
    """Whatever finds faces."""

    def find(self, image: Pixels) -> list[FoundFace]:
        """Find all faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces in any order; none if there are none.
        """
        ...


def find_faces(image: Pixels, finder: FaceFinder, name: str = "image") -> list[FoundFace]:
    """Find the faces that can be worked on.

    Args:
        image: (H, W, 3) uint8 RGB. (Grey pictures have three equal channels, see
            `media.as_image`.)
        finder: finds them.
        name: what to call the picture in errors.

    Returns:
        At least one face, from left to right. Those that are too small are left out if there are
        others.

    Raises:
        NoFaceError: no face is found, or its landmarks are nothing like a face's.
        SmallFaceError: the picture, or all its faces, are smaller than `SMALLEST`.
        ValueError: not such an image.
    """
    check_image(image)
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST:
        raise SmallFaceError(
            f"{name}: a picture of {width}x{height} pixels is too small; a face has to be at least "
            f"{SMALLEST} pixels wide"
        )
    found = finder.find(image)
    if not found:
        raise NoFaceError(
            f"{name}: no face found. Faces are found that look towards the camera (not in "
            f"profile), are at least {SMALLEST} pixels wide and stand free; try another photo, "
            "turn it upright, or cut the face out and say that it is cropped"
        )
    large = [face for face in found if face.width >= SMALLEST]
    if not large:
        widest = max(face.width for face in found)
        raise SmallFaceError(
            f"{name}: the face is {widest:.0f} pixels wide, too small; it has to be at least "
            f"{SMALLEST} pixels wide: take a larger copy of the photo"
        )
    usable = [face for face in large if _plausible(face.landmarks)]
    if not usable:
        raise NoFaceError(
            f"{name}: a face is found, but its landmarks are not those of a face (it may be "
            "covered or turned away); try another photo"
        )
    return sorted(usable, key=lambda face: face.box[0] + face.box[2])


def nearest_to_crop(found: Iterable[FoundFace], size: int) -> FoundFace | None:
    """Of the faces found in a crop, the one that the crop was made for.

    Args:
        found: in the crop.
        size: pixels a side of the crop.

    Returns:
        The one whose landmarks are nearest to the average face's, None if there is none within a
        quarter of the side.
    """
    goal = TEMPLATE * size

    def distance(face: FoundFace) -> float:
        return float(np.linalg.norm(face.landmarks - goal, axis=1).mean())

    best = min(found, key=distance, default=None)
    return best if best is not None and distance(best) < size / 4 else None


class CropFinder:
    """Takes a square picture for a face that is cropped and aligned as those of UTKFace are.

    Its landmarks are those of the average face, whatever the picture shows.
    """

    def find(self, image: Pixels) -> list[FoundFace]:
        """Assume a face.

        Args:
            image: (S, S, 3) uint8 RGB.

        Returns:
            One face with score 0.

        Raises:
            NoFaceError: the picture is not square.
        """
        check_image(image)
        height, width = image.shape[:2]
        if height != width:
            raise NoFaceError(
                f"a picture of {width}x{height} pixels is not a cropped face, which is square; to "
                f"have faces found in photos: {EXTRA}"
            )
        left, top, right, bottom = (share * width for share in FACE_BOX)
        return [FoundFace((left, top, right, bottom), TEMPLATE * width, 0.0)]


class DlibFinder:
    """dlib's HOG detector (King 2009) and its 68 landmarks (Kazemi and Sullivan 2014).

    The landmarks' predictor was trained on 300-W, whose terms exclude commercial use.

    Upright faces are looked for first, then, only if there are none, smaller ones and faces turned
    by any angle. A square picture of up to `LARGEST_CROP` pixels a side may be a cropped face: in
    it one that fills most of it is accepted from a lower score on, `WEAK`. An object must not be
    used by several threads at once.
    """

    def __init__(self) -> None:
        self._dlib = load_dlib()
        self._detector = self._dlib.get_frontal_face_detector()
        path = model_file("shape_predictor_68_face_landmarks.dat")
        self._predictor = self._dlib.shape_predictor(str(path))

    def find(self, image: Pixels) -> list[FoundFace]:
        """Find all faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces, the surest first; none if there are none. Those of several sizes are found,
            from some 4 % of the picture's longer side on.

        Raises:
            ValueError: not such an image.
        """
        check_image(image)
        longer = max(image.shape[:2])
        found = self._look(image, SCAN)
        if not found and longer > SCAN:
            found = self._look(image, LARGEST_SCAN, enlarge=0)
        for turn in TURNS:
            if not found:
                found = self._look(image, TURNED_SCAN, turn=turn)
        for enlarge in (2, 3):
            if not found and longer <= TINY_SCAN:
                found = self._look(image, TINY_SCAN, enlarge=enlarge)
        return found

    def _look(
        self, image: Pixels, scan: int, *, enlarge: int = 1, turn: int = 0
    ) -> list[FoundFace]:
        """Look once through the picture, reduced to `scan` pixels and turned clockwise."""
        height, width = image.shape[:2]
        view, there = _view(image, scan, turn)
        may_be_crop = height == width <= LARGEST_CROP and not turn
        boxes, scores, _ = self._detector.run(view, enlarge, WEAK if may_be_crop else LEAST)
        back = there.inverse()
        faces = list[FoundFace]()
        for box, score in sorted(zip(boxes, scores, strict=True), key=lambda pair: -pair[1]):
            if score < LEAST and box.width() < 0.6 * width:
                continue
            landmarks = back(self._landmarks(view, box))
            if view is not image:
                landmarks = self._again(image, landmarks)
            middle = back([(box.left() + box.right() + 1) / 2, (box.top() + box.bottom() + 1) / 2])
            half = (box.right() - box.left() + 1) / 2 * back.scale
            left, top = (middle - half).tolist()
            right, bottom = (middle + half).tolist()
            faces.append(FoundFace((left, top, right, bottom), landmarks, float(score)))
        return faces

    def _again(self, image: Pixels, landmarks: Points) -> Points:
        """Landmarks from the pixels of the picture itself, upright and well sized."""
        there = fit(landmarks, TEMPLATE * LARGEST_CROP)
        crop = np.rint(warp(image, there, LARGEST_CROP, LARGEST_CROP)).astype(np.uint8)
        left, top, right, bottom = (round(share * LARGEST_CROP) for share in FACE_BOX)
        box = self._dlib.rectangle(left, top, right - 1, bottom - 1)
        return there.inverse()(self._landmarks(crop, box))

    def _landmarks(self, view: Pixels, box: Any) -> Points:
        parts = self._predictor(view, box).parts()
        return np.array([(part.x + 0.5, part.y + 0.5) for part in parts], np.float64)


def has_dlib() -> bool:
    """Whether the `faces` extra is installed; nothing is loaded."""
    return all(
        importlib.util.find_spec(name) is not None for name in ("dlib", "face_recognition_models")
    )


def load_dlib() -> Any:
    """The dlib module.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise ImportError(
            f"finding faces needs dlib: {EXTRA}. Without it, give a face that is cropped already, "
            "square and as those of UTKFace are, and say so"
        ) from error


def model_file(name: str) -> Path:
    """A file of the package face_recognition_models, which is located but not imported.

    (It imports pkg_resources, which newer versions of setuptools lack.)

    Args:
        name: of the file.

    Returns:
        Its path.

    Raises:
        ImportError: the package or the file is not there; names the extra.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    folders: Sequence[str] = (spec.submodule_search_locations or []) if spec is not None else []
    for folder in folders:
        file = Path(folder) / "models" / name
        if file.is_file():
            return file
    raise ImportError(f"finding faces needs {_NOWHERE / name}: {EXTRA}")


def check_image(image: NDArray[np.generic]) -> None:
    """Refuse what is no picture.

    Args:
        image: (H, W, 3) uint8.

    Raises:
        ValueError: another shape or type, or no pixels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image {image.dtype} {image.shape}: expected uint8 (H, W, 3)")


def _plausible(landmarks: Points) -> bool:
    try:
        return misfit(landmarks) <= MISFIT
    except ValueError:
        return False


def _view(image: Pixels, scan: int, turn: int) -> tuple[Pixels, Similarity]:
    """The picture reduced to `scan` pixels and turned clockwise, and the mapping to that view."""
    height, width = image.shape[:2]
    scale = min(1.0, scan / max(height, width))
    if scale == 1 and not turn:
        return np.ascontiguousarray(image), Similarity(1, 0, 0, 0)
    angle = np.deg2rad(turn)
    a, b = scale * float(np.cos(angle)), scale * float(np.sin(angle))
    turned = Similarity(a, b, 0, 0)
    corners = turned([(0, 0), (width, 0), (0, height), (width, height)])
    low, high = corners.min(0), corners.max(0)
    columns, rows = (max(1, round(side)) for side in (high - low).tolist())
    there = turned.then(-float(low[0]), -float(low[1]))
    if turn:
        view = warp(image, there, rows, columns)
        return np.rint(np.clip(view, 0, 255)).astype(np.uint8), there
    small = Image.fromarray(image).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(small), there
