"""Is there a face on the painting? Two classical detectors behind one small interface.

Both are local, fixed and need no network: OpenCV's Haar cascade and dlib's HOG. They stand in for
the FaceNet detector of thesis Fig 6.8, whose weights are not always to be had, so every rate names
its detector, and stands beside a ceiling and a floor taken with the same detector.

Cropped data sets cut faces tightly, and both detectors want to see some surroundings: the picture
is padded by its mirror image first. A face whose centre lies in the mirror does not count. On 200
held-out faces of UTKFace (128 x 128) the cascade finds 64.5 % without padding and 98.5 % with a
quarter of the side; half the side finds no more, and enlarging the picture mistakes more birds for
faces: 8 % of 200 in place of 6.5 % (benchmarks/face_detection.py).
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..backend.media import ImageArray, to_uint8

PAD = 0.25
"""Mirrored border as a share of the shorter side."""

SMALLEST = 1 / 8
"""Smallest face that the cascade looks for, as a share of the shorter side."""


class Box(NamedTuple):
    """Where a face is, in pixels of the image; it may reach over the edges.

    Attributes:
        left: column of the left edge.
        top: row of the upper edge.
        width: in pixels.
        height: in pixels.
    """

    left: int
    top: int
    width: int
    height: int


class FaceDetector(Protocol):
    """What a face detector has to offer.

    Attributes:
        name: detector, version and settings; printed beside every rate.
    """

    name: str

    def find(self, image: ImageArray) -> list[Box]:
        """Look for faces.

        Args:
            image: (H, W, 3) float32 RGB in [0, 1].

        Returns:
            A box for each face.
        """
        ...


class DetectionRate(NamedTuple):
    """Share of paintings on which at least one face is found, never without its context.

    Attributes:
        rate: on the paintings, 0 to 1.
        ceiling: on the target photos themselves.
        floor: on the empty canvases that the paintings start from.
        pictures: how many.
        detector: its name.
    """

    rate: float
    ceiling: float
    floor: float
    pictures: int
    detector: str

    def __str__(self) -> str:
        return (
            f"{self.rate:.1%} of {self.pictures} paintings (photos {self.ceiling:.1%}, "
            f"empty canvases {self.floor:.1%}; {self.detector})"
        )


class HaarDetector:
    """OpenCV's frontal face cascade (Viola and Jones 2001), the file "alt2".

    Args:
        pad: mirrored border as a share of the shorter side, 0 to 1.
        scale: how many times to enlarge the picture first.

    Raises:
        ImportError: no OpenCV, or version 5, which has no cascades.
    """

    def __init__(self, pad: float = PAD, scale: int = 1) -> None:
        need = "the Haar face detector needs OpenCV 4: pip install 'neuralpaint[train]'"
        try:
            import cv2
        except ImportError as error:
            raise ImportError(need) from error
        if not hasattr(cv2, "CascadeClassifier"):
            raise ImportError(f"{need} (version {cv2.__version__} is here, without cascades)")
        self._cv2 = cv2
        file = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
        self._cascade = cv2.CascadeClassifier(str(file))
        if self._cascade.empty():
            raise ImportError(f"{need} ({file} of this installation cannot be read)")
        self._pad, self._scale = pad, scale
        self.name = f"OpenCV {cv2.__version__} Haar frontal face alt2, {_settings(pad, scale)}"

    def find(self, image: ImageArray) -> list[Box]:
        """See `FaceDetector.find`."""
        cv2, scale = self._cv2, self._scale
        gray = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2GRAY)
        if scale != 1:
            gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        border = _border(gray, self._pad)
        least = int(SMALLEST * min(gray.shape))
        found = self._cascade.detectMultiScale(
            np.pad(gray, border, mode="reflect"),
            scaleFactor=1.1,
            minNeighbors=3,
            minSize=(least, least),
        )
        return _inside([tuple(int(v) for v in box) for box in found], border, scale, image)


LEAST_SCORE = 0.2
"""Of dlib's detector; at its own 0 it takes a part of the astronaut's suit for a face."""


class DlibDetector:
    """dlib's frontal face detector: histograms of oriented gradients and a linear classifier.

    Args:
        pad: mirrored border as a share of the shorter side, 0 to 1.
        doublings: of the picture's size, first; faces below 80 pixels are missed otherwise.

    Raises:
        ImportError: no dlib.
    """

    def __init__(self, pad: float = PAD, doublings: int = 1) -> None:
        try:
            dlib = importlib.import_module("dlib")  # by name: it has no types to check against
        except ImportError as error:
            raise ImportError(
                "the dlib face detector needs dlib: pip install 'neuralpaint[faces]'"
            ) from error
        self._detect: Any = dlib.get_frontal_face_detector()
        self._pad, self._doublings = pad, doublings
        self.name = f"dlib {dlib.__version__} HOG frontal face, {_settings(pad, 2**doublings)}"

    def find(self, image: ImageArray) -> list[Box]:
        """See `FaceDetector.find`."""
        border = _border(image, self._pad)
        padded = np.pad(to_uint8(image), (*[(border, border)] * 2, (0, 0)), mode="reflect")
        found, _, _ = self._detect.run(padded, self._doublings, LEAST_SCORE)
        boxes = [(box.left(), box.top(), box.width(), box.height()) for box in found]
        return _inside(boxes, border, 1, image)


DETECTORS: dict[str, Callable[[], FaceDetector]] = {"haar": HaarDetector, "dlib": DlibDetector}


def load_detector(name: str = "haar") -> FaceDetector:
    """A detector by its short name.

    Args:
        name: "haar" or "dlib".

    Returns:
        The detector with its default settings.

    Raises:
        ValueError: an unknown name.
        ImportError: its package is absent; the text names the extra to install.
    """
    if name not in DETECTORS:
        raise ValueError(f"face detector {name!r} is unknown; known: {', '.join(DETECTORS)}")
    return DETECTORS[name]()


def has_face(detector: FaceDetector, image: ImageArray) -> bool:
    """Whether at least one face is found.

    Args:
        detector: which one.
        image: (H, W, 3) float32 RGB in [0, 1].
    """
    return len(detector.find(image)) > 0


def _settings(pad: float, scale: int) -> str:
    return f"padded {pad:.0%}, scale {scale}"


def _border(image: NDArray[Any], pad: float) -> int:
    """Width of the mirrored border in pixels; a mirror shows at most what is there."""
    side: int = min(image.shape[:2])
    return min(round(pad * side), side - 1)


def _inside(
    boxes: Sequence[tuple[int, ...]], border: int, scale: int, image: ImageArray
) -> list[Box]:
    """Boxes back in the image's pixels, less those whose centre lies in the mirrored border."""
    height, width = image.shape[:2]
    kept = []
    for left, top, across, down in boxes:
        middle = ((left - border + across / 2) / scale, (top - border + down / 2) / scale)
        if 0 <= middle[0] < width and 0 <= middle[1] < height:
            place = (left - border, top - border, across, down)
            kept.append(Box(*(round(value / scale) for value in place)))
    return kept
