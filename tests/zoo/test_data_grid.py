"""GRID in its official layouts and the cache of clips, with small videos of made-up faces."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from neuralpaint.backend import datasets
from neuralpaint.backend.files import UnwritableFolderError
from neuralpaint.zoo.data import talking_pack
from neuralpaint.zoo.data.grid import open_grid, read_align
from neuralpaint.zoo.data.talking import SILENCE, Clips, WordSpan
from neuralpaint.zoo.talking import mfcc
from neuralpaint.zoo.talking.geometry import RIGHT, SHRINK, TEMPLATE
from tests.zoo.talking_scenes import Square, write_talk

NAMES = ("bbaf2n", "lrwi4a", "pgid9s", "sbwo1s")
ALIGN = "0 2000 sil\n2000 4500 bin\n4500 5000 sp\n5000 7250 Blue\n7250 7250 in\n7250 9500 sil\n"


class Killed(BaseException):
    """Ends a run as a signal would."""


class Counting(Square):
    """Counts how many clips it was made for, and how often it was asked to find a face."""

    made = 0
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).made += 1

    def find(self, image: Any) -> Any:
        type(self).asked += 1
        return super().find(image)


@pytest.fixture
def follower() -> type[Counting]:
    Counting.made = Counting.asked = 0
    return Counting


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips of speaker 1, of 10 frames, the first of 12; each square moves in its own way."""
    root = tmp_path_factory.mktemp("grid")
    for number, name in enumerate(NAMES):
        count = 12 if number == 0 else 10
        places = [(60 + number + t * (number - 2) / 2, 55 + t / 2) for t in range(count)]
        write_talk(root / "s1" / f"{name}.mp4", places, tone=300 + 100 * number)
        align = root / "align" / "s1" / f"{name}.align"
        align.parent.mkdir(parents=True, exist_ok=True)
        align.write_text(ALIGN)
    return root


@pytest.fixture
def grid(videos: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(videos, tmp_path / "grid"))


@pytest.fixture
def opened(tmp_path: Path, follower: type[Counting]) -> Callable[..., Clips]:
    """Opens GRID with an empty cache of the test's own."""
    return partial(open_grid, size=64, cache=tmp_path / "cache", make=follower)


