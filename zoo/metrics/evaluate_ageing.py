"""How good is a model that ages faces? All figures of chapter 4, with their floors and ceilings.

Is a face as old as was asked for: ages by a regressor that no generator was trained to please. Is
it still the same person: an embedding's distances. Do faces look like real ones: FID. Is anything
changed beside the face. And, of drawn people, is the picture nearer to the truth than the input.
"""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...backend import device as devices
from ...backend.buckets import Batch
from ...backend.files import writable_folder, write_json, write_text
from ..ages import COUNT, groups_of
from ..face_geometry import POINTS, Similarity
from ..ldcgan_result import AgedFace, Target, age_sheet
from .ageing import MARGIN
from .ageing_figures import age_figures, fid_figures, inception_look
from .ageing_identity import identity_figures
from .ageing_parts import PART, SHEET_FACES, AgedFaces, Ager, FaceJudges, Pairs, page, spread
from .ageing_pictures import outside_figures, paired_figures
from .ageing_trials import AgeingTrial, Report
from .measures import Evaluation

RESULTS, TABLE, SHEET = "results.json", "results.md", "sheet.png"


def evaluate_ldcgan(
    model: Ager,
    trial: AgeingTrial,
    judges: FaceJudges,
    out: Path,
    *,
    seed: int = 0,
    margin: float = MARGIN,
    facts: Mapping[str, Any] | None = None,
    report: Report = lambda stage, done, total: None,
) -> Evaluation:
    """Show all inputs of a trial at all ten ages and measure the faces.

    Where the target is the input's own group nothing is measured, as a copy would be right.

    Args:
        model: see `Ager`.
        trial: see `AgeingTrial`.
        judges: see `FaceJudges`.
        out: folder of results.json, results.md and sheet.png, made if absent.
        seed: of the controls.
        margin: years, see `ageing.compare`.
        facts: JSON values to be written with the results, as what the model was trained on.
        report: called with what is being done, how much of it is done, of how much.

    Returns:
        The figures, and in `facts["tables"]` the tables, each with a title, a header and rows.

    Raises:
        ValueError: the model gives no such faces.
        OSError: the folder cannot be written.
    """
    writable_folder(out)
    start = time.monotonic()
    aged = age_all(model, trial, report)
    seconds = time.monotonic() - start
    _write_sheet(model, trial, aged, out / SHEET)
    groups = groups_of(trial.sources.ages)
    pairs = Pairs(*torch.nonzero(groups[:, None] != torch.arange(COUNT)).T)
    place = next(judges.regressor.parameters()).device
    with devices.one_thread(place):
        figures, tables, notes = age_figures(trial, aged, pairs, judges, seed, margin, report)
        if judges.inception is not None:
            seen_by, look = inception_look(judges.inception, place, report)
            figures += fid_figures(trial, aged, groups, seed, seen_by, look)
        if judges.embed is not None:
            own, table, told = identity_figures(trial, aged, pairs, judges, seed, report)
            figures, tables, notes = figures + own, tables + table, notes + told
        if trial.truth is not None:
            own, table, told = paired_figures(trial, aged, pairs, judges, seed, report)
            figures, tables, notes = figures + own, tables + table, notes + told
        figures += outside_figures(trial, aged, pairs, seed)
    known: dict[str, Any] = {
        "model": model.title,
        "set": trial.name,
        **(facts or {}),
        "count": len(trial),
        "pictures": len(trial) * COUNT,
        "real": len(trial.real),
        "size": trial.sources.size,
        "seed": seed,
        "margin_years": margin,
        "seconds": {"generate": round(seconds, 2), "each": seconds / len(trial) / COUNT},
        "tables": [{"title": t.title, "header": t.header, "rows": t.rows} for t in tables],
    }
    evaluation = Evaluation(known, tuple(figures), (*trial.notes, *judges.notes, *notes))
    write_json(out / RESULTS, evaluation.to_json())
    write_text(out / TABLE, page(evaluation))
    return evaluation


