"""CUB-200-2011 in its official layout, made up in small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from neuralpaint.zoo.data import open_captioned, parts, reed

PARTS = ("back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg",
         "left wing", "nape", "right eye", "right leg", "right wing", "tail", "throat")  # fmt: skip
# A bird of 60 x 60 pixels: parts and colours; the rest is not visible.
SPOTS = {
    "crown": ((18, 8), "red"),
    "throat": ((14, 26), "white"),
    "breast": ((18, 36), "white"),
    "belly": ((28, 46), "yellow"),
    "right wing": ((40, 34), "black"),
    "tail": ((54, 42), "black"),
}
NAMES = ("001.Crow/a_1.jpg", "001.Crow/a_2.jpg", "002.Jay/b_1.jpg", "002.Jay/b_2.jpg")
ORIGIN = (100, 30)  # of the bird in its picture


def draw(path: Path, left: int, top: int) -> None:
    image = Image.new("RGB", (200, 120), (120, 150, 90))
    pen = ImageDraw.Draw(image)
    for (x, y), colour in SPOTS.values():
        pen.ellipse((left + x - 5, top + y - 5, left + x + 5, top + y + 5), colour)
    image.save(path, quality=95)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Four birds of two species with parts; captions for the first two and one that is gone."""
    root = tmp_path / "CUB_200_2011"
    (root / "parts").mkdir(parents=True)
    lists = {
        "images.txt": [f"{n} {name}" for n, name in enumerate(NAMES, 1)],
        "classes.txt": ["1 001.Crow", "2 002.Jay", "3 003.Wren"],
        "image_class_labels.txt": ["1 1", "2 1", "3 2", "4 2", "5 3"],
        "train_test_split.txt": ["1 0", "2 1", "3 1", "4 0", "5 0"],
        "bounding_boxes.txt": [f"{n} 100.0 30.0 60.0 50.0" for n in range(1, 6)],
        "parts/parts.txt": [f"{n} {name}" for n, name in enumerate(PARTS, 1)],
        "parts/part_locs.txt": [
            f"{n} {k} {ORIGIN[0] + SPOTS[part][0][0]} {ORIGIN[1] + SPOTS[part][0][1]} 1"
            if part in SPOTS
            else f"{n} {k} 0.0 0.0 0"
            for n in range(1, 6)
            for k, part in enumerate(PARTS, 1)
        ],
    }
    for name, lines in lists.items():
        (root / name).write_text("\n".join(lines) + "\n")
    for name in NAMES:
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        draw(root / "images" / name, *ORIGIN)
    folder = tmp_path / "text_c10/001.Crow"
    folder.mkdir(parents=True)
    for stem in ("a_1", "a_2", "a_3"):
        (folder / f"{stem}.txt").write_text("".join(f"{stem} said {k}.\n" for k in range(10)))
    return root


def reasons(skipped: dict[str, str]) -> dict[str, str]:
    return {Path(name).name: reason for name, reason in skipped.items()}


def test_captions_of_people_alone(birds: Path) -> None:
    data = open_captioned(birds, 16, describing="never")
    assert data.name == "CUB-200-2011"
    assert not data.generated_captions
    assert [group[9] for group in data.captions] == ["a_2 said 9.", "a_1 said 9."]
    assert data.held_out.tolist() == [False, True]
    assert data.species == ("001.Crow",)
    assert reasons(data.skipped) == {
        "a_3.txt": "captions without an image",
        "b_1.jpg": "no captions",
        "b_2.jpg": "no captions",
    }


def test_captions_are_written_where_they_are_missing(birds: Path) -> None:
    data = open_captioned(birds, 16)
    assert data.name == "CUB-200-2011, generated captions for 2 of 4 pictures"
    assert data.generated_captions
    assert data.species == ("001.Crow", "002.Jay")
    assert [group[0] for group in data.captions if "said" in group[0]] == [
        "a_2 said 0.", "a_1 said 0.",
    ]  # fmt: skip
    written = [group for group in data.captions if "said" not in group[0]]
    assert all(len(group) == 10 for group in written)
    words = set(" ".join(written[0]).replace(",", "").split())
    assert {"red", "crown", "white", "throat", "yellow", "black", "wings", "tail"} <= words
    assert not words & {"beak", "bill", "legs", "back", "green", "blue", "grey", "gray"}
    assert reasons(data.skipped) == {"a_3.txt": "captions without an image"}


def test_captions_for_all_are_the_same_at_any_size_and_time(birds: Path) -> None:
    data = open_captioned(birds, 16, describing="all")
    assert data.name == "CUB-200-2011, generated captions"
    assert len(data) == 4
    assert not data.skipped
    assert data.captions == open_captioned(birds, 32, describing="all", threads=1).captions


def test_the_bird_is_framed(birds: Path) -> None:
    # 0.75 * 60 = 45 about (130, 55): x from 85 to 175, y from 10 to 100.
    image = open_captioned(birds, 90, describing="never").images[0].permute(1, 2, 0).numpy()
    for (x, y), colour in SPOTS.values():
        pixel = image[y + 30 - 10, x + 100 - 85].astype(int)
        assert np.abs(pixel - Image.new("RGB", (1, 1), colour).getpixel((0, 0))).max() < 40


