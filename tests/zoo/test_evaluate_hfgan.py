"""Evaluation of text to image: a perfect painter, a blind one and noise get what they deserve."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from neuralpaint.cli_zoo_evaluate import evaluate_hfgan as command
from neuralpaint.cli_zoo_evaluate import find_inception
from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.inception import Features, InceptionV3
from neuralpaint.zoo.metrics import judges as judging
from neuralpaint.zoo.metrics.classifier import Classifier
from neuralpaint.zoo.metrics.embedding import Embedding
from neuralpaint.zoo.metrics.evaluate import evaluate_hfgan, generate
from neuralpaint.zoo.metrics.judges import CLASS, Judges, JudgeSettings, judges
from neuralpaint.zoo.metrics.measures import Evaluation
from neuralpaint.zoo.metrics.trials import Trial, captioned_trial, procedural_trial
from neuralpaint.zoo.procedural import VALUES, claims_hold
from neuralpaint.zoo.text import Vocabulary

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240,) * 3}
NAMES = list(COLOURS)
SIDE, COUNT = 16, 140
SETTINGS = JudgeSettings(
    size=SIDE, width=8, dim=16, batch=16, classifier_steps=90, embedding_steps=140, rate=6e-3
)

# --- flags of two colours, and models that paint them --------------------------------------------


def flag(top: int, bottom: int, seed: int, side: int = SIDE) -> Tensor:
    """(3, S, S) uint8, a little noisy."""
    colours = torch.tensor([COLOURS[NAMES[top]], COLOURS[NAMES[bottom]]])
    pixels = colours.T[:, :, None].repeat_interleave(side // 2, 1).expand(-1, -1, side)
    noise = torch.randint(-15, 16, pixels.shape, generator=torch.Generator().manual_seed(seed))
    return (pixels + noise).clamp(0, 255).to(torch.uint8)


def flags(count: int, seed: int, attributes: bool = True) -> Captioned:
    """Flags as a data set; the last half is held out."""
    generator = torch.Generator().manual_seed(seed)
    top, bottom = torch.randint(0, 4, (2, count), generator=generator)
    pairs = list(zip(top.tolist(), bottom.tolist(), strict=True))
    return Captioned(
        name="flags",
        images=torch.stack([flag(a, b, seed * count + i) for i, (a, b) in enumerate(pairs)]),
        captions=tuple((f"{NAMES[a]} over {NAMES[b]}",) for a, b in pairs),
        labels=4 * top + bottom,
        held_out=torch.arange(count) >= count // 2,
        species=tuple(f"{a} {b}" for a in NAMES for b in NAMES),
        attributes={"top": top, "bottom": bottom} if attributes else {},
    )


def claimed(prompt: str) -> dict[str, int]:
    top, bottom = prompt.split(" over ")
    return {"top": NAMES.index(top), "bottom": NAMES.index(bottom)}


class Painter:
    """Paints what the prompt says, in a share of the images; else any flag, or noise."""

    title = "painter"

    def __init__(self, right: float = 1.0, noise: bool = False) -> None:
        self.right, self.noise = right, noise
        self.asked: list[int] = []

    def generate(
        self, prompt: Sequence[str], *, num_images: int, seed: Sequence[int], output_type: str
    ) -> Any:
        assert (num_images, output_type) == (1, "pt")
        self.asked += seed
        pairs = zip(prompt, seed, strict=True)
        return SimpleNamespace(images=torch.stack([self.paint(text, s) for text, s in pairs]))

    def paint(self, text: str, seed: int) -> Tensor:
        rng = np.random.default_rng(seed)
        if self.noise:
            return torch.from_numpy(rng.random((3, SIDE, SIDE), np.float32))
        claims = claimed(text)
        if rng.random() >= self.right:
            claims = {name: int(rng.integers(4)) for name in claims}
        return flag(claims["top"], claims["bottom"], seed % 2**31) / 255


@pytest.fixture(scope="module")
def trial() -> Trial:
    data, other = flags(COUNT, 1), flags(COUNT, 2)
    prompts = tuple(group[0] for group in data.captions)
    return Trial(
        name="flags",
        prompts=prompts,
        labels=data.labels,
        real=data.images,
        another=other.images,
        truth={CLASS: data.labels, **data.attributes},
        claims=tuple(claimed(prompt) for prompt in prompts),
        colours=("top", "bottom"),
        classes={CLASS: 16, "top": 4, "bottom": 4},
        train=lambda: flags(400, 3),
        key={"set": "flags"},
    )


@pytest.fixture(scope="module")
def jury(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> Judges:
    folder = tmp_path_factory.mktemp("judges")
    return judges(trial.train, trial.key, folder, SETTINGS, classes=trial.classes)


@pytest.fixture(scope="module")
def results(
    trial: Trial, jury: Judges, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Evaluation]:
    painters = {"perfect": Painter(), "blind": Painter(0), "noise": Painter(noise=True)}
    painters["half"] = Painter(0.5)
    return {
        name: evaluate_hfgan(painter, trial, jury, tmp_path_factory.mktemp(name))
        for name, painter in painters.items()
    }


IS, FID = "IS(classifier, 16 classes)", "FID(classifier)"
PRECISION = "R-precision (VS embedding, 1 of 100)"


# --- floors and ceilings -------------------------------------------------------------------------


def test_a_perfect_painter_is_at_the_ceiling(results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    for name in ("colours of a prompt", "all colours of a prompt", "top", "bottom"):
        figure = found[name]
        assert figure.generated.value > 0.95
        assert figure.ceilings["real pictures"].value > 0.95
        assert figure.floors["prompts of others"].value < 0.45
    # The prompts of others share a colour by chance, one in four.
    assert found["top"].floors["prompts of others"].value == pytest.approx(0.25, abs=0.12)
    assert found["top"].chance == 0.25
    similarity = found["VS similarity"]
    assert similarity.generated.value > similarity.floors["prompts of others"].value + 0.3
    real = similarity.ceilings["real pictures"].value
    assert similarity.generated.value == pytest.approx(real, abs=0.05)
    assert found[PRECISION].generated.value > 0.9
    assert found[PRECISION].floors["prompts of others"].value < 0.25
    assert found[FID].generated.value < 3 * found[FID].ceilings["other real pictures"].value + 0.1
    assert found[IS].generated.value > 0.8 * found[IS].ceilings["real pictures"].value


def test_noise_is_at_the_floor(results: dict[str, Evaluation]) -> None:
    found = results["noise"]
    assert found["colours of a prompt"].generated.value < 0.45
    assert found[PRECISION].generated.value < 0.15
    assert found[FID].generated.value == pytest.approx(found[FID].floors["noise"].value, rel=0.2)
    assert found[FID].generated.value > 20 * found[FID].ceilings["other real pictures"].value
    assert found[IS].generated.value < 0.5 * found[IS].ceilings["real pictures"].value
    assert found["VS similarity"].generated.value < 0.5


def test_a_blind_painter_paints_well_but_not_what_was_asked(
    results: dict[str, Evaluation],
) -> None:
    found = results["blind"]
    assert found["colours of a prompt"].generated.value == pytest.approx(0.25, abs=0.1)
    assert found[PRECISION].generated.value < 0.25
    low = found["VS similarity"].floors["prompts of others"].value
    assert found["VS similarity"].generated.value == pytest.approx(low, abs=0.15)
    assert found[FID].generated.value < 0.1 * found[FID].floors["noise"].value
    assert found[IS].generated.value > 0.8 * found[IS].ceilings["real pictures"].value


def test_half_right_is_half_way(results: dict[str, Evaluation]) -> None:
    # right in one half, by chance in a quarter of the other
    assert results["half"]["top"].generated.value == pytest.approx(0.625, abs=0.12)
    low, middle, high = (results[name][PRECISION] for name in ("blind", "half", "perfect"))
    assert low.generated.high < middle.generated.low
    assert middle.generated.high < high.generated.low


# --- what is written -----------------------------------------------------------------------------


def test_files(trial: Trial, jury: Judges, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    out = tmp_path / "deep" / "out"
    found = evaluate_hfgan(Painter(), trial, jury, out, seed=5, report=lambda *a: said.append(a))
    values = json.loads((out / "results.json").read_text())
    assert values == json.loads(json.dumps(found.to_json()))
    assert values["count"] == COUNT
    assert values["size"] == values["judged_at"] == SIDE
    assert values["networks"] == ["classifier"]
    assert any("no weights of Inception-v3" in note for note in values["notes"])
    text = (out / "results.md").read_text()
    assert all(f"| {figure.name}" in text for figure in found.figures)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.info["Source"] == "AI-generated image"
        assert sheet.info["Model"] == "painter"
        assert sheet.size[0] > 8 * 100  # eight columns
    assert ("generate", COUNT, COUNT) in said
    assert ("judge", 4, 4) in said
    assert {path.name for path in out.iterdir()} == {"results.json", "results.md", "sheet.png"}


def test_the_same_seed_gives_the_same_figures(trial: Trial, jury: Judges, tmp_path: Path) -> None:
    one, two, other = (
        evaluate_hfgan(Painter(0.5), trial, jury, tmp_path / str(i), seed=seed)
        for i, seed in enumerate((3, 3, 4))
    )
    assert one.figures == two.figures
    assert one["top"].generated != other["top"].generated


def test_an_image_hangs_on_its_own_seed_alone() -> None:
    painter, first = Painter(0.5), Painter(0.5)
    prompts = ["red over blue", "white over green"] * 50
    every = generate(painter, prompts, 7)
    assert every.dtype == torch.uint8
    assert every.shape == (100, 3, SIDE, SIDE)
    assert len(set(painter.asked)) == 100
    assert generate(first, prompts[:3], 7).equal(every[:3])


class Wrong:
    title = "wrong"

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def generate(self, prompt: Sequence[str], **options: Any) -> Any:
        return SimpleNamespace(images=self.images)


@pytest.mark.parametrize(
    "images",
    [torch.zeros(3, 3, 8, 8), torch.zeros(4, 3, 8, 9), torch.full((4, 3, 8, 8), torch.nan)],
)
def test_models_that_give_other_images(images: Tensor) -> None:
    with pytest.raises(ValueError, match="wrong: gave images"):
        generate(Wrong(images), ["red over blue"] * 4, 0)


# --- Inception-v3, photographs -------------------------------------------------------------------


class Halves(InceptionV3):
    """In place of Inception-v3: the mean colours of both halves, and a class for each of six."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.name = "halves"

    def forward(self, images: Tensor) -> Features:
        colours = torch.nn.functional.adaptive_avg_pool2d(images, (2, 1)).flatten(1)
        return Features(images, colours, 9 * colours)


