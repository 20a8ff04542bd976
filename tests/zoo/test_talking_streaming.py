"""Chunks, their order, their state, and readings of the lips, with networks that count."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.backend.buckets import Batch
from neuralpaint.zoo.face_geometry import Similarity
from neuralpaint.zoo.lipreader import READ
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.mfcc import windows
from neuralpaint.zoo.talking.result import pick
from neuralpaint.zoo.talking.sounds import Listener
from neuralpaint.zoo.talking.streaming import (
    CHUNK,
    HOP,
    Act,
    LipReading,
    Piece,
    Start,
    perform,
)

SIDE = 4
FACE = TalkingFace(
    "me", np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((68, 2)), Similarity(1, 0, 0, 0), ()
)


def act(samples: NDArray[np.float32], count: int = 0, reading: LipReading | None = None) -> Act:
    start = Start(FACE, {"fixed": torch.tensor(7)}, {"count": torch.tensor(count)})
    return Act(start, iter([samples]), Listener("sound"), reading)


def counting(requests: Sequence[Batch]) -> list[Batch]:
    """Networks whose frames show how many frames were before them, and what was heard."""
    results = []
    for request in requests:
        assert int(request["fixed"]) == 7
        assert request["windows"].shape == (CHUNK, 28, 12)
        places = int(request["count"]) + torch.arange(CHUNK)
        frames = places.view(-1, 1, 1, 1).expand(-1, SIDE, SIDE, 3).to(torch.uint8)
        heard = request["windows"][:, 12, 0].float()
        landmarks = request["given"] if "given" in request else heard[:, None].expand(-1, 136)
        results.append(
            {
                "frames": frames,
                "coarse": frames[:, ::2, ::2, 0],
                "fine": frames[..., 0],
                "landmarks": landmarks,
                "count": request["count"] + CHUNK,
            }
        )
    return results


def noise(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(count, np.float32)


@given(st.lists(st.integers(1, 40 * 640), min_size=1, max_size=4))
def test_all_frames_in_order_with_their_own_sound(counts: list[int]) -> None:
    sounds = [noise(count, seed) for seed, count in enumerate(counts)]
    acts = [act(sound, 100 * number) for number, sound in enumerate(sounds)]
    pieces: list[list[Piece]] = [[] for _ in acts]
    for number, piece in perform(acts, counting):
        pieces[number].append(piece)
    for number, sound in enumerate(sounds):
        expected = windows(sound)
        frames = np.concatenate([piece.frames for piece in pieces[number]])
        first = 100 * number
        assert frames[:, 0, 0, 0].tolist() == [
            (first + place) % 256 for place in range(len(expected))
        ]
        heard = np.concatenate([piece.landmarks for piece in pieces[number]])[:, 0, 0]
        np.testing.assert_array_equal(heard, expected[:, 12, 0] * SIDE)
        assert all(len(piece.frames) == CHUNK for piece in pieces[number][:-1])


def test_acts_run_together_until_each_ends() -> None:
    sizes = []

    def run(requests: Sequence[Batch]) -> list[Batch]:
        sizes.append(len(requests))
        return counting(requests)

    list(perform([act(noise(640 * frames)) for frames in (50, 16, 17)], run))
    assert sizes == [3, 2, 1, 1]


def test_landmarks_to_follow_are_cut_into_chunks() -> None:
    points = np.random.default_rng(0).random((20, 68, 2)).astype(np.float32)
    start = Start(FACE, {"fixed": torch.tensor(7)}, {"count": torch.tensor(0)}, points)
    talking = Act(start, iter([noise(640 * 20)]), Listener("sound"))
    made = np.concatenate([piece.landmarks for _, piece in perform([talking], counting)])
    np.testing.assert_allclose(made, points, atol=1e-6)


def read(reading: LipReading, frames: NDArray[np.uint8], sizes: Sequence[int]) -> list[list[int]]:
    """Frames that each reading sees, by the number that their pixels hold."""
    seen, start = [], 0
    batches = []
    for size in sizes:
        batches.append(reading.push(frames[start : start + size]))
        start += size
    batches.append(reading.finish())
    for requests in batches:
        for request in requests:
            assert request["lips"].shape == (READ, 1, 1, 3)
            seen.append(request["lips"][:, 0, 0, 0].tolist())
    return seen


@given(st.lists(st.integers(1, 19), min_size=1, max_size=5))
def test_readings_slide_over_the_video(sizes: list[int]) -> None:
    total = sum(sizes)
    frames = np.arange(total, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(3, 3)
    seen = read(LipReading(["a", "sil"]), frames, sizes)
    assert len(seen) == -(-total // HOP)
    for number, places in enumerate(seen):
        first = HOP * number + HOP // 2 - READ // 2
        assert places == [min(max(first + step, 0), total - 1) for step in range(READ)]


def test_runs_are_merged_and_silence_is_dropped() -> None:
    reading = LipReading(["bin", "blue", "sil"])
    frames = np.zeros((15, 1, 1, 3), np.uint8)
    requests = [*reading.push(frames), *reading.finish()]
    assert len(requests) == 8
    likely = {"bin": 0.5, "blue": 0.75, "sil": 0.9}
    for word in ["sil", "bin", "bin", "sil", "bin", "blue", "blue", "blue"]:
        scores = np.full(3, -9.0, np.float32)
        scores[["bin", "blue", "sil"].index(word)] = np.log(likely[word])
        reading.take(scores)
    words = reading.words
    assert [word.word for word in words] == ["bin", "bin", "blue"]
    assert [(word.start, word.end) for word in words] == [
        (2 / 25, 6 / 25),
        (8 / 25, 10 / 25),
        (10 / 25, 15 / 25),  # ends with the video, not with its reading
    ]
    assert [word.probability for word in words] == pytest.approx([0.5, 0.5, 0.75])


def test_a_video_without_frames_has_no_words() -> None:
    reading = LipReading(["a", "sil"])
    assert reading.finish() == []
    assert reading.words == ()


@given(st.integers(1, 500), st.integers(1, 20))
def test_places_are_spread_evenly(length: int, count: int) -> None:
    places = pick(length, count)
    assert len(places) == min(length, count) == len(set(places))
    assert places == sorted(places)
    assert places[0] >= 0
    assert places[-1] < length
    gaps = np.diff(places)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
    assert abs(places[0] - (length - 1 - places[-1])) <= 1
