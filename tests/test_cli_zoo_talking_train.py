"""The commands that train AVWnet: the whole way from drawn clips to a model; bad input."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from neuralpaint import zoo
from neuralpaint.cli_zoo_talking_data import card_of, load_clips
from neuralpaint.cli_zoo_talking_train import (
    train_avwnet,
    train_lipreader,
    train_talking_landmarks,
)
from neuralpaint.zoo.avwnet import AvwnetConfig, LipReaderConfig
from neuralpaint.zoo.data.talking import Clip, Clips, WordSpan, join

app = typer.Typer()
app.command("lipreader")(train_lipreader)
app.command("talking-landmarks")(train_talking_landmarks)
app.command("avwnet")(train_avwnet)

SMALL = ("--device", "cpu", "--precision", "fp32", "--measure-every", 2)
Draw = Callable[..., Clips]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """The message of a command that must fail, with line breaks and colour removed."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


def cards(count: int, name: str = "procedural talking faces") -> Clips:
    """Clips of 20 frames of noise that say a word; the last one is held out."""
    draws = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        made.append(
            Clip(
                name=f"clip{number}",
                frames=torch.randint(0, 256, (20, 3, 128, 128), generator=draws).to(torch.uint8),
                landmarks=0.5 + 0.1 * torch.rand(20, 136, generator=draws),
                windows=10 * torch.randn(20, 28, 12, generator=draws),
                samples=torch.zeros(12_800).numpy(),
                words=(WordSpan("sil", 0, 4), WordSpan(("bin", "lay")[number % 2], 4, 16)),
                speaker=number,
                held_out=number == count - 1,
            )
        )
    return join(name, made)