@pytest.fixture(scope="session")
def worked_through(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that has the four clips."""
    cache = tmp_path_factory.mktemp("cache")
    open_grid(videos, 64, cache=cache, make=Square)
    return cache


@pytest.fixture
def warm(worked_through: Path, tmp_path: Path) -> None:
    """Gives the test a cache that has the four clips, which copies of the videos are known by."""
    shutil.copytree(worked_through, tmp_path / "cache")


def test_clips_of_grid(grid: Path, opened: Callable[..., Clips], tmp_path: Path) -> None:
    seen = list[tuple[str, int, int]]()
    clips = opened(grid, report=lambda *what: seen.append(what))
    assert clips.name == "GRID"
    assert sorted(clips.names) == sorted(f"s1/{name}" for name in NAMES)
    assert tuple(clips.frames.shape) == (42, 3, 64, 64)
    assert clips.speakers.tolist() == [1] * 4
    assert clips.skipped == {}
    assert clips.vocabulary == ("bin", "blue", SILENCE)
    assert clips.words[0] == (
        *(WordSpan(SILENCE, 0, 2), WordSpan("bin", 2, 4.5), WordSpan(SILENCE, 4.5, 5)),
        *(WordSpan("blue", 5, 7.25), WordSpan(SILENCE, 7.25, 9.5)),
    )
    assert [what for what in seen if what[0] == "clips"] == [("clips", n, 4) for n in range(1, 5)]
    assert [what for what in seen if what[0] == "pack"] == [("pack", n, 4) for n in range(1, 5)]
    for number, name in enumerate(clips.names):
        frames = clips.frames[clips.rows(number)].float()
        assert len(frames) == (12 if name == f"s1/{NAMES[0]}" else 10)
        # The square is held still in the middle of the face; its edge takes part of a pixel.
        assert (frames - frames[0]).abs().mean() < 2
        light = frames[0, 0].numpy()
        middle = (light.sum(0) * (np.arange(64) + 0.5)).sum() / light.sum()
        assert middle == pytest.approx((0.5 * SHRINK + RIGHT) * 64, abs=0.3)
        # The tone, its own for each clip, is the clip's sound, and the windows are of it.
        sound = clips.sound(number)
        assert len(sound) == 640 * len(frames)
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        pitch = spectrum.argmax() * 16_000 / len(sound)
        assert pitch == pytest.approx(300 + 100 * NAMES.index(name[3:]), abs=3)
        assert np.array_equal(clips.windows[clips.rows(number)].numpy(), mfcc.windows(sound))
    marks = clips.landmarks.view(-1, 68, 2).numpy()
    assert np.abs(marks - TEMPLATE).max() < 0.03


def test_the_cache_serves_every_later_opening(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], tmp_path: Path, warm: None
) -> None:
    clips = opened(grid)
    moved = grid.rename(tmp_path / "elsewhere")
    again = opened(moved)
    assert follower.made == 0  # nothing was looked at
    assert again.checksum == clips.checksum
    assert torch.equal(again.frames, clips.frames)
    assert torch.equal(again.sounds, clips.sounds)
    (pack,) = (tmp_path / "cache").glob("*.safetensors")
    assert not list((tmp_path / "cache" / talking_pack.CLIPS).iterdir())
    with safe_open(pack, "pt") as file:
        assert tuple(file.get_tensor("frames").shape) == (42, 3, 64, 64)
    # The two sides of the split are maps of the same file, without a copy.
    assert clips.part(True).frames.untyped_storage().data_ptr() == (
        clips.frames.untyped_storage().data_ptr()
    )


def test_a_part_and_more_clips_later(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], tmp_path: Path
) -> None:
    some = opened(grid, limit=3)
    assert len(some) == 3
    asked = follower.asked
    assert set(opened(grid, limit=2).names) < set(some.names)
    assert follower.asked == asked  # a smaller part is in the larger
    every = opened(grid)
    assert len(every) == 4
    for name in some.names:
        new, old = every.names.index(name), some.names.index(name)
        assert torch.equal(every.frames[every.rows(new)], some.frames[some.rows(old)])
        assert np.array_equal(every.sound(new), some.sound(old))
    assert follower.made == 2
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1  # the others are in it
    (grid / "s1" / f"{NAMES[1]}.mp4").unlink()
    fewer = opened(grid)
    assert len(fewer) == 3
    assert follower.made == 2


def test_a_killed_run_goes_on_where_it_was(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], tmp_path: Path
) -> None:
    def kill(when: tuple[str, int], stage: str, done: int, total: int) -> None:
        if (stage, done) == when:
            raise Killed

    for when in (("clips", 2), ("clips", 1), ("pack", 2)):
        with pytest.raises(Killed):
            opened(grid, report=partial(kill, when))
    seen = list[tuple[str, int, int]]()
    clips = opened(grid, report=lambda *what: seen.append(what))
    assert [what for what in seen if what[0] == "clips"] == []  # 2, 1, then the last one
    assert len(clips) == 4
    assert not list((tmp_path / "cache").glob(".part*"))


def test_a_video_that_changed_is_worked_through_again(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], warm: None
) -> None:
    before = opened(grid)
    write_talk(grid / "s1" / f"{NAMES[2]}.mp4", [(90, 60)] * 8, tone=1000)
    after = opened(grid)
    assert after.checksum != before.checksum
    assert len(after.frames) == 40
    number = after.names.index(f"s1/{NAMES[2]}")
    assert after.rows(number).stop - after.rows(number).start == 8
    (grid / "align" / "s1" / f"{NAMES[2]}.align").write_text("0 3000 now\n")
    made = follower.made
    words = opened(grid)
    assert words.words[number] == (WordSpan("now", 0, 3),)  # without new work
    assert follower.made == made


def test_bad_files_are_named_and_left_out(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], warm: None
) -> None:
    def new(name: str, align: str | None = ALIGN) -> Path:
        if align is not None:
            (grid / "align" / "s1" / f"{name}.align").write_text(align)
        return grid / "s1" / f"{name}.mp4"

    place = [(60.0, 60.0)] * 6
    new("a_damaged").write_bytes((grid / "s1" / f"{NAMES[0]}.mp4").read_bytes()[:900])
    new("b_empty").write_bytes(b"")
    write_talk(new("c_fast"), place, fps=30)
    write_talk(new("d_silent"), place, tone=None)
    write_talk(new("e_dark"), [*place, (-500.0, 0.0), (-500.0, 0.0)])
    write_talk(new("f_without_words", None), place)
    write_talk(new("g_bad_words", "0 some words\n"), place)
    shutil.copy(grid / "s1" / f"{NAMES[0]}.mp4", grid / f"{NAMES[0]}.mp4")
    shutil.copytree(grid / "s1", grid / "s1" / "zz")
    clips = opened(grid)
    assert sorted(clips.names) == sorted(f"s1/{name}" for name in NAMES)
    reasons = {Path(file).name: reason for file, reason in clips.skipped.items()}
    expected = {
        "a_damaged.mp4": "damaged",
        "b_empty.mp4": "empty",
        "c_fast.mp4": "30 frames a second",
        "d_silent.mp4": "no sound",
        "e_dark.mp4": "no face found (frame 6)",
        "f_without_words.mp4": "no .align file",
        "g_bad_words.mp4": "line 1: expected start, end and word",
    }
    twice = {f"{name}.mp4" for name in NAMES}
    assert set(reasons) == set(expected) | twice
    for name, reason in expected.items():
        assert reason in reasons[name] or "the same clip" in reasons[name]
    own = {Path(f).name: why for f, why in clips.skipped.items() if "zz" not in f}
    for name, reason in expected.items():
        assert reason in own[name]
        assert str(grid) not in own[name].removeprefix(f"{grid}/align/s1/g_bad_words.align")
    assert "in no folder named after a speaker" in own[f"{NAMES[0]}.mp4"]
    asked = follower.asked
    assert opened(grid).skipped == clips.skipped  # remembered, not tried again
    assert follower.asked == asked


@pytest.mark.parametrize(
    ("video", "align"),
    [
        ("s1/bbaf2n.mp4", "s1/align/bbaf2n.align"),
        ("s1/video/mpg_6000/bbaf2n.mp4", "alignments/s1/bbaf2n.align"),
        ("s1_crop128/bbaf2n.mp4", "align/s1/bbaf2n.align"),
        ("S1/bbaf2n.MP4", "S1/bbaf2n.align"),
    ],
)
def test_layouts(
    videos: Path, tmp_path: Path, opened: Callable[..., Clips], video: str, align: str
) -> None:
    root = tmp_path / "layout"
    for source, target in (("s1/bbaf2n.mp4", video), ("align/s1/bbaf2n.align", align)):
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / source, root / target)
    clips = opened(root)
    assert clips.names == ("s1/bbaf2n",)
    assert clips.held_out.tolist() == [False]


def test_the_split_hangs_on_the_names_alone(
    grid: Path, opened: Callable[..., Clips], warm: None
) -> None:
    clips = opened(grid)
    tenth = {name for name in NAMES if datasets.tenth(Path(name)) == 0}
    aside = {name[3:] for name in clips.part(True).names}
    assert len(aside) == max(1, len(tenth))
    assert aside >= tenth
    assert clips.held_out.tolist() == sorted(clips.held_out.tolist())


def test_several_processes_make_the_same(videos: Path, tmp_path: Path) -> None:
    def get(workers: int) -> Clips:
        cache = tmp_path / f"{workers}"
        return open_grid(videos, 32, cache=cache, make=Square, workers=workers, limit=2)

    alone, together = get(1), get(2)
    assert alone.checksum == together.checksum
    assert torch.equal(alone.frames, together.frames)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        get(0)


def test_what_cannot_be_opened(
    grid: Path, opened: Callable[..., Clips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        opened(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no clip of GRID"):
        opened(grid / "align")
    with pytest.raises(ValueError, match="size 1000"):
        opened(grid, size=1000)
    with pytest.raises(ValueError, match="limit 0"):
        opened(grid, limit=0)
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(UnwritableFolderError, match="XDG_CACHE_HOME"):
        opened(grid, cache=file / "cache")

    class Disk:
        free = 1000

    monkeypatch.setattr("shutil.disk_usage", lambda path: Disk)
    with pytest.raises(OSError, match="GiB of disk"):
        opened(grid)


def test_no_clip_is_left(grid: Path, opened: Callable[..., Clips]) -> None:
    for file in (grid / "s1").iterdir():
        file.write_bytes(b"not a video")
    with pytest.raises(ValueError, match="GRID: no clip left; 4 were left out, such as"):
        opened(grid)


def test_a_damaged_pack_is_made_anew(
    grid: Path, opened: Callable[..., Clips], follower: type[Counting], tmp_path: Path, warm: None
) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        if stage == "pack":
            raise Killed

    before = opened(grid).checksum
    assert follower.made == 0
    (pack,) = (tmp_path / "cache").glob("*.safetensors")
    pack.unlink()
    pack.write_bytes(b"\xff" * 1000)
    assert opened(grid).checksum == before
    assert follower.made == 1
    pack.unlink()
    with pytest.raises(Killed):
        opened(grid, report=kill)
    clip = next((tmp_path / "cache" / talking_pack.CLIPS).glob("*.safetensors"))
    clip.write_bytes(b"\xff" * 1000)
    with pytest.raises(ValueError, match=f"{clip.name}: damaged.*delete it"):
        opened(grid)
    clip.unlink()
    assert opened(grid).checksum == before


@pytest.mark.parametrize(
    "text", ["", "a 1 b", "1 2", "5 1 x", "-5 1 x", "0 1 two words", "0 99999999 x"]
)
def test_bad_alignments(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.align"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"x\.align"):
        read_align(file)


def test_another_program_put_the_clips_together_meanwhile(
    grid: Path, opened: Callable[..., Clips], monkeypatch: pytest.MonkeyPatch, warm: None
) -> None:
    gather = talking_pack.gather
    calls = list[int]()

    def late(folder: Path, size: int, keys: list[str], report: Any) -> Any:
        calls.append(len(keys))
        if len(calls) == 1:
            gather(folder, size, keys, report)
            raise FileNotFoundError(keys[0])
        return gather(folder, size, keys, report)

    monkeypatch.setattr(talking_pack, "gather", late)
    assert len(opened(grid)) == 4
    assert calls == [4, 4]
