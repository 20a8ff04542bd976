import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from neuralpaint.agents.optimise import BACKGROUNDS, FINISHES
from neuralpaint.backend.media import write_image
from neuralpaint.cli import Background, Finish, app
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
    assert "parameters" in facts["weights"]["renderers/neural"]
    assert "torch" in run("doctor").stdout


def test_options_offer_what_the_painter_knows() -> None:
    assert tuple(finish.value for finish in Finish) == FINISHES
    assert tuple(background.value for background in Background) == BACKGROUNDS


def test_help_shows_every_command() -> None:
    text = run("--help").stdout
    assert all(command in text for command in ("paint", "render", "envs", "doctor"))
