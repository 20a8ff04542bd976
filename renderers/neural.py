"""H_r, the neural Bezier renderer: a network that imitates the exact rasteriser (Fig 6.2).

It works on cells of 4 x 4 pixels, so any canvas size will do. An analytic front end measures the
stroke from each cell's centre (depth below the edge, direction of the nearest curve point,
opacity there), which already gives the first-order alpha of the cell's 16 pixels; a network
learns what that linearisation misses (bends, taper, round ends, ridges). Cells out of a
stroke's reach are zero and, on a CPU, cost nothing.
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..backend import weights
from .compose import compose
from .stroke import Control, to_pixels

CELL = 4
CHORDS = 4
REACH = 0.75 * CELL + 1.0  # half a cell's diagonal, the soft edge, the chords' error
FEATURES = 15
WEIGHTS = "neural.safetensors"
MAX_BYTES = 16 * 2**20
MAX_WIDTH = 1024  # 2.2 million parameters


class Measures(NamedTuple):
    """What the front end knows of P cells, (P,) each; lengths in pixels."""

    depth: Tensor  # radius minus distance at the cell's centre
    nx: Tensor  # direction from the nearest curve point to the centre
    ny: Tensor
    opacity: Tensor
    features: Tensor  # (P, FEATURES), about [-1, 1]


def measure(geometry: Tensor, cx: Tensor, cy: Tensor, t: Tensor) -> Measures:
    """Measure strokes from cell centres.

    Args:
        geometry: (P, 13) strokes in pixels, one per cell.
        cx: (P,) x of the centres in pixels.
        cy: (P,) y of the centres in pixels.
        t: (P,) first guess of the nearest curve parameter, improved here by Newton's method.

    Returns:
        `Measures`, differentiable in the geometry.
    """
    x0, y0, x1, y1, x2, y2, r0, v0, r1, v1 = geometry[:, :10].unbind(1)
    ax, ay, bx, by = x0 - 2 * x1 + x2, y0 - 2 * y1 + y2, x1 - x0, y1 - y0
    ox, oy, grow = cx - x0, cy - y0, r1 - r0
    for _ in range(2):
        ex, ey = ox - t * (2 * bx + t * ax), oy - t * (2 * by + t * ay)
        tx, ty = 2 * (bx + t * ax), 2 * (by + t * ay)
        distance = (ex * ex + ey * ey + 1e-4).sqrt()
        along = ex * tx + ey * ty
        speed = tx * tx + ty * ty
        descent = speed - 2 * (ex * ax + ey * ay) + grow * along / distance
        step = (along + grow * distance) / torch.maximum(descent, 0.05 * speed + 1e-3)
        t = (t + step.clamp(-1 / CHORDS, 1 / CHORDS)).clamp(0, 1)
    ex, ey = ox - t * (2 * bx + t * ax), oy - t * (2 * by + t * ay)
    distance = (ex * ex + ey * ey + 1e-4).sqrt()
    nx, ny = ex / distance, ey / distance
    radius = r0 + grow * t
    depth = radius - distance
    opacity = v0 + (v1 - v0) * t
    inner = ((t > 0) & (t < 1)).to(t.dtype)
    reciprocal = inner / (speed + 1)
    length = speed.clamp(min=1e-12).sqrt()  # a root of 0 has no gradient
    features = torch.stack(
        [
            depth.clamp(-REACH, REACH) / REACH,
            nx,
            ny,
            distance.clamp(max=8) / 8,
            2 / (1 + distance),
            2 / (1 + radius),
            inner,
            opacity,
            CELL * (v1 - v0) * reciprocal * tx,
            CELL * (v1 - v0) * reciprocal * ty,
            grow * reciprocal * tx,
            grow * reciprocal * ty,
            CELL * (tx * ay - ty * ax) * reciprocal / (speed + 1).sqrt(),
            ((1 - t) * length).clamp(max=8) / 8,  # pixels to the ends
            (t * length).clamp(max=8) / 8,
        ],
        1,
    )
    return Measures(depth, nx, ny, opacity, features)


@torch.no_grad()
def nearest_chord(geometry: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """First guess of the nearest curve parameter for all cells; a choice, so without gradient.

    Args:
        geometry: (N, 13) strokes in pixels.
        rows: cell rows.
        columns: cell columns.

    Returns:
        (N, rows, columns) curve parameters t and depths below the stroke's edge in pixels.
    """
    fields = geometry[:, :10, None, None].unbind(1)
    x0, y0, x1, y1, x2, y2, r0, _, r1, _ = fields
    cx = (torch.arange(columns, device=geometry.device) + 0.5) * CELL
    cy = ((torch.arange(rows, device=geometry.device) + 0.5) * CELL)[:, None]
    # Where one end disc holds the other, no foot of a perpendicular is deepest but that end.
    best = r0 - ((cx - x0).square() + (cy - y0).square()).sqrt_()
    t = torch.zeros_like(best)
    qx, qy = x0, y0
    for i in range(CHORDS):
        end = (i + 1) / CHORDS
        ends = (1 - end) ** 2, 2 * (1 - end) * end, end**2
        px, py = qx, qy
        qx = ends[0] * x0 + ends[1] * x1 + ends[2] * x2
        qy = ends[0] * y0 + ends[1] * y1 + ends[2] * y2
        dx, dy = qx - px, qy - py
        inverse = 1 / (dx * dx + dy * dy + 1e-6)
        ex, ey = cx - px, cy - py
        u = (ex * (dx * inverse) + ey * (dy * inverse)).clamp_(0, 1)
        ex, ey = ex - u * dx, ey - u * dy
        u = (u + i) / CHORDS
        depth = r0 + (r1 - r0) * u - (ex.square_() + ey.square_()).sqrt_()
        better = depth > best
        t, best = torch.where(better, u, t), torch.maximum(best, depth)
    depth = r1 - ((cx - x2).square() + (cy - y2).square()).sqrt_()
    return torch.where(depth > best, 1.0, t), torch.maximum(best, depth)


@torch.no_grad()
def cells_in_reach(geometry: Tensor, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices (stroke, row, column) of the cells that a stroke may touch, (P,) each.

    On a GPU all cells: fixed shapes, which CUDA graphs need, are worth more there than skipping.

    Args:
        geometry: (N, 13) strokes in pixels.
        depth: (N, rows, columns) from `nearest_chord`.
    """
    if depth.is_cuda:
        sides = [torch.arange(side, device=depth.device) for side in depth.shape]
        stroke, row, column = torch.meshgrid(*sides, indexing="ij")
        return stroke.flatten(), row.flatten(), column.flatten()
    # A chord leaves its curve by at most |P0 - 2 P1 + P2| / (4 CHORDS^2).
    bend = (geometry[:, 0:2] - 2 * geometry[:, 2:4] + geometry[:, 4:6]).norm(dim=1)
    reach = REACH + bend / (4 * CHORDS**2)
    stroke, row, column = (depth > -reach[:, None, None]).nonzero(as_tuple=True)
    return stroke, row, column


