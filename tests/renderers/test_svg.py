"""The SVG is drawn by an independent renderer (resvg) and compared with the definition."""

import io
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import resvg_py
from numpy.typing import NDArray
from PIL import Image

from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.stroke import Control
from neuralpaint.renderers.svg import to_svg

Array = NDArray[np.float64]
NOTHING = np.zeros((0, 13), np.float32)
SVG = "{http://www.w3.org/2000/svg}"


def rendered(svg: str) -> Array:
    """What resvg makes of it: (H, W, 3) in [0, 1]."""
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) / 255


def defined(drawing: Drawing, fine: int = 1, samples: int = 201) -> Array:
    """The definition by brute force: every disc of every stroke at every pixel centre.

    With `fine` > 1 it is evaluated on that many times more rows and columns and averaged, which
    is the area that the union of the discs covers.
    """
    height, width = drawing.height, drawing.width
    canvas = np.broadcast_to(drawing.background, (height * fine, width * fine, 3)).astype(float)
    y, x = (np.indices(canvas.shape[:2]) + 0.5) / fine
    for stroke in drawing.strokes.astype(float):
        p0, p2 = stroke[0:2] * (width, height), stroke[4:6] * (width, height)
        p1 = stroke[2:4] * (width, height)
        if drawing.control == "relative":
            p1 = p0 + (p2 - p0) * stroke[2:4]
        depth, opacity = np.full(x.shape, -np.inf), np.zeros(x.shape)
        for t in np.linspace(0, 1, samples):
            qx, qy = (1 - t) ** 2 * p0 + 2 * t * (1 - t) * p1 + t**2 * p2
            radius = (stroke[6] + (stroke[8] - stroke[6]) * t) * min(height, width) / 4 + 0.5
            here = radius - np.hypot(x - qx, y - qy)
            opacity = np.where(here > depth, stroke[7] + (stroke[9] - stroke[7]) * t, opacity)
            depth = np.maximum(depth, here)
        alpha = (np.clip(depth * fine + 0.5, 0, 1) * opacity)[:, :, None]
        canvas = alpha * stroke[10:] + (1 - alpha) * canvas
    return np.asarray(canvas.reshape(height, fine, width, fine, 3).mean((1, 3)))


def draw_strokes(count: int, seed: int, *, gradient: bool) -> NDArray[np.float32]:
    """Uniform ones, thin ones, short ones and small ones in turn."""
    strokes = np.random.default_rng(seed).random((count, 13))
    strokes[1::4, 6:9:2] *= 0.1
    for start, share in ((2, 0.1), (3, 0.3)):
        chord = strokes[start::4, 4:6] - strokes[start::4, 0:2]
        strokes[start::4, 4:6] = strokes[start::4, 0:2] + share * chord
    strokes[3::4, 6:9:2] *= 0.5
    if not gradient:
        strokes[:, 9] = strokes[:, 7]
    return strokes.astype(np.float32)


def white_stroke(numbers: list[float], v0: float = 1, v1: float = 1) -> NDArray[np.float32]:
    """One white stroke from x0, y0, x1, y1, x2, y2, z0, z1."""
    return np.array([[*numbers[:7], v0, numbers[7], v1, 1, 1, 1]], np.float32)


