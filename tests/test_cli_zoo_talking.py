"""The command of AVWnet: from a photo and a sound to files; bad input before any work."""

import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from neuralpaint import zoo
from neuralpaint.backend import media
from neuralpaint.cli_zoo_talking import generate_avwnet
from neuralpaint.zoo.avwnet import AvwnetConfig, LipReaderConfig
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.avwnet_parts import TalkingLandmarksConfig
from neuralpaint.zoo.cards import Card, TrainingData
from neuralpaint.zoo.faces import CropFinder
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.procedural_faces import face, picture
from neuralpaint.zoo.talk_file import talk_file
from neuralpaint.zoo.talking.result import write_talk

CONFIG = AvwnetConfig(
    ni=4,
    nd=2,
    audio=2,
    landmarks=TalkingLandmarksConfig(components=3, hidden=8),
    reader=LipReaderConfig(words=("blue", "sil"), width=2, blocks=(1, 1, 1, 1), hidden=4),
)
CARD = Card(data=(TrainingData(name="drawn people", use="9 clips", terms="our own"),))

app = typer.Typer()
app.command("generate")(generate_avwnet)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def failure(*arguments: object) -> str:
    """The message of a command that must fail, with line breaks and colour removed."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return re.sub(r"\x1b\[[0-9;]*m|\s+", " ", result.stderr)


@pytest.fixture(scope="module")
def model() -> AvwNet:
    torch.manual_seed(0)
    return AvwNet(CONFIG, card=CARD, name="tiny")


@pytest.fixture(scope="module")
def given(model: AvwNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, a cropped face, and half a second of sound."""
    folder = tmp_path_factory.mktemp("given")
    model.save_pretrained(folder / "tiny")
    pixels, _ = picture(face(0), 30, 128)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / "face.png")
    time = np.arange(24_000) / 48_000
    media.write_sound(folder / "speech.wav", 0.5 * np.sin(2000 * time * (1 + time)), 48_000)
    return folder


@pytest.fixture
def options(given: Path, tmp_path: Path, model: AvwNet, monkeypatch: pytest.MonkeyPatch) -> object:
    """Weights are read once, and not for each command."""
    monkeypatch.setattr(zoo, "from_pretrained", lambda name, device: model)
    return ["--weights", given / "tiny", "--cropped", "--out", tmp_path / "out"]


def test_a_video_with_sound_and_a_strip(given: Path, tmp_path: Path) -> None:
    result = run(
        *("--face", given / "face.png", "--audio", given / "speech.wav", "--cropped"),
        *("--weights", given / "tiny", "--out", tmp_path / "out"),
    )
    assert result.exit_code == 0, result.output
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["strip.png", "talk.mp4"]
    frames, fps = media.read_video(tmp_path / "out" / "talk.mp4")
    assert (frames.shape, fps) == ((13, 128, 128, 3), 25)
    assert len(media.read_sound(tmp_path / "out" / "talk.mp4", 16_000)) >= 8000
    assert "talk.mp4: 0.52 s; the lip reader reads:" in result.stdout
    assert "trained on: drawn people (9 clips)" in result.stderr
    assert "face.png: taken for a face cropped as those of UTKFace are" in result.stderr
    with Image.open(tmp_path / "out" / "strip.png") as page:
        assert page.info["Face"] == "face.png"
        assert page.info["Sound"] == "speech.wav"


def test_files_hold_what_generate_makes(model: AvwNet, given: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    made = talk_file(
        model,
        given / "face.png",
        given / "speech.wav",
        tmp_path,
        finder=CropFinder(),
        report=lambda ready, total: done.append((ready, total)),
    )
    video = model.generate(given / "face.png", given / "speech.wav", finder=CropFinder())
    assert (made.frames, made.words, made.notes) == (13, video.words, video.notes)
    assert done == [(number, 13) for number in range(1, 14)]
    video.save(tmp_path / "again.mp4")
    assert made.files[0].read_bytes() == (tmp_path / "again.mp4").read_bytes()
    video.strip().save(tmp_path / "again.png")
    assert made.files[1].read_bytes() == (tmp_path / "again.png").read_bytes()


def test_a_text_in_place_of_a_sound(given: Path, tmp_path: Path, options: list[object]) -> None:
    spoken = ["--text", "at", "--engine", "formant", "--voice", 2, "--no-words"]
    result = run("--face", given / "face.png", *spoken, "--json", *options)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["words"] == []
    assert facts["files"] == ["talk.mp4", "strip.png"]
    assert facts["seconds"] == facts["frames"] / 25
    assert any("formant synthesiser" in note for note in facts["notes"])
    with Image.open(tmp_path / "out" / "strip.png") as page:
        assert page.info["Text"] == "at"
        assert page.info["Voice"] == "the built-in formant synthesiser, voice 2"


def test_bad_input_is_told_and_nothing_is_written(
    given: Path, tmp_path: Path, options: list[object]
) -> None:
    face, speech = ["--face", given / "face.png"], ["--audio", given / "speech.wav"]
    assert "give --audio or --text" in failure(*face, *options)
    assert "give --audio or --text" in failure(*face, *speech, "--text", "now", *options)
    assert "gone.wav: no such file" in failure(*face, "--audio", "gone.wav", *options)
    assert "gone.png: no such file" in failure("--face", "gone.png", *speech, *options)
    assert "no sound" in failure(*face, "--audio", given / "face.png", *options)
    assert "there is no face 1; it has 1" in failure(*face, *speech, "--face-index", 1, *options)
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    media.write_video(tmp_path / "mute.mp4", frames, 25)
    assert "mute.mp4: no sound in it" in failure(*face, "--audio", tmp_path / "mute.mp4", *options)
    Image.fromarray(np.zeros((50, 80, 3), np.uint8)).save(tmp_path / "wide.png")
    wide = failure("--face", tmp_path / "wide.png", *speech, *options)
    assert "wide.png: a picture of 80x50 pixels is not a cropped face" in wide
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_is_found_before_the_work(
    given: Path, tmp_path: Path, model: AvwNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AvwNet, "stream", lambda *_, **__: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write to this output folder"):
        talk_file(model, given / "face.png", given / "speech.wav", tmp_path / "file" / "out")


@contextmanager
def full_disk(room: int) -> Iterator[None]:
    """No file can grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_broken_video(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (25, 128, 128, 3), np.uint8)
    sound = np.zeros(16_000, np.float32)
    with full_disk(50_000), pytest.raises(media.MediaError, match=r"talk\.mp4: ffmpeg"):
        write_talk(tmp_path / "talk.mp4", frames, sound, {})
    assert not list(tmp_path.iterdir())
    write_talk(tmp_path / "talk.mp4", frames, sound, {})
    assert (tmp_path / "talk.mp4").stat().st_size > 50_000


def test_weights_of_another_kind(given: Path, tmp_path: Path) -> None:
    config = HfGanConfig(size=64, ng=2, nd=2, vocabulary=("bird",))
    HfGan(config).save_pretrained(tmp_path / "other")
    asked = ["--face", given / "face.png", "--audio", given / "speech.wav"]
    message = failure(*asked, "--weights", tmp_path / "other")
    assert "a model of kind 'hfgan', not 'avwnet'" in message
    assert "no such file" in failure(*asked, "--weights", "gone.safetensors")
