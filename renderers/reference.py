"""The exact rasteriser in plain torch: slow, readable, the oracle of the fast kernels.

A stroke covers a pixel centre x by

    s(x) = max over t in [0, 1] of  r(t) - |x - Q(t)|        (signed depth in pixels, > 0 inside)

with Q(t) the Bezier curve of thesis Eq 6.2 and r(t) the radius, linear in t. Coverage is
clip(s / (2 * softness) + 1/2, 0, 1), an edge one pixel wide at the default softness of 1/2, and
the opacity is v(t*) at the t* that attains the maximum, so that a stroke has no seams of its own.

Gradients: where t* lies inside (0, 1) it solves

    G(t) = (x - Q) . Q' + r' |x - Q| = 0,

so dt*/dtheta = G_theta / -G_t by the implicit function theorem; at the ends it is constant.
"""

import torch
from torch import Tensor

SAMPLES = 128
NEWTON_STEPS = 12
_EPS = 1e-12


def curve_point(points: tuple[Tensor, Tensor, Tensor], t: Tensor) -> Tensor:
    """Q(t) = (1-t)^2 P0 + 2(1-t)t P1 + t^2 P2 (thesis Eq 6.2).

    Args:
        points: P0, P1, P2, one coordinate each, broadcastable to t.
        t: curve parameter in [0, 1].

    Returns:
        That coordinate of the curve, shaped like t.
    """
    p0, p1, p2 = points
    return (1 - t) ** 2 * p0 + 2 * (1 - t) * t * p1 + t**2 * p2


def curve_slope(points: tuple[Tensor, Tensor, Tensor], t: Tensor) -> Tensor:
    """Q'(t), the derivative of `curve_point` with respect to t; same arguments and shape."""
    p0, p1, p2 = points
    return 2 * (1 - t) * (p1 - p0) + 2 * t * (p2 - p1)


class _Stroke:
    """One batch of strokes over a pixel grid, every field shaped (N, 1, 1)."""

    def __init__(self, geometry: Tensor, height: int, width: int) -> None:
        fields = geometry[:, :, None, None].unbind(1)
        self.xs = (fields[0], fields[2], fields[4])
        self.ys = (fields[1], fields[3], fields[5])
        self.r0, self.v0, self.r1, self.v1 = fields[6:10]
        self.px = torch.arange(width, dtype=geometry.dtype, device=geometry.device) + 0.5
        rows = torch.arange(height, dtype=geometry.dtype, device=geometry.device) + 0.5
        self.py = rows[:, None]

    def offset(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x - Q(t) and its length, (N, H, W) each."""
        ex = self.px - curve_point(self.xs, t)
        ey = self.py - curve_point(self.ys, t)
        return ex, ey, (ex * ex + ey * ey + _EPS).sqrt()

    def depth(self, t: Tensor) -> Tensor:
        return self.r0 + (self.r1 - self.r0) * t - self.offset(t)[2]

    def stationarity(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """G(t) and -dG/dt, (N, H, W) each."""
        ex, ey, distance = self.offset(t)
        dx, dy = curve_slope(self.xs, t), curve_slope(self.ys, t)
        grow = self.r1 - self.r0
        along = ex * dx + ey * dy
        bend = ex * 2 * (self.xs[0] - 2 * self.xs[1] + self.xs[2]) + ey * 2 * (
            self.ys[0] - 2 * self.ys[1] + self.ys[2]
        )
        descent = dx * dx + dy * dy - bend + grow * along / distance
        return along + grow * distance, descent

    @torch.no_grad()
    def deepest(self) -> Tensor:
        """t* by dense search, then Newton's method; steps that do not help are refused."""
        shape = (self.r0.shape[0], self.py.shape[0], self.px.shape[0])
        t = self.r0.new_zeros(shape)
        best = self.depth(t)
        for i in range(1, SAMPLES + 1):
            trial = torch.full_like(t, i / SAMPLES)
            depth = self.depth(trial)
            t, best = torch.where(depth > best, trial, t), torch.maximum(depth, best)
        for _ in range(NEWTON_STEPS):
            value, descent = self.stationarity(t)
            trial = (t + value / descent.where(descent > _EPS, descent.new_tensor(1.0))).clamp(0, 1)
            depth = self.depth(trial)
            better = (depth >= best) & (descent > _EPS)
            t, best = torch.where(better, trial, t), torch.where(better, depth, best)
        return t


def alpha(geometry: Tensor, height: int, width: int, softness: float = 0.5) -> Tensor:
    """Coverage times opacity of each stroke, differentiable in all of its geometry.

    Args:
        geometry: (N, 13) from `stroke.to_pixels`, float32 or float64.
        height: canvas rows.
        width: canvas columns.
        softness: half the width in pixels of the anti-aliased edge.

    Returns:
        (N, H, W) in [0, 1], dtype of `geometry`.
    """
    stroke = _Stroke(geometry, height, width)
    t = stroke.deepest()
    inside = (t > 0) & (t < 1)
    value, descent = stroke.stationarity(t)
    step = value / descent.detach().where(inside & (descent > _EPS), value.new_tensor(1.0))
    # One Newton step from the solution changes nothing but carries the implicit derivative.
    t = t + torch.where(inside & (descent > _EPS), step, torch.zeros_like(step))
    coverage = (stroke.depth(t) / (2 * softness) + 0.5).clamp(0, 1)
    return coverage * (stroke.v0 + (stroke.v1 - stroke.v0) * t)


def paint(canvas: Tensor, geometry: Tensor, softness: float = 0.5) -> Tensor:
    """C' = a_c + (1 - a_r) C for each stroke in order (thesis Sec 6.3.2).

    Args:
        canvas: (B, C, H, W), C channels of which stroke colours r, g, b give the first C.
        geometry: (B, K, 13) from `stroke.to_pixels`.
        softness: as in `alpha`.

    Returns:
        (B, C, H, W), a new tensor.
    """
    channels, height, width = canvas.shape[1:]
    for stroke in geometry.unbind(1):
        a = alpha(stroke, height, width, softness)[:, None]
        colour = stroke[:, 10 : 10 + channels, None, None]
        canvas = a * colour + (1 - a) * canvas
    return canvas
