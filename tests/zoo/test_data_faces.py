"""UTKFace in its official naming, made up in small, with a finder of faces that is made up too."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from neuralpaint.backend import datasets
from neuralpaint.backend.files import UnwritableFolderError
from neuralpaint.zoo import faces as finders
from neuralpaint.zoo.data import face_landmarks
from neuralpaint.zoo.data.face_landmarks import landmarks_of
from neuralpaint.zoo.data.faces import Faces, open_utkface
from neuralpaint.zoo.face_geometry import TEMPLATE, Pixels
from neuralpaint.zoo.faces import CropFinder, FoundFace

COUNT = 30


class Brightness:
    """Finds a face as low in the picture as it is bright, and none in dark pictures."""

    looked: list[float]
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def find(self, image: Pixels) -> list[FoundFace]:
        mean = float(image.mean())
        self.looked.append(mean)
        if mean < 20:
            return []
        side = image.shape[0]
        box = (0.0, 0.0, float(side), float(side))
        return [FoundFace(box, TEMPLATE * side + (0, side * mean / 2550), 1.0)]


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> type[Brightness]:
    Brightness.looked, Brightness.made = [], 0
    monkeypatch.setattr(
        "neuralpaint.zoo.data.faces.landmarks_of", partial(landmarks_of, make=Brightness)
    )
    return Brightness


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty faces of 40x40, each of one grey, in two folders; the first is nearly black."""
    root = tmp_path / "UTKFace"
    for index in range(COUNT):
        file = root / f"part{index % 2}" / f"{index + 1}_{index % 2}_{index % 5}_2017{index}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (8 * index,) * 3).save(file)
    return root


def faces(count: int = 3, **other: Any) -> Faces:
    fields: dict[str, Any] = {
        "images": torch.zeros((count, 3, 8, 8), dtype=torch.uint8),
        "ages": torch.arange(count),
        "landmarks": torch.full((count, 136), 0.5),
        "identity": torch.full((count,), -1),
        "held_out": torch.arange(count) == count - 1,
    }
    return Faces("made up", **{**fields, **other})


def test_the_folder_in_memory(folder: Path, tmp_path: Path, finder: type[Brightness]) -> None:
    seen = list[tuple[str, int, int]]()
    data = open_utkface(
        folder, 16, cache=tmp_path / "cache", report=lambda *what: seen.append(what)
    )
    assert len(data) == COUNT
    assert data.size == 16
    assert data.skipped == {}
    assert sorted(data.ages.tolist()) == list(range(1, COUNT + 1))
    brightness = data.images.float().mean((1, 2, 3))
    assert (brightness - 8 * (data.ages - 1)).abs().max() < 2  # every age beside its own picture
    assert data.identity.unique().tolist() == [-1]
    # As the made-up finder has it: (68, 2) points, x before y, by the side of the crop.
    known = data.has_landmarks
    assert sorted(data.ages[~known].tolist()) == [1, 2, 3]  # the dark ones
    points = data.landmarks[known].reshape(-1, 68, 2).double()
    lower = points - torch.from_numpy(TEMPLATE.copy())
    assert lower[:, :, 0].abs().max() < 1e-6
    assert (lower[:, :, 1] - brightness[known, None] / 2550).abs().max() < 1e-4
    assert [done for stage, done, _ in seen if stage == "faces"] == list(range(1, COUNT + 1))
    assert [what for what in seen if what[0] == "landmarks"][-1] == ("landmarks", COUNT, COUNT)


def test_the_split_is_that_of_the_other_networks(folder: Path) -> None:
    data = open_utkface(folder, 8, landmarks=False)
    aside = {face.age for face in datasets.utkface(folder).faces if datasets.tenth(face.path) == 0}
    assert 0 < len(aside) < COUNT / 3
    assert set(data.part(True).ages.tolist()) == aside
    assert set(data.part(False).ages.tolist()) == set(range(1, COUNT + 1)) - aside
    assert data.held_out.tolist() == sorted(data.held_out.tolist())  # one block each
    assert not data.has_landmarks.any()
    more = open_utkface(folder, 8, landmarks=False, held_out=10)
    assert int(more.held_out.sum()) == 10
    assert aside <= set(more.part(True).ages.tolist())
    with pytest.raises(ValueError, match="cannot hold out 30 of 30"):
        open_utkface(folder, 8, landmarks=False, held_out=COUNT)


