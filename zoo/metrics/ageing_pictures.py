"""Aged faces against the truth, and what changes beside them."""

from typing import Any

import torch
from torch import Tensor

from ...backend import device as devices
from ..ages import COUNT, GROUPS, groups_of
from ..face_boxes import face_box, joined, outside
from ..face_geometry import Similarity, paste_back
from .ageing import (
    change,
    landmark_error,
    over_groups,
    pixel_error,
    share_of_people,
)
from .ageing_parts import (
    COPY,
    FAR,
    FOUND,
    GENERATED,
    PASTED,
    TRUTH,
    WRONG,
    AgedFaces,
    FaceJudges,
    Found,
    Pairs,
    Table,
    mean_or_none,
    shuffled,
    spread,
)
from .ageing_trials import AgeingTrial, Report
from .measures import Figure, Measure


def paired_figures(
    trial: AgeingTrial,
    aged: AgedFaces,
    pairs: Pairs,
    judges: FaceJudges,
    seed: int,
    report: Report,
) -> Found:
    """Against the same person at the target age: pixels and landmarks, beside the input's.

    Args:
        trial: see `AgeingTrial`.
        aged: what the model made.
        pairs: inputs and target groups to measure.
        judges: see `FaceJudges`.
        seed: of the pairs in which landmarks are looked for.
        report: called as landmarks are found.

    Returns:
        Figures, tables and notes.
    """
    assert trial.truth is not None
    assert trial.truth_landmarks is not None
    size, own = trial.sources.size, groups_of(trial.sources.ages)
    truth, places = pairs.of(trial.truth), pairs.of(trial.truth_landmarks)
    given = trial.sources.landmarks[pairs.person]
    errors = {
        "pixel error (levels of 255)": (
            pixel_error(pairs.of(aged.images), truth),
            pixel_error(trial.sources.images[pairs.person], truth),
        ),
        "error of the landmarks aimed at (pixels)": (
            landmark_error(pairs.of(aged.landmarks), places, size),
            landmark_error(given, places, size),
        ),
    }
    apart = (pairs.group - own[pairs.person]).abs()
    far = apart >= FAR
    ceilings: dict[str, dict[str, Measure]] = {name: {} for name in errors}
    notes = []
    if judges.find is not None:
        order = torch.randperm(len(apart), generator=devices.generator(devices.spawn(seed, 3)))
        some = order[far[order]][:FOUND]
        sets = (pairs.of(aged.images), trial.sources.images[pairs.person], truth)
        found = []
        for number, images in enumerate(sets, 1):
            points = judges.find(images[some])
            found.append(landmark_error(points, places[some], size))
            report("find landmarks", number, len(sets))
        seen = ~torch.stack(found).isnan().any(0)
        if lost := int((~seen).sum()):
            notes.append(f"{judges.name} finds no face in one of {lost} of {len(some)} triples")
        if seen.any():
            name = f"error of landmarks found by {judges.name} (pixels)"
            whole = torch.full((3, len(apart)), torch.nan, dtype=torch.float64)
            whole[:, some] = torch.stack(found)
            whole[:, some[~seen]] = torch.nan
            errors[name] = (whole[0], whole[1])
            used = pairs.where(some[seen])
            ceilings[name] = {TRUTH: used.over(found[2][seen])}
    figures, by_distance, by_group = [], list[list[Any]](), list[list[Any]]()
    for name, (made, copied) in errors.items():
        rows = far & ~made.isnan()
        if not rows.any():
            continue
        some_pairs = pairs.where(rows)
        figures.append(
            Figure(
                f"{name}, {FAR} groups or more away",
                "score",
                some_pairs.over(made[rows]),
                {COPY: some_pairs.over(copied[rows])},
                ceilings[name],
                higher=False,
                count=int(rows.sum()),
            )
        )
        figures.append(
            Figure(
                f"nearer than the input, {name.split(' (')[0]}, {FAR} groups or more away",
                "%",
                share_of_people(made[rows] < copied[rows], some_pairs.person),
                {},
                {},
                count=int(rows.sum()),
            )
        )
        for who, values in ((GENERATED, made), (COPY, copied)):
            means = [mean_or_none(values[(apart == d) & ~made.isnan()]) for d in range(1, COUNT)]
            by_distance.append([name, who, *means])
            means = [mean_or_none(values[rows & (pairs.group == g)]) for g in range(COUNT)]
            by_group.append([name, who, *means])
    tables = [
        Table(
            "Errors against the same person at the target age, by groups between input and target",
            ("", "", *map(str, range(1, COUNT))),
            by_distance,
        ),
        Table(
            f"The same by target group, of inputs {FAR} groups or more away",
            ("", "", *GROUPS),
            by_group,
        ),
    ]
    return figures, tables, notes


