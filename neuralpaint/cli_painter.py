"""The commands `neuralpaint train painter` and `neuralpaint evaluate painter`."""

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from .cli_shared import JsonOption, check_folders, console, fail, report

if TYPE_CHECKING:
    from .agents.descent import Image
    from .agents.evaluate import Progress as Measured
    from .agents.methods import Painter
    from .agents.optimise import Settings
    from .renderers.drawing import Drawing

Agent = Literal["proposals", "attention", "thesis", "ltp"]
Size = Literal["small", "thesis"]
Model = Literal["bezier", "neural"]
Precision = Literal["bf16", "fp32"]
Subject = Literal["none", "face", "object"]

train = typer.Typer(help="Train a network.", no_args_is_help=True)
evaluate = typer.Typer(help="Measure a network over many pictures.", no_args_is_help=True)


@train.command("painter")
def train_painter(
    targets: Annotated[
        list[Path], typer.Option(help="Folder of pictures; give it again for more folders.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on.")],
    steps: Annotated[
        int, typer.Option(help="Environment steps, each a bundle on one canvas.")
    ] = 200_000,
    agent: Annotated[
        Agent, typer.Option(help="proposals: ours; thesis: chapter 6; ltp: Learning to Paint.")
    ] = "proposals",
    size: Annotated[Size, typer.Option(help="Of the networks.")] = "small",
    env: Annotated[str, typer.Option(help="Id of the environment.")] = "NeuralPaint-v0",
    reward: Annotated[
        str, typer.Option(help="psnr, l1, l2, full, ... [default: the agent's own]")
    ] = "",
    model: Annotated[
        Model, typer.Option(help="bezier: the exact rasteriser; neural: H_r.")
    ] = "bezier",
    critic: Annotated[
        bool | None,
        typer.Option(help="Value what comes after. [default: not for agent proposals]"),
    ] = None,
    canvas: Annotated[int, typer.Option(help="Side of the canvas in pixels.")] = 64,
    paintings: Annotated[int, typer.Option(help="Rolled out together.")] = 64,
    batch: Annotated[int, typer.Option(help="States per update.")] = 64,
    updates: Annotated[int, typer.Option(help="After each step of the paintings.")] = 4,
    proposals: Annotated[
        int, typer.Option(help="Strokes trained in each state, where the agent proposes.")
    ] = 32,
    rate: Annotated[
        float | None,
        typer.Option(help="First learning rate. [default: 0.003; 0.001 for thesis and ltp]"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Begin with these. [default: random weights]")
    ] = None,
    held_out: Annotated[
        int, typer.Option(help="Pictures of each folder that are never trained on.")
    ] = 200,
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="Of the networks.")] = "bf16",
    save_every: Annotated[int, typer.Option(help="Updates between checkpoints.")] = 500,
    evaluate_every: Annotated[int, typer.Option(help="Updates between held-out figures.")] = 500,
    as_json: JsonOption = False,
) -> None:
    """Train a painter on your pictures.

    The folder of the run holds checkpoints, painter.safetensors (the best on held-out pictures),
    samples.png, held_out.json and TensorBoard logs. A run that was stopped or killed goes on with
    the same command. Several processes: torchrun --standalone --nproc_per_node 2 -m neuralpaint
    train painter ...
    """
    from gymnasium.error import Error as EnvironmentIdError

    check_folders(*targets)
    try:
        from .agents import learner as learning
        from .agents import train as training
    except ImportError as error:
        fail(str(error))
    proposes = agent in ("proposals", "attention")
    bar = Progress(
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=as_json,
    )
    try:
        settings = training.Settings(
            steps=steps,
            env=env,
            agent=agent,
            size=size,
            reward=reward,
            canvas=canvas,
            paintings=paintings,
            batch=batch,
            updates=updates,
            held_out=held_out,
            noise=0.5 if proposes else 0.05,
            save_every=save_every,
            evaluate_every=evaluate_every,
            seed=seed,
            update=learning.UpdateConfig(
                model=model,
                rate=(3e-3 if proposes else 1e-3) if rate is None else rate,
                critic=agent != "proposals" if critic is None else critic,
                precision=precision,
                proposals=proposals,
            ),
        )
        with bar:
            task = bar.add_task("train", total=steps, text="no held-out figures yet")

            def show(progress: training.Progress) -> None:
                figures = ", ".join(f"{v:.1f} dB at {n}" for n, v in progress.figures.items())
                bar.update(task, completed=progress.steps, text=figures or "no figures yet")

            result = training.train(
                targets, out, settings, device=device, weights=weights, report=show
            )
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(130) from None
    except (EnvironmentIdError, ValueError, RuntimeError, FloatingPointError, OSError) as error:
        fail(str(error))
    figures = ", ".join(f"{v:.2f} dB after {n}" for n, v in result["held_out"].items())
    report(as_json, result, f"{result['weights']}: {figures} strokes on held-out pictures")


