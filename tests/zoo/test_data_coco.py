"""COCO in its official layout, made up in small."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from neuralpaint.zoo.data import coco, open_captioned

Lists = dict[str, Any]


def lists(part: str, year: str, numbers: list[int]) -> Lists:
    prefix = f"COCO_{part}{year}_" if year == "2014" else ""
    return {
        "info": {"year": int(year)},
        "images": [{"id": n, "file_name": f"{prefix}{n:012d}.jpg", "width": 24} for n in numbers],
        "annotations": [
            {"id": 10 * n + k, "image_id": n, "caption": f"Scene {n},  caption {k}.\n"}
            for k in range(5)
            for n in numbers
        ],
    }


def write(root: Path, part: str, year: str, content: Lists, folder: str = "") -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"captions_{part}{year}.json").write_text(json.dumps(content))
    inner = root / folder / f"{part}{year}"
    inner.mkdir(parents=True, exist_ok=True)
    for image in content["images"]:
        Image.new("RGB", (24, 20), (20 * image["id"], 0, 0)).save(inner / image["file_name"])


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    write(tmp_path, "val", "2014", lists("val", "2014", [4, 5]))
    write(tmp_path, "train", "2014", lists("train", "2014", [9, 2, 7]))
    return tmp_path


def edit(root: Path, part: str, change: Any) -> None:
    file = root / "annotations" / f"captions_{part}2014.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_scenes(scenes: Path) -> None:
    data = open_captioned(scenes, 8)
    assert data.name == "COCO 2014"
    assert [group[0] for group in data.captions] == [
        f"Scene {n}, caption 0." for n in (9, 2, 7, 4, 5)
    ]
    assert all(len(group) == 5 for group in data.captions)
    assert data.held_out.tolist() == [False, False, False, True, True]
    # No two scenes count as of one class.
    assert len(data.species) == len(set(data.labels.tolist())) == 5
    assert not data.skipped
    red = data.images[:, 0].float().mean((1, 2)).tolist()
    assert red == pytest.approx([180, 40, 140, 80, 100], abs=3)


def test_2017_where_it_alone_is_there_and_images_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "train", "2017", lists("train", "2017", [3]), "images")
    data = open_captioned(tmp_path, 8)
    assert data.name == "COCO 2017"
    assert data.captions[0][4] == "Scene 3, caption 4."
    assert {Path(name).name: reason for name, reason in data.skipped.items()} == {
        "captions_val2017.json": "no such list"
    }


def test_captions_without_images_and_images_without_captions(scenes: Path) -> None:
    (scenes / "train2014/COCO_train2014_000000000002.jpg").unlink()

    def change(content: Lists) -> None:
        kept = [item for item in content["annotations"] if item["image_id"] != 9]
        content["annotations"] = [*kept, {"id": 1, "image_id": 77, "caption": "A ghost."}]

    edit(scenes, "train", change)
    data = open_captioned(scenes, 8)
    assert len(data) == 3
    reasons = {name.rsplit("/", 1)[1]: reason for name, reason in data.skipped.items()}
    assert reasons == {
        "COCO_train2014_000000000002.jpg": "no such image",
        "COCO_train2014_000000000009.jpg": "no captions",
        "captions_train2014.json: image 77": "captions without an image",
    }


def test_captions_without_a_word_do_not_count(scenes: Path) -> None:
    edit(scenes, "val", lambda content: content["annotations"][0].update(caption=" ?! "))
    assert len(open_captioned(scenes, 8).captions[3]) == 4


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["images"][0].update(file_name="../../x.jpg"), "leads out of the data set"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), "leads out of the data set"),
        (lambda c: c["images"][0].update(id="9"), "id is '9', expected int"),
        (lambda c: c["images"][0].update(id=True), "id is 'True', expected int"),
        (lambda c: c["images"][0].update(id=2), "image 2 twice"),
        (lambda c: c["images"][0].pop("file_name"), "file_name is 'None', expected str"),
        (lambda c: c["annotations"].append(7), "image_id is 'None', expected int"),
        (lambda c: c.pop("annotations"), "no list 'annotations'"),
    ],
)
def test_lists_that_make_no_sense_are_refused(scenes: Path, change: Any, text: str) -> None:
    edit(scenes, "train", change)
    with pytest.raises(ValueError, match=rf"captions_train2014\.json: .*{text}"):
        open_captioned(scenes, 8)


def test_files_that_are_no_json_or_too_large_are_refused(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = scenes / "annotations/captions_train2014.json"
    file.write_text("[]")
    with pytest.raises(ValueError, match="no list 'images'"):
        open_captioned(scenes, 8)
    file.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        open_captioned(scenes, 8)
    monkeypatch.setattr(coco, "MAX_JSON_BYTES", 0)
    with pytest.raises(ValueError, match="more than the limit of 0"):
        open_captioned(scenes, 8)


def test_options_of_other_layouts_are_refused(scenes: Path) -> None:
    with pytest.raises(ValueError, match="COCO has captions and a split of its own"):
        open_captioned(scenes, 8, split="classes")
    with pytest.raises(ValueError, match="COCO has captions and a split of its own"):
        open_captioned(scenes, 8, captions=scenes)


def test_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a layout .*CUB-200-2011.*Oxford-102.*COCO"):
        open_captioned(tmp_path, 8)
    with pytest.raises(ValueError, match="no such folder"):
        open_captioned(tmp_path / "absent", 8)
