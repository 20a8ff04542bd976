"""The command `neuralpaint`: paint, render, generate, train, evaluate, envs, doctor."""

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .cli_painter import evaluate, train
from .cli_shared import JsonOption, console, fail, report
from .cli_zoo import generate
from .cli_zoo_evaluate import evaluate_hfgan
from .cli_zoo_faces import generate_ldcgan
from .cli_zoo_faces_evaluate import evaluate_ldcgan
from .cli_zoo_faces_train import train_age_classifier, train_age_landmarks, train_ldcgan
from .cli_zoo_talking import generate_avwnet
from .cli_zoo_talking_evaluate import evaluate_avwnet
from .cli_zoo_talking_train import train_avwnet, train_lipreader, train_talking_landmarks
from .cli_zoo_train import train_damsm, train_hfgan

app = typer.Typer(
    help="Paint real photos with Bézier strokes; make images with conditional GANs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train.command("damsm")(train_damsm)
train.command("hfgan")(train_hfgan)
train.command("age-classifier")(train_age_classifier)
train.command("age-landmarks")(train_age_landmarks)
train.command("ldcgan")(train_ldcgan)
train.command("lipreader")(train_lipreader)
train.command("talking-landmarks")(train_talking_landmarks)
train.command("avwnet")(train_avwnet)
evaluate.command("hfgan")(evaluate_hfgan)
evaluate.command("ldcgan")(evaluate_ldcgan)
evaluate.command("avwnet")(evaluate_avwnet)
generate.command("ldcgan")(generate_ldcgan)
generate.command("avwnet")(generate_avwnet)
app.add_typer(generate, name="generate")
app.add_typer(train, name="train")
app.add_typer(evaluate, name="evaluate")


Finish = Literal["process", "picture"]
Background = Literal["black", "white", "mean"]
Method = Literal["hybrid", "agent", "optimise"]


@app.command()
def paint(
    photo: Annotated[
        Path | None, typer.Argument(help="The photo to paint: JPEG, PNG, WebP, TIFF, ...")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Paint the portrait that ships with scikit-image.")
    ] = False,
    method: Annotated[
        Method,
        typer.Option(
            help="hybrid: the agent proposes, the gradient refines; agent: the trained agent "
            "alone, in seconds; optimise: search without any training."
        ),
    ] = "hybrid",
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the agent. [default: the shipped ones]")
    ] = None,
    strokes: Annotated[int, typer.Option(help="Exact number of strokes.")] = 400,
    size: Annotated[int, typer.Option(help="Shorter side of the canvas in pixels.")] = 128,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. [default: out/NAME OF THE PHOTO]")
    ] = None,
    finish: Annotated[
        Finish,
        typer.Option(help="process: good at every moment; picture: only the end counts."),
    ] = "process",
    background: Annotated[Background, typer.Option(help="The empty canvas.")] = "mean",
    effort: Annotated[
        float, typer.Option(help="Multiplies the work: 0.1 for a sketch, 3 for patience.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="The same seed paints the same picture.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Paint a photo: picture, video, vector strokes and figures into one folder.

    Ctrl-C ends the painting early and keeps what was painted.
    """
    from .agents import optimise
    from .agents.methods import load_painter
    from .agents.paint import canvas_size, paint_photo
    from .backend.files import writable_folder
    from .backend.media import read_image

    if (photo is None) != demo:
        fail("give one photo to paint, or --demo")
    try:
        settings = optimise.Settings(
            strokes=strokes,
            finish=finish,
            seed=seed,
            background=background,
            effort=effort,
        )
        image = _demo_photo() if photo is None else read_image(photo)
        height, width = canvas_size(image, size)
        name = "demo" if photo is None else photo.stem
        painter = load_painter(method, weights)
        folder = writable_folder(out or Path("out") / name)
    except (ValueError, OSError) as error:
        fail(str(error))
    console.print(
        f"{'the demo portrait' if photo is None else photo.name}: {strokes} strokes on a canvas "
        f"of {width} x {height} pixels, method {method}, finish {settings.finish}"
    )
    if method != "agent" and min(height, width) > optimise.WORKING_SIDE:
        console.print(
            f"note: strokes are worked out on a canvas of {optimise.WORKING_SIDE} pixels and "
            f"then painted at {size}"
        )
    with console.status("preparing the kernels: half a minute on the first use, then a second"):
        optimise.prepare()
    bar = Progress(
        TextColumn("{task.fields[stage]:>7}"),
        BarColumn(),
        TextColumn("{task.fields[done]} strokes, {task.fields[psnr]:.2f} dB"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=as_json,
    )
    with bar:
        task = bar.add_task("paint", total=1.0, stage="grow", done=0, psnr=math.nan)

        def show(progress: optimise.Progress) -> None:
            bar.update(
                task,
                completed=progress.share,
                stage=progress.stage,
                done=progress.strokes,
                psnr=progress.psnr,
            )

        try:
            figures = paint_photo(
                image,
                folder,
                size=size,
                settings=settings,
                painter=painter,
                source="astronaut.png" if photo is None else photo.name,
                report=show,
            )
        except (ValueError, OSError) as error:
            bar.stop()
            fail(str(error))
    if figures["interrupted"]:
        console.print(f"stopped early: kept the {figures['strokes']} strokes painted so far")
    report(as_json, {"out": str(folder), **figures}, f"{folder}: {_summary(figures)}")


@app.command()
def render(
    strokes_json: Annotated[Path, typer.Argument(help="A strokes.json that `paint` wrote.")],
    out: Annotated[Path, typer.Option(help="File to write: .png, .svg or .mp4.")],
    size: Annotated[
        int | None, typer.Option(min=1, help="Shorter side in pixels. [default: as painted]")
    ] = None,
    strokes: Annotated[
        int | None, typer.Option(min=0, help="Only the first N strokes. [default: all]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Paint a strokes.json again, as picture, vector graphic or video, at any size."""
    from .agents import paint as painting
    from .backend.files import writable_folder
    from .renderers.drawing import Drawing

    try:
        drawing = Drawing.load(strokes_json)
        if strokes is not None:
            drawing = drawing.first(strokes)
        height, width = painting.drawing_size(drawing, size)
        writable_folder(out.parent)
        painting.render(drawing, out, height, width)
    except (ValueError, OSError) as error:
        fail(str(error))
    facts = {"out": str(out), "strokes": len(drawing), "height": height, "width": width}
    report(as_json, facts, f"{out}: {len(drawing)} strokes at {width} x {height}")


@app.command()
def envs(as_json: JsonOption = False) -> None:
    """List the Gymnasium environments."""
    from .envs import REGISTRATIONS

    if as_json:
        print(json.dumps({entry.id: entry.summary for entry in REGISTRATIONS}))
        return
    table = Table("id", "what it is", box=None, pad_edge=False)
    for entry in REGISTRATIONS:
        table.add_row(entry.id, entry.summary)
    Console().print(table)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Show devices, versions and the weights that are found."""
    from .agents.attention import load_attention
    from .agents.paint import versions
    from .agents.policy import load_policy
    from .backend import device
    from .envs.features import load_vgg
    from .renderers.neural import load_weights

    found = {}
    for name, load in (
        ("renderers/neural", load_weights),
        ("envs/vgg", load_vgg),
        ("agents/attention", load_attention),
        ("agents/painter", load_policy),
    ):
        try:
            network = load()
            found[name] = f"{sum(p.numel() for p in network.parameters())} parameters"
        except (FileNotFoundError, ValueError) as error:
            found[name] = f"not usable: {error}"
    facts: dict[str, Any] = {**device.describe(), "versions": versions(), "weights": found}
    if as_json:
        print(json.dumps(facts))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in _flatten(facts):
        table.add_row(key, str(value))
    Console().print(table)


def _flatten(facts: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in facts.items():
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            rows += _flatten(value, f"{prefix}{key} ")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows


def _demo_photo() -> Any:
    from skimage import data

    from .backend.media import as_image

    return as_image(data.astronaut())


def _summary(figures: dict[str, Any]) -> str:
    parts = [f"{at['psnr']:.1f} dB after {count}" for count, at in figures["at"].items()]
    return f"{', '.join(parts)} strokes; {figures['seconds']:.0f} s"
