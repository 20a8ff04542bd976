"""How good is a painter? Figures over many pictures, with intervals, tables and plots.

Measured along one process, after 10, 20, 50, ... strokes: PSNR, SSIM and L2 of the whole canvas,
the subject and the background; whether a face is found on the canvas (thesis Fig 6.8); the mean
thickness of each ten strokes (thesis Fig 6.9); and the seconds that painting took.

An evaluation that was killed goes on where it stopped: per_image.csv grows picture by picture.
"""

import csv
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..backend.files import input_file, writable_folder, write_json, write_text
from ..backend.media import ImageArray, as_image, read_image, resize
from ..renderers.drawing import Drawing
from ..renderers.replay import canvases
from ..renderers.stroke import HALF_PIXEL, STROKE_FIELDS
from . import plots
from .detect import FaceDetector, has_face
from .optimise import MAX_STROKES
from .paint import MAX_CANVAS_SIDE, canvas_size, metrics, versions
from .plots import FACES, REGIONS, Configuration, Estimate, Summary, estimate

Painter = Callable[[ImageArray, int, int, int, int], Drawing]
"""(photo (H, W, 3) float32 RGB in [0, 1], height, width, strokes, seed) -> the drawing."""

Mask = NDArray[np.float32]
Masks = Callable[[Path, ImageArray], Mask]
"""(file, photo (H, W, 3)) -> (H, W) in [0, 1], 1 on the subject; zeros where there is none."""

COUNTS = (10, 20, 50, 100, 200, 400)
GROUP = 10
"""Strokes over which thickness is averaged."""

QUALITY = ("psnr", "ssim", "l2")
FIGURES = (*(name + region for region in REGIONS for name in QUALITY), *FACES, "seconds")
CONFIGURATION = tuple(Configuration.__dataclass_fields__)
COLUMNS = ("picture", "strokes", *FIGURES, "photo", *CONFIGURATION)
THICKNESS_COLUMNS = ("picture", "first", "last", "thickness", "radius")
MAX_FILE_BYTES = 2**28
_ELSE = "give another folder, or delete the file"


class Item(NamedTuple):
    """A picture in memory.

    Attributes:
        name: as a file's; no two pictures may share one.
        image: (H, W, 3) float32 RGB in [0, 1].
        mask: (H, W) in [0, 1], 1 on the subject; None: `masks` is asked, if there is one.
    """

    name: str
    image: ImageArray
    mask: Mask | None = None


class Progress(NamedTuple):
    """What is reported after each picture.

    Attributes:
        done: pictures by now, with those skipped and those of an earlier run.
        total: pictures in all.
        picture: the last one's name.
        psnr: of its last canvas in dB; None: it could not be read.
    """

    done: int
    total: int
    picture: str
    psnr: float | None


@dataclass(frozen=True)
class _Record:
    """Everything measured on one picture: figures at each count, thickness of each ten strokes."""

    photo: str
    rows: dict[int, dict[str, float]]
    thickness: list[float]