def test_a_second_network_is_named_beside_its_figures(
    trial: Trial, jury: Judges, tmp_path: Path
) -> None:
    found = evaluate_hfgan(Painter(), trial, jury, tmp_path, inception=Halves())
    assert found.facts["networks"] == ["classifier", "halves"]
    score, distance = found["IS(halves, 6 classes)"], found["FID(halves)"]
    assert 1 < score.generated.value < 6
    assert score.floors["noise"].value < 0.7 * score.generated.value
    assert distance.generated.value < 0.05 * distance.floors["noise"].value
    assert not any("no weights" in note for note in found.notes)


def test_photographs_have_species_and_no_attributes(
    trial: Trial, jury: Judges, tmp_path: Path
) -> None:
    data = flags(2 * COUNT, 1, attributes=False)
    photos = captioned_trial(data, 1000)
    assert len(photos) == len(photos.another) == COUNT // 2
    assert any("1000 images were asked for" in note for note in photos.notes)
    assert photos.train().held_out.sum() == 0
    found = evaluate_hfgan(Painter(), photos, jury, tmp_path)
    names = [figure.name for figure in found.figures]
    assert names[0] == "species"
    assert "top" not in names
    assert found["species"].generated.value > 0.9
    assert found["species"].floors["prompts of others"].value < 0.4
    assert found["species"].chance == 1 / 16


