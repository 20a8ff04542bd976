"""The command `neuralpaint generate hfgan`, with a tiny model."""

import json
import re
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from neuralpaint.backend.weights import save_weights
from neuralpaint.cli_zoo import generate
from neuralpaint.zoo.cards import Card, TrainingData
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan

CONFIG = HfGanConfig(
    size=64,
    ng=2,
    nd=2,
    z=6,
    condition=3,
    dim=4,
    embedding=5,
    growth=2,
    vocabulary=("a", "red", "bird", "with", "short", "beak"),
)
CARD = Card(data=(TrainingData(name="drawn birds", use="12 pictures", terms="our own"),))
PROMPT = "a red bird with a short beak"

app = typer.Typer()
app.add_typer(generate, name="generate")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["generate", "hfgan", *map(str, arguments)])


def failure(*arguments: object) -> str:
    """The message of a command that must fail, with line breaks and colour removed."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return HfGan(CONFIG, card=CARD).save_pretrained(folder)


def test_images_sheet_and_manifest(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "birds"
    result = run(PROMPT, "--num", 3, "--out", out, "--weights", weights, "--seed", 4)
    assert result.exit_code == 0, result.output
    names = ["00000.png", "00001.png", "00002.png", "manifest.json", "sheet.png"]
    assert sorted(file.name for file in out.iterdir()) == names
    first, *_ = result.stderr.splitlines()
    model = HfGan.load(weights)
    assert first == (
        f"tiny (weights {model.fingerprint}), folder {weights}; trained on: "
        "drawn birds (12 pictures)"
    )
    assert result.stdout == f"{out}: 3 images made, 0 were there\n"
    images = model.generate(PROMPT, num_images=3, seed=4)
    with Image.open(out / "00002.png") as stored:
        assert stored.tobytes() == images[2].tobytes()
        assert stored.info == images.texts(2)


def test_the_same_command_goes_on_and_prints_one_line_of_json(
    weights: Path, tmp_path: Path
) -> None:
    options = [PROMPT, "--num", 2, "--out", tmp_path / "o", "--weights", weights, "--json"]
    assert json.loads(run(*options).stdout)["made"] == 2
    (tmp_path / "o/00001.png").unlink()
    result = run(*options)
    (line,) = result.stdout.splitlines()
    facts = json.loads(line)
    assert (facts["images"], facts["own"], facts["made"], facts["complete"]) == (2, 2, 1, True)
    assert facts["trained_on"] == "drawn birds (12 pictures)"
    assert facts["weights"] == HfGan.load(weights).fingerprint
    assert "was begun with seed=0" in failure(*options, "--seed", 1)


def test_a_file_of_prompts_shared_by_processes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red bird\n\na bird with a purple beak\na beak\n")
    options = ["--prompts", prompts, "--out", tmp_path / "o", "--weights", weights]
    options += ["--num-images", 1]  # torchrun would take --num for its own
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    second = run(*options)
    assert second.stdout == f"{tmp_path / 'o'}: process 1 of 2: 1 images made, 0 were there\n"
    assert second.stderr == ""  # the first process speaks
    monkeypatch.setenv("RANK", "0")
    first = run(*options)
    assert "process 0 of 2: 2 images made" in first.stdout
    assert "note: prompt 2: left out unknown words: purple" in first.stderr
    assert (tmp_path / "o/sheet.png").exists()
    assert len(list((tmp_path / "o").glob("0*.png"))) == 3


def test_many_notes_are_cut(weights: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a purple bird\n" * 7)
    result = run("--prompts", prompts, "--out", tmp_path / "o", "--weights", weights)
    assert result.stderr.count("left out unknown words") == 5
    assert "note: and 2 more such notes" in result.stderr


def test_the_folder_is_called_like_the_sentence_or_the_file(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("A red bird/with a beak!", "--weights", weights).exit_code == 0
    assert (tmp_path / "out/a-red-bird-with-a-beak/00000.png").exists()
    (tmp_path / "many.txt").write_text("a bird")
    assert run("--prompts", "many.txt", "--weights", weights).exit_code == 0
    assert (tmp_path / "out/many/00000.png").exists()


def test_weights_of_a_training_run(weights: Path, tmp_path: Path) -> None:
    model = HfGan.load(weights)
    file = tmp_path / "best.safetensors"
    save_weights(model.networks, file, {"config": json.dumps(CONFIG.to_json())})
    result = run("a bird", "--out", tmp_path / "o", "--weights", file)
    assert result.exit_code == 0, result.output
    assert f"file {file}; trained on: not said in its card" in result.stderr.splitlines()[0]


def test_ctrl_c_keeps_what_is_there(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(HfGan, "generate", stop)
    result = run("a bird", "--out", tmp_path / "o", "--weights", weights)
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr


def test_errors_come_first_and_name_the_thing(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    options = ["--out", out, "--weights", weights]
    assert "give one sentence, or --prompts" in failure(*options)
    assert "give one sentence, or --prompts" in failure("a bird", "--prompts", "x", *options)
    assert "absent.txt: no such file" in failure("--prompts", tmp_path / "absent.txt", *options)
    assert "it knows 6 words, such as bird, with" in failure("", *options)
    assert "no word that the model knows ('cat')" in failure("cat", *options)
    assert "0 images of each prompt" in failure("a bird", "--num", 0, *options)
    assert "make 1 to 100000 in all" in failure("a bird", "--num", 10**7, *options)
    assert "seed -1 is out of range" in failure("a bird", "--seed", -1, *options)
    assert "unknown device 'tpu'" in failure("a bird", "--device", "tpu", *options)
    to = ["a bird", "--out", out, "--weights"]
    assert "did you mean 'hfgan-64'" in failure(*to, "hfgan64")
    assert "no such folder" in failure(*to, tmp_path / "absent")
    assert "absent.safetensors: no such file" in failure(*to, tmp_path / "absent.safetensors")
    assert "someone/none: not in the cache" in failure(*to, "someone/none")
    assert not out.exists()
    (tmp_path / "file").write_text("in the way")
    blocked = ["a bird", "--weights", weights, "--out", tmp_path / "file"]
    assert "cannot write to this output folder" in failure(*blocked)
