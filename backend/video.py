"""Video: MP4 (H.264, yuv420p) written through moviepy as frames arrive; frames read by ffmpeg."""

import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ffmpeg import decoded
from .files import MediaError, atomic_path
from .sound import wav_bytes

Frame = NDArray[np.uint8]

MAX_FRAMES = 300
"""Longer videos are refused unless the caller raises the limit: 12 seconds at 25 frames/s."""
MAX_FRAME_PIXELS = 2**21
"""Larger frames are refused unless the caller raises the limit: just above 1920x1080."""

_MAX_SIDE = 16384  # of H.264
_MIN_FPS, _MAX_FPS = 0.1, 240.0
_MAX_TEXT = 4000  # bytes of one text of the metadata
# The index at the front lets browsers play while loading; crf 18 shows no loss to the eye.
_ENCODER = ["-movflags", "+faststart", "-crf", "18"]
# MP4 has no place for keywords of one's own but in the tags of QuickTime.
_TAGS = ["-movflags", "+faststart+use_metadata_tags"]


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[Frame],
    fps: float,
    *,
    audio: NDArray[np.floating] | None = None,
    sample_rate: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write frames as they arrive to an MP4, atomically; no more than one is in memory.

    Odd sizes are padded to even by repeating the last row or column: with odd ones the encoder
    picks a pixel format that browsers refuse.

    Args:
        path: ends in .mp4.
        frames: (H, W, 3) uint8 RGB each, all of one shape, at least one.
        fps: frames per second, 0.1 to 240, kept to 1/100.
        audio: (T,) mono floats in [-1, 1], stored as mono AAC.
        sample_rate: of `audio`; given if and only if it is.
        metadata: provenance, keyword -> value. Each is stored under its keyword, and all in a line
            as "comment", which players show.

    Raises:
        MediaError: no frame, a frame of another shape or type, a bad rate, suffix, sound or text,
            or ffmpeg fails. Nothing is left under `path` then.
        OSError: the file cannot be written.
    """
    final = Path(path)
    if final.suffix.lower() != ".mp4":
        raise MediaError(f"{final}: can only write .mp4 video")
    if not _MIN_FPS <= fps <= _MAX_FPS:
        raise MediaError(f"{final}: fps {fps}; must be {_MIN_FPS} to {_MAX_FPS}")
    if (audio is None) != (sample_rate is None):
        raise MediaError(f"{final}: audio and sample_rate belong together; give both or neither")
    texts = _metadata(metadata or {}, str(final))
    checked = _checked(frames, str(final))
    try:
        first = next(checked)
    except StopIteration:
        raise MediaError(f"{final}: no frames to write; give at least one") from None
    with tempfile.TemporaryDirectory() as folder, atomic_path(final) as part:
        track = None
        if audio is not None and sample_rate is not None:
            # Mono stays mono: made stereo, it would be played 3 dB too quiet when mixed down.
            track = Path(folder, "sound.wav")
            track.write_bytes(wav_bytes(audio, sample_rate, name=f"sound of {final}"))
        _encode(part, first, checked, fps, track, texts, str(final))


def read_video(
    path: str | os.PathLike[str],
    *,
    max_frames: int = MAX_FRAMES,
    max_pixels: int = MAX_FRAME_PIXELS,
) -> tuple[NDArray[np.uint8], float]:
    """Read every stored frame of the first video track once, upright, none repeated or dropped.

    Args:
        path: MP4, MPEG, WebM, Matroska, AVI, GIF and the like.
        max_frames: refuse longer videos.
        max_pixels: refuse larger frames.

    Returns:
        (T, H, W, 3) uint8 RGB, and the nominal frames per second.

    Raises:
        MediaError: absent, empty, truncated, damaged, too long, too large, or no video.
    """
    height, width, fps = _probe(path, max_pixels)
    options = ["-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo"]
    size = height * width * 3
    pixels = bytearray()  # grows in place: frames listed and then stacked would need twice this
    with decoded(path, "video", options) as stream:
        while frame := stream.read(size):
            if len(pixels) == max_frames * size:
                raise MediaError(f"{path}: more than {max_frames} frames; cut it first")
            pixels += frame
    if not pixels or len(pixels) % size:
        raise MediaError(f"{path}: its frames could not be decoded; convert it to MP4")
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3), fps


def _checked(frames: Iterable[Frame], name: str) -> Iterator[Frame]:
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise MediaError(
                f"{name}: frame {index} is {frame.dtype} {frame.shape}; expected uint8 (H, W, 3)"
            )
        if not 1 <= min(frame.shape[:2]) <= max(frame.shape[:2]) <= _MAX_SIDE:
            raise MediaError(
                f"{name}: frame {index} is {frame.shape[1]}x{frame.shape[0]}; "
                f"sides must be 1 to {_MAX_SIDE} pixels"
            )
        shape = shape or frame.shape
        if frame.shape != shape:
            raise MediaError(f"{name}: frame {index} is {frame.shape}, the first was {shape}")
        yield np.pad(frame, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), "edge")


def _metadata(texts: Mapping[str, str], name: str) -> list[str]:
    """Options of ffmpeg that store texts."""
    if not texts:
        return []
    options = list(_TAGS)
    together = "; ".join(f"{key}: {value}" for key, value in texts.items())
    for key, value in {**texts, "comment": together}.items():
        if not key or "=" in key or not (key + value).isprintable():
            raise MediaError(f"{name}: metadata {key!r:.40} is empty or holds '=' or line breaks")
        if key != "comment" and len(value.encode()) > _MAX_TEXT:
            raise MediaError(f"{name}: metadata {key!r:.40} is longer than {_MAX_TEXT} bytes")
        options += ["-metadata", f"{key}={value}"]
    return options


def _encode(
    part: Path,
    first: Frame,
    rest: Iterator[Frame],
    fps: float,
    track: Path | None,
    texts: list[str],
    name: str,
) -> None:
    from moviepy.video.io.ffmpeg_writer import FFMPEG_VideoWriter

    height, width = first.shape[:2]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        writer = FFMPEG_VideoWriter(
            str(part.absolute()),
            (width, height),
            fps,
            codec="libx264",
            audiofile=None if track is None else str(track),
            audio_codec=None if track is None else "aac",
            logfile=log,  # moviepy's default, a pipe that nobody reads, can fill up and block
            ffmpeg_params=[*_ENCODER, *texts],
        )
        process = writer.proc
        try:
            frame: Frame | None = first
            while frame is not None:
                _write_frame(writer, frame, name)
                frame = next(rest, None)
        except BaseException:
            process.kill()
            raise
        finally:
            # Not writer.close(): it would leave the process behind if ffmpeg is already dead.
            with contextlib.suppress(OSError):  # frames in the buffer meet a closed pipe
                process.stdin.close()
            process.wait()
        if process.returncode:
            log.seek(0)
            raise MediaError(f"{name}: ffmpeg could not finish it: {log.read()[-500:].strip()}")


def _write_frame(writer: Any, frame: Frame, name: str) -> None:
    try:
        writer.write_frame(frame)
    except OSError as error:
        raise MediaError(f"{name}: ffmpeg stopped: {error}") from error


def _probe(path: str | os.PathLike[str], max_pixels: int) -> tuple[int, int, float]:
    """Height, width and frame rate from the header of a YUV4MPEG stream of one frame."""
    options = ["-frames:v", "1", "-pix_fmt", "gray", "-f", "yuv4mpegpipe"]
    # Refuses giants before memory is taken; coded sizes are rounded up, hence the margin.
    limit = str(2 * max_pixels + 65536)
    with decoded(path, "video", options, decoder=["-max_pixels", limit]) as stream:
        header = stream.readline(1024).decode(errors="replace")
    match = re.match(r"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+)", header)
    if match is None:
        raise MediaError(f"{path}: no video in it; give a file with moving pictures")
    width, height, rate, scale = (int(group) for group in match.groups())
    if height * width > max_pixels:
        raise MediaError(
            f"{path}: frames of {width}x{height} are more than the limit of {max_pixels} pixels; "
            "make them smaller first"
        )
    fps = rate / scale if scale else math.nan
    if not fps > 0:
        raise MediaError(f"{path}: no frame rate stated; convert it to MP4")
    return height, width, fps
