"""Decoding: what is framed, that nothing is lost unseen, that memory is bounded."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from neuralpaint.backend.files import MediaError
from neuralpaint.zoo.data import pictures
from neuralpaint.zoo.data.pictures import Catalogue, Entry, decode, load, square, surrounding


def gradient(path: Path, width: int, height: int) -> Path:
    """Red tells x, green tells y, both from 0 to 250."""
    x = np.linspace(0, 250, width)[None].repeat(height, 0)
    y = np.linspace(0, 250, height)[:, None].repeat(width, 1)
    pixels = np.stack([x, y, np.full_like(x, 40)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=95)
    return path


def test_the_frame_is_that_of_attngan() -> None:
    # By hand: 0.75 * 80 = 60 about (60, 70); the picture cuts it at 0 and 100.
    assert surrounding(200, 100, (20, 50, 80, 40)) == (0, 10, 120, 100)
    assert square(200, 100, (20, 50, 80, 40)) == (15, 10, 90)
    assert square(200, 100) == (50, 0, 100)
    assert square(101, 200) == (0, 49, 101)
    with pytest.raises(MediaError, match="outside the image"):
        square(200, 100, (400, 50, 80, 40))


@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.tuples(*[st.floats(-600, 600) for _ in range(4)]),
)
def test_a_frame_is_inside_or_refused(
    width: int, height: int, box: tuple[float, float, float, float]
) -> None:
    try:
        left, top, side = square(width, height, box)
    except MediaError:
        return
    assert side >= 1
    assert 0 <= left <= left + side <= width
    assert 0 <= top <= top + side <= height


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_what_lies_in_the_frame_is_kept(tmp_path: Path, suffix: str) -> None:
    path = gradient(tmp_path / f"a.{suffix}", 400, 200)
    image = decode(path, 16, (40, 60, 80, 40)).astype(int)
    # Frame: 60 about (80, 80), so x from 20 to 140 of 400 and y from 20 to 140 of 200.
    assert image.shape == (16, 16, 3)
    for place, middle in ((0, 23.75), (15, 136.25)):  # half a pixel of the result from the border
        assert abs(image[8, place, 0] - 250 * middle / 399) < 4
        assert abs(image[place, 8, 1] - 250 * middle / 199) < 4


def test_grey_pictures_have_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (30, 30), 90).save(tmp_path / "a.jpg")
    assert np.ptp(decode(tmp_path / "a.jpg", 8).astype(int), axis=2).max() == 0


def entries(tmp_path: Path) -> list[Entry]:
    """Three good pictures, of which the middle one is held out, and four that are not."""
    good = [gradient(tmp_path / f"{name}.jpg", 20 + 4 * n, 20) for n, name in enumerate("abc")]
    (tmp_path / "cut.jpg").write_bytes(good[0].read_bytes()[:300])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no image")
    bad = [tmp_path / f"{name}.jpg" for name in ("cut", "empty", "text", "absent")]
    order = [bad[0], good[0], bad[1], good[1], bad[2], good[2], bad[3]]
    return [Entry(path, (path.stem,), path.stem, path == good[1]) for path in order]


def test_damaged_pictures_are_named_and_the_others_keep_their_captions(tmp_path: Path) -> None:
    told = list[tuple[int, int]]()
    listed = Catalogue("set", entries(tmp_path), {"x.txt": pictures.NO_IMAGE})
    data = load(listed, 8, threads=3, report=lambda done, total: told.append((done, total)))
    assert data.captions == (("a",), ("c",), ("b",))
    assert data.held_out.tolist() == [False, False, True]
    assert data.species == ("a", "b", "c")
    assert data.labels.tolist() == [0, 2, 1]
    for row, name in enumerate("acb"):
        expected = decode(tmp_path / f"{name}.jpg", 8).transpose(2, 0, 1)
        assert np.array_equal(data.images[row].numpy(), expected)
    assert {Path(name).name for name in data.skipped} == {
        "cut.jpg", "empty.jpg", "text.jpg", "absent.jpg", "x.txt",
    }  # fmt: skip
    assert data.skipped[str(tmp_path / "absent.jpg")] == pictures.ABSENT
    assert pictures.summary(data.skipped) == (
        "3 × damaged image, 1 × captions without an image, 1 × no such image"
    )
    assert told == [(count, 7) for count in range(1, 8)]


def test_threads_change_nothing(tmp_path: Path) -> None:
    listed = Catalogue("set", entries(tmp_path), {})
    assert load(listed, 8, threads=1).checksum == load(listed, 8, threads=4).checksum


def test_no_picture_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    listed = Catalogue("set", [Entry(tmp_path / "a.jpg", ("a",), "a", False)], {})
    with pytest.raises(ValueError, match=r"set: no picture left \(1 × no such image\)"):
        load(listed, 8)
    with pytest.raises(ValueError, match=r"no picture left \(none listed\)"):
        load(Catalogue("set", [], {}), 8)


def test_memory_is_bounded_before_anything_is_read(tmp_path: Path) -> None:
    listed = Catalogue("set", [Entry(tmp_path / "absent.jpg", ("a",), "a", False)] * 100, {})
    with pytest.raises(ValueError, match=r"100 pictures of 1024x1024 take 0\.29 GiB of memory"):
        load(listed, 1024, max_bytes=2**28)
    for size in (7, 1025, -1):
        with pytest.raises(ValueError, match=f"size {size}: expected 8 to 1024"):
            load(listed, size)


def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 399)
    with pytest.raises(MediaError, match=r"image too large \(20x20\)"):
        decode(gradient(tmp_path / "a.jpg", 20, 20), 8)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a.jpg", "a/../../b.jpg", "", "a\\b", "a\0b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"list\.json: .* leads out of the data set"):
        pictures.inside(tmp_path, name, Path("list.json"))


def test_a_failing_report_stops_the_reading(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(Catalogue("set", entries(tmp_path), {}), 8, report=stop)
