"""The shared training loop: where it begins, goes on and stops."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.backend import supervised
from neuralpaint.backend.checkpoints import Checkpoints


def test_the_cosine_by_hand() -> None:
    assert supervised.cosine(0, 10) == 1
    assert supervised.cosine(5, 10) == pytest.approx(0.01 + 0.99 / 2)
    assert supervised.cosine(10, 10) == pytest.approx(0.01)


def line(value: float = 0.0) -> nn.Linear:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, value)
    nn.init.zeros_(network.bias)
    return network


def run(network: nn.Linear, out: Path, steps: int, begun: list[int]) -> list[float]:
    def loss_at(step: int) -> Tensor:
        x = torch.full((1, 1), 1.0 + step % 2)
        loss: Tensor = (network(x) - 3 * x).square().mean()
        return loss

    losses: list[float] = []
    supervised.fit(
        network,
        loss_at,
        steps,
        lambda step: 0.1,
        out,
        {"name": "line"},
        begin=lambda: begun.append(1),
        save_every=5,
        report=lambda step, loss: losses.append(loss),
    )
    return losses


def test_it_learns_a_line_and_begins_once(tmp_path: Path) -> None:
    begun: list[int] = []
    network = line()
    losses = run(network, tmp_path, 60, begun)
    assert sum(losses[-10:]) < 0.05 * sum(losses[:10])
    assert begun == [1]
    assert not network.training
    assert run(line(9), tmp_path, 60, begun) == []  # finished: nothing is repeated
    assert begun == [1]


def test_a_longer_run_goes_on_where_the_shorter_one_ended(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = run(line(), tmp_path / "whole", 20, [])
    parts = run(line(), tmp_path / "parts", 12, [])
    parts += run(line(7), tmp_path / "parts", 20, [])
    assert parts == whole


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    network = line()

    def loss_at(step: int) -> Tensor:
        loss: Tensor = network.weight.sum() * (math.nan if step == 7 else 1)
        return loss

    with pytest.raises(FloatingPointError, match="loss is nan at step 7"):
        supervised.fit(network, loss_at, 9, lambda step: 0.1, tmp_path, {}, save_every=5)
    (kept,) = Checkpoints(tmp_path).paths()
    assert kept.name == "checkpoint-0-000000005.safetensors"
