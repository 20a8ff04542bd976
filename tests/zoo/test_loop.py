"""The shared training loop on a problem of one weight: files, resuming, the best, early ends."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuralpaint.backend import device as devices
from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.zoo.train.loop import BEST, FIGURES, LAST, SAMPLES, Progress, facts_of, fit


class Slope:
    """Fits y = 3 x from noisy draws."""

    def __init__(self, broken_at: int = -1) -> None:
        self.line = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.line.weight)
        self.networks = nn.ModuleDict({"line": self.line})
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "adam": torch.optim.Adam(self.line.parameters(), 0.1)
        }
        self.broken_at = broken_at
        self.steps: list[int] = []

    def step(self, step: int) -> dict[str, Tensor | float]:
        self.steps.append(step)
        x = torch.randn(8, 1, generator=devices.generator(devices.spawn(5, step)))
        loss = (self.line(x) - 3 * x).square().mean()
        self.optimisers["adam"].zero_grad()
        loss.backward()
        self.optimisers["adam"].step()
        return {"loss": math.nan if step == self.broken_at else loss.detach(), "two": 2.0}

    def measure(self) -> dict[str, float]:
        return {"error": abs(self.line.weight.item() - 3)}

    def sample(self) -> NDArray[np.uint8]:
        return np.full((4, 4, 3), 7, np.uint8)

    def save(self, path: Path) -> None:
        path.write_text(str(self.line.weight.item()))


OPTIONS: dict[str, Any] = {
    "best": ("error", -1),
    "save_every": 7,
    "measure_every": 10,
    "log_every": 5,
}


@pytest.fixture(autouse=True)
def _tensorboard_speaks_up() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        yield


def test_learns_and_writes_its_files(tmp_path: Path) -> None:
    trainer, seen = Slope(), list[Progress]()
    result = fit(trainer, 100, tmp_path, {"rate": 0.1}, report=seen.append, **OPTIONS)
    assert abs(trainer.line.weight.item() - 3) < 0.2
    assert result["steps"] == 100
    assert result["losses"]["two"] == 2
    assert [progress.step for progress in seen] == list(range(5, 101, 5))
    rows = json.loads((tmp_path / FIGURES).read_text())
    assert [row["step"] for row in rows] == list(range(10, 101, 10))
    assert result["best"] == min(row["error"] for row in rows)
    assert abs(float((tmp_path / BEST).read_text()) - 3) == result["best"]
    assert float((tmp_path / LAST).read_text()) == trainer.line.weight.item()
    assert (tmp_path / SAMPLES).read_bytes().startswith(b"\x89PNG")
    assert any((tmp_path / "tensorboard").iterdir())
    assert Checkpoints(tmp_path).newest().step == 100  # type: ignore[union-attr]


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    whole, first, second = Slope(), Slope(broken_at=25), Slope()
    fit(whole, 60, tmp_path / "whole", {}, **OPTIONS)
    with pytest.raises(FloatingPointError, match="loss is nan at step"):
        fit(first, 60, tmp_path / "cut", {}, **{**OPTIONS, "log_every": 1})
    fit(second, 60, tmp_path / "cut", {}, **OPTIONS)
    assert second.steps[0] == 21  # the last checkpoint before the fault
    assert torch.equal(whole.line.weight, second.line.weight)
    figures = [(tmp_path / name / FIGURES).read_text() for name in ("whole", "cut")]
    assert figures[0] == figures[1]


def test_a_finished_run_is_only_shown(tmp_path: Path) -> None:
    fit(Slope(), 20, tmp_path, {}, **OPTIONS)
    again = Slope()
    result = fit(again, 20, tmp_path, {}, **OPTIONS)
    assert not again.steps
    assert result["steps"] == 20
    assert result["figures"]["error"] == abs(again.line.weight.item() - 3)


def test_ends_early_when_asked_and_goes_on(tmp_path: Path) -> None:
    votes = iter([False, False, True])
    cut = Slope()
    assert fit(cut, 60, tmp_path, {}, until=lambda: next(votes), **OPTIONS)["steps"] < 60
    fit(cut_on := Slope(), 60, tmp_path, {}, **OPTIONS)
    assert cut.steps + cut_on.steps == list(range(60))


def test_other_settings_are_refused(tmp_path: Path) -> None:
    fit(Slope(), 7, tmp_path, {"rate": 0.1}, **OPTIONS)
    with pytest.raises(ValueError, match=r"rate=0\.1, now 0\.2"):
        fit(Slope(), 20, tmp_path, {"rate": 0.2}, **OPTIONS)


def test_settings_as_json() -> None:
    class Settings:
        def __init__(self) -> None:
            self.sizes = (1, 2)

    assert facts_of(Settings(), more="x") == {"sizes": [1, 2], "more": "x"}