def test_prompts_of_photographs_describe_their_pictures() -> None:
    data = flags(40, 1, attributes=False)
    photos = captioned_trial(data, 10, seed=3)
    held_out = {data.images[i].numpy().tobytes(): data.captions[i] for i in range(20, 40)}
    for prompt, picture in zip(photos.prompts, photos.real, strict=True):
        assert prompt in held_out[picture.numpy().tobytes()]
    pictures = [p.numpy().tobytes() for p in (*photos.real, *photos.another)]
    assert len(set(pictures)) == 20
    assert captioned_trial(data, 10, seed=3).prompts == photos.prompts


def test_sets_that_are_too_small(jury: Judges, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="3 pictures held out"):
        captioned_trial(flags(6, 0, attributes=False), 10)
    with pytest.raises(ValueError, match="evaluate on 4"):
        evaluate_hfgan(Painter(), captioned_trial(flags(12, 0), 3), jury, tmp_path)


# --- drawn birds and flowers ---------------------------------------------------------------------


def test_drawn_prompts_hold_of_their_pictures() -> None:
    trial = procedural_trial(24, 16, seed=2)
    assert trial.real.shape == trial.another.shape == (24, 3, 16, 16)
    assert not torch.equal(trial.real, trial.another)
    for index, prompt in enumerate(trial.prompts):
        truth = {name: int(trial.truth[name][index]) for name in VALUES}
        assert claims_hold(prompt, truth)
        assert trial.claims[index].items() <= truth.items()
    assert trial.colours == ("breast", "wing", "crown", "petal", "centre")
    assert trial.classes[CLASS] == 16
    assert trial.classes["beak_colour"] == 3
    for name, count in trial.classes.items():
        assert int(trial.truth[name].max()) < count
    again, other = procedural_trial(24, 16, seed=2), procedural_trial(24, 16, seed=3)
    assert again.prompts == trial.prompts
    assert again.real.equal(trial.real)
    assert other.prompts != trial.prompts
    assert other.key == trial.key  # one set of judges for all seeds


