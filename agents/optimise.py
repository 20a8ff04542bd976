"""The training-free painter: strokes found by search and by gradient through the exact rasteriser.

1. Grow. Candidates are thrown where the error is, at a scale that shrinks as the painting
   proceeds; each is scored in its best colour (least squares); the best ones form a bundle, and
   gradient steps fit the bundle to what is missing.
2. Renew. The strokes that the painting would miss least are taken out and their number is grown
   anew where the error is; all strokes then move together. Several rounds.
3. Polish. All strokes move together by gradient, at length.

What the polish minimises decides the finish. "picture": the error of the last canvas alone.
"process": the mean logarithm of the errors of the canvases along the way, that is their mean
PSNR, so that the painting is good at every moment and still gets better to the end.

Stroke optimisation by gradient follows Zou et al., "Stylized Neural Painting", CVPR 2021.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..backend import workers
from ..backend.media import resize
from ..renderers import bezier, bezier_cpu
from ..renderers.drawing import Drawing
from ..renderers.stroke import STROKE_SIZE, rescale, to_pixels
from .descent import Descent, Image, descend, process_gradient

Finish = Literal["process", "picture"]
FINISHES: tuple[Finish, ...] = ("process", "picture")
Background = Literal["black", "white", "mean"]
BACKGROUNDS: tuple[Background, ...] = ("black", "white", "mean")

MAX_STROKES = 10_000
WORKING_SIDE = 256
"""Longest shorter side, in pixels, of the canvas that the search works on."""

CANDIDATES, CANDIDATES_PER_TASK = 1200, 64
POLISH_EVERY = 50
RENEWAL_SCALES = (0.03, 0.05, 0.08, 0.12)
SHARES = (0.15, 0.4, 0.45)
"""How the work divides into grow, renew and polish, for the progress bar."""


@dataclass(frozen=True)
class Settings:
    """How the painter works; the defaults paint 400 strokes at 128 pixels in half a minute.

    Attributes:
        strokes: exact number of strokes, 1 to 10,000.
        finish: "process" or "picture", see the module's head.
        seed: of the candidates; the only randomness.
        background: colour of the empty canvas.
        effort: multiplies the gradient steps; 0.1 for a sketch, 2 for patience.
        bundle: strokes that are fitted together while growing.
    """

    strokes: int = 400
    finish: Finish = "process"
    seed: int = 0
    background: Background = "mean"
    effort: float = 1.0
    bundle: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.strokes <= MAX_STROKES:
            raise ValueError(f"strokes must be 1 to {MAX_STROKES}, got {self.strokes}")
        if self.finish not in FINISHES:
            raise ValueError(f"finish {self.finish!r} is unknown; known: {', '.join(FINISHES)}")
        if self.background not in BACKGROUNDS:
            known = ", ".join(BACKGROUNDS)
            raise ValueError(f"background {self.background!r} is unknown; known: {known}")
        if not 0.01 <= self.effort <= 100:
            raise ValueError(f"effort must be 0.01 to 100, got {self.effort}")
        if self.bundle < 1:
            raise ValueError(f"bundle must be at least 1, got {self.bundle}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")

    def steps(self, count: int) -> int:
        """Gradient steps under the given effort."""
        return max(1, round(count * self.effort))


@dataclass(frozen=True)
class Progress:
    """What a painter reports as it works.

    Attributes:
        stage: "grow", "renew" or "polish".
        strokes: on the canvas by now.
        share: of the work that is done, 0 to 1.
        psnr: of the canvas by now, in dB.
    """

    stage: str
    strokes: int
    share: float
    psnr: float


Report = Callable[[Progress], None]


def optimise(
    photo: Image,
    height: int,
    width: int,
    settings: Settings | None = None,
    report: Report = lambda progress: None,
) -> Drawing:
    """Paint a photo with strokes, without any training.

    Args:
        photo: (H, W, 3) float32 RGB in [0, 1]; the painter sees it at the canvas's size.
        height: canvas rows.
        width: canvas columns. Canvases with both sides above 256 pixels are worked out at a
            smaller one; strokes fit any size.
        settings: see `Settings`.
        report: called often with the progress; raising KeyboardInterrupt in it, or Ctrl-C, ends
            the work early.

    Returns:
        The drawing, with exactly `settings.strokes` strokes; after Ctrl-C those painted so far,
        and `extra["interrupted"]` is true. Same arguments, same bits, on any number of
        threads.
    """
    return work_out(Search, photo, height, width, settings or Settings(), report, "optimise")


def work_out(
    make: Callable[[Image, Settings, Report], "Search"],
    photo: Image,
    height: int,
    width: int,
    settings: Settings,
    report: Report,
    method: str,
) -> Drawing:
    """Grow, renew and polish on a canvas of workable size.

    Args:
        make: the search: from target (3, H, W), settings and report.
        photo: see `optimise`.
        height: see `optimise`.
        width: see `optimise`.
        settings: see `optimise`.
        report: see `optimise`.
        method: name kept in the drawing.

    Returns:
        The drawing, as `optimise` describes it.
    """
    shrink = min(1.0, WORKING_SIDE / min(height, width))
    rows, columns = max(1, round(height * shrink)), max(1, round(width * shrink))
    target = np.ascontiguousarray(resize(photo, rows, columns).transpose(2, 0, 1))
    search = make(target, settings, report)
    interrupted = False
    try:
        search.grow()
        search.renew()
        search.polish()
    except KeyboardInterrupt:
        interrupted = True
    strokes = rescale(search.strokes, min(rows, columns), min(height, width)).clamp(0, 1)
    r, g, b = (float(value) for value in search.background[:, 0, 0])
    return Drawing(
        strokes=strokes.numpy(),
        height=height,
        width=width,
        background=(r, g, b),
        seed=settings.seed,
        method=method,
        extra={"finish": settings.finish, "interrupted": interrupted},
    )


def prepare() -> None:
    """Compile the kernels, or load them from the cache on disk.

    Takes half a minute on the first use after installation, and a second later on. Painting does
    it by itself; call this to have it done before a clock starts.
    """
    optimise(np.zeros((2, 2, 3), np.float32), 2, 2, Settings(strokes=1, effort=0.01))


class Search:
    """A painting being worked out.

    Attributes:
        renewals: rounds of `renew` at effort 1.
        polishing: steps of `polish` at effort 1.

    Args:
        target: (3, H, W) float32 in [0, 1].
        settings: see `Settings`.
        report: called with the progress.
    """

    renewals, polishing = 10, 1200

    def __init__(self, target: Image, settings: Settings, report: Report) -> None:
        self.target, self.settings, self.report = target, settings, report
        self.rng = np.random.default_rng(settings.seed)
        shade = {"black": 0.0, "white": 1.0, "mean": target.mean((1, 2), keepdims=True)}
        self.background: Image = np.empty_like(target)
        self.background[:] = shade[settings.background]
        self.strokes = torch.zeros(0, STROKE_SIZE)

    def grow(self) -> None:
        """Add bundle after bundle, each where the error is now."""
        total = self.settings.strokes
        while len(self.strokes) < total:
            before = len(self.strokes)
            self._add(min(self.settings.bundle, total - before), self._scale())
            done = len(self.strokes)
            if done // POLISH_EVERY > before // POLISH_EVERY and done < total:
                self.descend(self.settings.steps(30), (0.7, 0.7), last=0.1)
            self.tell("grow", SHARES[0] * done / total)

    def renew(self) -> None:
        """Replace the strokes that are missed least, fewer each round."""
        total = self.settings.strokes
        rounds = min(self.settings.steps(self.renewals), total)
        for turn in range(rounds):
            share = 0.15 * (1 - 0.7 * turn / rounds)
            self.drop(max(1, round(total * share)))
            self.refill(total)
            self.descend(self.settings.steps(60), (0.7, 0.7), last=0.3)
            self.tell("renew", SHARES[0] + SHARES[1] * (turn + 1) / rounds)

    def refill(self, total: int) -> None:
        """Add strokes of any size where the error is, up to `total`."""
        while len(self.strokes) < total:
            scale = float(self.rng.choice(RENEWAL_SCALES))
            self._add(min(self.settings.bundle, total - len(self.strokes)), scale)

    def polish(self) -> None:
        """Move all strokes together, at last with the edges they will be shown with."""
        steps = self.settings.steps(self.polishing)
        self.descend(steps, (0.8, 0.5), last=0.05, shares=(SHARES[0] + SHARES[1], SHARES[2]))

    def tell(self, stage: str, share: float) -> None:
        """Report the canvas as it is."""
        error = float(((self.painted() - self.target) ** 2).mean())
        self.report(self.progress(stage, share, psnr(error)))

    def progress(self, stage: str, share: float, quality: float) -> Progress:
        """A report of this moment; quality in dB."""
        return Progress(stage, len(self.strokes), share, quality)

    def painted(self) -> Image:
        """The canvas by now, (3, H, W)."""
        start = torch.from_numpy(self.background)[None]
        return bezier.paint(start, self.strokes[None])[0].numpy()

    def _add(self, count: int, scale: float) -> None:
        canvas = self.painted()
        bundle = self._fit(self._best_candidates(canvas, count, scale), canvas)
        self.strokes = torch.cat([self.strokes, bundle])

    def drop(self, count: int) -> None:
        """Take out the strokes without which the objective rises least."""
        wanted, (_, height, width) = self.milestones(), self.target.shape
        geometry = to_pixels(self.strokes, height, width).numpy()
        arguments = geometry, self.background, self.target, wanted
        errors = np.zeros((height, len(geometry)))
        rows = [(*arguments, y, y + 1, 0.5, errors[y]) for y in range(height)]
        workers.run(bezier_cpu.process_errors, rows)
        costs = workers.run(_cost_of_removal, [(*arguments, errors, k) for k in range(len(wanted))])
        keep = np.sort(np.argsort(costs, kind="stable")[count:])
        self.strokes = self.strokes[torch.from_numpy(keep)]

    def _scale(self) -> float:
        """Size of the next strokes as a share of the canvas; falls with their number."""
        done = len(self.strokes)
        if self.settings.finish == "picture":
            return max(0.03, 0.45 * math.pow(1 - done / self.settings.strokes, 2.2))
        # A process must look as good after n strokes as if it had been meant to end there.
        return max(0.02, 0.4 * math.pow(1 + done / 25, -0.8))

    def _best_candidates(self, canvas: Image, count: int, scale: float) -> Tensor:
        """Throw strokes at the error and keep those that would lower it most, (count, 13)."""
        trials, rng = CANDIDATES, self.rng
        _, height, width = self.target.shape
        error = ((canvas - self.target) ** 2).sum(0).ravel().astype(np.float64) + 1e-12
        pixels = rng.choice(height * width, trials, p=error / error.sum())
        middle = np.stack([(pixels % width + 0.5) / width, (pixels // width + 0.5) / height], 1)
        strokes = rng.random((trials, STROKE_SIZE))
        side = min(height, width)
        reach = (rng.random((trials, 4)) - 0.5) * 2 * scale * (side / np.array([width, height] * 2))
        strokes[:, 0:2] = middle + reach[:, :2]
        strokes[:, 4:6] = middle - reach[:, :2] + 0.3 * reach[:, 2:]
        strokes[:, 6] = 1.5 * scale * rng.random(trials)
        strokes[:, 8] = 1.5 * scale * rng.random(trials)
        strokes[:, 7] = strokes[:, 9] = 0.9
        candidates = torch.from_numpy(strokes.clip(0, 1).astype(np.float32))
        geometry = to_pixels(candidates, height, width).numpy()
        gains = np.zeros(trials, np.float32)
        workers.run(
            bezier_cpu.score,
            [
                (geometry[part], canvas, self.target, 0.5, gains[part])
                for start in range(0, trials, CANDIDATES_PER_TASK)
                for part in [slice(start, start + CANDIDATES_PER_TASK)]
            ],
        )
        candidates[:, 10:] = torch.from_numpy(geometry[:, 10:])
        order = np.argsort(-gains, kind="stable")[:count]
        return candidates[torch.from_numpy(order)]

    def _fit(self, bundle: Tensor, canvas: Image) -> Tensor:
        """Gradient steps for a bundle alone; soft edges let it feel what is near."""
        steps = self.settings.steps(30)
        descent = Descent(bundle, 0.02)
        weights = np.zeros(len(bundle), np.float32)
        weights[-1] = 1
        for step in range(steps):
            _, gradient = process_gradient(descent.strokes, canvas, self.target, weights, 1.0)
            descent.step(gradient, 1 - 0.9 * step / steps)
        return descent.strokes

    def milestones(self) -> Image:
        """How much the logarithm of the error after each stroke counts, (K,)."""
        count = len(self.strokes)
        weights = np.zeros(count, np.float32)
        if self.settings.finish == "process":
            weights[9::10] = 1
            weights[-1] = max(1.0, count / 40)
        else:
            weights[-1] = 1
        return weights

    def descend(
        self,
        steps: int,
        softness: tuple[float, float],
        last: float,
        shares: tuple[float, float] | None = None,
    ) -> None:
        """Joint gradient steps on all strokes.

        Softness goes from the first to the second value, step sizes fall to the share `last`;
        with `shares` (done before, part of the work) every step is reported.
        """
        wanted = self.milestones()
        way = descend(self.strokes, self.background, self.target, wanted, steps, softness, last)
        for step, (self.strokes, error) in enumerate(way):
            if shares is not None:
                done = shares[0] + shares[1] * (step + 1) / steps
                self.report(self.progress("polish", done, psnr(error / self.target.size)))


def _cost_of_removal(
    geometry: Image,
    background: Image,
    target: Image,
    weights: Image,
    errors: NDArray[np.float64],
    k: int,
) -> float:
    """How much the weighted log errors rise without stroke k; errors (H, K) are those with it."""
    reach = max(geometry[k, 6], geometry[k, 8]) + 1
    height = target.shape[1]
    top = int(np.clip(geometry[k, 1:6:2].min() - reach, 0, height - 1))
    bottom = int(np.clip(geometry[k, 1:6:2].max() + reach + 1, top + 1, height))
    lacking = geometry.copy()
    lacking[k, [7, 9]] = 0  # invisible
    without = np.zeros(len(geometry))
    bezier_cpu.process_errors(lacking, background, target, weights, top, bottom, 0.5, without)
    total = errors.sum(0)
    rise = without - errors[top:bottom].sum(0)
    counted = weights > 0
    return float((weights[counted] * np.log1p(rise[counted] / (total[counted] + 1e-9))).sum())


def psnr(error: float) -> float:
    """Decibels of a mean squared error, for images in [0, 1]."""
    return -10.0 * math.log10(error) if error > 0 else math.inf
