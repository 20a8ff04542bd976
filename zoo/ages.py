"""The ten age groups of chapter 4 (Sec 4.3, Table 4.1), and the codes that networks are given.

Reading: the last group begins at 81, as "80+" overlaps 71-80.
"""

import math
from numbers import Real

import torch
from torch import Tensor
from torch.nn.functional import one_hot

GROUPS = (
    *("0-5", "6-10", "11-20", "21-30", "31-40"),
    *("41-50", "51-60", "61-70", "71-80", "81+"),
)
COUNT = len(GROUPS)
FIRST = (0, 6, 11, 21, 31, 41, 51, 61, 71, 81)
"""Lowest age of each group, in years."""
OLDEST = 116
"""Highest age that is taken for one: the oldest face of UTKFace (Sec 4.4)."""
CENTRES = (2, 8, 16, 26, 35, 46, 55, 65, 76, 88)
"""An age that stands for each group: the mean over UTKFace's faces of it, in whole years."""

_ALIASES = {"80+": 9, "81-116": 9}


def group_of(age: float) -> int:
    """The group that an age lies in.

    Args:
        age: in years, 0 to 116; someone of ten and a half is ten.

    Returns:
        0 to 9, an index into `GROUPS`.

    Raises:
        TypeError: not a number.
        ValueError: out of range or not finite.
    """
    if isinstance(age, bool) or not isinstance(age, Real):
        raise TypeError(f"age must be a number of years, not {type(age).__name__}")
    if not math.isfinite(age) or not 0 <= age < OLDEST + 1:
        raise ValueError(f"age {age:.6g} is out of range: use 0 to {OLDEST} years")
    return sum(age >= first for first in FIRST) - 1


def parse_group(text: str) -> int:
    """The group that a text names.

    Args:
        text: one of `GROUPS`, as "61-70", or the thesis's "80+".

    Returns:
        0 to 9.

    Raises:
        ValueError: no group has that name.
    """
    name = text.strip().replace("–", "-") if isinstance(text, str) else text
    if name in GROUPS:
        return GROUPS.index(name)
    if name in _ALIASES:
        return _ALIASES[name]
    raise ValueError(f"unknown age group {text!r:.40}; use one of {', '.join(GROUPS)}")


def centre(group: int) -> int:
    """An age in years that stands for a group.

    Args:
        group: 0 to 9.

    Returns:
        One of `CENTRES`.

    Raises:
        ValueError: no such group.
    """
    if not 0 <= group < COUNT:
        raise ValueError(f"age group {group} is out of range: use 0 to {COUNT - 1}")
    return CENTRES[group]


def groups_of(ages: Tensor) -> Tensor:
    """The groups of many ages.

    Args:
        ages: (N,) in years, not below 0; above 116 counts as the last group.

    Returns:
        (N,) int64, 0 to 9, on the same device.
    """
    firsts = torch.tensor(FIRST, device=ages.device, dtype=ages.dtype)
    return (ages[:, None] >= firsts).sum(1) - 1


def age_code(groups: Tensor) -> Tensor:
    """The one-hot vectors of Sec 4.3, which networks spread over their feature maps.

    Args:
        groups: (B,) int64, 0 to 9.

    Returns:
        (B, 10) float32, on the same device.
    """
    return one_hot(groups, COUNT).float()
