"""Landmarks of many cropped faces: found once, by several processes, and kept on disk.

They are kept by the pixels of the crops, in one file for each kind of finder and size of crop, so
that a data set that was moved, copied or added to is not looked through again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from ...backend import files, weights
from ..face_geometry import POINTS
from ..faces import DlibFinder, FaceFinder, nearest_to_crop

VERSION = 1
"""Goes up whenever the landmarks change, so that cached ones are found anew."""
CHUNK = 64
"""Faces that a process looks at a time."""
SAVE_EVERY = 2048
"""Faces after which the cache is written, so that a run that is stopped loses few."""
MAX_ROWS = 2**18
"""Faces that a cache holds, 150 MB; the oldest go first."""
KEY_BYTES = 32

_BYTES_PER_ROW = KEY_BYTES + 4 * 2 * POINTS
_Rows = dict[bytes, NDArray[np.float32]]

Report = Callable[[int, int], None]


def cache_folder() -> Path:
    """Where landmarks are kept: neuralpaint/landmarks in $XDG_CACHE_HOME, by default ~/.cache.

    Returns:
        The folder, which may not exist yet.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neuralpaint" / "landmarks"


def landmarks_of(
    images: Tensor,
    *,
    make: Callable[[], FaceFinder] = DlibFinder,
    name: str = "dlib",
    cache: Path | None = None,
    workers: int = 1,
    report: Report = lambda done, total: None,
) -> Tensor:
    """Find the landmarks of cropped faces, or take them from the cache.

    A cache that cannot be read is made anew. Two programs may write to it at the same time: what
    the first to finish found is lost, not damaged.

    Args:
        images: (N, 3, S, S) uint8, one face each.
        make: makes the finder, in each process; not called if the cache has all. With several
            workers it has to be known by its name in its module.
        name: of the finder, for the name of the cache's file.
        cache: folder; None = `cache_folder`.
        workers: processes. More than one needs the `if __name__ == "__main__":` that Python's
            multiprocessing asks of the program's main file.
        report: called as faces are done, with how many are, of those that the cache lacks.

    Returns:
        (N, 136) float32 as in `Faces.landmarks`; rows of NaN where no face is found.

    Raises:
        ImportError: the finder's libraries are not installed.
        UnwritableFolderError: the cache cannot be written to; before anything is looked at.
        ValueError: workers < 1.
        RuntimeError: a process died.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    keys = [hashlib.sha256(face.contiguous().numpy().tobytes()).digest() for face in images]
    folder = cache_folder() if cache is None else Path(cache)
    file = folder / f"{name}-{images.shape[3]}-{VERSION}.safetensors"
    known = _read(file)
    lacking = [row for row, key in enumerate(keys) if key not in known]
    if lacking:
        try:
            files.writable_folder(folder)
        except files.UnwritableFolderError as error:
            raise files.UnwritableFolderError(f"{error}: set XDG_CACHE_HOME") from error
        chunk = max(1, min(CHUNK, -(-len(lacking) // workers)))
        parts = [lacking[first : first + chunk] for first in range(0, len(lacking), chunk)]
        done = unsaved = 0
        for part, found in zip(parts, _found(images, parts, make, workers), strict=True):
            for row, values in zip(part, found, strict=True):
                known[keys[row]] = values
            done += len(part)
            unsaved += len(part)
            if unsaved >= SAVE_EVERY or done == len(lacking):
                _write(file, known)
                unsaved = 0
            report(done, len(lacking))
    return torch.from_numpy(np.stack([known[key] for key in keys]))


def _found(
    images: Tensor,
    parts: list[list[int]],
    make: Callable[[], FaceFinder],
    workers: int,
) -> Iterator[NDArray[np.float32]]:
    """Landmarks (len(part), 136) of each part, in order."""
    pixels = (images[part].permute(0, 2, 3, 1).contiguous().numpy() for part in parts)
    if workers == 1 or len(parts) == 1:
        finder = make()
        for faces in pixels:
            yield _look(finder, faces)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    context = get_context("spawn")
    workers = min(workers, len(parts))
    try:
        with ProcessPoolExecutor(workers, context, _start, (make,)) as pool:
            try:
                while some := list(islice(pixels, 4 * workers)):  # not all waiting in memory
                    yield from pool.map(_work, some)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        make()  # says so if a library is missing, which is why processes die at their start
        raise RuntimeError(
            f"one of {workers} processes that find landmarks died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


_of_this_process: list[FaceFinder] = []  # a worker's own finder, made once: it loads 100 MB


def _start(make: Callable[[], FaceFinder]) -> None:
    _of_this_process.append(make())


def _work(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    return _look(_of_this_process[0], faces)


def _look(finder: FaceFinder, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = faces.shape[1]
    rows = np.full((len(faces), 2 * POINTS), np.nan, np.float32)
    for row, face in zip(rows, faces, strict=True):
        found = nearest_to_crop(finder.find(face), size)
        if found is not None:
            row[:] = found.landmarks.ravel() / size
    return rows


def _read(file: Path) -> _Rows:
    """What the cache holds; nothing if it is absent, damaged or not one of ours."""
    try:
        tensors, _ = weights.read_tensors(file, MAX_ROWS * _BYTES_PER_ROW + 2**16)
        keys, values = tensors["keys"].numpy(), tensors["landmarks"].numpy()
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    fits = keys.dtype == np.uint8 and keys.shape == (len(values), KEY_BYTES)
    if not fits or values.dtype != np.float32 or values.shape != (len(keys), 2 * POINTS):
        return {}
    sound = np.isnan(values).all(1) | ((values >= -1) & (values <= 2)).all(1)
    return {key.tobytes(): row for key, row, ok in zip(keys, values, sound, strict=True) if ok}


def _write(file: Path, rows: _Rows) -> None:
    kept = list(rows.items())[-MAX_ROWS:]
    keys = np.frombuffer(b"".join(key for key, _ in kept), np.uint8).reshape(-1, KEY_BYTES)
    values = np.stack([row for _, row in kept])
    tensors = {"keys": torch.from_numpy(keys.copy()), "landmarks": torch.from_numpy(values)}
    files.write_bytes(file, save(tensors))
