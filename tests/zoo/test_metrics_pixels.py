"""PSNR, SSIM and MS-SSIM against scikit-image, scipy and values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.data import astronaut
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from neuralpaint.zoo.metrics.pixels import SCALES, ms_ssim, psnr, scales_of, ssim


def photo(side: int, channels: int = 3) -> Tensor:
    image = astronaut()[100 : 100 + side, 180 : 180 + side, :channels]
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].double() / 255


def spoiled(image: Tensor, seed: int, amount: float = 0.1) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + amount * noise).clamp(0, 1)


def noise(count: int, side: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def array(image: Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


def test_psnr_by_hand() -> None:
    black = torch.zeros(3, 3, 4, 4)
    other = torch.stack([black[0] + 1, black[0] + 0.1, black[0]])
    assert psnr(other, black).tolist() == pytest.approx([0, 20, math.inf], abs=1e-5)


@pytest.mark.parametrize("amount", [0.01, 0.1, 0.5])
def test_psnr_is_that_of_skimage(amount: float) -> None:
    image = photo(48)
    other = spoiled(image, 1, amount)
    expected = peak_signal_noise_ratio(array(image), array(other), data_range=1)
    assert psnr(other, image).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("side", "amount"), [(11, 0.1), (64, 0.02), (64, 0.3), (97, 0.1)])
def test_ssim_is_that_of_skimage(side: int, amount: float) -> None:
    image = photo(side)
    other = spoiled(image, 2, amount)
    expected = structural_similarity(
        array(image),
        array(other),
        channel_axis=2,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(other, image).item() == pytest.approx(expected, abs=1e-9)


def reference_ms_ssim(x: np.ndarray, y: np.ndarray, scales: int) -> float:
    """One channel, by scipy's filter: window radius 5, borders cut off."""
    exponents = np.array(SCALES[:scales]) / sum(SCALES[:scales])
    value = 1.0
    for scale in range(scales):

        def blur(a: np.ndarray) -> np.ndarray:
            return gaussian_filter(a, 1.5, radius=5)[5:-5, 5:-5]

        contrast = 2 * (blur(x * y) - blur(x) * blur(y)) + 0.03**2
        contrast /= blur(x * x) - blur(x) ** 2 + blur(y * y) - blur(y) ** 2 + 0.03**2
        if scale == scales - 1:
            light = (2 * blur(x) * blur(y) + 0.01**2) / (blur(x) ** 2 + blur(y) ** 2 + 0.01**2)
            contrast = contrast * light
        value *= contrast.mean() ** exponents[scale]
        x, y = block_reduce(x, 2, np.mean), block_reduce(y, 2, np.mean)
    return float(value)


@pytest.mark.parametrize(("side", "scales"), [(64, 3), (128, 4), (176, 5), (256, 5)])
def test_ms_ssim_is_that_of_scipy(side: int, scales: int) -> None:
    assert scales_of(side, side) == scales
    image = photo(side, 1)
    other = spoiled(image, 3, 0.2)
    expected = reference_ms_ssim(image[0, 0].numpy(), other[0, 0].numpy(), scales)
    assert ms_ssim(other, image).item() == pytest.approx(expected, abs=1e-9)


@given(height=st.integers(11, 2000), width=st.integers(11, 2000))
def test_the_coarsest_scale_holds_a_window(height: int, width: int) -> None:
    count = scales_of(height, width)
    assert 1 <= count <= 5
    assert min(height, width) // 2 ** (count - 1) >= 11
    assert count == 5 or min(height, width) // 2**count < 11


def test_weights_of_fewer_scales_are_shared_out_anew() -> None:
    # At one scale the exponent is 1: MS-SSIM is SSIM, whatever the first weight.
    image = photo(16)
    other = spoiled(image, 4)
    assert scales_of(16, 16) == 1
    assert ms_ssim(other, image).item() == pytest.approx(ssim(other, image).item(), abs=1e-9)


def test_floor_and_ceiling() -> None:
    one, two = noise(8, 64, 0), noise(8, 64, 1)
    # E (u - v)^2 = 1/6 of independent uniform u, v
    assert psnr(one, two).mean().item() == pytest.approx(10 * math.log10(6), abs=0.05)
    assert ssim(one, two).mean().abs().item() < 0.03
    assert ms_ssim(one, two).mean().item() < 0.1
    for figure in (ssim, ms_ssim):
        assert figure(one, one).tolist() == pytest.approx([1] * 8, abs=1e-12)
    assert (ssim(1 - one, one) < -0.5).all()
    assert (ms_ssim(1 - one, one) == 0).all()


@settings(max_examples=10)
@given(side=st.integers(11, 40), seed=st.integers(0, 100))
def test_symmetric_and_the_worse_the_lower(side: int, seed: int) -> None:
    image = noise(1, side, seed) * 0.5 + 0.25
    near, far = spoiled(image, seed + 1, 0.02), spoiled(image, seed + 1, 0.2)
    for figure in (psnr, ssim, ms_ssim):
        assert figure(near, image).item() > figure(far, image).item()
        assert figure(near, image).item() == pytest.approx(figure(image, near).item(), rel=1e-9)


def test_a_batch_is_its_pictures_alone() -> None:
    images, targets = noise(3, 32, 0), noise(3, 32, 1)
    for figure in (psnr, ssim, ms_ssim):
        alone = [figure(i[None], t[None]).item() for i, t in zip(images, targets, strict=True)]
        assert figure(images, targets).tolist() == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "floating point"),
        (torch.full((1, 3, 16, 16), 1.5), r"\[0, 1\]"),
        (torch.full((1, 3, 16, 16), math.nan), r"\[0, 1\]"),
        (torch.zeros(1, 3, 16, 17), "both be"),
        (torch.zeros(3, 16, 16), "both be"),
    ],
)
def test_what_is_refused(images: Tensor, message: str) -> None:
    for figure in (psnr, ssim, ms_ssim):
        with pytest.raises(ValueError, match=message):
            figure(images, torch.zeros(1, 3, 16, 16))


def test_windows_need_room() -> None:
    small = torch.zeros(1, 3, 10, 40)
    for figure in (ssim, ms_ssim):
        with pytest.raises(ValueError, match="11 pixels"):
            figure(small, small)
    assert psnr(small, small).item() == math.inf
