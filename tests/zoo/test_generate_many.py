import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpaint.zoo import generate_many as many
from neuralpaint.zoo.generate_many import generate_many, process, read_prompts
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.result import GeneratedImage, ImageResult

CONFIG = HfGanConfig(
    size=64,
    ng=2,
    nd=2,
    z=6,
    condition=3,
    dim=4,
    embedding=5,
    growth=2,
    vocabulary=("a", "red", "blue", "bird"),
)
PROMPTS = ["a red bird", "a blue bird", "bird"]


@pytest.fixture(scope="module")
def model() -> HfGan:
    torch.manual_seed(0)
    return HfGan(CONFIG, name="tiny")


def images(folder: Path) -> list[Path]:
    return sorted(folder.glob("0*.png"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def whole(model: HfGan, tmp_path: Path) -> dict[str, bytes]:
    """The files of a run in one go."""
    generate_many(model, PROMPTS, tmp_path / "whole", num_images=2, seed=5)
    return contents(tmp_path / "whole")


class Killed(BaseException):
    pass


def test_the_images_are_those_of_one_call(model: HfGan, tmp_path: Path) -> None:
    done = generate_many(model, PROMPTS, tmp_path, num_images=2, seed=5)
    assert (done.items, done.own, done.made, done.complete) == (6, 6, 6, True)
    result = model.generate(PROMPTS, num_images=2, seed=5)
    assert [file.name for file in images(tmp_path)] == [f"{n:05d}.png" for n in range(6)]
    for number, file in enumerate(images(tmp_path)):
        with Image.open(file) as stored:
            assert np.array_equal(np.asarray(stored), np.asarray(result[number]))
            assert stored.info == result.texts(number)


def test_the_manifest_says_what_is_where(model: HfGan, tmp_path: Path) -> None:
    generate_many(model, PROMPTS, tmp_path, num_images=2, seed=5)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    result = model.generate(PROMPTS, num_images=2, seed=5)
    assert manifest["items"] == [
        {"file": f"{n:05d}.png", "prompt": result.prompts[n], "seed": result.seeds[n]}
        for n in range(6)
    ]
    assert (manifest["model"], manifest["weights"]) == ("tiny", model.fingerprint)
    assert "AI-generated" in manifest["source"]


def test_the_sheet_shows_them_and_carries_provenance(model: HfGan, tmp_path: Path) -> None:
    generate_many(model, PROMPTS, tmp_path, seed=5)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.info["Prompt"] == " | ".join(PROMPTS)
        assert "AI-generated" in sheet.info["Source"]
        assert sheet.width == 3 * 168 + 8


def test_progress_counts_the_images_of_this_process(model: HfGan, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    generate_many(
        model, PROMPTS, tmp_path, num_images=2, report=lambda *numbers: told.append(numbers)
    )
    assert told == [(n, 6) for n in range(7)]


# --- going on -------------------------------------------------------------------------------------


def test_a_finished_run_makes_nothing(
    model: HfGan, whole: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> ImageResult:
        raise AssertionError("made twice")

    monkeypatch.setattr(HfGan, "generate", fail)
    done = generate_many(model, PROMPTS, tmp_path / "whole", num_images=2, seed=5)
    assert (done.made, done.complete) == (0, True)
    assert contents(tmp_path / "whole") == whole


@pytest.mark.parametrize("moment", range(6))
def test_killed_and_gone_on_is_as_if_in_one_go(
    model: HfGan,
    whole: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: int,
) -> None:
    out = tmp_path / "killed"

    def kill(done: int, total: int) -> None:
        if done == moment:
            raise Killed

    with pytest.raises(Killed):
        generate_many(model, PROMPTS, out, num_images=2, seed=5, report=kill)
    there = {name: content for name, content in contents(out).items() if name.endswith(".png")}
    assert len(there) >= moment
    assert there.items() <= whole.items()

    made: list[str] = []
    save = GeneratedImage.save

    def counted(self: GeneratedImage, path: Path, *rest: Any) -> None:
        made.append(path.name)
        save(self, path, *rest)

    monkeypatch.setattr(GeneratedImage, "save", counted)
    generate_many(model, PROMPTS, out, num_images=2, seed=5)
    assert contents(out) == whole
    assert sorted([*made, *there]) == sorted(name for name in whole if name.endswith(".png"))


def test_an_image_that_is_gone_is_made_again(
    model: HfGan, whole: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "whole/00003.png").unlink()
    done = generate_many(model, PROMPTS, tmp_path / "whole", num_images=2, seed=5)
    assert (done.made, done.own) == (1, 6)
    assert contents(tmp_path / "whole") == whole


def test_a_failed_write_leaves_no_half_file(
    model: HfGan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Image.Image, path: Path, *_: object, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="no space left"):
        generate_many(model, PROMPTS, tmp_path, seed=5)
    assert images(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "was begun with seed=5; use another folder"),
        ({"num_images": 3}, "was begun with num_images=2"),
        ({"prompts": PROMPTS[:2]}, "was begun with other prompts"),
    ],
)
@pytest.mark.usefixtures("whole")
def test_other_settings_need_another_folder(
    model: HfGan, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    options = {"prompts": PROMPTS, "num_images": 2, "seed": 5, **change}
    with pytest.raises(ValueError, match=message):
        generate_many(model, out=tmp_path / "whole", **options)


@pytest.mark.usefixtures("whole")
def test_other_weights_need_another_folder(model: HfGan, tmp_path: Path) -> None:
    torch.manual_seed(1)
    other = HfGan(CONFIG, name="tiny")
    with pytest.raises(ValueError, match=f"was begun with weights='{model.fingerprint}'"):
        generate_many(other, PROMPTS, tmp_path / "whole", num_images=2, seed=5)


# --- several processes ----------------------------------------------------------------------------


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_the_work(
    model: HfGan, whole: dict[str, bytes], tmp_path: Path, world: int
) -> None:
    out = tmp_path / "shared"
    parts = [
        generate_many(model, PROMPTS, out, num_images=2, seed=5, rank=rank, world=world)
        for rank in range(world)
    ]
    assert sum(part.made for part in parts) == sum(part.own for part in parts) == 6
    assert [part.complete for part in parts] == [n + 1 >= min(world, 6) for n in range(world)]
    assert contents(out) == whole


def test_another_number_of_processes_may_go_on(
    model: HfGan, whole: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "shared"
    generate_many(model, PROMPTS, out, num_images=2, seed=5, rank=1, world=2)
    assert "sheet.png" not in contents(out)
    done = generate_many(model, PROMPTS, out, num_images=2, seed=5)
    assert (done.made, done.own) == (3, 6)
    assert contents(out) == whole


def test_the_process_is_what_torchrun_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert process() == (0, 1)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert process() == (3, 4)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_images": 0}, "0 images of each prompt"),
        ({"num_images": 10**6}, "make 1 to 100000 in all"),
        ({"prompts": []}, "there is no prompt"),
        ({"prompts": ["a bird", "cat"]}, "prompt 2 has no word that the model knows"),
        ({"seed": -1}, "seed -1 is out of range"),
        ({"rank": 2, "world": 2}, "process 2 of 2 cannot be"),
        ({"rank": 0, "world": 0}, "process 0 of 0 cannot be"),
    ],
)
def test_bad_arguments_come_before_any_file(
    model: HfGan, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate_many(model, out=tmp_path / "out", **{"prompts": PROMPTS, **change})
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(model: HfGan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write to this output folder"):
        generate_many(model, PROMPTS, tmp_path / "file")


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_manifest_of_something_else(model: HfGan, tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json: "):
        generate_many(model, PROMPTS, tmp_path)


def test_prompts_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeffa red bird\r\n\n  schöner Vogel \n".encode())
    assert read_prompts(path) == ["a red bird", "schöner Vogel"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "the file is empty"), (b"\n \n", "holds no prompt"), (b"\xff\xfe a", "not a text")],
)
def test_files_without_prompts(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_prompts(path)
    with pytest.raises(ValueError, match="no such file"):
        read_prompts(tmp_path / "absent.txt")


def test_a_file_of_prompts_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MAX_PROMPTS_BYTES", 5)
    (tmp_path / "prompts.txt").write_text("a bird")
    with pytest.raises(ValueError, match="6 bytes, no list of prompts"):
        read_prompts(tmp_path / "prompts.txt")
