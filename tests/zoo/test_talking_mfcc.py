"""MFCC against their definition written out, and streams against whole sounds."""

from itertools import pairwise
from math import cos, log, log10, pi, sin, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE, WindowStream, frame_count, mfcc, windows


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return 0.1 * np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def by_definition(samples: NDArray[np.float32], row: int) -> list[float]:
    """One row, in plain numbers: a naive Fourier transform and every sum written out."""
    emphasised = [float(samples[0])]
    emphasised += [float(b) - 0.97 * float(a) for a, b in pairwise(samples)]
    frame = (emphasised + [0.0] * 400)[160 * row : 160 * row + 400]
    turns = np.exp(-2j * pi * np.outer(np.arange(257), np.arange(400)) / 512)
    power = [abs(value) ** 2 / 512 for value in turns @ frame]

    def mel(hertz: float) -> float:
        return 2595 * log10(1 + hertz / 700)

    corners = []
    for index in range(28):
        hertz = 700 * (10 ** (mel(8000) * index / 27 / 2595) - 1)
        corners.append(int(513 * hertz / 16000))
    logs = []
    for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
        energy = sum(power[k] * (k - low) / (middle - low) for k in range(low, middle))
        energy += sum(power[k] * (high - k) / (high - middle) for k in range(middle, high))
        logs.append(log(energy))
    return [
        (1 + 11 * sin(pi * n / 22))
        * sqrt((1 if n == 0 else 2) / 26)
        * sum(value * cos(pi * n * (2 * m + 1) / 52) for m, value in enumerate(logs))
        for n in range(13)
    ]


@pytest.mark.parametrize("row", [0, 5, 11])
def test_the_coefficients_follow_their_definition(row: int) -> None:
    samples = noise(2150)  # 12 rows, the last one padded
    coefficients = mfcc(samples)
    assert coefficients.shape == (12, 13)
    assert coefficients.dtype == np.float32
    np.testing.assert_allclose(coefficients[row], by_definition(samples, row), atol=1e-4)


def test_a_known_tone() -> None:
    """1 kHz at amplitude 0.5; the numbers are those of python_speech_features 0.6."""
    samples = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(4000) / SAMPLE_RATE)
    golden = [-29.5917, 8.163, -24.4777, -33.6031, -10.4059, 21.2583, 29.266, 5.6274]
    golden += [-21.4459, -24.1174, -1.6633, 18.3093, 16.4059]
    np.testing.assert_allclose(mfcc(samples)[3], golden, atol=2e-3)


def test_a_known_mixture() -> None:
    """440 Hz and a square wave, by python_speech_features 0.6; its last row is padded."""
    time = np.arange(4000) / SAMPLE_RATE
    samples = 0.3 * np.sin(2 * np.pi * 440 * time)
    samples += 0.05 * np.sign(np.sin(2 * np.pi * 97.3 * time))
    golden = [-33.0403, 4.9336, 8.9466, -6.1315, -17.1601, -25.2461, -22.6698, -13.3742]
    golden += [1.81, 14.8961, 21.5358, 17.9654, 8.038]
    coefficients = mfcc(samples)
    assert coefficients.shape == (24, 13)
    np.testing.assert_allclose(coefficients[-1], golden, atol=2e-3)


@pytest.mark.parametrize(
    ("samples", "rows", "frames"),
    [(0, 0, 0), (1, 1, 1), (160, 1, 1), (400, 1, 1), (401, 2, 1), (640, 3, 1), (641, 3, 2),
     (16000, 99, 25), (48000, 299, 75)],
)  # fmt: skip
def test_counts(samples: int, rows: int, frames: int) -> None:
    assert mfcc(noise(samples)).shape == (rows, 13)
    assert frame_count(samples) == frames
    assert windows(noise(samples)).shape == (frames, 28, 12)


def test_a_frame_sees_its_rows_and_zeros_outside_the_sound() -> None:
    samples = noise(SAMPLE_RATE)
    rows, seen = mfcc(samples), windows(samples)
    padded = np.concatenate([np.zeros((12, 13)), rows, np.zeros((40, 13))])
    for frame in range(25):
        start = 4 * (frame - 3) + 12
        np.testing.assert_array_equal(seen[frame], padded[start : start + 28, 1:])
    assert not seen[0, :12].any()
    assert seen[0, 12:].all()
    assert not seen[-1, -13:].any()  # 99 rows; the last frame sees up to row 111


def test_a_frame_hears_nothing_beyond_its_window() -> None:
    """Frame 10 hears from 0.28 s (and one sample before, by pre-emphasis) to 0.575 s."""
    samples = noise(SAMPLE_RATE)
    changed = samples.copy()
    changed[:4479] = 0
    changed[9200:] = 0
    np.testing.assert_array_equal(windows(changed)[10], windows(samples)[10])
    changed[4479] += 0.1
    assert (windows(changed)[10] != windows(samples)[10]).any()


def test_silence_is_like_no_sound_and_a_gain_changes_only_the_first_coefficient() -> None:
    np.testing.assert_allclose(windows(np.zeros(8000, np.float32)), 0, atol=1e-10)
    samples = noise(8000)
    np.testing.assert_allclose(windows(4 * samples), windows(samples), atol=1e-4)
    gain = mfcc(4 * samples)[:, 0] - mfcc(samples)[:, 0]
    np.testing.assert_allclose(gain, sqrt(26) * log(16), rtol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 3000), max_size=8), st.integers(0, 9))
def test_a_stream_equals_the_whole_bit_for_bit(blocks: list[int], seed: int) -> None:
    samples = noise(sum(blocks), seed)
    stream = WindowStream()
    parts = [stream.push(part) for part in np.split(samples, np.cumsum(blocks))]
    parts.append(stream.finish())
    np.testing.assert_array_equal(np.concatenate(parts), windows(samples))


def test_a_stream_gives_a_frame_as_soon_as_its_window_is_heard() -> None:
    stream = WindowStream()
    samples = noise(2800 + 640)
    assert len(stream.push(samples[:2799])) == 0
    assert len(stream.push(samples[2799:2800])) == 1  # 0.175 s
    assert len(stream.push(samples[2800:3439])) == 0
    assert len(stream.push(samples[3439:])) == 1


def test_a_long_stream_holds_no_more_than_a_window() -> None:
    stream = WindowStream()
    for _ in range(50):
        stream.push(noise(1000))
    held = [value for part in (stream, stream._rows) for value in vars(part).values()]
    assert sum(value.size for value in held if isinstance(value, np.ndarray)) < 2000


def test_a_finished_stream_is_finished() -> None:
    stream = WindowStream()
    stream.finish()
    with pytest.raises(ValueError, match="start a new stream"):
        stream.push(noise(10))
    with pytest.raises(ValueError, match="start a new stream"):
        stream.finish()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros((2, 100), np.float32), r"shape \(2, 100\)"),
        (np.zeros(100, np.int16), "int16"),
        (np.array([0, np.nan], np.float32), "NaN"),
        (np.array([0, np.inf], np.float32), "infinity"),
    ],
)
def test_what_is_no_sound(samples: NDArray[np.float32], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mfcc(samples)