EXTREME = {
    "point": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.2, 0.2],
    "growing point": [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.6],
    "swallowed end": [0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.9, 0.0],
    "swallowed start": [0.5, 0.5, 0.5, 0.5, 0.6, 0.6, 0.0, 0.9],
    "tail out of a disc": [0.3, 0.3, 0.0, 0.0, 0.9, 0.9, 0.9, 0.0],
    "nearly swallowed": [0.4, 0.5, 0.5, 0.5, 0.6, 0.5, 0.0, 0.79],
    "corner": [0.1, 0.1, 1.0, 0.0, 0.9, 0.9, 0.3, 0.3],
    "thick bend": [0.4, 0.4, 1.0, 0.0, 0.6, 0.6, 0.9, 0.5],
    "standing start": [0.2, 0.2, 0.0, 0.0, 0.8, 0.7, 0.2, 0.4],
    "standing end": [0.2, 0.2, 1.0, 1.0, 0.8, 0.7, 0.4, 0.2],
    "hair": [0.1, 0.2, 0.3, 0.8, 0.9, 0.7, 0.0, 0.0],
    "half outside": [0.0, 0.0, 0.5, 0.5, 1.0, 0.1, 0.5, 1.0],
}
EXTREME_ABSOLUTE = {
    "there and back": [0.2, 0.5, 0.9, 0.5, 0.2, 0.5, 0.1, 0.3],
    "overshoot": [0.3, 0.5, 1.0, 0.5, 0.5, 0.5, 0.3, 0.1],
    "hairpin": [0.2, 0.45, 1.0, 0.5, 0.2, 0.55, 0.2, 0.2],
    "narrow hairpin": [0.2, 0.48, 1.0, 0.5, 0.2, 0.52, 0.4, 0.1],
}
CASES: list[tuple[list[float], Control]] = [
    *((numbers, "relative") for numbers in EXTREME.values()),
    *((numbers, "absolute") for numbers in EXTREME_ABSOLUTE.values()),
]


def assert_same_shape(strokes: NDArray[np.float32], control: Control) -> None:
    """Coverage to a twentieth of a pixel, drawn large to leave the viewer's own edges out."""
    drawing = Drawing(strokes, 32, 32, control=control)
    large = rendered(to_svg(drawing, height=512))
    shape = large.reshape(32, 16, 32, 16, 3).mean((1, 3))
    assert np.abs(shape - defined(drawing, fine=6, samples=301)).max() < 0.06


@pytest.mark.parametrize(("numbers", "control"), CASES, ids=[*EXTREME, *EXTREME_ABSOLUTE])
def test_extreme_shapes(numbers: list[float], control: Control) -> None:
    assert_same_shape(white_stroke(numbers), control)


@pytest.mark.parametrize("control", ["relative", "absolute"])
def test_random_shapes(control: Control) -> None:
    for stroke in draw_strokes(16, seed=1, gradient=False):
        assert_same_shape(white_stroke([*stroke[:7], stroke[8]]), control)


