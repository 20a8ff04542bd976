"""Ages of generated faces as Table 4.2 and Fig 4.12, and FID."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...backend import device as devices
from ..ages import COUNT, GROUPS, groups_of
from ..face_judges import AgeRegressor
from ..inception import InceptionV3
from .ageing import compare, group_means, over_groups
from .ageing_parts import (
    ALL,
    COPY,
    GENERATED,
    LOOK,
    NOISE,
    OWN,
    REAL,
    TRUTH,
    UP_TO_20,
    AgedFaces,
    FaceJudges,
    Found,
    Look,
    Pairs,
    Table,
    finite,
    numbers,
    significant,
)
from .ageing_trials import YOUNG, AgeingTrial, Report
from .distributions import fid
from .evaluate import INCEPTION_BATCH
from .judges import resized
from .measures import Figure, Measure


def age_figures(
    trial: AgeingTrial,
    aged: AgedFaces,
    pairs: Pairs,
    judges: FaceJudges,
    seed: int,
    margin: float,
    report: Report,
) -> Found:
    """Age gaps and errors, the tests of Fig 4.12, and FID as the regressor sees faces.

    Args:
        trial: see `AgeingTrial`.
        aged: what the model made.
        pairs: inputs and target groups to measure.
        judges: see `FaceJudges`.
        seed: of the controls.
        margin: years, see `ageing.compare`.
        report: called as the regressor looks.

    Returns:
        Figures, tables and notes.
    """
    look = Looker(judges.regressor, report)
    made, made_features = look("judge the aged faces", aged.images.flatten(0, 1))
    given, given_features = look("judge the inputs", trial.sources.images)
    real, real_features = look("judge real faces", trial.real.images)
    estimates = {GENERATED: pairs.of(made.view(-1, COUNT)), COPY: given[pairs.person]}
    if trial.truth is not None:
        lived, _ = look("judge the truth", trial.truth.flatten(0, 1))
        estimates[TRUTH] = pairs.of(lived.view(-1, COUNT))
    own, all_of = groups_of(trial.sources.ages), groups_of(trial.real.ages)
    known = group_means(real, all_of)
    target = trial.targets[pairs.group]
    young = own[pairs.person] <= YOUNG
    older = young & (pairs.group > YOUNG)
    everyone = torch.arange(len(trial))
    off = over_groups((real - trial.real.ages).abs(), all_of, torch.arange(len(real)))
    figures, tables = list[Figure](), list[Table]()
    for title, rows in ((ALL, torch.ones_like(young)), (UP_TO_20, older)):
        some = pairs.where(rows)
        if not len(some.person):
            continue
        said = {name: values[rows] for name, values in estimates.items()}
        gaps = {name: some.over(values, known) for name, values in said.items()}
        misses = {n: some.over((values - target[rows]).abs()) for n, values in said.items()}
        truly = {TRUTH: gaps[TRUTH]} if TRUTH in gaps else {}
        chance = over_groups(given, own, everyone, known)
        figures.append(_lower("age gap", title, gaps, {**truly, REAL: chance}, some))
        truly = {TRUTH: misses[TRUTH]} if TRUTH in misses else {}
        figures.append(_lower("age error", title, misses, {**truly, OWN: off}, some))
        tables.append(_table_42(title, real, all_of, said, some))
    tables.append(_table_tests(real, all_of, estimates, pairs, margin))
    notes = []
    constant = over_groups(
        (trial.real.ages.double().mean() - trial.real.ages).abs(), all_of, torch.arange(len(real))
    )
    if off.value > constant.value / 2:
        notes.append(
            f"the age regressor is {off.value:.1f} years off on real faces of this set, a "
            f"constant answer {constant.value:.1f}: was it trained on such faces?"
        )
    features = (made_features.unflatten(0, (-1, COUNT)), given_features, real_features)
    figures += fid_figures(trial, aged, own, seed, look.name, look.features, features)
    return figures, tables, notes


def _lower(
    name: str,
    title: str,
    measures: Mapping[str, Measure],
    ceilings: Mapping[str, Measure],
    pairs: Pairs,
) -> Figure:
    return Figure(
        f"{name}, {title} (years)",
        "score",
        measures[GENERATED],
        {COPY: measures[COPY]},
        ceilings,
        higher=False,
        count=len(pairs.person),
    )


def _table_42(
    title: str, real: Tensor, of: Tensor, said: Mapping[str, Tensor], pairs: Pairs
) -> Table:
    """Mean estimated ages, and how far they are from those of real faces."""
    known = group_means(real, of)
    rows: list[list[Any]] = [["real", *numbers(known)]]
    for name, values in said.items():
        means = group_means(values, pairs.group)
        rows += [[name, *numbers(means)], ["    gap", *numbers((means - known).abs())]]
    rows.append(["pictures", *torch.bincount(pairs.group, minlength=COUNT).tolist()])
    return Table(f"Mean estimated ages in years as Table 4.2, {title}", ("", *GROUPS), rows)


def _table_tests(
    real: Tensor, of: Tensor, said: Mapping[str, Tensor], pairs: Pairs, margin: float
) -> Table:
    rows: list[list[Any]] = []
    for group, name in enumerate(GROUPS):
        for who, values in said.items():
            here, there = real[of == group], values[pairs.group == group]
            if min(len(here), len(there)) < 2:
                continue
            found = compare(here, there, margin)
            interval = f"[{found.low:.2f}, {found.high:.2f}]"
            rows.append(
                [
                    *(name, who, round(found.difference, 3), interval, finite(found.effect)),
                    *(significant(found.p), significant(found.equivalent), len(here), len(there)),
                ]
            )
    header = ("group", "faces", "difference", "90 %", "d", "p", "p of equivalence")
    return Table(
        "Estimated ages against those of real faces (Fig 4.12): difference of the means in years, "
        "Cohen's d, Welch's p (a large one proves nothing), and p of equivalence within "
        f"{margin:g} years (below 0.05: equivalent)",
        (*header, "real", "pictures"),
        rows,
    )


def fid_figures(
    trial: AgeingTrial,
    aged: AgedFaces,
    groups: Tensor,
    seed: int,
    name: str,
    look: Look,
    seen: tuple[Tensor, Tensor, Tensor] | None = None,
) -> list[Figure]:
    """FID of as many aged faces, inputs and noises against the real faces.

    Each input counts once, at the age of another group.

    Args:
        trial: see `AgeingTrial`.
        aged: what the model made.
        groups: (N,) of the inputs.
        seed: of the noise.
        name: of the network.
        look: gives its features.
        seen: features of the aged faces (N, 10, F), the inputs (N, F) and the real faces (M, F), if
            they are known.

    Returns:
        One figure.
    """
    turn = torch.arange(len(trial)) % (COUNT - 1) + 1
    target = (groups + turn) % COUNT
    one_each = torch.arange(len(trial)), target
    if seen is None:
        made, given = look(aged.images[one_each]), look(trial.sources.images)
        real = look(trial.real.images)
    else:
        made, given, real = seen[0][one_each], *seen[1:]
    noise_of = devices.generator(devices.spawn(seed, 2**32 - 1))
    noise = torch.randint(0, 256, trial.sources.images.shape, generator=noise_of, dtype=torch.uint8)

    def apart(features: Tensor) -> Measure:
        score = fid(real, features)
        return Measure(
            score.value, max(0.0, score.value - score.spread), score.value + score.spread
        )

    ceilings = {REAL: apart(given)}
    if trial.truth is not None:
        ceilings[TRUTH] = apart(look(trial.truth[one_each]))
    return [
        Figure(
            f"FID({name})",
            "score",
            apart(made),
            {NOISE: apart(look(noise))},
            ceilings,
            higher=False,
            count=len(trial),
        )
    ]


class Looker:
    """An age regressor that says what it sees of many faces.

    Args:
        regressor: on its device.
        report: called as it looks.
    """

    name = "age regressor"

    def __init__(self, regressor: AgeRegressor, report: Report) -> None:
        self.regressor, self.report = regressor.eval(), report
        self.device = next(regressor.parameters()).device

    @torch.no_grad()
    def __call__(self, stage: str, images: Tensor) -> tuple[Tensor, Tensor]:
        """Ages (N,) and features (N, F), float64 and float32, on the CPU."""
        ages, features, done = [], [], 0
        for part in images.split(LOOK):
            pooled = self.regressor.pooled(part.to(self.device) / 127.5 - 1)
            years = self.regressor.years(self.regressor.head(pooled).float())
            ages.append(years.double().cpu())
            features.append(pooled.cpu())
            done += len(part)
            self.report(stage, done, len(images))
        return torch.cat(ages), torch.cat(features)

    def features(self, images: Tensor) -> Tensor:
        """Features alone."""
        return self("judge the controls", images)[1]


def inception_look(network: InceptionV3, device: torch.device, report: Report) -> tuple[str, Look]:
    """A second network for FID.

    Args:
        network: see `inception.InceptionV3`.
        device: where it shall look.
        report: called as it looks.

    Returns:
        Its name, and what gives the features (N, 2048) of faces.
    """
    network.to(device)

    @torch.no_grad()
    def look(images: Tensor) -> Tensor:
        found, done = [], 0
        for part in images.split(INCEPTION_BATCH):
            found.append(network(resized(part, int(part.shape[-1]), device)).pool.cpu())
            done += len(part)
            report(f"look with {network.name}", done, len(images))
        return torch.cat(found)

    return network.name, look
