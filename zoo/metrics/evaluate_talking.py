"""How good is a model that lets faces talk? All figures of chapter 5, with their controls.

From the first frame and the sound of held-out clips the model makes the clips again. Are the frames
like the real ones: SSIM and PSNR. Is the face where it should be: landmarks. Does the mouth say
what is heard: a lip reader that no generator was trained to please. Does it move as smoothly as
a real one: jitter. A face that keeps still, and one that hears another clip, stand beside all that.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ...backend import device as devices
from ...backend.files import writable_folder, write_json, write_text
from ..talking.mfcc import FPS
from .ageing_parts import Table
from .bootstrap import DRAWS, Bootstrap
from .measures import Evaluation, text
from .talking_figures import talking_figures, tally
from .talking_parts import Report, Spoken, Talker, TalkingJudges, TalkingTrial, short
from .talking_samples import SAMPLE, Sample, strip, write_sample

RESULTS, TABLE, STRIP = "results.json", "results.md", "strip.png"
SAMPLES = 3


def evaluate_avwnet(
    model: Talker,
    trial: TalkingTrial,
    judges: TalkingJudges,
    out: Path,
    *,
    seed: int = 0,
    samples: int = SAMPLES,
    facts: Mapping[str, Any] | None = None,
    device: torch.device | None = None,
    report: Report = lambda stage, done, total: None,
) -> Evaluation:
    """Let a model speak all clips of a trial and measure them.

    The landmarks of the main figures are predicted by the model from the sound; lines of their own
    tell how it does where it is given the true ones, which show how the mouth opens.

    Args:
        model: see `Talker`.
        trial: see `TalkingTrial`.
        judges: see `TalkingJudges`.
        out: folder of results.json, results.md, strip.png and sample clips, made if absent.
        seed: of the intervals' draws.
        samples: clips to be looked at, at most.
        facts: JSON values to be written with the results, as what the model was trained on.
        device: where the model computes; on the CPU one thread does, so that figures do not depend
            on their number. None: the CPU.
        report: called with what is being done, how much of it is done, of how much.

    Returns:
        The figures, and in `facts["tables"]` the tables, each with a title, a header and rows.

    Raises:
        ValueError: the model gives other shapes, or landmarks that are not finite.
        OSError: the folder cannot be written.
    """
    writable_folder(out)
    clips, kept = trial.clips, list[Sample]()
    # Spread over the trial, which is in the order of the set.
    number = min(samples, len(trial))
    shown = {place * len(trial) // number for place in range(number)}

    def keep(place: int, spoken: Spoken) -> None:
        if place in shown:
            row = trial.rows[place]
            kept.append(Sample(clips.names[row], spoken, clips.sound(row), clips.words[row]))

    start = time.monotonic()
    with devices.one_thread(device or devices.resolve("cpu")):
        found, read = tally(model, trial, judges, report, keep)
        figures, tables, notes = talking_figures(found, read, Bootstrap(len(trial), seed))
    seconds = time.monotonic() - start
    if judges.reader is not None and read is None:
        notes.append("the lip reader knows none of the words of these clips")
    for place, sample in enumerate(kept, 1):
        write_sample(sample, model.title, out / SAMPLE.format(place))
    if kept:
        strip(kept, model.title).save(out / STRIP)
    frames = sum(rows.stop - rows.start for rows in map(clips.rows, trial.rows))
    known: dict[str, Any] = {
        "model": model.title,
        "set": trial.name,
        **(facts or {}),
        "count": len(trial),
        "frames": frames,
        "size": clips.size,
        "fps": FPS,
        "seed": seed,
        "bootstrap_draws": DRAWS,
        "clips": [clips.names[row] for row in trial.rows],
        "samples": [sample.name for sample in kept],
        "seconds": round(seconds, 2),
        "tables": [{"title": t.title, "header": t.header, "rows": _plain(t)} for t in tables],
    }
    evaluation = Evaluation(known, tuple(figures), (*trial.notes, *judges.notes, *notes))
    write_json(out / RESULTS, evaluation.to_json())
    write_text(out / TABLE, page(evaluation))
    return evaluation


def page(evaluation: Evaluation) -> str:
    """Figures and tables in Markdown.

    Args:
        evaluation: of `evaluate_avwnet`.

    Returns:
        Lines, the last one ended.
    """
    facts = evaluation.facts
    learned = facts.get("trained_on")
    lines = [
        f"{facts['model']}{f', trained on {learned}' if learned else ''}: {facts['count']} clips "
        f"of {facts['set']}, {facts['frames']} frames of {facts['size']} pixels a side, made from "
        "the first frame and the sound alone; where a line says so, with the landmarks of the real "
        "clip. In brackets 95 % intervals, of drawing other clips.",
        "",
        "| figure | generated | controls | real |",
        "|---|---|---|---|",
    ]
    for figure in evaluation.figures:
        floors = [f"{text(m, figure.unit)} ({name})" for name, m in figure.floors.items()]
        if figure.chance is not None:
            floors.append(f"chance {100 * figure.chance:.1f} %")
        ceilings = [f"{text(m, figure.unit)} ({name})" for name, m in figure.ceilings.items()]
        name = figure.name if figure.higher else f"{figure.name}, lower is better"
        cells = (name, text(figure.generated, figure.unit), "; ".join(floors), "; ".join(ceilings))
        lines.append(f"| {' | '.join(cells)} |")
    for table in facts["tables"]:
        lines += ["", f"{table['title']}:", "", f"| {' | '.join(table['header'])} |"]
        lines.append("|---" * len(table["header"]) + "|")
        lines += [f"| {' | '.join(_cell(value) for value in row)} |" for row in table["rows"]]
    lines += ["", *(f"- {note}" for note in evaluation.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _plain(table: Table) -> list[list[Any]]:
    return [[round(v, 6) if isinstance(v, float) else v for v in row] for row in table.rows]


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return short(value) if isinstance(value, float) else str(value)