@pytest.mark.parametrize(
    ("size", "gradient", "mean", "largest"),
    [
        (64, False, 0.004, 0.2),
        (128, False, 0.004, 0.2),
        (64, True, 0.008, 0.3),
        (128, True, 0.006, 0.3),
    ],
)
def test_many_strokes_in_order(size: int, gradient: bool, mean: float, largest: float) -> None:
    strokes = draw_strokes(16, seed=size, gradient=gradient)
    drawing = Drawing(strokes, size, size * 5 // 4, background=(0.2, 0.3, 0.4))
    difference = np.abs(rendered(to_svg(drawing)) - defined(drawing, samples=101))
    assert difference.mean() < mean
    assert difference.max() < largest


def test_a_straight_gradient_is_exact() -> None:
    drawing = Drawing(white_stroke([0.2, 0.5, 0.5, 0.5, 0.8, 0.5, 0.3, 0.3], 1, 0.2), 64, 64)
    middle = rendered(to_svg(drawing))[31, :, 0]
    x = (np.arange(64) + 0.5) / 64
    expected = 1 - 0.8 * ((x - 0.2) / 0.6).clip(0, 1)
    inside = (x > 0.17) & (x < 0.83)
    np.testing.assert_allclose(middle[inside], expected[inside], atol=0.01)


def test_the_opacity_of_a_swallowed_end_is_not_seen() -> None:
    drawing = Drawing(white_stroke([0.5, 0.5, 0.5, 0.5, 0.6, 0.5, 0.0, 0.9], 1, 0.25), 64, 64)
    np.testing.assert_allclose(rendered(to_svg(drawing))[32, 32], 0.25, atol=0.01)
    assert "Gradient" not in to_svg(drawing)


def test_the_path_by_hand() -> None:
    """From (25, 50) to (75, 50) with radius 5, in hundredths of a pixel."""
    stroke = white_stroke([0.25, 0.5, 0.5, 0.5, 0.75, 0.5, 0.18, 0.18])
    (path,) = ET.fromstring(to_svg(Drawing(stroke, 100, 100))).iter(f"{SVG}path")
    assert path.attrib == {
        "d": "M2500 5500c1667 0 3333 0 5000 0a500 500 0 0 0 500-500a500 500 0 0 0 -500-500"
        "c-1667 0-3333 0-5000 0a500 500 0 0 0 -500 500a500 500 0 0 0 500 500z",
        "fill": "#ffffff",
    }


def test_the_document() -> None:
    strokes = draw_strokes(5, seed=0, gradient=True)
    strokes[1, 9] = strokes[1, 7]
    strokes[2, 7] = strokes[2, 9] = 0  # invisible
    drawing = Drawing(strokes, 100, 200, background=(1.0, 0.2, 0.0), source='<&">\x00.jpg')
    root = ET.fromstring(to_svg(drawing))
    assert root.attrib["viewBox"] == "0 0 20000 10000"
    assert (root.attrib["width"], root.attrib["height"]) == ("200", "100")
    assert root.findtext(f"{SVG}title") == '<&">?.jpg, 5 strokes'
    (paper,) = root.iter(f"{SVG}rect")
    assert paper.attrib["fill"] == "#ff3300"
    paths = list(root.iter(f"{SVG}path"))
    assert len(paths) == 4
    gradients = {element.attrib["id"] for element in root.iter(f"{SVG}linearGradient")}
    used = {path.attrib["fill"][5:-1] for path in paths if path.attrib["fill"][0] == "u"}
    assert used == gradients


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(None, None, (48, 64)), (96, None, (96, 128)), (None, 32, (24, 32)), (50, 100, (50, 100))],
)
def test_sizes(height: int | None, width: int | None, expected: tuple[int, int]) -> None:
    drawing = Drawing(white_stroke([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.3, 0.3]), 48, 64)
    picture = rendered(to_svg(drawing, height=height, width=width))
    assert picture.shape[:2] == expected
    # The picture is filled, so the disc of radius 4.1 covers the same share at any size.
    assert picture.mean() == pytest.approx(np.pi * 4.1**2 / (48 * 64), rel=0.1)


@pytest.mark.parametrize("side", [0, -1, float("nan"), float("inf"), 10**6])
def test_bad_sizes(side: float) -> None:
    with pytest.raises(ValueError, match="both sides must lie between"):
        to_svg(Drawing(NOTHING, 4, 4), height=side)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4096), (4096, 4096)])
def test_small_and_large_canvases(height: int, width: int) -> None:
    drawing = Drawing(draw_strokes(8, 0, gradient=True), height, width, background=(0, 1.0, 0))
    picture = rendered(to_svg(drawing, height=16, width=16))
    assert picture.shape == (16, 16, 3)
    assert np.ptp(picture) > 0


def test_no_strokes() -> None:
    picture = rendered(to_svg(Drawing(NOTHING, 4, 6, background=(0.2, 0.4, 0.6))))
    np.testing.assert_allclose(picture, np.broadcast_to((0.2, 0.4, 0.6), (4, 6, 3)), atol=1e-6)


def test_the_file_is_compact() -> None:
    drawing = Drawing(draw_strokes(400, 5, gradient=False), 128, 128)
    assert len(to_svg(drawing)) / 400 < 600  # bytes a stroke


def test_every_mix_of_ends_renders() -> None:
    ends = [0.0, 0.5, 1.0]
    strokes = [
        [0.5, 0.5, *p, *q, 0.1, 1, z, 0, 1, 1, 1]
        for p, q, z in itertools.product(
            itertools.product(ends, ends), itertools.product(ends, ends), ends
        )
    ]
    for control in ("relative", "absolute"):
        svg = to_svg(Drawing(np.array(strokes, np.float32), 32, 32, control=control))
        assert "nan" not in svg
        assert "inf" not in svg
        rendered(svg)
