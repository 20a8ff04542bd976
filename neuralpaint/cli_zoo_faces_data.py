"""What the commands that train on faces begin with and end in."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .cli_shared import check_folders, console
from .cli_zoo_train import progress

if TYPE_CHECKING:
    from rich.progress import TaskID
    from torch import nn

    from .zoo.cards import Card
    from .zoo.data.faces import Faces
    from .zoo.face_judges import AgeClassifier
    from .zoo.ldcgan import Generator, LandmarkPredictor, LdcGanConfig

PROCEDURAL = "procedural-faces"
UTKFACE_TERMS = (
    "non-commercial research only, as the page of UTKFace says; landmarks by dlib's predictor, "
    "trained on 300-W, whose terms exclude commercial use"
)


class Begun(NamedTuple):
    """What a training of LDcGAN begins with.

    Attributes:
        config: of the networks.
        classifier: D_A.
        predictor: G_L.
        generator: with trained weights; None: random ones.
    """

    config: "LdcGanConfig"
    classifier: "AgeClassifier"
    predictor: "LandmarkPredictor"
    generator: "Generator | None"


def begin(
    weights: str | None,
    classifier: Path | None,
    landmarks: Path | None,
    size: str,
    **widths: int,
) -> Begun:
    """Read the networks that a training of LDcGAN begins with.

    Args:
        weights: a model to begin with: a name, a folder.
        classifier: file of D_A, in place of the model's.
        landmarks: file of G_L, in place of the model's.
        size: name of a size, where there is no model.
        widths: fields of the configuration to set otherwise; 0 leaves them.

    Returns:
        The networks, with a configuration that suits them.

    Raises:
        FileNotFoundError: a file is absent.
        ValueError: a file that is not right, D_A or G_L is nowhere, or a bad width.
    """
    from .zoo import from_pretrained
    from .zoo.face_judges import AgeClassifier, load_judge
    from .zoo.ldcgan import Generator, LandmarkPredictor, LdcGanConfig
    from .zoo.ldcgan_model import LdcGan
    from .zoo.ldcgan_parts import load_predictor

    parts: dict[str, nn.Module] = {}
    config = LdcGanConfig.of(size)
    if weights is not None:
        model = from_pretrained(weights, device="cpu")
        if not isinstance(model, LdcGan):
            raise ValueError(f"{weights}: a model of kind {model.kind!r}, not 'ldcgan'")
        parts, config = dict(model.networks.items()), model.config
    if classifier is not None:
        parts["classifier"] = load_judge(classifier, AgeClassifier)
    if landmarks is not None:
        parts["landmarks"] = load_predictor(landmarks)
    judge, predictor = parts.get("classifier"), parts.get("landmarks")
    if not isinstance(judge, AgeClassifier) or not isinstance(predictor, LandmarkPredictor):
        raise ValueError(
            "give --classifier and --landmarks (see `train age-classifier` and `train "
            "age-landmarks`), or --weights of a model that has them"
        )
    generator = parts.get("generator")
    given = {name: value for name, value in widths.items() if value}
    config = replace(
        config,
        size=predictor.config.size,
        latent=predictor.config.latent,
        judge=judge.width,
        **given,
    )
    begun = generator if isinstance(generator, Generator) else None
    return Begun(config, judge, predictor, begun)


def card_of(config: "LdcGanConfig", faces: "Faces", training: str) -> "Card":
    """What there is to say about a model after its training.

    Args:
        config: of the networks.
        faces: that it was trained on.
        training: how long.

    Returns:
        The card.
    """
    from .zoo.cards import Card, TrainingData
    from .zoo.procedural_faces.dataset import NAME

    held = int(faces.held_out.sum())
    data = TrainingData(
        name=faces.name,
        use=f"{len(faces) - held} faces, {held} more held out",
        terms="drawn by this package, no terms" if faces.name == NAME else UTKFACE_TERMS,
    )
    return Card(
        summary="Shows a face at another age, and keeps the person.",
        architecture=f"LDcGAN, chapter 4, N_i {config.ni}, N_d {config.nd}, {config.blocks} blocks",
        sizes=f"faces of {config.size} x {config.size} pixels, ten age groups",
        data=(data,),
        training=training,
        task="image-to-image",
    )


def ship(out: Path, card: "Card") -> Path:
    """Make the weights of a run a model.

    Args:
        out: folder of the run; of the best held-out figure, or the last ones without any.
        card: of the model.

    Returns:
        Its folder "model", for `zoo.from_pretrained`.
    """
    from .zoo.ldcgan_model import LdcGan
    from .zoo.train.loop import kept

    model = LdcGan.from_run(kept(out), card)
    return model.save_pretrained(out / "model")


def load_faces(
    data: str,
    size: int,
    count: int,
    seed: int,
    workers: int,
    *,
    landmarks: bool = True,
    redraw: bool = False,
    per_person: int = 4,
) -> "Faces":
    """The faces that `--data` names, with a line about what they are.

    Args:
        data: "procedural-faces" or a folder.
        size: side of the faces.
        count: of drawn faces.
        seed: of drawn faces.
        workers: processes that draw, or find landmarks.
        landmarks: whether they are needed.
        redraw: draw each picture of a person in a scene of its own; else they differ by age alone,
            as paired truth does.
        per_person: drawn faces of each person.

    Returns:
        The faces.

    Raises:
        ValueError: no such data.
        ImportError: landmarks are needed and dlib is not installed.
    """
    with progress(False) as bar:
        if data == PROCEDURAL:
            from .zoo.procedural_faces import make_faces

            task = bar.add_task("draw", total=count, note="")
            faces = make_faces(
                count,
                size,
                seed,
                redraw=redraw,
                per_person=per_person,
                workers=workers,
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )
        else:
            from .zoo.data.faces import open_utkface

            check_folders(Path(data))
            tasks: dict[str, TaskID] = {}

            def show(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total, note="")
                bar.update(tasks[stage], completed=done, total=total)

            faces = open_utkface(Path(data), size, landmarks, workers=workers, report=show)
    held = int(faces.held_out.sum())
    bare = len(faces) - int(faces.has_landmarks.sum()) if landmarks else 0
    text = f"{faces.name}: {len(faces)} faces, {held} of them held out"
    console.print(text + (f"; {bare} without landmarks are not used" if bare else ""))
    if faces.skipped:
        from .zoo.data.pictures import summary

        name = next(iter(faces.skipped))
        console.print(f"left out: {summary(faces.skipped)}; the first is {name}", markup=False)
    return faces
