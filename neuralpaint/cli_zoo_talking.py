"""The command `neuralpaint generate avwnet`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from .cli_shared import JsonOption, console, fail, report

if TYPE_CHECKING:
    from .zoo.avwnet_model import AvwNet


def generate_avwnet(
    face: Annotated[Path, typer.Option(help="Photo with a face.")],
    audio: Annotated[
        Path | None,
        typer.Option(help="Speech in any common format, or a video with sound; up to an hour."),
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Text to be spoken, in place of --audio.")
    ] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="A name, a folder, 'org/name' on the Hub, or the best.safetensors of a training."
        ),
    ] = "avwnet",
    engine: Annotated[
        Literal["auto", "espeak", "formant"],
        typer.Option(help="Who speaks --text. [auto: espeak if the audio extra is installed]"),
    ] = "auto",
    voice: Annotated[int, typer.Option(min=0, help="Seed of the voice that speaks --text.")] = 0,
    face_index: Annotated[
        int | None,
        typer.Option(
            min=0, help="Which face of the photo, from left to right from 0. [default: the largest]"
        ),
    ] = None,
    cropped: Annotated[
        bool,
        typer.Option("--cropped", help="The photo is a face, cropped as those of UTKFace are."),
    ] = False,
    words: Annotated[bool, typer.Option(help="Have the lip reader read the frames.")] = True,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("out/talk"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make a face in a photo say something: a video with sound, and a strip of its frames.

    Writes talk.mp4 and strip.png, in which the masks of both stages stand below the frames: white
    is new, black is the photo. Prints the words that the lip reader reads from the frames.
    """
    from .zoo.faces import CropFinder
    from .zoo.talk_file import talk_file
    from .zoo.talking.mfcc import FPS

    try:
        if (audio is None) == (text is None):
            raise ValueError("give --audio or --text")
        model = open_talking_model(weights, device)
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
            task = bar.add_task("frames", total=None)
            done = talk_file(
                model,
                face,
                audio,
                out,
                text=text,
                engine=engine,
                voice=voice,
                face_index=face_index,
                finder=CropFinder() if cropped else None,
                read_words=words,
                report=lambda ready, total: bar.update(task, completed=ready, total=total),
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; the files that are there are complete")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, RuntimeError, ImportError, OSError) as error:
        fail(str(error))
    for note in done.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    facts: dict[str, Any] = {
        "out": str(out),
        "model": model.name,
        "weights": model.fingerprint,
        "origin": model.origin,
        "trained_on": model.card.learned_from,
        "frames": done.frames,
        "seconds": done.frames / FPS,
        "words": [word._asdict() for word in done.words],
        "files": [file.name for file in done.files],
        "notes": list(done.notes),
    }
    read = " ".join(word.word for word in done.words)
    told = f"; the lip reader reads: {read or 'nothing'}" if words else ""
    report(as_json, facts, f"{done.files[0]}: {done.frames / FPS:.2f} s{told}")


def open_talking_model(weights: str, device: str) -> "AvwNet":
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
    from .zoo.avwnet_model import AvwNet

    if weights.endswith(".safetensors"):
        return AvwNet.from_run(Path(weights)).to(device)
    model = zoo.from_pretrained(weights, device=device)
    if not isinstance(model, AvwNet):
        raise ValueError(f"{weights}: a model of kind {model.kind!r}, not 'avwnet'")
    return model
