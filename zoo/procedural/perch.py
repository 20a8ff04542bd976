"""What a bird stands on."""

import numpy as np

from .canvas import Canvas, Frame, Place, Points, smooth, stroke, toned

_LEAF = smooth(((0, 0), (0.3, -0.2), (0.7, -0.17), (1, 0), (0.7, 0.17), (0.3, 0.2)))


def paint_perch(canvas: Canvas, pose: int, ground: float, rng: np.random.Generator) -> None:
    """Paint a branch across the picture, or grassy ground.

    Args:
        canvas: painted upon; the part is called perch.
        pose: into the poses of `specs.VALUES`, perched or standing.
        ground: the height of the bird's feet.
        rng: the only source of randomness.
    """
    tone = np.float32(rng.uniform(0.85, 1.15))
    if pose == 0:
        _branch(canvas, ground, tone, rng)
    else:
        _soil(canvas, ground, tone, rng)


def _branch(canvas: Canvas, ground: float, tone: np.float32, rng: np.random.Generator) -> None:
    tilt, bend, thick = rng.uniform((-0.06, -0.02, 0.05), (0.06, 0.02, 0.075)).tolist()
    middle = ground + thick / 2
    path = (
        (-0.1, middle - tilt),
        (0.25, middle + bend),
        (0.5, middle),
        (0.75, middle - bend),
        (1.1, middle + tilt),
    )
    twigs: list[tuple[Place, Place]] = []
    leaves: list[Points] = []
    # Twigs keep to the sides, clear of the bird.
    for start, lean, up, turn, turn2 in rng.uniform(
        (0.0, -0.1, -0.16, 0.2, 1.6), (0.2, 0.1, 0.16, 1.5, 2.9), (3, 5)
    ).tolist():
        root = start if lean > 0 else 1 - start
        way = 1.0 if up > 0 else -1.0
        end = root + lean * 0.6, middle + up + way * 0.04
        twigs.append(((root, middle), end))
        leaves += [_leaf(*end, 0.11, way * turn), _leaf(*end, 0.1, way * turn2)]
    green = np.array([0.36, 0.46, 0.27], np.float32)
    canvas.paint(canvas.mask(*leaves), green * tone)
    wood = canvas.mask(stroke(path, thick * 1.2, thick * 0.8), stroke(twigs, 0.022, 0.012))
    bark = np.array([0.44, 0.34, 0.27], np.float32)
    canvas.paint(wood, bark * tone, canvas.volume(wood, thick * 0.5, 0.5), part="perch")


def _leaf(x: float, y: float, length: float, angle: float) -> Points:
    return Frame(x, y, length, angle)(_LEAF)


def _soil(canvas: Canvas, ground: float, tone: np.float32, rng: np.random.Generator) -> None:
    soil = np.array([0.47, 0.46, 0.33], np.float32) * tone
    swell = rng.uniform(-0.02, 0.02, 6).tolist()
    top = [(i / 5 * 1.2 - 0.1, ground + 0.03 + rise) for i, rise in enumerate(swell)]
    mound = canvas.mask(np.array([*top, (1.1, 1.1), (-0.1, 1.1)]))
    rows = np.arange(mound.rows.start, mound.rows.stop, dtype=np.float32)[:, None] / canvas.size
    light = (1.1 - (rows - ground) * 1.2).astype(np.float32)
    canvas.paint(mound, soil, light + np.zeros_like(mound.cover), part="perch")
    root, lean, tall = rng.uniform((0, -0.05, 0.04), (1, 0.05, 0.12), (16, 3)).T
    base = np.full(16, ground + 0.05)
    ends = np.stack([root, base, root + lean, base - tall], axis=1).reshape(16, 2, 2)
    blades = stroke(ends, 0.016, 0.003)
    canvas.paint(canvas.mask(blades[:8]), toned(soil, 0.8))
    canvas.paint(canvas.mask(blades[8:]), np.array([0.5, 0.55, 0.34], np.float32) * tone)