@evaluate.command("painter")
def evaluate_painter(
    pictures: Annotated[Path, typer.Argument(help="Folder of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder of tables and plots.")],
    method: Annotated[
        list[str] | None,
        typer.Option(help="hybrid, agent, optimise; several are compared. [default: hybrid]"),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of the agent. [default: the shipped ones]")
    ] = None,
    held_out: Annotated[
        int, typer.Option(min=0, help="Only the pictures that training held out; 0: all.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="At most so many pictures; 0: all.")] = 0,
    strokes: Annotated[int, typer.Option(help="Of each painting.")] = 400,
    size: Annotated[int, typer.Option(help="Shorter side of the canvas in pixels.")] = 128,
    effort: Annotated[float, typer.Option(help="As of `paint`.")] = 1.0,
    subject: Annotated[
        Subject, typer.Option(help="What the pictures show: masks, and faces are looked for.")
    ] = "none",
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Paint a folder of pictures and measure: PSNR, SSIM, L2, faces found, thickness, seconds.

    Figures by number of strokes, of the whole, the subject and the background, with 95 %
    intervals, as CSV, JSON and plots. A run that was stopped goes on with the same command.
    """
    from .agents import evaluate as measuring
    from .agents import optimise, plots
    from .agents.detect import load_detector
    from .agents.methods import load_painter
    from .backend.datasets import image_files, split
    from .backend.files import writable_folder

    names = list(dict.fromkeys(method or ["hybrid"]))
    check_folders(pictures)
    try:
        files = image_files(pictures)
        if held_out:
            files = split(files, held_out)[1]
        if limit:
            files = files[:: max(1, len(files) // limit)][:limit]
        settings = optimise.Settings(strokes=strokes, effort=effort, seed=seed)
        # Beside an agent, the search without one is compared to it: the weights are not for it.
        own = [None if name == "optimise" and len(names) > 1 else weights for name in names]
        painters = {name: load_painter(name, w) for name, w in zip(names, own, strict=True)}
        titles = [_title(name, effort, w) for name, w in zip(names, own, strict=True)]
        detector = load_detector() if subject == "face" else None
        writable_folder(out)
        optimise.prepare()
        summaries = []
        with Progress(console=console, transient=as_json) as bar:
            for (name, painter), title in zip(painters.items(), titles, strict=True):
                task = bar.add_task(name, total=len(files))
                summaries.append(
                    measuring.evaluate(
                        partial(_paint, painter, settings),
                        files,
                        out / name,
                        name=title,
                        size=size,
                        strokes=strokes,
                        masks=MASKS[subject],
                        detector=detector,
                        seed=seed,
                        report=partial(_show, bar, task),
                    )
                )
        text = measuring.compare(summaries, out) if len(names) > 1 else plots.table(summaries)
    except (ValueError, ImportError, OSError) as error:
        fail(str(error))
    report(
        as_json,
        {s.configuration.method: s.to_json() for s in summaries},
        f"{text}\n{out}: tables and plots",
    )


def _title(name: str, effort: float, weights: Path | None) -> str:
    """Method with all that decides its figures: other weights may not go on with an evaluation."""
    title = name if name == "agent" else f"{name} effort {effort:g}"
    if weights is None:
        return title
    return f"{title} weights {hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}"


def _paint(
    painter: "Painter",
    settings: "Settings",
    photo: "Image",
    height: int,
    width: int,
    strokes: int,
    seed: int,
) -> "Drawing":
    return painter(photo, height, width, replace(settings, strokes=strokes, seed=seed), _silent)


def _silent(progress: object) -> None:
    """Report nothing."""


def _show(bar: Progress, task: TaskID, progress: "Measured") -> None:
    bar.update(task, completed=progress.done)


def face_masks(path: Path, image: "Image") -> "Image":
    """Masks of faces, cut once and kept on disk."""
    from .envs.subjects import cached_mask

    return cached_mask(path, "face", image=image)


def object_masks(path: Path, image: "Image") -> "Image":
    """Masks of whatever stands in the middle, cut once and kept on disk."""
    from .envs.subjects import cached_mask

    return cached_mask(path, "object", image=image)


MASKS = {"none": None, "face": face_masks, "object": object_masks}
