"""What every test shares: the device under test, one thread per process, repeatable examples."""

import os

# Read when OpenMP starts, so set before torch is imported: worker processes that spin while they
# wait for each other are several times slower than one thread each.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device of the `device` fixture, as cuda:0")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device to test on; draw random numbers on the CPU and move them."""
    return torch.device(request.config.getoption("--device"))
