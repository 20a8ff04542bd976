"""Compiled CPU kernels of the exact rasteriser: they visit only the pixels that a stroke covers.

Every kernel works on the rows [top, bottom) of one image, holds no lock and keeps float32
throughout so that the inner loops vectorise. A row first meets the curve as a polyline of round
cones whose chords stay within a quarter of a pixel; Newton's method on the true curve then finds
t*. Definition and derivatives: reference.py.

All kernels stand in this one file because numba's cache on disk looks only at the file of the
kernel that it holds: a helper edited in another file would leave stale machine code in use.

Array names: geometry (K, 13) from `stroke.to_pixels`; canvas (C, H, W); spans (S, 4) int32 rows
of (stroke, y, x, offset) with data[:, offset : next offset] = coverage, t*, and the C channels
of the canvas before the stroke, for the pixels from x on.
"""

import math

import numpy as np
from numba import njit

F = np.float32
ZERO, HALF, ONE, TWO = F(0), F(0.5), F(1), F(2)
TINY = F(1e-6)
FAR = F(-1e9)
CHORD_ERROR = F(0.25)
NEWTON_STEPS = 3
MAX_CHORDS = 128  # enough for any stroke on a canvas of 4096 x 4096
# Only kernels that are called from Python are cached on disk. What they call is compiled into them,
# always. A helper left out of line has one copy per kernel, each rounding in its own way, and all
# under one symbol: the process that compiles runs the first copy, one that loads a kernel from the
# cache runs that kernel's own. Results would depend on what was compiled when.
_inlined = njit(nogil=True, fastmath=True, error_model="numpy", forceinline=True)
_kernel = njit(nogil=True, fastmath=True, error_model="numpy", cache=True)

# Columns of the chord table.
PX, PY, DX, DY, INV, RA, DR, CONE, T0, LEFT, RIGHT, ABOVE, BELOW, SLANT, REACH, COLUMNS = range(16)


@_inlined
def _chords(g: np.ndarray, softness: np.float32, table: np.ndarray) -> int:
    """Fill the table with the chords of one stroke; returns their number."""
    ax = g[0] - TWO * g[2] + g[4]
    ay = g[1] - TWO * g[3] + g[5]
    # A quadratic leaves its chord by |P0 - 2 P1 + P2| / (4 n^2).
    n = math.ceil(math.sqrt(math.sqrt(ax * ax + ay * ay) / (F(4) * CHORD_ERROR)))
    n = min(max(n, 1), MAX_CHORDS)
    share = ONE / F(n)
    px, py = g[0], g[1]
    for i in range(n):
        t = F(i + 1) * share
        s = ONE - t
        qx = s * s * g[0] + TWO * s * t * g[2] + t * t * g[4]
        qy = s * s * g[1] + TWO * s * t * g[3] + t * t * g[5]
        dx, dy = qx - px, qy - py
        length2 = dx * dx + dy * dy + TINY
        length = math.sqrt(length2)
        ra = g[6] + (g[8] - g[6]) * F(i) * share
        dr = (g[8] - g[6]) * share
        slope = dr / length
        reach = max(ra, ra + dr) + softness + CHORD_ERROR
        table[i, PX], table[i, PY], table[i, DX], table[i, DY] = px, py, dx, dy
        table[i, INV] = ONE / length2
        table[i, RA], table[i, DR], table[i, T0] = ra, dr, F(i)
        # On a cone the deepest point lies ahead of the foot of the perpendicular, towards
        # the thick end; where one end disc holds the other it is that end itself.
        if abs(slope) < F(0.99):
            table[i, CONE] = slope / math.sqrt(ONE - slope * slope)
        else:
            table[i, DX], table[i, DY], table[i, CONE], table[i, DR] = ZERO, ZERO, ZERO, ZERO
            if dr > ZERO:
                table[i, PX], table[i, PY], table[i, RA] = qx, qy, ra + dr
                table[i, T0] = F(i + 1)
        table[i, LEFT], table[i, RIGHT] = min(px, qx) - reach, max(px, qx) + reach
        table[i, ABOVE], table[i, BELOW] = min(py, qy) - reach, max(py, qy) + reach
        if abs(dy) > F(1e-3):
            table[i, SLANT], table[i, REACH] = dx / dy, reach * length / abs(dy)
        else:
            table[i, SLANT], table[i, REACH] = ZERO, F(1e9)
        px, py = qx, qy
    return n


