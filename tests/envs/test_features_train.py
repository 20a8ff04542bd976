"""Training of the small VGG: it reads both layouts, learns, resumes bit for bit, refuses others."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.backend.media import write_image
from neuralpaint.envs import features_train
from neuralpaint.envs.features import load_vgg
from neuralpaint.envs.features_data import AGES, SIDE, Pictures, birds, crop, faces, load
from neuralpaint.envs.features_train import (
    Classifier,
    Settings,
    batch_of,
    evaluate,
    fit,
    initialise,
    loss_of,
    main,
)

CPU = torch.device("cpu")
TINY = Settings(images=96, batch=8, size=32, width=1)  # 12 steps


class StoppedError(Exception):
    """As good as a kill: the run ends between two checkpoints."""


def paint(path: Path, rgb: tuple[float, float, float], stripes: bool, seed: int) -> None:
    """A picture of one colour, a little different each time, with or without stripes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((40, 40, 3), rgb, np.float32)
    if stripes:
        image[::2] *= 0.4
    noise = np.random.default_rng(seed).uniform(-0.05, 0.05, image.shape)
    write_image(path, np.clip(image + noise, 0, 1).astype(np.float32))


def make_faces(folder: Path, count: int) -> Path:
    """Gender is red or blue, age stripes or none, race both at once (0 to 3)."""
    for i in range(count):
        gender, striped = i % 2, i // 2 % 2
        name = f"{[25, 61][striped]}_{gender}_{2 * striped + gender}_{i}.jpg.chip.png"
        paint(folder / name, (0.8, 0.3, 0.2) if gender else (0.2, 0.3, 0.8), bool(striped), i)
    return folder


def make_birds(folder: Path, count: int) -> Path:
    """Species 7 is green, 30 is gray; every third picture is held out."""
    images, labels, split = list[str](), list[str](), list[str]()
    for i in range(count):
        file = f"{i % 2:03}.Bird/bird_{i}.png"
        paint(folder / "images" / file, (0.2, 0.8, 0.2) if i % 2 else (0.5, 0.5, 0.5), False, i)
        images.append(f"{i + 1} {file}")
        labels.append(f"{i + 1} {[30, 7][i % 2]}")
        split.append(f"{i + 1} {int(i % 3 > 0)}")
    labels.append("999 200")  # of a picture that this part of the data set lacks
    for name, lines in (
        ("images.txt", images),
        ("image_class_labels.txt", labels),
        ("train_test_split.txt", split),
        ("classes.txt", ["7 007.Green", "30 030.Gray"]),
        ("bounding_boxes.txt", [f"{i + 1} 0 0 40 40" for i in range(count)]),
    ):
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("data")
    return [make_faces(root / "faces", 120), make_birds(root / "birds", 30)]


@pytest.fixture(scope="module")
def pictures(folders: list[Path]) -> Pictures:
    return load(folders)[0]


