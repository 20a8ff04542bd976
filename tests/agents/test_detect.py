from types import SimpleNamespace

import numpy as np
import pytest
from skimage.data import astronaut

from neuralpaint.agents.detect import (
    Box,
    DetectionRate,
    DlibDetector,
    HaarDetector,
    has_face,
    load_detector,
)
from neuralpaint.backend.media import ImageArray, as_image, resize

cv2 = pytest.importorskip("cv2")
FACE = Box(left=178, top=66, width=94, height=112)
"""The astronaut's face, read off the 512 x 512 photo by eye."""


@pytest.fixture(scope="module")
def photo() -> ImageArray:
    return as_image(astronaut())


@pytest.mark.parametrize("pad", [0, 0.25, 0.5])
@pytest.mark.parametrize("scale", [1, 2])
def test_boxes_lie_on_the_face_whatever_the_padding(
    photo: ImageArray, pad: float, scale: int
) -> None:
    (box,) = HaarDetector(pad, scale).find(photo)
    assert box.left + box.width / 2 == pytest.approx(FACE.left + FACE.width / 2, abs=8)
    assert box.top + box.height / 2 == pytest.approx(FACE.top + FACE.height / 2, abs=16)
    assert 0.8 * FACE.width < box.width < 1.2 * FACE.width


def test_a_tight_crop_is_found_thanks_to_its_padding(photo: ImageArray) -> None:
    side = FACE.width - 6
    left, top = FACE.left + 3, FACE.top + 12
    tight = resize(photo[top : top + side, left : left + side], 128, 128)
    assert has_face(load_detector("haar"), tight)
    assert not has_face(HaarDetector(pad=0), tight)


@pytest.mark.parametrize("seed", range(3))
def test_there_is_no_face_on_noise_or_an_empty_canvas(seed: int) -> None:
    noise = np.random.default_rng(seed).random((128, 128, 3), np.float32)
    detector = load_detector("haar")
    assert detector.find(noise) == []
    assert detector.find(np.full((128, 128, 3), seed / 2, np.float32)) == []


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (5, 300)])
def test_tiny_pictures_have_no_face(shape: tuple[int, int]) -> None:
    assert load_detector("haar").find(np.zeros((*shape, 3), np.float32)) == []


def test_the_name_says_version_and_settings() -> None:
    name = HaarDetector(0.5, 2).name
    assert name == f"OpenCV {cv2.__version__} Haar frontal face alt2, padded 50%, scale 2"


def test_a_rate_prints_its_ceiling_and_floor() -> None:
    rate = DetectionRate(0.625, 0.99, 0.0, 200, "some detector")
    expected = "62.5% of 200 paintings (photos 99.0%, empty canvases 0.0%; some detector)"
    assert str(rate) == expected


def test_unknown_detectors_are_refused() -> None:
    with pytest.raises(ValueError, match="'facenet' is unknown; known: haar, dlib"):
        load_detector("facenet")


@pytest.mark.parametrize(
    ("module", "name", "extra"), [("cv2", "haar", "train"), ("dlib", "dlib", "faces")]
)
def test_an_absent_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, extra: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'neuralpaint\[{extra}\]'"):
        load_detector(name)


def test_opencv_5_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", SimpleNamespace(__version__="5.0.0"))
    with pytest.raises(ImportError, match=r"needs OpenCV 4.*5\.0\.0 is here"):
        load_detector("haar")


def test_dlib_is_asked_on_the_padded_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def box(left: int, top: int, width: int, height: int) -> SimpleNamespace:
        values = {"left": left, "top": top, "width": width, "height": height}
        return SimpleNamespace(**{name: lambda v=value: v for name, value in values.items()})

    seen: list[tuple[tuple[int, ...], str, int]] = []

    def detect(
        image: np.ndarray, doublings: int, least: float
    ) -> tuple[list[SimpleNamespace], list[float], list[int]]:
        seen.append((image.shape, str(image.dtype), doublings))
        # On the picture; with its centre in the mirrored border of 2 pixels.
        return [box(3, 4, 6, 6), box(-2, 0, 6, 8)], [1.0, least], [0, 0]

    detector_of_dlib = SimpleNamespace(run=detect)
    fake = SimpleNamespace(__version__="20.0", get_frontal_face_detector=lambda: detector_of_dlib)
    monkeypatch.setitem(__import__("sys").modules, "dlib", fake)
    detector = DlibDetector(pad=0.25)
    assert detector.find(np.zeros((8, 12, 3), np.float32)) == [Box(1, 2, 6, 6)]
    assert seen == [((12, 16, 3), "uint8", 1)]
    assert detector.name == "dlib 20.0 HOG frontal face, padded 25%, scale 2"


def test_the_real_dlib_finds_the_astronaut(photo: ImageArray) -> None:
    pytest.importorskip("dlib")
    (box,) = load_detector("dlib").find(photo)
    assert box.left + box.width / 2 == pytest.approx(FACE.left + FACE.width / 2, abs=16)
    assert box.top + box.height / 2 == pytest.approx(FACE.top + FACE.height / 2, abs=20)
