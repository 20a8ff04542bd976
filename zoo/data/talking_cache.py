"""Talking faces from video files: each clip is worked through once and kept on disk.

A clip is decoded, its face followed and stabilised, its sound cut into windows, and the result
written to a file of its own, by several processes; a run that is stopped goes on where it was. Once
all clips are there they are put together in one file, the pack, which is mapped into memory, and
their own files go. Both are safetensors.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ...backend import files, sound, video
from ...backend.files import MediaError
from ..faces import FaceError
from ..talking import mfcc
from ..talking.geometry import stabilise
from ..talking.tracking import DlibFollower, FaceFollower, track
from . import talking_pack
from .talking import SAMPLES_PER_FRAME, Clip, Clips, WordSpan, from_int16, to_int16

VERSION = 1
"""Goes up whenever what is kept of a clip changes, so that cached ones are made anew."""
FRAME_RATES = (24.5, 25.5)
"""Frames a second of videos that are taken; others would run too fast or too slow."""
MAX_FRAMES = 1500
"""Longer videos are left out: one minute."""
MAX_PIXELS = 2**21
"""Larger frames are left out."""
LEAST_SOUND = 0.8
"""A video whose sound lasts a smaller share of it is left out; a little is missing in many."""

_MAX_REASON_BYTES = 4096
_TRIES = 3

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""


@dataclass(frozen=True)
class Source:
    """A video that a data set lists.

    Attributes:
        name: unique in the data set.
        path: of the video.
        words: in the order of time.
        speaker: number of the person, -1 = unknown.
        held_out: never trained on.
    """

    name: str
    path: Path
    words: tuple[WordSpan, ...]
    speaker: int
    held_out: bool


def cache_folder() -> Path:
    """Where clips are kept: neuralpaint/talking in $XDG_CACHE_HOME, by default ~/.cache.

    Returns:
        The folder, which may not exist yet.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "neuralpaint" / "talking"


