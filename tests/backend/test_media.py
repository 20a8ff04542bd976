import io
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageCms

from neuralpaint.backend import media

RNG_PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG put together by hand: `rows` are the unfiltered scan lines with their filter byte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def read(tmp_path: Path, data: bytes) -> media.ImageArray:
    path = tmp_path / "image"
    path.write_bytes(data)
    return media.read_image(path)


def test_a_png_comes_back_bit_for_bit(tmp_path: Path) -> None:
    media.write_image(tmp_path / "a.png", RNG_PIXELS)
    image = media.read_image(tmp_path / "a.png")
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, RNG_PIXELS.astype(np.float32) / 255)
    media.write_image(tmp_path / "b.png", image)
    np.testing.assert_array_equal(media.read_image(str(tmp_path / "b.png")), image)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (2, 3), 51), "PNG", (0.2, 0.2, 0.2)),
        (Image.new("1", (2, 3), 1), "PNG", (1, 1, 1)),
        (Image.new("LA", (2, 3), (51, 51)), "PNG", (0.84, 0.84, 0.84)),  # 0.2 * 0.2 + 0.8
        (Image.new("RGBA", (2, 3), (255, 0, 51, 204)), "PNG", (1, 0.2, 0.36)),
        (Image.new("RGBA", (2, 3), (9, 9, 9, 0)), "WEBP", (1, 1, 1)),
        (Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", (0, 1, 1)),
        (Image.new("CMYK", (16, 16), (0, 0, 255, 128)), "TIFF", (127 / 255, 127 / 255, 0)),
        (Image.new("YCbCr", (16, 16), (255, 128, 128)), "JPEG", (1, 1, 1)),
        (Image.new("I;16", (2, 3), 13107), "PNG", (0.2, 0.2, 0.2)),
        (Image.new("I;16", (2, 3), 13107), "TIFF", (0.2, 0.2, 0.2)),
        (Image.new("I;16B", (2, 3), 13107), "TIFF", (0.2, 0.2, 0.2)),
        (Image.new("F", (2, 3), 0.3), "TIFF", (0.3, 0.3, 0.3)),
        (Image.new("RGB", (2, 3), (255, 51, 0)), "BMP", (1, 0.2, 0)),
        (Image.new("RGB", (2, 3), (255, 51, 0)), "PPM", (1, 0.2, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_kind_of_pixel(
    tmp_path: Path, image: Image.Image, kind: str, expected: tuple[float, float, float]
) -> None:
    result = read(tmp_path, encoded(image, kind))
    assert result.shape == (image.height, image.width, 3)
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), atol=1.01 / 255)
    if kind != "JPEG" and image.mode != "CMYK":
        np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), atol=1e-6)


def test_sixteen_bit_rgb_png(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">3H", 65535, 13107, 0)
    np.testing.assert_allclose(read(tmp_path, png(1, 1, 16, 2, row))[0, 0], (1, 0.2, 0), atol=4e-3)


def test_sixteen_bit_pnm(tmp_path: Path) -> None:
    image = read(tmp_path, b"P5 1 1 1000 " + struct.pack(">H", 500))
    np.testing.assert_allclose(image, 0.5, atol=1e-4)


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    result = read(tmp_path, encoded(image, "PNG", transparency=bytes([255, 0])))
    np.testing.assert_array_equal(result, [[[1, 0, 0], [1, 1, 1]]])


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(read(tmp_path, data)[0, 0], (1, 0, 0))


TURNED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    # How a viewer has to turn the stored rows, from the EXIF standard.
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: np.rot90(a, 2),
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
    99: lambda a: a,
}


@pytest.mark.parametrize("orientation", TURNED)
def test_exif_rotation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = read(tmp_path, encoded(Image.fromarray(RNG_PIXELS), "PNG", exif=exif))
    np.testing.assert_array_equal(media.to_uint8(result), TURNED[orientation](RNG_PIXELS))


