"""The stroke: 13 numbers in [0, 1] that describe one brush stroke (thesis Eq 6.1).

| index | field      | meaning                                                              |
|-------|------------|----------------------------------------------------------------------|
| 0, 1  | x0, y0     | start point P0 in canvas widths / heights, origin top left, y down   |
| 2, 3  | x1, y1     | middle control point, relative: P1 = P0 + (P2 - P0) * (x1, y1)       |
| 4, 5  | x2, y2     | end point P2 in canvas widths / heights                              |
| 6, 8  | z0, z1     | thickness at the ends: radius = z * shorter side / 4 + half a pixel  |
| 7, 9  | v0, v1     | opacity at the ends: 1 opaque, 0 invisible                           |
| 10-12 | r, g, b    | colour                                                               |

Thickness and opacity change linearly along the curve parameter t. With ``control="absolute"``
the middle point is read like the ends, as a place on the canvas.
"""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

STROKE_FIELDS = ("x0", "y0", "x1", "y1", "x2", "y2", "z0", "v0", "z1", "v1", "r", "g", "b")
STROKE_SIZE = len(STROKE_FIELDS)

Control = Literal["relative", "absolute"]
CONTROLS: tuple[Control, ...] = ("relative", "absolute")

Form = Literal["colour", "gray", "opaque"]
FORMS: dict[Form, int] = {"colour": 13, "gray": 11, "opaque": 8}
"""How many numbers an action spends on one stroke, by kind of brush (see `expand`)."""

HALF_PIXEL = 0.5
# Index j of the Learning to Paint vector holds our field _LTP[j]; it names the vertical axis x.
_LTP = (1, 0, 3, 2, 5, 4, 6, 8, 7, 9, 10, 11, 12)


def check_strokes(strokes: np.ndarray | Tensor, name: str = "strokes") -> None:
    """Refuse anything but finite numbers in [0, 1] with 13 entries in the last axis.

    Args:
        strokes: (..., 13), any float type.
        name: what to call them in the error.

    Raises:
        ValueError: wrong last axis, NaN or infinity, or a number outside [0, 1].
    """
    if strokes.shape[-1:] != (STROKE_SIZE,):
        raise ValueError(f"{name}: last axis must be {STROKE_SIZE}, got {tuple(strokes.shape)}")
    values = strokes.detach().cpu().double().numpy() if isinstance(strokes, Tensor) else strokes
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: NaN or infinity; every number must lie in [0, 1]")
    if values.size and (values.min() < 0 or values.max() > 1):
        raise ValueError(f"{name}: numbers outside [0, 1]; clip them first")


