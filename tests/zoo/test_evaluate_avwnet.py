"""Evaluation of talking faces: a perfect model, a frozen and a deaf one get what they deserve."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from neuralpaint import cli_zoo_talking_evaluate as commands
from neuralpaint.backend.video import read_video
from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo import faces as finding
from neuralpaint.zoo import procedural_talking
from neuralpaint.zoo.avwnet import AvwnetConfig, Generator, build
from neuralpaint.zoo.data.talking import Clip, Clips, WordSpan, join
from neuralpaint.zoo.ldcgan_parts import mirrored
from neuralpaint.zoo.lipreader import LipReader, LipReaderConfig, save_reader
from neuralpaint.zoo.metrics.evaluate_talking import evaluate_avwnet
from neuralpaint.zoo.metrics.measures import Evaluation
from neuralpaint.zoo.metrics.talking_figures import AGAIN, OWN
from neuralpaint.zoo.metrics.talking_parts import (
    FROZEN,
    GIVEN,
    REAL,
    SHUFFLED,
    NetworkTalker,
    TalkingJudges,
    TalkingTrial,
    short,
    talking_trial,
)
from neuralpaint.zoo.metrics.talking_reading import same_network
from neuralpaint.zoo.talking.geometry import TEMPLATE

SIDE, FRAMES = 32, 48
FACE = torch.from_numpy(TEMPLATE.copy()).float().flatten()[None]
FACE = (FACE + mirrored(FACE)).view(68, 2) / 2  # a mirrored face is the same
MOUTH = (slice(20, 26), slice(12, 20))
WORDS = ("at", "bin", "red", "sil", "two")
LEVEL = {"sil": 0, "at": 60, "bin": 120, "red": 180, "two": 240}
SPOKEN = (
    ("at", "bin"),
    ("bin", "red"),
    ("red", "two"),
    ("at", "red"),
    ("two", "at"),
    ("bin", "at"),
)
"""What the held-out clips say, 16 frames of silence first and 16 of each word."""

# --- toy clips: how light the mouth is tells the word, and how far it is open --------------------


def landmarks(levels: Tensor) -> Tensor:
    """(T, 136): the inner edge of the lower lip goes down with the level, 3 of 68 points."""
    points = FACE.repeat(len(levels), 1, 1)
    points[:, 65:68, 1] += levels[:, None] / 2000
    return points.flatten(1)


def painted(face: Tensor, levels: Tensor) -> Tensor:
    """(T, 3, S, S) uint8 of a face (3, S, S)."""
    frames = face.repeat(len(levels), 1, 1, 1)
    frames[:, :, MOUTH[0], MOUTH[1]] = levels[:, None, None, None].to(torch.uint8)
    return frames


def heard(levels: Tensor) -> Tensor:
    """(T, 28, 12) windows."""
    return levels[:, None, None].expand(-1, 28, 12).clone()


def toy(number: int, words: tuple[str, ...], held_out: bool = True, size: int = SIDE) -> Clip:
    levels = torch.tensor([0] * 16 + [LEVEL[word] for word in words for _ in range(16)]).float()
    generator = torch.Generator().manual_seed(number)
    face = torch.randint(0, 256, (3, 4, 4), generator=generator, dtype=torch.uint8)
    face = face.repeat_interleave(size // 4, 1).repeat_interleave(size // 4, 2)
    spans = [WordSpan("sil", 0, 16)]
    spans += [WordSpan(word, 16 * n, 16 * n + 16) for n, word in enumerate(words, 1)]
    return Clip(
        name=f"clip{number}",
        frames=painted(face, levels),
        landmarks=landmarks(levels),
        windows=heard(levels),
        samples=(np.sin(np.arange(640 * len(levels)) / 9) / 2).astype(np.float32),
        words=tuple(spans),
        speaker=number % 2,
        held_out=held_out,
    )


def toys(spoken: Sequence[tuple[str, ...]] = SPOKEN, size: int = SIDE) -> Clips:
    trained = [toy(100, ("at", "two"), held_out=False, size=size)]
    return join("toys", trained + [toy(n, words, size=size) for n, words in enumerate(spoken)])


def levels_of(frames: Tensor) -> Tensor:
    """(..., T) of frames (..., T, 3, S, S) in 0 to 255."""
    return frames[..., MOUTH[0], MOUTH[1]].float().mean((-1, -2, -3))


class Perfect:
    """Does what the sound says."""

    title = "toy model (weights 0)"

    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        return torch.stack([landmarks(sound[:, 0, 0]) for sound in windows])

    def talk(self, example: Tensor, first: Tensor, windows: Tensor, landmarks: Tensor) -> Tensor:
        pairs = zip(example, windows, strict=True)
        return torch.stack([painted(face, sound[:, 0, 0]) for face, sound in pairs])


class Frozen(Perfect):
    """Does nothing."""

    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        return first[:, None].expand(-1, windows.shape[1], -1)

    def talk(self, example: Tensor, first: Tensor, windows: Tensor, landmarks: Tensor) -> Tensor:
        return example[:, None].expand(-1, windows.shape[1], -1, -1, -1)


class Deaf(Perfect):
    """Says the same, whatever it hears, but follows true landmarks."""

    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        return super().predict(self._tune(windows), first)

    def talk(self, example: Tensor, first: Tensor, windows: Tensor, landmarks: Tensor) -> Tensor:
        levels = 2000 * (landmarks.unflatten(2, (-1, 2))[..., 66, 1] - FACE[66, 1])
        sound = levels.round().float()[..., None, None].expand_as(windows)
        return super().talk(example, first, sound, landmarks)

    def _tune(self, windows: Tensor) -> Tensor:
        levels = torch.tensor([0.0] * 16 + [60.0] * 16 + [120.0] * 16)
        return levels[None, :, None, None].expand_as(windows)


class Exact(LipReader):
    """Knows the words by their levels."""

    def __init__(self, words: tuple[str, ...] = WORDS) -> None:
        nn.Module.__init__(self)
        self.config = LipReaderConfig(words=words)
        self.levels = nn.Parameter(torch.tensor([float(LEVEL.get(word, 0)) for word in words]))

    def read(self, frames: Tensor) -> Tensor:
        assert frames.shape[1] == 16
        seen = levels_of((frames + 1) * 127.5)
        return -(seen[..., None] - self.levels).abs()


def find(frames: Tensor, first: Tensor) -> Tensor:
    """Landmarks from levels; a mirrored frame has the lips in mirrored order."""
    return landmarks(levels_of(frames))


def detect(frames: Tensor) -> Tensor:
    return frames.flatten(1).float().std(1) > 0


@pytest.fixture(scope="module")
def trial() -> TalkingTrial:
    return talking_trial(toys(), 6)


JUDGES = TalkingJudges(Exact(), find, detect, name="toy judge")
MODELS = {"perfect": Perfect(), "frozen": Frozen(), "deaf": Deaf()}


@pytest.fixture(scope="module")
def results(trial: TalkingTrial, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Evaluation]:
    return {
        name: evaluate_avwnet(model, trial, JUDGES, tmp_path_factory.mktemp(name), samples=0)
        for name, model in MODELS.items()
    }


QUALITY = [
    f"{name}, {where}"
    for name in ("SSIM", "PSNR (dB)", "PSNR of the mean square of a clip (dB)")
    for where in ("whole frame", "mouth box")
]
LMD = "LMD, landmarks found (pixels), 68 points"
LIPS = "LMD, landmarks found (pixels), mouth"
AIMED = "error of the landmarks aimed at (pixels), 68 points"
OPENING = "opening of the mouth, correlation with the real one, found"
JITTER = "jitter of landmarks found, 68 points (pixels, as real is best)"
WORD = "words read back"


def table(found: Evaluation, start: str) -> dict[str, Any]:
    (one,) = [t for t in found.facts["tables"] if t["title"].startswith(start)]
    return dict(one)


# --- what is known by hand -----------------------------------------------------------------------


def still_distance() -> float:
    """LMD of the first frame repeated: 3 of 68 points are level / 2000 sides away."""
    total = sum(LEVEL[word] * 16 for words in SPOKEN for word in words)
    return total / 2000 * SIDE * 3 / 68 / (len(SPOKEN) * (FRAMES - 1))


def test_a_perfect_model_is_at_the_ceiling(results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    for name in QUALITY:
        best = 1 if name.startswith("SSIM") else 58.92
        assert found[name].generated.value == pytest.approx(best, abs=0.01)
        for control in (FROZEN, SHUFFLED):
            assert found[name].floors[control].high < 0.95 * best
        assert found[f"{name}, {GIVEN}"].generated == found[name].generated
    # The mouth is what moves, so that there the difference is larger.
    whole, mouth = (
        found[f"SSIM, {where}"].floors[FROZEN] for where in ("whole frame", "mouth box")
    )
    assert mouth.value < whole.value
    for name in (LMD, LIPS, AIMED):
        assert found[name].generated.value == pytest.approx(0, abs=1e-5)
    assert found[OPENING].generated.value == pytest.approx(1)
    assert found[WORD].generated == found[WORD].ceilings[REAL]
    assert found[WORD].generated.value == 1
    assert found[JITTER].generated == found[JITTER].ceilings[REAL]


def test_controls_by_hand(trial: TalkingTrial, results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    still = still_distance()
    for name in (LMD, AIMED):
        assert found[name].floors[FROZEN].value == pytest.approx(still, rel=1e-4)
        assert not found[name].higher
    assert found[LIPS].floors[FROZEN].value == pytest.approx(still * 68 / 20, rel=1e-4)
    for place in (OWN, AGAIN):
        assert found[LMD].ceilings[place].value == pytest.approx(0, abs=1e-5)
    # What another clip says is right where both say the same at the same time.
    spoken = [trial.clips.words[row][1:] for row in trial.rows]
    others = [trial.clips.words[row][1:] for row in trial.partners]
    pairs = zip(spoken, others, strict=True)
    same = [a == b for one, two in pairs for a, b in zip(one, two, strict=True)]
    assert found[WORD].floors[SHUFFLED].value == pytest.approx(sum(same) / 12)
    assert found[WORD].floors[FROZEN].value == 0  # silence
    assert found[WORD].chance == pytest.approx(4 / 12)  # "at"
    assert found[WORD].count == 12
    assert found["frames with a face"].generated.value == 1


def test_a_frozen_model_is_at_the_floor(results: dict[str, Evaluation]) -> None:
    found = results["frozen"]
    for name in (*QUALITY, LMD, LIPS, AIMED):
        assert found[name].generated == found[name].floors[FROZEN]
    assert found[LMD].generated.value == pytest.approx(still_distance(), rel=1e-4)
    assert found[OPENING].generated.value == found[WORD].generated.value == 0
    assert found[JITTER].generated.value == 0
    assert found[JITTER].ceilings[REAL].value > 0
    rows = table(found, "Ahead of the controls")["rows"]
    assert all(row[3] == 0 and row[6] == 0 for row in rows if row[2] == FROZEN)


def test_a_deaf_model_is_no_better_than_with_another_clips_sound(
    results: dict[str, Evaluation],
) -> None:
    """It says "at bin" to everything; given true landmarks it says what is said."""
    found = results["deaf"]
    for name in (*QUALITY, LMD, AIMED, WORD):
        assert found[name].generated == found[name].floors[SHUFFLED]
    # "at" first twice, "bin" second once
    assert found[WORD].generated.value == pytest.approx(3 / 12)
    assert found[f"{WORD}, {GIVEN}"].generated.value == 1
    assert found[f"{LMD}, {GIVEN}"].generated.value == pytest.approx(0, abs=1e-5)
    rows = {row[0]: row for row in table(found, "Words read back, 12")["rows"]}
    assert rows["generated"][5] == 0
    assert rows[GIVEN][5] == pytest.approx(75)


def test_tables(results: dict[str, Evaluation]) -> None:
    found = results["perfect"]
    assert table(found, "Words read back, 12")["header"][1:3] == ("right, %", "standard error")
    rows = {row[0]: row[1:] for row in table(found, "Words read back, 12")["rows"]}
    assert rows.keys() == {REAL, "generated", GIVEN, SHUFFLED, FROZEN, "chance"}
    assert rows["generated"][:4] == [100, 0, 100, 3]
    assert rows["chance"][:4] == [pytest.approx(100 / 3, abs=1e-3), None, 25, 1]
    shuffled = rows[SHUFFLED][0]
    assert rows["generated"][4] == pytest.approx(100 - shuffled, abs=1e-3)
    assert rows["generated"][6] > 3  # standard errors above it
    slots = table(found, "Words read back by their place")
    assert slots["header"] == ("", "word 1", "word 2")
    assert slots["rows"][-1] == ["the most frequent word", *[pytest.approx(100 / 3, abs=1e-3)] * 2]
    ahead = {(row[0], row[1], row[2]): row for row in table(found, "Ahead of")["rows"]}
    row = ahead[LMD, "generated", FROZEN]
    assert row[3] == pytest.approx(still_distance(), abs=1e-4)  # lower is better: still ahead
    assert row[6] == 100
    assert float(row[4][1:].split(",")[0]) > 0
    assert {(LMD, "generated", SHUFFLED), (LMD, GIVEN, FROZEN)} <= ahead.keys()
    assert [short(v) for v in (-0.0, -2.346, 0.0314, -4e-5)] == ["0.00", "-2.35", "0.031", "-4e-05"]


# --- what is written -----------------------------------------------------------------------------


def test_files(trial: TalkingTrial, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    out = tmp_path / "deep" / "out"
    found = evaluate_avwnet(
        Perfect(),
        trial,
        replace(JUDGES, notes=("a note",)),
        out,
        samples=2,
        facts={"trained_on": "toys"},
        report=lambda *a: said.append(a),
    )
    values = json.loads((out / "results.json").read_text())
    assert values == json.loads(json.dumps(found.to_json()))
    assert (values["set"], values["count"], values["frames"]) == ("toys, held-out clips", 6, 288)
    assert values["clips"] == [f"clip{n}" for n in range(6)]
    assert values["samples"] == ["clip0", "clip3"]
    text = (out / "results.md").read_text()
    assert text.startswith("toy model (weights 0), trained on toys: 6 clips of toys, held-out")
    assert all(f"| {figure.name}" in text for figure in found.figures)
    assert all(t["title"] in text for t in values["tables"])
    assert "- a note" in text
    assert "NaN" not in (out / "results.json").read_text()
    names = {"results.json", "results.md", "strip.png", "sample-1.mp4", "sample-2.mp4"}
    assert {path.name for path in out.iterdir()} == names
    with Image.open(out / "strip.png") as strip:
        assert strip.info["Source"] == "AI-generated image"
        assert strip.info["Clips"] == "clip0, clip3"
    frames, fps = read_video(out / "sample-1.mp4")
    assert (frames.shape, fps) == ((FRAMES, SIDE, 2 * SIDE, 3), 25)
    # Real on the left, generated on the right: here they are the same.
    halves = frames.astype(int)[:, :, :SIDE] - frames[:, :, SIDE:]
    assert abs(halves).mean() < 8
    assert b"toy model (weights 0)" in (out / "sample-1.mp4").read_bytes()
    assert said[-1] == ("speak and measure", 6, 6)


def test_the_same_seed_gives_the_same_figures(
    trial: TalkingTrial, results: dict[str, Evaluation], tmp_path: Path
) -> None:
    again = evaluate_avwnet(Deaf(), trial, JUDGES, tmp_path / "1", samples=0)
    assert again.figures == results["deaf"].figures
    other = evaluate_avwnet(Deaf(), trial, TalkingJudges(), tmp_path / "2", samples=0, seed=1)
    one, two = (found["SSIM, whole frame"].generated for found in (again, other))
    assert one.value == two.value
    assert one.low != two.low


def test_without_judges(tmp_path: Path) -> None:
    trial = talking_trial(toys(), 2)
    found = evaluate_avwnet(Perfect(), trial, TalkingJudges(), tmp_path, samples=0)
    names = [figure.name for figure in found.figures]
    assert not any(name.startswith(("LMD", "words", "jitter of landmarks found")) for name in names)
    assert found[AIMED].generated.value == pytest.approx(0, abs=1e-5)
    blind = TalkingJudges(Exact(("other", "words")))
    found = evaluate_avwnet(Perfect(), trial, blind, tmp_path, samples=0)
    assert any("knows none of the words" in note for note in found.notes)


def test_a_model_that_gives_something_else_is_refused(trial: TalkingTrial, tmp_path: Path) -> None:
    class Short(Perfect):
        def talk(self, *given: Any) -> Tensor:
            return super().talk(*given)[:, 1:]

    class Lost(Perfect):
        def predict(self, *given: Any) -> Tensor:
            return super().predict(*given) * torch.nan

    for model, what in ((Short(), "frames"), (Lost(), "landmarks")):
        with pytest.raises(ValueError, match=f"toy model.*{what}"):
            evaluate_avwnet(model, trial, JUDGES, tmp_path)


# --- trials --------------------------------------------------------------------------------------


def test_trials() -> None:
    clips = toys()
    trial = talking_trial(clips, 4, seed=1)
    assert len(trial) == 4
    assert list(trial.rows) == sorted(trial.rows)
    assert clips.held_out[list(trial.rows)].all()
    assert sorted(trial.partners) == list(trial.rows)
    assert all(a != b for a, b in zip(trial.rows, trial.partners, strict=True))
    assert talking_trial(clips, 4, seed=1).rows == trial.rows
    # One clip is trained on, of speaker 0.
    strangers = sum(int(clips.speakers[row]) for row in trial.rows)
    assert any(f"{strangers} of 4 clips are of people of whom no" in note for note in trial.notes)
    more = talking_trial(clips, 100)
    assert len(more) == 6
    assert any("6 are held out" in note for note in more.notes)
    with pytest.raises(ValueError, match="2 or more"):
        talking_trial(clips, 1)
    with pytest.raises(ValueError, match="1 clips held out"):
        talking_trial(clips.choose([0, 1]), 5)


def test_sounds_of_other_lengths_are_cut_or_end_in_silence() -> None:
    long = toy(0, ("at", "bin"))
    short = toy(1, ("two",))
    trial = talking_trial(join("toys", [long, short]), 2)
    assert trial.heard(0)[:32].equal(short.windows)
    assert not trial.heard(0)[32:].any()
    assert trial.heard(1).equal(long.windows[:32])
    assert len(talking_trial(join("t", [long, toy(2, ("at", "at")), short]), 9, least=40)) == 2


# --- the networks --------------------------------------------------------------------------------


def networks() -> tuple[AvwnetConfig, nn.ModuleDict]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reader = LipReaderConfig(words=WORDS, width=2, blocks=(1, 1, 1, 1), hidden=4)
        config = AvwnetConfig(ni=4, nd=4, audio=4, reader=reader)
        return config, build(config)


def test_the_networks_talk() -> None:
    """In pieces with the state carried on as in one pass; rows do not meet."""
    _, made = networks()
    talker = NetworkTalker(dict(made.items()), "random (weights 1)")
    clip = toy(0, ("at", "bin"), size=128)
    first, windows = clip.landmarks[:1], clip.windows[None]
    assert talker.predict(windows, first).shape == (1, FRAMES, 136)
    aimed = clip.landmarks[None]
    found = talker.talk(clip.frames[:1], first, windows, aimed)
    assert (found.shape, found.dtype) == ((1, FRAMES, 3, 128, 128), torch.uint8)
    generator = made["generator"]
    assert isinstance(generator, Generator)
    with torch.no_grad():
        whole = generator(clip.frames[:1] / 127.5 - 1, windows, aimed, first).fine
    assert (found.float() / 127.5 - 1 - whole).abs().max() <= 1.02 / 255
    both = talker.talk(
        clip.frames[[0, 5]], first.repeat(2, 1), windows.repeat(2, 1, 1, 1), aimed.repeat(2, 1, 1)
    )
    assert (both[0].int() - found[0].int()).abs().max() <= 1
    with pytest.raises(ValueError, match="not the networks"):
        NetworkTalker({"generator": made["reader"], "landmarks": made["landmarks"]}, "other")


def test_the_models_own_reader_is_known_again(tmp_path: Path) -> None:
    _, made = networks()
    _, other = networks()
    other["reader"].half().float()  # rounded
    assert same_network(made["reader"], other["reader"])
    with torch.no_grad():
        next(other["reader"].parameters()).mul_(1.1)
    assert not same_network(made["reader"], other["reader"])
    assert not same_network(made["reader"], made["landmarks"])


# --- command -------------------------------------------------------------------------------------

app = typer.Typer()
app.command("avwnet")(commands.evaluate_avwnet)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[object, ...]:
    """Options for a model and another reader of random weights."""
    config, made = networks()
    file = tmp_path / "best.safetensors"
    save_weights(made, file, {"config": json.dumps(config.to_json())}, half=True)
    own = made["reader"]
    assert isinstance(own, LipReader)
    save_reader(own, tmp_path / "own.safetensors")
    torch.manual_seed(5)
    save_reader(LipReader(config.reader), tmp_path / "reader.safetensors")
    return ("--weights", file, "--device", "cpu", "--workers", 1)


def test_command(
    files: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make(count: int, **others: Any) -> Clips:
        asked.append((count, others["held_out"], others["per_person"]))
        return toys([("at",), ("two",)], 128)

    monkeypatch.setattr(procedural_talking, "make_clips", make)
    monkeypatch.setattr(finding, "has_dlib", lambda: False)
    out = tmp_path / "out"
    reader = ("--reader", tmp_path / "reader.safetensors")
    result = run(*files, *reader, "--out", out, "--clips", 2, "--samples", 1, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values == json.loads((out / "results.json").read_text())
    assert (values["count"], values["size"]) == (2, 128)
    assert any("dlib is not installed: pip install" in note for note in values["notes"])
    assert {"SSIM, mouth box", WORD} <= {figure["name"] for figure in values["figures"]}
    assert asked == [(2, True, 1)]


def failure(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


def test_what_the_command_refuses(files: tuple[object, ...], tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    own = failure(*files, *out, "--reader", tmp_path / "own.safetensors")
    assert "the model was trained to please" in own
    assert "absent" in failure(*files, *out, "--reader", tmp_path / "absent")
    assert "no such folder" in failure(*files, *out, "--no-landmarks", "--data", tmp_path / "none")
    assert "absent" in failure("--weights", tmp_path / "absent.safetensors", *out)
    (tmp_path / "file").write_text("x")
    assert "cannot write" in failure(*files, "--out", tmp_path / "file")
