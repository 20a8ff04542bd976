"""Target sources: what they accept, what they refuse, and that seeds decide what they give."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from neuralpaint.backend import media
from neuralpaint.envs import procedural, subjects, targets
from neuralpaint.envs.targets import Canvas, Images, Procedural, Target, open_source

SMALL = Canvas(3, 6, 8)


def image(seed: int, height: int = 6, width: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good images, one of them in a subfolder, and four files that are none."""
    (tmp_path / "more").mkdir()
    for number, name in enumerate(["a.png", "c.png", "more/e.png"]):
        media.write_image(tmp_path / name, image(number))
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])  # truncated
    (tmp_path / "d.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "wrong.png").write_text("no image either")
    (tmp_path / ".hidden").write_text("not looked at")
    return tmp_path


def test_procedural_pictures_fit_and_repeat() -> None:
    source = open_source("procedural", SMALL)
    first, second = source.draw(rng(1)), source.draw(rng(1))
    assert first.image.shape == (3, 6, 8)
    assert first.mask.shape == (1, 6, 8)
    assert (first.image == second.image).all()
    assert (first.mask == 1).all()
    assert source.pick(4).image.tobytes() == source.pick(4).image.tobytes()
    with pytest.raises(IndexError, match="numbered from 0"):
        source.pick(-1)


def test_procedural_pictures_vary_and_have_structure() -> None:
    pictures = np.stack([procedural.picture(rng(seed), 32, 32) for seed in range(40)])
    assert pictures.dtype == np.float32
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert pictures.std((1, 2)).mean(1).min() > 0.02  # none is of one colour
    means = pictures.mean((1, 2))
    assert means.std(0).min() > 0.1  # and they do not look alike
    # Smooth: neighbours differ less than any two pixels do.
    steps = np.abs(np.diff(pictures, axis=2)).mean()
    assert steps < 0.5 * pictures.std((1, 2)).mean()


def test_procedural_pictures_are_the_same_at_every_size() -> None:
    for seed in range(5):
        small = procedural.picture(rng(seed), 32, 48)
        large = procedural.picture(rng(seed), 128, 192)
        again = media.resize(large, 32, 48)
        assert np.abs(small - again).mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_tiny_procedural_pictures(shape: tuple[int, int]) -> None:
    for seed in range(20):
        picture = procedural.picture(rng(seed), *shape)
        assert picture.shape == (*shape, 3)
        assert np.isfinite(picture).all()


def test_huge_procedural_pictures_are_enlarged() -> None:
    target = Procedural(Canvas(1, 1200, 3)).draw(rng())
    assert target.image.shape == (1, 1200, 3)


def test_folder_skips_counts_and_names_what_is_no_image(folder: Path) -> None:
    with pytest.warns(UserWarning, match="skipped 4 of 7 target images") as caught:
        source = open_source(folder, SMALL)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert all(name in message for name in ("b.png", "d.jpg", "notes.txt", "wrong.png"))
    skipped = {Path(path).name for path in source.skipped}
    assert skipped == {"b.png", "d.jpg", "notes.txt", "wrong.png"}
    seen = {source.draw(rng(seed)).image.tobytes() for seed in range(30)}
    assert len(seen) == 3


def test_seeds_mean_the_same_pictures_before_and_after_a_file_was_found_bad(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match="skipped 4"):
        checked = open_source(folder, SMALL)
    monkeypatch.setattr(targets, "CHECKED_BYTES", 0)
    lazy = open_source(str(folder), SMALL)
    assert lazy.skipped == {}
    with pytest.warns(UserWarning, match="target images"):
        first = [lazy.draw(rng(seed)).image.tobytes() for seed in range(30)]
    assert len(lazy.skipped) == 4
    assert first == [lazy.draw(rng(seed)).image.tobytes() for seed in range(30)]
    assert first == [checked.draw(rng(seed)).image.tobytes() for seed in range(30)]


def test_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(media.MediaError, match="no files in this folder"):
        open_source(tmp_path, SMALL)
    (tmp_path / "notes.txt").write_text("no image")
    with (
        pytest.warns(UserWarning, match="skipped 1 of 1"),
        pytest.raises(media.MediaError, match=r"no target image is readable.*notes\.txt"),
    ):
        open_source(tmp_path, SMALL)


def test_an_absent_path_is_refused() -> None:
    with pytest.raises(media.MediaError, match=r'procedual: no such file.*"procedural-faces"'):
        open_source("procedual", SMALL)
    with pytest.raises(media.MediaError, match="no such file"):
        open_source([image(0), "absent.png"], SMALL)


def test_one_file_is_a_source(folder: Path) -> None:
    source = open_source(folder / "a.png", SMALL)
    drawn = source.draw(rng()).image
    np.testing.assert_allclose(drawn, image(0).transpose(2, 0, 1), atol=0.5 / 255 + 1e-6)


def test_arrays() -> None:
    one = open_source(image(0), SMALL)
    assert (one.pick(0).image == image(0).transpose(2, 0, 1)).all()
    many = open_source(np.stack([image(seed) for seed in range(4)]), SMALL)
    assert (many.pick(3).image == image(3).transpose(2, 0, 1)).all()
    eight_bits = open_source(np.full((6, 8), 51, dtype=np.uint8), SMALL)
    np.testing.assert_allclose(eight_bits.pick(0).image, 0.2, rtol=1e-6)


def test_lists_of_everything(folder: Path) -> None:
    mask = np.zeros((6, 8), dtype=np.float32)
    mask[:, :4] = 1
    items: list[targets.Item] = [
        folder / "a.png",
        str(folder / "c.png"),
        image(5),
        (image(6), mask),
    ]
    source = open_source(items, SMALL)
    assert (source.pick(2).mask == 1).all()
    assert (source.pick(3).mask == mask).all()
    assert (source.pick(3).image == image(6).transpose(2, 0, 1)).all()
    with pytest.raises(IndexError, match="target 4 does not exist: there are 4"):
        source.pick(4)


def test_generators_are_taken_in_order() -> None:
    def pictures() -> Iterator[NDArray[np.float32]]:
        for seed in range(2):
            yield image(seed)

    source = open_source(pictures(), SMALL)
    assert (source.draw(rng(9)).image == image(0).transpose(2, 0, 1)).all()
    assert (source.draw(rng(9)).image == image(1).transpose(2, 0, 1)).all()
    with pytest.raises(ValueError, match="the targets ran out after 2 pictures"):
        source.draw(rng())
    with pytest.raises(IndexError, match="have no numbers"):
        source.pick(0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((2, 3, 4, 5, 6)), "shape"),
        (np.full((6, 8, 3), 7.0), r"floats must lie in \[0, 1\]"),
        (np.full((6, 8, 3), np.nan), "NaN"),
        ([], "the list of target images is empty"),
        ([torch.zeros(3, 6, 8)], "Tensor is neither"),
        ([(image(0), image(0, 3, 3))], "differ"),
    ],
)
def test_wrong_pictures_are_refused(wrong: targets.Targets, message: str) -> None:
    with pytest.raises(media.MediaError, match=message):
        open_source(wrong, SMALL).draw(rng())


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="got int"):
        open_source(3, SMALL)  # type: ignore[arg-type]


