"""Drawn faces and birds."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from neuralpaint.backend import media
from neuralpaint.envs.procedural_subjects import Picture, bird, face

Draw = Callable[[np.random.Generator, int, int], Picture]


@pytest.fixture(params=[face, bird])
def draw(request: pytest.FixtureRequest) -> Draw:
    chosen: Draw = request.param
    return chosen


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_pictures_repeat_and_differ(draw: Draw) -> None:
    first, again = draw(rng(1), 40, 50), draw(rng(1), 40, 50)
    assert first.image.shape == (40, 50, 3)
    assert first.mask.shape == (40, 50)
    assert first.image.dtype == first.mask.dtype == np.float32
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    pictures = {draw(rng(seed), 20, 20).image.tobytes() for seed in range(20)}
    assert len(pictures) == 20


def test_values_lie_in_range_and_subjects_in_the_picture(draw: Draw) -> None:
    for seed in range(60):
        image, mask = draw(rng(seed), 48, 48)
        assert 0 <= image.min() <= image.max() <= 1
        assert 0 <= mask.min() <= mask.max() == 1
        assert 0.03 < mask.mean() < 0.8
        assert mask[20:28, 20:28].mean() > 0.25  # about the middle
        sizes = np.bincount(ndimage.label(mask > 0.5)[0].ravel())[1:]
        assert sizes.max() > 0.9 * sizes.sum()  # thin legs may fall apart in few pixels


def test_masks_are_exact(draw: Draw) -> None:
    for seed in range(10):
        image, mask = draw(rng(seed), 64, 64)
        large, _ = draw(rng(seed), 64, 128)
        # The wider picture has the same subject in its middle, before a stretched background,
        # of which nothing shows through where the mask is 1.
        part = large[:, 32:96]
        inside = mask == 1
        assert np.abs(image - part)[inside].max() < 0.35
        assert np.abs(image - part)[inside].mean() < 0.02
        assert np.abs(image - part)[mask == 0].mean() > np.abs(image - part)[inside].mean()


def test_pictures_are_the_same_at_every_size(draw: Draw) -> None:
    for seed in range(6):
        small, large = draw(rng(seed), 32, 40), draw(rng(seed), 128, 160)
        again = media.resize(large.image, 32, 40)
        assert np.abs(small.image - again).mean() < 0.02
        planes = np.repeat(large.mask[:, :, None], 3, axis=2)
        assert np.abs(small.mask - media.resize(planes, 32, 40)[:, :, 0]).mean() < 0.02


def test_edges_are_smooth(draw: Draw) -> None:
    _, mask = draw(rng(0), 128, 128)
    partly = (mask > 0) & (mask < 1)
    assert 0.005 < partly.mean() < 0.1


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 3)])
def test_tiny_pictures(draw: Draw, shape: tuple[int, int]) -> None:
    for seed in range(10):
        image, mask = draw(rng(seed), *shape)
        assert image.shape == (*shape, 3)
        assert np.isfinite(image).all()
        assert np.isfinite(mask).all()