@_inlined
def _rows(table: np.ndarray, n: int, top: int, bottom: int) -> tuple[int, int]:
    """The rows of [top, bottom) that a stroke may touch."""
    above, below = table[0, ABOVE], table[0, BELOW]
    for i in range(1, n):
        above, below = min(above, table[i, ABOVE]), max(below, table[i, BELOW])
    first = max(F(top), np.ceil(above - HALF))
    last = min(F(bottom), np.floor(below - HALF) + ONE)
    return int(first), int(max(first, last))


@_inlined
def _span(table: np.ndarray, i: int, cy: np.float32, width: int) -> tuple[int, int]:
    """The pixels [low, high) of a row that chord i may touch: its box within its strip."""
    if cy < table[i, ABOVE] or cy > table[i, BELOW]:
        return width, 0
    middle = table[i, PX] + (cy - table[i, PY]) * table[i, SLANT]
    a = max(table[i, LEFT], middle - table[i, REACH])
    b = min(table[i, RIGHT], middle + table[i, REACH])
    low = max(ZERO, np.ceil(a - HALF))
    high = min(F(width), np.floor(b - HALF) + ONE)
    return int(min(low, F(width))), int(max(high, ZERO))


@_inlined
def _cover(
    g: np.ndarray,
    table: np.ndarray,
    n: int,
    y: int,
    softness: np.float32,
    depth: np.ndarray,
    place: np.ndarray,
) -> tuple[int, int]:
    """Coverage and t* of row y into depth[low:high] and place[low:high]; returns low, high."""
    width = depth.shape[0]
    cy = F(y) + HALF
    low, high = width, 0
    for i in range(n):
        a, b = _span(table, i, cy, width)
        if a < b:
            low, high = min(low, a), max(high, b)
    if low >= high:
        return 0, 0
    depth[low:high] = FAR
    place[low:high] = ZERO

    share = ONE / F(n)
    for i in range(n):
        a, b = _span(table, i, cy, width)
        if a >= b:
            continue
        best, where = depth[a:b], place[a:b]
        dx, dy, inv = table[i, DX], table[i, DY], table[i, INV]
        ra, dr, cone = table[i, RA], table[i, DR], table[i, CONE]
        oy = cy - table[i, PY]
        ox = F(a) + HALF - table[i, PX]
        t0 = table[i, T0]
        for j in range(b - a):
            x = F(j) + ox
            u = (x * dx + oy * dy) * inv + cone * abs(x * dy - oy * dx) * inv
            u = min(ONE, max(ZERO, u))
            ex, ey = x - u * dx, oy - u * dy
            d = ra + dr * u - math.sqrt(ex * ex + ey * ey)
            t = (t0 + u) * share
            better = d > best[j]
            where[j] = t if better else where[j]
            best[j] = d if better else best[j]

    limit = -softness - TWO * CHORD_ERROR
    while low < high and depth[low] < limit:
        low += 1
    while high > low and depth[high - 1] < limit:
        high -= 1
    if low >= high:
        return 0, 0

    # Newton's method on G(t) = E . Q' + r' |E|, E = x - Q(t), from the chord's answer.
    ax, ay = g[0] - TWO * g[2] + g[4], g[1] - TWO * g[3] + g[5]
    bx, by = g[2] - g[0], g[3] - g[1]
    r0, dr = g[6], g[8] - g[6]
    oy = cy - g[1]
    ox = F(low) + HALF - g[0]
    edge = ONE / (TWO * softness)
    best, where = depth[low:high], place[low:high]
    for j in range(high - low):
        x = ox + F(j)
        t = where[j]
        for _ in range(NEWTON_STEPS):
            ex, ey = x - t * (TWO * bx + t * ax), oy - t * (TWO * by + t * ay)
            qx, qy = TWO * (bx + t * ax), TWO * (by + t * ay)
            distance = math.sqrt(ex * ex + ey * ey + F(1e-12))
            along = ex * qx + ey * qy
            speed = qx * qx + qy * qy
            descent = speed - TWO * (ex * ax + ey * ay) + dr * along / distance
            step = (along + dr * distance) / max(descent, F(0.05) * speed + TINY)
            t = min(ONE, max(ZERO, t + min(share, max(-share, step))))
        ex, ey = x - t * (TWO * bx + t * ax), oy - t * (TWO * by + t * ay)
        s = r0 + dr * t - math.sqrt(ex * ex + ey * ey)
        where[j] = t
        best[j] = min(ONE, max(ZERO, s * edge + HALF))
    return low, high


