"""What `generate` returns: the images, how each came about, and their provenance.

Every file written from here says in its metadata that it was generated, by which model and version,
from which prompt and seed: PNG text chunks, which `PIL.Image.open(path).info` shows.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, get_args, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from ..backend.files import atomic_path, writable_folder
from ..backend.media import to_uint8
from .captions import captioned_sheet

OutputType = Literal["pil", "np", "pt"]
OUTPUT_TYPES: tuple[OutputType, ...] = get_args(OutputType)
MAX_PROMPT = 1000
"""Characters of a text that the metadata of a file keeps."""
GENERATED = "AI-generated image"

AnyResults = TypeVar("AnyResults", bound="Results")


class GeneratedImage(Image.Image):
    """A PIL image that writes its provenance with it.

    Its `info` holds the texts. Images made from it (resized, cropped, copied) are plain PIL images:
    they keep `info`, and PIL writes it only where it is asked to.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        texts: keyword -> value, see `provenance`.
    """

    def __init__(self, pixels: NDArray[np.uint8], texts: Mapping[str, str]) -> None:
        super().__init__()
        made = Image.fromarray(np.ascontiguousarray(pixels))
        self.im, self._mode, self._size = made.im, made.mode, made.size
        self.info.update(texts)

    def save(
        self,
        fp: str | bytes | os.PathLike[str] | os.PathLike[bytes] | IO[bytes],
        format: str | None = None,
        **params: Any,
    ) -> None:
        """Write the image, atomically where `fp` is a path.

        PNG files carry the texts as text chunks; JPEG, WebP and TIFF files carry them as EXIF.

        Args:
            fp: path or binary file.
            format: as of PIL; by default from the path's suffix.
            params: as of PIL; `pnginfo` or `exif` replace the provenance.
        """
        texts = {str(key): value for key, value in self.info.items() if isinstance(value, str)}
        path = None if hasattr(fp, "write") else os.fsdecode(fp)
        name = format or os.path.splitext(path or str(getattr(fp, "name", "")))[1][1:]
        if name.lower() in ("png", "apng"):
            png = PngInfo()
            for key, value in texts.items():
                png.add_text(key, value)
            params = {"pnginfo": png, **params}
        else:
            exif = Image.Exif()
            exif[ExifTags.Base.Software] = texts.get("Software", "")
            exif[ExifTags.Base.ImageDescription] = "; ".join(f"{k}: {v}" for k, v in texts.items())
            params = {"exif": exif, **params}
        if path is None:
            super().save(fp, format, **params)
            return
        with atomic_path(path) as part:
            super().save(part, format, **params)


class Results(Sequence[Any], ABC):
    """Generated pictures; a sequence of them, in the form that was asked for.

    Args:
        output_type: what the pictures are: "pil" (`GeneratedImage`), "np" ((H, W, 3) float32 in
            [0, 1]) or "pt" ((3, H, W) float32 in [0, 1]).
        count: of the pictures.
        notes: what the user should know.
        model: name and weights, for the provenance.

    Attributes:
        notes: texts.
        model: name and weights.
    """

    def __init__(
        self, output_type: OutputType, count: int, notes: Sequence[str] = (), model: str = ""
    ) -> None:
        self._output_type: OutputType = output_type
        self.notes, self.model = tuple(notes), model
        self._items: list[Any] = [None] * count

    # --- what a subclass says --------------------------------------------------------------------

    @abstractmethod
    def pixels(self, number: int) -> NDArray[Any]:
        """A picture, (H, W, 3) RGB: float32 in [0, 1], or uint8."""

    @abstractmethod
    def texts(self, number: int) -> dict[str, str]:
        """Provenance of a picture: keyword -> value."""

    @abstractmethod
    def part(self: AnyResults, which: slice) -> AnyResults:
        """Some of the pictures, as a result of the same kind."""

    # --- a sequence ------------------------------------------------------------------------------

    @property
    def images(self) -> Any:
        """All pictures, as a list."""
        return list(self)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self: AnyResults, index: slice) -> AnyResults: ...
    def __getitem__(self: AnyResults, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.part(index)
        number = range(len(self))[index]  # counts from the end, and raises IndexError
        if self._items[number] is None:
            self._items[number] = self._item(number)
        return self._items[number]

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def pil(self, number: int) -> GeneratedImage:
        """A picture as PIL image, whatever the output type."""
        return GeneratedImage(self._bytes(number), self.texts(number))

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the pictures as 0000.png, 0001.png, ..., each atomically.

        Args:
            folder: made if absent.

        Returns:
            The files.

        Raises:
            OSError: the folder cannot be written to.
        """
        out = writable_folder(folder)
        paths = [out / f"{number:04d}.png" for number in range(len(self))]
        for number, path in enumerate(paths):
            self.pil(number).save(path)
        return paths

    def _item(self, number: int) -> Any:
        if self._output_type == "pil":
            return self.pil(number)
        pixels = self.pixels(number)
        if pixels.dtype == np.uint8:
            pixels = pixels.astype(np.float32) / np.float32(255)
        return pixels if self._output_type == "np" else torch.from_numpy(pixels).permute(2, 0, 1)

    def _bytes(self, number: int) -> NDArray[np.uint8]:
        pixels = self.pixels(number)
        return pixels if pixels.dtype == np.uint8 else to_uint8(pixels)


