"""Mel-frequency cepstral coefficients, and the windows of them that the networks hear.

The coefficients follow the definition that ATVGnet (Chen et al. 2019), the model that chapter 5
builds on, took from python_speech_features: pre-emphasis 0.97, 25 ms rectangular frames every
10 ms, 512-point power spectrum, 26 triangular mel filters from 0 to 8 kHz, log, orthonormal
DCT-II, lifter 22. Thesis section 5.3.1: the first of 13 coefficients is dropped and a frame of
video hears 28 rows.

Sound is worked through four rows, 40 ms, one frame of video, at a time. Every group is one
operation of one shape, whatever block its samples came in, so a stream gives the same bits as
the whole sound.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Samples per second of every sound that the networks hear."""

FPS = 25
"""Frames of video per second."""

ROWS = 28
"""Rows of MFCC in a window, 10 ms apart."""

COEFFICIENTS = 12
"""Coefficients in a row of a window: 13 without the first."""

_FRAME = 400  # samples, 25 ms
_HOP = 160  # samples, 10 ms
_ROWS_PER_FRAME = SAMPLE_RATE // FPS // _HOP  # 4
_GROUP_HOP = _ROWS_PER_FRAME * _HOP  # 640 samples, one frame of video
_GROUP = (_ROWS_PER_FRAME - 1) * _HOP + _FRAME  # 880 samples that four rows cover
_AROUND = 3  # frames of video before and after the one of a window
_FFT = 512
_FILTERS = 26
_CEPSTRA = COEFFICIENTS + 1
_PRE_EMPHASIS = 0.97
_LIFTER = 22

_Samples = NDArray[np.floating]


