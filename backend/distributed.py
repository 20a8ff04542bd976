"""Several processes that train together: started by torchrun, each with its own data.

Example:
    torchrun --standalone --nproc_per_node 2 -m neuralpaint train painter ...
"""

import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Group:
    """The processes of one run; outside of torchrun there is one.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    def __init__(self) -> None:
        self.size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    def broadcast(self, network: nn.Module) -> None:
        """Give every process the weights of the first one."""
        if self.size > 1:
            for weight in (*network.parameters(), *network.buffers()):
                dist.broadcast(weight.data, 0)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their means over all processes, in one message."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            dist.all_reduce(flat)
            flat /= self.size
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks, differentiably.

        Every process must then work out the same loss of all rows: its gradient with respect to a
        process's own rows is the sum over the processes, so `average` over the gradients of the
        parameters gives that of one process with all rows.

        Args:
            tensor: (n, ...), of one shape everywhere.

        Returns:
            (size n, ...); the tensor itself where there is one process.
        """
        if self.size == 1:
            return tensor
        rows: Tensor = _Gather.apply(tensor.contiguous(), self)  # type: ignore[no-untyped-call]
        return rows

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, differentiably.

        Args:
            tensor: of one shape everywhere.

        Returns:
            The sum; the tensor itself where there is one process.
        """
        if self.size == 1:
            return tensor
        total: Tensor = _Total.apply(tensor.contiguous())  # type: ignore[no-untyped-call]
        return total

    def wait(self) -> None:
        """Return when every process is here."""
        if self.size > 1:
            dist.barrier()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group, ctx.count = group, len(tensor)
        parts = [torch.empty_like(tensor) for _ in range(group.size)]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        slope = slopes[0].contiguous()
        dist.all_reduce(slope)
        first = ctx.group.rank * ctx.count
        return slope[first : first + ctx.count], None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        slope = slopes[0].clone()
        dist.all_reduce(slope)
        return slope


def start(device: torch.device) -> Group:
    """Join the other processes, if torchrun started this one.

    Args:
        device: of this process, which decides how they talk.

    Returns:
        The group.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Group()


def stop() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.barrier()  # a process that leaves while another still talks to it can crash that one
        dist.destroy_process_group()
