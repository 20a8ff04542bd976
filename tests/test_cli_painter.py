"""The commands that train and evaluate painters, at tiny size."""

import csv
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from neuralpaint.agents import policy, train
from neuralpaint.agents.methods import METHODS
from neuralpaint.agents.policy import Policy, PolicyConfig, Widths, load_policy, save_policy
from neuralpaint.backend.media import write_image
from neuralpaint.cli import app
from neuralpaint.cli_painter import MASKS, Agent, Size, Subject, evaluate_painter, train_painter
from neuralpaint.cli_shared import check_folders, fail, report
from neuralpaint.envs.procedural import picture
from neuralpaint.envs.subjects import Kind


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """The message of a command that must fail, with line breaks and colour removed."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(5):
        image = picture(np.random.default_rng(number), 32, 32)
        write_image(folder / f"{number}.png", image)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_policy(Policy(PolicyConfig(agent="ltp", canvas=32)), tmp_path / "own.safetensors")
    return tmp_path / "own.safetensors"


def training(photos: Path, out: Path, *more: object) -> list[object]:
    options = f"--targets {photos} --out {out} --steps 8 --canvas 32 --paintings 2 --batch 2"
    options += " --updates 1 --held-out 2 --device cpu --precision fp32 --proposals 4"
    return ["train", "painter", *options.split(), *more]


def evaluating(photos: Path, out: Path, *more: object) -> list[object]:
    options = f"{photos} --out {out} --strokes 6 --size 16 --effort 0.01 --limit 2"
    return ["evaluate", "painter", *options.split(), *more]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.SIZES, "small", Widths(proposals=8, resnet=4, view=32))
    monkeypatch.setattr(train, "COUNTS", (5, 10))


# ---- train ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_train_writes_a_painter_that_paints(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run(*training(photos, out, "--json"))
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    facts = json.loads(line)
    assert facts["steps"] == 8
    assert set(facts["held_out"]) == {"5", "10"}
    assert load_policy(Path(facts["weights"])).config.agent == "proposals"
    assert (out / "samples.png").exists()

    again = run(*training(photos, out))
    assert again.exit_code == 0, again.output
    assert "dB after 5" in again.stdout

    options = ["--method", "agent", "--weights", facts["weights"], "--strokes", 7, "--size", 16]
    painted = run("paint", photos / "0.png", *options, "--out", tmp_path / "a", "--json")
    assert painted.exit_code == 0, painted.output
    assert json.loads(painted.stdout)["strokes"] == 7


@pytest.mark.usefixtures("tiny")
def test_a_run_with_other_settings_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run(*training(photos, out)).exit_code == 0
    weights = (out / "painter.safetensors").read_bytes()
    assert "batch" in failure(*training(photos, out, "--batch", 3))
    assert "agent" in failure(*training(photos, out, "--agent", "ltp"))
    assert (out / "painter.safetensors").read_bytes() == weights


def test_train_names_what_is_wrong(photos: Path, tmp_path: Path) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "file").write_text("in the way")
    assert "absent: no such folder" in failure(*training(tmp_path / "absent", out))
    assert not out.exists()
    assert "empty: no files" in failure(*training(empty, out))
    assert "lower held_out" in failure(*training(photos, out, "--held-out", 5))
    assert "steps" in failure(*training(photos, out, "--steps", 0))
    assert "rate must be positive" in failure(*training(photos, out, "--rate", 0))
    assert "proposals must be" in failure(*training(photos, out, "--proposals", 0))
    assert "Nope" in failure(*training(photos, out, "--env", "Nope-v0"))
    assert "beauty" in failure(*training(photos, out, "--reward", "beauty"))
    assert "tpu" in failure(*training(photos, out, "--device", "tpu"))
    assert "--agent" in failure(*training(photos, out, "--agent", "dqn"))
    assert "file" in failure(*training(photos, tmp_path / "file" / "run"))


def test_defaults_hang_on_the_agent(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[train.Settings] = []

    def remember(targets: list[Path], out: Path, settings: train.Settings, **_: Any) -> Any:
        seen.append(settings)
        return {"weights": "w", "held_out": {}}

    monkeypatch.setattr(train, "train", remember)
    for more in (
        [],
        ["--agent", "attention"],
        ["--agent", "thesis", "--size", "thesis"],
        ["--agent", "ltp", "--no-critic", "--rate", 0.5],
    ):
        assert run(*training(photos, tmp_path, *more)).exit_code == 0
    assert [(s.update.rate, s.update.critic, s.noise) for s in seen] == [
        (3e-3, False, 0.5),
        (3e-3, True, 0.5),
        (1e-3, True, 0.05),
        (0.5, False, 0.05),
    ]
    assert [(s.agent, s.size) for s in seen[:3]] == [
        ("proposals", "small"),
        ("attention", "small"),
        ("thesis", "thesis"),
    ]


def test_an_interrupted_run_says_how_to_go_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupted)
    result = run(*training(photos, tmp_path))
    assert result.exit_code == 130
    assert "the same command goes on" in " ".join(result.stderr.split())


# ---- evaluate ------------------------------------------------------------------------------------


def test_evaluate_compares_methods(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    chosen = [part for method in METHODS for part in ("--method", method)]
    result = run(*evaluating(photos, out, *chosen, "--json"))
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert list(facts) == ["hybrid effort 0.01", "agent", "optimise effort 0.01"]
    assert {path.name for path in out.iterdir()} >= {*METHODS, "comparison.md", "psnr.png"}
    with (out / "agent" / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["picture"], row["strokes"]) for row in rows] == [("0.png", "6"), ("2.png", "6")]


def test_evaluate_one_method_prints_its_table(photos: Path, tmp_path: Path) -> None:
    result = run(*evaluating(photos, tmp_path / "out", "--method", "agent", "--method", "agent"))
    assert result.exit_code == 0, result.output
    assert "psnr" in result.stdout.lower()
    assert not (tmp_path / "out" / "comparison.md").exists()


def test_held_out_pictures_are_those_of_the_training(photos: Path, tmp_path: Path) -> None:
    from neuralpaint.backend.datasets import image_files, split

    options = ["--method", "agent", "--held-out", 2, "--json"]
    result = run(*evaluating(photos, tmp_path / "out", *options))
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "agent" / "per_image.csv").open() as file:
        painted = [row["picture"] for row in csv.DictReader(file)]
    assert painted == [path.name for path in split(image_files(photos), 2)[1]]


def test_other_weights_do_not_go_on_with_an_evaluation(
    photos: Path, tmp_path: Path, weights: Path
) -> None:
    options = ["--method", "agent", "--weights", weights]
    assert run(*evaluating(photos, tmp_path / "out", *options)).exit_code == 0
    assert run(*evaluating(photos, tmp_path / "out", *options)).exit_code == 0
    torch.manual_seed(1)
    save_policy(Policy(PolicyConfig(agent="ltp", canvas=32)), weights)
    assert "method is 'agent weights" in failure(*evaluating(photos, tmp_path / "out", *options))


def test_own_weights_beside_the_search_without_any(
    photos: Path, tmp_path: Path, weights: Path
) -> None:
    options = ["--method", "agent", "--method", "optimise", "--weights", weights, "--json"]
    result = run(*evaluating(photos, tmp_path / "out", *options))
    assert result.exit_code == 0, result.output
    own, search = json.loads(result.stdout)
    assert re.fullmatch("agent weights [0-9a-f]{8}", own)
    assert search == "optimise effort 0.01"


def test_evaluate_names_what_is_wrong(photos: Path, tmp_path: Path, weights: Path) -> None:
    out, empty, text = tmp_path / "out", tmp_path / "empty", tmp_path / "text"
    empty.mkdir()
    text.mkdir()
    (text / "notes.txt").write_text("no picture")
    assert "absent: no such folder" in failure(*evaluating(tmp_path / "absent", out))
    assert "empty: no files" in failure(*evaluating(empty, out))
    assert "'fast' is unknown; known: hybrid" in failure(*evaluating(photos, out, "--method=fast"))
    assert "cannot hold out 9 of 5" in failure(*evaluating(photos, out, "--held-out", 9))
    assert "--held-out" in failure(*evaluating(photos, out, "--held-out", -1))
    assert "--limit" in failure(*evaluating(photos, out, "--limit", -1))
    assert "strokes" in failure(*evaluating(photos, out, "--strokes", 0))
    assert "effort" in failure(*evaluating(photos, out, "--effort", 0))
    assert "nope: no weights" in failure(*evaluating(photos, out, "--weights", tmp_path / "nope"))
    assert "notes.txt: not a safetensors" in failure(
        *evaluating(photos, out, "--weights", text / "notes.txt")
    )
    assert "has no weights" in failure(
        *evaluating(photos, out, "--method", "optimise", "--weights", weights)
    )
    assert not out.exists()
    assert "notes.txt" in failure(*evaluating(text, out, "--method", "agent"))
    assert "size must be" in failure(*evaluating(photos, out, "--size", 0))
    assert "notes.txt" in failure(*evaluating(photos, text / "notes.txt" / "out"))


def test_other_settings_do_not_go_on_with_an_evaluation(photos: Path, tmp_path: Path) -> None:
    options = ["--method", "agent"]
    assert run(*evaluating(photos, tmp_path, *options)).exit_code == 0
    assert "seed" in failure(*evaluating(photos, tmp_path, *options, "--seed", 1))
    assert "size" in failure(*evaluating(photos, tmp_path, *options, "--size", 17))


def test_masks_by_subject(monkeypatch: pytest.MonkeyPatch) -> None:
    from neuralpaint.envs import subjects

    asked: list[tuple[Path, str]] = []

    def cached(path: Path, kind: Kind, image: Any) -> Any:
        asked.append((path, kind))
        return image[:, :, 0]

    monkeypatch.setattr(subjects, "cached_mask", cached)
    image = np.zeros((2, 3, 3), np.float32)
    assert MASKS["none"] is None
    for kind in get_args(Kind):
        cut = MASKS[kind]
        assert cut is not None
        assert cut(Path(kind), image).shape == (2, 3)
    assert asked == [(Path(kind), kind) for kind in get_args(Kind)]


# ---- what the commands say -----------------------------------------------------------------------


def test_options_offer_what_is_known() -> None:
    assert get_args(Agent) == tuple(policy.AGENTS)
    assert get_args(Size) == tuple(policy.SIZES)
    assert set(get_args(Subject)) == {"none", *get_args(Kind)}


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_help_names_every_option(command: str) -> None:
    assert "painter" in run(command, "--help").stdout
    result = CliRunner().invoke(app, [command, "painter", "--help"], env={"COLUMNS": "200"})
    text = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
    functions: dict[str, Callable[..., None]] = {
        "train": train_painter,
        "evaluate": evaluate_painter,
    }
    arguments = {"pictures"}  # that are no options
    for name in inspect.signature(functions[command]).parameters.keys() - arguments - {"as_json"}:
        assert f"--{name.replace('_', '-')}" in text
    assert "--json" in text
    assert re.search(r"goes on with\s+the same command", text)


def test_shared_output(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report(True, {"a": 1}, "text")
    report(False, {"a": 1}, "text")
    assert capsys.readouterr().out == '{"a": 1}\ntext\n'
    with pytest.raises(typer.Exit) as stopped:
        fail("[bold]odd name: wrong")
    assert stopped.value.exit_code == 2
    check_folders(tmp_path)
    with pytest.raises(typer.Exit):
        check_folders(tmp_path, tmp_path / "absent")
