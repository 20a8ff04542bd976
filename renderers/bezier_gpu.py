"""Fused GPU kernels of the exact rasteriser, in Triton: one pass over the canvas for all strokes.

A program is one warp and owns a tile of pixels. It reads the tile, blends all strokes of its image
into it in order, and writes it once; strokes and chords that miss the tile are skipped. The search
for t* is that of bezier_cpu.py, definition and derivatives are those of reference.py.

Backward keeps no canvas per stroke, only the first one. The gradient that reaches stroke k is the
final one times T = product of (1 - alpha_j) over j > k. A first walk over the strokes multiplies
all factors; a second one paints again, dividing each factor out of T as it passes, and so has T
and the canvas before the stroke at the same time: three searches for t* in all, and no scratch
memory but the rows named below. Factors are never zero:
they stop at SHIFT = 2^-48, which stands for opaque, and T is kept as through * SHIFT^shifts, which
cannot underflow. Both walks are turns of ONE loop, for T only comes out right if a factor has the
same bits both times, and two copies of a formula may be compiled to different roundings.

Each program adds its share of the geometry's gradient to a row of its own, and torch sums the
rows: no atomics, so the same input gives the same bits.

Memory traffic (`bytes_moved`): forward 8 C H W bytes per image, backward 12 C H W plus the rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import bezier_cpu
from .stroke import STROKE_SIZE

try:
    import triton
    import triton.language as tl
except ImportError:  # CUDA builds of torch bring it along; `paint_geometry` refuses without it
    triton = tl = None

# The kernels' arguments are pointers, scalars and blocks of Triton, which has no types for them.
# mypy: allow-untyped-defs, allow-incomplete-defs

MAX_PROGRAMS = 1024  # per image in backward: more tiles take turns, which bounds the rows' memory
OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}


def _jit(kernel: Callable[..., Any]) -> Any:
    return triton.jit(kernel) if triton else kernel


def _constant(value: Any) -> Any:
    return tl.constexpr(value) if triton else value


ROWS, COLUMNS = _constant(8), _constant(16)  # 64-byte rows, four pixels for each thread of the warp
PIXELS = _constant(8 * 16)
HALF_DIAGONAL = _constant(0.5 * (7**2 + 15**2) ** 0.5)  # from a tile's middle to its last centre
FIELDS = _constant(STROKE_SIZE)
SHIFT = _constant(2.0**-48)
FAR = _constant(float(bezier_cpu.FAR))
TINY = _constant(float(bezier_cpu.TINY))
CHORD_ERROR = _constant(float(bezier_cpu.CHORD_ERROR))
MAX_CHORDS = _constant(bezier_cpu.MAX_CHORDS)
NEWTON_STEPS = _constant(bezier_cpu.NEWTON_STEPS)


# --- kernels -------------------------------------------------------------------------------------


@_jit
def _place(tile, across):
    """Row and column of each pixel of a tile, and of the tile's first."""
    lane = tl.arange(0, PIXELS)
    top, left = tile // across * ROWS, tile % across * COLUMNS
    return top + lane // COLUMNS, left + lane % COLUMNS, top, left


@_jit
def _touches(g, top, left, softness):
    """Whether the box around a stroke's control points meets a tile."""
    x0, y0, x1, y1 = tl.load(g), tl.load(g + 1), tl.load(g + 2), tl.load(g + 3)
    x2, y2 = tl.load(g + 4), tl.load(g + 5)
    reach = tl.maximum(tl.load(g + 6), tl.load(g + 8)) + softness
    return (
        (tl.minimum(x0, tl.minimum(x1, x2)) - reach < left + (COLUMNS - 0.5))
        & (tl.maximum(x0, tl.maximum(x1, x2)) + reach > left + 0.5)
        & (tl.minimum(y0, tl.minimum(y1, y2)) - reach < top + (ROWS - 0.5))
        & (tl.maximum(y0, tl.maximum(y1, y2)) + reach > top + 0.5)
    )


