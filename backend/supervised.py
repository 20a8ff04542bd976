"""The training loop of networks that learn from pairs: resumable, and the same on every run.

The loss of a step must depend on the step alone, as that of a batch drawn by a generator seeded
with (seed, step): then a run that was stopped and resumed is an uninterrupted one.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import Checkpoints, pack, same_settings, unpack

Report = Callable[[int, float], None]
"""Called after each step with its number, from 1, and its loss."""


def cosine(step: int, steps: int) -> float:
    """Share of the learning rate at a step, from 1 down to a hundredth along a cosine."""
    return 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2


def fit(
    network: nn.Module,
    loss_at: Callable[[int], Tensor],
    steps: int,
    rate_at: Callable[[int], float],
    out: Path,
    settings: Mapping[str, Any],
    *,
    begin: Callable[[], None] = lambda: None,
    save_every: int = 500,
    report: Report = lambda step, loss: None,
) -> None:
    """Minimise a loss with Adam, from the last checkpoint on if there is one.

    Args:
        network: trained in place, on its device.
        loss_at: loss of a step, from 0; a scalar.
        steps: of the optimiser.
        rate_at: learning rate of a step.
        out: existing folder of the checkpoints.
        settings: JSON values that a resumed run must share with the one before.
        begin: called where there is no checkpoint, to initialise the network.
        save_every: steps between checkpoints.
        report: see `Report`.

    Raises:
        ValueError: the checkpoint is of other settings (names the field) or another network, or
            every checkpoint is damaged.
        FloatingPointError: the loss is not finite; the last checkpoint stands.
        OSError: a checkpoint cannot be written; the last one stands.
    """
    network.train()
    optimiser = torch.optim.Adam(network.parameters())
    checkpoints = Checkpoints(out)
    saved, first = checkpoints.newest(), 0
    if saved is None:
        begin()
    else:
        same_settings(saved.facts, settings, out)
        unpack(saved.tensors, network, {"adam": optimiser})
        first = saved.step
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step)
        loss = loss_at(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(f"loss is {value} at step {step}; lower --rate and resume")
        report(step + 1, value)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            checkpoints.save(step + 1, pack(network, {"adam": optimiser}), settings)
    network.eval()
