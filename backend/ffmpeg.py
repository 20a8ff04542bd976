"""The only place that starts ffmpeg to decode: bounded, local files only, never left running."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from .files import MediaError, input_file

# Containers of sound and video only: playlists (HLS, concat), scripts and devices, which can
# reach other files or the network, are refused whatever the file's name says.
_FORMATS = (
    "aac,aiff,asf,au,avi,caf,flac,flv,gif,matroska,webm,mov,mp4,mp3,"
    "mpeg,mpegts,mpegvideo,ogg,wav,w64"
)
# ffmpeg reports these on its log only, and exits with 0.
_TRUNCATED = ("partial file", "File ended prematurely")
_RIFF_UNKNOWN_LENGTH = (0, 0xFFFFFFFF)  # written by programs that stream


@contextmanager
def decoded(
    path: str | os.PathLike[str],
    track: Literal["sound", "video"],
    output: Sequence[str],
    *,
    decoder: Sequence[str] = (),
) -> Iterator[IO[bytes]]:
    """Decode the first track of a kind with ffmpeg and read the result as a stream.

    The caller may stop reading at any time: the process ends with the block in every case.

    Args:
        path: sound or video.
        track: which kind to decode.
        output: ffmpeg's options for the output: codec, container.
        decoder: ffmpeg's options for the input.

    Yields:
        The stream. When the block ends after its last byte, ffmpeg's verdict is checked.

    Raises:
        MediaError: absent, a folder, empty, truncated, damaged, or without such a track.
    """
    import imageio_ffmpeg

    file = input_file(path, MediaError)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error"]
    if _states_its_end(file):
        command += ["-xerror"]  # else the last, short packet would be an error
    # "file:" keeps a name such as "http:x.mp4" from being taken for an address.
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", _FORMATS]
    command += [*decoder, "-i", f"file:{file}"]
    command += ["-map", "0:v:0" if track == "video" else "0:a:0", *output, "pipe:1"]
    with (
        tempfile.TemporaryFile() as log,  # not a pipe: a full one would block ffmpeg
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield process.stdout
            if process.stdout.read(1):  # the caller has seen enough
                return
            process.wait()
        finally:
            process.kill()
        log.seek(0)
        text = log.read(65536).decode(errors="replace")
        if "matches no streams" in text:
            raise MediaError(f"{file}: no {track} in it; give a file with a {track} track")
        if process.returncode or any(sign in text for sign in _TRUNCATED):
            reason = _first_complaint(text)
            raise MediaError(
                f"{file}: damaged, truncated, or no {track} ({reason}); fetch or make it again"
            )


def _first_complaint(text: str) -> str:
    lines = [re.sub(r"^(\[[^\]]*\]\s*)+", "", line).strip() for line in text.splitlines()]
    return next((line for line in lines if line), "ffmpeg gave no reason")


def _states_its_end(file: Path) -> bool:
    """WAV and AVI files state their length; ffmpeg reads a shorter one without a word.

    Returns:
        False for one that a program has streamed, so that its length is not known.

    Raises:
        MediaError: the file is shorter than it says.
    """
    with file.open("rb") as stream:
        head = stream.read(12)
        size = stream.seek(0, os.SEEK_END)
    if head[:4] != b"RIFF" or head[8:] not in (b"WAVE", b"AVI "):
        return True
    stated = int.from_bytes(head[4:8], "little")
    if stated in _RIFF_UNKNOWN_LENGTH:
        return False
    if stated + 8 > size + 1:  # one byte less is a missing pad byte, which many writers forget
        raise MediaError(
            f"{file}: truncated ({size} of {stated + 8} bytes); fetch or make it again"
        )
    return True
