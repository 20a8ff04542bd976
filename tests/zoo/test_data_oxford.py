"""Oxford-102 in its official layout, made up in small."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from neuralpaint.zoo.data import open_captioned, oxford, reed

LABELS = [77, 77, 1, 1, 1, 102]


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """Six flowers of three classes; the last is in no part of the split."""
    root = tmp_path / "102flowers"
    (root / "jpg").mkdir(parents=True)
    for number, label in enumerate(LABELS, 1):
        name = f"image_{number:05d}"
        Image.new("RGB", (24, 20), (40 * number, 0, 0)).save(root / "jpg" / f"{name}.jpg")
        folder = root / "text_c10" / f"class_{label:05d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.txt").write_text(f"flower {number}\nits petals are red\n")
    savemat(root / "imagelabels.mat", {"labels": np.array([LABELS], np.uint8)})
    parts = {"trnid": [[1, 3]], "valid": [[4]], "tstid": [[2, 5]]}
    savemat(root / "setid.mat", {k: np.array(v, np.uint16) for k, v in parts.items()})
    return root


def test_flowers(flowers: Path) -> None:
    data = open_captioned(flowers, 8)
    assert data.name == "Oxford-102"
    assert [group[0] for group in data.captions] == [f"flower {n}" for n in (1, 3, 4, 2, 5)]
    assert data.held_out.tolist() == [False, False, False, True, True]
    assert data.species == ("class_00001", "class_00077")
    assert data.labels.tolist() == [1, 0, 0, 1, 0]
    assert [int(red) for red in data.images[:, 0].float().mean((1, 2))] == pytest.approx(
        [40, 120, 160, 80, 200], abs=3
    )
    assert list(data.skipped.values()) == ["in no part of setid.mat"]
    assert not data.generated_captions


def test_captions_without_images_and_images_without_captions(flowers: Path) -> None:
    (flowers / "jpg/image_00003.jpg").unlink()
    (flowers / "text_c10/class_00077/image_00001.txt").unlink()
    (flowers / "text_c10/class_00001/image_09999.txt").write_text("a flower\n")
    data = open_captioned(flowers, 8)
    assert len(data) == 3
    reasons = {Path(name).name: reason for name, reason in data.skipped.items()}
    assert reasons == {
        "image_00001.jpg": "no captions",
        "image_00003.jpg": "no such image",
        "image_00003.txt": "captions without an image",
        "image_00006.jpg": "in no part of setid.mat",
        "image_09999.txt": "captions without an image",
    }


def test_the_split_of_reed_is_by_classes(flowers: Path) -> None:
    with pytest.raises(ValueError, match=r"no trainvalclasses\.txt and testclasses\.txt"):
        open_captioned(flowers, 8, split="classes")
    (flowers / "trainvalclasses.txt").write_text("class_00001\n")
    (flowers / "testclasses.txt").write_text("class_00077\n")
    data = open_captioned(flowers, 8, split="classes")
    assert [group[0] for group in data.captions] == [f"flower {n}" for n in (3, 4, 5, 1, 2)]
    assert data.held_out.tolist() == [False, False, False, True, True]
    assert list(data.skipped.values()) == ["class in neither part of the split"]
    (flowers / "testclasses.txt").write_text("class_00077\nclass_00001\n")
    with pytest.raises(ValueError, match="class_00001 is to train on too"):
        open_captioned(flowers, 8, split="classes")


def test_a_missing_list_or_folder_is_named(flowers: Path) -> None:
    (flowers / "setid.mat").rename(flowers / "x")
    with pytest.raises(ValueError, match=r"setid\.mat: no such file"):
        open_captioned(flowers, 8)
    (flowers / "x").rename(flowers / "setid.mat")
    (flowers / "text_c10").rename(flowers / "elsewhere")
    with pytest.raises(ValueError, match="no captions; put text_c10"):
        open_captioned(flowers, 8)
    assert len(open_captioned(flowers, 8, captions=flowers / "elsewhere")) == 5
    with pytest.raises(ValueError, match="no such folder of captions"):
        open_captioned(flowers, 8, captions=flowers / "nowhere")


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"tstid": [[2, 9]]}, "tstid has picture 9 twice or beyond"),
        ({"tstid": [[1]]}, "tstid has picture 1 twice or beyond"),
        ({"tstid": [[0]]}, "tstid has picture 0 twice or beyond"),
        ({"tstid": [[1.5]]}, "not all whole numbers"),
        ({"tstid": [["a"]]}, "tstid are no numbers"),
        ({"tstid": [[]]}, "tstid has the shape"),
        ({"trnid": [[3]]}, "no variable 'valid'"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(
    flowers: Path, variables: dict[str, list[list[object]]], text: str
) -> None:
    known = {"trnid": [[1, 3]], "valid": [[4]]} if "tstid" in variables else {}
    savemat(flowers / "setid.mat", {k: np.array(v) for k, v in (known | variables).items()})
    with pytest.raises(ValueError, match=rf"setid\.mat: .*{text}"):
        open_captioned(flowers, 8)


@pytest.mark.parametrize("content", [b"no mat file", b"MATLAB 5.0" + b"\0" * 400, b"\x89HDF" * 100])
def test_a_foreign_mat_file_is_refused(flowers: Path, content: bytes) -> None:
    (flowers / "imagelabels.mat").write_bytes(content)
    with pytest.raises(ValueError, match=r"imagelabels\.mat: not the MATLAB file expected"):
        open_captioned(flowers, 8)


def test_a_small_file_that_unpacks_to_a_huge_array_is_refused(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"labels": np.ones((1, oxford.MAX_PICTURES + 1), np.uint8)}
    savemat(flowers / "imagelabels.mat", labels, do_compression=True)
    assert (flowers / "imagelabels.mat").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"labels has the shape \(1, 1000001\)"):
        open_captioned(flowers, 8)
    monkeypatch.setattr(oxford, "MAX_MAT_BYTES", 100)
    with pytest.raises(ValueError, match="more than the limit of 100"):
        open_captioned(flowers, 8)


def test_captions_that_are_no_utf8_too_large_or_empty(
    flowers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = flowers / "text_c10"
    text = b"a  caf\xe9 flower\r\n\r\n ... \nits petals\xef\xbf\xbdare red \n"
    (folder / "class_00077/image_00001.txt").write_bytes(text)
    (folder / "class_00001/image_00003.txt").write_text("?!\n")
    (folder / "class_00001/image_00004.txt").write_text("")
    (folder / "class_00001/image_00005.txt").write_text("a flower " * 40)
    monkeypatch.setattr(reed, "MAX_CAPTION_BYTES", 100)
    data = open_captioned(flowers, 8)
    assert data.captions[0] == ("a caf flower", "its petals are red")
    reasons = {Path(name).stem[-1]: reason.split(" (")[0] for name, reason in data.skipped.items()}
    assert reasons == {
        "3": "captions without a word",
        "4": "unreadable captions",
        "5": "captions too large",
        "6": "in no part of setid.mat",
    }