class ImageResult(Results):
    """Generated images and how each came about; a sequence of its images.

    Args:
        pixels: (N, 3, H, W) float32 RGB in [0, 1], on the CPU.
        output_type: see `Results`.
        prompts: of each image.
        seeds: of each image; the same model makes the same image from the same prompt and seed.
        notes: what the user should know, as words that the model does not know.
        model: name and weights, for the provenance.

    Attributes:
        prompts: of each image.
        seeds: of each image.
        notes: texts.
        model: name and weights.
    """

    def __init__(
        self,
        pixels: torch.Tensor,
        output_type: OutputType,
        *,
        prompts: Sequence[str],
        seeds: Sequence[int],
        notes: Sequence[str] = (),
        model: str = "",
    ) -> None:
        super().__init__(output_type, len(pixels), notes, model)
        self._pixels = pixels
        self.prompts, self.seeds = tuple(prompts), tuple(seeds)

    @property
    def images(self) -> Any:
        """All images: a list of PIL images, an array (N, H, W, 3) or a tensor (N, 3, H, W)."""
        if self._output_type == "np":
            return self._pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return self._pixels if self._output_type == "pt" else list(self)

    def part(self, which: slice) -> "ImageResult":
        """Some of the images."""
        return ImageResult(
            self._pixels[which],
            self._output_type,
            prompts=self.prompts[which],
            seeds=self.seeds[which],
            notes=self.notes,
            model=self.model,
        )

    def __repr__(self) -> str:
        height, width = self._pixels.shape[2:]
        return f"<{len(self)} images of {width} x {height} pixels by {self.model}>"

    def pixels(self, number: int) -> NDArray[np.float32]:
        """An image, (H, W, 3) float32 RGB in [0, 1]."""
        values: NDArray[np.float32] = self._pixels[number].permute(1, 2, 0).numpy()
        return values

    def texts(self, number: int) -> dict[str, str]:
        """Provenance of an image: keyword -> value."""
        return provenance(self.model, self.prompts[number], self.seeds[number])

    def sheet(self, side: int = 160) -> GeneratedImage:
        """All images on one page, each with its prompt.

        Args:
            side: of each image on the page, in pixels.

        Returns:
            The page; it carries its provenance as the images do.
        """
        pictures = [self._bytes(number) for number in range(len(self))]
        return sheet_of(pictures, self.prompts, self.seeds, self.model, side)


def sheet_of(
    pictures: Sequence[NDArray[np.uint8]],
    prompts: Sequence[str],
    seeds: Sequence[int],
    model: str,
    side: int = 160,
) -> GeneratedImage:
    """A page of generated images that carries the provenance of all.

    Args:
        pictures: (H, W, 3) uint8 each.
        prompts: of each.
        seeds: of each.
        model: name and weights.
        side: of each image on the page, in pixels.

    Returns:
        The page.
    """
    texts = provenance(model, " | ".join(dict.fromkeys(prompts)), seeds[0] if seeds else 0)
    texts["Seed"] = " ".join(str(seed) for seed in seeds)
    return GeneratedImage(captioned_sheet(pictures, prompts, side), texts)


def provenance(model: str, prompt: str, seed: int) -> dict[str, str]:
    """What the metadata of a generated file says: keyword -> value.

    Args:
        model: name and weights.
        prompt: what was asked for; long ones are cut.
        seed: of the image.

    Returns:
        Texts without control characters.
    """
    return marks(model, Prompt=prompt, Seed=str(seed))


def marks(model: str, **more: str) -> dict[str, str]:
    """What the metadata of any generated file says.

    Args:
        model: name and weights.
        more: keyword -> what else there is to say; long ones are cut.

    Returns:
        Texts without control characters: "Software", "Source", "Model", and the others.
    """
    from .. import __version__  # the package is complete by now, not while it is imported

    texts = {"Software": f"neuralpaint {__version__}", "Source": GENERATED, "Model": model}
    for key, text in more.items():
        shown = "".join(c if c.isprintable() else " " for c in text[:MAX_PROMPT])
        texts[key] = shown + ("..." if len(text) > MAX_PROMPT else "")
    return texts