def test_bad_names_and_damaged_files_are_named_and_left_out(folder: Path) -> None:
    before = open_utkface(folder, 8, landmarks=False)
    (folder / "61_1_20170109142408075.jpg").write_bytes(b"the race is missing")
    (folder / "readme.txt").write_text("not a picture")
    (folder / "118_0_0_2017.jpg").write_bytes(b"nobody is as old")
    (folder / "5_0_0_20170.jpg").write_bytes(b"")
    whole = next(folder.rglob("20_*.jpg"))
    (folder / "6_0_0_20170.jpg").write_bytes(whole.read_bytes()[:400])
    data = open_utkface(folder, 8, landmarks=False)
    reasons = {Path(name).name: reason for name, reason in data.skipped.items()}
    assert reasons.pop("118_0_0_2017.jpg") == "age above 116 (118)"
    assert reasons.pop("readme.txt").startswith("not named <age>_")
    assert reasons.pop("61_1_20170109142408075.jpg").startswith("not named <age>_")
    assert reasons.pop("5_0_0_20170.jpg").startswith("damaged image")
    assert reasons.pop("6_0_0_20170.jpg").startswith("damaged image")
    assert not reasons
    torch.testing.assert_close(data.images, before.images)
    torch.testing.assert_close(data.ages, before.ages)
    assert data.checksum == before.checksum


def test_what_cannot_be_opened(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_utkface(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="8 to 1024"):
        open_utkface(folder, 4)
    with pytest.raises(ValueError, match=r"0\.00 GiB allowed"):
        open_utkface(folder, 64, max_bytes=1000)
    for file in folder.rglob("*.jpg"):
        file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"no face left \(30 × damaged image"):
        open_utkface(folder, 8, landmarks=False)


def test_landmarks_are_found_once(folder: Path, tmp_path: Path, finder: type[Brightness]) -> None:
    cache = tmp_path / "cache"
    first = open_utkface(folder, 16, cache=cache)
    assert len(finder.looked) == COUNT
    again = open_utkface(folder, 16, cache=cache)
    assert (len(finder.looked), finder.made) == (COUNT, 1)
    torch.testing.assert_close(again.landmarks, first.landmarks, equal_nan=True, rtol=0, atol=0)
    # Another place and another name; only what is new is looked at.
    moved = folder.rename(tmp_path / "elsewhere")
    Image.new("RGB", (40, 40), (255, 250, 251)).save(moved / "90_0_0_2017.jpg")
    assert len(open_utkface(moved, 16, cache=cache)) == COUNT + 1
    assert len(finder.looked) == COUNT + 1
    assert [file.suffix for file in cache.iterdir()] == [".safetensors"]
    # Pictures of another size are others.
    open_utkface(moved, 20, cache=cache)
    assert len(finder.looked) == 2 * COUNT + 2


def test_a_cache_that_is_damaged_or_not_ours_is_made_anew(
    folder: Path, tmp_path: Path, finder: type[Brightness]
) -> None:
    first = open_utkface(folder, 16, cache=tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    rows = load_file(file)
    foreign: list[dict[str, torch.Tensor]] = [
        {"keys": rows["keys"]},
        {"keys": rows["keys"][:5], "landmarks": rows["landmarks"]},
        {"keys": rows["keys"], "landmarks": rows["landmarks"].double()},
        {"keys": rows["keys"], "landmarks": torch.full_like(rows["landmarks"], torch.inf)},
        {"keys": rows["keys"], "landmarks": rows["landmarks"][:, 0].contiguous()},
    ]
    for count in range(len(foreign) + 1):
        finder.looked.clear()
        if count == len(foreign):
            file.write_bytes(file.read_bytes()[:1000])
        else:
            save_file(foreign[count], file)
        again = open_utkface(folder, 16, cache=tmp_path)
        assert len(finder.looked) == COUNT
        torch.testing.assert_close(again.landmarks, first.landmarks, equal_nan=True)


def test_a_run_that_is_stopped_keeps_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_landmarks, "CHUNK", 4)
    monkeypatch.setattr(face_landmarks, "SAVE_EVERY", 8)
    Brightness.looked, Brightness.made = [], 0
    images = torch.arange(20, 40, dtype=torch.uint8)[:, None, None, None].expand(20, 3, 8, 8)

    def stop(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        landmarks_of(images, make=Brightness, cache=tmp_path, report=stop)
    landmarks_of(images, make=Brightness, cache=tmp_path)
    assert len(Brightness.looked) == 12 + 12  # eight were kept


def test_the_oldest_rows_leave_a_full_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_landmarks, "MAX_ROWS", 5)
    Brightness.looked, Brightness.made = [], 0
    images = torch.arange(20, 28, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 8, 8)
    found = landmarks_of(images, make=Brightness, cache=tmp_path)
    assert not found.isnan().any()
    again = landmarks_of(images, make=Brightness, cache=tmp_path)
    torch.testing.assert_close(again, found)
    assert len(Brightness.looked) == 8 + 3


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    found = landmarks_of(images, make=CropFinder, name="crop", cache=tmp_path / "two", workers=2)
    alone = landmarks_of(images, make=CropFinder, name="crop", cache=tmp_path / "one")
    torch.testing.assert_close(found, alone, rtol=0, atol=0)
    expected = torch.from_numpy(TEMPLATE.astype(np.float32)).reshape(1, 136).expand(10, 136)
    torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="workers"):
        landmarks_of(images, workers=0)


