"""A replay memory that stays on the device: states in 8 bits, rounded to the nearest level.

A model-based agent asks its model what follows from a state, so only states are kept, no actions,
rewards or successors. B batch, C channels, H rows, W columns, M places.
"""

import torch
from torch import Tensor

from ..envs.painting import State

IMAGES = ("canvas", "target", "mask")
NUMBERS = ("strokes", "distance", "initial")


class Replay:
    """The last M states.

    Args:
        places: M.
        device: where they are kept.
    """

    def __init__(self, places: int, device: torch.device) -> None:
        if places < 1:
            raise ValueError(f"a replay memory needs at least 1 place, got {places}")
        self.places, self.device = places, device
        self.added = 0
        self._kept: dict[str, Tensor] = {}
        self._bundle: tuple[int, ...] = ()

    def __len__(self) -> int:
        return min(self.added, self.places)

    @property
    def megabytes(self) -> float:
        """Memory that the states take."""
        return sum(kept.nbytes for kept in self._kept.values()) / 2**20

    def add(self, state: State) -> None:
        """Keep B states; the oldest give way.

        Args:
            state: of the same sizes every time.
        """
        if not self._kept:
            self._bundle = tuple(state.bundle.shape[1:])
            for name in IMAGES + NUMBERS:
                values: Tensor = getattr(state, name)
                dtype = torch.uint8 if name in IMAGES else values.dtype
                shape = (self.places, *values.shape[1:])
                self._kept[name] = torch.zeros(shape, dtype=dtype, device=self.device)
        count = len(state.strokes)
        late = max(0, count - self.places)  # those before would be overwritten at once
        rows = (torch.arange(late, count, device=self.device) + self.added) % self.places
        for name, kept in self._kept.items():
            values = getattr(state, name).detach()[late:]
            kept[rows] = to_levels(values) if name in IMAGES else values
        self.added += count

    def sample(self, count: int, generator: torch.Generator) -> State:
        """Draw states, each as likely as any other.

        Args:
            count: B.
            generator: on the CPU; the only source of randomness.

        Returns:
            The states, images as float32 in [0, 1]; the bundle that led to them is not kept.

        Raises:
            ValueError: nothing was added yet.
        """
        if not len(self):
            raise ValueError("the replay memory is empty: collect states first")
        rows = torch.randint(len(self), (count,), generator=generator).to(self.device)
        drawn = {name: kept[rows] for name, kept in self._kept.items()}
        for name in IMAGES:
            drawn[name] = drawn[name].float() / 255
        bundle = torch.zeros(count, *self._bundle, device=self.device)
        return State(**drawn, bundle=bundle)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything, for a checkpoint: tensors by name."""
        filled = {name: kept[: len(self)] for name, kept in self._kept.items()}
        counts = torch.tensor([self.added, self.places, *self._bundle])
        return {**filled, "counts": counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: another number of places.
        """
        added, places, *bundle = (int(count) for count in state["counts"])
        if places != self.places:
            raise ValueError(f"the replay memory had {places} places, now {self.places}")
        self.added, self._bundle = added, tuple(bundle)
        self._kept = {}
        for name, filled in state.items():
            if name != "counts":
                shape = (places, *filled.shape[1:])
                kept = torch.zeros(shape, dtype=filled.dtype, device=self.device)
                kept[: len(filled)] = filled.to(self.device)
                self._kept[name] = kept


def to_levels(image: Tensor) -> Tensor:
    """Float images in [0, 1] to 8 bits, rounded to the nearest level, never floored."""
    return (image * 255).add_(0.5).to(torch.uint8)