def age_all(
    model: Ager, trial: AgeingTrial, report: Report = lambda stage, done, total: None
) -> AgedFaces:
    """Every input of a trial at the ages of all ten groups.

    Args:
        model: see `Ager`.
        trial: see `AgeingTrial`.
        report: called after each picture.

    Returns:
        The faces.

    Raises:
        ValueError: the model gives other than one face for each request, or values that are not
            finite.
    """
    sources, size = trial.sources, trial.sources.size
    total = len(sources) * COUNT
    parts: list[Batch] = []
    for rows in torch.arange(len(sources)).split(PART):
        requests = [
            {
                "image": sources.images[row] / 127.5 - 1,
                "landmarks": sources.landmarks[row],
                "group": torch.tensor(group),
            }
            for row in rows.tolist()
            for group in range(COUNT)
        ]
        begun = int(rows[0]) * COUNT
        results = model.run(requests, partial(_age_report, report, begun, total))
        shapes = {"image": (3, size, size), "mask": (size, size), "landmarks": (2 * POINTS,)}
        for result in results:
            for name, shape in shapes.items():
                if tuple(result[name].shape) != shape or not result[name].isfinite().all():
                    raise ValueError(
                        f"{model.title}: gave {name} of shape {tuple(result[name].shape)}, or not "
                        f"finite; expected finite {shape}"
                    )
        if len(results) != len(requests):
            raise ValueError(f"{model.title}: gave {len(results)} faces for {len(requests)}")
        images = torch.stack([result["image"] for result in results]).float().clamp(0, 1)
        parts.append(
            {
                "images": (images * 255).round().to(torch.uint8),
                "masks": torch.stack([r["mask"] for r in results]).clamp(0, 1).half(),
                "landmarks": torch.stack([r["landmarks"] for r in results]).float(),
            }
        )
    joint = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return AgedFaces(**{name: v.unflatten(0, (-1, COUNT)) for name, v in joint.items()})


def _age_report(report: Report, begun: int, total: int, done: int, _: int) -> None:
    report("age", begun + done, total)


def find_landmarks(images: Tensor) -> Tensor:
    """Landmarks as dlib finds them, for `FaceJudges.find`.

    Args:
        images: (N, 3, S, S) uint8, faces in crops.

    Returns:
        (N, 136) float32, in sides; NaN where no face is found in the middle.

    Raises:
        ImportError: the `faces` extra is not installed.
    """
    from ..faces import DlibFinder, nearest_to_crop

    finder, size = DlibFinder(), images.shape[3]
    rows = torch.full((len(images), 2 * POINTS), torch.nan)
    for row, image in enumerate(images.permute(0, 2, 3, 1).contiguous().numpy()):
        face = nearest_to_crop(finder.find(image), size)
        if face is not None:
            rows[row] = torch.from_numpy(face.landmarks / size).float().flatten()
    return rows


def _write_sheet(model: Ager, trial: AgeingTrial, aged: AgedFaces, path: Path) -> None:
    """Eight inputs at ten ages; the group beside each is that of their true age."""
    size = trial.sources.size
    faces = []
    for number, row in enumerate(spread(trial, SHEET_FACES).tolist()):
        age = int(trial.sources.ages[row])
        own = trial.sources.landmarks[row].double().view(POINTS, 2).numpy() * size
        for group in range(COUNT):
            faces.append(
                AgedFace(
                    photo=number,
                    name=f"held-out face {row}, {age} years",
                    number=0,
                    target=Target(group),
                    source_group=int(groups_of(trial.sources.ages[row : row + 1])),
                    input=trial.sources.images[row].permute(1, 2, 0).contiguous().numpy(),
                    image=(aged.images[row, group].float() / 255).permute(1, 2, 0).numpy(),
                    change_mask=aged.masks[row, group].float().numpy(),
                    landmarks=aged.landmarks[row, group].double().view(POINTS, 2).numpy() * size,
                    source_landmarks=own,
                    transform=Similarity(1.0, 0.0, 0.0, 0.0),
                )
            )
    age_sheet(faces, model.title).save(path)