def outside_figures(trial: AgeingTrial, aged: AgedFaces, pairs: Pairs, seed: int) -> list[Figure]:
    """What changes beside the face, before and after pasting back.

    Args:
        trial: see `AgeingTrial`.
        aged: what the model made.
        pairs: inputs and target groups to measure.
        seed: of the controls.

    Returns:
        The figures; those of which no face has a pixel outside its box are left out.
    """
    sources, size = trial.sources, trial.sources.size
    boxes = face_box(sources.landmarks)[pairs.person]
    before, after = sources.images[pairs.person], pairs.of(aged.images)
    lived = None
    if trial.truth is not None and trial.truth_landmarks is not None:
        boxes = joined(boxes, face_box(pairs.of(trial.truth_landmarks)))
        lived = pairs.of(trial.truth)
    where = outside(boxes, size)
    mixed = shuffled(pairs, devices.spawn(seed, 2**32 - 3))

    def figure(name: str, where: Tensor, truly: Tensor | None) -> list[Figure]:
        rows = where.any(2).any(1)
        if not rows.any():
            return []
        some = pairs.where(rows)

        def moved(images: Tensor) -> Measure:
            return some.over(change(before[rows], images[rows], where[rows]))

        return [
            Figure(
                f"{name} (levels of 255)",
                "score",
                moved(after),
                {} if mixed is None else {WRONG: moved(sources.images[mixed.person])},
                {COPY: moved(before)} | ({} if truly is None else {TRUTH: moved(truly)}),
                higher=False,
                count=int(rows.sum()),
            )
        ]

    figures = figure("change outside the face box", where, lived)
    if lived is not None:
        still = where & (lived == before).all(1)
        figures += figure("change outside it where age changes nothing", still, None)
    return figures + pasted_figures(trial, aged, seed)


def pasted_figures(trial: AgeingTrial, aged: AgedFaces, seed: int) -> list[Figure]:
    """Crops that are aged in the middle of a photo of twice the side, and pasted back."""
    size, half = trial.sources.size, trial.sources.size // 2
    chosen = spread(trial, PASTED)
    groups = (groups_of(trial.sources.ages)[chosen] + COUNT // 2) % COUNT
    shape = (len(chosen), 3, 2 * size, 2 * size)
    generator = devices.generator(devices.spawn(seed, 4))
    photos = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    middle = slice(half, half + size)
    photos[:, :, middle, middle] = trial.sources.images[chosen]
    there = Similarity(1.0, 0.0, -half, -half)
    boxes = face_box(trial.sources.landmarks[chosen])
    pages = torch.stack(
        [
            torch.from_numpy(
                paste_back(
                    photo.permute(1, 2, 0).contiguous().numpy(),
                    aged.images[row, group].permute(1, 2, 0).contiguous().numpy(),
                    aged.masks[row, group].float().numpy(),
                    there,
                    box=tuple(box),
                )
            ).permute(2, 0, 1)
            for photo, row, group, box in zip(
                photos, chosen.tolist(), groups.tolist(), boxes.tolist(), strict=True
            )
        ]
    )
    crop = torch.zeros(len(chosen), 2 * size, 2 * size, dtype=torch.bool)
    crop[:, middle, middle] = True
    beside = torch.zeros_like(crop)
    beside[:, middle, middle] = outside(boxes, size)
    figures = []
    for name, where in (("crop", ~crop), ("face box, in the crop", beside)):
        rows = where.any(2).any(1)
        if not rows.any():
            continue
        values = change(photos[rows], pages[rows], where[rows])
        measure = over_groups(values, groups[rows], chosen[rows])
        figures.append(
            Figure(
                f"change outside the {name}, pasted back (levels of 255)",
                "score",
                measure,
                {},
                {},
                higher=False,
                count=len(values),
            )
        )
    return figures
