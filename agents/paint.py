"""From a photo to the folder of a painting: picture, video, vector, strokes and figures."""

import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..backend import device as devices
from ..backend.files import writable_folder, write_json, write_text
from ..backend.media import resize, to_uint8, write_image
from ..backend.sheet import sheet
from ..backend.video import write_video
from ..renderers.drawing import Drawing
from ..renderers.replay import canvases, fit_size
from ..renderers.svg import to_svg
from .descent import Image
from .methods import DEFAULT, Painter, load_painter
from .optimise import Report, Settings

LONGEST_SIDE = 1024
"""Longer side in pixels of final.png and of the video, at most."""

MAX_CANVAS_SIDE = 4096
MILESTONES = (10, 50, 100, 200, 400)
VIDEO_SECONDS, VIDEO_FPS, VIDEO_HOLD = 8.0, 25, 25
PROVENANCE = "Painted by neuralpaint, a computer program (AI-generated image)"


def canvas_size(photo: Image, size: int) -> tuple[int, int]:
    """Rows and columns of a canvas with the photo's aspect ratio.

    Args:
        photo: (H, W, 3).
        size: shorter side of the canvas in pixels.

    Returns:
        height, width.

    Raises:
        ValueError: size below 1, or the longer side would exceed 4096 pixels.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    height, width = photo.shape[:2]
    scale = size / min(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    if max(rows, columns) > MAX_CANVAS_SIDE:
        raise ValueError(
            f"size {size} makes a canvas of {columns} x {rows}; at most {MAX_CANVAS_SIDE} pixels "
            "a side: choose a smaller size (strokes can be rendered at any size afterwards)"
        )
    return rows, columns


def paint_photo(
    photo: Image,
    out: Path,
    *,
    size: int = 128,
    settings: Settings | None = None,
    painter: Painter | None = None,
    source: str = "",
    report: Report = lambda progress: None,
) -> dict[str, Any]:
    """Paint a photo and write everything about it into a folder.

    Writes strokes.json, final.png, painting.svg, progress.png, timelapse.mp4 and, last,
    metrics.json; each appears under its name only when it is complete.

    Args:
        photo: (H, W, 3) float32 RGB in [0, 1].
        out: folder, made if absent.
        size: shorter side of the canvas in pixels.
        settings: of the painter.
        painter: from `methods.load_painter`; None loads the default one.
        source: file name of the photo, kept in strokes.json.
        report: progress of the painter; after it the outputs are written.

    Returns:
        What metrics.json holds.

    Raises:
        UnwritableFolderError: found before the painting starts.
        ValueError: a size or setting out of range.
    """
    settings = settings or Settings()
    painter = painter or load_painter(DEFAULT)
    height, width = canvas_size(photo, size)
    writable_folder(out)
    start = time.perf_counter()
    drawing = replace(painter(photo, height, width, settings, report), source=source)
    seconds = time.perf_counter() - start
    drawing.save(out / "strokes.json")
    scale = min(1.0, LONGEST_SIDE / max(photo.shape[:2]))
    shown = [max(1, round(side * scale)) for side in photo.shape[:2]]
    render(drawing, out / "final.png", *shown)
    render(drawing, out / "painting.svg", *shown)
    target = resize(photo, height, width)
    write_image(out / "progress.png", progress_sheet(drawing, target))
    render(drawing, out / "timelapse.mp4", *shown)
    figures = {
        "at": metrics_at(drawing, target),
        "strokes": len(drawing),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": devices.peak_memory_bytes(torch.device("cpu")),
        "seed": settings.seed,
        "method": drawing.method,
        "finish": drawing.extra["finish"],
        "canvas": {"height": height, "width": width},
        "interrupted": drawing.extra["interrupted"],
        "versions": versions(),
    }
    write_json(out / "metrics.json", figures)
    return figures


def render(drawing: Drawing, path: Path, height: int, width: int) -> None:
    """Write a drawing as .png, .svg or .mp4, by the suffix of the path.

    Args:
        drawing: what to render.
        path: where to.
        height: rows in pixels.
        width: columns in pixels.

    Raises:
        ValueError: another suffix.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        (image,) = canvases(drawing, [len(drawing)], height=height, width=width)
        write_image(path, image, text={"Software": PROVENANCE})
    elif suffix == ".svg":
        write_text(path, to_svg(drawing, height=height, width=width))
    elif suffix == ".mp4":
        write_video(path, _timelapse(drawing, height, width), VIDEO_FPS)
    else:
        raise ValueError(f"{path}: can render .png, .svg and .mp4, not {suffix or 'no suffix'}")