def expand(action: Tensor, form: Form, colour: tuple[float, float, float] = (0, 0, 0)) -> Tensor:
    """Complete a reduced stroke to the full 13-tuple.

    Args:
        action: (..., F) in [0, 1], F = FORMS[form]. "colour": the stroke itself. "gray":
            Eq 6.1 with one intensity in place of r, g, b. "opaque": six control numbers and the
            two thicknesses (x0, y0, x1, y1, x2, y2, z0, z1); opacity is 1.
        form: the kind of brush.
        colour: r, g, b of an opaque brush, in [0, 1].

    Returns:
        (..., 13) strokes, differentiable in `action`.

    Raises:
        ValueError: unknown form or wrong last axis.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} is unknown; known: {', '.join(FORMS)}")
    if action.shape[-1] != FORMS[form]:
        raise ValueError(f"a {form} stroke has {FORMS[form]} numbers, got {action.shape[-1]}")
    if form == "colour":
        return action
    if form == "gray":
        return torch.cat([action, action[..., 10:11], action[..., 10:11]], -1)
    one = torch.ones_like(action[..., :1])
    rgb = [torch.full_like(one, share) for share in colour]
    return torch.cat([action[..., :7], one, action[..., 7:8], one, *rgb], -1)


def reduce(strokes: Tensor, form: Form) -> Tensor:
    """The inverse of `expand`: drop what an action of that form does not say.

    Args:
        strokes: (..., 13) in [0, 1].
        form: the kind of brush.

    Returns:
        (..., F) with F = FORMS[form], differentiable; gray is the mean of r, g and b.

    Raises:
        ValueError: unknown form.
    """
    if form not in FORMS:
        raise ValueError(f"form {form!r} is unknown; known: {', '.join(FORMS)}")
    if form == "colour":
        return strokes
    if form == "gray":
        return torch.cat([strokes[..., :10], strokes[..., 10:].mean(-1, keepdim=True)], -1)
    return torch.cat([strokes[..., :7], strokes[..., 8:9]], -1)


def to_pixels(strokes: Tensor, height: int, width: int, control: Control = "relative") -> Tensor:
    """Strokes in canvas units to the geometry that rasterisers draw.

    Args:
        strokes: (..., 13) in [0, 1].
        height: canvas rows.
        width: canvas columns.
        control: how the middle point is read.

    Returns:
        (..., 13): P0, P1, P2 (absolute, pixels), r0, v0, r1, v1 (radii in pixels), r, g, b.
        Pixel (i, j) has its centre at y = i + 0.5, x = j + 0.5. Differentiable.

    Raises:
        ValueError: unknown control.
    """
    if control not in CONTROLS:
        raise ValueError(f"control {control!r} is unknown; known: {', '.join(CONTROLS)}")
    if control == "absolute":
        start, middle, end, rest = strokes.split([2, 2, 2, 7], -1)
    else:
        start, share, end, rest = strokes.split([2, 2, 2, 7], -1)
        middle = start + (end - start) * share
    scale, shift = _pixel_units(height, width, strokes.dtype, strokes.device)
    return torch.cat([start, middle, end, rest], -1) * scale + shift


@lru_cache(maxsize=64)
def _pixel_units(
    height: int, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Factor and summand of each field; kept, since a CUDA graph cannot copy from the host."""
    radius = min(height, width) / 4
    with torch.inference_mode(False):
        scale = [width, height] * 3 + [radius, 1, radius, 1, 1, 1, 1]
        shift = [0.0] * 6 + [HALF_PIXEL, 0, HALF_PIXEL, 0, 0, 0, 0]
        table = torch.tensor([scale, shift], dtype=dtype, device=device)
    return table[0], table[1]


def rescale(strokes: Tensor, painted: int, shown: int) -> Tensor:
    """Keep the looks of strokes when the canvas is shown at another size.

    The half pixel in the radius belongs to the canvas that was painted on. Shown larger, it has
    to grow with the picture, which is a change of thickness.

    Args:
        strokes: (..., 13).
        painted: shorter side in pixels of the canvas they were made for.
        shown: shorter side in pixels of the canvas they are drawn on now.

    Returns:
        (..., 13); thicknesses may leave [0, 1] slightly, which rasterisers accept.
    """
    shift = 4 * HALF_PIXEL * (1 / painted - 1 / shown)
    change = strokes.new_zeros(STROKE_SIZE)
    change[6] = change[8] = shift
    return strokes + change


def to_learning_to_paint(strokes: Tensor) -> Tensor:
    """Our order to that of Learning to Paint: axes swapped, thicknesses before opacities.

    Args:
        strokes: (..., 13) relative strokes, Eq 6.1.

    Returns:
        (..., 13): y0, x0, y1, x1, y2, x2, z0, z1, v0, v1, r, g, b, which that code reads as
        x0, y0, x1, y1, x2, y2, z0, z2, w0, w2, r, g, b.
    """
    return strokes[..., list(_LTP)]


def from_learning_to_paint(strokes: Tensor) -> Tensor:
    """The inverse of `to_learning_to_paint`.

    Args:
        strokes: (..., 13) in the order of Learning to Paint.

    Returns:
        (..., 13) in the order of Eq 6.1.
    """
    return strokes[..., [_LTP.index(field) for field in range(STROKE_SIZE)]]


def random_strokes(
    count: int, generator: torch.Generator, thickness: Literal["uniform", "mixed"] = "uniform"
) -> Tensor:
    """Draw strokes at random, for tests, benchmarks and the training of H_r.

    Args:
        count: how many.
        generator: CPU generator; the only source of randomness.
        thickness: "uniform": every number uniform in [0, 1], as Learning to Paint trains.
            "mixed": half of the strokes draw their thicknesses log-uniformly from
            [1/64, 1], since uniform draws are thin at both ends in 2 % of cases only.

    Returns:
        (count, 13) float32 in [0, 1] on the CPU.
    """
    strokes = torch.rand(count, STROKE_SIZE, generator=generator)
    if thickness == "mixed":
        half = count // 2
        exponent = torch.rand(half, 2, generator=generator)
        strokes[:half, 6::2][:, :2] = 64.0 ** (exponent - 1)
    return strokes
