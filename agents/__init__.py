"""Painters: training-free optimisation, the trained agent, and both together."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ddpg import ModelBasedDDPG

__all__ = ["ModelBasedDDPG"]


def __getattr__(name: str) -> Any:
    # Stable-Baselines3 is an extra, and loading it takes a second: only for those who train.
    if name == "ModelBasedDDPG":
        from .ddpg import ModelBasedDDPG

        return ModelBasedDDPG
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
