"""What the tests of the environments share."""

import pytest

from neuralpaint.envs import REGISTRATIONS


@pytest.fixture(params=[entry.id for entry in REGISTRATIONS])
def env_id(request: pytest.FixtureRequest) -> str:
    """Every registered environment, one after the other."""
    name: str = request.param
    return name