class NeuralRenderer(nn.Module):
    """H_r: strokes to alpha mattes, differentiable in all parameters.

    Args:
        width: channels of the hidden layers, 1 to `MAX_WIDTH`.

    Raises:
        ValueError: another width.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        if not 1 <= width <= MAX_WIDTH:
            raise ValueError(f"width must be 1 to {MAX_WIDTH}, got {width}")
        self.width = width
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            last := nn.Linear(width, 2 * CELL * CELL),
        )
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(
        self, strokes: Tensor, height: int, width: int, control: Control = "relative"
    ) -> Tensor:
        """The alpha mattes a_r.

        Args:
            strokes: (N, 13) float32 in [0, 1]; colours are ignored.
            height: canvas rows, any number.
            width: canvas columns, any number.
            control: how the middle control point is read.

        Returns:
            (N, height, width) in [0, 1].
        """
        geometry = to_pixels(strokes, height, width, control)
        rows, columns = -(-height // CELL), -(-width // CELL)
        t, depth = nearest_chord(geometry, rows, columns)
        stroke, row, column = cells_in_reach(geometry, depth)
        cells = measure(
            geometry[stroke], (column + 0.5) * CELL, (row + 0.5) * CELL, t[stroke, row, column]
        )
        pixels = self.cell_alpha(cells)  # (P, CELL, CELL)
        grid = pixels.new_zeros(len(strokes), rows, columns, CELL, CELL)
        grid = grid.index_put((stroke, row, column), pixels)
        alphas = grid.permute(0, 1, 3, 2, 4).reshape(len(strokes), rows * CELL, columns * CELL)
        return alphas[:, :height, :width]

    def cell_alpha(self, cells: Measures) -> Tensor:
        """First-order alpha of each cell's pixels plus the learned correction, (P, 4, 4)."""
        offset = torch.arange(CELL, device=cells.depth.device) + 0.5 - CELL / 2
        dx, dy = offset.repeat(CELL), offset.repeat_interleave(CELL)  # (16,)
        correction: Tensor = self.layers(cells.features)
        depth = cells.depth[:, None] - cells.nx[:, None] * dx - cells.ny[:, None] * dy
        coverage = (depth + 0.5 + correction[:, : CELL**2]).clamp(0, 1)
        slope_x, slope_y = cells.features[:, 8:9] / CELL, cells.features[:, 9:10] / CELL
        opacity = cells.opacity[:, None] + slope_x * dx + slope_y * dy
        opacity = (opacity + correction[:, CELL**2 :]).clamp(0, 1)
        return (coverage * opacity).view(-1, CELL, CELL)

    def paint(self, canvas: Tensor, strokes: Tensor) -> Tensor:
        """Paint strokes in order with the imitated alphas; shapes as in `bezier.paint`."""
        channels, height, width = canvas.shape[1:]
        alphas = self(strokes.flatten(0, 1), height, width).unflatten(0, strokes.shape[:2])
        colour = strokes[:, :, 10 : 10 + channels, None, None]
        return compose(canvas, alphas[:, :, None] * colour, alphas)


def save_weights(network: NeuralRenderer, path: Path) -> None:
    """Write the weights in half precision as safetensors, atomically.

    Args:
        network: its width is kept in the file's metadata.
        path: file to write.
    """
    weights.save_weights(network, path, {"width": str(network.width)}, half=True)


def load_weights(path: Path | None = None) -> NeuralRenderer:
    """Read weights that `save_weights` wrote.

    Args:
        path: a safetensors file; None means those shipped with the package.

    Returns:
        H_r in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a missing, extra, mis-shaped or not finite weight (names it), or not such a
            file.
    """
    source = path or Path(str(resources.files(__package__) / "weights" / WEIGHTS))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no weights of H_r; train them with renderers.train")
    return weights.load_weights(source, _built, MAX_BYTES).eval().requires_grad_(False)


def _built(meta: dict[str, str]) -> NeuralRenderer:
    width = meta.get("width", "")
    if len(width) > 4 or not width.isdecimal() or not 1 <= int(width) <= MAX_WIDTH:
        raise ValueError(f"names no width of the hidden layers up to {MAX_WIDTH}")
    return NeuralRenderer(int(width))
