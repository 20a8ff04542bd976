"""Train the attention module alone: ``python -m neuralpaint.agents.attention_train --targets DIR``.

Agents with attention train theirs along with actor and critic. The reward "full" of an environment
needs one that is ready; this trains it by Eq 6.3 on the canvases of a painter that paints well.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

from ..backend import device as devices
from ..backend.datasets import image_files, split
from ..backend.files import MediaError, writable_folder
from ..backend.supervised import cosine
from ..backend.weights import fill
from ..envs import painting, subjects, targets
from ..renderers import get
from .agent import paint_batch
from .attention import (
    Attention,
    build_attention,
    load_attention,
    reconstruction_loss,
    save_attention,
)
from .learner import ATTENTION_RATE
from .policy import Policy, load_policy
from .replay import Replay
from .rollout import Rollout

PAINTINGS, STATES, BATCH, EVERY = 32, 2048, 32, 2
BUDGET = 200
"""Strokes of a painting. The sooner it ends, the more pictures are seen; at twice as many strokes
and half as many steps, hundreds of updates saw the same few dozen."""
HELD = 64
"""Held-out pictures that are measured, at most."""


def fit(
    attention: Attention,
    policy: Policy,
    rollout: Rollout,
    updates: int,
    seed: int,
    report: Callable[[int, float], None] = lambda update, loss: None,
    rate: float = ATTENTION_RATE,
) -> None:
    """Minimise L_rec (Eq 6.3) over the canvases of a painter.

    Args:
        attention: trained in place.
        policy: the painter's, in evaluation mode.
        rollout: its paintings; their masks are M.
        updates: of 32 states.
        seed: of replay and exploration.
        report: called after each update with its number and loss.
        rate: first learning rate of Adam, lowered along a cosine.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    generator = devices.generator(seed)
    replay = Replay(STATES, rollout.device)
    optimiser = torch.optim.Adam(attention.parameters(), rate)
    side = min(rollout.process.size)
    for update in range(updates):
        for group in optimiser.param_groups:
            group["lr"] = rate * cosine(update, updates)
        if update % EVERY == 0:
            state = rollout.state
            replay.add(state)
            step = painting.observation(state, rollout.process)["step"]
            with torch.no_grad():
                decision = policy(state.canvas, state.target, step, 0.5, generator)
            rollout.advance(policy.act(decision.strokes, side))
        state = replay.sample(BATCH, generator)
        attention.train()
        with devices.autocast(rollout.device, torch.bfloat16):
            image = attention(state.canvas).image
        loss = reconstruction_loss(image, state.canvas, state.mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} at update {update}")
        report(update + 1, value)
    attention.eval()


@torch.no_grad()
def evaluate(attention: Attention, policy: Policy, image: Tensor, mask: Tensor) -> dict[str, float]:
    """L_rec on canvases along held-out paintings.

    Args:
        attention: in evaluation mode.
        policy: the painter's.
        image: (B, 3, H, W) targets.
        mask: (B, 1, H, W) their subjects.

    Returns:
        "loss", and that of two trivial answers: "canvas", the canvas as it is, and "black".
    """
    paper = image.mean((2, 3), keepdim=True).expand_as(image).contiguous()
    sums = {"loss": 0.0, "canvas": 0.0, "black": 0.0}
    steps, bundle = 20, policy.config.bundle
    counts = [bundle * (step + 1) for step in range(steps)]
    for canvas in paint_batch(policy, image, paper, counts[-1], counts=counts).at.values():
        answers = {
            "loss": attention(canvas).image,
            "canvas": torch.nn.functional.interpolate(canvas, (attention.side,) * 2, mode="area"),
            "black": image.new_zeros(len(image), 3, attention.side, attention.side),
        }
        for name, answer in answers.items():
            sums[name] += float(reconstruction_loss(answer, canvas, mask)) / steps
    return sums


def main(arguments: list[str] | None = None) -> None:
    """Command line of the training; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m neuralpaint.agents.attention_train",
        description="Train the attention module (Eq 6.3) on canvases of the shipped painter.",
    )
    parser.add_argument("--targets", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--subject", choices=("face", "object"), default="face")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--size", choices=("small", "thesis"), default="small")
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--rate", type=float, default=ATTENTION_RATE, help="first learning rate")
    parser.add_argument("--weights", type=Path, help="begin with these; random ones by default")
    parser.add_argument("--canvas", type=int, default=64)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help='"cpu", "cuda", "cuda:1", "auto"')
    options = parser.parse_args(arguments)
    try:
        device = devices.resolve(options.device)
        writable_folder(options.out)
        seen, held = split(image_files(options.targets), options.held_out)
        policy = load_policy().to(device)
        canvas = targets.Canvas(3, options.canvas, options.canvas)
        process = painting.Config(canvas=options.canvas, background="mean", budget=BUDGET)
        source = targets.open_source(seen, canvas, options.subject)
        kept = _subjects(held[:HELD], canvas, options.subject)
        torch.manual_seed(options.seed)
        attention = build_attention(options.size).to(device)
        if options.weights is not None:
            begun = load_attention(options.weights).state_dict()
            fill(attention, begun, options.weights)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        parser.error(str(error))
    rollout = Rollout(process, get("bezier"), source, PAINTINGS, options.seed, device)
    columns = (
        TextColumn("update {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.2e}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("train", total=options.updates, loss=math.nan)
        fit(
            attention,
            policy,
            rollout,
            options.updates,
            options.seed,
            lambda update, loss: progress.update(task, completed=update, loss=loss),
            options.rate,
        )
    figures = evaluate(attention, policy, *targets.stack(kept, device))
    save_attention(attention, options.out / "attention.safetensors", options.size)
    print(json.dumps({"weights": str(options.out / "attention.safetensors"), "held_out": figures}))


def _subjects(
    files: Sequence[Path], canvas: targets.Canvas, subject: subjects.Kind
) -> list[targets.Target]:
    """The held-out pictures with a subject; the others are named in warnings."""
    kept = []
    for file in files:
        try:
            kept.append(targets.load(file, canvas, subject))
        except MediaError as error:
            warnings.warn(f"left out of the held-out pictures: {error}", stacklevel=2)
    if not kept:
        raise MediaError(f"none of {len(files)} held-out pictures has a subject; hold out more")
    return kept


if __name__ == "__main__":
    main()