def network(pictures: Pictures, width: int = 1, seed: int = 0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(width, pictures.classes)


def seeded_fit(learner: Classifier, *arguments: object, **options: object) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        fit(learner, *arguments, device=CPU, **options)  # type: ignore[arg-type]


# --- data ---


def test_file_names_of_faces(tmp_path: Path) -> None:
    names = [
        "7_0_4_20170110.jpg.chip.jpg",
        "116_1_0_20170110.jpg",
        "61_1_20170109142408075.jpg.chip.jpg",  # the data set has some without race
        "30_2_1_20170110.jpg",
        "notes.txt",
    ]
    for name in names:
        (tmp_path / name).touch()
    entries, bad = faces(tmp_path)
    assert [entry.labels for entry in entries] == [
        {"age": AGES - 1, "gender": 1, "race": 0},
        {"age": 0, "gender": 0, "race": 4},
    ]
    assert sorted(path.name for path in bad) == sorted(names[2:])


def test_both_layouts_are_read(pictures: Pictures) -> None:
    assert pictures.images.shape == (150, 3, SIDE, SIDE)
    assert pictures.classes == {"age": AGES, "gender": 2, "race": 5, "species": 2}
    a_face, a_bird = pictures.labels[0], pictures.labels[121]
    assert a_face.tolist()[:3] == [2, 0, 0]
    assert a_face[3] == -1
    assert a_bird.tolist() == [-1, -1, -1, 0]  # species 7 is the first of two
    assert pictures.labels[120, 3] == 1
    assert pictures.held_out[120:].tolist() == [i % 3 == 0 for i in range(30)]
    assert 0 < pictures.held_out[:120].sum() < 40
    assert (pictures.images[121].mean((1, 2)) / 255).round(1).tolist() == [0.2, 0.8, 0.2]
    assert (pictures.weights[pictures.held_out] == 0).all()
    sums = [pictures.weights[:120].sum().item(), pictures.weights[120:].sum().item()]
    sizes = [int((~pictures.held_out[:120]).sum()), 20]
    assert sums == pytest.approx([math.sqrt(size) for size in sizes])


def test_what_is_held_out_does_not_depend_on_the_other_files(tmp_path: Path) -> None:
    for i in range(60):
        (tmp_path / f"20_0_0_{i}.jpg").touch()
    before = {entry.path: entry.held_out for entry in faces(tmp_path)[0]}
    for path in list(before)[::2]:
        path.unlink()
    assert all(before[entry.path] == entry.held_out for entry in faces(tmp_path)[0])


def test_files_that_are_no_pictures_are_left_out_and_told(tmp_path: Path) -> None:
    make_faces(tmp_path, 40)
    (tmp_path / "20_0_0_5.png").write_bytes(b"no picture")
    (tmp_path / "readme.txt").write_text("hello")
    pictures, skipped = load([tmp_path])
    assert len(pictures.images) == 40
    assert skipped[str(tmp_path / "readme.txt")] == "not named as UTKFace's files"
    assert "not an image" in skipped[str(tmp_path / "20_0_0_5.png")]
    assert len(skipped) == 2
    assert "species" not in pictures.classes


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images.txt", "1 a b", r"images\.txt, line 1: expected a number and 1 more"),
        ("images.txt", "1 ../../a", r"\.\./\.\./a leads out of the data set"),
        ("image_class_labels.txt", "2 7", r"picture 1 has no valid entry"),
        ("image_class_labels.txt", "1 x", r"picture 1 has no valid entry"),
        ("train_test_split.txt", "1 2", r"picture 1 has no valid entry"),
        ("train_test_split.txt", None, r"train_test_split\.txt: no such file"),
    ],
)
def test_damaged_lists_of_birds_are_refused(
    tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    make_birds(tmp_path, 2)
    (tmp_path / name).unlink()
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        birds(tmp_path)


def test_folders_without_enough_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: no such folder"):
        load([tmp_path / "none"])
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(ValueError, match="no file here is named <age>_<gender>_<race>_<date>"):
        load([tmp_path])


def test_crops_by_hand(pictures: Pictures) -> None:
    own = replace(pictures, images=np.zeros((1, 3, SIDE, SIDE), np.uint8))
    own.images[0, 0, :, SIDE // 2 :] = 255  # red on the right
    frames = [(1, 1, 0, 0), (-1, 1, 0, 0), (0.5, 0.5, 0.5, 0), (0.5, 0.5, -0.5, 0.5)]
    index = torch.zeros(len(frames), dtype=torch.long)
    whole, mirrored, right, left = crop(own, index, torch.tensor(frames), 32)[:, 0]
    torch.testing.assert_close(whole, (torch.arange(32) >= 16).float().expand(32, 32))
    torch.testing.assert_close(mirrored, whole.flip(1))
    torch.testing.assert_close(right, torch.ones(32, 32))
    torch.testing.assert_close(left, torch.zeros(32, 32))


def test_batches_repeat_and_leave_out_what_is_held_out(pictures: Pictures) -> None:
    settings = replace(TINY, batch=300)
    first, labels = batch_of(pictures, settings, 0)
    assert first.shape == (300, 3, 32, 32)
    assert first.min() >= 0
    assert first.max() <= 1
    again, _ = batch_of(pictures, settings, 0)
    assert torch.equal(first, again)
    assert not torch.equal(first, batch_of(pictures, settings, 1)[0])
    assert not torch.equal(first, batch_of(pictures, replace(settings, seed=1), 0)[0])
    share = (labels[:, 3] >= 0).double().mean().item()  # of birds, 4.5 of 4.5 + 10.4
    assert 0.2 < share < 0.4
    only = replace(pictures, weights=(~pictures.held_out).double() * 0)
    only.weights[7] = 1.0
    assert (batch_of(only, TINY, 0)[1] == pictures.labels[7]).all()


# --- learning ---


def test_initialisation_keeps_the_variance(pictures: Pictures) -> None:
    learner, images = network(pictures, 4), batch_of(pictures, TINY, 0)[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        initialise(learner, images)
    indices = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    for features in learner.vgg(images, indices):
        assert features.std().item() == pytest.approx(1, rel=1e-3)


def test_the_loss_by_hand() -> None:
    logits = {"gender": torch.zeros(2, 2), "species": torch.tensor([[0.0, math.log(3.0)]] * 2)}
    labels = torch.tensor([[-1, 0, -1, -1], [-1, -1, -1, 1]])
    expected = (math.log(2) - math.log(0.75)) / 2  # a known label each
    assert loss_of(logits, labels).item() == pytest.approx(expected)


def test_training_learns_every_task_of_both_layouts(pictures: Pictures, tmp_path: Path) -> None:
    learner, losses = network(pictures, 4), list[float]()
    settings = Settings(images=16 * 150, batch=16, size=32, width=4, rate=3e-3, precision="float32")
    seeded_fit(learner, pictures, settings, tmp_path, report=lambda _, loss: losses.append(loss))
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert not learner.training
    found = evaluate(learner, pictures, 32)
    for task in ("age", "gender", "race", "species"):
        assert found[task]["accuracy"] > found[task]["majority"] + 0.2, (task, found)


def test_evaluation_by_hand(pictures: Pictures) -> None:
    """A net that always says the first class."""
    learner = network(pictures)
    for head in learner.heads.values():
        for weight in head.parameters():
            nn.init.zeros_(weight)
        nn.init.ones_(head.bias[:1])  # type: ignore[index]
    found = evaluate(learner, pictures, 32)
    held_out = pictures.labels[pictures.held_out]
    assert found["species"] == {"accuracy": 0.5, "majority": 0.5, "count": 10}
    gender = held_out[:, 1][held_out[:, 1] >= 0]
    assert found["gender"]["accuracy"] == pytest.approx((gender == 0).double().mean().item())
    assert found["age"]["accuracy"] == 0
    assert found["age"]["count"] == len(gender) == int(pictures.held_out[:120].sum())


def test_a_loss_that_is_not_finite_stops_and_saves_nothing(
    pictures: Pictures, tmp_path: Path
) -> None:
    learner = network(pictures)
    nn.init.constant_(learner.heads["age"].bias, math.nan)  # type: ignore[arg-type]
    with pytest.raises(FloatingPointError, match="loss is nan at step 0; lower --rate"):
        seeded_fit(learner, pictures, TINY, tmp_path, save_every=1)
    assert list(tmp_path.iterdir()) == []


# --- stopping and resuming ---


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_killed_and_resumed_run_is_an_uninterrupted_one(
    pictures: Pictures, tmp_path: Path, precision: str
) -> None:
    settings = replace(TINY, precision=precision)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    seen, seen_again = dict[int, float](), dict[int, float]()
    whole = network(pictures)
    options = {"save_every": 4}
    seeded_fit(whole, pictures, settings, tmp_path / "whole", report=seen.__setitem__, **options)

    def kill(step: int, loss: float) -> None:
        if step == 7:
            raise StoppedError

    parts = tmp_path / "parts"
    with pytest.raises(StoppedError):
        seeded_fit(network(pictures), pictures, settings, parts, report=kill, **options)
    resumed = network(pictures, seed=9)  # any other start
    seeded_fit(resumed, pictures, settings, parts, report=seen_again.__setitem__, **options)
    assert seen_again == {step: loss for step, loss in seen.items() if step > 4}
    saved = [Checkpoints(folder).newest() for folder in (tmp_path / "whole", parts)]
    files = [one.tensors for one in saved if one is not None]
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(value, files[1][key]) for key, value in files[0].items())


def test_a_checkpoint_of_something_else_is_refused(pictures: Pictures, tmp_path: Path) -> None:
    seeded_fit(network(pictures), pictures, replace(TINY, images=8), tmp_path)
    with pytest.raises(ValueError, match="was begun with images=8, now 96"):
        seeded_fit(network(pictures), pictures, TINY, tmp_path)
    other = replace(pictures, labels=pictures.labels.flip(0))
    with pytest.raises(ValueError, match=r"was begun with pictures=\d+, now \d+"):
        seeded_fit(network(pictures), other, replace(TINY, images=8), tmp_path)
    for path in Checkpoints(tmp_path).paths():
        path.write_bytes(b"not at all")
    damaged = pytest.warns(UserWarning, match="damaged checkpoint")
    with damaged, pytest.raises(ValueError, match="no checkpoint can be read"):
        seeded_fit(network(pictures), pictures, TINY, tmp_path)


# --- command line ---


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", 0, "images must be positive"),
        ("rate", math.nan, "rate must be positive and finite, got nan"),
        ("size", 31, "size must be 32 to 128, got 31"),
        ("precision", "int8", "precision must be float32 or bfloat16, got 'int8'"),
    ],
)
def test_settings_refuse_what_cannot_be(field: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **{field: value})  # type: ignore[arg-type]


