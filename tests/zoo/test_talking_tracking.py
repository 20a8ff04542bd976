"""Faces followed through clips: a made-up face, a white square, and dlib on a photo that moves."""

import math
from typing import Any

import numpy as np
import pytest

from neuralpaint.zoo.face_geometry import TEMPLATE, Similarity, fit
from neuralpaint.zoo.faces import NoFaceError, SmallFaceError
from neuralpaint.zoo.talking.geometry import sharp_warp, stabilise, towards
from neuralpaint.zoo.talking.tracking import (
    LOOK_EVERY,
    DlibFollower,
    LostFaceError,
    track,
)
from tests.zoo.talking_scenes import Square, scene


def test_a_face_is_found_once_and_then_followed() -> None:
    count = 2 * LOOK_EVERY + 5
    places = [(70 + 20 * math.sin(t / 9), 60 + t / 5, 80 - t / 6) for t in range(count)]
    square = Square()
    found = track(np.stack([scene(*place) for place in places]), square)
    assert found.shape == (count, 68, 2)
    for points, (x, y, side) in zip(found, places, strict=True):
        assert np.abs(points - (TEMPLATE * side + (x - side / 2, y - side / 2))).max() < 1
    assert square.found == 1 + 3  # at the start, and to be sure, once a second
    assert square.followed == count + 1  # the first frame twice


def test_a_cut_is_noticed_and_each_face_found_anew() -> None:
    frames = np.stack([scene(40, 50)] * 10 + [scene(120, 70)] * 10)
    square = Square()
    found = track(frames, square)
    middle = found[:, 36:48].mean((1, 2))
    assert np.abs(middle[:10] - middle[0]).max() < 1
    assert np.allclose(middle[10:], middle[0] + (80 + 20) / 2, atol=1)
    assert square.found > 20


def test_a_face_that_is_lost_is_told_with_its_frame() -> None:
    frames = np.stack([scene(60, 60)] * 40)
    frames[33] = 130  # as in damaged videos of GRID: plain grey
    frames[33] = 100
    with pytest.raises(LostFaceError, match="talk, frame 33: no face found"):
        track(frames, Square(), "talk")
    frames[0] = 0
    with pytest.raises(NoFaceError, match="talk, frame 0: no face found"):
        track(frames, Square(), "talk")


def test_frames_that_cannot_be_used() -> None:
    with pytest.raises(SmallFaceError, match="too small"):
        track(np.zeros((3, 20, 20, 3), np.uint8), Square())
    with pytest.raises(ValueError, match=r"expected \(T, H, W, 3\)"):
        track(np.zeros((0, 60, 60, 3), np.uint8), Square())
    with pytest.raises(ValueError, match="expected uint8"):
        track(np.zeros((2, 60, 60, 3), np.float32), Square())


def test_dlib_follows_a_photo_that_is_moved_about() -> None:
    pytest.importorskip("dlib", reason="needs the faces extra: dlib is not installed")
    from skimage import data

    photo: Any = data.astronaut()
    follower = DlibFollower()
    (face, *_) = follower.find(photo)
    # As large as in GRID, nodding, shifting and coming nearer.
    base = fit(face.landmarks, TEMPLATE * 90 + 19)
    frames, ways = [], []
    for t in range(12):
        angle, scale = math.radians(5 * math.sin(t / 3)), 1 + 0.05 * math.sin(t / 2)
        turn = Similarity(scale * math.cos(angle), scale * math.sin(angle), t / 3 - 4, 3 - t / 4)
        a = complex(turn.a, turn.b) * complex(base.a, base.b)
        down = turn([base.right, base.down])
        ways.append(Similarity(a.real, a.imag, float(down[0]), float(down[1])))
        frames.append(sharp_warp(photo, ways[-1], 128))
    found = track(np.stack(frames), follower)
    at_rest = np.stack([way.inverse()(points) for way, points in zip(ways, found, strict=True)])
    errors = np.linalg.norm(at_rest - at_rest.mean(0), axis=2) * base.scale
    assert errors.mean() < 0.5  # pixels of the frames
    crops, landmarks = stabilise(np.stack(frames), found, still=0)
    wander = landmarks.reshape(-1, 68, 2).std(0).mean() * 128
    assert wander < 0.5
    assert found.reshape(-1, 68, 2)[:, 30].std(0).max() > 1
    moved = np.abs(np.diff(np.stack(frames).astype(float), axis=0))[:, 40:100, 30:100].mean()
    still = np.abs(np.diff(crops.astype(float), axis=0))[:, 40:100, 30:100].mean()
    assert still < moved / 2
    assert towards(found[0]).scale == pytest.approx(0.9, abs=0.5)
