"""A talking face written to a folder as it comes, so that its length is bounded by the disk only.

talk.mp4     the video with its sound
strip.png    some of its frames with the masks of both stages
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..backend.files import writable_folder
from .avwnet_model import AvwNet
from .faces import FaceFinder
from .talking.mfcc import frame_count
from .talking.result import pick, strip, write_talk
from .talking.sounds import Engine, read_whole, speak
from .talking.streaming import Piece, ReadWord, TalkingStream

VIDEO, STRIP = "talk.mp4", "strip.png"
SHOWN = 8
"""Frames of a strip."""
MAX_SECONDS = 3600.0
"""Of a sound, which is in memory as a whole: 64 kB a second."""

Report = Callable[[int, int], None]
"""Called with (frames done, all frames)."""


@dataclass(frozen=True)
class TalkFile:
    """What was done.

    Attributes:
        files: written.
        frames: of the video.
        words: that the lip reader reads.
        notes: on the photo and the sound.
    """

    files: tuple[Path, ...]
    frames: int
    words: tuple[ReadWord, ...]
    notes: tuple[str, ...]


def talk_file(
    model: AvwNet,
    face: Path,
    sound: Path | None,
    out: Path,
    *,
    text: str | None = None,
    engine: Engine = "auto",
    voice: int = 0,
    face_index: int | None = None,
    finder: FaceFinder | None = None,
    read_words: bool = True,
    report: Report = lambda done, total: None,
) -> TalkFile:
    """Let a face say something, into files.

    Args:
        model: on its device.
        face: photo.
        sound: file of at most `MAX_SECONDS`; or
        text: to be spoken.
        out: folder, made if absent; files of the same names are replaced.
        engine: see `AvwNet.generate`, as the following.
        voice: of the text.
        face_index: of the photo.
        finder: finds faces.
        read_words: have the lip reader read the frames.
        report: called after each frame.

    Returns:
        What was done.

    Raises:
        ValueError: see `AvwNet.generate`, or ffmpeg fails, as on a full disk.
        ImportError: a library is missing (says how to get it).
        OSError: the folder cannot be written to.
    """
    if (sound is None) == (text is None):
        raise ValueError("give a sound or a text to be spoken")
    writable_folder(out)
    if text is not None:
        said = speak(text, engine, voice)
    else:
        assert sound is not None
        said = read_whole(sound, max_seconds=MAX_SECONDS)
    stream = model.stream(face, said, face_index=face_index, read_words=read_words, finder=finder)
    total = frame_count(len(said.samples))
    places = pick(total, SHOWN)
    kept = Piece.room(len(places), len(stream.face.image))
    frames = _watched(stream, places, kept, lambda done: report(done, total))
    video = write_talk(out / VIDEO, frames, said.samples, stream.texts)
    strip(kept, places, stream.texts).save(out / STRIP)
    return TalkFile((video, out / STRIP), total, stream.words, stream.notes)


def _watched(
    stream: TalkingStream, places: list[int], kept: Piece, report: Callable[[int], None]
) -> Iterator[NDArray[np.uint8]]:
    """The frames of a stream; those at `places` are kept with all that belongs to them."""
    start, shown = 0, 0
    for piece in stream.pieces():
        end = start + len(piece.frames)
        here = [place - start for place in places if start <= place < end]
        piece.at(here).put(kept, shown)
        shown += len(here)
        for number, frame in enumerate(piece.frames, start + 1):
            yield frame
            report(number)
        start = end