def load(
    name: str,
    sources: Sequence[Source],
    size: int,
    *,
    cache: Path | None = None,
    workers: int = 1,
    frames: int = 75,
    skipped: dict[str, str] | None = None,
    make: Callable[[], FaceFollower] = DlibFollower,
    report: Report = lambda stage, done, total: None,
) -> Clips:
    """Work videos through, or take them from the cache.

    Args:
        name: of the data set.
        sources: its videos; their names are unique.
        size: pixels a side of the stabilised frames.
        cache: folder; None = `cache_folder`.
        workers: processes. More than one needs the `if __name__ == "__main__":` that Python's
            multiprocessing asks of the program's main file.
        frames: of a clip, about, to tell whether the disk has room.
        skipped: file -> reason, of those left out before.
        make: makes the follower, in each process; not called if the cache has all. With several
            workers it has to be known by its name in its module.
        report: called with "clips" as videos are done and with "pack" as they are put together.

    Returns:
        The clips that could be used, those to train on first, each side in the order of names; the
        other files are named in `skipped`. The frames and windows are maps of the cache's file.

    Raises:
        ValueError: no clip left, a damaged file in the cache, or workers < 1.
        ImportError: the finder's libraries are not installed.
        UnwritableFolderError: the cache cannot be written to.
        OSError: too little room on its disk.
        RuntimeError: a process died.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    folder = cache_folder() if cache is None else Path(cache)
    ordered = sorted(sources, key=lambda source: (source.held_out, source.name))
    keys = {source.name: _key(source, size) for source in ordered}
    for left in reversed(range(_TRIES)):
        try:
            reasons = _work_through(ordered, keys, size, folder, workers, frames, make, report)
            usable = [source for source in ordered if source.name not in reasons]
            out = dict(skipped or {})
            out.update({str(s.path): reasons[s.name] for s in ordered if s.name in reasons})
            if not usable:
                first = f", such as {next(iter(out))}: {next(iter(out.values()))}" if out else ""
                raise ValueError(f"{name}: no clip left; {len(out)} were left out{first}")
            wanted = [keys[source.name] for source in usable]
            pack = talking_pack.gather(folder, size, wanted, lambda *n: report("pack", *n))
        except FileNotFoundError:
            # Another program that reads the same data set has just put the clips together.
            if not left:
                raise
            continue
        break
    return Clips(
        name=name,
        words=tuple(source.words for source in usable),
        speakers=torch.tensor([source.speaker for source in usable]),
        names=tuple(source.name for source in usable),
        held_out=torch.tensor([source.held_out for source in usable]),
        skipped=out,
        **pack,
    )


def make_clip(source: Source, size: int, follower: FaceFollower) -> Clip:
    """Work one video through.

    Args:
        source: the video.
        size: pixels a side of the stabilised frames.
        follower: finds and follows its face.

    Returns:
        The clip; its sound is as long as its frames are shown.

    Raises:
        MediaError: a file that cannot be used: damaged, too long, of another frame rate, silent.
        FaceError: there is no face in some frame, or it is too small.
    """
    frames, fps = video.read_video(source.path, max_frames=MAX_FRAMES, max_pixels=MAX_PIXELS)
    if not FRAME_RATES[0] <= fps <= FRAME_RATES[1]:
        raise MediaError(f"{fps:.4g} frames a second; expected {mfcc.FPS}")
    samples = sound.read_sound(source.path, mfcc.SAMPLE_RATE, max_seconds=2 * MAX_FRAMES / mfcc.FPS)
    length = len(frames) * SAMPLES_PER_FRAME
    if len(samples) < LEAST_SOUND * length:
        seconds = len(samples) / mfcc.SAMPLE_RATE
        raise MediaError(f"{seconds:.2f} s of sound for {len(frames) / mfcc.FPS:.2f} s of video")
    samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
    # The windows are those of the 16-bit sound that is kept, so they can be told from it.
    samples = from_int16(to_int16(samples))
    crops, landmarks = stabilise(frames, track(frames, follower, source.name), size)
    if not ((landmarks >= -1) & (landmarks <= 2)).all():
        raise FaceError("landmarks far outside the crop")
    return Clip(
        name=source.name,
        frames=torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2))),
        landmarks=torch.from_numpy(landmarks),
        windows=torch.from_numpy(mfcc.windows(samples)),
        samples=samples,
        words=source.words,
        speaker=source.speaker,
        held_out=source.held_out,
    )


def _key(source: Source, size: int) -> str:
    """Names what is kept of a video, by its name, length and time, so that a copy need no work."""
    state = source.path.stat()
    text = repr((VERSION, size, source.name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[: talking_pack.KEY]


def _work_through(
    sources: Sequence[Source],
    keys: dict[str, str],
    size: int,
    folder: Path,
    workers: int,
    frames: int,
    make: Callable[[], FaceFollower],
    report: Report,
) -> dict[str, str]:
    """Make what the cache lacks; returns why clips are left out, by their names."""
    ready = talking_pack.known(folder, size)
    reasons = dict[str, str]()
    lacking = list[Source]()
    for source in sources:
        key = keys[source.name]
        reason = _reason(folder, key)
        if reason is not None:
            reasons[source.name] = reason
        elif key not in ready:
            lacking.append(source)
    if not lacking:
        return reasons
    try:
        files.writable_folder(folder / talking_pack.CLIPS)
    except files.UnwritableFolderError as error:
        raise files.UnwritableFolderError(f"{error}: set XDG_CACHE_HOME") from error
    need = (len(lacking) + len(sources)) * frames * 3 * size * size  # their own files and the pack
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OSError(
            f"{folder}: {len(lacking)} clips need about {need / 2**30:.1f} GiB of disk, and "
            f"{free / 2**30:.1f} GiB are free; make room, choose another folder or fewer clips"
        )
    tasks = [(source, keys[source.name], size, folder) for source in lacking]
    for done, (clip, reason) in enumerate(_made(tasks, workers, make), 1):
        if reason is not None:
            reasons[clip] = reason
        report("clips", done, len(lacking))
    return reasons


_Task = tuple[Source, str, int, Path]


def _made(
    tasks: list[_Task], workers: int, make: Callable[[], FaceFollower]
) -> Iterator[tuple[str, str | None]]:
    """Names of clips as they are made, and why one is left out."""
    if workers == 1 or len(tasks) == 1:
        follower = make()
        for task in tasks:
            yield _keep(task, follower)
        return
    # Spawned, not forked: the caller may hold threads or a GPU, neither of which survives a fork.
    context = get_context("spawn")
    workers = min(workers, len(tasks))
    try:
        with ProcessPoolExecutor(workers, context, _start, (make,)) as pool:
            try:
                for future in as_completed([pool.submit(_work, task) for task in tasks]):
                    yield future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool:
        make()  # says so if a library is missing, which is why processes die at their start
        raise RuntimeError(
            f"one of {workers} processes that work through clips died: give the main file its "
            'if __name__ == "__main__": guard, or use workers=1'
        ) from None


_of_this_process: list[FaceFollower] = []  # a worker's own follower, made once: it loads 100 MB


def _start(make: Callable[[], FaceFollower]) -> None:
    torch.set_num_threads(1)
    _of_this_process.append(make())


def _work(task: _Task) -> tuple[str, str | None]:
    return _keep(task, _of_this_process[0])


def _keep(task: _Task, follower: FaceFollower) -> tuple[str, str | None]:
    """Make one clip and write it, or why it is left out, to its file."""
    source, key, size, folder = task
    try:
        clip = make_clip(source, size, follower)
    except (MediaError, FaceError) as error:
        text = re.sub(r"\s+", " ", str(error)).replace(f"{source.path}: ", "")
        reason = text.split(". ")[0][:500]  # the remedies that follow are for a single photo
        # Where it was is detail, so that the same reasons are counted together.
        reason = re.sub(r"^.*frame (\d+): (.*)$", r"\2 (frame \1)", reason)
        files.write_json(_reason_file(folder, key), {"left out": reason})
        return source.name, reason
    files.write_bytes(talking_pack.clip_file(folder, key), save(_tensors(clip)))
    return source.name, None


def _tensors(clip: Clip) -> dict[str, Tensor]:
    return {
        "frames": clip.frames,
        "landmarks": clip.landmarks,
        "windows": clip.windows,
        "sounds": to_int16(clip.samples),
    }


def _reason_file(folder: Path, key: str) -> Path:
    return folder / talking_pack.CLIPS / f"{key}.json"


def _reason(folder: Path, key: str) -> str | None:
    """Why a clip is left out, if that is known; a file that cannot be read is as none."""
    file = _reason_file(folder, key)
    if not file.is_file():
        return None
    with suppress(ValueError, KeyError, TypeError):
        return str(files.read_json(file, max_bytes=_MAX_REASON_BYTES)["left out"])
    return None
