"""The commands that train DAMSM and HfGAN: the whole way at tiny size, and bad input."""

import json
from pathlib import Path

import pytest
import typer.testing

from neuralpaint import zoo
from neuralpaint.cli import app

RUNNER = typer.testing.CliRunner()


def run(*arguments: object) -> typer.testing.Result:
    return RUNNER.invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def damsm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damsm")
    result = run(
        *("train", "damsm", "--out", folder, "--steps", 4, "--batch", 4, "--count", 100),
        *("--size", 64, "--workers", 1, "--device", "cpu", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"] == 4
    return folder / "damsm.safetensors"


def hfgan(damsm: Path, folder: Path, *more: object) -> tuple[object, ...]:
    return (
        *("train", "hfgan", "--damsm", damsm, "--out", folder, "--batch", 2, "--count", 100),
        *("--ng", 4, "--nd", 4, "--workers", 1, "--device", "cpu", *more),
    )


def test_the_whole_way(damsm: Path, tmp_path: Path) -> None:
    result = run(*hfgan(damsm, tmp_path, "--steps", 2))
    assert result.exit_code == 0, result.output
    assert "2 steps; held out: frechet" in result.stdout
    more = run(*hfgan(damsm, tmp_path, "--steps", 3, "--json"))  # the same run goes on
    assert json.loads(more.stdout)["steps"] == 3, more.output
    model = zoo.from_pretrained(tmp_path / "model", device="cpu")
    assert len(model.generate("a red bird", num_images=2, seed=0)) == 2
    begun = run(
        *hfgan(damsm, tmp_path / "two", "--steps", 1, "--weights", tmp_path / "model"),
        *("--discriminator", tmp_path / "discriminator"),
    )
    assert begun.exit_code == 0, begun.output


def test_a_deadline_ends_with_a_checkpoint(damsm: Path, tmp_path: Path) -> None:
    steps = 10_000
    result = run(*hfgan(damsm, tmp_path, "--steps", steps, "--minutes", 1e-6, "--json"))
    assert json.loads(result.stdout)["steps"] < 100, result.output
    assert list(tmp_path.glob("checkpoint-*.safetensors"))


def test_bad_input(damsm: Path, tmp_path: Path) -> None:
    assert "no such file" in refusal(*hfgan(tmp_path / "no.safetensors", tmp_path))
    told = refusal(*hfgan(damsm, tmp_path, "--data", tmp_path / "no"))
    assert told.endswith("no such folder; check the name")  # and nothing after it
    (tmp_path / "empty").mkdir()
    assert "CUB-200-2011" in refusal(*hfgan(damsm, tmp_path, "--data", tmp_path / "empty"))
    assert "rate must be" in refusal(*hfgan(damsm, tmp_path, "--rate", -1))
    assert "is unknown" in refusal(*hfgan(damsm, tmp_path, "--weights", "hfgam"))
    assert "unknown device" in refusal(*hfgan(damsm, tmp_path / "x", "--device", "tpu"))
