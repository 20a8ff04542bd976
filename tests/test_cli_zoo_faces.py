"""The commands of LDcGAN: the whole way from drawn people to aged ones at tiny size; bad input."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from neuralpaint import zoo
from neuralpaint.cli_zoo_faces import generate_ldcgan
from neuralpaint.cli_zoo_faces_train import (
    train_age_classifier,
    train_age_landmarks,
    train_ldcgan,
)
from neuralpaint.zoo import faces
from neuralpaint.zoo.age_many import photo_files, slug
from neuralpaint.zoo.ages import GROUPS
from neuralpaint.zoo.cards import Card, TrainingData
from neuralpaint.zoo.ldcgan import LdcGanConfig
from neuralpaint.zoo.ldcgan_model import LdcGan
from neuralpaint.zoo.ldcgan_result import Target
from neuralpaint.zoo.procedural_faces import face, picture

CONFIG = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=8, judge=4)
CARD = Card(data=(TrainingData(name="drawn people", use="40 faces", terms="our own"),))

app = typer.Typer()
app.command("generate")(generate_ldcgan)
app.command("age-classifier")(train_age_classifier)
app.command("age-landmarks")(train_age_landmarks)
app.command("ldcgan")(train_ldcgan)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


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
    return LdcGan(CONFIG, card=CARD).save_pretrained(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cropped faces, a damaged file, one that is too small, one that is no picture."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        pixels, _ = picture(face(number), 30, 96)
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"p{number}.png")
    (folder / "q.jpg").write_bytes(b"\xff\xd8 damaged")
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "r.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


# --- generate -------------------------------------------------------------------------------------


def test_photos_faces_and_a_sheet(weights: Path, photos: Path, tmp_path: Path) -> None:
    options = ["--out", tmp_path, "--weights", weights, "--cropped"]
    result = run("generate", photos / "p0.png", "--ages", "5,70", *options)
    assert result.exit_code == 0, result.output
    names = [f"p0-{which}age-{age}.png" for which in ("", "face0-") for age in ("005", "070")]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*names, "sheet.png"])
    model = LdcGan.load(weights)
    first, *_ = result.stderr.splitlines()
    assert first == (
        f"tiny (weights {model.fingerprint}), folder {weights}; trained on: drawn people (40 faces)"
    )
    assert result.stdout == f"{tmp_path}: 1 face of 1 photo, each at 2 ages\n"
    made = model.generate(photos / "p0.png", age=70, finder=faces.CropFinder())
    with Image.open(tmp_path / "p0-age-070.png") as stored:
        assert stored.tobytes() == made[0].tobytes()
        assert stored.info == made.texts(0)
    for name in ("p0-face0-age-070.png", "sheet.png"):
        with Image.open(tmp_path / name) as stored:
            assert "AI-generated" in stored.info["Source"]
            assert stored.info["Model"] == model.title


def test_a_folder_of_photos_at_the_ten_groups(weights: Path, photos: Path, tmp_path: Path) -> None:
    extra = photos / "p1.png"
    options = ["--out", tmp_path, "--weights", weights, "--cropped", "--json"]
    result = run("generate", photos, extra, *options)
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    facts = json.loads(line)
    assert (facts["photos"], facts["faces"], facts["ages"]) == (4, 4, list(GROUPS))
    assert facts["trained_on"] == "drawn people (40 faces)"
    assert {Path(name).name for name in facts["skipped"]} == {"q.jpg", "r.png"}
    assert "at least 40 pixels" in facts["skipped"][str(photos / "r.png")]
    assert "left out: r.png: a picture of 16x16 pixels is too small" in result.stderr
    assert len(facts["files"]) == len(list(tmp_path.iterdir())) == 4 * 10 * 2 + 1
    assert (tmp_path / "p1-2-group-81+.png").exists()  # the second p1.png
    with Image.open(tmp_path / "sheet.png") as page:
        assert page.height == 26 + 4 * 134


def test_groups_and_chosen_faces(weights: Path, photos: Path, tmp_path: Path) -> None:
    options = ["--out", tmp_path, "--weights", weights, "--cropped"]
    photo = photos / "p0.png"
    assert run("generate", photo, "--age-group", "61-70, 81+", "--face", 0, *options).exit_code == 0
    assert (tmp_path / "p0-face0-group-61-70.png").exists()
    assert "there is no face 1; it has 1" in failure("generate", photo, "--face", "0,1", *options)


def test_names_sort_by_age(tmp_path: Path) -> None:
    assert [slug(Target(0, age)) for age in (5.0, 12.5, 100.0)] == [
        "age-005",
        "age-012.5",
        "age-100",
    ]
    (tmp_path / "b.JPG").touch()
    (tmp_path / "a.png").touch()
    (tmp_path / "c.txt").touch()
    found = photo_files([tmp_path, Path("absent.png")])
    assert found == [tmp_path / "a.png", tmp_path / "b.JPG", Path("absent.png")]


def test_errors_come_first_and_name_the_thing(weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    photo, options = photos / "p0.png", ["--out", out, "--weights", weights, "--cropped"]
    assert "age 130 is out of range: use 0 to 116" in failure(
        "generate", photo, "--ages", "5,130", *options
    )
    assert "--ages 'old': give numbers" in failure("generate", photo, "--ages", "old", *options)
    both = ["--ages", "5", "--age-group", "0-5"]
    assert "--ages or --age-group, not both" in failure("generate", photo, *both, *options)
    assert "unknown age group '5-9'" in failure("generate", photo, "--age-group", "5-9", *options)
    assert "--face 'all': give numbers" in failure("generate", photo, "--face", "all", *options)
    assert "absent.jpg: no such file" in failure("generate", tmp_path / "absent.jpg", *options)
    assert "q.jpg: " in failure("generate", photos / "q.jpg", *options)
    assert "r.png: a picture of 16x16 pixels" in failure("generate", photos / "r.png", *options)
    (tmp_path / "empty").mkdir()
    assert "empty: holds no pictures" in failure("generate", tmp_path / "empty", *options)
    bad = [photos / "q.jpg", photos / "r.png"]
    assert "none of 2 photos can be used; of the first: " in failure("generate", *bad, *options)
    assert "unknown device 'tpu'" in failure("generate", photo, "--device", "tpu", *options)
    to = ["generate", photo, "--out", out, "--weights"]
    assert "no such folder" in failure(*to, tmp_path / "absent")
    assert "absent.safetensors: no such file" in failure(*to, tmp_path / "absent.safetensors")
    (tmp_path / "file").write_text("in the way")
    blocked = ["--weights", weights, "--out", tmp_path / "file"]
    assert "cannot write to this output folder" in failure("generate", photo, *blocked)


# --- train ----------------------------------------------------------------------------------------

SMALL = ("--count", 40, "--workers", 1, "--device", "cpu", "--precision", "fp32", "--json")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with D_A, Phi and G_L after two steps each."""
    out = tmp_path_factory.mktemp("parts")
    for task in ("groups", "identity"):
        result = run(
            *("age-classifier", "--out", out / task, "--task", task, "--size", 64, "--steps", 2),
            *("--batch", 4, "--width", 4, *SMALL),
        )
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["steps"] == 2
    result = run(
        *("age-landmarks", "--out", out / "points", "--size", 64, "--steps", 2, "--batch", 4),
        *("--latent", 8, *SMALL),
    )
    assert result.exit_code == 0, result.output
    assert "procedural faces: 40 faces, 4 of them held out" in result.stderr
    return out