@_inlined
def _paint_rows(
    geometry: np.ndarray, canvas: np.ndarray, top: int, bottom: int, softness: float
) -> None:
    """Paint strokes in order onto rows [top, bottom) of the canvas, in place."""
    soft = F(softness)
    width = canvas.shape[2]
    table = np.empty((MAX_CHORDS, COLUMNS), np.float32)
    depth, place = np.empty(width, np.float32), np.empty(width, np.float32)
    for k in range(geometry.shape[0]):
        g = geometry[k]
        n = _chords(g, soft, table)
        first, last = _rows(table, n, top, bottom)
        for y in range(first, last):
            low, high = _cover(g, table, n, y, soft, depth, place)
            if low < high:
                a, t = depth[low:high], place[low:high]
                for j in range(high - low):
                    a[j] *= g[7] + (g[9] - g[7]) * t[j]
                for c in range(canvas.shape[0]):
                    row = canvas[c, y, low:high]
                    colour = g[10 + c]
                    for j in range(high - low):
                        row[j] += a[j] * (colour - row[j])


@_inlined
def _record_size(
    geometry: np.ndarray, width: int, top: int, bottom: int, softness: float
) -> tuple[int, int]:
    """Bounds on the spans and pixels that `record_rows` will write."""
    table = np.empty((MAX_CHORDS, COLUMNS), np.float32)
    spans, pixels = 0, 0
    for k in range(geometry.shape[0]):
        n = _chords(geometry[k], F(softness), table)
        first, last = _rows(table, n, top, bottom)
        left, right = table[0, LEFT], table[0, RIGHT]
        for i in range(1, n):
            left, right = min(left, table[i, LEFT]), max(right, table[i, RIGHT])
        box = min(F(width), right) - max(ZERO, left) + F(3)
        if box > ZERO:
            spans += last - first
            pixels += (last - first) * min(int(box), width)
    return spans + 1, pixels


@_inlined
def _record_rows(
    geometry: np.ndarray,
    canvas: np.ndarray,
    top: int,
    bottom: int,
    softness: float,
    spans: np.ndarray,
    data: np.ndarray,
) -> int:
    """`paint_rows` that also writes what `backward_rows` needs; returns the number of spans.

    The row after the last span holds the end offset.
    """
    soft = F(softness)
    width = canvas.shape[2]
    table = np.empty((MAX_CHORDS, COLUMNS), np.float32)
    depth, place = np.empty(width, np.float32), np.empty(width, np.float32)
    count, offset = 0, 0
    for k in range(geometry.shape[0]):
        g = geometry[k]
        n = _chords(g, soft, table)
        first, last = _rows(table, n, top, bottom)
        for y in range(first, last):
            low, high = _cover(g, table, n, y, soft, depth, place)
            size = high - low
            if size <= 0:
                continue
            spans[count, 0], spans[count, 1], spans[count, 2] = k, y, low
            spans[count, 3] = offset
            a, t = depth[low:high], place[low:high]
            data[0, offset : offset + size] = a
            data[1, offset : offset + size] = t
            for j in range(size):
                a[j] *= g[7] + (g[9] - g[7]) * t[j]
            for c in range(canvas.shape[0]):
                row = canvas[c, y, low:high]
                before = data[2 + c, offset : offset + size]
                colour = g[10 + c]
                for j in range(size):
                    before[j] = row[j]
                    row[j] += a[j] * (colour - row[j])
            count += 1
            offset += size
    spans[count, 3] = offset
    return count


@_inlined
def _squared_error(image: np.ndarray, target: np.ndarray, top: int, bottom: int) -> float:
    """Sum over channels and rows [top, bottom) of (image - target)^2, both (C, H, W)."""
    total = 0.0
    for c in range(image.shape[0]):
        for y in range(top, bottom):
            row, goal = image[c, y], target[c, y]
            part = ZERO
            for j in range(row.shape[0]):
                e = row[j] - goal[j]
                part += e * e
            total += float(part)
    return total


@_inlined
def _pull(canvas: np.ndarray, target: np.ndarray, weight: np.float32, grad: np.ndarray) -> None:
    """Add the gradient of weight * sum (canvas - target)^2."""
    for c in range(canvas.shape[0]):
        for y in range(canvas.shape[1]):
            row, goal, g = canvas[c, y], target[c, y], grad[c, y]
            for j in range(row.shape[0]):
                g[j] += TWO * weight * (row[j] - goal[j])


@_kernel
def backward_rows(
    geometry: np.ndarray,
    spans: np.ndarray,
    count: int,
    data: np.ndarray,
    softness: float,
    grad_canvas: np.ndarray,
    grad: np.ndarray,
) -> None:
    """Gradients of recorded rows, from the last stroke to the first.

    Args:
        geometry: (K, 13) strokes in pixels, as recorded.
        spans: from `record_rows`, like `count` (the number of spans) and `data`.
        count: see `spans`.
        data: see `spans`.
        softness: half the width of a stroke's edge in pixels.
        grad_canvas: (C, H, W) gradient of the final canvas; becomes that of the initial one.
        grad: (K, 13) float64, gradients of the geometry are added to it.
    """
    for i in range(count - 1, -1, -1):
        _backward_span(geometry, spans, i, data, F(softness), grad_canvas, grad)


