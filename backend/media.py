"""Media: the only reader and writer of images, sound and video in the project.

| what   | read                                | write         | in memory                        |
|--------|-------------------------------------|---------------|----------------------------------|
| images | `read_image`                        | `write_image` | (H, W, 3) float32 RGB in [0, 1]  |
| video  | `read_video`                        | `write_video` | (H, W, 3) uint8 RGB frames       |
| sound  | `read_sound`                        | `write_sound` | (T,) float32 mono in [-1, 1]     |

Whatever cannot be read is refused with one `MediaError`, which names the file and the remedy.
This file holds the images; `video` and `sound` stand beside it.
"""

import io
import os
import struct
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from .files import MediaError, input_file, write_bytes
from .sound import read_sound, write_sound
from .video import read_video, write_video

__all__ = [
    "MAX_PIXELS",
    "ImageArray",
    "MediaError",
    "as_image",
    "read_image",
    "read_sound",
    "read_video",
    "resize",
    "to_uint8",
    "write_image",
    "write_sound",
    "write_video",
]

ImageArray = NDArray[np.float32]

MAX_PIXELS = 2**26
"""Larger images are refused unless the caller raises the limit: 67 megapixels, 0.8 GB decoded."""

# A closed list: Pillow also opens formats that start other programs (EPS runs Ghostscript).
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
_KNOWN = "BMP, GIF, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP"
_ROUNDING = 1e-4  # floats may leave [0, 1] by this much, as sums of weights do
_WHITE = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

# EXIF orientation: how the stored picture has to be turned to stand upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_warnings_lock = threading.Lock()


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read an image file, upright and in sRGB.

    Converted: EXIF rotation, embedded colour profiles (a damaged one is ignored, as browsers
    do), palettes, grey, 16 bits, CMYK. Transparent parts show white. Of an animation, the first
    frame. Float TIFFs must be single-channel with values in [0, 1].

    Args:
        path: BMP, GIF, JPEG, JPEG 2000, PNG, PNM, TIFF or WebP.
        max_pixels: refuse larger images before decoding them.

    Returns:
        (H, W, 3) float32 RGB in [0, 1].

    Raises:
        MediaError: absent, a folder, empty, truncated, too large, or no image.
    """
    file = input_file(path, MediaError)
    try:
        image = _open(file)
    except UnidentifiedImageError as error:
        raise MediaError(f"{file}: not an image of a known kind; convert it to {_KNOWN}") from error
    except Image.DecompressionBombError as error:
        raise MediaError(f"{file}: far too many pixels; make it smaller first") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise MediaError(f"{file}: damaged image ({error}); fetch or make it again") from error
    with image:
        _check_size(image.height, image.width, max_pixels, str(file))
        try:
            image.load()
        except Exception as error:  # as above
            raise MediaError(
                f"{file}: damaged or truncated image ({error}); fetch or make it again"
            ) from error
        return _from_pillow(image, str(file))


def as_image(
    source: Image.Image | NDArray[np.generic],
    *,
    name: str = "image",
    max_pixels: int = MAX_PIXELS,
) -> ImageArray:
    """Bring an image that is already in memory into the project's form.

    Args:
        source: a PIL image (converted like a file, see `read_image`), or an array (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4) with alpha last: bool, uint8, uint16, or floats
            in [0, 1].
        name: what to call it in errors.
        max_pixels: refuse larger images.

    Returns:
        (H, W, 3) float32 RGB in [0, 1]; always a new array.

    Raises:
        MediaError: another type, shape or range, NaN, infinity, no pixels, too many pixels.
    """
    if isinstance(source, Image.Image):
        _check_size(source.height, source.width, max_pixels, name)
        return _from_pillow(source, name)
    if not isinstance(source, np.ndarray):
        raise MediaError(f"{name}: {type(source).__name__} is neither a PIL image nor an array")
    if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (1, 3, 4)):
        raise MediaError(
            f"{name}: shape {source.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        )
    _check_size(source.shape[0], source.shape[1], max_pixels, name)
    values = source if source.ndim == 3 else source[:, :, None]
    return _flatten(_unit_range(values, name))


def to_uint8(image: ImageArray) -> NDArray[np.uint8]:
    """Round an image to 8 bits.

    Args:
        image: float32 in [0, 1], any shape; values outside are clipped.

    Returns:
        uint8, the same shape.
    """
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def resize(image: ImageArray, height: int, width: int) -> ImageArray:
    """Resize without aliasing: area average where it shrinks, bilinear where it grows.

    Neither filter overshoots, so the result stays in [0, 1].

    Args:
        image: (H, W, 3) float32 in [0, 1].
        height: rows wanted, >= 1.
        width: columns wanted, >= 1.

    Returns:
        (height, width, 3) float32 in [0, 1].

    Raises:
        MediaError: a size below 1.
    """
    if height < 1 or width < 1:
        raise MediaError(f"resize to {height}x{width}: both sides must be at least 1 pixel")

    def kernel(old: int, new: int) -> Image.Resampling:
        return Image.Resampling.BOX if new < old else Image.Resampling.BILINEAR

    rows, columns = image.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        plane = Image.fromarray(np.ascontiguousarray(image[:, :, channel]))  # mode "F": exact
        plane = plane.resize((width, rows), kernel(columns, width))
        plane = plane.resize((width, height), kernel(rows, height))
        result[:, :, channel] = np.asarray(plane)
    return np.clip(result, 0, 1, out=result)


def write_image(
    path: str | os.PathLike[str],
    image: NDArray[np.generic],
    *,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write a PNG or JPEG (quality 95) atomically.

    Args:
        path: ends in .png, .jpg or .jpeg.
        image: (H, W, 3) RGB, floats in [0, 1] or uint8; other forms as in `as_image`.
        text: provenance for a PNG: keyword -> value, stored as text chunks.

    Raises:
        MediaError: unknown suffix, text for a JPEG, or an image that `as_image` refuses.
        OSError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise MediaError(f"{path}: can only write .png, .jpg and .jpeg images")
    pixels = Image.fromarray(to_uint8(as_image(image, name=str(path))))
    data = io.BytesIO()
    if suffix == ".png":
        info = PngInfo()
        for key, value in (text or {}).items():
            info.add_text(key, value)
        pixels.save(data, "PNG", pnginfo=info)
    elif text:
        raise MediaError(f"{path}: text is stored in .png files only")
    else:
        pixels.save(data, "JPEG", quality=95)
    write_bytes(path, data.getvalue())


def _open(file: Path) -> Image.Image:
    """Read the header only. Pillow's warning about size is ours to give, as an error."""
    # catch_warnings changes state of the whole process: one thread at a time.
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(file, formats=_FORMATS)