def evaluate(
    painter: Painter,
    files: Sequence[str | Path | Item],
    out: Path,
    *,
    name: str,
    size: int = 128,
    strokes: int = 400,
    counts: Sequence[int] = COUNTS,
    masks: Masks | None = None,
    detector: FaceDetector | None = None,
    seed: int = 0,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Paint pictures and write figures, tables and plots about it into a folder.

    Writes per_image.csv and thickness.csv after every picture, at last summary.csv, summary.json,
    psnr.png, faces.png and thickness.png. Let the painter compile its kernels and load its weights
    before, or the first picture's seconds include it.

    Args:
        painter: see `Painter`.
        files: image files, or pictures in memory.
        out: folder, made if absent. An evaluation of the same configuration that stopped in it is
            continued.
        name: of the method, with the settings that decide its figures.
        size: shorter side of the canvas in pixels.
        strokes: of one process.
        counts: where canvases are measured; those from `strokes` on are left out, and `strokes`
            itself is always among them.
        masks: see `Masks`. Pictures without any subject have no figures by region.
        detector: None: faces are not looked for.
        seed: given to the painter, the same for every picture.
        report: called after each picture.

    Returns:
        The summary. Unreadable pictures are listed in it and left out of all figures.

    Raises:
        ValueError: no pictures, none readable, two of one name, a number out of range, a folder
            with rows of another configuration (the text names the field), a mask that does not fit
            its photo, or a drawing that is not what was asked for.
        ImportError: matplotlib is not there.
        KeyboardInterrupt: also when the painter ended early by it; that picture is not counted.
    """
    items = _named(files)
    configuration = Configuration(
        method=_checked_name(name),
        counts=_checked_counts(counts, strokes),
        budget=strokes,
        size=size,
        seed=seed,
        threads=torch.get_num_threads(),
        detector="none" if detector is None else detector.name,
        masks=_name_of_masks(masks, items.values()),
    )
    if not 1 <= size <= MAX_CANVAS_SIDE:
        raise ValueError(f"size must be 1 to {MAX_CANVAS_SIDE}, got {size}")
    plots.require_matplotlib()
    writable_folder(out)
    records = _load(out, configuration, set(items))
    skipped: dict[str, str] = {}
    for done, (picture, item) in enumerate(items.items(), 1):
        try:
            photo = as_image(item.image) if isinstance(item, Item) else read_image(item)
            height, width = canvas_size(photo, size)
        except ValueError as error:
            skipped[picture] = str(error)
            report(Progress(done, len(items), picture, None))
            continue
        digest = hashlib.sha256(repr(photo.shape).encode() + photo.tobytes()).hexdigest()[:16]
        if picture in records and records[picture].photo != digest:
            raise ValueError(f"photo: {picture} has changed since {out / 'per_image.csv'}; {_ELSE}")
        if picture not in records:
            mask = _mask_of(item, photo, masks, height, width)
            start = time.perf_counter()
            drawing = painter(photo, height, width, strokes, seed)
            seconds = time.perf_counter() - start
            _check_drawing(drawing, height, width, strokes)
            target = resize(photo, height, width)
            rows = measure(drawing, target, configuration.counts, mask, detector)
            rows[strokes]["seconds"] = seconds
            records[picture] = _Record(digest, rows, thickness(drawing))
            _save(out, configuration, records)
        report(Progress(done, len(items), picture, records[picture].rows[strokes]["psnr"]))
    # In the order of the files, whatever was painted first.
    records = {picture: records[picture] for picture in items if picture in records}
    painted = [picture for picture in records if picture not in skipped]
    if not painted:
        raise ValueError(
            f"none of {len(items)} pictures can be read: {next(iter(skipped.values()))}"
        )
    _save(out, configuration, records)
    summary = Summary(
        configuration,
        tuple(painted),
        skipped,
        tuple(_estimates([records[picture] for picture in painted], configuration)),
        versions(),
    )
    _write_summary(summary, out)
    return summary


def compare(summaries: Sequence[Summary], out: Path) -> str:
    """Write comparison.md, psnr.png, faces.png and thickness.png with a line for each method.

    Args:
        summaries: of evaluations of the same pictures in the same way, see `Summary.load`.
        out: folder, made if absent.

    Returns:
        The Markdown table of comparison.md.

    Raises:
        ValueError: none, a method twice, or measured differently; the text names the field.
        ImportError: matplotlib is not there.
    """
    plots.check_comparable(summaries)
    plots.require_matplotlib()
    writable_folder(out)
    plots.draw_comparison(summaries, out)
    text = plots.table(summaries)
    write_text(out / "comparison.md", text)
    return text


def measure(
    drawing: Drawing,
    target: ImageArray,
    counts: Sequence[int],
    mask: Mask | None = None,
    detector: FaceDetector | None = None,
) -> dict[int, dict[str, float]]:
    """All figures of one drawing along the way, but the seconds.

    Args:
        drawing: the painting.
        target: (H, W, 3) float32 in [0, 1], at the size of the canvas.
        counts: stroke counts, rising.
        mask: (H, W) in [0, 1], 1 on the subject.
        detector: None: faces are not looked for.

    Returns:
        count -> {"psnr": ..., "psnr_foreground": ..., "face": 0 or 1, ...}; what cannot be measured
        is left out. face_target and face_blank, of the photo and the empty canvas, are repeated.
    """
    blank, *painted = canvases(drawing, [0, *counts])
    context = {}
    if detector is not None:
        context["face_target"] = float(has_face(detector, target))
        context["face_blank"] = float(has_face(detector, blank))
    rows = {}
    for count, canvas in zip(counts, painted, strict=True):
        rows[count] = {**metrics(canvas, target), **context}
        if detector is not None:
            rows[count]["face"] = float(has_face(detector, canvas))
        if mask is not None and mask.any():
            for region, weights in (("_foreground", mask), ("_background", 1 - mask)):
                figures = region_metrics(canvas, target, weights)
                rows[count].update({key + region: value for key, value in figures.items()})
    return rows


def region_metrics(image: ImageArray, target: ImageArray, weights: Mask) -> dict[str, float]:
    """`paint.metrics` of a region: the same definitions, every pixel counted by its weight.

    SSIM is the weighted mean of the map of local SSIM values, whose windows reach over the
    region's edge; like the plain figure it leaves out the border that windows cannot be centred on.

    Args:
        image: (H, W, 3) float32 in [0, 1].
        target: (H, W, 3).
        weights: (H, W) in [0, 1].

    Returns:
        {"l2", "psnr", "ssim"}; empty where all weights are 0, without "ssim" where those inside
        the border are, or on canvases below 3 x 3.
    """
    from skimage.metrics import structural_similarity

    total = float(weights.sum(dtype=np.float64))
    if total == 0:
        return {}
    errors = ((image.astype(np.float64) - target) ** 2).mean(2)
    l2 = float((errors * weights).sum() / total)
    figures = {"l2": l2, "psnr": float(-10 * np.log10(max(l2, 1e-10)))}
    side = min(7, *target.shape[:2])
    window = side - 1 + side % 2
    if window >= 3:
        border = window // 2
        inner = np.s_[border:-border, border:-border]
        _, similarity = structural_similarity(
            image, target, win_size=window, channel_axis=2, data_range=1.0, full=True
        )
        if weights[inner].any():
            local = similarity.astype(np.float64).mean(2)[inner]
            figures["ssim"] = float(np.average(local, weights=weights[inner]))
    return figures


def thickness(drawing: Drawing) -> list[float]:
    """Mean thickness of each ten strokes: of z0 and z1, the 7th and 9th number (Sec 6.4).

    Args:
        drawing: N strokes.

    Returns:
        ceil(N / 10) means in [0, 1] canvas units; the last group may be smaller.
    """
    ends = [STROKE_FIELDS.index("z0"), STROKE_FIELDS.index("z1")]
    means = drawing.strokes[:, ends].astype(np.float64).mean(1)
    return [float(means[first : first + GROUP].mean()) for first in range(0, len(means), GROUP)]


def radius(thickness: float, size: int) -> float:
    """Thickness in canvas units to the radius in pixels on a canvas of that shorter side."""
    return thickness * size / 4 + HALF_PIXEL


def _estimates(records: Sequence[_Record], configuration: Configuration) -> Iterator[Estimate]:
    for figure in FIGURES:
        for count in configuration.counts:
            rows = [record.rows[count] for record in records]
            values = [row[figure] for row in rows if figure in row]
            if values:
                yield estimate(figure, count, values)
    groups = list(zip(*(record.thickness for record in records), strict=True))
    lasts = [last for _, last in _groups(configuration.budget)]
    for last, group in zip(lasts, groups, strict=True):
        yield estimate("thickness", last, group)
    for last, group in zip(lasts, groups, strict=True):
        yield estimate("radius", last, [radius(value, configuration.size) for value in group])


def _groups(strokes: int) -> list[tuple[int, int]]:
    """First and last stroke, counted from 1, of each ten."""
    return [(first + 1, min(first + GROUP, strokes)) for first in range(0, strokes, GROUP)]


# ---- what is asked for ---------------------------------------------------------------------------


def _named(files: Sequence[str | Path | Item]) -> dict[str, Path | Item]:
    named: dict[str, Path | Item] = {}
    for file in files:
        item = file if isinstance(file, Item) else Path(file)
        if not item.name.isprintable():
            raise ValueError(f"picture {item.name!r}: rename it; the tables cannot hold its name")
        if item.name in named:
            raise ValueError(f"two pictures are named {item.name}; rename one of them")
        named[item.name] = item
    if not named:
        raise ValueError("no pictures to evaluate on; give some image files")
    return named


def _checked_name(name: str) -> str:
    if not name or not name.isprintable() or len(name) > 100:
        raise ValueError(f"name: {name!r:.120}; name the method in 1 to 100 printable characters")
    return name


def _checked_counts(counts: Sequence[int], strokes: int) -> tuple[int, ...]:
    if not 1 <= strokes <= MAX_STROKES:
        raise ValueError(f"strokes must be 1 to {MAX_STROKES}, got {strokes}")
    if any(count < 1 for count in counts):
        raise ValueError(f"counts must be 1 or more, got {', '.join(map(str, counts))}")
    return (*sorted({count for count in counts if count < strokes}), strokes)


def _name_of_masks(masks: Masks | None, items: Iterable[Path | Item]) -> str:
    if any(isinstance(item, Item) and item.mask is not None for item in items):
        return "given"
    return "none" if masks is None else str(getattr(masks, "__name__", type(masks).__name__))


def _mask_of(
    item: Path | Item, photo: ImageArray, masks: Masks | None, height: int, width: int
) -> Mask | None:
    """The subject's mask at the size of the canvas; its edge turns soft where it shrinks."""
    mask = item.mask if isinstance(item, Item) else None
    if mask is None and masks is not None:
        mask = masks(Path(item.name), photo) if isinstance(item, Item) else masks(item, photo)
    if mask is None:
        return None
    if mask.shape != photo.shape[:2] or not ((mask >= 0) & (mask <= 1)).all():  # NaN too
        raise ValueError(
            f"{item.name}: a mask of shape {mask.shape}; it must be {photo.shape[:2]} as the "
            "photo, with values in [0, 1]"
        )
    planes = np.repeat(mask.astype(np.float32)[:, :, None], 3, axis=2)
    return resize(planes, height, width)[:, :, 0]


def _check_drawing(drawing: Drawing, height: int, width: int, strokes: int) -> None:
    if drawing.extra.get("interrupted"):  # Ctrl-C was meant for the evaluation, too
        raise KeyboardInterrupt
    if (len(drawing), drawing.height, drawing.width) != (strokes, height, width):
        raise ValueError(
            f"the painter made {len(drawing)} strokes on {drawing.width} x {drawing.height} "
            f"pixels; asked for {strokes} on {width} x {height}"
        )


# ---- files ---------------------------------------------------------------------------------------


def _save(out: Path, configuration: Configuration, records: Mapping[str, _Record]) -> None:
    """Write both tables. Thickness first: a picture counts as done once per_image.csv has it."""
    groups = _groups(configuration.budget)
    lines: list[Sequence[object]] = [
        (picture, *group, value, radius(value, configuration.size))
        for picture, record in records.items()
        for group, value in zip(groups, record.thickness, strict=True)
    ]
    _write_csv(out / "thickness.csv", THICKNESS_COLUMNS, lines)
    cells = configuration.cells().values()
    lines = [
        (picture, count, *(row.get(figure, "") for figure in FIGURES), record.photo, *cells)
        for picture, record in records.items()
        for count, row in record.rows.items()
    ]
    _write_csv(out / "per_image.csv", COLUMNS, lines)


def _load(out: Path, configuration: Configuration, pictures: set[str]) -> dict[str, _Record]:
    """The pictures that an earlier run finished; rows of another configuration are refused."""
    file, expected = out / "per_image.csv", configuration.cells()
    if not file.exists():
        return {}
    thickness: dict[str, list[float]] = {}
    if (out / "thickness.csv").exists():
        for cells in _read_csv(out / "thickness.csv", THICKNESS_COLUMNS):
            value = _number(out / "thickness.csv", "thickness", cells)
            thickness.setdefault(cells["picture"], []).append(value)
    records: dict[str, _Record] = {}
    for cells in _read_csv(file, COLUMNS):
        picture = cells["picture"]
        for field, text in expected.items():
            if cells[field] != text:
                raise ValueError(f"{file}: {field} is {cells[field]!r}, now {text!r}; {_ELSE}")
        if picture not in pictures:
            raise ValueError(f"{file}: picture {picture!r} is not among the files now; {_ELSE}")
        record = records.setdefault(
            picture, _Record(cells["photo"], {}, thickness.get(picture, []))
        )
        taken = [figure for figure in FIGURES if cells[figure] or figure in ("psnr", "l2")]
        row = {figure: _number(file, figure, cells) for figure in taken}
        record.rows[int(_number(file, "strokes", cells))] = row
    for picture, record in records.items():
        if tuple(record.rows) != configuration.counts:
            raise ValueError(f"{file}: counts of picture {picture!r} are incomplete; {_ELSE}")
    groups = len(_groups(configuration.budget))
    return {key: record for key, record in records.items() if len(record.thickness) == groups}


def _write_summary(summary: Summary, out: Path) -> None:
    method = summary.configuration.method
    lines = [(method, *entry) for entry in summary.estimates]
    _write_csv(out / "summary.csv", ("method", *Estimate._fields), lines)
    write_json(out / "summary.json", summary.to_json())
    plots.draw_summary(summary, out)


def _write_csv(file: Path, columns: Sequence[str], lines: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)  # None becomes an empty cell, a float its shortest exact decimal
    write_text(file, text.getvalue())


def _read_csv(file: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    if input_file(file).stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"{file}: more than {MAX_FILE_BYTES} bytes; {_ELSE}")
    try:
        lines = list(csv.reader(io.StringIO(file.read_text("utf-8"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: not a CSV file ({error}); {_ELSE}") from error
    if not lines or tuple(lines[0]) != tuple(columns):
        raise ValueError(f"{file}: columns are not those of this version; {_ELSE}")
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise ValueError(f"{file}: row {number} has {len(line)} cells; {_ELSE}")
        yield dict(zip(columns, line, strict=True))


def _number(file: Path, column: str, cells: Mapping[str, str]) -> float:
    try:
        value = float(cells[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{file}: {column} of {cells['picture']!r} is {cells[column]!r}; {_ELSE}")
    return value