def test_without_the_extra_landmarks_come_from_the_cache_or_not_at_all(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finder: type[Brightness]
) -> None:
    open_utkface(folder, 16, cache=tmp_path / "filled")

    def missing() -> None:
        raise ImportError(f"finding faces needs dlib: {finders.EXTRA}")

    monkeypatch.setattr(Brightness, "__init__", lambda self: missing())
    assert int(open_utkface(folder, 16, cache=tmp_path / "filled").has_landmarks.sum()) == 27
    with pytest.raises(ImportError, match=r"neuralpaint\[faces\]"):
        open_utkface(folder, 16, cache=tmp_path / "empty")


def test_a_cache_that_cannot_be_written_is_said_at_once(
    folder: Path, tmp_path: Path, finder: type[Brightness]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnwritableFolderError, match="XDG_CACHE_HOME"):
        open_utkface(folder, 16, cache=tmp_path / "file")
    assert finder.looked == []


def test_the_cache_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert face_landmarks.cache_folder() == tmp_path / "neuralpaint" / "landmarks"


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"images": torch.zeros((3, 3, 8, 9), dtype=torch.uint8)}, "not square"),
        ({"images": torch.zeros((3, 3, 8, 8))}, "images are torch.float32"),
        ({"ages": torch.zeros(3)}, "ages are torch.float32"),
        ({"ages": torch.tensor([1, 2, 117])}, "ages from 1 to 117"),
        ({"ages": torch.tensor([-1, 2, 3])}, "ages from -1 to 3"),
        ({"landmarks": torch.zeros((3, 68, 2))}, "landmarks are"),
        ({"landmarks": torch.full((3, 136), 60.0)}, "shares of the picture"),
        ({"landmarks": torch.tensor([[torch.nan] + [0.5] * 135] * 3)}, "all or none"),
        ({"identity": torch.tensor([-2, 0, 0])}, "identity has the value -2"),
        ({"held_out": torch.zeros(3)}, "held_out are"),
    ],
)
def test_faces_that_do_not_fit_together(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        faces(**wrong)


def test_parts_and_checksum() -> None:
    data = faces(5)
    train = data.part(False)
    assert train.ages.tolist() == [0, 1, 2, 3]
    assert data.part(True).ages.tolist() == [4]
    assert train.images.data_ptr() == data.images.data_ptr()  # shared, not copied
    with pytest.raises(ValueError, match="no face is held out"):
        train.part(True)
    mixed = faces(5, held_out=torch.tensor([True, False, True, False, True]))
    assert mixed.part(True).ages.tolist() == [0, 2, 4]
    landmarks = data.landmarks.clone()
    landmarks[0] = torch.nan
    changes: list[dict[str, Any]] = [
        {"ages": data.ages + 1},
        {"landmarks": landmarks},
        {"identity": torch.zeros(5, dtype=torch.int64)},
        {"held_out": mixed.held_out},
        {"images": data.images + 1},
    ]
    checksums = {faces(5, **change).checksum for change in changes} | {data.checksum}
    assert len(checksums) == len(changes) + 1
    assert faces(5).checksum == data.checksum