def _timelapse(drawing: Drawing, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
    """Frames for about eight seconds, slow at first, then the finished painting held."""
    frames = int(VIDEO_SECONDS * VIDEO_FPS)
    # Early strokes change the most: time runs with the square root of their number.
    shares = np.linspace(0, 1, min(frames, 2 * len(drawing) + 1)) ** 1.5
    counts = np.rint(shares * len(drawing)).astype(int).tolist()
    frame = np.zeros((height, width, 3), np.uint8)
    for canvas in canvases(drawing, counts, height=height, width=width):
        frame = to_uint8(canvas)
        yield frame
    for _ in range(VIDEO_HOLD):
        yield frame


def milestones(total: int) -> list[int]:
    """The stroke counts at which figures are taken: 10, 50, 100, 200, 400, and the last."""
    return [count for count in MILESTONES if count < total] + [total]


def metrics_at(drawing: Drawing, target: Image) -> dict[str, dict[str, float]]:
    """L2, PSNR and SSIM of the canvas along the way.

    Args:
        drawing: the painting.
        target: (H, W, 3) float32 in [0, 1], at the size of the canvas.

    Returns:
        {"100": {"l2": mean squared error, "psnr": dB, "ssim": ...}, ...}; data range 1. SSIM
        takes a 7 x 7 window, smaller on tiny canvases, and is left out below 3 x 3.
    """
    counts = milestones(len(drawing))
    return {
        str(count): metrics(canvas, target)
        for count, canvas in zip(counts, canvases(drawing, counts), strict=True)
    }


def metrics(image: Image, target: Image) -> dict[str, float]:
    """L2 (mean squared error), PSNR in dB (capped at 100) and SSIM of float images in [0, 1].

    Args:
        image: (H, W, 3).
        target: (H, W, 3).

    Returns:
        {"l2", "psnr", "ssim"}; see `metrics_at` for tiny canvases.
    """
    from skimage.metrics import structural_similarity

    l2 = float(np.mean((image.astype(np.float64) - target) ** 2))
    figures = {"l2": l2, "psnr": float(-10 * np.log10(max(l2, 1e-10)))}
    side = min(7, *target.shape[:2])
    window = side - 1 + side % 2
    if window >= 3:
        ssim = structural_similarity(image, target, win_size=window, channel_axis=2, data_range=1.0)
        figures["ssim"] = float(ssim)
    return figures


def progress_sheet(drawing: Drawing, target: Image) -> NDArray[np.uint8]:
    """One picture: target, canvases at 10, 50, 100, 200, 400 strokes, and the error map.

    Args:
        drawing: the painting.
        target: (H, W, 3) float32 in [0, 1], at the size of the canvas.

    Returns:
        (rows, columns, 3) uint8.
    """
    counts = milestones(len(drawing))
    tiles: list[tuple[str, Image]] = [("target", target)]
    last = target
    for count, last in zip(counts, canvases(drawing, counts), strict=True):
        figure = metrics(last, target)["psnr"]
        tiles.append((f"{count} stroke{'s' * (count != 1)}, {figure:.1f} dB", last))
    error = np.abs(last - target).mean(2)
    worst = float(error.max())
    tiles.append((f"error, white = {worst:.2f}", _heat(error / max(worst, 1e-6))))
    titles, pictures = zip(*tiles, strict=True)
    return sheet([[picture] for picture in pictures], titles)


def _heat(values: NDArray[np.floating]) -> Image:
    """Black, red, yellow, white for 0 to 1."""
    heat: Image = np.clip(values[..., None] * 3 - np.arange(3), 0, 1).astype(np.float32)
    return heat


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    names = ("neuralpaint", "torch", "numpy", "numba", "scikit-image")
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a bare checkout has no metadata of its own
        from .. import __version__

        return __version__ if name == "neuralpaint" else "unknown"


def drawing_size(drawing: Drawing, size: int | None) -> tuple[int, int]:
    """Rows and columns to render at: the shorter side `size`, or as painted when None."""
    height, width = fit_size(drawing, size) if size else (drawing.height, drawing.width)
    if max(height, width) > 4 * MAX_CANVAS_SIDE:
        raise ValueError(f"size {size} makes {width} x {height}; at most {4 * MAX_CANVAS_SIDE}")
    return height, width
