"""Batches of captioned pictures: everything on the device, nothing done picture by picture."""

import torch
from torch import Tensor

from ..data.captioned import Captioned
from ..text import MAX_WORDS, Vocabulary

TRIES = 4
"""Draws for a picture of another class, before one of the same class is taken."""


class Pictures:
    """Pictures and the words of their captions on a device.

    Args:
        data: what to draw from; its pictures may be stored larger than they are trained at.
        size: S, side of the crops.
        vocabulary: words that are known; the others are left out.
        device: where the pictures are kept.

    Raises:
        ValueError: the pictures are smaller than `size`, or a caption has no known word.
    """

    def __init__(
        self, data: Captioned, size: int, vocabulary: tuple[str, ...], device: torch.device
    ) -> None:
        if data.size < size:
            raise ValueError(
                f"{data.name}: pictures of {data.size} pixels are too small to train at {size}; "
                "load them larger"
            )
        self.name, self.captions, self.checksum = data.name, data.captions, data.checksum
        self.size, self.device = size, device
        self.mirrors = "facing" not in data.attributes  # where captions say left and right
        self.stored = data.images.permute(0, 2, 3, 1).contiguous().to(device)  # (N, H, W, 3)
        self.labels = data.labels.to(device)
        self._classes = data.labels  # on the CPU, where numbers are drawn
        words = Vocabulary(vocabulary)
        texts = [caption for group in data.captions for caption in group]
        longest = max(MAX_WORDS, *(len(words.ids(text)) for text in texts))
        tokens = words.encode(texts, longest)
        empty = ~tokens.mask.any(1)
        if empty.any():
            text = texts[int(empty.nonzero()[0])]
            raise ValueError(f"{data.name}: no word of the caption {text!r:.80} is known")
        self.ids, self.mask = tokens.ids.to(device), tokens.mask.to(device)
        counts = torch.tensor([len(group) for group in data.captions])
        self.first, self.counts = (counts.cumsum(0) - counts).to(device), counts.to(device)

    def __len__(self) -> int:
        return len(self.captions)

    def images(self, index: Tensor, crops: Tensor) -> Tensor:
        """Crops of pictures.

        Args:
            index: (n,) int64 which, on any device.
            crops: (n, 3) in [0, 1): place of the crop, and mirrored below 0.5, but for pictures
                whose captions say where they face. A half is the middle and not mirrored.

        Returns:
            (n, 3, S, S) float32 in [-1, 1].
        """
        index, crops = index.to(self.device), crops.to(self.device)
        room = self.stored.shape[1] - self.size
        corner = (crops[:, :2] * (room + 1)).long()[:, :, None]  # (n, 2, 1)
        steps = torch.arange(self.size, device=self.device)
        turned = (crops[:, 2:] < 0.5) & self.mirrors
        columns = torch.where(turned, self.size - 1 - steps, steps)
        rows, columns = corner[:, 0] + steps, corner[:, 1] + columns  # (n, S) each
        pixels = self.stored[index[:, None, None], rows[:, :, None], columns[:, None]]
        return pixels.permute(0, 3, 1, 2) / 127.5 - 1

    def text(
        self, index: Tensor, which: Tensor, keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """One caption of each picture.

        Args:
            index: (n,) int64 which pictures, on any device.
            which: (n,) in [0, 1), which caption of theirs.
            keys: (n, MAX_WORDS or more) random; of a longer caption the words with the largest keys
                are kept, in their order. None keeps the first.

        Returns:
            ids (n, L) int64 and mask (n, L) bool, L = MAX_WORDS.
        """
        index, which = index.to(self.device), which.to(self.device)
        row = self.first[index] + (which * self.counts[index]).long()
        ids, mask = self.ids[row], self.mask[row]
        longest = ids.shape[1]
        if longest == MAX_WORDS:
            return ids, mask
        if keys is None:
            return ids[:, :MAX_WORDS], mask[:, :MAX_WORDS]
        keys = keys.to(self.device)[:, :longest].masked_fill(~mask, -1)
        places = keys.topk(MAX_WORDS).indices.sort().values
        return ids.gather(1, places), mask.gather(1, places)

    @property
    def longest(self) -> int:
        """Words of the longest caption, at least MAX_WORDS."""
        return int(self.ids.shape[1])

    def others(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """For each picture another one, of another class where a few draws find one.

        Args:
            index: (n,) int64, on the CPU.
            generator: on the CPU.

        Returns:
            (n,) int64, on the CPU.

        Raises:
            ValueError: there is one picture only.
        """
        total = len(self)
        if total < 2:
            raise ValueError(f"{self.name}: one picture has no other to mismatch it with")
        steps = torch.randint(1, total, (TRIES, len(index)), generator=generator)
        candidates = (index + steps) % total
        other = self._classes[candidates] != self._classes[index]
        return candidates.gather(0, other.int().argmax(0)[None])[0]
