"""What the commands that train on talking faces begin with and end in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .cli_shared import check_folders, console
from .cli_zoo_train import progress

if TYPE_CHECKING:
    from rich.progress import TaskID

    from .zoo.avwnet import AvwnetConfig, Generator
    from .zoo.cards import Card
    from .zoo.data.talking import Clips
    from .zoo.lipreader import LipReader
    from .zoo.talking_landmarks import TalkingLandmarks

PROCEDURAL = "procedural-talking"
TERMS = {
    "GRID": "CC BY 4.0 as its authors state, cite Cooke et al. 2006; landmarks by dlib's "
    "predictor, trained on 300-W, whose terms exclude commercial use",
    "LRW": "research by agreement with the BBC, as its page says; landmarks by dlib's predictor, "
    "trained on 300-W, whose terms exclude commercial use",
}
DRAWN = "drawn and spoken by this package, no terms"


class Begun(NamedTuple):
    """What a training of AVWnet begins with.

    Attributes:
        config: of the networks.
        reader: lip reader.
        predictor: of landmarks.
        generator: with trained weights; None: random ones.
    """

    config: "AvwnetConfig"
    reader: "LipReader"
    predictor: "TalkingLandmarks"
    generator: "Generator | None"


def begin(
    weights: str | None,
    reader: Path | None,
    landmarks: Path | None,
    size: str,
    **widths: Any,
) -> Begun:
    """Read the networks that a training of AVWnet begins with.

    Args:
        weights: a model to begin with: a name, a folder.
        reader: file of the lip reader, in place of the model's.
        landmarks: file of the landmark predictor, in place of the model's.
        size: name of a size, where there is no model.
        widths: fields of the configuration to set otherwise; 0 and None leave them.

    Returns:
        The networks, with a configuration that suits them.

    Raises:
        FileNotFoundError: a file is absent.
        ValueError: a file that is not right, a part that is nowhere, or a bad width.
    """
    from .zoo import from_pretrained
    from .zoo.avwnet import AvwnetConfig, Generator
    from .zoo.avwnet_model import AvwNet
    from .zoo.lipreader import LipReader, load_reader
    from .zoo.talking_landmarks import TalkingLandmarks, load_talking_landmarks

    parts: dict[str, Any] = {}
    config = None
    if weights is not None:
        model = from_pretrained(weights, device="cpu")
        if not isinstance(model, AvwNet):
            raise ValueError(f"{weights}: a model of kind {model.kind!r}, not 'avwnet'")
        parts, config = dict(model.networks.items()), model.config
    if reader is not None:
        parts["reader"] = load_reader(reader)
    if landmarks is not None:
        parts["landmarks"] = load_talking_landmarks(landmarks)
    lips, predictor = parts.get("reader"), parts.get("landmarks")
    if not isinstance(lips, LipReader) or not isinstance(predictor, TalkingLandmarks):
        raise ValueError(
            "give --reader and --landmarks (see `train lipreader` and `train talking-landmarks`), "
            "or --weights of a model that has them"
        )
    config = config or AvwnetConfig.of(size, reader=lips.config)
    given = {name: value for name, value in widths.items() if value is False or value}
    config = replace(config, reader=lips.config, landmarks=predictor.config, **given)
    generator = parts.get("generator")
    begun = generator if isinstance(generator, Generator) else None
    return Begun(config, lips, predictor, begun)


def card_of(config: "AvwnetConfig", clips: "Clips", training: str) -> "Card":
    """What there is to say about a model after its training.

    Args:
        config: of the networks.
        clips: that it was trained on.
        training: how long.

    Returns:
        The card.
    """
    from .zoo.cards import Card, TrainingData
    from .zoo.talking.moved import NAME as MOVED

    held = int(clips.held_out.sum())
    people = len(clips.speakers[~clips.held_out].unique())
    speakers = f"{people} speaker{'s' * (people != 1)}"
    limits = "Heads keep still; only the expression moves."
    if people == 1:
        limits += " One speaker: other faces keep their look but move as this one does."
    data = TrainingData(
        name=clips.name,
        use=f"{len(clips) - held} clips of {speakers}, {held} more held out",
        terms=next((text for name, text in TERMS.items() if name in clips.name), DRAWN)
        + ("; and those of the photos" if MOVED in clips.name else ""),
    )
    return Card(
        summary="Makes a face speak: a photo and a sound become a talking video.",
        architecture=f"AVWnet, chapter 5, N_i {config.ni}, N_d {config.nd}",
        sizes="faces of 128 x 128 pixels, 25 frames a second, sound of 16 kHz",
        data=(data,),
        training=training,
        limits=limits,
        task="image-to-video",
    )


def ship(out: Path, card: "Card") -> Path:
    """Make the weights of a run a model.

    Args:
        out: folder of the run; of the best held-out figure, or the last ones without any.
        card: of the model.

    Returns:
        Its folder "model", for `zoo.from_pretrained`.
    """
    from .zoo.avwnet_model import AvwNet
    from .zoo.train.loop import kept

    return AvwNet.from_run(kept(out), card).save_pretrained(out / "model")


def load_clips(
    data: str,
    count: int,
    seed: int,
    workers: int,
    *,
    engine: Literal["formant", "espeak"] = "formant",
    per_person: int = 2,
    cache: Path | None = None,
    limit: int | None = None,
    also: str | None = None,
) -> "Clips":
    """The clips that `--data` names, and `--also`, with a line about what they are.

    Args:
        data: "procedural-talking" or a folder.
        count: of drawn clips.
        seed: of drawn clips.
        workers: processes that draw, or decode and find landmarks.
        engine: that speaks for drawn people.
        per_person: clips of each drawn person.
        cache: where decoded clips are kept; None: in the user's cache.
        limit: clips of a folder, at most; None: all.
        also: more to train on, see `data.talking.beside`; None: nothing.

    Returns:
        The clips.

    Raises:
        ValueError: no such data.
        ImportError: landmarks are needed and dlib is not installed.
    """
    if also is not None:
        from .zoo.data.talking import beside

        def load(one: str) -> "Clips":
            return load_clips(
                *(one, count, seed, workers),
                engine=engine,
                per_person=per_person,
                cache=cache,
                limit=limit,
            )

        first = load(data)
        photos = _photos(Path(also))
        return beside(first, _moved(photos, first, count, seed) if photos else load(also))
    with progress(False) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total)

        if data == PROCEDURAL:
            from .zoo.procedural_talking import make_clips

            clips = make_clips(
                count,
                seed=seed,
                engine=engine,
                per_person=per_person,
                workers=workers,
                report=lambda done, total: show("draw", done, total),
            )
        else:
            check_folders(Path(data))
            clips = _opened(Path(data), workers, cache, limit, show)
    held = int(clips.held_out.sum())
    console.print(f"{clips.name}: {len(clips)} clips, {held} of them held out")
    if clips.skipped:
        from .zoo.data.pictures import summary

        name = next(iter(clips.skipped))
        console.print(f"left out: {summary(clips.skipped)}; the first is {name}", markup=False)
    return clips


def _photos(folder: Path) -> list[Path]:
    """The pictures in a folder, at any depth; none where it holds videos, or is not there.

    The tenth that `datasets.tenth` sets aside is left out, as everywhere.
    """
    from .backend.datasets import tenth
    from .zoo.age_many import SUFFIXES

    files = sorted(folder.rglob("*"))
    if any(file.suffix.lower() in (".mp4", ".mpg") for file in files):
        return []
    return [file for file in files if file.suffix.lower() in SUFFIXES and tenth(file)]


def _moved(photos: list[Path], clips: "Clips", count: int, seed: int) -> "Clips":
    """Photos that are moved as the people of clips are, with a line about them."""
    from .zoo.ldcgan_photos import SharedFinder
    from .zoo.talking.moved import moved_photos

    with progress(False) as bar:
        task = bar.add_task("move photos", total=count, note="")
        moved = moved_photos(
            photos,
            clips,
            count,
            SharedFinder(),
            seed=seed,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(f"{moved.name}: {len(moved)} clips of {len(photos)} photos; no truth")
    return moved


def _opened(
    folder: Path,
    workers: int,
    cache: Path | None,
    limit: int | None,
    show: Callable[[str, int, int], None],
) -> "Clips":
    """Clips of a folder in the layout of LRW, WORD/train and so on, or else of GRID."""
    from .zoo.data.grid import open_grid
    from .zoo.data.lrw import open_lrw

    words = (each for each in folder.iterdir() if each.is_dir())
    if any((word / "train").is_dir() for word in words):
        return open_lrw(folder, cache=cache, workers=workers, limit=limit, report=show)
    return open_grid(folder, cache=cache, workers=workers, limit=limit, report=show)
