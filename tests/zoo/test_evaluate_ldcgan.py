"""Evaluation of face ageing: a perfect model and a copier get what they deserve."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from neuralpaint.backend.buckets import Batch
from neuralpaint.cli_zoo_faces_evaluate import evaluate_ldcgan as command
from neuralpaint.cli_zoo_faces_evaluate import face_judges
from neuralpaint.zoo import faces as finding
from neuralpaint.zoo.ages import CENTRES, COUNT, GROUPS, groups_of
from neuralpaint.zoo.data.faces import Faces
from neuralpaint.zoo.face_judges import AgeRegressor, save_judge
from neuralpaint.zoo.face_template import TEMPLATE
from neuralpaint.zoo.inception import Features, InceptionV3
from neuralpaint.zoo.ldcgan import LdcGanConfig
from neuralpaint.zoo.ldcgan_model import LdcGan
from neuralpaint.zoo.metrics import ageing_trials
from neuralpaint.zoo.metrics.ageing_parts import FaceJudges
from neuralpaint.zoo.metrics.ageing_trials import (
    MIDDLES,
    YOUNG,
    AgeingTrial,
    drawn_trial,
    photo_trial,
)
from neuralpaint.zoo.metrics.evaluate_ageing import age_all, evaluate_ldcgan
from neuralpaint.zoo.metrics.measures import Evaluation

SIDE = 32
INNER = slice(12, 20)
COPY, TRUTH, WRONG = "copy of the input", "the person at that age", "another person"
REAL, NOISE = "other real faces", "noise"

# --- toy faces: the middle tells the age, what surrounds it who it is ----------------------------


def landmarks(age: float) -> Tensor:
    """(136,): a small face in the middle, lower with age."""
    points = torch.from_numpy(TEMPLATE.copy()).float() * 0.25 + 0.375
    points[:, 1] += age / 1000
    return points.flatten()


def toy(identity: int, age: float) -> Tensor:
    """(3, S, S) uint8."""
    generator = torch.Generator().manual_seed(identity)
    colours = torch.randint(0, 256, (3, 4, 4), generator=generator, dtype=torch.uint8)
    face = colours.repeat_interleave(8, 1).repeat_interleave(8, 2)
    face[:, INNER, INNER] = round(2 * age)
    return face


def crowd(people: Sequence[int], ages: Sequence[int], held_out: bool = True) -> Faces:
    pairs = list(zip(people, ages, strict=True))
    return Faces(
        name="toys",
        images=torch.stack([toy(who, age) for who, age in pairs]),
        ages=torch.tensor(ages),
        landmarks=torch.stack([landmarks(age) for age in ages]),
        identity=torch.tensor(people),
        held_out=torch.full((len(pairs),), held_out),
    )


class Exact(AgeRegressor):
    """Reads the age, and the colour of the middle, of a corner and of a side."""

    def __init__(self) -> None:
        super().__init__(1)
        self.head = torch.nn.Identity()  # type: ignore[assignment]

    def pooled(self, images: Tensor) -> Tensor:
        middle = (images[:, :, INNER, INNER].mean((1, 2, 3)) + 1) / 2 * 127.5
        return torch.stack([middle, images[:, 0, 0, 0] * 10, images[:, 1, 0, 16] * 10], 1)

    def years(self, logits: Tensor) -> Tensor:
        return logits[:, 0]


def embed(images: Tensor) -> Tensor:
    """Colours around the middle."""
    cells = images.float()[:, :, ::8, ::8] / 255
    cells[:, :, 1:3, 1:3] = 0
    return cells.flatten(1)


class Model:
    """Makes of a toy what `paint` says."""

    title = "toy model (weights 0)"

    def __init__(self, paint: Callable[[Tensor, int], Tensor], keep: bool = False) -> None:
        self.paint, self.keep = paint, keep

    def run(self, requests: Sequence[Batch], progress: Callable[[int, int], None]) -> list[Batch]:
        results = []
        for number, request in enumerate(requests, 1):
            pixels = ((request["image"] + 1) * 127.5).round().to(torch.uint8)
            group = int(request["group"])
            mask = torch.zeros(SIDE, SIDE)
            mask[INNER, INNER] = 1
            results.append(
                {
                    "image": self.paint(pixels, group) / 255,
                    "mask": mask,
                    "landmarks": request["landmarks"] if self.keep else landmarks(CENTRES[group]),
                }
            )
            progress(number, len(requests))
        return results


def perfectly(pixels: Tensor, group: int) -> Tensor:
    made = pixels.clone()
    made[:, INNER, INNER] = 2 * CENTRES[group]
    return made


def half(pixels: Tensor, group: int) -> Tensor:
    """Half of the years, and the border a little darker."""
    made = pixels.clone()
    old = pixels[:, INNER, INNER].int()
    made = (made.int() - 8).clamp(0, 255).to(torch.uint8)
    made[:, INNER, INNER] = ((old + 2 * CENTRES[group]) // 2).to(torch.uint8)
    return made


def stranger(pixels: Tensor, group: int) -> Tensor:
    return toy(int(pixels.long().sum()) % 1000 + 5000, CENTRES[group])


@pytest.fixture(scope="module")
def trial() -> AgeingTrial:
    own = [group for group in range(COUNT) for _ in range(8 if group == YOUNG else 2)]
    people = list(range(len(own)))
    sources = crowd(people, [CENTRES[group] + 1 for group in own])
    lives = [crowd([who] * COUNT, CENTRES) for who in people]
    return AgeingTrial(
        name="toys, held out",
        sources=sources,
        real=crowd(range(100, 180), [CENTRES[i % COUNT] + i // COUNT % 3 - 1 for i in range(80)]),
        targets=torch.tensor(CENTRES, dtype=torch.float64),
        truth=torch.stack([life.images for life in lives]),
        truth_landmarks=torch.stack([life.landmarks for life in lives]),
    )


def judges(**more: Any) -> FaceJudges:
    return FaceJudges(Exact(), embed, name="toy judge", **more)


MODELS = {
    "perfect": Model(perfectly),
    "copy": Model(lambda pixels, group: pixels, keep=True),
    "half": Model(half),
    "stranger": Model(stranger),
}


@pytest.fixture(scope="module")
def results(trial: AgeingTrial, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluation]:
    return {
        name: evaluate_ldcgan(model, trial, judges(), tmp_path_factory.mktemp(name))
        for name, model in MODELS.items()
    }


GAP = "age gap, inputs of all other groups (years)"
ERROR = "age error, inputs of all other groups (years)"
YOUNG_GAP = "age gap, inputs up to 20 (years)"
FID = "FID(age regressor)"
SAME, APART = "verified by toy judge, 11-20 to 51+", "distance by toy judge, all ages"
PIXELS = "pixel error (levels of 255), 2 groups or more away"
PLACES = "error of the landmarks aimed at (pixels), 2 groups or more away"
OUTSIDE = "change outside the face box (levels of 255)"


def table(found: Evaluation, start: str) -> dict[str, Any]:
    (one,) = [t for t in found.facts["tables"] if t["title"].startswith(start)]
    return dict(one)


# --- floors and ceilings -------------------------------------------------------------------------


def test_a_perfect_model_is_at_the_ceiling(results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    for name in (GAP, YOUNG_GAP):
        assert found[name].generated.value < 0.15  # of the real faces' draw
        assert found[name].generated == found[name].ceilings[TRUTH]
        assert found[name].floors[COPY].value > 20
    assert found[ERROR].generated.value == pytest.approx(0, abs=1e-4)
    assert found[ERROR].ceilings["real faces, at their own ages"].value < 1e-4
    assert found[SAME].generated.value == 1
    assert found[SAME].floors[WRONG].value == 0
    assert found[APART].generated.value == 0
    assert found[APART].floors[WRONG].value > 1
    assert found[PIXELS].generated.value == found[PLACES].generated.value == 0
    assert found[PIXELS].floors[COPY].value > 1
    assert found[PLACES].floors[COPY].value > 0.5
    for name in ("pixel error", "error of the landmarks aimed at"):
        assert found[f"nearer than the input, {name}, 2 groups or more away"].generated.value == 1
    assert found[OUTSIDE].generated.value == 0
    assert found[OUTSIDE].floors[WRONG].value > 50
    assert found[FID].generated.value < 0.2 * found[FID].floors[NOISE].value
    tests = table(found, "Estimated ages against")["rows"]
    assert {row[0] for row in tests} == set(GROUPS)
    assert all(row[6] < 0.05 for row in tests if row[1] == "generated")  # equivalent
    assert all(row[6] > 0.05 for row in tests if row[:2] == ["81+", COPY])


def test_a_copier_is_at_the_floor(results: dict[str, Evaluation]) -> None:
    found = results["copy"]
    for name in (GAP, ERROR, YOUNG_GAP, PIXELS, PLACES):
        assert found[name].generated == found[name].floors[COPY]
    for name in (GAP, ERROR, YOUNG_GAP):
        better = [results[model][name].generated.value for model in ("perfect", "half", "copy")]
        assert better == sorted(better)
        assert better[0] < better[2] / 10
    nearer = "nearer than the input, pixel error, 2 groups or more away"
    assert found[nearer].generated.value == 0
    # As good as can be where nothing needs to be done.
    assert found[SAME].generated.value == 1
    assert found[OUTSIDE].generated.value == 0


def test_half_the_way_is_between(results: dict[str, Evaluation]) -> None:
    found = results["half"]
    assert found[ERROR].generated.value == pytest.approx(found[ERROR].floors[COPY].value / 2, 0.02)
    assert found[OUTSIDE].generated.value == pytest.approx(8, abs=0.5)
    where = "change outside it where age changes nothing (levels of 255)"
    assert found[where].generated.value == pytest.approx(8, abs=0.5)
    # The mask says that the border was kept, so pasting back leaves it, crop and photo.
    for name in ("crop", "face box, in the crop"):
        pasted = found[f"change outside the {name}, pasted back (levels of 255)"]
        assert pasted.generated.value == 0


def test_a_stranger_of_the_right_age(results: dict[str, Evaluation]) -> None:
    found = results["stranger"]
    assert found[ERROR].generated.value == pytest.approx(0, abs=1e-4)
    assert found[SAME].generated.value == 0
    assert found[SAME].ceilings[TRUTH].value == found[SAME].ceilings[COPY].value == 1
    assert found[APART].generated.value == pytest.approx(found[APART].floors[WRONG].value, rel=0.2)
    rows = table(found, "Verification as Table 4.3")["rows"]
    assert rows[0][0] == "11-20 (inputs)"
    assert all(abs(value - 50) < 25 for value in rows[0][2:])
    assert rows[1][1:] == ["rate", 0, 0, 0, 0]


def test_tables_of_a_perfect_model(results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    rows = table(found, "Mean estimated ages in years as Table 4.2, inputs up to 20")["rows"]
    named = {row[0]: row[1:] for row in rows}
    assert named["real"] == pytest.approx(list(CENTRES), abs=0.6)
    assert named["generated"][:3] == [None] * 3  # only older ages are asked of the young
    assert named["generated"][3:] == pytest.approx(list(CENTRES[3:]), abs=1e-3)
    assert named["pictures"][3:] == [12] * 7
    rows = table(found, "Verification as Table 4.3")["rows"]
    names = [row[0] for row in rows if row[0]]
    assert names[:4] == ["11-20 (inputs)", TRUTH, WRONG, COPY]
    assert names[4:] == ["21-30 (aged)", "31-40 (aged)", "41-50 (aged)"]
    assert rows[0][1:] == ["confidence", 100, 100, 100, 100]
    assert rows[-2][2:] == [None, None, None, 100]
    distance = table(found, "Errors against the same person")
    copied = next(row for row in distance["rows"] if row[1] == COPY)[2:]
    assert copied == sorted(copied)  # the further, the more there is to do
    by_group = table(found, "The same by target group")["rows"]
    pairs = zip(by_group[0][2:], by_group[1][2:], strict=True)
    assert all(made < given for made, given in pairs)


# --- what is written -----------------------------------------------------------------------------


def test_files(trial: AgeingTrial, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    out = tmp_path / "deep" / "out"
    found = evaluate_ldcgan(
        Model(half),
        trial,
        judges(notes=("a note",)),
        out,
        facts={"trained_on": "toys"},
        report=lambda *a: said.append(a),
    )
    values = json.loads((out / "results.json").read_text())
    assert values == json.loads(json.dumps(found.to_json()))
    assert (values["set"], values["count"], values["real"]) == ("toys, held out", 26, 80)
    text = (out / "results.md").read_text()
    assert text.startswith("toy model (weights 0), trained on toys: 26 inputs of toys, held out")
    assert all(f"| {figure.name}" in text for figure in found.figures)
    assert all(t["title"] in text for t in values["tables"])
    assert "- a note" in text
    assert "NaN" not in (out / "results.json").read_text()
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.info["Source"] == "AI-generated image"
        assert sheet.height > 8 * SIDE
        assert sheet.width > 11 * SIDE
    assert ("age", 260, 260) in said
    assert {path.name for path in out.iterdir()} == {"results.json", "results.md", "sheet.png"}


def test_the_same_seed_gives_the_same_figures(
    trial: AgeingTrial, results: dict[str, Evaluation], tmp_path: Path
) -> None:
    again = evaluate_ldcgan(Model(half), trial, judges(), tmp_path / "1")
    other = evaluate_ldcgan(Model(half), trial, judges(), tmp_path / "2", seed=1)
    assert again.figures == results["half"].figures
    assert again[APART].floors != other[APART].floors
    assert again[GAP] == other[GAP]


def test_without_truth_and_without_a_judge_of_identity(trial: AgeingTrial, tmp_path: Path) -> None:
    bare = replace(trial, truth=None, truth_landmarks=None)
    found = evaluate_ldcgan(Model(half), bare, FaceJudges(Exact()), tmp_path)
    names = " ".join(figure.name for figure in found.figures)
    assert "verified" not in names
    assert "pixel error" not in names
    assert TRUTH not in found[GAP].ceilings
    assert found[OUTSIDE].ceilings.keys() == {COPY}


def test_too_few_real_faces_leave_verification_out(trial: AgeingTrial, tmp_path: Path) -> None:
    few = replace(trial, real=crowd(range(100, 120), [CENTRES[i % COUNT] for i in range(20)]))
    found = evaluate_ldcgan(Model(half), few, judges(), tmp_path)
    assert any("verification is left out: 190 pairs" in note for note in found.notes)
    assert not any("verified" in figure.name for figure in found.figures)


def test_a_regressor_that_knows_nothing_is_said(trial: AgeingTrial, tmp_path: Path) -> None:
    class Blind(Exact):
        def years(self, logits: Tensor) -> Tensor:
            return 0 * logits[:, 0] + 40

    found = evaluate_ldcgan(Model(half), trial, FaceJudges(Blind()), tmp_path)
    assert any("was it trained on such faces?" in note for note in found.notes)
    sure = evaluate_ldcgan(Model(half), trial, FaceJudges(Exact()), tmp_path)
    assert not any("was it trained" in note for note in sure.notes)


def test_landmarks_found_in_pictures_and_a_second_network(
    trial: AgeingTrial, tmp_path: Path
) -> None:
    class Edges(InceptionV3):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.name = "edges"

        def forward(self, images: Tensor) -> Features:
            edges = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean((2, 3))
            return Features(images, edges, edges)

    def find(images: Tensor) -> Tensor:
        """Reads the age off, is a pixel off, and misses faces of people over 85."""
        ages = images[:, 0, SIDE // 2, SIDE // 2] / 2
        rows = torch.stack([landmarks(age) for age in ages.tolist()])
        rows[:, ::2] += 1 / SIDE
        rows[ages > 85] = torch.nan
        return rows

    found = evaluate_ldcgan(Model(perfectly), trial, judges(find=find, inception=Edges()), tmp_path)
    figure = found["error of landmarks found by toy judge (pixels), 2 groups or more away"]
    assert figure.generated.value == figure.ceilings[TRUTH].value == pytest.approx(1, abs=1e-3)
    assert figure.floors[COPY].value > 1.2
    assert any("toy judge finds no face" in note for note in found.notes)
    assert found["FID(edges)"].generated.value < found["FID(edges)"].floors[NOISE].value


def test_models_that_give_other_faces(trial: AgeingTrial) -> None:
    class Wrong(Model):
        def __init__(self, name: str, values: Tensor) -> None:
            super().__init__(half)
            self.name, self.values = name, values

        def run(self, requests: Any, progress: Any) -> list[Batch]:
            return [{**row, self.name: self.values} for row in super().run(requests, progress)]

    for name, values in (
        ("image", torch.zeros(3, SIDE, SIDE + 1)),
        ("mask", torch.full((SIDE, SIDE), torch.nan)),
        ("landmarks", torch.zeros(68, 2)),
    ):
        with pytest.raises(ValueError, match=f"toy model .*: gave {name}"):
            age_all(Wrong(name, values), trial)


# --- trials --------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ageing_trials, "REAL_PER_GROUP", 1)


def test_drawn_people(few: None) -> None:
    trial = drawn_trial(1, 32, seed=2)
    assert len(trial) == 13
    assert len(trial.real) == 20
    groups = groups_of(trial.sources.ages)
    assert torch.bincount(groups, minlength=10).tolist() == [1, 1, 4] + [1] * 7
    assert trial.sources.held_out.all()
    assert trial.real.held_out.all()
    assert groups_of(trial.targets).tolist() == list(range(10))
    assert trial.truth is not None
    # The truth shows the same person in the same scene.
    apart = (trial.truth.int() - trial.sources.images[:, None].int()).abs().float().mean((2, 3, 4))
    assert (apart.mean(1) < 25).all()
    mixed = (trial.truth.int() - trial.sources.images.roll(1, 0)[:, None].int()).abs().float()
    assert mixed.mean() > 2 * apart.mean()
    assert MIDDLES == (2, 8, 15, 25, 35, 45, 55, 65, 75, 90)


def test_photographs() -> None:
    ages = [CENTRES[i % 9] for i in range(180)]
    data = crowd(list(range(180)), ages)
    data.landmarks[:9] = torch.nan
    data = replace(data, held_out=torch.arange(180) >= 9, landmarks=data.landmarks)
    data.landmarks[9] = torch.nan
    trial = photo_trial(data, 4, seed=1)
    counts = torch.bincount(groups_of(trial.sources.ages), minlength=10).tolist()
    assert counts == [4, 4, 9] + [4] * 6 + [0]  # of 11-20 half of 19
    ours = {row.numpy().tobytes() for row in trial.sources.images}
    assert len(ours) == len(trial)
    assert not ours & {row.numpy().tobytes() for row in trial.real.images}
    assert trial.sources.has_landmarks.all()
    assert any("1 held-out faces in which no landmarks" in note for note in trial.notes)
    assert any("9 of 11-20" in note and "0 of 81+" in note for note in trial.notes)
    assert photo_trial(data, 4, seed=1).sources.images.equal(trial.sources.images)


def test_trials_that_cannot_be_measured(trial: AgeingTrial) -> None:
    blank = replace(trial.sources, landmarks=trial.sources.landmarks * torch.nan)
    with pytest.raises(ValueError, match="no landmarks"):
        replace(trial, sources=blank)
    with pytest.raises(ValueError, match="without their landmarks"):
        replace(trial, truth_landmarks=None)
    with pytest.raises(ValueError, match="at least 1"):
        drawn_trial(0, 32)
    lonely = replace(trial.sources, held_out=torch.zeros(len(trial), dtype=torch.bool))
    with pytest.raises(ValueError, match="no face is held out"):
        photo_trial(lonely, 2)


# --- command -------------------------------------------------------------------------------------

app = typer.Typer()
app.command("ldcgan")(command)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[object, ...]:
    """Options for a model and a regressor of random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=8, judge=4)
        folder = LdcGan(config).save_pretrained(tmp_path / "model")
        save_judge(AgeRegressor(4), tmp_path / "ages.safetensors")
    return ("--weights", folder, "--regressor", tmp_path / "ages.safetensors", "--device", "cpu")