def test_pictures_that_are_framed_already_are_taken_whole(birds: Path) -> None:
    """120 x 120 pixels from (80, 0), doubled, and of that 200 x 200 from (20, 20)."""
    columns = ",".join(["image_id", "name", "orig_w", "orig_h", *parts._COLUMNS])
    rows = [f"{n},x,200,120,80,0,200,120,240,240,20,20" for n in range(1, 5)]
    (birds / parts.TRANSFORM).write_text("\n".join([columns, *rows]) + "\n")
    for name in NAMES:
        path = birds / "images" / name
        with Image.open(path) as image:
            image.crop((90, 10, 190, 110)).resize((200, 200)).save(path, quality=95)
    data = open_captioned(birds, 200, describing="all")
    crown = data.images[0][:, (30 + 8 - 10) * 2, (100 + 18 - 90) * 2]
    assert int(crown[0]) > 200 > 60 > int(crown[1])
    words = set(" ".join(data.captions[0]).replace(",", "").split())
    assert {"red", "crown", "yellow", "black"} <= words
    (birds / parts.TRANSFORM).write_text(f"{columns}\n1,x,200,120,80,10,80,110\n")
    with pytest.raises(ValueError, match=r"transform_256\.csv: expected image_id and crop_x0"):
        open_captioned(birds, 16)


def test_the_split_of_reed_is_by_classes(birds: Path) -> None:
    (birds.parent / "trainvalclasses.txt").write_text("001.Crow\n")
    (birds.parent / "testclasses.txt").write_text("002.Jay\n")
    data = open_captioned(birds, 8, split="classes")
    assert data.held_out.tolist() == [False, False, True, True]
    assert data.labels.tolist() == [0, 0, 1, 1]


def test_absent_and_damaged_pictures_are_named(birds: Path) -> None:
    (birds / "images" / NAMES[0]).unlink()
    good = (birds / "images" / NAMES[1]).read_bytes()
    (birds / "images" / NAMES[1]).write_bytes(good[:500])
    (birds / "images" / NAMES[2]).write_bytes(b"no image")
    data = open_captioned(birds, 8)
    assert len(data) == 1
    found = {name: reason.split(" (")[0] for name, reason in reasons(data.skipped).items()}
    assert found == {
        "a_1.jpg": "no such image",
        "a_1.txt": "captions without an image",
        "a_2.jpg": "damaged image",
        "a_3.txt": "captions without an image",
        "b_1.jpg": "damaged image",
    }


def test_a_bird_without_visible_parts_is_skipped(birds: Path) -> None:
    file = birds / "parts/part_locs.txt"
    lines = [
        line[:-1] + "0" if line.startswith("4 ") else line for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines))
    data = open_captioned(birds, 8)
    assert len(data) == 3
    assert reasons(data.skipped)["b_2.jpg"].startswith("no captions (and too few visible parts")


def test_no_captions_and_no_parts_is_an_error(birds: Path) -> None:
    (birds.parent / "text_c10").rename(birds.parent / "elsewhere")
    with pytest.raises(ValueError, match=r"no captions; put text_c10 .* have them written"):
        open_captioned(birds, 8, describing="never")
    (birds / "parts").rename(birds / "x")
    with pytest.raises(ValueError, match="no captions; put text_c10"):
        open_captioned(birds, 8)
    data = open_captioned(birds, 8, captions=birds.parent / "elsewhere")
    assert len(data) == 2
    assert not data.generated_captions


@pytest.mark.parametrize("name", reed._NAMES)
@pytest.mark.parametrize("inside", [True, False])
def test_where_captions_are_looked_for(birds: Path, name: str, inside: bool) -> None:
    (birds.parent / "text_c10").rename((birds if inside else birds.parent) / name)
    assert len(open_captioned(birds, 8, describing="never")) == 2


@pytest.mark.parametrize("file", ["images.txt", "classes.txt", "bounding_boxes.txt"])
def test_a_missing_list_is_named(birds: Path, file: str) -> None:
    (birds / file).unlink()
    with pytest.raises(ValueError, match="not a layout" if file == "images.txt" else file):
        open_captioned(birds, 8)


@pytest.mark.parametrize("name", ["../../secret.jpg", "/etc/passwd"])
def test_names_that_lead_out_are_refused(birds: Path, name: str) -> None:
    (birds / "images.txt").write_text(f"1 {name}\n")
    with pytest.raises(ValueError, match="leads out of the data set"):
        open_captioned(birds, 8)


def test_a_name_that_no_file_can_have_is_skipped(birds: Path) -> None:
    with (birds / "images.txt").open("a") as file:
        file.write(f"5 {'x' * 5000}.jpg\n")
    data = open_captioned(birds, 8)
    assert len(data) == 4
    assert list(data.skipped.values()).count("no such image") == 1


@pytest.mark.parametrize(
    "line", ["1 1 5.0 5.0", "1 99 5.0 5.0 1", "one 1 5.0 5.0 1", "1 1 five 5.0 1"]
)
def test_a_malformed_part_is_named(birds: Path, line: str) -> None:
    with (birds / "parts/part_locs.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"part_locs\.txt, line 76: expected picture, part, x"):
        open_captioned(birds, 8)


def test_parts_outside_the_picture_or_nowhere_are_ignored(birds: Path) -> None:
    expected = open_captioned(birds, 8, describing="all").captions
    with (birds / "parts/part_locs.txt").open("a") as file:
        for part, x in ((1, "nan"), (2, "inf"), (10, "1e300"), (8, "-5")):
            file.write(f"1 {part} {x} 50.0 1\n")
    assert open_captioned(birds, 8, describing="all").captions == expected


def test_an_oversized_list_is_refused(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_LIST_BYTES", 1000)
    with pytest.raises(ValueError, match=r"part_locs\.txt: \d+ bytes, more than the limit of 1000"):
        open_captioned(birds, 8)
    monkeypatch.setattr(reed, "MAX_FILES", 2)
    with pytest.raises(ValueError, match="text_c10: more than 2 captions"):
        open_captioned(birds, 8)
