"""Training in several processes: two of them over gloo on this machine, and one alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import neuralpaint
from neuralpaint.backend.distributed import Group, start, stop

ROOT = Path(neuralpaint.__file__).parents[1]

SCRIPT = """
import json
import sys
from pathlib import Path

import torch
from torch import nn

from neuralpaint.backend.distributed import start, stop

group = start(torch.device("cpu"))
torch.manual_seed(group.rank)  # different weights in each process
network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 1))
network.to(memory_format=torch.channels_last)
network[1].running_mean += group.rank + 1
first = [weight.flatten().tolist() for weight in network.state_dict().values()]
group.broadcast(network)
weights = [weight.flatten().tolist() for weight in network.state_dict().values()]

tensors = [torch.tensor([[1.0, 2.0]]) * (1 + group.rank), torch.tensor(8.0) * group.rank]
group.average(tensors)
group.average([])

network.eval()  # batch statistics are each process's own
data = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(9))
parameters = list(network.parameters())
whole = torch.autograd.grad(network(data).square().mean(), parameters)
half = data[2 * group.rank : 2 * group.rank + 2]
part = torch.autograd.grad(network(half).square().mean(), parameters)
apart = max(float((a - b).abs().max()) for a, b in zip(whole, part))
group.average(part)
together = max(float((a - b).abs().max()) for a, b in zip(whole, part))

group.wait()
facts = {
    "rank": group.rank,
    "size": group.size,
    "leads": group.leads,
    "first": first,
    "weights": weights,
    "averages": [tensor.tolist() for tensor in tensors],
    "apart": apart,
    "together": together,
}
Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(facts))
stop()
"""


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the two processes found, by rank."""
    folder = tmp_path_factory.mktemp("two")
    script = folder / "script.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc_per_node", "2", str(script), str(folder)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_ranks_and_leader(facts: list[dict[str, Any]]) -> None:
    assert [each["rank"] for each in facts] == [0, 1]
    assert [each["size"] for each in facts] == [2, 2]
    assert [each["leads"] for each in facts] == [True, False]


def test_broadcast_gives_all_the_weights_of_the_first(facts: list[dict[str, Any]]) -> None:
    first, second = facts
    assert first["first"] != second["first"]
    assert first["weights"] == first["first"]
    assert second["weights"] == first["first"]


def test_average_is_the_mean(facts: list[dict[str, Any]]) -> None:
    for each in facts:  # (1 + 2) / 2 = 1.5 and (0 + 8) / 2
        assert each["averages"] == [[[1.5, 3.0]], 4.0]


def test_the_mean_gradient_of_halves_is_that_of_the_whole(facts: list[dict[str, Any]]) -> None:
    for each in facts:
        assert each["apart"] > 1e-3
        assert each["together"] < 1e-6


def test_one_process_has_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = start(torch.device("cpu"))
    assert not dist.is_initialized()
    assert (group.rank, group.size, group.leads) == (0, 1, True)
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    tensor = torch.tensor([1.0, 2.0])
    group.broadcast(network)
    group.average([tensor])
    group.wait()
    stop()
    assert torch.equal(network.weight, before)
    assert tensor.tolist() == [1, 2]
    assert Group().size == 1
