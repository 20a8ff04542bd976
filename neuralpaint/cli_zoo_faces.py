"""The command `neuralpaint generate ldcgan`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from .cli_shared import JsonOption, console, fail, report

if TYPE_CHECKING:
    from .zoo.ldcgan_model import LdcGan
    from .zoo.ldcgan_result import Target

MOST_NOTES = 5


def generate_ldcgan(
    photos: Annotated[
        list[Path], typer.Argument(help="Photos with faces, or folders of them.", metavar="PHOTO")
    ],
    weights: Annotated[
        str,
        typer.Option(
            help="Name of `zoo.list_models()`, a folder, as the model/ of `train ldcgan`, "
            "'org/name' on the Hub, or the best.safetensors of a training run."
        ),
    ] = "ldcgan",
    ages: Annotated[
        str | None,
        typer.Option(
            "--ages", "--age", help="In years, as 5,25,45,65,85. [default: the ten age groups]"
        ),
    ] = None,
    age_group: Annotated[
        str | None, typer.Option(help="Age groups in place of ages, as 61-70,81+.")
    ] = None,
    face: Annotated[
        str | None,
        typer.Option(help="Which faces, from left to right from 0, as 0,2. [default: all]"),
    ] = None,
    cropped: Annotated[
        bool,
        typer.Option("--cropped", help="The pictures are faces, cropped as those of UTKFace are."),
    ] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("out/aged"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Age the faces in photos: photos with aged faces, the faces alone, and a sheet of them.

    Writes NAME-age-070.png, the photo with its faces at 70 and all else as it was;
    NAME-face0-age-070.png, a face alone; and sheet.png, every face at every age. Of several photos
    those that cannot be read or show no face are left out and named.
    """
    from .zoo.age_many import age_many, photo_files
    from .zoo.faces import CropFinder
    from .zoo.ldcgan_photos import check_choice

    try:
        targets = _targets(ages, age_group)
        chosen = check_choice(None if face is None else _numbers(face, "--face", int))
        files = photo_files(photos)
        model = open_model(weights, device)
        console.print(
            f"{model.title}, {model.origin}; trained on: {model.card.learned_from}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        bar = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=as_json,
        )
        with bar:
            task = bar.add_task("photos", total=len(files))
            done = age_many(
                model,
                files,
                targets,
                out,
                face=chosen,
                finder=CropFinder() if cropped else None,
                report=lambda ready, total: bar.update(task, completed=ready, total=total),
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; the files that are there are complete")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        fail(str(error))
    _tell("note: ", done.notes)
    _tell("left out: ", tuple(done.skipped.values()))
    facts: dict[str, Any] = {
        "out": str(out),
        "model": model.name,
        "weights": model.fingerprint,
        "origin": model.origin,
        "trained_on": model.card.learned_from,
        "ages": [target.title for target in targets],
        "photos": done.photos,
        "faces": done.faces,
        "files": [file.name for file in done.files],
        "notes": list(done.notes),
        "skipped": done.skipped,
    }
    text = f"{out}: {_count(done.faces, 'face')} of {_count(done.photos, 'photo')}, each at "
    text += _count(len(targets), "age group" if ages is None else "age")
    if done.skipped:
        text += f"; {_count(len(done.skipped), 'photo')} left out"
    report(as_json, facts, text)


def _targets(ages: str | None, age_group: str | None) -> "list[Target]":
    from .zoo.ages import GROUPS
    from .zoo.ldcgan_model import read_targets

    if ages is not None and age_group is not None:
        raise ValueError("give --ages or --age-group, not both")
    if ages is not None:
        return read_targets(ages=_numbers(ages, "--ages", float))
    if age_group is not None:
        return read_targets(age_group=[part.strip() for part in age_group.split(",")])
    return read_targets(age_group=GROUPS)


def _numbers(text: str, option: str, kind: type[int] | type[float]) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} {text!r:.40}: give numbers, as 0,2,5") from None


def open_model(weights: str, device: str) -> "LdcGan":
    """Load the model that `--weights` names.

    Args:
        weights: a name, a folder, "org/name" on the Hub, or the file of a training run.
        device: where it computes.

    Returns:
        The model.

    Raises:
        ValueError: a model of another kind, or see `zoo.from_pretrained`.
    """
    from . import zoo
    from .zoo.ldcgan_model import LdcGan

    if weights.endswith(".safetensors"):
        return LdcGan.from_run(Path(weights)).to(device)
    model = zoo.from_pretrained(weights, device=device)
    if not isinstance(model, LdcGan):
        raise ValueError(f"{weights}: a model of kind {model.kind!r}, not 'ldcgan'")
    return model


def _tell(what: str, texts: Sequence[str]) -> None:
    for text in texts[:MOST_NOTES]:
        console.print(f"{what}{text}", markup=False, highlight=False, soft_wrap=True)
    if len(texts) > MOST_NOTES:
        console.print(f"{what}and {len(texts) - MOST_NOTES} more")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