@_jit
def _cover(g, row, column, top, left, softness):
    """Coverage and t* of the pixels of a tile."""
    x0, y0 = tl.load(g), tl.load(g + 1)
    bx, by = tl.load(g + 2) - x0, tl.load(g + 3) - y0
    ax, ay = tl.load(g + 4) - x0 - 2 * bx, tl.load(g + 5) - y0 - 2 * by
    r0 = tl.load(g + 6)
    dr = tl.load(g + 8) - r0
    # From here on P0 is the origin: Q(t) = t (2 b + t a).
    ox, oy = column + 0.5 - x0, row + 0.5 - y0
    middle_x, middle_y = left + 0.5 * COLUMNS - x0, top + 0.5 * ROWS - y0

    # A quadratic leaves its chord by |P0 - 2 P1 + P2| / (4 n^2).
    chords = tl.ceil(tl.sqrt(tl.sqrt(ax * ax + ay * ay) / (4 * CHORD_ERROR))).to(tl.int32)
    chords = tl.minimum(tl.maximum(chords, 1), MAX_CHORDS)
    share = 1.0 / chords
    best = tl.full((PIXELS,), FAR, tl.float32)
    t = tl.zeros((PIXELS,), tl.float32)
    px, py = x0 - x0, y0 - y0
    for i in range(chords):
        end = (i + 1) * share
        qx, qy = end * (2 * bx + end * ax), end * (2 * by + end * ay)
        dx, dy = qx - px, qy - py
        length2 = dx * dx + dy * dy + TINY
        inverse = 1.0 / length2
        ra, widen = r0 + dr * (i * share), dr * share
        # A chord is skipped if the disc around the tile stays out of its reach.
        mx, my = middle_x - px, middle_y - py
        foot = tl.minimum(tl.maximum((mx * dx + my * dy) * inverse, 0.0), 1.0)
        mx, my = mx - foot * dx, my - foot * dy
        reach = tl.maximum(ra, ra + widen) + softness + CHORD_ERROR + HALF_DIAGONAL
        if mx * mx + my * my < reach * reach:
            # On a cone the deepest point lies ahead of the foot of the perpendicular, towards
            # the thick end; where one end disc holds the other it is that end itself.
            slope = widen / tl.sqrt(length2)
            lead = slope / tl.sqrt(tl.maximum(1.0 - slope * slope, TINY))
            x, y = ox - px, oy - py
            u = (x * dx + y * dy + lead * tl.abs(x * dy - y * dx)) * inverse
            u = tl.minimum(tl.maximum(u, 0.0), 1.0)
            u = tl.where(tl.abs(slope) < 0.99, u, tl.where(widen > 0, 1.0, 0.0))
            ex, ey = x - u * dx, y - u * dy
            depth = ra + widen * u - tl.sqrt(ex * ex + ey * ey)
            better = depth > best
            t = tl.where(better, (i + u) * share, t)
            best = tl.where(better, depth, best)
        px, py = qx, qy

    cover = tl.zeros((PIXELS,), tl.float32)
    if tl.max(best) > -softness - 2 * CHORD_ERROR:
        # Newton's method on G(t) = E . Q' + r' |E|, E = x - Q(t), from the chord's answer.
        for _ in tl.static_range(NEWTON_STEPS):
            ex, ey = ox - t * (2 * bx + t * ax), oy - t * (2 * by + t * ay)
            qx, qy = 2 * (bx + t * ax), 2 * (by + t * ay)
            distance = tl.sqrt(ex * ex + ey * ey + 1e-12)
            along = ex * qx + ey * qy
            speed = qx * qx + qy * qy
            descent = speed - 2 * (ex * ax + ey * ay) + dr * along / distance
            step = (along + dr * distance) / tl.maximum(descent, 0.05 * speed + TINY)
            t += tl.minimum(tl.maximum(step, -share), share)
            t = tl.minimum(tl.maximum(t, 0.0), 1.0)
        ex, ey = ox - t * (2 * bx + t * ax), oy - t * (2 * by + t * ay)
        depth = r0 + dr * t - tl.sqrt(ex * ex + ey * ey)
        cover = tl.minimum(tl.maximum(depth / (2 * softness) + 0.5, 0.0), 1.0)
    return cover, t


