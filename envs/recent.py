"""What a network made of the tensors that it was given last, so that it is not asked twice.

A reward sees each canvas two times, after one step and before the next, and each target in every
step of an episode. The tensors of a state are not written to, so they are recognised by identity.
"""

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

KEPT = 2
"""Results that are kept: those of the canvas before a step and after it."""


class Known(NamedTuple):
    """One result and what it was computed from."""

    inputs: tuple[weakref.ref[Tensor], ...]
    circumstances: tuple[int, ...]
    result: Tensor


class Recent:
    """The last few results of one function of tensors.

    A result is used again only for the very same tensors, unchanged in place, and a network whose
    weights did not change. It is not kept, and none is used, where it would need a gradient, or
    while the network is being trained: in training mode, or with parameters that require gradients.
    Writing to a tensor through memory that it shares with a numpy array goes unnoticed.
    """

    def __init__(self) -> None:
        self._known: deque[Known] = deque(maxlen=KEPT)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and other processes begin with nothing known."""
        return {"_known": deque(maxlen=KEPT)}

    def get(
        self,
        network: object,
        compute: Callable[[], Tensor],
        *inputs: Tensor,
        size: tuple[int, ...] = (),
    ) -> Tensor:
        """Compute, or remember.

        Args:
            network: what `compute` asks; anything but a frozen module is always asked anew.
            compute: takes nothing and returns a tensor that depends on the network, the inputs and
                the size alone.
            *inputs: the tensors that it uses.
            size: what size is asked for, if there are several.

        Returns:
            What it returns.
        """
        traced = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
        if traced or not _frozen(network) or any(each.is_inference() for each in inputs):
            return compute()
        circumstances = (
            *size,
            int(torch.is_autocast_enabled(inputs[0].device.type)),
            *(each._version for each in inputs),
            *(each._version for each in network.parameters()),
            *(each._version for each in network.buffers()),
        )
        for known in self._known:
            same = all(ref() is each for ref, each in zip(known.inputs, inputs, strict=True))
            if same and known.circumstances == circumstances:
                return known.result
        result = compute().detach()
        refs = tuple(weakref.ref(each) for each in inputs)
        self._known.append(Known(refs, circumstances, result))
        return result


def _frozen(network: object) -> TypeGuard[nn.Module]:
    return (
        isinstance(network, nn.Module)
        and not network.training
        and not any(each.requires_grad or each.is_inference() for each in network.parameters())
    )