@_inlined
def _backward_span(
    geometry: np.ndarray,
    spans: np.ndarray,
    i: int,
    data: np.ndarray,
    softness: np.float32,
    grad_canvas: np.ndarray,
    grad: np.ndarray,
) -> None:
    k, y, low, start = spans[i, 0], spans[i, 1], spans[i, 2], spans[i, 3]
    size = spans[i + 1, 3] - start
    g, out = geometry[k], grad[k]
    cover, place = data[0, start : start + size], data[1, start : start + size]
    pull = np.zeros(size, np.float32)  # gradient of alpha
    v0, dv = g[7], g[9] - g[7]
    for c in range(grad_canvas.shape[0]):
        row = grad_canvas[c, y, low : low + size]
        before = data[2 + c, start : start + size]
        colour = g[10 + c]
        sum_colour = ZERO
        for j in range(size):
            a = cover[j] * (v0 + dv * place[j])
            pull[j] += row[j] * (colour - before[j])
            sum_colour += row[j] * a
            row[j] *= ONE - a
        out[10 + c] += sum_colour

    ax, ay = g[0] - TWO * g[2] + g[4], g[1] - TWO * g[3] + g[5]
    bx, by = g[2] - g[0], g[3] - g[1]
    dr = g[8] - g[6]
    oy = F(y) + HALF - g[1]
    ox = F(low) + HALF - g[0]
    edge = ONE / (TWO * softness)
    x0, y0, x1, y1, x2, y2 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    ra, rb, va, vb = ZERO, ZERO, ZERO, ZERO
    for j in range(size):
        a, t = cover[j], place[j]
        s = ONE - t
        v = v0 + dv * t
        va += pull[j] * a * s
        vb += pull[j] * a * t
        rim = pull[j] * v * edge if (a > ZERO) and (a < ONE) else ZERO
        ra += rim * s
        rb += rim * t
        x = ox + F(j)
        ex, ey = x - t * (TWO * bx + t * ax), oy - t * (TWO * by + t * ay)
        qx, qy = TWO * (bx + t * ax), TWO * (by + t * ay)
        distance = math.sqrt(ex * ex + ey * ey + F(1e-12))
        nx, ny = ex / distance, ey / distance
        descent = qx * qx + qy * qy - TWO * (ex * ax + ey * ay) + dr * (nx * qx + ny * qy)
        # t* moves with the geometry (implicit function theorem) and takes the opacity along.
        inner = (t > ZERO) and (t < ONE) and (descent > TINY)
        shift = pull[j] * a * dv / descent if inner else ZERO
        ra -= shift * distance
        rb += shift * distance
        fx, fy = rim * nx - shift * (qx + dr * nx), rim * ny - shift * (qy + dr * ny)
        hx, hy = TWO * shift * ex, TWO * shift * ey
        x0 += fx * s * s - hx * s
        y0 += fy * s * s - hy * s
        x1 += fx * TWO * s * t + hx * (s - t)
        y1 += fy * TWO * s * t + hy * (s - t)
        x2 += fx * t * t + hx * t
        y2 += fy * t * t + hy * t
    for i, total in enumerate((x0, y0, x1, y1, x2, y2, ra, va, rb, vb)):
        out[i] += total


