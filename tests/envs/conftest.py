"""What the tests of the environments share."""

import pytest
import torch

from neuralpaint.agents import attention
from neuralpaint.envs import REGISTRATIONS


@pytest.fixture(params=[entry.id for entry in REGISTRATIONS])
def env_id(request: pytest.FixtureRequest) -> str:
    """Every registered environment, one after the other."""
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained weights stand in for those of the attention module, which are not needed here."""

    def load_attention() -> attention.Attention:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = attention.build_attention("small")
        return module.eval().requires_grad_(False)

    monkeypatch.setattr(attention, "load_attention", load_attention)
