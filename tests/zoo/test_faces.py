"""Faces in photos: what is refused and why, without dlib; and with it, on a real photo."""

import importlib
import importlib.util
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from neuralpaint.zoo import faces
from neuralpaint.zoo.face_geometry import TEMPLATE, align, misfit
from neuralpaint.zoo.faces import (
    CropFinder,
    DlibFinder,
    FaceFinder,
    FoundFace,
    NoFaceError,
    SmallFaceError,
    find_faces,
    nearest_to_crop,
)

Pixels = NDArray[np.uint8]

BLANK = np.full((300, 400, 3), 128, np.uint8)


def face(left: float, width: float, landmarks: NDArray[np.float64] | None = None) -> FoundFace:
    points = TEMPLATE * width + (left, 20) if landmarks is None else landmarks
    return FoundFace((left, 20, left + width, 20 + width), points, 1.0)


class Fake:
    """Finds what it is told to."""

    def __init__(self, *found: FoundFace) -> None:
        self.found = list(found)

    def find(self, image: Pixels) -> list[FoundFace]:
        return self.found


def test_several_faces_from_left_to_right_without_the_small_ones() -> None:
    found = find_faces(BLANK, Fake(face(250, 90), face(10, 120), face(200, 39)))
    assert [one.box[0] for one in found] == [10, 250]


def test_no_face_says_what_would_help() -> None:
    with pytest.raises(NoFaceError, match=r"me\.jpg: no face found.*profile.*40 pixels.*cropped"):
        find_faces(BLANK, Fake(), "me.jpg")


def test_small_faces_are_refused_with_the_size_that_is_needed() -> None:
    with pytest.raises(SmallFaceError, match=r"16 pixels wide.*at least 40 pixels"):
        find_faces(BLANK, Fake(face(5, 12), face(50, 16)))
    with pytest.raises(SmallFaceError, match=r"picture of 16x16.*at least 40 pixels"):
        find_faces(BLANK[:16, :16], CropFinder())


@pytest.mark.parametrize(
    "bad", [np.full((68, 2), np.nan), np.zeros((68, 2)), np.ones((5, 2)), TEMPLATE[::-1] * 90]
)
def test_landmarks_that_fail(bad: NDArray[np.float64]) -> None:
    assert len(find_faces(BLANK, Fake(face(5, 90, bad), face(200, 90)))) == 1
    with pytest.raises(NoFaceError, match="landmarks"):
        find_faces(BLANK, Fake(face(5, 90, bad)))


@pytest.mark.parametrize(
    "bad", [BLANK[:, :, 0], BLANK.astype(np.float32), BLANK[:0], BLANK[:, :, :2]]
)
def test_what_is_no_picture(bad: Pixels) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
        find_faces(bad, Fake(face(5, 90)))


def test_a_crop_is_taken_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    (found,) = find_faces(picture, CropFinder())
    assert found.score == 0
    assert 0 < found.box[0] < found.box[2] < 90
    np.testing.assert_array_equal(align(picture, found.landmarks, 90)[0], picture)
    with pytest.raises(NoFaceError, match=r"400x300.*neuralpaint\[faces\]"):
        find_faces(BLANK, CropFinder())


def test_the_face_that_a_crop_was_made_for() -> None:
    mine = FoundFace((5, 5, 120, 120), TEMPLATE * 128 + 3, 0.3)
    other = FoundFace((90, 5, 128, 43), TEMPLATE * 40 + (90, 5), 2.0)
    assert nearest_to_crop([other, mine], 128) is mine
    assert nearest_to_crop([other], 128) is None
    assert nearest_to_crop([], 128) is None


def test_without_dlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ImportError, match=r"pip install 'neuralpaint\[faces\]'.*cropped"):
        DlibFinder()


def test_without_the_models_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not faces.has_dlib()
    with pytest.raises(ImportError, match=r"points\.dat: pip install 'neuralpaint\[faces\]'"):
        faces.model_file("points.dat")


