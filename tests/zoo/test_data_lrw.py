"""LRW in its official layout, made up in small."""

import shutil
from pathlib import Path

import pytest

from neuralpaint.zoo.data.lrw import open_lrw, read_duration
from tests.zoo.talking_scenes import Square, write_talk

TEXT = "Disk reference: 6082\nChannel: 10\nClip start: 1.2\nClip end: 2.3\nDuration: {} seconds\n"


@pytest.fixture(scope="module")
def lrw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words, with two clips to train on, one in val and one in test each."""
    root = tmp_path_factory.mktemp("lrw")
    first = root / "first.mp4"
    write_talk(first, [(60 + t / 4, 60) for t in range(29)])
    for word in ("ABOUT", "YEARS"):
        for part, count in (("train", 2), ("val", 1), ("test", 1)):
            folder = root / "lipread_mp4" / word / part
            folder.mkdir(parents=True)
            for number in range(1, count + 1):
                shutil.copy(first, folder / f"{word}_{number:05d}.mp4")
                text = TEXT.format("0.4" if word == "ABOUT" else "2.0")
                (folder / f"{word}_{number:05d}.txt").write_text(text)
    first.unlink()
    return root


def test_clips_of_lrw(lrw: Path, tmp_path: Path) -> None:
    clips = open_lrw(lrw, 32, cache=tmp_path, make=Square)
    assert clips.name == "LRW"
    assert clips.names == (
        *("train/ABOUT_00001", "train/ABOUT_00002", "train/YEARS_00001", "train/YEARS_00002"),
        *("test/ABOUT_00001", "test/YEARS_00001"),
    )
    assert clips.held_out.tolist() == [False] * 4 + [True] * 2
    assert clips.first.diff().tolist() == [29] * 6
    assert clips.vocabulary == ("about", "years")
    ((word, start, end),) = clips.words[0]
    assert word == "about"
    assert (start, end) == pytest.approx((14.5 - 5, 14.5 + 5))
    assert clips.words[-1] == (("years", 0, 29),)  # longer than the clip
    assert clips.speakers.unique().tolist() == [-1]


def test_the_other_part_and_fewer_clips(lrw: Path, tmp_path: Path) -> None:
    clips = open_lrw(lrw, 32, held_out="val", cache=tmp_path, make=Square, limit=1)
    assert len(clips) == 2
    assert clips.names[0].startswith("train/")
    assert clips.names[1].startswith("val/")
    with pytest.raises(ValueError, match="expected one of val, test"):
        open_lrw(lrw, 32, held_out="train", cache=tmp_path, make=Square)  # type: ignore[arg-type]


def test_texts_that_are_missing_or_wrong(lrw: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(lrw, tmp_path / "lrw"))
    folder = root / "lipread_mp4" / "ABOUT" / "train"
    (folder / "ABOUT_00001.txt").unlink()
    (folder / "ABOUT_00002.txt").write_text("Duration: long\n")
    shutil.copy(folder / "ABOUT_00001.mp4", root / "stray.mp4")
    clips = open_lrw(root, 32, cache=tmp_path / "cache", make=Square)
    assert sorted(clips.names) == [
        *("test/ABOUT_00001", "test/YEARS_00001", "train/YEARS_00001", "train/YEARS_00002")
    ]
    reasons = {Path(file).name: reason for file, reason in clips.skipped.items()}
    assert set(reasons) == {"ABOUT_00001.mp4", "ABOUT_00002.mp4", "stray.mp4"}
    assert "no .txt file" in reasons["ABOUT_00001.mp4"]
    assert "Duration" in reasons["ABOUT_00002.mp4"]
    assert "in no folder named train, val, test" in reasons["stray.mp4"]
    for file in root.rglob("*.txt"):
        file.unlink()
    with pytest.raises(ValueError, match=r"no clip of LRW.*no \.txt file"):
        open_lrw(root, 32, cache=tmp_path / "cache", make=Square)


@pytest.mark.parametrize(
    "text", ["x", "Duration: 0 seconds", "Duration: 99 seconds", "Duration: ."]
)
def test_bad_durations(tmp_path: Path, text: str) -> None:
    file = tmp_path / "X_00001.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match="Duration"):
        read_duration(file, "x")
