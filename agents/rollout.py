"""Paintings that go on and on: what an agent learns from, on the device, without Gymnasium."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from ..backend.media import resize
from ..envs import painting, targets
from ..renderers import Paint


class Rollout:
    """N paintings; one that ends is followed by the next.

    Args:
        process: the painting process.
        paint: the real environment's renderer.
        source: where targets come from.
        count: N.
        seed: draws the targets.
        device: where.
        backgrounds: of the empty canvases, one after the other; none takes the process's own.

    Raises:
        ValueError: an unknown background.
    """

    def __init__(
        self,
        process: painting.Config,
        paint: Paint,
        source: targets.Source,
        count: int,
        seed: int,
        device: torch.device,
        backgrounds: Sequence[str] = (),
    ) -> None:
        self.process, self.paint, self.source = process, paint, source
        self.count, self.device = count, device
        self.rng = np.random.default_rng(seed)
        names = [cast(painting.Background, name) for name in backgrounds]  # the process checks them
        self._empty = [replace(process, background=name) for name in names] or [process]
        self._begun = 0
        self.state = self._fresh(count)

    def advance(self, action: Tensor) -> painting.State:
        """Paint one bundle on every canvas, and begin anew where that was the last one.

        Args:
            action: (N, K * F) in [0, 1].

        Returns:
            What the action led to, before the ended ones began anew.
        """
        with torch.no_grad():
            after = painting.transition(self.state, action, self.process, self.paint)
        ended = painting.terminated(after, self.process) | painting.truncated(after, self.process)
        self.state = after
        rows = ended.nonzero()[:, 0]
        if len(rows):
            fresh = self._fresh(len(rows))
            kept = zip(after, fresh, strict=True)
            self.state = painting.State(*(old.index_copy(0, rows, new) for old, new in kept))
        return after

    def _fresh(self, count: int) -> painting.State:
        fresh = []
        for _ in range(count):
            image, mask = targets.stack([self.source.draw(self.rng)], self.device)
            process = self._empty[self._begun % len(self._empty)]
            fresh.append(painting.initial(image, mask, process))
            self._begun += 1
        return painting.State(*(torch.cat(parts) for parts in zip(*fresh, strict=True)))

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and JSON values, for a checkpoint."""
        facts = {"rng": json.dumps(self.rng.bit_generator.state), "begun": self._begun}
        return dict(self.state._asdict()), facts

    def load_state_dict(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: another number of paintings or another canvas.
        """
        if tensors["canvas"].shape != self.state.canvas.shape:
            shapes = tuple(tensors["canvas"].shape), tuple(self.state.canvas.shape)
            raise ValueError(f"the paintings were {shapes[0]}, now {shapes[1]}")
        self.state = painting.State(**{k: v.to(self.device) for k, v in tensors.items()})
        self.rng.bit_generator.state = json.loads(facts["rng"])
        self._begun = int(facts["begun"])


class Augmented:
    """A source whose pictures are mirrored half of the time and cut out half of the time.

    Args:
        source: its canvas is twice as large a side as what comes out, so that a part that is cut
            out has all the detail the canvas can show.

    Attributes:
        canvas: see `targets.Source`.
        subject: that of the source.
        skipped: that of the source.
    """

    def __init__(self, source: targets.Source) -> None:
        self.source = source
        channels, height, width = source.canvas
        self.canvas = targets.Canvas(channels, height // 2, width // 2)
        self.subject = source.subject
        self.skipped = source.skipped

    def draw(self, rng: np.random.Generator) -> targets.Target:
        """A random picture, or a part of one: half to all of each side."""
        image, mask = self.source.draw(rng)
        if rng.random() < 0.5:
            image, mask = image[:, :, ::-1], mask[:, :, ::-1]
        _, height, width = image.shape
        share = rng.uniform(0.5, 1) if rng.random() < 0.5 else 1.0
        rows, columns = max(1, round(height * share)), max(1, round(width * share))
        top, left = (int(rng.integers(n + 1)) for n in (height - rows, width - columns))
        part = (slice(None), slice(top, top + rows), slice(left, left + columns))
        return targets.Target(self._fit(image[part]), self._fit(mask[part]))

    def pick(self, index: int) -> targets.Target:
        """Picture number `index`, whole."""
        image, mask = self.source.pick(index)
        return targets.Target(self._fit(image), self._fit(mask))

    def _fit(self, image: targets.Array) -> targets.Array:
        channels, height, width = image.shape
        pixels = np.ascontiguousarray(np.broadcast_to(image, (3, height, width)).transpose(1, 2, 0))
        small = resize(pixels, self.canvas.height, self.canvas.width)
        return np.ascontiguousarray(small.transpose(2, 0, 1)[:channels])