def test_pictures_are_cropped_around_the_centre() -> None:
    wide = np.zeros((2, 6, 3), dtype=np.float32)
    wide[:, 2:4] = 1  # the middle third is white
    assert (targets.load(wide, Canvas(3, 5, 5)).image == 1).all()
    tall = wide.transpose(1, 0, 2)
    assert (targets.load(tall, Canvas(3, 5, 5)).image == 1).all()


def test_gray_is_the_luminance() -> None:
    picture = np.zeros((1, 4, 3), dtype=np.float32)
    picture[0, 0, 0] = picture[0, 1, 1] = picture[0, 2, 2] = 1
    picture[0, 3] = 1
    gray = targets.load(picture, Canvas(1, 1, 4)).image
    np.testing.assert_allclose(gray[0, 0], [0.299, 0.587, 0.114, 1], rtol=1e-6)
    assert gray.max() <= 1


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = targets.load(image(0), SMALL).nbytes
    monkeypatch.setattr(targets, "CACHE_BYTES", 3 * one)
    source = Images([image(seed) for seed in range(10)], SMALL)
    kept = [source.pick(number) for number in range(10)]
    assert source.pick(9) is kept[9]
    assert source.pick(8) is kept[8]
    assert source.pick(0) is not kept[0]
    assert (source.pick(0).image == kept[0].image).all()


def test_stacks_are_new_memory() -> None:
    target = Target(image(0).transpose(2, 0, 1).copy(), np.ones((1, 6, 8), dtype=np.float32))
    images, masks = targets.stack([target, target], torch.device("cpu"))
    images.zero_()
    masks.zero_()
    assert target.image.any()
    assert target.mask.all()


# --- subjects ------------------------------------------------------------------------------------

WIDE = Canvas(3, 40, 60)


def subject(seed: int, height: int = 40, width: int = 60) -> NDArray[np.float32]:
    """A red disc before green."""
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(y - height / 2, x - width / 2) < 12
    colours = np.where(disc[..., None], [0.9, 0.2, 0.2], [0.2, 0.6, 0.3])
    noise = np.random.default_rng(seed).normal(0, 0.03, colours.shape)
    return (colours + noise).clip(0, 1).astype(np.float32)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pictures with a subject, two without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for number, name in enumerate(["a.png", "c.png"]):
        media.write_image(tmp_path / "photos" / name, subject(number))
    for name in ("b.png", "d.png"):
        media.write_image(tmp_path / "photos" / name, np.full((40, 60, 3), 0.5))
    return tmp_path / "photos"


