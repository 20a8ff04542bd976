"""Subjects cut out of pictures of which it is known where they are."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from neuralpaint.backend import files, media
from neuralpaint.envs import procedural_subjects, subjects
from neuralpaint.envs.subjects import cached_mask, subject_mask

cv2 = pytest.importorskip("cv2")

Array = NDArray[np.float32]


def picture(height: int = 96, width: int = 128) -> tuple[Array, Array]:
    """A mottled red ellipse on mottled green, and where it is."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width] + 0.5
    inside = ((y / height - 0.52) / 0.3) ** 2 + ((x / width - 0.47) / 0.25) ** 2 < 1
    image = np.where(inside[..., None], [0.8, 0.2, 0.2], [0.2, 0.6, 0.3])
    image = image + rng.normal(0, 0.05, image.shape)
    return image.clip(0, 1).astype(np.float32), inside.astype(np.float32)


def overlap(one: Array, other: Array) -> float:
    """Intersection over union."""
    return float(np.minimum(one, other).sum() / np.maximum(one, other).sum())


@pytest.mark.parametrize("kind", subjects.KINDS)
@pytest.mark.parametrize("shape", [(96, 128), (40, 30), (500, 300)])
def test_an_ellipse_is_cut_out(kind: subjects.Kind, shape: tuple[int, int]) -> None:
    image, truth = picture(*shape)
    mask = subject_mask(image, kind)
    assert mask.shape == shape
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert overlap(mask, truth) > 0.9


def test_drawn_subjects_are_mostly_found() -> None:
    cases: list[tuple[Any, subjects.Kind, float]] = [
        (procedural_subjects.face, "face", 0.7),
        (procedural_subjects.bird, "object", 0.6),
    ]
    for draw, kind, least in cases:
        overlaps = []
        for seed in range(8):
            image, mask = draw(np.random.default_rng(seed), 96, 96)
            found = subject_mask(image, kind)
            overlaps.append(overlap(found, mask))
        assert np.median(overlaps) > least


def test_it_is_one_part_without_holes() -> None:
    image, truth = picture()
    image[45:52, 55:62] = [0.2, 0.6, 0.3]  # a hole that shows the background
    image[5:11, 5:11] = [0.8, 0.2, 0.2]  # another thing of the same colour
    mask = subject_mask(image)
    assert mask[48, 58] == 1
    assert mask[:14, :14].max() == 0
    assert overlap(mask, truth) > 0.9


def test_no_random_generator_decides_or_is_touched() -> None:
    image, _ = picture()
    masks, draws = [], []
    for seed in (1, 1, 7):
        cv2.setRNGSeed(seed)
        masks.append(subject_mask(image))
        draws.append(cv2.randu(np.zeros((4, 4), np.float32), 0, 1).tolist())
    assert (masks[0] == masks[1]).all()
    assert (masks[0] == masks[2]).all()
    cv2.setRNGSeed(1)
    assert cv2.randu(np.zeros((4, 4), np.float32), 0, 1).tolist() == draws[0]


@pytest.mark.parametrize(
    "image",
    [
        np.full((64, 64, 3), 0.4, np.float32),
        np.zeros((1, 1, 3), np.float32),
        np.linspace(0, 1, 18, dtype=np.float32).reshape(2, 3, 3),
        np.linspace(0, 1, 1200, dtype=np.float32).reshape(1, 400, 3),
    ],
)
def test_where_there_is_nothing_nothing_is_found(image: Array) -> None:
    mask = subject_mask(image)
    assert mask.shape == image.shape[:2]
    assert not mask.any()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="'cat' is unknown; known: object, face"):
        subject_mask(picture()[0], "cat")  # type: ignore[arg-type]


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'neuralpaint\[train\]'"):
        subject_mask(picture()[0])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    media.write_image(tmp_path / "photo.png", picture()[0])
    return tmp_path / "photo.png"


def count(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []

    def counted(image: Array, kind: subjects.Kind) -> Array:
        calls.append(kind)
        return subject_mask(image, kind)

    monkeypatch.setattr(subjects, "subject_mask", counted)
    return calls


def test_masks_are_cut_once(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = count(monkeypatch)
    cache = tmp_path / "cache"
    first = cached_mask(photo, folder=cache)
    copy = tmp_path / "other name.png"
    copy.write_bytes(photo.read_bytes())
    assert (cached_mask(copy, folder=cache) == first).all()
    assert (first == subject_mask(media.read_image(photo))).all()
    assert calls == ["object"]
    cached_mask(photo, "face", folder=cache)
    assert calls == ["object", "face"]
    media.write_image(photo, 1 - picture()[0])  # another picture under the same name
    cached_mask(photo, folder=cache)
    assert len(calls) == 3
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("damage", ["truncated", "empty", "gray", "other size"])
def test_damaged_entries_are_made_anew(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    cache = tmp_path / "cache"
    first = cached_mask(photo, folder=cache)
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    if damage == "truncated":
        entry.write_bytes(whole[: len(whole) // 2])
    elif damage == "empty":
        entry.write_bytes(b"")
    else:
        shape = first.shape if damage == "gray" else (9, 9)
        media.write_image(entry, np.full(shape, 0.5 if damage == "gray" else 1.0))
    calls = count(monkeypatch)
    assert (cached_mask(photo, folder=cache) == first).all()
    assert len(calls) == 1
    assert entry.read_bytes() == whole


def test_that_there_is_none_is_remembered_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media.write_image(tmp_path / "flat.png", np.full((20, 20, 3), 0.5))
    calls = count(monkeypatch)
    for _ in range(2):
        assert not cached_mask(tmp_path / "flat.png", folder=tmp_path / "cache").any()
    assert len(calls) == 1


def test_the_cache_follows_the_users_settings(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert subjects.cache_folder() == tmp_path / "xdg" / "neuralpaint" / "masks"
    cached_mask(photo)
    assert len(list(subjects.cache_folder().iterdir())) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert subjects.cache_folder() == tmp_path / "home" / ".cache" / "neuralpaint" / "masks"


def test_a_cache_that_cannot_be_written_names_the_remedy(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(files.UnwritableFolderError, match="set XDG_CACHE_HOME"):
        cached_mask(photo, folder=tmp_path / "file" / "masks")


def test_unreadable_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    for name in ("a.png", "absent.png"):
        with pytest.raises(media.MediaError, match=name):
            cached_mask(tmp_path / name, folder=tmp_path)
