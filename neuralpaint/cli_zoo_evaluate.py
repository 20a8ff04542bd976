"""The command `neuralpaint evaluate hfgan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID

from .cli_shared import JsonOption, check_folders, console, fail, report
from .cli_zoo_train import PROCEDURAL, progress

if TYPE_CHECKING:
    from .zoo.inception import InceptionV3
    from .zoo.metrics.trials import Trial


def evaluate_hfgan(
    out: Annotated[Path, typer.Option(help="Folder of results.json, results.md, sheet.png.")],
    model: Annotated[str, typer.Option(help="Short name, folder, or org/name.")] = "hfgan",
    data: Annotated[
        str,
        typer.Option(
            help="Folder of CUB-200-2011, Oxford-102 or COCO in its official layout, or "
            "'procedural' for drawn birds and flowers."
        ),
    ] = PROCEDURAL,
    count: Annotated[int, typer.Option(min=4, help="Images, one for each prompt.")] = 1000,
    trained_on: Annotated[
        bool,
        typer.Option(help="Drawn data: prompts of the pairs of colours that training saw."),
    ] = False,
    judges: Annotated[Path, typer.Option(help="Folder where trained judges are kept.")] = Path(
        "runs/judges"
    ),
    inception: Annotated[
        Path | None, typer.Option(help="Weights of Inception-v3. [default: those of the Hub]")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts, images and controls.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a text-to-image model on held-out prompts, beside floors and ceilings.

    Attribute accuracy, VS similarity, R-precision, Inception Score and FID, with 95 % intervals.
    The judges are trained on real pictures at the first use, in minutes, and kept.
    """
    from . import zoo
    from .backend.files import writable_folder
    from .zoo.hfgan_model import HfGan
    from .zoo.metrics import evaluate as measuring
    from .zoo.metrics import judges as judging
    from .zoo.metrics.measures import table

    if data != PROCEDURAL:
        check_folders(Path(data))
    try:
        writable_folder(out)
        writable_folder(judges)
        painter = zoo.from_pretrained(model, device=device)
        if not isinstance(painter, HfGan):
            raise ValueError(f"{model}: a model of kind {painter.kind}, not hfgan")
        with progress(as_json) as bar:
            rows = Rows(bar)
            trial = open_trial(data, painter.config.size, count, seed, trained_on, workers, rows)
            trained = judging.judges(
                trial.train,
                trial.key,
                judges,
                classes=trial.classes,
                device=device,
                report=rows,
            )
            network = find_inception(inception)
            result = measuring.evaluate_hfgan(
                painter, trial, trained, out, seed=seed, inception=network, report=rows
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; judges that are half trained go on with the same command")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, ImportError, FloatingPointError, OSError) as error:
        fail(str(error))
    report(as_json, result.to_json(), f"{table(result)}\n{out}: tables and {measuring.SHEET}")


class Rows:
    """A display with a row for each stage, which appears when the stage begins.

    Args:
        bar: the display.
    """

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task(stage, total=total, note="")
        self.bar.update(self.tasks[stage], completed=done, total=total)


def open_trial(
    data: str, size: int, count: int, seed: int, trained_on: bool, workers: int, rows: Rows
) -> "Trial":
    """The prompts and real pictures that `--data` names.

    Args:
        data: "procedural" or a folder.
        size: side of the generated images.
        count: of prompts.
        seed: of their choice.
        trained_on: drawn data: pairs of colours that training saw.
        workers: processes that draw.
        rows: see `Rows`.

    Returns:
        The trial.

    Raises:
        ValueError: no such data, or too little of it.
    """
    from .zoo.metrics.trials import captioned_trial, procedural_trial

    if data == PROCEDURAL:
        return procedural_trial(
            count, size, seed, held_out=not trained_on, workers=workers, report=rows
        )
    from .zoo.data import open_captioned

    pictures = open_captioned(
        Path(data), size, report=lambda done, total: rows("read", done, total)
    )
    if pictures.skipped:
        name, reason = next(iter(pictures.skipped.items()))
        console.print(f"left {len(pictures.skipped)} files out, the first: {name}: {reason}")
    return captioned_trial(pictures, count, seed)


def find_inception(path: Path | None) -> "InceptionV3 | None":
    """Inception-v3 of a file, or of the Hub or its cache; None, with a line, where it is neither.

    Args:
        path: of the file; None looks for the standard weights.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it does not hold such weights.
    """
    from .zoo.inception import load_inception

    if path is not None:
        return load_inception(path)
    try:
        return load_inception()
    except FileNotFoundError as error:
        console.print(f"Inception Score and FID by the classifier alone: {error}")
        return None
