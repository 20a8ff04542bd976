"""Whether an aged face is still the same person: verification as Table 4.3."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...backend import device as devices
from ..ages import COUNT, GROUPS, groups_of
from ..face_identity import impostor_distances, threshold, verify
from .ageing import share_of_people
from .ageing_parts import (
    COPY,
    GENERATED,
    LOOK,
    OLD,
    TRUTH,
    WRONG,
    AgedFaces,
    FaceJudges,
    Found,
    Pairs,
    Table,
    shuffled,
)
from .ageing_trials import YOUNG, AgeingTrial, Report
from .measures import Figure
from .retrieval import others


def identity_figures(
    trial: AgeingTrial,
    aged: AgedFaces,
    pairs: Pairs,
    judges: FaceJudges,
    seed: int,
    report: Report,
) -> Found:
    """Verification as Table 4.3, its controls, and distances.

    A wrong person is another one of the inputs at the same target, in the table also of the same
    own age group.

    Args:
        trial: see `AgeingTrial`.
        aged: what the model made.
        pairs: inputs and target groups to measure.
        judges: see `FaceJudges`.
        seed: of the controls.
        report: called as identity is judged.

    Returns:
        Figures, tables and notes; nothing but a note where there are too few real faces for a
        threshold.
    """
    look = judges.embed
    assert look is not None
    total = trial.real.images.shape[0] + len(trial) * (COUNT + 1)
    total += 0 if trial.truth is None else len(trial) * COUNT
    done = 0

    def embed(images: Tensor) -> Tensor:
        nonlocal done
        rows = []
        for part in images.split(LOOK):
            rows.append(look(part))
            done += len(part)
            report("judge identity", done, total)
        return torch.cat(rows).float()

    try:
        impostors = impostor_distances(embed(trial.real.images), trial.real.identity)
        limit = threshold(impostors)
    except ValueError as error:
        return [], [], [f"verification is left out: {error}"]
    given = embed(trial.sources.images)
    made = embed(aged.images.flatten(0, 1)).unflatten(0, (-1, COUNT))
    lived = None
    if trial.truth is not None:
        lived = embed(trial.truth.flatten(0, 1)).unflatten(0, (-1, COUNT))
    own = groups_of(trial.sources.ages)
    name = judges.name
    figures, rows = [], list[list[Any]]()
    old = (own[pairs.person] == YOUNG) & (pairs.group >= OLD)
    for title, which in ((f"{GROUPS[YOUNG]} to 51+", old), ("all ages", torch.ones_like(old))):
        some = pairs.where(which)
        mixed = shuffled(some, devices.spawn(seed, 2**32 - 2))
        if mixed is None:
            continue
        first = given[some.person]
        second = {GENERATED: some.of(made), WRONG: mixed.of(made), COPY: first}
        if lived is not None:
            second[TRUTH] = some.of(lived)
        apart = {n: (first.double() - v.double()).norm(dim=1) for n, v in second.items()}
        shares = {n: share_of_people(values < limit, some.person) for n, values in apart.items()}
        means = {n: some.over(values) for n, values in apart.items()}
        for what, unit, found in (("verified", "%", shares), ("distance", "score", means)):
            figures.append(
                Figure(
                    f"{what} by {name}, {title}",
                    "%" if unit == "%" else "score",
                    found[GENERATED],
                    {WRONG: found[WRONG]},
                    {n: found[n] for n in (COPY, TRUTH) if n in found},
                    higher=unit == "%",
                    count=len(some.person),
                )
            )
    columns = {GROUPS[g]: [g] for g in range(YOUNG + 1, OLD)} | {"51+": list(range(OLD, COUNT))}
    people = torch.nonzero(own == YOUNG).flatten()
    if len(people) > 1:
        wrong = people[others(len(people), devices.spawn(seed, 2**32 - 2))]
        faces = {f"{GROUPS[YOUNG]} (inputs)": (given[people], made[people])}
        if lived is not None:
            faces[TRUTH] = (given[people], lived[people])
        faces[WRONG] = (given[people], made[wrong])
        faces[COPY] = (given[people], given[people][:, None].expand(-1, COUNT, -1))
        for row, (one, two) in faces.items():
            rows += _table_rows(row, [(one, two[:, columns[c]]) for c in columns], impostors)
        for column in list(columns)[:-1]:
            later = list(columns)[list(columns).index(column) + 1 :]
            start = made[people][:, columns[column][0]]
            cells: list[tuple[Tensor, Tensor] | None] = [None] * (len(columns) - len(later))
            cells += [(start, made[people][:, columns[c]]) for c in later]
            rows += _table_rows(f"{column} (aged)", cells, impostors)
    title = (
        f"Verification as Table 4.3, by {name}, threshold {limit:.3f} at a false accept rate of "
        f"1e-3 in {len(impostors)} pairs of real faces: confidence and rate in %; inputs of "
        f"{GROUPS[YOUNG]} and their aged faces, {len(people)} people"
    )
    tables = [Table(title, ("from", "", *columns), rows)] if rows else []
    return figures, tables, []


def _table_rows(
    name: str, cells: Sequence[tuple[Tensor, Tensor] | None], impostors: Tensor
) -> list[list[Any]]:
    """Confidences and rates of faces (N, D) with others (N, K, D)."""
    found = [
        None
        if cell is None
        else verify(
            cell[0][:, None].expand_as(cell[1]).flatten(0, 1), cell[1].flatten(0, 1), impostors
        )
        for cell in cells
    ]
    return [
        [name, "confidence", *(None if v is None else round(v.confidence, 2) for v in found)],
        ["", "rate", *(None if v is None else round(100 * v.rate, 2) for v in found)],
    ]
