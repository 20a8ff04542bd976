"""Training of H_r: it learns, it resumes bit for bit, it refuses what does not fit."""

import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.backend.checkpoints import Checkpoint, Checkpoints
from neuralpaint.renderers import bezier, train
from neuralpaint.renderers.neural import CELL, NeuralRenderer, load_weights
from neuralpaint.renderers.stroke import random_strokes
from neuralpaint.renderers.train import Settings, batch_of, evaluate, fit, main

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
TINY = Settings(strokes=96, batch=8, size=16)  # 12 steps


def newest(folder: Path) -> Checkpoint:
    saved = Checkpoints(folder).newest()
    assert saved is not None
    return saved


class StoppedError(Exception):
    """As good as a kill: the run ends between two checkpoints."""


class Table(nn.Module):
    """The least that can be trained: one alpha for the whole canvas, from the stroke."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(13, 1)

    def forward(self, strokes: Tensor, height: int, width: int) -> Tensor:
        alpha: Tensor = self.linear(strokes)
        return alpha[:, :, None].expand(-1, height, width)


def network(width: int = 8) -> NeuralRenderer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return NeuralRenderer(width)


def same(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


# --- learning ---


def test_training_lowers_the_error(tmp_path: Path) -> None:
    learner, losses = network(64), list[float]()
    before = evaluate(learner, count=64, size=32)
    settings = Settings(strokes=16 * 250, batch=16, size=32, rate=3e-3)
    fit(learner, settings, tmp_path, device=CPU, report=lambda _, loss: losses.append(loss))
    after = evaluate(learner, count=64, size=32)
    assert len(losses) == 250
    assert sum(losses[-50:]) < 0.7 * sum(losses[:50])
    assert after["all"] < 0.9 * before["all"]
    truth = bezier.alpha(random_strokes(64, torch.Generator().manual_seed(1)), 32, 32)
    nothing, mean = truth.mean().item(), (truth - truth.mean(0)).abs().mean().item()
    assert after["all"] < 0.05 * min(nothing, mean)
    assert not learner.training


def test_any_network_can_be_trained(tmp_path: Path) -> None:
    """One alpha per stroke starts at random and ends better than the mean of all strokes."""
    learner, losses = Table(), list[float]()
    settings = Settings(strokes=32 * 200, batch=32, size=16, rate=3e-2, thickness="uniform")
    fit(learner, settings, tmp_path, device=CPU, report=lambda _, loss: losses.append(loss))
    strokes = random_strokes(256, torch.Generator().manual_seed(9))
    truth = bezier.alpha(strokes, 16, 16)
    trivial = (truth - truth.mean()).square().mean().item()
    assert (learner(strokes, 16, 16) - truth).square().mean().item() < 0.97 * trivial
    assert sum(losses[-50:]) < sum(losses[:50])


# --- strokes ---


def test_every_step_has_strokes_of_its_own_that_repeat() -> None:
    first, again = batch_of(TINY, 0), batch_of(TINY, 0)
    assert torch.equal(first, again)
    assert first.shape == (8, 13)
    assert not torch.equal(first, batch_of(TINY, 1))
    assert not torch.equal(first, batch_of(Settings(batch=8, seed=1), 0))
    # Seeds that follow each other do not share their strokes.
    assert not torch.equal(batch_of(TINY, 1), batch_of(Settings(batch=8, seed=1), 0))


def test_the_kind_of_thickness_is_obeyed() -> None:
    uniform = batch_of(Settings(batch=4000, thickness="uniform"), 0)
    mixed = batch_of(Settings(batch=4000, thickness="mixed"), 0)
    thin = [
        (strokes[:, [6, 8]] < 1 / 7).all(1).float().mean().item() for strokes in (uniform, mixed)
    ]
    assert thin[0] < 0.04
    assert thin[1] > 0.1


def test_steps_spend_all_strokes() -> None:
    assert Settings(strokes=64, batch=64).steps == 1
    assert Settings(strokes=65, batch=64).steps == 2
    assert Settings().steps == 8000


# --- stopping and resuming ---


@pytest.mark.parametrize("stop", [5, 8, 11])
def test_a_killed_and_resumed_run_is_an_uninterrupted_one(tmp_path: Path, stop: int) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, seen = network(), dict[int, float]()
    fit(whole, TINY, tmp_path / "whole", device=CPU, save_every=4, report=seen.__setitem__)

    def kill(step: int, loss: float) -> None:
        if step == stop:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(network(), TINY, tmp_path / "parts", device=CPU, save_every=4, report=kill)
    resumed, seen_again = NeuralRenderer(8), dict[int, float]()  # any other start
    fit(resumed, TINY, tmp_path / "parts", device=CPU, save_every=4, report=seen_again.__setitem__)
    first = {5: 5, 8: 5, 11: 9}[stop]  # step 8 was reported, and the run killed, before it was kept
    assert seen_again == {step: loss for step, loss in seen.items() if step >= first}
    assert same(resumed, whole)
    files = [newest(tmp_path / name).tensors for name in ("whole", "parts")]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    learner = network()
    fit(learner, TINY, tmp_path, device=CPU)
    steps: list[int] = []
    again = NeuralRenderer(8)
    fit(again, TINY, tmp_path, device=CPU, report=lambda step, _: steps.append(step))
    assert steps == []
    assert same(again, learner)
    assert not again.training


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (Settings(strokes=104, batch=8, size=16), "strokes=96, now 104"),
        (Settings(strokes=96, batch=4, size=16), "batch=8, now 4"),
        (Settings(strokes=96, batch=8, size=32), "size=16, now 32"),
        (Settings(strokes=96, batch=8, size=16, rate=2e-3), "rate=0.001, now 0.002"),
        (Settings(strokes=96, batch=8, size=16, seed=1), "seed=0, now 1"),
        (Settings(strokes=96, batch=8, size=16, thickness="uniform"), "thickness='mixed', now"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    tmp_path: Path, other: Settings, field: str
) -> None:
    fit(network(), TINY, tmp_path, device=CPU)
    content = Checkpoints(tmp_path).paths()[0].read_bytes()
    learner = network()
    with pytest.raises(ValueError, match=f"was begun with {field}.*another folder"):
        fit(learner, other, tmp_path, device=CPU)
    assert Checkpoints(tmp_path).paths()[0].read_bytes() == content
    assert same(learner, network())


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    fit(network(), TINY, tmp_path, device=CPU)
    for other in (network(9), Table()):
        with pytest.raises(ValueError, match="is of another network"):
            fit(other, TINY, tmp_path, device=CPU)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-0-000000004.safetensors"
    path.write_bytes(b"not at all")
    damaged = pytest.warns(UserWarning, match="000004.safetensors: damaged checkpoint")
    with damaged, pytest.raises(ValueError, match="no checkpoint can be read"):
        fit(network(), TINY, tmp_path, device=CPU)
    Checkpoints(tmp_path).save(4, {"x": torch.zeros(1)}, {})
    with pytest.raises(ValueError, match="was begun with strokes=None"):
        fit(network(), TINY, tmp_path, device=CPU)


def test_a_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    fit(network(), TINY, tmp_path, device=CPU)
    assert list(tmp_path.iterdir()) == Checkpoints(tmp_path).paths()
    assert newest(tmp_path).step == 12
    assert Settings(**newest(tmp_path).facts) == TINY


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(tmp_path: Path) -> None:
    broken = Table()
    nn.init.constant_(broken.linear.bias, math.nan)
    with pytest.raises(FloatingPointError, match="loss is nan at step 0; lower --rate"):
        fit(broken, TINY, tmp_path, device=CPU, save_every=1)
    assert list(tmp_path.iterdir()) == []


# --- evaluation ---


class Perfect(nn.Module):
    """The exact renderer plus a constant error."""

    def __init__(self, error: float) -> None:
        super().__init__()
        self.error = nn.Parameter(torch.tensor(error))

    def forward(self, strokes: Tensor, height: int, width: int) -> Tensor:
        return bezier.alpha(strokes, height, width) + self.error


def test_evaluation_by_hand() -> None:
    errors = evaluate(Perfect(0.25), count=40, size=4 * CELL)
    assert errors["all"] == pytest.approx(0.25)
    assert errors["uniform"] == pytest.approx(0.25)
    # On 16 pixels radii end at 4.5: three bands, each relative to the mean alpha of its strokes.
    assert list(errors) == ["all", "uniform", "0-1.5 px", "1.5-3 px", "3-6 px"]
    assert errors["0-1.5 px"] > errors["1.5-3 px"] > errors["3-6 px"] > 0.25
    assert set(evaluate(Perfect(0.0), count=40, size=16).values()) == {0.0}


def test_evaluation_repeats_and_needs_no_global_generator() -> None:
    torch.manual_seed(1)
    first = evaluate(network(), count=16, size=16)
    torch.manual_seed(2)
    assert evaluate(network(), count=16, size=16) == first


# --- command line ---


@pytest.mark.parametrize(
    ("field", "value"),
    [("strokes", 0), ("batch", -1), ("size", 0), ("rate", 0.0), ("rate", math.nan)],
)
def test_settings_refuse_what_cannot_be(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be positive and finite, got {value}"):
        Settings(**{field: value})  # type: ignore[arg-type]


def test_settings_refuse_an_unknown_thickness() -> None:
    with pytest.raises(ValueError, match="thickness must be uniform or mixed, got 'thin'"):
        Settings(thickness="thin")


def test_help_explains_the_command() -> None:
    command = [sys.executable, "-m", "neuralpaint.renderers.train", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: python -m neuralpaint.renderers.train" in shown.stdout
    for option in ("--out", "--strokes", "--rate", "--thickness", "--width", "--device"):
        assert option in shown.stdout
    assert "resumes from the last checkpoint" in " ".join(shown.stdout.split())
    assert shown.stderr == ""


ARGUMENTS = [
    *("--strokes", "64", "--batch", "16", "--size", "16"),
    *("--width", "8", "--device", "cpu"),
]


def test_a_run_from_nothing_leaves_weights_that_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "evaluate", partial(evaluate, count=16, size=16))
    out = tmp_path / "new" / "run"
    with torch.random.fork_rng():
        main(["--out", str(out), *ARGUMENTS])
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed["weights"] == str(out / "neural.safetensors")
    assert [file.name for file in out.glob("neural*")] == ["neural.safetensors"]
    assert newest(out).step > 0
    loaded = load_weights(out / "neural.safetensors")
    assert loaded.width == 8
    exact = evaluate(loaded, count=16, size=16)  # of weights in half precision
    assert printed["error"] == pytest.approx(exact, rel=0.02)

    once = (out / "neural.safetensors").read_bytes()
    with torch.random.fork_rng():
        main(["--out", str(out), *ARGUMENTS])  # finished before: written again, the same
    assert (out / "neural.safetensors").read_bytes() == once


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--strokes", "0"], "strokes must be positive"),
        (["--rate", "nan"], "rate must be positive and finite"),
        (["--strokes", "many"], "invalid int value: 'many'"),
        (["--thickness", "thin"], "invalid choice: 'thin'"),
        (["--width", "0"], "width must be 1 to"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--colour", "red"], "unrecognized arguments"),
    ],
)
def test_bad_arguments_end_in_one_line_and_leave_nothing(
    tmp_path: Path, bad: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng(), pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path / "run"), *ARGUMENTS, *bad])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_found_before_the_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(train, "fit", lambda *_, **__: pytest.fail("the work has started"))
    with torch.random.fork_rng(), pytest.raises(SystemExit):
        main(["--out", str(tmp_path / "file"), *ARGUMENTS])
    assert "cannot write to this output folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(ARGUMENTS)
    assert "--out" in capsys.readouterr().err
