import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from neuralpaint.agents.methods import METHODS
from neuralpaint.agents.optimise import BACKGROUNDS, FINISHES
from neuralpaint.backend.media import write_image
from neuralpaint.cli import Background, Finish, Method, app
from neuralpaint.envs import REGISTRATIONS


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """The message of a command that must fail, with line breaks and colour removed."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "sunset.png"
    image = np.zeros((40, 60, 3), np.float32)
    image += np.linspace(0, 1, 40, dtype=np.float32)[:, None, None]
    write_image(path, image * np.array([1, 0.5, 0.2], np.float32))
    return path


@pytest.fixture
def painted(photo: Path, tmp_path: Path) -> Path:
    out = tmp_path / "out"
    options = ["--strokes", 7, "--size", 16, "--effort", 0.02, "--out", out]
    assert run("paint", photo, *options).exit_code == 0
    return out


def test_paint_prints_one_line_of_json(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--strokes", 3, "--size", 8, "--effort", 0.02, "--seed", 5, "--out", out, "--json"]
    result = run("paint", photo, *options)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    figures = json.loads(line)
    assert figures["out"] == str(out)
    assert figures["seed"] == 5
    assert figures["at"]["3"]["psnr"] > 5


@pytest.mark.parametrize("method", METHODS)
def test_paint_by_every_method(method: str, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--method", method, "--strokes", 7, "--size", 32, "--effort", 0.05, "--out", out]
    result = run("paint", photo, *options, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["method"], figures["strokes"]) == (method, 7)
    assert json.loads((out / "strokes.json").read_text())["method"] == method


def test_bad_weights_are_named_before_the_work(photo: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "out", tmp_path / "text.safetensors"
    text.write_text("no weights")
    for method in ("hybrid", "agent"):
        options = ["--method", method, "--out", out, "--weights"]
        assert "text.safetensors: not a safetensors" in failure("paint", photo, *options, text)
        assert "absent: no weights" in failure("paint", photo, *options, tmp_path / "absent")
        assert "no weights" in failure("paint", photo, *options, tmp_path)
    options = ["--method", "optimise", "--out", out, "--weights"]
    assert "'optimise' has no weights" in failure("paint", photo, *options, text)
    assert "--method" in failure("paint", photo, "--method", "fast", "--out", out)
    assert not out.exists()


@pytest.mark.parametrize("suffix", ["png", "svg", "mp4"])
def test_render_at_another_size(painted: Path, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"again.{suffix}"
    result = run("render", painted / "strokes.json", "--out", path, "--size", 32, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "out": str(path),
        "strokes": 7,
        "height": 32,
        "width": 48,
    }
    if suffix == "png":
        with Image.open(path) as image:
            assert image.size == (48, 32)
    assert path.stat().st_size > 100


def test_render_first_strokes(painted: Path, tmp_path: Path) -> None:
    source, path = painted / "strokes.json", tmp_path / "empty.png"
    assert run("render", source, "--out", path, "--strokes", 0).exit_code == 0
    with Image.open(path) as image:
        assert len(set(image.getdata())) == 1
    assert "8" in failure("render", source, "--out", path, "--strokes", 8)


def test_render_refuses_a_newer_file(painted: Path, tmp_path: Path) -> None:
    path = painted / "strokes.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    assert "upgrade" in failure("render", path, "--out", tmp_path / "a.png").lower()
    assert not (tmp_path / "a.png").exists()


def test_paint_errors_come_first_and_name_the_thing(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert "--demo" in failure("paint", "--out", out)
    assert "absent.jpg" in failure("paint", tmp_path / "absent.jpg", "--out", out)
    assert "broken.jpg" in failure("paint", broken, "--out", out)
    assert "strokes" in failure("paint", photo, "--strokes", 0, "--out", out)
    assert "size" in failure("paint", photo, "--size", 0, "--out", out)
    assert "size" in failure("paint", photo, "--size", 100_000, "--out", out)
    assert "effort" in failure("paint", photo, "--effort", 0, "--out", out)
    assert "finish" in failure("paint", photo, "--finish", "fast", "--out", out)
    assert not out.exists()
    assert "file" in failure("paint", photo, "--out", blocked / "out")


def test_envs_lists_every_registration() -> None:
    result = run("envs", "--json")
    assert json.loads(result.stdout) == {entry.id: entry.summary for entry in REGISTRATIONS}
    assert all(entry.id in run("envs").stdout for entry in REGISTRATIONS)


def test_doctor_names_devices_versions_and_weights() -> None:
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["versions"]["torch"]
    assert facts["devices"]
    assert set(facts["weights"]) == {
        "renderers/neural",
        "envs/vgg",
        "agents/attention",
        "agents/painter",
    }
    assert all(found.endswith("parameters") for found in facts["weights"].values())
    assert "torch" in run("doctor").stdout


def test_options_offer_what_the_painter_knows() -> None:
    assert get_args(Finish) == FINISHES
    assert get_args(Background) == BACKGROUNDS
    assert get_args(Method) == METHODS


def test_help_shows_every_command() -> None:
    text = run("--help").stdout
    assert all(
        command in text for command in ("paint", "render", "train", "evaluate", "envs", "doctor")
    )
