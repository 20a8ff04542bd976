"""What tests of talking faces share: small clips in which sound, mouth and word go together."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralpaint.zoo.data.talking import SILENCE, Clip, Clips, WordSpan, join
from neuralpaint.zoo.talking.geometry import TEMPLATE

TOY_WORDS = ("bin", "lay", "place", "set")
LENGTH, PAUSE, SPOKEN = 12, 4, 2
"""Frames of a word, of the silence at either end, and words of a clip."""


@functools.cache
def toy_clips(count: int = 10, held: int = 3, *, size: int = 128, seed: int = 0) -> Clips:
    """Coloured cards with a dark mouth: each word has its own opening and width, and its own sound.

    Args:
        count: of clips, 32 frames each.
        held: how many of them are held out.
        size: side of the frames.
        seed: of the words and of the colour of each card.

    Returns:
        The clips, always the same ones: not to be changed.
    """
    draws = np.random.default_rng(seed)
    codes = np.random.default_rng(1).normal(0, 16, (len(TOY_WORDS) + 1, 12))
    made = []
    for number in range(count):
        words = [int(word) for word in draws.permutation(len(TOY_WORDS))[:SPOKEN]]
        said = [-1] * PAUSE + [word for word in words for _ in range(LENGTH)] + [-1] * PAUSE
        spans = [WordSpan(SILENCE, 0.0, float(PAUSE))]
        for place, word in enumerate(words):
            start = PAUSE + LENGTH * place
            spans.append(WordSpan(TOY_WORDS[word], float(start), float(start + LENGTH)))
        spans.append(WordSpan(SILENCE, float(len(said) - PAUSE), float(len(said))))
        colour = draws.integers(90, 220, 3)
        frames = torch.stack([_frame(word, colour, size) for word in said])
        landmarks = torch.stack([_landmarks(word) for word in said])
        windows = torch.from_numpy(codes[[word + 1 for word in said]]).float()
        sound = draws.normal(0, 0.1, 640 * len(said)).astype(np.float32).clip(-1, 1)
        made.append(
            Clip(
                name=f"clip{number}",
                frames=frames,
                landmarks=landmarks,
                windows=windows[:, None].expand(-1, 28, -1).contiguous(),
                samples=sound,
                words=tuple(spans),
                held_out=number >= count - held,
            )
        )
    return join("cards", made)


def _mouth(word: int) -> tuple[float, float]:
    """Half the width and half the height of a mouth, as shares of the side."""
    return (0.10, 0.02) if word < 0 else (0.06 + 0.03 * (word % 2), 0.05 + 0.03 * (word // 2))


def _frame(word: int, colour: "np.ndarray[tuple[int], np.dtype[np.int64]]", size: int) -> Tensor:
    frame = torch.from_numpy(colour)[:, None, None].to(torch.uint8).repeat(1, size, size)
    middle = TEMPLATE[48:68].mean(0)
    wide, high = _mouth(word)
    top, bottom = (round((middle[1] + sign * high) * size) for sign in (-1, 1))
    left, right = (round((middle[0] + sign * wide) * size) for sign in (-1, 1))
    frame[:, top:bottom, left:right] = torch.tensor([40, 0, 10], dtype=torch.uint8)[:, None, None]
    return frame


def _landmarks(word: int) -> Tensor:
    points = TEMPLATE.copy()
    middle = points[48:68].mean(0)
    spread = np.ptp(points[48:68], axis=0) / 2
    points[48:68] = middle + (points[48:68] - middle) / spread * _mouth(word)
    return torch.from_numpy(points).float().flatten()


@pytest.fixture(name="toys", scope="session")
def _toys() -> Callable[..., Clips]:
    return toy_clips
