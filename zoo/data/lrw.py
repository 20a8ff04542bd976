"""LRW, Lip Reading in the Wild (Chung and Zisserman 2016): 500 words, each in many short clips."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ...backend import files
from ..talking.mfcc import FPS
from ..talking.tracking import DlibFollower, FaceFollower
from .grid import check, listed, spread
from .talking import Clips, WordSpan
from .talking_cache import Report, Source, load

NAME = "LRW"
FRAMES = 29
"""Frames of each clip; the word is in the middle."""
PARTS = ("train", "val", "test")
NO_DURATION = "no .txt file beside it"

_DURATION = re.compile(r"^\s*Duration\s*:\s*([0-9.]+)\s*(?:seconds)?\s*$", re.I | re.M)
_MAX_TEXT_BYTES = 65536


def open_lrw(
    path: Path,
    size: int = 128,
    *,
    held_out: Literal["val", "test"] = "test",
    cache: Path | None = None,
    workers: int = 1,
    limit: int | None = None,
    make: Callable[[], FaceFollower] = DlibFollower,
    report: Report = lambda stage, done, total: None,
) -> Clips:
    """Read LRW, or a part of it: the faces stabilised, followed and cached once.

    The whole set at 128x128 takes some 700 GB; `limit` takes a part. Who speaks is not stated.

    Args:
        path: holds `WORD/train|val|test/WORD_00001.mp4` and, beside each, `WORD_00001.txt` with a
            line `Duration: 0.29 seconds`, as in the official layout.
        size: pixels a side of the stabilised frames, 32 to 512.
        held_out: which official part is held out; the other one is not read.
        cache: folder; None = in the user's cache, see `talking_cache`.
        workers: processes that work through clips, see `talking_cache.load`.
        limit: take as many clips of each of the two parts only, spread by the hash of their names.
        make: makes the follower of faces, see `talking_cache.load`.
        report: called with what is being done, "clips" or "pack", how much is done, of how much.

    Returns:
        The clips that could be used, each with the time of its one word (what is said before and
        after it is not stated); the other files are named in `skipped`.

    Raises:
        ValueError: no such folder, no clip in it, a size, limit or part out of range.
        ImportError: a clip is not cached and the `faces` extra is not installed.
        OSError: the cache cannot be written to, or too little room on its disk.
        RuntimeError: a process died.
    """
    root = Path(path)
    check(root, size, limit)
    if held_out not in PARTS[1:]:
        raise ValueError(f"held_out {held_out!r}: expected one of {', '.join(PARTS[1:])}")
    skipped = dict[str, str]()
    found: dict[str, list[Source]] = {"train": [], held_out: []}
    for video in listed(root, (".mp4",)):
        part = video.parent.name
        if part not in PARTS:
            skipped[str(video)] = f"in no folder named {', '.join(PARTS)}"
        elif part in found:
            word = video.parent.parent.name.lower()
            try:
                span = read_duration(video.with_suffix(".txt"), word)
            except ValueError as error:
                skipped[str(video)] = str(error)
                continue
            name = f"{part}/{video.stem}"
            found[part].append(Source(name, video, (span,), -1, held_out=part == held_out))
    chosen = [source for sources in found.values() for source in spread(sources, limit)]
    if not chosen:
        first = next(iter(skipped.items()), None)
        reason = f"; {first[0]}: {first[1]}" if first else ""
        raise ValueError(f"{root}: no clip of LRW, WORD/train/WORD_00001.mp4 with its .txt{reason}")
    return load(
        NAME,
        chosen,
        size,
        cache=cache,
        workers=workers,
        frames=FRAMES,
        skipped=skipped,
        make=make,
        report=report,
    )


def read_duration(path: Path, word: str) -> WordSpan:
    """Read when the word of a clip is said: in its middle, for as long as its text says.

    Args:
        path: the text beside the video.
        word: lower case.

    Returns:
        The word, in frames.

    Raises:
        ValueError: absent, too large, without a duration, or one that the clip cannot hold.
    """
    if not path.is_file():
        raise ValueError(NO_DURATION)
    file = files.input_file(path)
    if file.stat().st_size > _MAX_TEXT_BYTES:
        raise ValueError(f"{file}: more than {_MAX_TEXT_BYTES} bytes, not a text of LRW")
    match = _DURATION.search(file.read_text("utf-8", "replace"))
    try:
        frames = float(match[1]) * FPS if match else 0.0
    except ValueError:
        frames = 0.0
    # The word may be said more slowly than the clip lasts; then it fills it.
    if not 0 < frames <= 4 * FRAMES:
        raise ValueError(f"{file}: no line 'Duration: <seconds> seconds' of a word")
    half = min(frames, FRAMES) / 2
    return WordSpan(word, FRAMES / 2 - half, FRAMES / 2 + half)