def frame_count(samples: int) -> int:
    """How many frames of video a sound lasts: the last may be partly silent.

    Args:
        samples: at 16 kHz, >= 0.

    Returns:
        ceil(samples / 640).
    """
    return -(-samples // _GROUP_HOP)


def mfcc(samples: _Samples) -> NDArray[np.float32]:
    """Mel-frequency cepstral coefficients of a whole sound.

    Args:
        samples: (N,) floats, 16 kHz mono. A gain changes the first coefficient only.

    Returns:
        (rows, 13), one row each 10 ms: 1 + ceil((N - 400) / 160) rows, one for a sound of up to
        400 samples, none for an empty one. What the last row lacks in samples is 0. Digital
        silence has zeros, up to rounding, in all but the first column.

    Raises:
        ValueError: not one-dimensional, not floats, NaN or infinity.
    """
    rows = _Rows()
    groups = np.concatenate([rows.push(samples), rows.finish()])
    return groups.reshape(-1, _CEPSTRA)[: _row_count(len(samples))]


def windows(samples: _Samples) -> NDArray[np.float32]:
    """The window of MFCC that belongs to each frame of video.

    Args:
        samples: (N,) floats, 16 kHz mono.

    Returns:
        (T, 28, 12) for T = `frame_count(N)`. Frame i, which stands from i/25 s to (i+1)/25 s,
        has rows 4 (i - 3) to 4 (i + 4) - 1, without their first coefficient; rows before the
        start and after the end are 0. Raw values: a network scales them itself.

    Raises:
        ValueError: see `mfcc`.
    """
    stream = WindowStream()
    return np.concatenate([stream.push(samples), stream.finish()])


class WindowStream:
    """`windows` of a sound that comes in blocks, in constant memory.

    A frame is ready 0.175 s after it began: its window looks 120 ms past the frame's end, and
    the last row 15 ms further.
    """

    def __init__(self) -> None:
        self._rows = _Rows()
        self._groups = _silent(_AROUND)  # not yet behind every window

    def push(self, samples: _Samples) -> NDArray[np.float32]:
        """Hear the next samples.

        Args:
            samples: (N,) floats, any N >= 0.

        Returns:
            (t, 28, 12), the windows that are complete now and were not before; t may be 0.

        Raises:
            ValueError: see `mfcc`, or after `finish`.
        """
        return self._ready(self._rows.push(samples))

    def finish(self) -> NDArray[np.float32]:
        """End the sound.

        Returns:
            (t, 28, 12), the windows still owed; the stream takes no more samples.

        Raises:
            ValueError: finished before.
        """
        total = frame_count(self._rows.samples)
        done = self._rows.groups
        last = self._rows.finish()
        # A sound may end before the samples of its last frames fill a row.
        return self._ready(np.concatenate([last, _silent(total + _AROUND - done - len(last))]))

    def _ready(self, groups: NDArray[np.float32]) -> NDArray[np.float32]:
        self._groups = np.concatenate([self._groups, groups])
        whole = 2 * _AROUND + 1
        count = max(0, len(self._groups) - whole + 1)
        result = np.empty((count, ROWS, COEFFICIENTS), np.float32)
        for index in range(count):
            window = self._groups[index : index + whole, :, 1:]
            result[index] = window.reshape(ROWS, COEFFICIENTS)
        self._groups = self._groups[count:]
        return result


class _Rows:
    """Rows of MFCC of a sound that comes in blocks, in groups of four.

    Attributes:
        samples: how many have come.
        groups: how many have been given.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.groups = 0
        self._previous = np.zeros(1)  # the sample before the next block
        self._signal = np.empty(0)  # pre-emphasised, from the next group's first sample on
        self._finished = False

    def push(self, samples: _Samples) -> NDArray[np.float32]:
        """Give the groups, (g, 4, 13), that are complete now."""
        if self._finished:
            raise ValueError("the sound is finished; start a new stream")
        if samples.ndim != 1 or not np.issubdtype(samples.dtype, np.floating):
            raise ValueError(
                f"samples of shape {samples.shape}, {samples.dtype}; expected (N,) floats, mono"
            )
        if not np.isfinite(samples).all():
            raise ValueError("NaN or infinity among the samples")
        # Through float32, so that a sound held in float64 hears the same as a decoded one.
        values = np.concatenate([self._previous, samples.astype(np.float32).astype(np.float64)])
        self._previous = values[-1:]
        self.samples += len(samples)
        emphasised = values[1:] - _PRE_EMPHASIS * values[:-1]
        self._signal = np.concatenate([self._signal, emphasised])
        return self._take(max(0, (len(self._signal) - _GROUP) // _GROUP_HOP + 1))

    def finish(self) -> NDArray[np.float32]:
        """Give the last groups; rows past the last of the sound are 0."""
        if self._finished:
            raise ValueError("the sound is finished; start a new stream")
        self._finished = True
        rows = _row_count(self.samples) - _ROWS_PER_FRAME * self.groups
        count = -(-rows // _ROWS_PER_FRAME)
        self._signal = np.concatenate([self._signal, np.zeros(_GROUP)])
        groups = self._take(count)
        groups.reshape(-1, _CEPSTRA)[rows:] = 0
        return groups

    def _take(self, count: int) -> NDArray[np.float32]:
        groups = np.empty((count, _ROWS_PER_FRAME, _CEPSTRA), np.float32)
        for index in range(count):
            start = index * _GROUP_HOP
            groups[index] = _four_rows(self._signal[start : start + _GROUP])
        self._signal = self._signal[count * _GROUP_HOP :]
        self.groups += count
        return groups


def _four_rows(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """(880,) pre-emphasised samples to (4, 13)."""
    filters, cosines = _tables()
    frames = np.stack([signal[_HOP * row : _HOP * row + _FRAME] for row in range(_ROWS_PER_FRAME)])
    spectrum = np.fft.rfft(frames, _FFT)
    energies = (spectrum.real**2 + spectrum.imag**2) / _FFT @ filters
    energies[energies == 0] = np.finfo(np.float64).eps  # as the definition's authors do
    return np.asarray(np.log(energies) @ cosines)


def _row_count(samples: int) -> int:
    return min(samples, 1) + -(-max(0, samples - _FRAME) // _HOP)


def _silent(groups: int) -> NDArray[np.float32]:
    return np.zeros((max(0, groups), _ROWS_PER_FRAME, _CEPSTRA), np.float32)


@cache
def _tables() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mel filters (257, 26), and the liftered DCT (26, 13)."""
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, _FILTERS + 2) / 2595) - 1)
    edges = np.floor((_FFT + 1) * hertz / SAMPLE_RATE)
    bins = np.arange(_FFT // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - left) / (centre - left)
    falling = (right - bins) / (right - centre)
    filters = np.where(bins < centre, rising, falling).clip(0)

    order = np.arange(_CEPSTRA)
    phase = np.pi * (np.arange(_FILTERS)[:, None] + 0.5) * order / _FILTERS
    cosines = np.cos(phase) * np.sqrt(np.where(order == 0, 1, 2) / _FILTERS)
    lifter = 1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)
    return filters, cosines * lifter