def ldcgan(parts: Path, out: Path, *more: object) -> tuple[object, ...]:
    return (
        *("ldcgan", "--out", out, "--identity", parts / "identity/identity.safetensors"),
        *("--batch", 2, "--ni", 2, "--nd", 2, "--blocks", 1, *SMALL, *more),
    )


def judges(parts: Path) -> tuple[object, ...]:
    return (
        *("--classifier", parts / "groups/age-classifier.safetensors"),
        *("--landmarks", parts / "points/landmarks.safetensors"),
    )


def test_the_whole_way(parts: Path, photos: Path, tmp_path: Path) -> None:
    first = run(*ldcgan(parts, tmp_path / "one", "--steps", 2, "--w-paired", 1, *judges(parts)))
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["steps"] == 2
    more = run(*ldcgan(parts, tmp_path / "one", "--steps", 3, "--w-paired", 1, *judges(parts)))
    assert json.loads(more.stdout)["steps"] == 3, more.output  # the same run goes on
    folder = tmp_path / "one/model"
    model = zoo.from_pretrained(folder, device="cpu")
    assert isinstance(model, LdcGan)
    assert model.config == CONFIG
    assert model.card.learned_from == "procedural faces (36 faces, 4 more held out)"
    assert model.card.training == "3 steps of 2 faces"
    options = ["--out", tmp_path / "aged", "--weights", folder, "--cropped"]
    made = run("generate", photos / "p0.png", "--ages", "70", *options)
    assert made.exit_code == 0, made.output
    assert "trained on: procedural faces (36 faces" in made.stderr.splitlines()[0]
    begun = run(
        *ldcgan(parts, tmp_path / "two", "--steps", 1, "--weights", folder),
        *("--discriminator", tmp_path / "one/discriminator"),
    )
    assert begun.exit_code == 0, begun.output