def _check_size(height: int, width: int, max_pixels: int, name: str) -> None:
    if height < 1 or width < 1:
        raise MediaError(f"{name}: {height}x{width} has no pixels")
    if height * width > max_pixels:
        raise MediaError(
            f"{name}: {width}x{height} is {height * width / 1e6:.1f} megapixels, more than the "
            f"limit of {max_pixels / 1e6:.1f}; make it smaller first"
        )


def _from_pillow(image: Image.Image, name: str) -> ImageArray:
    """Any PIL image to (H, W, 3) float32 sRGB."""
    image = _upright(image)
    if image.mode in _SIXTEEN_BIT:
        return _flatten(_unit_range(np.asarray(image).astype(np.uint16)[:, :, None], name))
    if image.mode == "I":  # 16-bit PNM: Pillow scales it to 0 .. 65535
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise MediaError(f"{name}: 32-bit integers have no known white; convert it to 16 bits")
        return _flatten(_unit_range(values.astype(np.uint16)[:, :, None], name))
    if image.mode == "F":
        return _flatten(_unit_range(np.asarray(image)[:, :, None], name))
    try:
        transparent = image.has_transparency_data
        if image.mode == "CMYK":
            image = _to_srgb(image)
        image = image.convert("RGBA" if transparent else "RGB")
    except (ValueError, OSError) as error:
        raise MediaError(f"{name}: no known way from {image.mode} to RGB ({error})") from error
    return _flatten(_unit_range(np.asarray(_to_srgb(image)), name))


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, KeyError, TypeError, OSError, struct.error):
        return image  # unreadable EXIF says nothing about the pixels
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply an embedded colour profile; without one (or with a damaged one) change nothing."""
    data = image.info.get("icc_profile")
    if not data:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image
        mode = "RGB" if image.mode == "CMYK" else image.mode
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        return image
    assert converted is not None  # None is for inPlace=True
    converted.info.pop("icc_profile", None)
    return converted


def _unit_range(values: NDArray[np.generic], name: str) -> ImageArray:
    """Numbers of any known type to new float32 numbers in [0, 1]."""
    if values.dtype == np.bool_:
        return values.astype(np.float32)
    if values.dtype in _WHITE:
        unit = values.astype(np.float32)
        unit /= _WHITE[values.dtype]
        return unit
    if not np.issubdtype(values.dtype, np.floating):
        raise MediaError(f"{name}: dtype {values.dtype}; expected bool, uint8, uint16 or floats")
    unit = values.astype(np.float32)
    if not np.isfinite(unit).all():
        raise MediaError(f"{name}: NaN or infinity among its values")
    low, high = float(unit.min()), float(unit.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise MediaError(
            f"{name}: values from {low:.4g} to {high:.4g}; floats must lie in [0, 1], scale them"
        )
    return np.clip(unit, 0, 1, out=unit)


def _flatten(values: ImageArray) -> ImageArray:
    """(H, W, 1 | 3 | 4) to (H, W, 3): grey repeated, alpha laid over white."""
    channels = values.shape[2]
    if channels == 1:
        return np.repeat(values, 3, axis=2)
    if channels == 4:
        alpha = values[:, :, 3:]
        return values[:, :, :3] * alpha + (1 - alpha)
    return values
