import copy
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import neuralpaint
from neuralpaint.backend.media import read_image, to_uint8
from neuralpaint.zoo.captions import captioned_sheet
from neuralpaint.zoo.result import (
    OUTPUT_TYPES,
    GeneratedImage,
    ImageResult,
    OutputType,
    provenance,
    sheet_of,
)

TEXTS = {
    "Software": f"neuralpaint {neuralpaint.__version__}",
    "Source": "AI-generated image",
    "Model": "m (weights 0)",
    "Prompt": "a bird",
    "Seed": "7",
}


def result(output_type: OutputType = "pil") -> ImageResult:
    pixels = torch.rand(3, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    return ImageResult(
        pixels,
        output_type,
        prompts=["a bird", "a bird", "a fish"],
        seeds=[7, 8, 2**63],
        notes=["hello"],
        model="m (weights 0)",
    )


def image() -> GeneratedImage:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)
    return GeneratedImage(pixels, TEXTS)


# --- a result is a sequence of its images ---------------------------------------------------------


@pytest.mark.parametrize("output_type", OUTPUT_TYPES)
def test_a_sequence_of_its_images(output_type: OutputType) -> None:
    made = result(output_type)
    assert len(made) == len(list(made)) == len(made.images) == 3
    for one, other in zip(made, made.images, strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    assert np.array_equal(np.asarray(made[-1]), np.asarray(made[2]))
    with pytest.raises(IndexError):
        made[3]


def test_the_three_forms_agree() -> None:
    pil, array, tensor = (result(kind) for kind in OUTPUT_TYPES)
    assert array.images.shape == (3, 4, 6, 3)
    assert array.images.dtype == np.float32
    assert tensor.images.shape == (3, 3, 4, 6)
    assert tensor.images.dtype == torch.float32
    assert np.array_equal(array.images, tensor.images.permute(0, 2, 3, 1).numpy())
    assert all(isinstance(one, GeneratedImage) for one in pil)
    for one, values in zip(pil, array, strict=True):
        assert one.size == (6, 4)
        assert np.array_equal(np.asarray(one), to_uint8(values))
    assert pil[0] is pil[0]


def test_a_slice_is_a_result() -> None:
    part = result()[1:]
    assert isinstance(part, ImageResult)
    assert (part.prompts, part.seeds) == (("a bird", "a fish"), (8, 2**63))
    assert (part.notes, part.model) == (("hello",), "m (weights 0)")
    assert np.array_equal(np.asarray(part[0]), np.asarray(result()[1]))
    assert repr(part) == "<2 images of 6 x 4 pixels by m (weights 0)>"


# --- provenance -----------------------------------------------------------------------------------


@pytest.mark.parametrize("output_type", OUTPUT_TYPES)
def test_saved_files_hold_pixels_and_provenance(output_type: OutputType, tmp_path: Path) -> None:
    made = result(output_type)
    files = made.save(tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png"]
    assert sorted(files[0].parent.iterdir()) == files
    for number, file in enumerate(files):
        with Image.open(file) as stored:
            assert stored.info == {
                **TEXTS,
                "Prompt": made.prompts[number],
                "Seed": str(made.seeds[number]),
            }
            assert np.array_equal(np.asarray(stored), np.asarray(result()[number]))


def test_an_image_saved_by_name_or_into_a_file(tmp_path: Path) -> None:
    image().save(tmp_path / "a.png")
    image().save(str(tmp_path / "b.png"), compress_level=1)
    with io.BytesIO() as file:
        image().save(file, "PNG")
        with Image.open(file) as stored:
            assert stored.info == TEXTS
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as stored:
            assert stored.info == TEXTS
            assert np.array_equal(np.asarray(stored), np.asarray(image()))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff"])
def test_other_formats_carry_it_as_exif(suffix: str, tmp_path: Path) -> None:
    image().save(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as stored:
        exif = stored.getexif()
    assert exif[ExifTags.Base.Software] == TEXTS["Software"]
    for text in ("AI-generated", "m (weights 0)", "a bird", "Seed: 7"):
        assert text in exif[ExifTags.Base.ImageDescription]


def test_a_format_that_pil_does_not_know_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown file extension"):
        image().save(tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []


def test_copies_keep_the_texts_in_memory() -> None:
    small = image().resize((2, 2))
    assert small.info == TEXTS
    again = copy.copy(image())
    assert again.info == TEXTS
    assert np.array_equal(np.asarray(again), np.asarray(image()))


@pytest.mark.parametrize("prompt", ["ein roter Vogel, schön", "红色的鸟 🐦", "a\0b\nc\x1b[31m", ""])
def test_any_prompt_survives_the_file(prompt: str, tmp_path: Path) -> None:
    texts = provenance("m", prompt, 0)
    GeneratedImage(np.zeros((1, 1, 3), np.uint8), texts).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.info == texts
    assert texts["Prompt"].isprintable()
    if prompt.isprintable():
        assert texts["Prompt"] == prompt


def test_a_long_prompt_is_cut() -> None:
    assert provenance("m", "ab" * 600, 0)["Prompt"] == "ab" * 500 + "..."


# --- sheets ---------------------------------------------------------------------------------------


def test_a_sheet_shows_every_image_and_carries_provenance(tmp_path: Path) -> None:
    result().sheet(32).save(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as stored:
        assert stored.info["Prompt"] == "a bird | a fish"
        assert stored.info["Seed"] == f"7 8 {2**63}"
        assert stored.info["Source"] == "AI-generated image"
    page = read_image(tmp_path / "sheet.png")
    assert page.shape[1] == 3 * 32 + 4 * 8


def test_pictures_lie_in_rows_of_eight() -> None:
    pictures = [np.full((5, 5, 3), 10 * n, np.uint8) for n in range(1, 10)]
    page = captioned_sheet(pictures, ["x"] * 9, 16)
    assert page.shape[1] == 8 * 24 + 8
    height = (page.shape[0] - 8) // 2  # of a row
    for number in range(9):
        row, column = divmod(number, 8)
        assert (page[8 + row * height + 8, 8 + column * 24 + 8] == 10 * (number + 1)).all()
    # The second "x" is not written again, that of a new row is.
    assert (page[8 + 17 : height, 8 + 24 : 8 + 48] == 255).all()
    assert (page[8 + 17 : height, 8 : 8 + 16] < 255).any()
    assert (page[8 + height + 17 :, 8 : 8 + 16] < 255).any()


@pytest.mark.parametrize("text", ["word " * 100, "w" * 900, "x" * 5 + " " + "鸟" * 50])
def test_texts_stay_below_their_pictures(text: str) -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    page = captioned_sheet([black, black], [text, "b"], 60)
    assert page.shape[0] <= 8 + 60 + 4 * 15 + 4 + 8
    between = page[:, 8 + 60 : 8 + 68]
    assert (between[:, 2:] == 255).all()


def test_a_sheet_needs_pictures_and_as_many_texts() -> None:
    with pytest.raises(ValueError, match="0 pictures and 0 texts"):
        captioned_sheet([], [])
    with pytest.raises(ValueError, match="1 pictures and 2 texts"):
        sheet_of([np.zeros((1, 1, 3), np.uint8)], ["a", "b"], [0], "m")
