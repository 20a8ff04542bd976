"""The command `neuralpaint generate hfgan`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from .cli_shared import JsonOption, console, fail, report

if TYPE_CHECKING:
    from .zoo.hfgan_model import HfGan

generate = typer.Typer(help="Make images with a model of the zoo.", no_args_is_help=True)

MOST_NOTES = 5


@generate.command("hfgan")
def generate_hfgan(
    prompt: Annotated[
        str | None, typer.Argument(help="A sentence, as 'a red bird with a short beak'.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Text file with a sentence a line, in place of one.")
    ] = None,
    num: Annotated[
        int,
        typer.Option(
            "--num",
            "--num-images",
            help="Images of each sentence; the long form works "
            "under torchrun, which has an option --numa-binding.",
        ),
    ] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Output folder, by default called like the sentence.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same images.")] = 0,
    weights: Annotated[
        str,
        typer.Option(
            help="Name of `zoo.list_models()`, a folder, 'org/name' on the Hub, or the "
            "best.safetensors of a training run."
        ),
    ] = "hfgan",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Make images of sentences: single PNG files, a sheet of the first ones, and a manifest.

    A run that was stopped or killed goes on with the same command; nothing is made twice. Several
    processes or machines share the work: torchrun --standalone --nproc_per_node 2 -m neuralpaint
    generate hfgan --prompts prompts.txt --num-images 8 --out out/many
    """
    from .zoo.generate_many import generate_many, process, read_prompts

    if (prompt is None) == (prompts is None):
        fail("give one sentence, or --prompts with a file of them")
    rank, world = process()
    try:
        texts = [prompt] if prompt is not None else read_prompts(prompts or Path())
        model = _model(weights, device)
        folder = out or Path("out") / (prompts.stem if prompts else _slug(prompt or ""))
        if rank == 0:
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
            disable=rank > 0,
        )
        with bar:
            task = bar.add_task("generate", total=None)
            done = generate_many(
                model,
                texts,
                folder,
                num_images=num,
                seed=seed,
                rank=rank,
                world=world,
                report=lambda ready, total: bar.update(task, completed=ready, total=total),
            )
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on")
        raise typer.Exit(130) from None
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        fail(str(error))
    notes = done.notes if rank == 0 else ()
    for note in notes[:MOST_NOTES]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if len(notes) > MOST_NOTES:
        console.print(f"note: and {len(notes) - MOST_NOTES} more such notes")
    facts = {
        "out": str(folder),
        "model": model.name,
        "weights": model.fingerprint,
        "origin": model.origin,
        "trained_on": model.card.learned_from,
        "process": rank,
        "processes": world,
        "images": done.items,
        "own": done.own,
        "made": done.made,
        "complete": done.complete,
        "notes": list(done.notes),
    }
    share = "" if world == 1 else f"process {rank} of {world}: "
    report(
        as_json,
        facts,
        f"{folder}: {share}{done.made} images made, {done.own - done.made} were there",
    )


def _model(weights: str, device: str) -> "HfGan":
    from . import zoo
    from .zoo.hfgan_model import HfGan

    if weights.endswith(".safetensors"):
        return HfGan.from_run(Path(weights)).to(device)
    model = zoo.from_pretrained(weights, device=device)
    if not isinstance(model, HfGan):
        raise ValueError(f"{weights}: a model of kind {model.kind!r}, not 'hfgan'")
    return model


def _slug(prompt: str) -> str:
    """The beginning of a sentence as the name of a folder."""
    from .zoo.text import tokenize

    return "-".join(tokenize(prompt)[:8])[:60] or "hfgan"