def test_judges_learn_from_pairs_held_out_and_others() -> None:
    trial = procedural_trial(4, 16, judged_at=16, judges_count=32)
    train = trial.train()
    assert 0 < int(train.held_out.sum()) < len(train) == 32
    assert train.size == 16


# --- command -------------------------------------------------------------------------------------

app = typer.Typer()
app.command("hfgan")(command)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of random weights that knows the words of the drawn set."""
    words = Vocabulary.build(procedural_trial(60, 16).prompts).words
    config = HfGanConfig(
        size=64, ng=4, nd=4, z=4, condition=4, dim=8, embedding=8, growth=4, vocabulary=words
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HfGan(config).save_pretrained(tmp_path / "model")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Judges without training, and what they were asked for with."""
    asked: list[dict[str, Any]] = []

    def made(data: Any, key: Any, folder: Path, *, classes: Any, **options: Any) -> Judges:
        asked.append({"folder": folder, "key": key, **options})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Judges(Classifier(classes, 4).eval(), Embedding(["bird"], 8, 4).eval(), 16, {})

    monkeypatch.setattr(judging, "judges", made)
    return asked


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_command(folder: Path, untrained: list[dict[str, Any]], tmp_path: Path) -> None:
    out, kept = tmp_path / "out", tmp_path / "judges"
    options = ("--out", out, "--judges", kept, "--count", 6, "--workers", 1, "--device", "cpu")
    result = run("--model", folder, *options, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values == json.loads((out / "results.json").read_text())
    assert values["count"] == 6
    assert values["size"] == 64
    assert "held out" in values["set"]
    assert untrained[0]["folder"] == kept
    assert untrained[0]["key"]["set"].startswith("procedural")
    again = run("--model", folder, *options, "--trained-on")
    assert again.exit_code == 0, again.output
    assert "colours trained on" in again.stdout
    assert "| VS similarity |" in again.stdout


def failure(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


def test_what_the_command_refuses(
    folder: Path, untrained: list[dict[str, Any]], tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "out", "--judges", tmp_path / "judges")
    assert "no such folder" in failure("--model", folder, "--data", tmp_path / "absent", *out)
    assert "absent" in failure("--model", tmp_path / "absent", *out)
    (tmp_path / "file").write_text("x")
    assert "cannot write" in failure("--model", folder, "--out", tmp_path / "file")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "not a layout" in failure("--model", folder, "--data", empty, *out)
    foreign = ("--inception", tmp_path / "file", "--count", 4, "--workers", 1)
    assert "not a safetensors file" in failure("--model", folder, *foreign, *out)


def test_inception_that_is_not_to_be_had_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **o: None)
    assert find_inception(None) is None
    assert "by the classifier alone" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="absent"):
        find_inception(tmp_path / "absent.safetensors")