@pytest.fixture(name="drawn")
def _drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Draw cards in place of people; how they were asked for."""
    asked: list[dict[str, Any]] = []

    def make(count: int, **options: Any) -> Clips:
        asked.append({"count": count, **options})
        options["report"](count, count)
        return cards(4)

    monkeypatch.setattr("neuralpaint.zoo.procedural_talking.make_clips", make)
    return asked


def parts(folder: Path) -> tuple[object, ...]:
    """Train a lip reader and a landmark predictor; the options that name them."""
    common = ("--steps", 2, "--batch", 2, "--count", 4, *SMALL)
    result = run("lipreader", "--out", folder / "r", "--width", 2, "--hidden", 4, *common)
    assert result.exit_code == 0, result.output
    result = run(
        *("talking-landmarks", "--out", folder / "l", "--components", 2, "--hidden", 8),
        *("--frames", 8, *common),
    )
    assert result.exit_code == 0, result.output
    return (
        *("--reader", folder / "r/lipreader.safetensors"),
        *("--landmarks", folder / "l/talking-landmarks.safetensors"),
    )


def avwnet(out: Path, *more: object) -> tuple[object, ...]:
    tiny = ("--size", "small", "--ni", 4, "--nd", 2, "--audio", 2, "--frames", 2, "--batch", 2)
    return ("avwnet", "--out", out, *tiny, "--steps", 2, "--count", 4, *SMALL, *more)


def test_the_whole_way(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    given = parts(tmp_path)
    result = run(*avwnet(tmp_path / "a", *given, "--per-person", 3, "--seed", 5, "--json"))
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["steps"] == 2
    assert facts["figures"]["first_psnr"] > 0
    assert "procedural talking faces: 4 clips, 1 of them held out" in result.stderr
    assert {key: drawn[-1][key] for key in ("count", "seed", "per_person", "engine")} == {
        "count": 4,
        "seed": 5,
        "per_person": 3,
        "engine": "formant",
    }
    model = zoo.from_pretrained(str(tmp_path / "a/model"))
    assert model.kind == "avwnet"
    assert model.card.data[0].use == "3 clips of 3 speakers, 1 more held out"
    assert "no terms" in model.card.data[0].terms
    assert (tmp_path / "a/sample.mp4").exists()
    on = ("--weights", tmp_path / "a/model", "--discriminators", tmp_path / "a/discriminators")
    result = run(*avwnet(tmp_path / "b", *on, "--stages", "fine", "--w-word", 0, "--minutes", 1e-9))
    assert "unknown weight" in result.stderr  # both stages have discriminators there
    result = run(*avwnet(tmp_path / "b", *on, "--w-word", 0))
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{tmp_path / 'b'}: 2 steps; held out: l1 ")


def test_a_second_set_is_trained_on_beside_the_first(
    drawn: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuralpaint.zoo.data.grid.open_grid", lambda folder, **_: cards(2, "GRID"))
    both = ("--data", tmp_path, "--also", "procedural-talking", "--engine", "espeak")
    (tmp_path / "s1").mkdir()
    result = run(*avwnet(tmp_path / "a", *parts(tmp_path), *both, "--tint", 0.2))
    assert result.exit_code == 0, result.output
    assert drawn[-1]["engine"] == "espeak"
    (data,) = zoo.from_pretrained(str(tmp_path / "a/model")).card.data
    assert data.name == "GRID and procedural talking faces"
    assert data.use == "4 clips of 4 speakers, 1 more held out"
    assert "CC BY 4.0" in data.terms
    more = (*parts(tmp_path), "--also", tmp_path / "no")
    assert "no such folder" in failure(*avwnet(tmp_path / "b", *more))
    assert "tint must lie" in failure(*avwnet(tmp_path / "b", "--tint", 2))


def test_photos_are_moved_as_the_people_of_the_data_are(
    drawn: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def move(photos: list[Path], clips: Clips, count: int, *_: object, **more: Any) -> Clips:
        asked.append(([photo.name for photo in photos], clips.name, count, more["seed"]))
        return cards(3, "moved photos")

    monkeypatch.setattr("neuralpaint.zoo.talking.moved.moved_photos", move)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    names = ("a.jpg", "b.png", "more/c.jpg", "d.txt", "12.png")  # the last is of the tenth held out
    for name in names:
        (folder / name).write_bytes(b"")
    result = run(*avwnet(tmp_path / "a", *parts(tmp_path), "--also", folder, "--seed", 3))
    assert result.exit_code == 0, result.output
    assert asked == [(["a.jpg", "b.png", "c.jpg"], "procedural talking faces", 4, 3)]
    assert "moved photos: 3 clips of 3 photos; no truth" in result.stderr
    (data,) = zoo.from_pretrained(str(tmp_path / "a/model")).card.data
    assert data.name == "procedural talking faces and moved photos"
    assert data.terms.endswith("; and those of the photos")


def test_bad_input(drawn: list[dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert "give --reader and --landmarks" in failure(*avwnet(out))
    assert "no such file" in failure(*avwnet(out, "--reader", tmp_path / "no.safetensors"))
    assert "--discriminators needs --weights" in failure(*avwnet(out, "--discriminators", tmp_path))
    none = ("adversarial", "match", "regression", "pixel", "word", "colour")
    assert "no term of the loss is left" in failure(
        *avwnet(out, *(x for name in none for x in (f"--w-{name}", 0)))
    )
    assert "centred must lie" in failure(*avwnet(out, "--centred", 2))
    assert "rate must be" in failure("lipreader", "--out", out, "--rate", -1)
    assert "noise must be" in failure("talking-landmarks", "--out", out, "--noise", -1)
    assert "unknown device" in failure("lipreader", "--out", out, "--device", "tpu")
    assert "no such folder" in failure("lipreader", "--out", out, "--data", tmp_path / "no")
    (tmp_path / "empty").mkdir()
    assert "no " in failure("lipreader", "--out", out, "--data", tmp_path / "empty")
    assert "hidden must be an integer" in failure(
        "talking-landmarks", "--out", out, "--hidden", 5000
    )
    assert not drawn


def test_folders_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []

    def opened(name: str) -> Draw:
        def read(folder: Path, **options: Any) -> Clips:
            found.append((name, folder, options["workers"], options["cache"], options["limit"]))
            options["report"]("clips", 1, 1)
            return cards(2, name)

        return read

    monkeypatch.setattr("neuralpaint.zoo.data.grid.open_grid", opened("GRID"))
    monkeypatch.setattr("neuralpaint.zoo.data.lrw.open_lrw", opened("LRW"))
    grid, lrw = tmp_path / "grid", tmp_path / "lrw"
    (grid / "s1").mkdir(parents=True)
    (lrw / "ABOUT/train").mkdir(parents=True)
    clips = load_clips(str(grid), 0, 0, 3, limit=7)
    assert load_clips(str(lrw), 0, 0, 1, cache=tmp_path).name == "LRW"
    assert found == [("GRID", grid, 3, None, 7), ("LRW", lrw, 1, tmp_path, None)]
    config = AvwnetConfig.of("small", reader=LipReaderConfig.of("small", clips.vocabulary))
    card = card_of(config, clips, "2 steps")
    assert "CC BY 4.0" in card.data[0].terms
    assert "One speaker" in card.limits
