"""GRID (Cooke et al. 2006): 34 speakers, 1,000 sentences each, with the times of the words."""

import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from ...backend import datasets, files
from ..talking.tracking import DlibFollower, FaceFollower
from .talking import SILENCE, Clips, WordSpan
from .talking_cache import Report, Source, load

NAME = "GRID"
VIDEOS = (".mpg", ".mpeg", ".mp4", ".avi", ".mov", ".mkv", ".webm")
"""Ends of the names of videos, lower case."""
UNITS = 1000
"""Units of the alignments in a frame: 25,000 a second."""
NO_WORDS = "no .align file of its speaker and name"

_SPEAKER = re.compile(r"s(\d{1,3})(?![0-9a-z])", re.IGNORECASE)
_PAUSES = ("sil", "sp")
_MAX_ALIGN_BYTES = 65536
_LONGEST = 1500  # frames


def open_grid(
    path: Path,
    size: int = 128,
    *,
    cache: Path | None = None,
    workers: int = 1,
    limit: int | None = None,
    make: Callable[[], FaceFollower] = DlibFollower,
    report: Report = lambda stage, done, total: None,
) -> Clips:
    """Read GRID, or a part of it: the faces stabilised, followed and cached once.

    A tenth of the clips, by the checksum of their names as everywhere in this package, is held
    out, whatever the folder and the kind of the files.

    Args:
        path: holds, at any depth, videos in folders named after their speaker, s1 to s34 (what
            follows after another character counts not: `s1_small`), and the alignments,
            `<name>.align`, in folders named likewise. So it is in the official layouts, where
            `s1/*.mpg` and `s1/align/*.align` or `align/s1/*.align` stand together.
        size: pixels a side of the stabilised frames, 32 to 512.
        cache: folder; None = in the user's cache, see `talking_cache`.
        workers: processes that work through clips, see `talking_cache.load`.
        limit: take as many clips only, spread over the set by the hash of their names.
        make: makes the follower of faces, see `talking_cache.load`.
        report: called with what is being done, "clips" or "pack", how much is done, of how much.

    Returns:
        The clips that could be used; the other files are named in `skipped`.

    Raises:
        ValueError: no such folder, no video in it, no clip left, a size or limit out of range.
        ImportError: a clip is not cached and the `faces` extra is not installed.
        OSError: the cache cannot be written to, or too little room on its disk.
        RuntimeError: a process died.
    """
    root = Path(path)
    check(root, size, limit)
    skipped = dict[str, str]()
    sources = list[Source]()
    alignments = _alignments(root)
    names = dict[str, str]()
    for video in listed(root, VIDEOS):
        speaker = _speaker(video.relative_to(root))
        if speaker is None:
            skipped[str(video)] = "in no folder named after a speaker, s1 to s34"
            continue
        name = f"s{speaker}/{video.stem}"
        align = alignments.get(name)
        if name in names:
            skipped[str(video)] = f"the same clip as {names[name]}"
        elif align is None:
            skipped[str(video)] = NO_WORDS
        else:
            try:
                words = read_align(align)
            except ValueError as error:
                skipped[str(video)] = str(error)
                continue
            names[name] = str(video)
            sources.append(Source(name, video, words, speaker, held_out=False))
    if not sources:
        first = next(iter(skipped.items()), None)
        reason = f"; {first[0]}: {first[1]}" if first else ""
        raise ValueError(f"{root}: no clip of GRID, a video with its .align file{reason}")
    chosen = spread(sources, limit)
    return load(
        NAME,
        _split(chosen),
        size,
        cache=cache,
        workers=workers,
        skipped=skipped,
        make=make,
        report=report,
    )


def read_align(path: Path) -> tuple[WordSpan, ...]:
    """Read when the words of a clip are said.

    Args:
        path: lines of `start end word`, in units of 1/1000 frame.

    Returns:
        The words in frames, pauses as `SILENCE`.

    Raises:
        ValueError: absent, too large, or a line is malformed (names it).
    """
    file = files.input_file(path)
    if file.stat().st_size > _MAX_ALIGN_BYTES:
        raise ValueError(f"{file}: more than {_MAX_ALIGN_BYTES} bytes, not an alignment")
    spans = list[WordSpan]()
    for count, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            start, end, word = int(parts[0]) / UNITS, int(parts[1]) / UNITS, parts[2].lower()
            right = len(parts) == 3 and 0 <= start <= end <= _LONGEST
        except (ValueError, IndexError):
            right = False
        if not right:
            raise ValueError(
                f"{file}, line {count}: expected start, end and word; got {line[:80]!r}"
            )
        if start < end:
            spans.append(WordSpan(SILENCE if word in _PAUSES else word, start, end))
    if not spans:
        raise ValueError(f"{file}: no words")
    return tuple(spans)


def check(root: Path, size: int, limit: int | None) -> None:
    """Refuse what cannot be opened, for readers of data sets of clips.

    Args:
        root: folder of the data set.
        size: pixels a side.
        limit: clips, None = all.

    Raises:
        ValueError: no such folder, or a size or limit out of range.
    """
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; give that of the data set")
    if not 32 <= size <= 512:
        raise ValueError(f"size {size}: expected 32 to 512 pixels a side")
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit}: expected at least 1 clip")


def listed(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files of a folder, at any depth, with certain ends of their names, but hidden ones."""
    return sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in suffixes
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )


def spread(sources: list[Source], limit: int | None) -> list[Source]:
    """Up to `limit` clips, by the hash of their names: a larger choice contains a smaller."""
    ranked = sorted(sources, key=lambda source: sha256(source.name.encode()).digest())
    return ranked[:limit]


def _split(sources: list[Source]) -> list[Source]:
    """The same, a tenth of them held out, at least one if there are two."""
    by_name = {Path(source.name): source for source in sources}
    tenth = sum(datasets.tenth(name) == 0 for name in by_name)
    held_out = min(max(1, tenth), len(by_name) - 1)
    _, aside = datasets.split(by_name, held_out)
    hold = set(aside)
    return [
        Source(source.name, source.path, source.words, source.speaker, name in hold)
        for name, source in by_name.items()
    ]


def _alignments(root: Path) -> dict[str, Path]:
    found = dict[str, Path]()
    for file in listed(root, (".align",)):
        speaker = _speaker(file.relative_to(root))
        if speaker is not None:
            found.setdefault(f"s{speaker}/{file.stem}", file)
    return found


def _speaker(path: Path) -> int | None:
    """The number in the name of the innermost folder that is a speaker's."""
    for part in reversed(path.parts[:-1]):
        match = _SPEAKER.match(part)
        if match is not None:
            return int(match[1])
    return None