def test_command(
    few: None, files: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(finding, "has_dlib", lambda: False)
    monkeypatch.setattr(ageing_trials, "MORE_YOUNG", 1)
    out = tmp_path / "out"
    result = run(*files, "--out", out, "--per-group", 1, "--workers", 1, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values == json.loads((out / "results.json").read_text())
    assert values["set"] == "procedural faces (portrait), held-out people"
    assert values["size"] == 64
    assert any("dlib is not installed: pip install" in note for note in values["notes"])
    names = [figure["name"] for figure in values["figures"]]
    assert GAP in names
    assert PIXELS in names


def failure(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


def test_what_the_command_refuses(files: tuple[object, ...], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "no such folder" in failure(*files, *out, "--data", tmp_path / "absent")
    assert "absent" in failure(*files, *out, "--regressor", tmp_path / "absent")
    model = tmp_path / "model" / "model.safetensors"
    assert "not a judge" in failure(*files, *out, "--regressor", model)
    assert "--margin" in failure(*files, *out, "--margin", 0)
    (tmp_path / "file").write_text("x")
    assert "cannot write" in failure(*files, "--out", tmp_path / "file")


def test_judges_that_are_not_there_are_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **o: None)
    found = face_judges(AgeRegressor(1), None, False, drawn=True)
    assert found.embed is found.find is found.inception is None
    assert any("Inception-v3" in note for note in found.notes)
    assert any("it was not asked for" in note for note in found.notes)
    assert "by the age regressor alone" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="absent"):
        face_judges(AgeRegressor(1), tmp_path / "absent.safetensors", False, drawn=True)
