"""Every example runs, at tiny size, as a user would run it."""

import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neuralpaint import zoo
from neuralpaint.agents import policy
from neuralpaint.backend import media
from neuralpaint.zoo.ldcgan import LdcGanConfig
from neuralpaint.zoo.ldcgan_model import LdcGan

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run an example in a process of its own, from the bare checkout; warnings are errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )


def test_quickstart(tmp_path: Path) -> None:
    video = tmp_path / "new" / "random.mp4"
    result = run("quickstart.py", "--size", 16, "--strokes", 12, "--out", video)
    assert "after 12 strokes:" in result.stdout
    frames, _ = media.read_video(video)
    assert frames.shape == (4, 16, 16, 3)  # the empty canvas and three steps


def run_here(monkeypatch: pytest.MonkeyPatch, script: str, *arguments: object) -> None:
    """The same in this process, which has the slow imports behind it."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")


def test_paint_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--strokes", 6, "--size", 12, "--effort", 0.02, "--out", tmp_path / "painting")
    run_here(monkeypatch, "paint_photo.py", *options)
    assert "6 strokes:" in capsys.readouterr().out
    assert (tmp_path / "painting" / "final.png").exists()


@pytest.mark.parametrize("algorithm", ["ddpg", "ppo"])
def test_train_sb3(
    algorithm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("--steps", 8, "--size", 36, "--strokes", 10, "--num-envs", 2)
    run_here(monkeypatch, "train_sb3.py", "--algorithm", algorithm, *sizes)
    random, trained = capsys.readouterr().out.splitlines()
    assert random.startswith("random: return")
    assert trained.startswith(f"{algorithm}: return")
    assert trained.endswith("dB after 10 strokes")


def test_train_sb3_refuses_a_canvas_that_its_network_cannot_see(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run_here(monkeypatch, "train_sb3.py", "--size", 16)
    assert "--size must be at least 36" in capsys.readouterr().err


@pytest.mark.parametrize("photo", [False, True])
def test_train_painter(
    photo: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(policy.SIZES, "small", policy.Widths(proposals=8, resnet=4, view=16))
    out = tmp_path / "painter"
    options = ["--steps", 42, "--size", 16, "--strokes", 7, "--paintings", 2, "--out", out]
    if photo:
        picture = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
        media.write_image(tmp_path / "photo.png", picture)
        options += ["--photo", tmp_path / "photo.png", "--targets", tmp_path / "photo.png"]
    run_here(monkeypatch, "train_painter.py", *options)
    *steps, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in steps] == ["20 steps", "40 steps"]
    assert last.startswith(f"{out / 'picture.png'}: ")
    assert last.endswith("dB after 7 strokes")
    assert media.read_image(out / "picture.png").shape == (16, 16, 3)
    assert (out / "painter.safetensors").exists()


def test_average_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = LdcGanConfig(ni=4, blocks=1, latent=4, judge=4)
    models = [LdcGan(tiny), LdcGan(tiny)]
    for number, model in enumerate(models):
        model.save_pretrained(tmp_path / str(number))
    names = (tmp_path / "0", tmp_path / "1")
    run_here(monkeypatch, "average_models.py", *names, "--share", 0.25, "--out", tmp_path / "both")
    both = zoo.from_pretrained(str(tmp_path / "both"))
    weights = (model.networks.state_dict() for model in (*models, both))
    for first, second, middle in zip(*(state.values() for state in weights), strict=True):
        wanted = first.double().lerp(second.double(), 0.25)
        torch.testing.assert_close(middle.double(), wanted, rtol=2e-3, atol=1e-4)
    LdcGan(replace(tiny, ni=8)).save_pretrained(tmp_path / "2")
    for arguments, text in (
        ((*names, "--share", 2), "--share must lie in [0, 1]"),
        ((names[0], tmp_path / "2"), "have other configurations"),
    ):
        with pytest.raises(SystemExit):
            run_here(monkeypatch, "average_models.py", *arguments, "--out", tmp_path / "no")
        assert text in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
