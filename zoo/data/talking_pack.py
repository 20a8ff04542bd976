"""Many clips in one file that is mapped into memory: how the cache of talking faces keeps them.

A pack is a safetensors file with the tensors of `Clips`, which nothing but memory maps can hold
for large data sets, and the keys of its clips. It is written as a stream, clip by clip.
"""

import hashlib
import json
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ...backend import files
from ..face_geometry import POINTS
from ..talking.mfcc import COEFFICIENTS, ROWS
from .talking import offsets

KEY = 32
"""Hex digits of a clip's key."""
CLIPS = "clips"
"""Folder in the cache for clips that are not in a pack yet."""

_WHOLE = ("first", "sound_first", "keys")  # kept whole; the others are joined clip by clip
_TYPES = {torch.int64: "I64", torch.float32: "F32", torch.int16: "I16", torch.uint8: "U8"}
_JOINED = ("landmarks", "windows", "sounds", "frames")

_Place = tuple[Path, slice | None, slice | None]  # file, rows of frames, samples; None = all


def clip_file(folder: Path, key: str) -> Path:
    """The file of a clip that is not in a pack yet."""
    return folder / CLIPS / f"{key}.safetensors"


def known(folder: Path, size: int) -> set[str]:
    """The keys of all clips that a cache has, in packs or in files of their own."""
    found = {file.stem for file in (folder / CLIPS).glob("*.safetensors") if file.name[0] != "."}
    for file in _packs(folder, size):
        found.update(_keys(file))
    return found


def gather(
    folder: Path, size: int, keys: Sequence[str], report: Callable[[int, int], None]
) -> dict[str, Any]:
    """Clips from the cache, in one pack: one that has them, or a new one.

    A new one takes the place of the files and packs whose clips are all in it.

    Args:
        folder: the cache.
        size: pixels a side.
        keys: of the clips, each known, in the order wanted.
        report: called as clips are put together, with how many are, of how many.

    Returns:
        The tensors `frames`, `first`, `landmarks`, `windows`, `sounds` and `sound_first` of
        `Clips`, the large ones as maps of the pack's file.

    Raises:
        FileNotFoundError: a clip is gone.
        ValueError: a file of the cache is damaged (names it).
        OSError: the pack cannot be written.
    """
    wanted = list(keys)
    packs = {file: _keys(file) for file in _packs(folder, size)}
    for file, there in packs.items():
        if wanted[0] in there:
            start = there.index(wanted[0])
            if there[start : start + len(wanted)] == wanted:
                return _part(file, start, start + len(wanted))
    name = hashlib.sha256("".join(wanted).encode()).hexdigest()[:16]
    pack = folder / f"{name}-{size}.safetensors"
    _write(pack, size, wanted, _places(folder, wanted, packs), report)
    inside = set(wanted)
    for key in wanted:
        with suppress(OSError):  # Windows keeps files that are mapped
            clip_file(folder, key).unlink(missing_ok=True)
    for file, there in packs.items():
        if file != pack and inside.issuperset(there):
            with suppress(OSError):
                file.unlink(missing_ok=True)
    return _part(pack, 0, len(wanted))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged ({error}); delete it, it is made again") from None


def _packs(folder: Path, size: int) -> list[Path]:
    return sorted(file for file in folder.glob(f"*-{size}.safetensors") if file.name[0] != ".")


def _keys(pack: Path) -> list[str]:
    """The keys in a pack; none if it is damaged or not one of ours."""
    try:
        with safe_open(pack, "pt") as file:
            keys = file.get_tensor("keys")
    except (OSError, SafetensorError):
        return []
    if keys.dtype != torch.uint8 or keys.ndim != 2 or keys.shape[1] != KEY // 2:
        return []
    return [bytes(row).hex() for row in keys.tolist()]


