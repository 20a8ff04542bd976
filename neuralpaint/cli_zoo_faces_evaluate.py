"""The command `neuralpaint evaluate ldcgan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .cli_shared import JsonOption, console, fail, report
from .cli_zoo_evaluate import Rows
from .cli_zoo_faces import open_model
from .cli_zoo_faces_data import PROCEDURAL, load_faces
from .cli_zoo_train import progress

if TYPE_CHECKING:
    from .zoo.face_judges import AgeRegressor
    from .zoo.metrics.ageing_parts import FaceJudges
    from .zoo.metrics.ageing_trials import AgeingTrial


def evaluate_ldcgan(
    out: Annotated[Path, typer.Option(help="Folder of results.json, results.md, sheet.png.")],
    regressor: Annotated[
        Path,
        typer.Option(
            help="The judge of ages: age-regressor.safetensors of `train age-classifier --task "
            "years` on the same data."
        ),
    ],
    weights: Annotated[
        str,
        typer.Option(
            help="Name of `zoo.list_models()`, a folder, 'org/name' on the Hub, or the "
            "best.safetensors of a training run."
        ),
    ] = "ldcgan",
    data: Annotated[
        str,
        typer.Option(
            help="Folder of UTKFace's aligned faces, or 'procedural-faces' for drawn people."
        ),
    ] = PROCEDURAL,
    per_group: Annotated[
        int,
        typer.Option(min=1, help="Inputs of each age group; 11-20 has four times as many."),
    ] = 10,
    framing: Annotated[
        Literal["portrait", "crop"], typer.Option(help="How drawn people are seen.")
    ] = "portrait",
    margin: Annotated[float, typer.Option(help="Years that count as equivalent.")] = 3.0,
    identity: Annotated[
        bool, typer.Option(help="Judge identity and landmarks with dlib, if it is installed.")
    ] = True,
    inception: Annotated[
        Path | None, typer.Option(help="Weights of Inception-v3. [default: those of the Hub]")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that draw, or find landmarks.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of inputs and controls.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a model that ages faces on held-out faces, beside floors and ceilings.

    Estimated ages as Table 4.2, tests of difference and of equivalence as Fig 4.12, verification as
    Table 4.3, FID, what changes beside the face and, of drawn people, errors against the truth. Of
    each set the figures go to a folder of their own.
    """
    from .backend import device as devices
    from .backend.files import writable_folder
    from .zoo.face_judges import AgeRegressor, load_judge
    from .zoo.metrics import evaluate_ageing as measuring
    from .zoo.metrics.ageing_parts import page

    try:
        if not margin > 0:
            raise ValueError(f"--margin {margin:g}: give years above 0")
        writable_folder(out)
        place = devices.resolve(device)
        judge = load_judge(regressor, AgeRegressor).to(place)
        model = open_model(weights, device)
        console.print(
            f"{model.title}, {model.origin}; trained on: {model.card.learned_from}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        trial = open_trial(data, model.config.size, per_group, seed, framing, workers)
        judges = face_judges(judge, inception, identity, drawn=trial.truth is not None)
        with progress(as_json) as bar:
            result = measuring.evaluate_ldcgan(
                model,
                trial,
                judges,
                out,
                seed=seed,
                margin=margin,
                facts={"trained_on": model.card.learned_from, "device": str(place)},
                report=Rows(bar),
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; nothing is kept of what was measured")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, ImportError, FloatingPointError, OSError) as error:
        fail(str(error))
    text = f"{page(result)}\n{out}: tables and {measuring.SHEET}"
    report(as_json, result.to_json(), text)


def open_trial(
    data: str, size: int, per_group: int, seed: int, framing: str, workers: int
) -> "AgeingTrial":
    """The held-out faces that `--data` names.

    Args:
        data: "procedural-faces" or a folder.
        size: side of the faces.
        per_group: inputs of each age group.
        seed: of their choice.
        framing: of drawn people.
        workers: processes that draw, or find landmarks.

    Returns:
        The trial.

    Raises:
        ValueError: no such data, or too little of it.
        ImportError: landmarks are needed and dlib is not installed.
    """
    from .zoo.metrics.ageing_trials import drawn_trial, photo_trial

    if data != PROCEDURAL:
        return photo_trial(load_faces(data, size, 0, seed, workers), per_group, seed)
    with progress(True) as bar:
        return drawn_trial(
            per_group, size, seed, framing=framing, workers=workers, report=Rows(bar)
        )


def face_judges(
    regressor: "AgeRegressor", inception: Path | None, identity: bool, *, drawn: bool
) -> "FaceJudges":
    """The judges that are at hand, with a note on each that is not.

    Args:
        regressor: of ages.
        inception: file of Inception-v3; None looks for the standard weights.
        identity: whether dlib shall judge.
        drawn: whether landmarks shall be found too, for which there is truth.

    Returns:
        The judges.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it does not hold such weights.
    """
    from .zoo.face_identity import DlibEmbedding
    from .zoo.faces import EXTRA, has_dlib
    from .zoo.inception import load_inception
    from .zoo.metrics.ageing_parts import FaceJudges
    from .zoo.metrics.evaluate_ageing import find_landmarks

    network, notes = None, []
    try:
        network = load_inception() if inception is None else load_inception(inception)
    except FileNotFoundError as error:
        if inception is not None:
            raise
        console.print(f"FID by the age regressor alone: {error}")
        notes.append(
            "no weights of Inception-v3: FID is the age regressor's alone, and compares with no "
            "published figure"
        )
    if not identity or not has_dlib():
        why = f"dlib is not installed: {EXTRA}" if identity else "it was not asked for"
        notes.append(f"identity, and landmarks as they are found, are left out: {why}")
        return FaceJudges(regressor, inception=network, notes=tuple(notes))
    find = find_landmarks if drawn else None
    return FaceJudges(regressor, DlibEmbedding(), find, network, notes=tuple(notes))
