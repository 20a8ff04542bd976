"""The stabilised crop: a head that moves in a made-up clip is held still, by known mappings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo import face_geometry, face_template
from neuralpaint.zoo.face_geometry import Similarity
from neuralpaint.zoo.talking.geometry import (
    MOUTH,
    SHRINK,
    STEADY,
    TEMPLATE,
    mouth_box,
    place,
    sharp_warp,
    stabilise,
    towards,
    transforms,
)


def turned(scale: float, degrees: float, right: float, down: float) -> Similarity:
    angle = math.radians(degrees)
    return Similarity(scale * math.cos(angle), scale * math.sin(angle), right, down)


def smooth(size: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of a few soft waves, so that interpolation has little to lose."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        sum(
            np.sin(2 * np.pi * (generator.uniform(-2, 2) * x + generator.uniform(-2, 2) * y) + k)
            for k in range(4)
        )
        for _ in range(3)
    ]
    return np.asarray(np.rint(127 + 30 * np.stack(waves, 2)), np.uint8)


def test_the_template_is_that_of_the_faces_made_smaller() -> None:
    assert TEMPLATE.min() > 0.15
    assert TEMPLATE.max() < 0.9  # room for a chin that drops
    whole = face_geometry.fit(face_template.TEMPLATE, TEMPLATE)
    assert whole.scale == pytest.approx(SHRINK)
    assert whole.angle == pytest.approx(0)
    inside = whole([(0, 0), (1, 1)])  # all of a crop made for the ageing model is to be seen
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert not set(STEADY) & set(MOUTH)
    with pytest.raises(ValueError, match="read-only"):
        TEMPLATE[0] = 0


@given(st.floats(0.3, 4), st.floats(-180, 180), st.floats(-50, 50), st.floats(-50, 50))
def test_a_face_comes_to_the_template(scale: float, degrees: float, x: float, y: float) -> None:
    there = turned(scale, degrees, x, y)
    assert np.allclose(
        towards(there(TEMPLATE * 128)).inverse()(there(TEMPLATE * 128)), TEMPLATE * 128
    )


def test_a_moving_head_is_held_still() -> None:
    size = 64
    picture = smooth(96)
    face = TEMPLATE * 80 + 8
    moves = [
        turned(1 + 0.1 * math.sin(t / 5), 6 * math.sin(t / 4), 3 * math.sin(t / 3), -t / 5)
        for t in range(12)
    ]
    frames = np.stack([sharp_warp(picture, move, 96) for move in moves])
    points = np.stack([move(face) for move in moves])
    crops, landmarks = stabilise(frames, points, size, still=0)
    assert crops.dtype == np.uint8
    assert landmarks.dtype == np.float32
    assert np.allclose(landmarks.reshape(-1, 68, 2), TEMPLATE, atol=1e-6)
    expected, _ = place(picture, face, size)
    inner = slice(10, -10)  # where no frame's border comes into sight
    difference = np.abs(crops.astype(float) - expected)[:, inner, inner]
    assert difference.max() < 6
    assert difference.mean() < 1
    unmoved = np.abs(frames.astype(float) - frames[0])[:, 20:-20, 20:-20].mean()
    assert unmoved > 8 * difference.mean()


def test_errors_of_landmarks_are_smoothed_away_but_not_the_expression() -> None:
    generator = np.random.default_rng(1)
    still = TEMPLATE * 128
    noisy = still + generator.normal(0, 0.5, (60, 68, 2))
    noisy[30:, MOUTH] += (0, 5)  # the mouth moves at once
    frames = np.zeros((60, 128, 128, 3), np.uint8)

    def shaking(amount: float) -> float:
        ways = transforms(noisy, 128, amount)
        return float(np.std([way([64.0, 64.0]) for way in ways], axis=0).mean())

    assert shaking(2) < 0.6 * shaking(0)
    _, landmarks = stabilise(frames, noisy)
    mouth = landmarks.reshape(60, 68, 2)[:, MOUTH, 1].mean(1) * 128
    assert mouth[30:].mean() - mouth[:30].mean() == pytest.approx(5, abs=0.3)
    assert mouth[30] - mouth[29] == pytest.approx(5, abs=0.7)


def test_even_movement_is_followed_to_the_ends() -> None:
    points = TEMPLATE * 128 + np.arange(9)[:, None, None] * np.array([1.0, -0.5])
    for t, way in enumerate(transforms(points, 128, 2)):
        assert np.allclose(way([10 + t, 20 - t / 2]), (10, 20))


def test_one_frame_is_placed_as_a_clip_is() -> None:
    image = smooth(150)
    points = TEMPLATE * 128 + (12, 7)
    crop, transform = place(image, points)
    crops, landmarks = stabilise(image[None], points[None])
    assert (crops[0] == crop).all()
    assert np.allclose(transform(points).ravel() / 128, landmarks[0], atol=1e-6)
    assert (crop == image[7:135, 12:140]).all()  # moved by whole pixels: nothing is blurred


@pytest.mark.parametrize("scale", [0.08, 0.3, 0.6, 1.0, 1.7])
def test_pixels_land_where_the_mapping_says(scale: float) -> None:
    """A wedge of light, whose value tells the place; far smaller pictures are averages."""
    side = round(60 / scale)
    ramp = np.linspace(0, 255, side + 1)
    middles = (ramp[:-1] + ramp[1:]) / 2
    picture = np.zeros((side, side, 3), np.uint8)
    picture[..., 0] = np.rint(middles)
    picture[..., 1] = np.rint(middles)[:, None]
    result = sharp_warp(picture, Similarity(scale, 0, 2, -3), 56).astype(float)
    x = (np.arange(56) + 0.5 - 2) / scale / side * 255
    y = (np.arange(56) + 0.5 + 3) / scale / side * 255
    assert np.abs(result[20, 4:52, 0] - x[4:52]).max() < 1.6
    assert np.abs(result[4:52, 20, 1] - y[4:52]).max() < 1.6


def test_the_border_is_repeated() -> None:
    picture = np.full((20, 20, 3), 200, np.uint8)
    assert (sharp_warp(picture, Similarity(1, 0, 30, -5), 64) == 200).all()


def test_the_box_of_the_mouth() -> None:
    landmarks = np.full((68, 2), 0.1)
    landmarks[48:, 0] = np.linspace(0.4, 0.6, 20)
    landmarks[48:, 1] = np.linspace(0.7, 0.8, 20)
    box = mouth_box(landmarks.ravel(), 0.25)
    assert box == pytest.approx((0.35, 0.65, 0.65, 0.85))
    lower = landmarks + np.array([0, 0.18])
    both = mouth_box(np.stack([landmarks.ravel(), lower.ravel()]), 0.25)
    assert both == pytest.approx((0.35, 0.65, 0.65, 1.0))  # cut at the border


def test_bad_shapes_are_refused() -> None:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="expected"):
        stabilise(frames, np.zeros((3, 68, 2)))
    with pytest.raises(ValueError, match="one point"):
        stabilise(frames, np.zeros((2, 68, 2)))
    with pytest.raises(ValueError, match="not 68 finite points"):
        towards(np.full((68, 2), np.nan))
    with pytest.raises(ValueError, match="136"):
        mouth_box(np.zeros(100))
