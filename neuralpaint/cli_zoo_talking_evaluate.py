"""The command `neuralpaint evaluate avwnet`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .cli_shared import JsonOption, console, fail, report
from .cli_zoo_evaluate import Rows
from .cli_zoo_talking import open_talking_model
from .cli_zoo_talking_data import PROCEDURAL, load_clips
from .cli_zoo_train import progress

if TYPE_CHECKING:
    import torch

    from .zoo.avwnet_model import AvwNet
    from .zoo.data.talking import Clips
    from .zoo.metrics.talking_parts import TalkingJudges


def evaluate_avwnet(
    out: Annotated[
        Path, typer.Option(help="Folder of results.json, results.md, strip.png, sample clips.")
    ],
    weights: Annotated[
        str,
        typer.Option(
            help="Name of `zoo.list_models()`, a folder, 'org/name' on the Hub, or the "
            "best.safetensors of a training run."
        ),
    ] = "avwnet",
    data: Annotated[
        str,
        typer.Option(
            help="Folder of GRID or LRW in its official layout, or 'procedural-talking' for drawn "
            "people."
        ),
    ] = PROCEDURAL,
    reader: Annotated[
        Path | None,
        typer.Option(
            help="The judge of words: lipreader.safetensors of `train lipreader` on the same data "
            "with another --seed than the model's own. [default: words are left out]"
        ),
    ] = None,
    clips: Annotated[int, typer.Option(min=2, help="Held-out clips, at most.")] = 100,
    landmarks: Annotated[
        bool, typer.Option(help="Find landmarks in the frames with dlib, if it is installed.")
    ] = True,
    samples: Annotated[int, typer.Option(min=0, help="Clips to be looked at.")] = 3,
    engine: Annotated[
        Literal["formant", "espeak"], typer.Option(help="Voice of drawn people.")
    ] = "formant",
    cache: Annotated[
        Path | None,
        typer.Option(help="Where decoded clips are kept. [default: the user's cache]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Clips of a folder that are opened. [default: all]")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that draw, or decode and find landmarks.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of clips, controls and intervals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Measure a model that lets faces talk on held-out clips, beside controls.

    SSIM, PSNR and landmark distance, in the whole frame and in the mouth, against a face that keeps
    still and one that hears another clip; words that a lip reader reads back; jitter. Landmarks are
    predicted from the sound; lines of their own tell how it does with the true ones.
    """
    from .backend import device as devices
    from .backend.files import writable_folder
    from .zoo.metrics import evaluate_talking as measuring
    from .zoo.metrics.talking_parts import NetworkTalker, talking_trial

    try:
        writable_folder(out)
        place = devices.resolve(device)
        model = open_talking_model(weights, device)
        judges = talking_judges(reader, landmarks, place, model)
        console.print(
            f"{model.title}, {model.origin}; trained on: {model.card.learned_from}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        opened = open_clips(data, clips, seed, workers, engine, cache, limit)
        trial = talking_trial(opened, clips, seed)
        talker = NetworkTalker(dict(model.networks.items()), model.title, model.dtype)
        with progress(as_json) as bar:
            result = measuring.evaluate_avwnet(
                talker,
                trial,
                judges,
                out,
                seed=seed,
                samples=samples,
                facts={
                    "trained_on": model.card.learned_from,
                    "device": str(place),
                    "reader": reader.name if reader else None,
                },
                device=place,
                report=Rows(bar),
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; nothing is kept of what was measured")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, ImportError, FloatingPointError, OSError) as error:
        fail(str(error))
    text = f"{measuring.page(result)}\n{out}: tables, {measuring.STRIP} and sample clips"
    report(as_json, result.to_json(), text)


POPULATION = 1_000_003
"""Added to the seed of drawn people: no training met any of them, or chose weights by them."""


def open_clips(
    data: str,
    count: int,
    seed: int,
    workers: int,
    engine: Literal["formant", "espeak"],
    cache: Path | None,
    limit: int | None,
) -> "Clips":
    """The clips that `--data` names; of drawn people only some who are held out, a clip of each.

    Args:
        data: "procedural-talking" or a folder.
        count: of drawn clips.
        seed: of drawn clips.
        workers: processes that draw, or decode and find landmarks.
        engine: that speaks for drawn people.
        cache: where decoded clips are kept; None: in the user's cache.
        limit: clips of a folder, at most; None: all.

    Returns:
        The clips.

    Raises:
        ValueError: no such data.
        ImportError: a library is needed that is not installed.
    """
    if data != PROCEDURAL:
        return load_clips(data, 0, seed, workers, cache=cache, limit=limit)
    from .zoo.procedural_talking import make_clips

    with progress(True) as bar:
        rows = Rows(bar)
        return make_clips(
            count,
            seed=seed + POPULATION,
            engine=engine,
            per_person=1,
            held_out=True,
            workers=workers,
            report=lambda done, total: rows("draw", done, total),
        )


def talking_judges(
    reader: Path | None, landmarks: bool, place: "torch.device", model: "AvwNet"
) -> "TalkingJudges":
    """The judges that are at hand, with a note on each that is not.

    Args:
        reader: file of the lip reader; None leaves words out.
        landmarks: whether dlib shall look for landmarks and faces.
        place: device of the lip reader.
        model: whose own lip reader must be another one.

    Returns:
        The judges.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it holds no lip reader, or the model's own.
    """
    from .zoo.faces import EXTRA, has_dlib
    from .zoo.lipreader import load_reader
    from .zoo.metrics.talking_found import ClipFinder
    from .zoo.metrics.talking_parts import TalkingJudges
    from .zoo.metrics.talking_reading import same_network

    judge, notes = None, []
    if reader is None:
        notes.append("words read back are left out: no --reader was given")
    else:
        judge = load_reader(reader).to(place)
        if same_network(judge, model.networks["reader"]):
            raise ValueError(
                f"{reader}: this is the lip reader that the model was trained to please; judge it "
                "by another one: `train lipreader` with another --seed"
            )
    if not landmarks or not has_dlib():
        why = f"dlib is not installed: {EXTRA}" if landmarks else "they were not asked for"
        notes.append(f"landmarks found in frames, and LMD with them, are left out: {why}")
        return TalkingJudges(judge, notes=tuple(notes))
    finder = ClipFinder()
    return TalkingJudges(judge, finder.find, finder.detect, notes=tuple(notes))