def test_a_deadline_ends_with_a_checkpoint(parts: Path, tmp_path: Path) -> None:
    result = run(*ldcgan(parts, tmp_path, "--steps", 10_000, "--minutes", 1e-6, *judges(parts)))
    assert json.loads(result.stdout)["steps"] < 100, result.output
    assert list(tmp_path.glob("checkpoint-*.safetensors"))
    assert (tmp_path / "model/config.json").exists()


def test_a_folder_of_faces_with_corrupt_files(tmp_path: Path) -> None:
    folder = tmp_path / "UTKFace"
    folder.mkdir()
    for number in range(12):
        pixels, _ = picture(face(number), 5 * number, 64)
        name = f"{5 * number}_0_0_2017011{number:02d}.jpg"
        Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / name)
    (folder / "30_0_0_9.jpg").write_bytes(b"\xff\xd8 damaged")
    (folder / "misnamed.jpg").write_bytes(b"")
    result = run(
        *("age-classifier", "--out", tmp_path / "o", "--data", folder, "--size", 64, "--steps", 1),
        *("--batch", 4, "--width", 4, *SMALL),
    )
    assert result.exit_code == 0, result.output
    text = " ".join(result.stderr.split())
    assert "UTKFace: 12 faces, " in text
    assert "left out: " in text
    assert "1 × not named <age>" in text
    assert (tmp_path / "o/age-classifier.safetensors").exists()


def test_bad_input_of_trainings(parts: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert "give --classifier and --landmarks" in failure(*ldcgan(parts, out))
    assert "--discriminator needs --weights" in failure(
        *ldcgan(parts, out, "--discriminator", tmp_path, *judges(parts))
    )
    assert "no such file" in failure(*ldcgan(tmp_path, out, *judges(parts)))
    swapped = parts / "identity/identity.safetensors"
    assert "judges 'identity', not 'age groups'" in failure(
        *ldcgan(parts, out, *judges(parts), "--classifier", swapped)
    )
    assert "wgan-gp needs a penalty" in failure(
        *ldcgan(parts, out, "--adversarial", "wgan-gp", *judges(parts))
    )
    none = [f"--w-{name}" for name in ("adversarial", "reverse", "age", "reverse-age")]
    none += ["--w-identity", "--w-cycle"]
    assert "no term of the loss is left" in failure(
        *ldcgan(parts, out, *judges(parts), *(x for name in none for x in (name, 0)))
    )
    assert "no such folder" in failure(
        *ldcgan(parts, out, "--data", tmp_path / "no", *judges(parts))
    )
    (tmp_path / "empty").mkdir()
    empty = ["--out", out, "--data", tmp_path / "empty"]
    assert "no files in this folder" in failure("age-classifier", *empty)
    assert "no files in this folder" in failure("age-landmarks", *empty)
    assert "rate must be" in failure("age-landmarks", "--out", out, "--rate", -1)
    assert "unknown device" in failure("age-classifier", "--out", out, "--device", "tpu")