def test_a_run_from_nothing_leaves_weights_that_load(
    folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "run"
    arguments = ["--data", *map(str, folders), "--out", str(out), "--device", "cpu"]
    arguments += ["--images", "16", "--batch", "8", "--size", "32", "--width", "2"]
    with torch.random.fork_rng():
        main(arguments)
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == json.loads((out / "report.json").read_text())
    assert (report["pictures"], report["steps"]) == (150, 2)
    assert set(report["tasks"]) == {"age", "gender", "race", "species"}
    names = ["checkpoint-0-000000002.safetensors", "report.json", "vgg.safetensors"]
    assert sorted(file.name for file in out.iterdir()) == names
    assert load_vgg(out / "vgg.safetensors").width == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["--images", "0"], "images must be positive"),
        (["--width", "0"], "width must be 1 to 64"),
        (["--device", "abacus"], "unknown device 'abacus'"),
        (["--data", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_bad_arguments_end_in_one_line(
    folders: list[Path],
    tmp_path: Path,
    bad: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(features_train, "fit", lambda *_, **__: pytest.fail("work has started"))
    good = ["--data", str(folders[1]), "--out", str(tmp_path / "run"), "--device", "cpu"]
    with torch.random.fork_rng(), pytest.raises(SystemExit) as stopped:
        main([*good, *bad])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