@pytest.mark.parametrize("name", ["procedural-faces", "procedural-birds"])
@pytest.mark.parametrize("kind", [None, "face"])
def test_drawings_have_masks(name: str, kind: subjects.Kind | None) -> None:
    source = open_source(name, WIDE, kind)
    first = source.draw(rng(1))
    assert first.image.shape == (3, 40, 60)
    assert first.mask.shape == (1, 40, 60)
    assert 0.02 < first.mask.mean() < 0.8
    assert first.image.tobytes() == source.draw(rng(1)).image.tobytes()
    assert source.pick(3).mask.tobytes() == source.pick(3).mask.tobytes()
    gray = open_source(name, Canvas(1, 1200, 30)).pick(0)
    assert gray.image.shape == gray.mask.shape == (1, 1200, 30)


def test_pictures_without_a_subject_are_counted_and_named(photos: Path) -> None:
    with pytest.warns(UserWarning, match="skipped 2 of 4 target images") as caught:
        source = open_source(photos, WIDE, "object")
    message = str(caught[0].message)
    assert "b.png: no subject was found; leave it out" in message
    assert "d.png" in message
    assert {Path(path).name for path in source.skipped} == {"b.png", "d.png"}
    for seed in range(6):
        mask = source.draw(rng(seed)).mask
        assert 0.1 < mask.mean() < 0.3
    for number in (0, 2):
        assert source.pick(number).mask[0, 20, 30] == 1
        assert source.pick(number).mask[0, 0, 0] == 0
    with pytest.raises(targets.NoSubjectError, match=r"b\.png: no subject"):
        source.pick(1)
    assert (open_source(photos, WIDE).pick(1).mask == 1).all()  # unless one is asked for


def test_seeds_mean_the_same_subjects_whatever_was_looked_at_before(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match="skipped 2"):
        checked = open_source(photos, WIDE, "object")
    monkeypatch.setattr(targets, "CHECKED_SUBJECTS", 1)
    lazy = open_source(photos, WIDE, "object")
    assert lazy.skipped == {}
    with pytest.warns(UserWarning, match="target images"):
        first = [lazy.draw(rng(seed)).image.tobytes() for seed in range(20)]
    assert first == [checked.draw(rng(seed)).image.tobytes() for seed in range(20)]


def test_the_search_goes_on_until_a_subject_is_found(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "a.png").unlink()
    monkeypatch.setattr(targets, "CHECKED_SUBJECTS", 1)
    with pytest.warns(UserWarning, match="skipped 1 of 3"):
        source = open_source(photos, WIDE, "object")
    assert {Path(path).name for path in source.skipped} == {"b.png"}


def test_targets_without_any_subject_are_refused(photos: Path) -> None:
    (photos / "a.png").unlink()
    (photos / "c.png").unlink()
    message = "no target image is readable and has a subject; the last.*together with a mask"
    with (
        pytest.warns(UserWarning, match="skipped 2 of 2"),
        pytest.raises(media.MediaError, match=message),
    ):
        open_source(photos, WIDE, "object")


def test_subjects_of_arrays_pairs_and_streams() -> None:
    flat = np.full((40, 60, 3), 0.5, np.float32)
    pair = (flat, np.eye(40, 60, dtype=np.float32))
    with pytest.warns(UserWarning, match="skipped 1 of 3 target images: image 1: no subject"):
        source = open_source([subject(0), flat, pair], WIDE, "object")
    assert source.pick(0).mask[0, 20, 30] == 1
    assert (source.pick(2).mask == pair[1]).all()
    stream = open_source(iter([flat, subject(1)]), WIDE, "object")
    with pytest.warns(UserWarning, match="skipped 1 of 1 target images: picture 1"):
        assert 0.1 < stream.draw(rng()).mask.mean() < 0.3
    with pytest.raises(ValueError, match="ran out after 2"):
        stream.draw(rng())


def test_a_picture_given_by_hand_needs_a_subject_too(photos: Path) -> None:
    source = open_source("procedural-birds", WIDE, "object")
    given = targets.choose(source, photos / "a.png", rng())
    assert 0.1 < given.mask.mean() < 0.3
    with pytest.raises(targets.NoSubjectError, match="no subject was found"):
        targets.choose(source, photos / "b.png", rng())


def test_masks_of_the_data_set_come_first(tmp_path: Path) -> None:
    (tmp_path / "images/1.A").mkdir(parents=True)
    (tmp_path / "segmentations/1.A").mkdir(parents=True)
    (tmp_path / "images.txt").write_text("1 1.A/a.png\n")
    media.write_image(tmp_path / "images/1.A/a.png", np.full((40, 60, 3), 0.5))
    corner = np.zeros((20, 30))  # half the size
    corner[:10, :15] = 1
    media.write_image(tmp_path / "segmentations/1.A/a.png", corner)
    source = open_source(tmp_path, WIDE, "object")
    assert source.pick(0).mask[0, :19, :29].all()
    assert not source.pick(0).mask[0, 21:].any()


def test_subjects_that_cannot_be_had_are_refused() -> None:
    with pytest.raises(ValueError, match="subject 'cat' is unknown; known: object, face"):
        open_source("procedural-birds", WIDE, "cat")  # type: ignore[arg-type]
    with pytest.raises(media.MediaError, match="have no subjects; take one of procedural-faces"):
        open_source("procedural", WIDE, "face")
