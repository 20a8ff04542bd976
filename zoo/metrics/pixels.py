"""PSNR, SSIM and MS-SSIM of pictures against their targets, data range 1 (Sec 2.6.1, 2.6.2).

| figure  | copies | floor                                                                   |
|---------|--------|-------------------------------------------------------------------------|
| PSNR    | inf    | 7.8 dB between independent uniform noises: their mean square is 1/6     |
| SSIM    | 1      | about 0 between independent noises; below 0 where structure is inverted |
| MS-SSIM | 1      | 0, as negative scales are cut at 0                                      |
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

WINDOW = 11
"""Pixels a side of the Gaussian window of SSIM."""
SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2  # of Wang et al. 2004, for data range 1

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of MS-SSIM from the finest scale to the coarsest (Wang et al. 2003, table 1)."""


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (Eq 2.9, 2.10), computed in float64.

    Args:
        images: (B, C, H, W) floating point in [0, 1].
        targets: as `images`.

    Returns:
        (B,) float64 in dB; infinity for copies.

    Raises:
        ValueError: other shapes or kinds, or a value outside [0, 1].
    """
    images, targets = _checked(images, targets)
    return -10 * torch.log10(((images - targets) ** 2).mean((1, 2, 3)))


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity (Eq 2.11; Wang et al. 2004), computed in float64.

    Gaussian windows of 11 x 11 pixels and standard deviation 1.5 wherever they fit wholly, no
    correction of the variances for the sample size, c3 = c2 / 2, every channel by itself.

    Args:
        images: (B, C, H, W) floating point in [0, 1], at least 11 pixels a side.
        targets: as `images`.

    Returns:
        (B,) float64 in [-1, 1], the mean over windows and channels.

    Raises:
        ValueError: other shapes or kinds, too small, or a value outside [0, 1].
    """
    images, targets = _checked(images, targets, WINDOW)
    luminance, structure = _terms(images, targets)
    return (luminance * structure).mean((1, 2, 3))


def scales_of(height: int, width: int) -> int:
    """How many scales MS-SSIM has at a size: 3 at 64 pixels, 4 at 128, 5 from 176 on.

    Args:
        height: in pixels.
        width: in pixels.

    Returns:
        1 to 5; the coarsest still holds a window.
    """
    side = min(height, width)
    count = 0
    while count < len(SCALES) and side >= WINDOW:
        side //= 2
        count += 1
    return count


def ms_ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Multi-scale structural similarity (Wang et al. 2003), computed in float64.

    Contrast and structure count at every scale, luminance at the coarsest; between scales pictures
    are averaged over 2 x 2 pixels (an odd last row or column is left out).

    Reading: the thesis describes windows of one scale, but cites and names the multi-scale index,
    so that one is meant. Its five scales need 176 pixels a side. Smaller pictures have as many of
    them as fit (`scales_of`), from the finest on, and their exponents are divided by their sum, so
    that copies are 1 and figures of different sizes have one meaning, though not one scale: name
    the size beside the figure. Scales where contrast and structure are negative on average count
    as 0, as a power of them is not real.

    Args:
        images: (B, C, H, W) floating point in [0, 1], at least 11 pixels a side.
        targets: as `images`.

    Returns:
        (B,) float64 in [0, 1], the mean over channels.

    Raises:
        ValueError: other shapes or kinds, too small, or a value outside [0, 1].
    """
    images, targets = _checked(images, targets, WINDOW)
    weights = SCALES[: scales_of(*images.shape[-2:])]
    product = torch.ones(images.shape[:2], dtype=torch.float64, device=images.device)  # (B, C)
    for scale, weight in enumerate(weights):
        luminance, structure = _terms(images, targets)
        last = scale == len(weights) - 1
        term = (luminance * structure if last else structure).mean((2, 3))
        product = product * term.clamp(min=0) ** (weight / math.fsum(weights))
        if not last:
            images, targets = functional.avg_pool2d(images, 2), functional.avg_pool2d(targets, 2)
    return product.mean(1)


def _terms(images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance term and product of contrast and structure terms, (B, C, H - 10, W - 10)."""
    place = torch.arange(WINDOW, dtype=torch.float64, device=images.device) - WINDOW // 2
    line = torch.exp(-(place**2) / (2 * SIGMA**2))
    line = line / line.sum()
    # As products with band matrices: in float64 convolutions take four times as long.
    height, width = (_band(side, line) for side in images.shape[-2:])

    def blur(values: Tensor) -> Tensor:
        return height @ (values @ width.T)

    mean, mean_target = blur(images), blur(targets)
    variance = blur(images**2) - mean**2
    variance_target = blur(targets**2) - mean_target**2
    covariance = blur(images * targets) - mean * mean_target
    luminance = (2 * mean * mean_target + _C1) / (mean**2 + mean_target**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variance + variance_target + _C2)


def _band(side: int, line: Tensor) -> Tensor:
    """(side - 10, side): row i holds the window's line from column i on."""
    rows = torch.arange(side - WINDOW + 1, device=line.device)[:, None]
    band = line.new_zeros(len(rows), side)
    band[rows, rows + torch.arange(WINDOW, device=line.device)] = line
    return band


def _checked(images: Tensor, targets: Tensor, least: int = 1) -> tuple[Tensor, Tensor]:
    if images.shape != targets.shape or images.dim() != 4:
        raise ValueError(
            f"pictures and targets must both be (B, C, H, W), got {tuple(images.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if min(images.shape[-2:]) < least:
        raise ValueError(f"pictures must have {least} pixels a side, got {tuple(images.shape)}")
    for values in (images, targets):
        # 8-bit integers would wrap around in the difference and give 28 dB to noise.
        if not values.is_floating_point():
            raise ValueError(f"pictures must be floating point in [0, 1], got {values.dtype}")
        if not ((values >= 0) & (values <= 1)).all():  # NaN too
            raise ValueError("pictures must lie in [0, 1]")
    return images.double(), targets.double()