@_inlined
def _strip(
    geometry: np.ndarray, background: np.ndarray, target: np.ndarray, top: int, bottom: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Canvas, target and strokes of some rows alone, so that copies stay as small as they are."""
    local = geometry.copy()
    for y in (1, 3, 5):
        local[:, y] -= F(top)
    return background[:, top:bottom].copy(), np.ascontiguousarray(target[:, top:bottom]), local


@_kernel
def process_rows(
    geometry: np.ndarray,
    background: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
    top: int,
    bottom: int,
    softness: float,
    grad: np.ndarray,
    errors: np.ndarray,
) -> None:
    """Squared error of the canvases of a painting process, and its gradient, over some rows.

    The loss is sum over k of weights[k] * sum (C_k - target)^2 with C_k the canvas after stroke
    k. Going backward each stroke is undone exactly, so no intermediate canvas is kept.

    Args:
        geometry: (K, 13) strokes in pixels.
        background: (C, H, W) first canvas, not changed.
        target: (C, H, W).
        weights: (K,) float32, 0 where a canvas does not count.
        top: first row.
        bottom: row after the last.
        softness: half the width of a stroke's edge in pixels.
        grad: (K, 13) float64, gradients are added to it.
        errors: (K,) float64, the plain squared errors of rows where weights[k] > 0 are added.
    """
    rows = bottom - top
    canvas, goal, local = _strip(geometry, background, target, top, bottom)
    spans_size, pixels = _record_size(local, canvas.shape[2], 0, rows, softness)
    spans = np.empty((spans_size, 4), np.int64)
    data = np.empty((2 + canvas.shape[0], pixels), np.float32)
    count = _record_rows(local, canvas, 0, rows, softness, spans, data)
    grad_canvas = np.zeros_like(canvas)
    i = count - 1
    for k in range(geometry.shape[0] - 1, -1, -1):
        if weights[k] > ZERO:
            errors[k] += _squared_error(canvas, goal, 0, rows)
            _pull(canvas, goal, weights[k], grad_canvas)
        while i >= 0 and spans[i, 0] == k:
            _backward_span(local, spans, i, data, F(softness), grad_canvas, grad)
            y, low, start = spans[i, 1], spans[i, 2], spans[i, 3]
            size = spans[i + 1, 3] - start
            for c in range(canvas.shape[0]):
                canvas[c, y, low : low + size] = data[2 + c, start : start + size]
            i -= 1


@_kernel
def score(
    geometry: np.ndarray,
    canvas: np.ndarray,
    target: np.ndarray,
    softness: float,
    gains: np.ndarray,
) -> None:
    """Try each stroke alone on the canvas in its best colour.

    The best colour of a fixed shape is a least-squares problem per channel:
    minimise sum (d - a c)^2 with d = target - (1 - a) canvas.

    Args:
        geometry: (N, 13); the colours are overwritten by the best ones in [0, 1].
        canvas: (C, H, W), not changed.
        target: (C, H, W).
        softness: half the width of a stroke's edge in pixels.
        gains: (N,) float32, set to the drop of the squared error; 0 for a stroke off the canvas.
    """
    channels, height, width = canvas.shape
    soft = F(softness)
    table = np.empty((MAX_CHORDS, COLUMNS), np.float32)
    depth, place = np.empty(width, np.float32), np.empty(width, np.float32)
    old, new, cross = np.empty(channels), np.empty(channels), np.empty(channels)
    for k in range(geometry.shape[0]):
        g = geometry[k]
        square = 0.0
        old[:], new[:], cross[:] = 0.0, 0.0, 0.0
        n = _chords(g, soft, table)
        first, last = _rows(table, n, 0, height)
        for y in range(first, last):
            low, high = _cover(g, table, n, y, soft, depth, place)
            if low >= high:
                continue
            a, t = depth[low:high], place[low:high]
            part = ZERO
            for j in range(high - low):
                a[j] *= g[7] + (g[9] - g[7]) * t[j]
                part += a[j] * a[j]
            square += float(part)
            for c in range(channels):
                row, goal = canvas[c, y, low:high], target[c, y, low:high]
                before, after, both = ZERO, ZERO, ZERO
                for j in range(high - low):
                    e = goal[j] - row[j]
                    d = e + a[j] * row[j]
                    before += e * e
                    after += d * d
                    both += a[j] * d
                old[c] += before
                new[c] += after
                cross[c] += both
        gain = 0.0
        if square > 1e-3:
            for c in range(channels):
                colour = min(1.0, max(0.0, cross[c] / square))
                g[10 + c] = colour
                gain += old[c] - new[c] + colour * (2.0 * cross[c] - colour * square)
        gains[k] = gain


@_kernel
def process_errors(
    geometry: np.ndarray,
    background: np.ndarray,
    target: np.ndarray,
    weights: np.ndarray,
    top: int,
    bottom: int,
    softness: float,
    errors: np.ndarray,
) -> None:
    """`process_rows` without the gradient; the same arguments, but for `grad`."""
    rows = bottom - top
    canvas, goal, local = _strip(geometry, background, target, top, bottom)
    start = 0
    for k in range(geometry.shape[0]):
        if weights[k] > ZERO:
            _paint_rows(local[start : k + 1], canvas, 0, rows, softness)
            start = k + 1
            errors[k] += _squared_error(canvas, goal, 0, rows)


squared_error = _kernel(_squared_error.py_func)
paint_rows = _kernel(_paint_rows.py_func)
record_size = _kernel(_record_size.py_func)
record_rows = _kernel(_record_rows.py_func)
