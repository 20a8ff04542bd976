"""Checkpoints of a training run: everything it needs to go on, in one safetensors file.

Files are written atomically and the one before is kept, so that a run that was killed at any
moment, a full disk or a damaged file costs at most the work since the last good one.
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .files import write_bytes

KEEP = 2
MAX_BYTES = 16 * 2**30


class Checkpoint(NamedTuple):
    """What a file holds.

    Attributes:
        step: number of the step after which it was written.
        tensors: by name.
        facts: JSON values.
    """

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: existing folder.
        rank: number of this process; each keeps files of its own.
    """

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank

    def paths(self) -> list[Path]:
        """The files, newest first."""
        pattern = re.compile(rf"checkpoint-{self.rank}-(\d+)\.safetensors")
        found = [(pattern.fullmatch(file.name), file) for file in self.folder.iterdir()]
        numbered = [(int(match[1]), file) for match, file in found if match]
        return [file for _, file in sorted(numbered, reverse=True)]

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
        """Write a checkpoint, then remove those before the last two.

        Args:
            step: its number, 0 or more.
            tensors: by name.
            facts: JSON values.

        Returns:
            The file.

        Raises:
            OSError: it cannot be written; the ones before stand.
        """
        path = self.folder / f"checkpoint-{self.rank}-{step:09d}.safetensors"
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        write_bytes(path, save(kept, {"step": str(step), "facts": json.dumps(dict(facts))}))
        # The new one stays even where files of a later step, damaged ones, stand before it.
        for old in [file for file in self.paths() if file != path][KEEP - 1 :]:
            old.unlink(missing_ok=True)
        return path

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that can be read; a damaged one is named in a warning.

        Returns:
            The checkpoint; None if there is none.

        Raises:
            ValueError: there are checkpoints and all are damaged.
        """
        paths = self.paths()
        for path in paths:
            try:
                return read(path)
            except ValueError as error:
                warnings.warn(f"{error}; trying the checkpoint before it", stacklevel=2)
        if paths:
            raise ValueError(f"{self.folder}: no checkpoint can be read; start in another folder")
        return None


def read(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Args:
        path: a file that `Checkpoints.save` wrote.

    Returns:
        The checkpoint, on the CPU.

    Raises:
        ValueError: it is damaged, no checkpoint, or too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(meta["facts"])
        if not isinstance(facts, dict):
            raise ValueError("its facts are no JSON object")
        return Checkpoint(int(meta["step"]), tensors, facts)
    except (SafetensorError, KeyError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path}: damaged checkpoint ({error})") from None


def pack(networks: nn.Module, optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Weights, buffers and moments as tensors by name.

    Args:
        networks: all that is trained.
        optimisers: by name.

    Returns:
        The tensors; they are those of the networks, not copies.
    """
    tensors = {f"network.{name}": weight for name, weight in networks.state_dict().items()}
    for which, optimiser in optimisers.items():
        for index, moments in optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimiser.{which}.{index}.{name}"] = torch.as_tensor(value)
    return tensors


def unpack(
    tensors: Mapping[str, Tensor],
    networks: nn.Module,
    optimisers: Mapping[str, torch.optim.Optimizer],
) -> None:
    """Restore what `pack` gave.

    Args:
        tensors: more than those is fine.
        networks: of the same shapes.
        optimisers: of the same parameters.

    Raises:
        ValueError: another network or optimiser (names the weight); what was restored until then
            is spoiled.
    """
    weights = under(tensors, "network.")
    try:
        networks.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"the checkpoint is of another network: {error}") from None
    for which, optimiser in optimisers.items():
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
        for key, value in under(tensors, f"optimiser.{which}.").items():
            index, name = key.split(".", 1)
            known = index.isdecimal() and int(index) < len(parameters)
            # A count of steps has no axes, a moment has those of its parameter.
            if not known or (value.dim() and value.shape != parameters[int(index)].shape):
                raise ValueError(f"the checkpoint is of another optimiser: {which}.{key}")
            if value.dim():
                # Fused optimisers walk through memory, so moments must lie as their weights do.
                value = torch.empty_like(parameters[int(index)], dtype=value.dtype).copy_(value)
            state.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def same_settings(then: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuse to go on with other settings than a run was begun with.

    Args:
        then: settings in the checkpoint.
        now: settings asked for.
        where: named in the error.

    Raises:
        ValueError: names the first field that differs.
    """
    for name, value in now.items():
        if then.get(name) != value:
            raise ValueError(
                f"{where}: was begun with {name}={then.get(name)!r}, now {value!r}; "
                "use the same settings or another folder"
            )