@_jit
def _paint(
    canvas, geometry, out, count, height, width, across, tiles, softness, CHANNELS: "tl.constexpr"
):
    image = (tl.program_id(0) // tiles).to(tl.int64)
    row, column, top, left = _place(tl.program_id(0) % tiles, across)
    inside = (row < height) & (column < width)
    plane = height * width
    pixel = image * CHANNELS * plane + row * width + column
    red = tl.load(canvas + pixel, inside, 0.0)
    if CHANNELS == 3:
        green = tl.load(canvas + pixel + plane, inside, 0.0)
        blue = tl.load(canvas + pixel + 2 * plane, inside, 0.0)
    for k in range(count):
        g = geometry + (image * count + k) * FIELDS
        if _touches(g, top, left, softness):
            cover, t = _cover(g, row, column, top, left, softness)
            alpha = cover * (tl.load(g + 7) + (tl.load(g + 9) - tl.load(g + 7)) * t)
            red += alpha * (tl.load(g + 10) - red)
            if CHANNELS == 3:
                green += alpha * (tl.load(g + 11) - green)
                blue += alpha * (tl.load(g + 12) - blue)
    tl.store(out + pixel, red, inside)
    if CHANNELS == 3:
        tl.store(out + pixel + plane, green, inside)
        tl.store(out + pixel + 2 * plane, blue, inside)


@_jit
def _add(address, share):
    """Add a tile's sum to a number that no other program touches."""
    tl.store(address, tl.load(address) + tl.sum(share))


@_jit
def _backward_shape(g, grad, row, column, cover, t, pull, softness):
    """Add to `grad` what the gradient `pull` of alpha means for the fields 0 to 9."""
    x0, y0 = tl.load(g), tl.load(g + 1)
    bx, by = tl.load(g + 2) - x0, tl.load(g + 3) - y0
    ax, ay = tl.load(g + 4) - x0 - 2 * bx, tl.load(g + 5) - y0 - 2 * by
    dr, v0 = tl.load(g + 8) - tl.load(g + 6), tl.load(g + 7)
    dv = tl.load(g + 9) - v0
    s = 1.0 - t
    _add(grad + 7, pull * cover * s)
    _add(grad + 9, pull * cover * t)
    edge = 1.0 / (2 * softness)
    rim = tl.where((cover > 0) & (cover < 1), pull * (v0 + dv * t) * edge, 0.0)
    ex = column + 0.5 - x0 - t * (2 * bx + t * ax)
    ey = row + 0.5 - y0 - t * (2 * by + t * ay)
    qx, qy = 2 * (bx + t * ax), 2 * (by + t * ay)
    distance = tl.sqrt(ex * ex + ey * ey + 1e-12)
    nx, ny = ex / distance, ey / distance
    descent = qx * qx + qy * qy - 2 * (ex * ax + ey * ay) + dr * (nx * qx + ny * qy)
    # t* moves with the geometry (implicit function theorem) and takes the opacity along.
    inner = (t > 0) & (t < 1) & (descent > TINY)
    shift = tl.where(inner, pull * cover * dv / tl.maximum(descent, TINY), 0.0)
    _add(grad + 6, rim * s - shift * distance)
    _add(grad + 8, rim * t + shift * distance)
    fx, fy = rim * nx - shift * (qx + dr * nx), rim * ny - shift * (qy + dr * ny)
    hx, hy = 2 * shift * ex, 2 * shift * ey
    _add(grad, (fx * s - hx) * s)
    _add(grad + 1, (fy * s - hy) * s)
    _add(grad + 2, fx * 2 * s * t + hx * (s - t))
    _add(grad + 3, fy * 2 * s * t + hy * (s - t))
    _add(grad + 4, (fx * t + hx) * t)
    _add(grad + 5, (fy * t + hy) * t)


@_jit
def _backward(
    canvas,
    geometry,
    grad_out,
    grad_canvas,
    grad_geometry,
    count,
    height,
    width,
    across,
    tiles,
    programs,
    softness,
    CHANNELS: "tl.constexpr",
):
    program = tl.program_id(0).to(tl.int64)
    image = program // programs
    plane = height * width
    for tile in range(tl.program_id(0) % programs, tiles, programs):
        row, column, top, left = _place(tile, across)
        inside = (row < height) & (column < width)
        pixel = image * CHANNELS * plane + row * width + column
        red = tl.load(canvas + pixel, inside, 0.0)
        pull_red = tl.load(grad_out + pixel, inside, 0.0)
        if CHANNELS == 3:
            green = tl.load(canvas + pixel + plane, inside, 0.0)
            blue = tl.load(canvas + pixel + 2 * plane, inside, 0.0)
            pull_green = tl.load(grad_out + pixel + plane, inside, 0.0)
            pull_blue = tl.load(grad_out + pixel + 2 * plane, inside, 0.0)
        through = tl.full((PIXELS,), 1.0, tl.float32)
        shifts = tl.zeros((PIXELS,), tl.int32)
        light = through  # T of the initial canvas
        for turn in range(2 * count):
            k = turn % count
            g = geometry + (image * count + k) * FIELDS
            if _touches(g, top, left, softness):
                cover, t = _cover(g, row, column, top, left, softness)
                alpha = cover * (tl.load(g + 7) + (tl.load(g + 9) - tl.load(g + 7)) * t)
                factor = tl.maximum(1.0 - alpha, SHIFT)
                if turn < count:
                    through *= factor
                    low = through < SHIFT
                    through = tl.where(low, through * (1.0 / SHIFT), through)
                    shifts += tl.where(low, 1, 0)
                    light = tl.where(shifts == 0, through, 0.0)
                else:
                    through /= factor
                    high = (through >= 1.0) & (shifts > 0)
                    through = tl.where(high, through * SHIFT, through)
                    shifts -= tl.where(high, 1, 0)
                    if tl.max(cover) > 0:
                        passed = tl.where(shifts == 0, through, 0.0)
                        grad = grad_geometry + (program * count + k) * FIELDS
                        _add(grad + 10, pull_red * passed * alpha)
                        pull = pull_red * (tl.load(g + 10) - red)
                        red += alpha * (tl.load(g + 10) - red)
                        if CHANNELS == 3:
                            _add(grad + 11, pull_green * passed * alpha)
                            _add(grad + 12, pull_blue * passed * alpha)
                            pull += pull_green * (tl.load(g + 11) - green)
                            pull += pull_blue * (tl.load(g + 12) - blue)
                            green += alpha * (tl.load(g + 11) - green)
                            blue += alpha * (tl.load(g + 12) - blue)
                        pull *= passed
                        _backward_shape(g, grad, row, column, cover, t, pull, softness)
        tl.store(grad_canvas + pixel, pull_red * light, inside)
        if CHANNELS == 3:
            tl.store(grad_canvas + pixel + plane, pull_green * light, inside)
            tl.store(grad_canvas + pixel + 2 * plane, pull_blue * light, inside)


# --- host ----------------------------------------------------------------------------------------


def paint_geometry(canvas: Tensor, geometry: Tensor, softness: float = 0.5) -> Tensor:
    """Paint strokes given in pixels, in order, on a GPU.

    It never waits for the GPU and its shapes do not depend on values: CUDA graphs can record it,
    forward and backward, after one call has compiled the kernels.

    Args:
        canvas: (B, C, H, W) float32 on a GPU, C in {1, 3}. (With TRITON_INTERPRET=1 set before
            Triton is imported, Triton runs the kernels on CPU tensors.)
        geometry: (B, K, 13) float32 from `stroke.to_pixels`, on the same device.
        softness: half the width in pixels of the anti-aliased edge.

    Returns:
        (B, C, H, W), a new tensor, differentiable once in canvas and geometry.

    Raises:
        ImportError: Triton is missing.
        ValueError: shapes or types that the kernels do not take.
    """
    if triton is None:
        raise ImportError(
            "painting on a GPU needs Triton: pip install triton, or paint on the CPU (device='cpu')"
        )
    if canvas.dim() != 4 or canvas.shape[1] not in (1, 3) or canvas.dtype != torch.float32:
        raise ValueError(f"canvas: float32 (B, C, H, W) with 1 or 3 channels, got {_kind(canvas)}")
    expected = (canvas.shape[0], STROKE_SIZE)
    if geometry.dim() != 3 or geometry.shape[::2] != expected or geometry.dtype != torch.float32:
        raise ValueError(
            f"geometry: float32 ({expected[0]}, K, {STROKE_SIZE}), got {_kind(geometry)}"
        )
    if geometry.device != canvas.device:
        raise ValueError(f"canvas is on {canvas.device}, geometry on {geometry.device}")
    result: Tensor = _PaintGPU.apply(canvas, geometry, softness)
    return result


def bytes_moved(canvas: Tensor, geometry: Tensor, *, backward: bool = False) -> int:
    """The least memory traffic of one call, for the fraction of the bandwidth limit.

    Args:
        canvas: (B, C, H, W), as given to `paint_geometry`.
        geometry: (B, K, 13), likewise.
        backward: count the backward pass instead of the forward one.

    Returns:
        Bytes: the canvas in and out and the strokes; backward the canvas, its gradient in and
        out, the strokes, and the programs' rows of gradients, cleared, written and summed.
    """
    size = canvas.element_size()
    if not backward:
        return size * (2 * canvas.numel() + geometry.numel())
    rows = min(_tiles(canvas)[1], MAX_PROGRAMS)
    return size * (3 * canvas.numel() + (2 + 3 * rows) * geometry.numel())


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"


def _tiles(canvas: Tensor) -> tuple[int, int]:
    """Tiles side by side, and tiles of an image."""
    across = -(-canvas.shape[3] // int(COLUMNS))
    return across, across * -(-canvas.shape[2] // int(ROWS))


class _PaintGPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, canvas: Tensor, geometry: Tensor, softness: float) -> Tensor:
        canvas, geometry = canvas.contiguous(), geometry.contiguous()
        ctx.save_for_backward(canvas, geometry)
        ctx.softness = softness
        out = torch.empty_like(canvas)
        batch, channels, height, width = canvas.shape
        across, tiles = _tiles(canvas)
        if out.numel():
            with torch.accelerator.device_index(canvas.device.index):
                _paint[(batch * tiles,)](
                    canvas,
                    geometry,
                    out,
                    geometry.shape[1],
                    height,
                    width,
                    across,
                    tiles,
                    softness,
                    channels,
                    **OPTIONS,
                )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        canvas, geometry = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        grad_canvas = torch.empty_like(canvas)
        batch, channels, height, width = canvas.shape
        across, tiles = _tiles(canvas)
        programs = min(tiles, MAX_PROGRAMS)
        parts = geometry.new_zeros(batch, programs, geometry.shape[1], STROKE_SIZE)
        if grad_canvas.numel():
            with torch.accelerator.device_index(canvas.device.index):
                _backward[(batch * programs,)](
                    canvas,
                    geometry,
                    grad_out,
                    grad_canvas,
                    parts,
                    geometry.shape[1],
                    height,
                    width,
                    across,
                    tiles,
                    programs,
                    ctx.softness,
                    channels,
                    **OPTIONS,
                )
        return grad_canvas, parts.sum(1), None
