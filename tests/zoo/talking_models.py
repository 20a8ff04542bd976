"""A small AVWnet whose weights are random, faces that are found where they are put, and sounds."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neuralpaint.zoo.avwnet import AvwnetConfig, LipReaderConfig
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.avwnet_parts import TalkingLandmarksConfig
from neuralpaint.zoo.cards import Card
from neuralpaint.zoo.faces import FoundFace
from neuralpaint.zoo.talking.geometry import TEMPLATE
from neuralpaint.zoo.talking.result import TalkingVideo

Pixels = NDArray[np.uint8]
Samples = NDArray[np.float32]
WORDS = ("blue", "now", "sil")
CONFIG = AvwnetConfig(
    ni=4,
    nd=2,
    audio=2,
    landmarks=TalkingLandmarksConfig(components=3, hidden=8),
    reader=LipReaderConfig(words=WORDS, width=2, blocks=(1, 1, 1, 1), hidden=4),
)


def shaken(model: AvwNet) -> AvwNet:
    """Weights that keep the size of what goes through them, so that sound moves everything."""
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.networks.parameters():
            if weight.dim() > 1:
                spread = (2 / weight[0].numel()) ** 0.5
                weight.copy_(spread * torch.randn(weight.shape, generator=draws))
        model.networks.get_buffer("landmarks.spread").fill_(0.05)
    model.networks.half().float()
    return model


def small_model() -> AvwNet:
    torch.manual_seed(0)
    return shaken(AvwNet(CONFIG, card=Card(summary="tiny"), name="tiny"))


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def speech(seconds: float, seed: int = 0) -> Samples:
    """Noise whose loudness and colour change as those of syllables do."""
    rng = np.random.default_rng(seed)
    count = round(16_000 * seconds)
    tone = np.sin(np.cumsum(0.1 + 0.09 * np.sin(np.arange(count) / 2500 + seed)))
    loud = 0.5 + 0.5 * np.sin(np.arange(count) / 1100)
    return (loud * (0.3 * tone + 0.05 * rng.standard_normal(count))).astype(np.float32)


class Fake:
    """Finds faces of a width at places."""

    def __init__(self, *places: tuple[float, float, float]) -> None:
        self.places = places

    def find(self, image: Pixels) -> list[FoundFace]:
        return [
            FoundFace((x, y, x + side, y + side), TEMPLATE * side + (x, y), 1.0)
            for x, y, side in self.places
        ]


ONE = Fake((20, 30, 128))
PHOTO = noise(190, 300)


def talk(model: AvwNet, sound: Any, photo: Any = PHOTO, **more: Any) -> TalkingVideo:
    made: TalkingVideo = model.generate(
        photo, sound, **{"finder": ONE, "read_words": False, **more}
    )
    return made


def same(one: TalkingVideo, other: TalkingVideo) -> bool:
    return (
        np.array_equal(one.frames, other.frames)
        and np.array_equal(one.landmarks, other.landmarks)
        and np.array_equal(one.masks.fine, other.masks.fine)
        and np.array_equal(one.masks.coarse, other.masks.coarse)
        and one.words == other.words
    )


def cut_from(video: TalkingVideo, x: int, y: int) -> bool:
    """Whether the face is that part of the photo, but for rounding."""
    return bool(np.abs(video.face.image - PHOTO[y : y + 128, x : x + 128].astype(int)).max() <= 2)