@pytest.mark.parametrize("exif", [b"rubbish", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II"])
def test_unreadable_exif_is_passed_over(tmp_path: Path, exif: bytes) -> None:
    data = encoded(Image.new("RGB", (8, 8), "white"), "JPEG", exif=exif)
    np.testing.assert_array_equal(read(tmp_path, data), np.ones((8, 8, 3)))


def test_an_embedded_colour_profile_is_applied(tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # A profile of our own: sRGB with the red and the green primary exchanged.
    tags = struct.unpack_from(">I", profile, 128)[0]
    for tag in range(tags):
        name = profile[132 + 12 * tag : 136 + 12 * tag]
        swapped = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(bytes(name))
        if swapped:
            profile[132 + 12 * tag : 136 + 12 * tag] = swapped
    own = bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    image = Image.new("RGB", (4, 4), (255, 0, 0))
    result = read(tmp_path, encoded(image, "PNG", icc_profile=own))
    np.testing.assert_allclose(result[0, 0], (0, 1, 0), atol=0.02)
    transparent = Image.new("RGBA", (4, 4), (255, 0, 0, 51))
    result = read(tmp_path, encoded(transparent, "PNG", icc_profile=own))
    np.testing.assert_allclose(result[0, 0], (0.8, 1, 0.8), atol=0.02)
    # Damaged: ignored.
    result = read(tmp_path, encoded(image, "PNG", icc_profile=own[:200]))
    np.testing.assert_array_equal(result[0, 0], (1, 0, 0))


WHOLE = encoded(Image.fromarray(np.tile(RNG_PIXELS, (20, 20, 1))), "PNG")
JPEG = encoded(Image.fromarray(np.tile(RNG_PIXELS, (20, 20, 1))), "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"plain text", "not an image of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a known kind"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image of a known kind"),
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (WHOLE[:20], "not an image|damaged"),
        (WHOLE[:200] + bytes(100) + WHOLE[300:], "damaged"),
        (png(10_000, 10_000, 8, 2, b""), r"100\.0 megapixels, more than the limit of 67"),
        (png(40_000, 40_000, 8, 2, b""), "too many pixels"),
        (encoded(Image.new("F", (2, 2), 1.5), "TIFF"), r"values from 1\.5 to 1\.5"),
        (encoded(Image.new("F", (2, 2), float("nan")), "TIFF"), "NaN"),
        (encoded(Image.new("I", (2, 2), 70000), "TIFF"), "32-bit integers"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(data)
    with pytest.raises(media.MediaError, match=rf"bad\.png: .*({message})"):
        media.read_image(path)


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(media.MediaError, match=r"gone\.png: no such file"):
        media.read_image(tmp_path / "gone.png")
    with pytest.raises(media.MediaError, match="is a folder"):
        media.read_image(tmp_path)


def test_the_pixel_limit_is_the_callers(tmp_path: Path) -> None:
    media.write_image(tmp_path / "a.png", RNG_PIXELS)
    assert media.read_image(tmp_path / "a.png", max_pixels=35).shape == (5, 7, 3)
    with pytest.raises(media.MediaError, match=r"7x5 is 0\.0 megapixels"):
        media.read_image(tmp_path / "a.png", max_pixels=34)


def test_threads_leave_the_warning_filters_alone(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png(10_000, 10_000, 8, 2, b""))  # Pillow would warn
    before = list(warnings.filters)
    barrier = threading.Barrier(4)
    errors: list[Exception] = []

    def read_often() -> None:
        barrier.wait()
        for _ in range(20):
            try:
                media.read_image(path)
            except media.MediaError as error:
                errors.append(error)

    threads = [threading.Thread(target=read_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 80
    assert list(warnings.filters) == before


KINDS = ["PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP", "JPEG2000"]
SEEDS = [encoded(Image.fromarray(RNG_PIXELS), kind) for kind in KINDS]


@settings(max_examples=300)
@given(
    data=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    kept=st.floats(0.1, 1),
)
def test_damaged_files_give_an_image_or_a_media_error(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    changes: list[tuple[float, int]],
    kept: float,
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * (len(damaged) - 1))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged[: max(1, int(kept * len(damaged)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow may well warn of damaged metadata
        try:
            image = media.read_image(path, max_pixels=10**6)
        except media.MediaError:
            return
    assert image.shape[2] == 3
    assert image.min() >= 0
    assert image.max() <= 1


@given(
    array=hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.uint16, np.float32, np.float64]),
        st.tuples(st.integers(1, 4), st.integers(1, 4))
        | st.tuples(st.integers(1, 4), st.integers(1, 4), st.sampled_from([1, 3, 4])),
        elements={"min_value": 0, "max_value": 1},
    )
)
def test_any_array_becomes_an_rgb_image(array: NDArray[np.generic]) -> None:
    before = array.copy()
    image = media.as_image(array)
    assert image.shape == (*array.shape[:2], 3)
    assert image.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert not np.shares_memory(image, array)
    image[:] = 0.5
    np.testing.assert_array_equal(array, before)


def test_arrays_by_hand() -> None:
    assert media.as_image(np.full((1, 1), 51, np.uint8)).tolist() == [[[np.float32(0.2)] * 3]]
    np.testing.assert_allclose(media.as_image(np.full((1, 1), 13107, np.uint16)), 0.2, atol=1e-7)
    rgba = np.array([[[1.0, 0.0, 0.2, 0.8]]])
    np.testing.assert_allclose(media.as_image(rgba), [[[1, 0.2, 0.36]]], atol=1e-6)
    np.testing.assert_array_equal(media.as_image(Image.new("RGB", (2, 1), "red"))[0, 1], (1, 0, 0))
    np.testing.assert_array_equal(media.as_image(np.full((1, 1, 3), 1.00001)), np.ones((1, 1, 3)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((3, 8, 8)), r"photo: shape \(3, 8, 8\)"),
        (np.zeros(3), "shape"),
        (np.zeros((0, 4, 3)), "no pixels"),
        (np.full((2, 2, 3), np.nan), "NaN"),
        (np.full((2, 2, 3), np.inf), "infinity"),
        (np.full((2, 2, 3), 255.0), "values from 255 to 255"),
        (np.full((2, 2, 3), -0.1), r"values from -0\.1"),
        (np.zeros((2, 2, 3), np.int64), "dtype int64"),
        (np.zeros((2, 2, 3), complex), "dtype complex"),
        (np.zeros((20, 20), np.uint8), "more than the limit"),
        (Image.new("L", (20, 20)), "more than the limit"),
        ([[0.5]], "list is neither"),
    ],
)
def test_bad_arrays_are_refused(source: NDArray[np.generic], message: str) -> None:
    with pytest.raises(media.MediaError, match=message):
        media.as_image(source, name="photo", max_pixels=399)


def test_resize_averages_areas() -> None:
    image = (np.arange(24) / 24).astype(np.float32).reshape(4, 6, 1).repeat(3, 2)
    expected = image.reshape(2, 2, 3, 2, 3).mean((1, 3))
    np.testing.assert_allclose(media.resize(image, 2, 3), expected, atol=1e-6)
    np.testing.assert_allclose(media.resize(image, 1, 1)[0, 0], image.mean((0, 1)), atol=1e-6)
    np.testing.assert_array_equal(media.resize(image, 4, 6), image)


def test_resize_is_bilinear_where_it_grows() -> None:
    image = np.array([[[0.0] * 3, [1.0] * 3]], np.float32)
    row = media.resize(image, 1, 4)[0, :, 0]
    np.testing.assert_allclose(row, [0, 0.25, 0.75, 1], atol=1e-6)
    mixed = media.resize(image.repeat(2, 0), 1, 4)  # grows in width, shrinks in height
    np.testing.assert_allclose(mixed[0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)


@given(
    image=hnp.arrays(np.float32, (4, 5, 3), elements=st.floats(0, 1, width=32)),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_resize_stays_within_its_input(image: media.ImageArray, height: int, width: int) -> None:
    result = media.resize(image, height, width)
    assert result.shape == (height, width, 3)
    assert result.dtype == np.float32
    assert result.min() >= image.min() - 1e-6
    assert result.max() <= image.max() + 1e-6


def test_resize_to_nothing() -> None:
    with pytest.raises(media.MediaError, match="at least 1 pixel"):
        media.resize(np.zeros((2, 2, 3), np.float32), 0, 2)


def test_to_uint8_rounds_and_clips() -> None:
    values = np.array([-1, 0, 0.4999 / 255, 0.5001 / 255, 1, 2], np.float32)
    assert media.to_uint8(values).tolist() == [0, 0, 0, 1, 255, 255]


def test_png_text_and_jpeg(tmp_path: Path) -> None:
    media.write_image(
        tmp_path / "a.png", RNG_PIXELS, text={"Software": "neuralpaint", "Titel": "Öl"}
    )
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Software"] == "neuralpaint"
        assert image.info["Titel"] == "Öl"
    media.write_image(tmp_path / "a.JPG", np.full((16, 16, 3), 0.2))
    np.testing.assert_allclose(media.read_image(tmp_path / "a.JPG"), 0.2, atol=2 / 255)


def test_a_refused_image_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("old")
    with pytest.raises(media.MediaError, match=r"a\.png: NaN"):
        media.write_image(path, np.full((2, 2, 3), np.nan))
    with pytest.raises(media.MediaError, match=r"can only write"):
        media.write_image(tmp_path / "a.gif", RNG_PIXELS)
    with pytest.raises(media.MediaError, match=r"\.png files only"):
        media.write_image(tmp_path / "a.jpg", RNG_PIXELS, text={"a": "b"})
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert path.read_text() == "old"
