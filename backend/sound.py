"""Sound: mono float32 at the rate asked for, decoded by ffmpeg; WAV out."""

import io
import math
import os
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from .ffmpeg import decoded
from .files import MediaError, input_file, write_bytes

MAX_SECONDS = 600.0
"""Longer sounds are refused unless the caller raises the limit."""

_MAX_RATE = 384_000
_MAX_BLOCK = 2**24  # samples: 64 MB a channel
_FULL_SCALE = 32768  # of 16-bit samples


def read_sound(
    path: str | os.PathLike[str], rate: int, *, max_seconds: float = MAX_SECONDS
) -> NDArray[np.float32]:
    """Read the first sound track of a sound or video file, resampled, mixed down to mono.

    The channels are averaged, so one voice on both channels keeps its amplitude.

    Args:
        path: WAV, FLAC, MP3, Ogg, AAC, or a video with sound.
        rate: samples per second wanted.
        max_seconds: refuse longer sounds.

    Returns:
        (T,) float32; 1 is the full scale of the file, lossy formats may exceed it slightly.

    Raises:
        MediaError: absent, empty, truncated, damaged, too long, or without sound.
    """
    blocks = list(stream_sound(path, rate, rate, max_seconds=max_seconds))
    return np.concatenate(blocks)


def stream_sound(
    path: str | os.PathLike[str], rate: int, block: int, *, max_seconds: float = math.inf
) -> Iterator[NDArray[np.float32]]:
    """Read a sound in blocks, in memory that does not grow with its length.

    The blocks together are what `read_sound` gives, bit for bit.

    Args:
        path: as in `read_sound`.
        rate: samples per second wanted.
        block: samples in a block, >= 1.
        max_seconds: refuse longer sounds, once so much has been read.

    Returns:
        Blocks of (block,) float32, the last one shorter, at least one. Decoding ends when the
        iterator is closed or forgotten.

    Raises:
        MediaError: a rate or block out of range, or absent or empty: at once. Without sound: at
            the first block. Truncated, damaged or too long: at the block where it shows, which
            may be after the last.
    """
    _check_rate(rate)
    if not 1 <= block <= _MAX_BLOCK:
        raise MediaError(f"block {block}: must be 1 to {_MAX_BLOCK} samples")
    input_file(path, MediaError)
    return _decode(path, rate, block, max_seconds)


def _decode(
    path: str | os.PathLike[str], rate: int, block: int, max_seconds: float
) -> Iterator[NDArray[np.float32]]:
    samples = 0
    # AU states rate and channels in a header of 24 bytes, so no log needs to be parsed.
    options = ["-ar", str(rate), "-c:a", "pcm_f32be", "-f", "au"]
    with decoded(path, "sound", options) as stream:
        channels = _au_channels(stream)
        while data := stream.read(block * channels * 4) if channels else b"":
            values = np.frombuffer(data[: len(data) // 4 * 4], ">f4")
            mono = values[: len(values) // channels * channels].reshape(-1, channels).mean(1)
            samples += len(mono)
            if samples > max_seconds * rate:
                raise MediaError(f"{path}: longer than {max_seconds:g} seconds; cut it first")
            if len(mono):
                yield mono.astype(np.float32)
    if samples == 0:
        raise MediaError(f"{path}: no sound in it; give a file with a sound track")


def write_sound(path: str | os.PathLike[str], samples: NDArray[np.floating], rate: int) -> None:
    """Write mono sound as 16-bit WAV, atomically.

    Args:
        path: ends in .wav.
        samples: (T,) floats in [-1, 1], T >= 1.
        rate: samples per second.

    Raises:
        MediaError: another suffix or shape, NaN, infinity, or samples beyond full scale.
        OSError: the file cannot be written.
    """
    if Path(path).suffix.lower() != ".wav":
        raise MediaError(f"{path}: can only write .wav sound")
    write_bytes(path, wav_bytes(samples, rate, name=str(path)))


def wav_bytes(samples: NDArray[np.floating], rate: int, *, name: str = "sound") -> bytes:
    """Encode mono sound as 16-bit WAV.

    Args:
        samples: (T,) floats in [-1, 1], T >= 1.
        rate: samples per second.
        name: what to call the sound in errors.

    Returns:
        The content of a .wav file.

    Raises:
        MediaError: another shape, NaN, infinity, or samples beyond full scale.
    """
    _check_rate(rate)
    if samples.ndim != 1 or samples.size == 0:
        raise MediaError(f"{name}: shape {samples.shape}; sound is (T,) mono with T >= 1")
    if not np.isfinite(samples).all():
        raise MediaError(f"{name}: NaN or infinity among the samples")
    peak = float(np.abs(samples).max())
    if peak > 1:
        raise MediaError(f"{name}: peak {peak:.3g}; samples must lie in [-1, 1], scale them")
    whole = np.rint(samples * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return data.getvalue()


def _check_rate(rate: int) -> None:
    if not 1 <= rate <= _MAX_RATE:
        raise MediaError(f"rate {rate}: must be 1 to {_MAX_RATE} samples per second")


def _au_channels(stream: IO[bytes]) -> int:
    """Read an AU header up to the first sample; 0 when ffmpeg gave none."""
    head = stream.read(24)
    if len(head) < 24:
        return 0
    magic, start, _, _, _, channels = struct.unpack(">4s5I", head)
    if magic != b".snd" or start < 24:
        raise MediaError("ffmpeg did not write the AU format it was asked for; update it")
    stream.read(start - 24)
    return int(channels)