def test_views_of_a_photo() -> None:
    photo = np.zeros((300, 600, 3), np.uint8)
    photo[100:120, 400:440] = 255
    for scan, turn in ((600, 0), (300, 0), (300, 90), (300, 45), (150, 225)):
        view, there = faces._view(photo, scan, turn)
        bright = np.argwhere(view[:, :, 0] > 127) + 0.5
        np.testing.assert_allclose(bright.mean(0)[::-1], there([420, 110]), atol=0.6)
    assert faces._view(photo, 300, 90)[0].shape == (300, 150, 3)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    pytest.importorskip("dlib", reason="needs the faces extra: dlib is not installed")
    if not faces.has_dlib():
        pytest.skip("needs the faces extra: face_recognition_models is not installed")
    return DlibFinder()


@pytest.fixture(scope="module")
def astronaut() -> Pixels:
    photo: Any = data.astronaut()
    return np.ascontiguousarray(photo)


def test_the_astronaut(finder: FaceFinder, astronaut: Pixels) -> None:
    (found,) = find_faces(astronaut, finder)
    eyes = found.landmarks[36:48].mean(0)
    assert np.linalg.norm(eyes - (226, 103)) < 5  # read off the photo
    assert 80 < found.width < 110
    assert misfit(found.landmarks) < 0.03
    crop, _ = align(astronaut, found.landmarks)
    (again,) = find_faces(crop, finder)
    apart = np.linalg.norm(again.landmarks - TEMPLATE * 128, axis=1)
    assert apart.mean() < 4  # two faces of UTKFace differ as much
    grey = astronaut.mean(2).astype(np.uint8)[:, :, None].repeat(3, 2)
    (colourless,) = find_faces(grey, finder)
    assert np.linalg.norm(colourless.landmarks - found.landmarks, axis=1).mean() < 3


def test_a_turned_a_small_and_a_large_photo(finder: FaceFinder, astronaut: Pixels) -> None:
    (upright,) = find_faces(astronaut, finder)
    crop, _ = align(astronaut, upright.landmarks)
    turned = np.ascontiguousarray(np.rot90(astronaut, 1))  # counter-clockwise
    (found,) = find_faces(turned, finder)
    expected = np.stack([upright.landmarks[:, 1], 512 - upright.landmarks[:, 0]], 1)
    assert np.linalg.norm(found.landmarks - expected, axis=1).mean() < 4
    assert np.abs(align(turned, found.landmarks)[0].astype(float) - crop).mean() < 8
    large = np.asarray(Image.fromarray(astronaut).resize((1500, 1500), Image.Resampling.BICUBIC))
    (found,) = find_faces(large, finder)
    assert np.linalg.norm(found.landmarks / 1500 * 512 - upright.landmarks, axis=1).mean() < 3
    small = np.asarray(Image.fromarray(astronaut).resize((205, 205), Image.Resampling.BOX))
    with pytest.raises(SmallFaceError, match="at least 40 pixels"):
        find_faces(small, finder)


def test_two_faces_and_one_cut_by_the_border(finder: FaceFinder, astronaut: Pixels) -> None:
    head = astronaut[30:230, 120:320]
    pair = np.ascontiguousarray(np.hstack([head, head[:, ::-1]]))
    found = find_faces(pair, finder)
    assert len(found) == 2
    assert found[0].box[2] < 200 < found[1].box[0]
    # The crop of the face reaches over the upper and right border, the face itself hardly.
    cut = np.ascontiguousarray(astronaut[82:282, 60:266])
    (found_cut,) = find_faces(cut, finder)
    crop, there = align(cut, found_cut.landmarks)
    corners = there.inverse()([(0, 0), (128, 0)])
    assert corners[:, 1].min() < 0 or corners[:, 0].max() > cut.shape[1]
    assert crop.shape == (128, 128, 3)


def test_a_profile_and_no_person_at_all(finder: FaceFinder) -> None:
    profile = data.camera()[40:240, 130:330]  # a man seen from the side
    coffee = data.coffee()[::2, ::2]
    for grey_or_not in (profile[:, :, None].repeat(3, 2), coffee):
        with pytest.raises(NoFaceError, match="not in profile"):
            find_faces(np.ascontiguousarray(grey_or_not), finder)


def test_a_small_square_picture_is_no_face_by_itself(finder: FaceFinder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    for picture in (noise, np.full_like(noise, 128)):
        with pytest.raises(NoFaceError):
            find_faces(picture, finder)
