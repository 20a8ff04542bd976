"""A look into HfGAN: which word drew which part, and what fusion adds (Fig 3.10)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..backend.media import resize
from ..backend.sheet import sheet
from .hfgan import GeneratorOutput
from .result import GeneratedImage, provenance

Map = NDArray[np.float32]

CHANNELS = 4
"""Feature maps of a kind that the page shows, those that vary most."""


@dataclass(frozen=True)
class Look:
    """What went on inside while an image came about.

    Maps of stage 2 have a quarter of the image's side, those of stage 3 half of it.

    Attributes:
        prompt: of the image.
        words: L words that the generator saw.
        seed: of the image.
        model: name and weights.
        image: (S, S, 3) float32 in [0, 1].
        attention: weights of the words in stages 2 and 3, (L, h, w) float32 each; at each place
            they add up to one.
        features: (C, h, w) float32 by name: F1, F2, F2f, F3, F3f. F2 and F3 are those before
            global fusion (Eq 3.7, 3.8), F2f and F3f those after (Eq 3.7, 3.9).
    """

    prompt: str
    words: tuple[str, ...]
    seed: int
    model: str
    image: Map
    attention: tuple[Map, Map]
    features: dict[str, Map]

    @classmethod
    def of(
        cls, output: GeneratorOutput, prompt: str, words: Sequence[str], seed: int, model: str
    ) -> "Look":
        """From what the generator returned for one image.

        Args:
            output: of a batch of one.
            prompt: of the image.
            words: that the generator saw, L of them.
            seed: of the image.
            model: name and weights.

        Returns:
            The look.
        """
        image = (output.images[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        stage2, stage3 = (_array(weights[0, : len(words)]) for weights in output.attention)
        features = {name: _array(maps[0]) for name, maps in output.features.items()}
        return cls(prompt, tuple(words), seed, model, _array(image), (stage2, stage3), features)

    def page(self, side: int = 128) -> GeneratedImage:
        """A page: the words over the image, then feature maps before and after fusion.

        Args:
            side: of each picture, in pixels.

        Returns:
            The page, with its provenance.
        """
        pages = [self._attention(side), self._features(side)]
        width = max(page.shape[1] for page in pages)
        parts = [
            np.pad(page, ((0, 0), (0, width - page.shape[1]), (0, 0)), constant_values=255)
            for page in pages
        ]
        return GeneratedImage(np.concatenate(parts), provenance(self.model, self.prompt, self.seed))

    def _attention(self, side: int) -> NDArray[np.uint8]:
        """Two rows, stages 2 and 3: the image is bright where a word has weight."""
        columns = [[self.image, self.image]]
        for index in range(len(self.words)):
            columns.append([self._lit(weights[index]) for weights in self.attention])
        return sheet(columns, ["image", *self.words], side)

    def _lit(self, weights: Map) -> Map:
        light = _unit(weights)
        whole = resize(np.repeat(light[:, :, None], 3, 2), *self.image.shape[:2])
        return self.image * (0.15 + 0.85 * whole)

    def _features(self, side: int) -> NDArray[np.uint8]:
        """The mean of all maps, and single ones: the same channels before and after fusion."""
        columns, titles = [], []
        for name in ("F1", "F2", "F2f", "F3", "F3f"):
            maps = self.features[name]
            fused = self.features.get(f"{name}f", maps)  # the same channels before and after
            chosen = np.argsort(-fused.std((1, 2)), kind="stable")[:CHANNELS]
            shown = [np.abs(maps).mean(0), *maps[chosen]]
            columns.append([np.repeat(_unit(plane)[:, :, None], 3, 2) for plane in shown])
            titles.append(f"{name}, fused" if name.endswith("f") else name)
        return sheet(columns, titles, side)


def _unit(plane: Map) -> Map:
    """Stretched to [0, 1]."""
    low, high = plane.min(), plane.max()
    stretched: Map = (plane - low) / max(high - low, 1e-12)
    return stretched


def _array(tensor: Tensor) -> Map:
    values: Any = tensor.float().cpu().numpy()
    return np.ascontiguousarray(values)
