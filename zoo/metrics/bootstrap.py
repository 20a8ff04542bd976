"""Intervals of drawing other clips: frames and words of one clip are no independent draws.

The bootstrap (Efron 1979) draws as many whole clips as there are, with replacement, many times, and
looks how the figure spreads. All figures meet the same draws, so differences are paired.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ...backend import device as devices
from .measures import Measure

DRAWS = 2000
_PART = 100  # draws at a time: tens of thousands of clips must fit into memory


class Sums(NamedTuple):
    """What each of C clips adds to a figure, which is the ratio of the two totals.

    Attributes:
        total: (C,) float64, summed over the clip's frames or words.
        number: (C,) float64, how many those are; a clip may have none.
    """

    total: Tensor
    number: Tensor

    @property
    def value(self) -> float:
        """The figure: the mean over all frames or words; NaN where there are none."""
        return float(self.total.sum() / self.number.sum())


def sums_of(clips: Iterable[Tensor]) -> Sums:
    """Sums of values by clip.

    Args:
        clips: values (T,) of each; NaN are left out.

    Returns:
        The sums.
    """
    parts = [(values.double().nansum(), (~values.isnan()).sum()) for values in clips]
    return Sums(
        torch.tensor([float(total) for total, _ in parts], dtype=torch.float64),
        torch.tensor([float(count) for _, count in parts], dtype=torch.float64),
    )


class Difference(NamedTuple):
    """One figure less another, of the same clips.

    Attributes:
        value: the difference.
        low: lower end of its 95 % interval.
        high: upper end.
        error: standard error; infinite where nothing is known of it.
        share: of the clips, in which the first is larger.
    """

    value: float
    low: float
    high: float
    error: float
    share: float

    @property
    def errors(self) -> float:
        """How many standard errors the difference is from 0."""
        return self.value / self.error if self.error else math.copysign(math.inf, self.value)


class Bootstrap:
    """Draws of clips.

    Args:
        clips: C.
        seed: of the draws.
        draws: how many.
    """

    def __init__(self, clips: int, seed: int = 0, draws: int = DRAWS) -> None:
        self.clips, self.seed, self.draws = clips, seed, draws

    def measure(self, sums: Sums) -> Measure:
        """A figure with its 95 % interval.

        Args:
            sums: of C clips, one of which has a value.

        Returns:
            The measure, without an interval where no two clips have values.

        Raises:
            ValueError: other clips, or none has a value.
        """
        value = self._checked(sums).value
        if not self._enough(sums):
            return Measure(value, -math.inf, math.inf)
        return Measure(value, *_middle(self._drawn(sums)))

    def error(self, sums: Sums) -> float:
        """Standard error of a figure; infinite where no two clips have values."""
        if not self._enough(self._checked(sums)):
            return math.inf
        return _spread(self._drawn(sums))

    def difference(self, first: Sums, second: Sums) -> Difference:
        """How much larger one figure is than another.

        Args:
            first: of C clips.
            second: of the same clips.

        Returns:
            The difference, without an interval where no two clips have values.

        Raises:
            ValueError: other clips, or none has a value.
        """
        value = self._checked(first).value - self._checked(second).value
        both = (first.number > 0) & (second.number > 0)
        one, two = first.total / first.number, second.total / second.number
        share = (one > two)[both].double().mean().item()
        if not (self._enough(first) and self._enough(second)):
            return Difference(value, -math.inf, math.inf, math.inf, share)
        drawn = self._drawn(first) - self._drawn(second)
        return Difference(value, *_middle(drawn), _spread(drawn), share)

    def _drawn(self, sums: Sums) -> Tensor:
        """(draws,) figures; NaN where a draw has no value."""
        generator = devices.generator(devices.spawn(self.seed, 4))
        found = []
        for start in range(0, self.draws, _PART):
            shape = (min(_PART, self.draws - start), self.clips)
            rows = torch.randint(self.clips, shape, generator=generator)
            found.append(sums.total[rows].sum(1) / sums.number[rows].sum(1))
        return torch.cat(found)

    def _checked(self, sums: Sums) -> Sums:
        if sums.total.shape != (self.clips,) or sums.number.shape != (self.clips,):
            raise ValueError(
                f"sums of {len(sums.total)} and {len(sums.number)} clips; expected {self.clips}"
            )
        if not sums.number.sum():
            raise ValueError("no clip has a value")
        return sums

    @staticmethod
    def _enough(sums: Sums) -> bool:
        return int((sums.number > 0).sum()) > 1


def _middle(drawn: Tensor) -> tuple[float, float]:
    """Ends of the middle 95 %."""
    ends = torch.tensor([0.025, 0.975], dtype=drawn.dtype)
    low, high = drawn[~drawn.isnan()].quantile(ends).tolist()
    return low, high


def _spread(drawn: Tensor) -> float:
    return drawn[~drawn.isnan()].std().item()
