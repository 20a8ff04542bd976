"""Data sets in their official layouts, on made-up trees."""

import random
from pathlib import Path

import numpy as np
import pytest

from neuralpaint.backend import datasets, media
from neuralpaint.backend.datasets import cub, image_files, known_mask, split, utkface

NAMES = [f"picture_{number}.jpg" for number in range(300)]


def test_a_split_is_disjoint_complete_and_exact() -> None:
    train, held_out = split(NAMES, 50)
    assert (len(train), len(held_out)) == (250, 50)
    assert sorted(path.name for path in train + held_out) == sorted(NAMES)
    assert train == sorted(train)
    assert held_out == sorted(held_out)
    assert split(NAMES, 0) == (sorted(map(Path, NAMES)), [])
    assert len(split(NAMES)[1]) == datasets.HELD_OUT


def test_the_names_alone_decide_what_is_held_out() -> None:
    _, held_out = split(NAMES, 50)
    shuffled = random.Random(0).sample(NAMES, len(NAMES))
    assert split(shuffled, 50)[1] == held_out
    moved = [Path("elsewhere") / name for name in NAMES]
    assert [path.name for path in split(moved, 50)[1]] == [path.name for path in held_out]
    # It has nothing to do with the alphabet.
    assert {path.name for path in held_out} != set(sorted(NAMES)[:50])


def test_what_is_held_out_of_all_is_held_out_of_every_part() -> None:
    held_out = set(split(NAMES, 50)[1])
    generator = random.Random(1)
    for size in (60, 150, 299):
        part = generator.sample(NAMES, size)
        assert not held_out.intersection(split(part, 50)[0])


@pytest.mark.parametrize("held_out", [-1, 3, 4])
def test_too_few_pictures_are_refused(held_out: int) -> None:
    with pytest.raises(ValueError, match=f"cannot hold out {held_out} of 3 pictures"):
        split(NAMES[:3], held_out)


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_files_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/c.png", ".hidden.jpg", ".git/d.jpg")
    assert image_files(tmp_path) == [tmp_path / "a/c.png", tmp_path / "b.jpg"]
    assert image_files(str(tmp_path / "b.jpg")) == [tmp_path / "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(media.MediaError, match="empty: no files in this folder"):
        image_files(tmp_path / "empty")


def test_masks_and_lists_of_a_data_set_are_no_pictures(tmp_path: Path) -> None:
    touch(tmp_path / "cub", "images.txt", "images/1.A/a.jpg", "segmentations/1.A/a.png")
    assert image_files(tmp_path / "cub") == [tmp_path / "cub/images/1.A/a.jpg"]
    celeba = tmp_path / "celeba"
    touch(celeba, "CelebA-HQ-img/7.jpg", "CelebAMask-HQ-mask-anno/0/00007_hair.png", "list.txt")
    assert image_files(celeba) == [celeba / "CelebA-HQ-img/7.jpg"]


def test_names_of_utkface(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "100_1_4_20170112213500903.jpg.chip.jpg",
        "part2/7_0_2_20170110183726390.jpg",
        "39_1_20170116174525125.jpg.chip.jpg",  # no race
        "200_1_1_20170112213500903.jpg",  # nobody is that old
        "20_2_1_20170112213500903.jpg",
        "readme.txt",
    )
    faces, misnamed = utkface(tmp_path)
    assert [face[1:] for face in faces] == [
        (100, 1, 4, "20170112213500903"),
        (7, 0, 2, "20170110183726390"),
    ]
    assert faces[1].path == tmp_path / "part2/7_0_2_20170110183726390.jpg"
    assert sorted(path.name[:3] for path in misnamed) == ["200", "20_", "39_", "rea"]


def test_a_folder_without_utkface_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "holiday.jpg")
    with pytest.raises(media.MediaError, match=r"no file here is named <age>_<gender>"):
        utkface(tmp_path)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Two pictures of two species in the layout of CUB-200-2011, the lists partly longer."""
    lists = {
        "images.txt": "3 002.B/b.jpg\n1 001.A/a.jpg\n",
        "classes.txt": "1 001.A\n2 002.B\n",
        "image_class_labels.txt": "1 1\n2 1\n3 2\n",
        "train_test_split.txt": "1 1\n2 1\n3 0\n",
        "bounding_boxes.txt": "1 1.0 2.0 3.0 4.5\n3 5 6 7 8\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    for name in ("001.A/a", "002.B/b"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        media.write_image(tmp_path / "images" / f"{name}.jpg", np.full((6, 8, 3), 0.5))
    return tmp_path


def test_birds(birds: Path) -> None:
    first, second = cub(birds)
    assert first == (birds / "images/001.A/a.jpg", 1, 1, "001.A", True, (1, 2, 3, 4.5))
    assert second == (birds / "images/002.B/b.jpg", 3, 2, "002.B", False, (5, 6, 7, 8))
    assert cub(birds, train=True) == [first]
    assert cub(str(birds), train=False) == [second]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images.txt", "1 ../../secret.jpg\n", "leads out of the data set"),
        ("images.txt", "1 /secret.jpg\n", "leads out of the data set"),
        ("images.txt", "1 a.jpg\n2\n", r"images\.txt, line 2: expected a number and 1 more"),
        ("images.txt", "one a.jpg\n", r"images\.txt, line 1: expected a number"),
        ("images.txt", "", "the file is empty"),
        ("bounding_boxes.txt", "1 1 2 3\n", r"bounding_boxes\.txt, line 1"),
        ("bounding_boxes.txt", "1 1 2 3 x\n", "picture 1 has no valid entry"),
        ("image_class_labels.txt", "1 9\n3 2\n", "picture 1 has no valid entry"),
        ("train_test_split.txt", "1 1\n", "picture 3 has no valid entry"),
    ],
)
def test_damaged_lists_are_named(birds: Path, name: str, text: str, message: str) -> None:
    (birds / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        cub(birds)


def test_missing_and_huge_lists_are_refused(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (birds / "classes.txt").unlink()
    with pytest.raises(ValueError, match=r"classes\.txt: no such file"):
        cub(birds)
    monkeypatch.setattr(datasets, "MAX_LIST_BYTES", 20)
    with pytest.raises(ValueError, match=r"images\.txt: 28 bytes, more than the limit of 20"):
        cub(birds)


def test_the_masks_of_birds(birds: Path) -> None:
    picture = birds / "images/001.A/a.jpg"
    assert known_mask(picture) is None
    votes = np.zeros((6, 8), np.uint8)
    votes[2:4, 2:4], votes[0, 0] = 204, 51  # four of five annotators, and one
    (birds / "segmentations/001.A").mkdir(parents=True)
    media.write_image(birds / "segmentations/001.A/a.png", votes)
    mask = known_mask(picture)
    assert mask is not None
    assert mask.shape == (6, 8)
    assert mask.sum() == 4
    assert mask[2:4, 2:4].all()


def test_the_masks_of_faces(tmp_path: Path) -> None:
    masks = tmp_path / "CelebAMask-HQ-mask-anno" / "1"
    masks.mkdir(parents=True)
    for row, part in enumerate(("skin", "hair", "cloth")):
        plane = np.zeros((4, 4))
        plane[row] = 1
        media.write_image(masks / f"02001_{part}.png", plane)
    mask = known_mask(tmp_path / "CelebA-HQ-img" / "2001.jpg")
    assert mask is not None
    assert mask.sum(1).tolist() == [4, 4, 0, 0]
    assert known_mask(tmp_path / "CelebA-HQ-img" / "2002.jpg") is None
