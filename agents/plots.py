"""What an evaluation found, its intervals, and how it is shown: Markdown tables and PNG plots.

Plots are drawn in memory through matplotlib's objects: no pyplot, no global state, no display.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..backend.files import atomic_path, read_json
from .detect import DetectionRate

REGIONS = {"": "whole canvas", "_foreground": "subject", "_background": "background"}
FACES = ("face", "face_target", "face_blank")
MAX_FILE_BYTES = 2**26

# Okabe and Ito's palette, less its pale ones: told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL_INCHES = (5.2, 4.4)


@dataclass(frozen=True)
class Configuration:
    """What decides the figures; those of another one are never mixed in.

    Attributes:
        method: name of the painter with its settings, such as "optimise, effort 0.5".
        counts: stroke counts at which canvases are measured, rising; the last is `budget`.
        budget: strokes of one process.
        size: shorter side of the canvas in pixels.
        seed: of the painter.
        threads: of torch on the CPU; the seconds depend on them.
        detector: name of the face detector; "none" without one.
        masks: name of the function that gives the subject masks, "given" or "none".
    """

    method: str
    counts: tuple[int, ...]
    budget: int
    size: int
    seed: int
    threads: int
    detector: str
    masks: str

    def cells(self) -> dict[str, str]:
        """The fields as cells of a CSV row."""
        counts = " ".join(map(str, self.counts))
        return {**{name: str(value) for name, value in asdict(self).items()}, "counts": counts}


class Estimate(NamedTuple):
    """A figure over all pictures.

    Attributes:
        figure: "psnr", "ssim_foreground", ..., "face", "face_target", "face_blank", "thickness"
            (canvas units), "radius" (pixels) or "seconds".
        strokes: after how many strokes; the last of the ten for a thickness.
        mean: over the pictures.
        low: lower end of the 95 % interval; None where a single picture gives none.
        high: upper end.
        pictures: how many have the figure.
        interval: "t" for means, "Wilson" for shares.
    """

    figure: str
    strokes: int
    mean: float
    low: float | None
    high: float | None
    pictures: int
    interval: str


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and its 95 % t interval: mean -+ t(0.975, n - 1) s / sqrt(n).

    Args:
        values: one for each picture, at least one.

    Returns:
        mean, low, high; low and high are None for a single value.
    """
    from scipy.stats import t

    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return mean, None, None
    half = float(t.ppf(0.975, count - 1)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean, mean - half, mean + half


def share_interval(hits: int, count: int) -> tuple[float, float, float]:
    """Share and its 95 % interval by Wilson (1927), which has a width at 0 % and 100 % too.

    Args:
        hits: 0 to `count`.
        count: at least 1.

    Returns:
        share, low, high in [0, 1].
    """
    from scipy.stats import norm

    z = float(norm.ppf(0.975))
    share, ratio = hits / count, z * z / count
    middle = (share + ratio / 2) / (1 + ratio)
    half = z * math.sqrt(share * (1 - share) / count + ratio / (4 * count)) / (1 + ratio)
    return share, max(0.0, middle - half), min(1.0, middle + half)


def estimate(figure: str, strokes: int, values: Sequence[float]) -> Estimate:
    """A figure over all pictures from its values, at least one; faces are shares."""
    if figure in FACES:
        return Estimate(
            figure, strokes, *share_interval(round(sum(values)), len(values)), len(values), "Wilson"
        )
    return Estimate(figure, strokes, *mean_interval(values), len(values), "t")


@dataclass(frozen=True)
class Summary:
    """What an evaluation found; summary.json holds the same.

    Attributes:
        configuration: see `Configuration`.
        pictures: names of those that were painted.
        skipped: name -> why it could not be read.
        estimates: all figures.
        versions: of the software.
    """

    configuration: Configuration
    pictures: tuple[str, ...]
    skipped: dict[str, str]
    estimates: tuple[Estimate, ...]
    versions: dict[str, str]

    def curve(self, figure: str) -> list[Estimate]:
        """A figure along the process, by rising stroke count; empty where it was not taken."""
        return [entry for entry in self.estimates if entry.figure == figure]

    def at(self, figure: str, strokes: int) -> Estimate | None:
        """A figure after a number of strokes; None where it was not taken."""
        return next((entry for entry in self.curve(figure) if entry.strokes == strokes), None)

    def detection(self, strokes: int) -> DetectionRate | None:
        """Face detection after a number of strokes, with ceiling and floor; None without any."""
        rate, ceiling, floor = (self.at(figure, strokes) for figure in FACES)
        if rate is None or ceiling is None or floor is None:
            return None
        detector = self.configuration.detector
        return DetectionRate(rate.mean, ceiling.mean, floor.mean, rate.pictures, detector)

    def to_json(self) -> dict[str, object]:
        """The content of summary.json."""
        return {**asdict(self), "estimates": [entry._asdict() for entry in self.estimates]}

    @classmethod
    def load(cls, path: Path) -> "Summary":
        """Read a summary.json.

        Args:
            path: the file.

        Returns:
            The summary.

        Raises:
            ValueError: absent, too large, not JSON, or not a summary.
        """
        value = read_json(path, max_bytes=MAX_FILE_BYTES)
        try:
            fields = value["configuration"]
            return cls(
                configuration=Configuration(**{**fields, "counts": tuple(fields["counts"])}),
                pictures=tuple(value["pictures"]),
                skipped=dict(value["skipped"]),
                estimates=tuple(Estimate(**entry) for entry in value["estimates"]),
                versions=dict(value["versions"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a summary of this program ({error!r})") from error


def check_comparable(summaries: Sequence[Summary]) -> None:
    """Refuse to compare what was not measured alike.

    Args:
        summaries: of different methods.

    Raises:
        ValueError: none, one method twice, or a difference; the text names the field.
    """
    if not summaries:
        raise ValueError("no summary to compare; evaluate a painter first")
    methods = [summary.configuration.method for summary in summaries]
    if len(set(methods)) < len(methods):
        raise ValueError(f"methods {', '.join(methods)}: each may be compared once")
    first = summaries[0]
    for other in summaries[1:]:
        here, there = first.configuration.cells(), other.configuration.cells()
        here["pictures"], there["pictures"] = repr(first.pictures), repr(other.pictures)
        for field in sorted(set(here) - {"method", "threads"}):
            if here[field] != there[field]:
                raise ValueError(
                    f"{field} differs: {here[field]:.80} ({methods[0]}) and {there[field]:.80} "
                    f"({other.configuration.method}); compare what was measured alike"
                )


def table(summaries: Sequence[Summary]) -> str:
    """A Markdown table: one row for each method and stroke count.

    Args:
        summaries: comparable ones, see `check_comparable`.

    Returns:
        The text, with the number of pictures, the intervals and the detector below it.
    """
    first = summaries[0]
    heads = ["method", "strokes", *(f"PSNR {name}, dB" for name in REGIONS.values())]
    heads += ["SSIM", "faces found", "seconds (threads)"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for summary in summaries:
        config = summary.configuration
        for count in config.counts:
            cells = [config.method.replace("|", "\\|"), str(count)]
            cells += [_cell(summary.at(f"psnr{region}", count), ".2f") for region in REGIONS]
            cells += [_cell(summary.at("ssim", count), ".3f")]
            cells += [_cell(summary.at("face", count), ".1%")]
            seconds = _cell(summary.at("seconds", count), ".2f")
            cells += [f"{seconds} ({config.threads})" if seconds else ""]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"{_setting(first)}. Means and 95 % intervals over pictures (t; faces: Wilson)."]
    subjects = first.at("psnr_foreground", first.configuration.budget)
    if subjects is not None and subjects.pictures < len(first.pictures):
        lines.append(f"A subject was found on {subjects.pictures} of them.")
    for summary in summaries:
        rate = summary.detection(summary.configuration.budget)
        if rate is not None:
            lines.append(f"Faces, {summary.configuration.method}, at the end: {rate}.")
    return "\n".join(lines) + "\n"


def _cell(entry: Estimate | None, form: str) -> str:
    if entry is None:
        return ""
    if entry.low is None or entry.high is None:
        return f"{entry.mean:{form}}"
    return f"{entry.mean:{form}} [{entry.low:{form}}, {entry.high:{form}}]"


def _setting(summary: Summary) -> str:
    config, count = summary.configuration, len(summary.pictures)
    pictures = f"{count} picture{'s' * (count != 1)}"
    return f"{pictures}, canvas {config.size} px, {config.budget} strokes in one process"


class Curve(NamedTuple):
    """One line of a plot.

    Attributes:
        label: in the legend.
        points: with their intervals, which become the band.
        place: among the curves, which gives it its colour and marker.
        reference: "--" or ":" for a black line without markers and band.
    """

    label: str
    points: Sequence[Estimate]
    place: int = 0
    reference: str = ""


def draw_summary(summary: Summary, out: Path) -> None:
    """Write psnr.png, faces.png (if faces were looked for) and thickness.png of one method.

    Args:
        summary: what was measured.
        out: existing folder.
    """
    curves = [
        Curve(_region(region, summary), summary.curve(f"psnr{region}"), place)
        for place, region in enumerate(REGIONS)
    ]
    _draw_all([summary], {"": curves}, out)


def draw_comparison(summaries: Sequence[Summary], out: Path) -> None:
    """Write the plots of `draw_summary` with one line for each method, a panel for each region.

    Args:
        summaries: comparable ones, see `check_comparable`.
        out: existing folder.
    """
    panels = {
        _region(region, summaries[0]): _by_method(summaries, f"psnr{region}") for region in REGIONS
    }
    _draw_all(summaries, panels, out)


def _region(region: str, summary: Summary) -> str:
    """Name of a region with the number of pictures that have it."""
    points = summary.curve(f"psnr{region}")
    return f"{REGIONS[region]}, n = {points[-1].pictures}" if points else REGIONS[region]


def _by_method(summaries: Sequence[Summary], figure: str) -> list[Curve]:
    return [
        Curve(summary.configuration.method, summary.curve(figure), place)
        for place, summary in enumerate(summaries)
    ]


def _draw_all(summaries: Sequence[Summary], psnr: Mapping[str, Sequence[Curve]], out: Path) -> None:
    first = summaries[0]
    one = f"{first.configuration.method}: " if len(summaries) == 1 else ""
    setting = f"{one}{_setting(first)}\nbands: 95 % interval of the mean over pictures"
    counts, x = first.configuration.counts, "strokes painted (logarithmic scale)"
    title = f"Likeness along the painting process\n{setting} (t)"
    draw(out / "psnr.png", psnr, title=title, x=x, y="PSNR (dB)", ticks=counts)
    if first.curve("face"):
        faces = _by_method(summaries, "face")
        faces.append(Curve("photos themselves (ceiling)", first.curve("face_target"), 0, "--"))
        # Methods start from canvases of different colours; mostly the detector sees none on any.
        floor = max(summaries, key=lambda summary: summary.curve("face_blank")[0].mean)
        faces.append(Curve("empty canvases (floor)", floor.curve("face_blank"), 0, ":"))
        title = f"Face detection\n{setting} (Wilson)\n{first.configuration.detector}"
        y, limits = "share of paintings with a face found", (-0.03, 1.03)
        draw(out / "faces.png", {"": faces}, title=title, x=x, y=y, ticks=counts, limits=limits)
    title = f"Thickness of each ten strokes\n{setting} (t)"
    y = f"mean radius (pixels; canvas {first.configuration.size})"
    radii = _by_method(summaries, "radius")
    draw(out / "thickness.png", {"": radii}, title=title, x="strokes painted", y=y)


def require_matplotlib() -> None:
    """Refuse, before it starts, work that could not be plotted at its end.

    Raises:
        ImportError: matplotlib is not there; the text names the extra to install.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'neuralpaint[train]'") from error


def draw(
    path: Path,
    panels: Mapping[str, Sequence[Curve]],
    *,
    title: str,
    x: str,
    y: str,
    ticks: Sequence[int] | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """Write a figure of one or more panels side by side, atomically.

    Args:
        path: ends in .png.
        panels: heading -> curves; those without points are left out.
        title: of the figure.
        x: label of the horizontal axes, with the unit.
        y: label of the vertical axis, with the unit; the panels share its range.
        ticks: stroke counts to mark on a logarithmic horizontal axis; None: a linear axis.
        limits: of the vertical axis.

    Raises:
        ImportError: matplotlib is not there.
        OSError: the file cannot be written.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    shown = {head: [c for c in curves if c.points] for head, curves in panels.items()}
    shown = {head: curves for head, curves in shown.items() if curves}
    width = max(PANEL_INCHES[0] * len(shown), 7.0)
    figure = Figure(figsize=(width, PANEL_INCHES[1]), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)
    for axes, (head, curves) in zip(grid[0], shown.items(), strict=True):
        for curve in curves:
            colour, marker = (kind[curve.place % len(kind)] for kind in (COLOURS, MARKERS))
            at = [point.strokes for point in curve.points]
            means = [point.mean for point in curve.points]
            if curve.reference:
                axes.plot(at, means, curve.reference, color="black", label=curve.label)
                continue
            # The first curves are drawn larger, so that they show from under equal ones.
            size = 1.5 * (max(other.place for other in curves) - curve.place)
            style = {"linewidth": 1.5 + size, "markersize": 4 + size, "marker": marker}
            axes.plot(at, means, color=colour, label=curve.label, **style)
            low = [point.mean if point.low is None else point.low for point in curve.points]
            high = [point.mean if point.high is None else point.high for point in curve.points]
            axes.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0)
        if ticks is not None:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:.0f}")
        if limits is not None:
            axes.set_ylim(*limits)
        axes.set_title(head, fontsize=10)
        axes.set_xlabel(x)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    grid[0][0].set_ylabel(y)
    figure.suptitle(title, fontsize=9)
    with atomic_path(path) as part:
        figure.savefig(part, format="png")
