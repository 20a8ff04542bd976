"""The commands `neuralpaint train damsm` and `neuralpaint train hfgan`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .cli_shared import JsonOption, check_folders, console, fail, report

if TYPE_CHECKING:
    from .zoo.data.captioned import Captioned
    from .zoo.train.loop import Progress as Trained

PROCEDURAL = "procedural"
MARGIN = 76 / 64
"""Photographs are stored larger than they are trained at, for random crops (Xu et al. 2018)."""

Precision = Literal["bf16", "fp32"]
Data = Annotated[
    str,
    typer.Option(
        help="Folder of CUB-200-2011, Oxford-102 or COCO in its official layout, or "
        "'procedural' for drawn birds and flowers."
    ),
]
Out = Annotated[Path, typer.Option(help="Folder of the run; the same command goes on.")]
Count = Annotated[int, typer.Option(min=100, help="Pictures to draw, where data is procedural.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that draw them.")]
Seed = Annotated[int, typer.Option(help="Of everything.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")]
Floats = Annotated[Precision, typer.Option(help="Of the convolutions.")]
Minutes = Annotated[
    float, typer.Option(min=0, help="End with a checkpoint after so long; 0: when all is done.")
]
Captions = Annotated[
    Path | None, typer.Option(help="Folder of captions. [default: where the data set has them]")
]
Split = Annotated[
    Literal["images", "classes"], typer.Option(help="What is held out, see the data set.")
]
Describe = Annotated[
    Literal["never", "missing", "all"],
    typer.Option(help="Write captions of CUB's birds from the colours of their parts."),
]
SaveEvery = Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")]
MeasureEvery = Annotated[int, typer.Option(min=1, help="Steps between held-out figures.")]


def train_damsm(
    out: Out,
    data: Data = PROCEDURAL,
    size: Annotated[int, typer.Option(min=32, help="Side of the pictures in pixels.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser.")] = 6000,
    batch: Annotated[int, typer.Option(min=2, help="Pairs per step, over all processes.")] = 48,
    rate: Annotated[float, typer.Option(help="First learning rate of Adam.")] = 2e-3,
    image: Annotated[Literal["small", "inception"], typer.Option(help="Image encoder.")] = "small",
    inception: Annotated[
        Path | None, typer.Option(help="Weights of Inception-v3. [default: those of the Hub]")
    ] = None,
    captions: Captions = None,
    split: Split = "images",
    describe: Describe = "missing",
    count: Count = 40_000,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 1000,
    as_json: JsonOption = False,
) -> None:
    """Train the DAMSM: text and image encoders that know whether an image matches a text.

    The folder of the run holds checkpoints, damsm.safetensors (which `train hfgan` takes)
    and TensorBoard logs. Several processes: torchrun --standalone --nproc_per_node 2 -m neuralpaint
    train damsm ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo.train import damsm as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            rate=rate,
            size=size,
            image=image,
            seed=seed,
            precision=precision,
        )
        pictures = load(data, size, count, seed, workers, captions, split, describe)
        place = devices.resolve(device)
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_damsm(
                pictures,
                out,
                settings,
                device=place,
                group=group,
                inception=inception,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
    if group.leads:
        finish(as_json, result, out)


def train_hfgan(
    out: Out,
    damsm: Annotated[
        Path, typer.Option(help="The DAMSM: damsm.safetensors of `neuralpaint train damsm`.")
    ],
    data: Data = PROCEDURAL,
    weights: Annotated[
        str | None,
        typer.Option(help="Begin with this model: a name, a folder. [default: random weights]"),
    ] = None,
    discriminator: Annotated[
        Path | None, typer.Option(help="Begin with this folder 'discriminator' of another run.")
    ] = None,
    size: Annotated[Literal["64", "128", "256"], typer.Option(help="Side of the image.")] = "64",
    ng: Annotated[int, typer.Option(help="N_g of G. [default: by size]")] = 0,
    nd: Annotated[int, typer.Option(help="N_d of D. [default: by size]")] = 0,
    fusion: Annotated[
        Literal["proj", "identity"], typer.Option(help="Local feature fusion.")
    ] = "proj",
    steps: Annotated[int, typer.Option(min=1, help="Of D and G, one each in turn.")] = 20_000,
    batch: Annotated[int, typer.Option(min=2, help="Pictures per step, all processes.")] = 32,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 2e-4,
    match: Annotated[float, typer.Option(help="lambda of L_DAMSM, Eq 3.5; 0: none.")] = 5.0,
    kl: Annotated[float, typer.Option(help="Weight of the KL term; 0: none.")] = 1.0,
    conditional: Annotated[bool, typer.Option(help="The conditional losses.")] = True,
    unconditional: Annotated[bool, typer.Option(help="The unconditional losses.")] = True,
    shift: Annotated[
        float, typer.Option(help="Shifts of what D sees, a share of the side; 0: none.")
    ] = 0.0,
    penalty: Annotated[float, typer.Option(help="On D's gradient at real pictures.")] = 0.0,
    captions: Captions = None,
    split: Split = "images",
    describe: Describe = "missing",
    count: Count = 40_000,
    workers: Workers = 2,
    seed: Seed = 0,
    device: Device = "auto",
    precision: Floats = "bf16",
    minutes: Minutes = 0,
    save_every: SaveEvery = 1000,
    measure_every: MeasureEvery = 1000,
    as_json: JsonOption = False,
) -> None:
    """Train HfGAN on captioned pictures.

    The folder of the run holds checkpoints, samples.png (fixed captions and noise), figures.json,
    TensorBoard logs and model/, for `neuralpaint generate hfgan "..." --weights out/model`. A run
    that was stopped or killed goes on with the same command. Several processes: torchrun
    --standalone --nproc_per_node 2 -m neuralpaint train hfgan ...
    """
    from .backend import device as devices
    from .backend import distributed
    from .zoo import from_pretrained, hfgan
    from .zoo.damsm import load_damsm
    from .zoo.train import hfgan as training

    with told(out):
        settings = training.Settings(
            steps=steps,
            batch=batch,
            rate=rate,
            damsm=match,
            kl=kl,
            conditional=conditional,
            unconditional=unconditional,
            shift=shift,
            penalty=penalty,
            seed=seed,
            precision=precision,
        )
        encoders = load_damsm(damsm)
        side = int(size)
        widths = hfgan.SIZES[side]
        config = hfgan.HfGanConfig(
            size=side,
            ng=ng or widths[0],
            nd=nd or widths[1],
            fusion=fusion,
            dim=encoders.config.dim,
            embedding=encoders.config.embedding,
            vocabulary=encoders.config.vocabulary,
        )
        begun: hfgan.Generator | None = None
        if weights is not None:
            network = from_pretrained(weights, device="cpu").networks["generator"]
            if not isinstance(network, hfgan.Generator):
                raise ValueError(f"{weights}: not a model of text to image; name an hfgan")
            begun = network
        pictures = load(data, side, count, seed, workers, captions, split, describe)
        place = devices.resolve(device)
        group = distributed.start(place)
        with progress(as_json or not group.leads) as bar:
            result = training.train_hfgan(
                pictures,
                encoders,
                config,
                out,
                settings,
                device=place,
                group=group,
                weights=begun,
                discriminator=discriminator,
                save_every=save_every,
                measure_every=measure_every,
                until=deadline(minutes),
                report=row(bar, "train", steps),
            )
    if group.leads:
        finish(as_json, result, out)


def load(
    data: str,
    size: int,
    count: int,
    seed: int,
    workers: int,
    captions: Path | None = None,
    split: Literal["images", "classes"] = "images",
    describe: Literal["never", "missing", "all"] = "missing",
) -> "Captioned":
    """The pictures that `--data` names, with a line about what was left out.

    Args:
        data: "procedural" or a folder.
        size: side to train at.
        count: of drawn pictures.
        seed: of drawn pictures.
        workers: processes that draw.
        captions: folder of captions.
        split: what is held out.
        describe: which captions are written by a program.

    Returns:
        The pictures.

    Raises:
        ValueError: no such data.
    """
    with progress(False) as bar:
        if data == PROCEDURAL:
            from .zoo.procedural import make

            task = bar.add_task("draw", total=count, note="")
            return make(
                count,
                size,
                seed,
                workers=workers,
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )
        from .zoo.data import open_captioned
        from .zoo.data.pictures import summary

        check_folders(Path(data))
        task = bar.add_task("read", total=1, note="")
        pictures = open_captioned(
            Path(data),
            round(size * MARGIN),
            captions=captions,
            split=split,
            describing=describe,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    held = int(pictures.held_out.sum())
    console.print(f"{pictures.name}: {len(pictures)} pictures, {held} of them held out")
    if pictures.skipped:
        name = next(iter(pictures.skipped))
        console.print(f"left out: {summary(pictures.skipped)}; the first is {name}")
    return pictures


def progress(quiet: bool) -> Progress:
    """A display with time left.

    Args:
        quiet: leave nothing behind.

    Returns:
        The display.
    """
    return Progress(
        TextColumn("{task.description} {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=quiet,
    )


def row(bar: Progress, name: str, steps: int) -> "Callable[[Trained], None]":
    """A row of a display, as what the training loop reports to."""
    task = bar.add_task(name, total=steps, note="")

    def show(trained: "Trained") -> None:
        values = {**trained.losses, **trained.figures}
        note = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
        bar.update(task, completed=trained.step, note=note)

    return show


def deadline(minutes: float) -> Callable[[], bool]:
    """A question that is answered by yes after some minutes; 0 never."""
    start = time.monotonic()
    return lambda: 0 < minutes * 60 < time.monotonic() - start


@contextmanager
def told(out: Path) -> Iterator[None]:
    """Context of a training, whose errors end the command in one line and leave no process waiting.

    Args:
        out: folder of the run.
    """
    from .backend import distributed

    try:
        yield
    except typer.Exit:  # has told already; it is a RuntimeError
        raise
    except KeyboardInterrupt:
        console.print(f"{out}: stopped; the same command goes on from the last checkpoint")
        raise typer.Exit(130) from None
    except (ValueError, RuntimeError, ImportError, FloatingPointError, OSError) as error:
        fail(str(error))
    finally:
        distributed.stop()


def finish(as_json: bool, result: dict[str, Any], out: Path) -> None:
    """Say what a training reached."""
    figures = ", ".join(f"{name} {value:.3g}" for name, value in result["figures"].items())
    report(as_json, result, f"{out}: {result['steps']} steps; held out: {figures or 'nothing'}")