def _places(folder: Path, keys: list[str], packs: dict[Path, list[str]]) -> list[_Place]:
    """Where each clip is to be read from."""
    inside = dict[str, _Place]()
    for pack, there in packs.items():
        if not there:
            continue
        with _opened(pack) as file:
            first, sound_first = file.get_tensor("first"), file.get_tensor("sound_first")
        for row, key in enumerate(there):
            inside[key] = (
                pack,
                slice(int(first[row]), int(first[row + 1])),
                slice(int(sound_first[row]), int(sound_first[row + 1])),
            )
    return [inside.get(key) or (clip_file(folder, key), None, None) for key in keys]


def _lengths(places: list[_Place]) -> Iterator[tuple[int, int]]:
    """Frames and samples of each clip."""
    for path, rows, samples in places:
        if rows is not None and samples is not None:
            yield rows.stop - rows.start, samples.stop - samples.start
            continue
        with _opened(path) as file:
            yield (
                file.get_slice("frames").get_shape()[0],
                file.get_slice("sounds").get_shape()[0],
            )


def _write(
    pack: Path,
    size: int,
    keys: list[str],
    places: list[_Place],
    report: Callable[[int, int], None],
) -> None:
    lengths = list(_lengths(places))
    first = offsets([frames for frames, _ in lengths])
    sound_first = offsets([samples for _, samples in lengths])
    whole = {
        "first": first,
        "sound_first": sound_first,
        "keys": torch.frombuffer(bytearray.fromhex("".join(keys)), dtype=torch.uint8).view(
            -1, KEY // 2
        ),
    }
    count = int(first[-1])
    shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
        "first": (torch.int64, tuple(first.shape)),
        "sound_first": (torch.int64, tuple(sound_first.shape)),
        "landmarks": (torch.float32, (count, 2 * POINTS)),
        "windows": (torch.float32, (count, ROWS, COEFFICIENTS)),
        "sounds": (torch.int16, (int(sound_first[-1]),)),
        "frames": (torch.uint8, (count, 3, size, size)),
        "keys": (torch.uint8, (len(keys), KEY // 2)),
    }
    total = len(keys) * len(_JOINED)
    done = 0
    with files.atomic_path(pack) as part, part.open("wb") as stream:
        _write_header(stream, shapes)
        for name, (dtype, shape) in shapes.items():
            if name in whole:
                stream.write(whole[name].numpy().tobytes())
                continue
            for path, rows, samples in places:
                with _opened(path) as file:
                    values = file.get_tensor(name)
                where = samples if name == "sounds" else rows
                values = values if where is None else values[where]
                if values.dtype != dtype or values.shape[1:] != shape[1:]:
                    raise ValueError(f"{path}: {name} are {values.dtype} {tuple(values.shape)}")
                stream.write(memoryview(values.contiguous().numpy().reshape(-1).view("u1")))
                done += 1
                if done % len(_JOINED) == 0:
                    report(done // len(_JOINED), len(keys))
    assert done == total


def _write_header(
    stream: IO[bytes], shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]]
) -> None:
    """The start of a safetensors file: the length of a JSON text, and the text."""
    header = dict[str, Any]()
    place = 0
    for name, (dtype, shape) in shapes.items():
        end = place + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _TYPES[dtype], "shape": shape, "data_offsets": (place, end)}
        place = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # so that numbers of 8 bytes stand where they can be read
    stream.write(struct.pack("<Q", len(text)) + text)


def _part(pack: Path, start: int, end: int) -> dict[str, Any]:
    """Clips start to end of a pack, as `gather` returns them."""
    with _opened(pack) as file:
        tensors: dict[str, Tensor] = {
            name: file.get_tensor(name) for name in (*_WHOLE, *_JOINED) if name != "keys"
        }
    first, sound_first = tensors["first"], tensors["sound_first"]
    rows = slice(int(first[start]), int(first[end]))
    samples = slice(int(sound_first[start]), int(sound_first[end]))
    return {
        "frames": tensors["frames"][rows],
        "landmarks": tensors["landmarks"][rows],
        "windows": tensors["windows"][rows],
        "first": first[start : end + 1] - first[start],
        "sounds": tensors["sounds"][samples],
        "sound_first": sound_first[start : end + 1] - sound_first[start],
    }
