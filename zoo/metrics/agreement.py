"""Attribute accuracy: do pictures show what their prompts say?

The floor is chance, one in the number of values, or the prompts of other pictures; the ceiling is
the classifier's accuracy on real pictures.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def agreement(
    predicted: Mapping[str, Tensor], asserted: Sequence[Mapping[str, int]], names: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Whether pictures show what their prompts say.

    Args:
        predicted: by attribute, (N,) int64, what a classifier sees.
        asserted: N, by attribute what a prompt says; what it does not speak of is not asked.
        names: attributes to ask about.

    Returns:
        By attribute the hits (M,) bool of the M pictures whose prompts speak of it; and over all
        pictures whose prompts speak of any of `names` the share that is right, (K,) float64, and
        whether all are, (K,) bool.
    """
    hits: dict[str, list[bool]] = {name: [] for name in names}
    shares, whole = [], []
    columns = {name: predicted[name].tolist() for name in names}
    for index, claims in enumerate(asserted):
        right = [
            (name, columns[name][index] == value)
            for name, value in claims.items()
            if name in columns
        ]
        for name, hit in right:
            hits[name].append(hit)
        if right:
            shares.append(sum(hit for _, hit in right) / len(right))
            whole.append(all(hit for _, hit in right))
    return (
        {name: torch.tensor(values, dtype=torch.bool) for name, values in hits.items()},
        torch.tensor(shares, dtype=torch.float64),
        torch.tensor(whole, dtype=torch.bool),
    )
