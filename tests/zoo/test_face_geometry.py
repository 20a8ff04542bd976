"""Alignment of faces and the way back into the photo, without any finder of faces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

from neuralpaint.zoo.face_geometry import (
    RIGID,
    TEMPLATE,
    Similarity,
    align,
    fit,
    misfit,
    paste_back,
    warp,
)

SHIFT = Similarity(1, 0, -30, -20)  # the crop's corner is at (30, 20) of the photo


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-1, 1, (3, 3))]
    return (127.5 + 100 * np.stack(waves, -1)).astype(np.uint8)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(
    st.floats(0.05, 20), st.floats(-180, 180), st.floats(-500, 500), st.floats(-500, 500)
)  # fmt: skip
def test_fit_finds_the_mapping_and_its_inverse(
    scale: float, angle: float, right: float, down: float
) -> None:
    turn = np.deg2rad(angle)
    there = Similarity(scale * float(np.cos(turn)), scale * float(np.sin(turn)), right, down)
    points = there(TEMPLATE)
    found = fit(TEMPLATE, points)
    np.testing.assert_allclose(found(TEMPLATE), points, atol=1e-9 * (1000 + scale))
    np.testing.assert_allclose(there.inverse()(points), TEMPLATE, atol=1e-9 * 1000 / scale)
    assert found.scale == pytest.approx(scale)
    assert abs((found.angle - angle + 180) % 360 - 180) < 1e-6


def test_fit_is_the_least_squares_solution() -> None:
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 20, 2))
    expected = SimilarityTransform.from_estimate(source, target)
    assert isinstance(expected, SimilarityTransform)
    found = fit(source, target)
    assert found.angle == pytest.approx(np.rad2deg(expected.rotation))
    assert found.scale == pytest.approx(expected.scale)
    np.testing.assert_allclose((found.right, found.down), expected.translation)


@pytest.mark.parametrize("bad", [np.ones((68, 2)), np.full((68, 2), np.nan), np.zeros((5, 2))])
def test_landmarks_that_fail(bad: NDArray[np.float64]) -> None:
    with pytest.raises(ValueError, match="points"):
        align(noise(50, 50), bad)
    with pytest.raises(ValueError, match="points"):
        misfit(bad)


def test_the_template_is_an_upright_face() -> None:
    left_eye, right_eye = TEMPLATE[36:42].mean(0), TEMPLATE[42:48].mean(0)
    assert left_eye[0] + right_eye[0] == pytest.approx(1, abs=0.03)  # in the middle of the crop
    assert left_eye[1] == pytest.approx(right_eye[1], abs=0.01)
    assert left_eye[1] < TEMPLATE[30, 1] < TEMPLATE[51, 1] < TEMPLATE[57, 1] < TEMPLATE[8, 1] < 1
    assert TEMPLATE.shape == (68, 2)
    assert len(RIGID) == 36
    assert misfit(TEMPLATE * 300 + 7) < 1e-12


def test_misfit_tells_a_face_from_other_points() -> None:
    rng = np.random.default_rng(0)
    assert misfit(TEMPLATE + rng.normal(0, 0.02, (68, 2))) < 0.04
    assert misfit(rng.uniform(size=(68, 2))) > 0.2
    assert misfit(TEMPLATE * (1, -1)) > 0.2  # no reflection


def test_what_is_aligned_already_stays() -> None:
    face = noise(128, 128)
    crop, there = align(face, TEMPLATE * 128)
    np.testing.assert_array_equal(crop, face)
    np.testing.assert_allclose((there.a, there.b, there.right, there.down), (1, 0, 0, 0), atol=1e-9)


@pytest.mark.parametrize("angle", [0, 30, 90, 180, 300])
def test_a_turned_and_larger_face_gives_the_same_crop(angle: float) -> None:
    face = picture(128, 128)
    turn = np.deg2rad(angle)
    a, b = 1.7 * float(np.cos(turn)), 1.7 * float(np.sin(turn))
    middle = np.array([200.0, 220.0]) - Similarity(a, b, 0, 0)([64.0, 64.0])
    into = Similarity(a, b, *middle.tolist())
    photo = np.rint(warp(face, into, 440, 400)).astype(np.uint8)
    crop, there = align(photo, into(TEMPLATE * 128))
    assert there.scale == pytest.approx(1 / 1.7)
    assert np.abs(crop.astype(float) - face).mean() < 1


def test_a_face_cut_by_the_border_is_completed_by_it() -> None:
    face = picture(128, 128)
    crop, _ = align(face[:, 40:], TEMPLATE * 128 - (40, 0))
    np.testing.assert_array_equal(crop[:, 40:], face[:, 40:])
    np.testing.assert_array_equal(crop[:, :40], np.repeat(face[:, 40:41], 40, 1))


def test_warp_by_hand() -> None:
    image = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    np.testing.assert_array_equal(warp(image, Similarity(1, 0, 0, 0), 4, 4), image)
    halved = warp(image, Similarity(0.5, 0, 0, 0), 2, 2)
    np.testing.assert_allclose(halved, image.reshape(2, 2, 2, 2, 3).mean((1, 3)), rtol=1e-6)
    quarter = warp(image, Similarity(0, 1, 4, 0), 4, 4)  # clockwise by 90 degrees
    np.testing.assert_allclose(quarter, np.rot90(image, -1), rtol=1e-6, atol=1e-5)
    moved = warp(image, Similarity(1, 0, 2, 0), 4, 4, outside="zero")
    np.testing.assert_array_equal(moved[:, 2:], image[:, :2])
    assert not moved[:, :2].any()
    np.testing.assert_array_equal(warp(image, Similarity(1, 0, 2, 0), 4, 4)[:, 0], image[:, 0])
    far = warp(image, Similarity(1, 0, 900, 0), 4, 4)
    np.testing.assert_array_equal(far, np.repeat(image[:, :1], 4, 1))


@given(st.floats(0.02, 0.6), st.floats(0, 360))
@settings(deadline=None, max_examples=25)
def test_shrinking_averages(scale: float, angle: float) -> None:
    """A pattern of single pixels becomes grey, not a pattern of its own."""
    photo = np.indices((400, 400)).sum(0) % 2 * 255
    turn = np.deg2rad(angle)
    a, b = scale * float(np.cos(turn)), scale * float(np.sin(turn))
    middle = np.array([4.0, 4.0]) - Similarity(a, b, 0, 0)([200.0, 200.0])
    small = warp(photo[:, :, None], Similarity(a, b, *middle.tolist()), 8, 8)[2:6, 2:6]
    assert abs(small.mean() - 127.5) < 4
    assert np.abs(small - 127.5).max() < 64


def test_an_empty_mask_changes_nothing() -> None:
    photo = noise(200, 180)
    crop = noise(128, 128, 1)
    for mask in (np.zeros((128, 128)), np.full((128, 128), 0.02)):
        np.testing.assert_array_equal(paste_back(photo, crop, mask, SHIFT), photo)


@pytest.mark.parametrize("scale", [0.4, 1.0, 2.7])
def test_nothing_changes_outside_the_mask(scale: float) -> None:
    """The photo's pixels further from the mask than one of the crop's stay, bit by bit."""
    photo = noise(400, 360)
    turn = np.deg2rad(25)
    there = Similarity(scale * float(np.cos(turn)), scale * float(np.sin(turn)), -10, -90)
    mask = np.zeros((128, 128))
    mask[40:90, 30:100] = 1
    result = paste_back(photo, np.zeros((128, 128, 3), np.uint8), mask, there)
    y, x = np.mgrid[:400, :360] + 0.5
    inside = there(np.stack([x, y], -1))
    margin = 1 + scale  # what one pixel of either picture covers
    near = ((inside > np.array([30, 40]) - margin) & (inside < np.array([100, 90]) + margin)).all(2)
    np.testing.assert_array_equal(result[~near], photo[~near])
    deep = ((inside > np.array([35, 45])) & (inside < np.array([95, 85]))).all(2)
    assert deep.sum() > 100
    assert result[deep].max() <= 1


def test_equation_4_4_at_the_same_scale() -> None:
    photo = noise(200, 180)
    crop, mask = noise(128, 128, 1), np.zeros((128, 128))
    mask[20:100, 20:100] = 0.5
    before = photo[20:148, 30:158].astype(float)
    output = mask[:, :, None] * crop + (1 - mask[:, :, None]) * before
    result = paste_back(photo, output / 255, mask, SHIFT)[20:148, 30:158]
    np.testing.assert_array_equal(result[25:95, 25:95], np.rint(output[25:95, 25:95]))


def test_the_photo_keeps_its_own_resolution() -> None:
    """Detail that the crop cannot show: kept where nothing changed, and by its share elsewhere."""
    fine = np.indices((256, 256)).sum(0) % 2 * 60.0 - 30
    photo = (100 + fine)[:, :, None].repeat(3, 2).astype(np.uint8)
    there = Similarity(0.5, 0, 0, 0)
    crop, mask = np.full((128, 128, 3), 100, np.uint8), np.full((128, 128), 0.6)
    crop += np.rint(0.6 * 80).astype(np.uint8)  # towards colours of 180
    middle = (slice(60, 196), slice(60, 196))
    for detail, left in ((0.0, 0.4), (0.5, 0.7), (1.0, 1.0)):
        result = paste_back(photo, crop, mask, there, detail=detail).astype(float)[middle]
        assert result.mean() == pytest.approx(148, abs=0.6)
        assert result.std() == pytest.approx(30 * left, abs=0.6)
    unchanged = paste_back(photo, np.full((128, 128, 3), 100, np.uint8), mask, there, detail=1)
    np.testing.assert_array_equal(unchanged, photo)


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.9])
def test_nothing_changes_outside_the_box(scale: float) -> None:
    photo = noise(300, 320)
    there = Similarity(scale, 0, -20.3, -30.6)
    black, mask = np.zeros((128, 128, 3), np.uint8), np.ones((128, 128))
    box = (0.21, 0.33, 0.77, 0.92)
    result = paste_back(photo, black, mask, there, box=box)
    y, x = np.mgrid[:300, :320] + 0.5
    places = there(np.stack([x, y], -1)) / 128
    inside = ((places >= box[:2]) & (places <= box[2:])).all(2)
    np.testing.assert_array_equal(result[~inside], photo[~inside])
    deep = ((places > np.array(box[:2]) + 0.1) & (places < np.array(box[2:]) - 0.1)).all(2)
    assert result[deep].max() <= 1
    # A box that reaches over the crop is the crop.
    whole = paste_back(photo, black, mask, there, box=(-1, -2, 3, 1.5))
    np.testing.assert_array_equal(whole, paste_back(photo, black, mask, there))


def test_edges_are_soft() -> None:
    photo = np.full((128, 128, 3), 200, np.uint8)
    mask = np.zeros((128, 128))
    mask[:, 40:] = 1
    result = paste_back(photo, np.zeros_like(photo), mask, Similarity(1, 0, 0, 0))
    row = result[64, :, 0].astype(int)
    assert (row[:40] == 200).all()
    assert row[46] == 0
    assert np.abs(np.diff(row)).max() < 100
    assert row[127] == 200  # and the crop's own border


def test_faces_side_by_side_and_over_the_border() -> None:
    photo = noise(128, 200)
    mask = np.zeros((128, 128))
    mask[30:100, 30:100] = 1
    black, white = np.zeros((128, 128, 3), np.uint8), np.ones((128, 128, 3))
    right = Similarity(1, 0, -110, 0)  # the crop reaches over the right border
    first = paste_back(photo, black, mask, Similarity(1, 0, 0, 0))
    both = paste_back(photo, white, mask, right, onto=first)
    np.testing.assert_array_equal(both[40:90, 40:90], 0)
    np.testing.assert_array_equal(both[40:90, 150:200], 255)
    np.testing.assert_array_equal(both[:, 105:135], photo[:, 105:135])
    outside = paste_back(photo, white, mask, Similarity(1, 0, 500, 0))
    np.testing.assert_array_equal(outside, photo)


def test_what_does_not_belong_together() -> None:
    photo, crop, mask = noise(90, 80), noise(128, 128), np.ones((128, 128))
    same = Similarity(1, 0, 0, 0)
    with pytest.raises(ValueError, match="crop"):
        paste_back(photo, crop, mask[1:], same)
    with pytest.raises(ValueError, match="mask: values"):
        paste_back(photo, crop, mask * np.nan, same)
    with pytest.raises(ValueError, match="crop: values"):
        paste_back(photo, crop / 100, mask, same)
    with pytest.raises(ValueError, match="onto"):
        paste_back(photo, crop, mask, same, onto=photo[1:])
    with pytest.raises(ValueError, match="detail"):
        paste_back(photo, crop, mask, same, detail=2)
