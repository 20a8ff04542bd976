"""What is remembered of networks, and when it must not be."""

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.envs.recent import KEPT, Recent


class Asked:
    """A frozen network whose calls are counted."""

    def __init__(self) -> None:
        self.recent = Recent()
        self.network: nn.Module = nn.Linear(2, 1).eval().requires_grad_(False)
        self.calls = 0

    def __call__(self, value: Tensor, size: tuple[int, ...] = ()) -> Tensor:
        def compute() -> Tensor:
            self.calls += 1
            result: Tensor = self.network(value)
            return result

        return self.recent.get(self.network, compute, value, size=size)


@pytest.fixture
def asked() -> Asked:
    torch.manual_seed(0)
    return Asked()


def test_the_same_tensor_is_remembered(asked: Asked) -> None:
    value = torch.ones(3, 2)
    assert asked(value) is asked(value)
    assert asked.calls == 1
    asked(value.clone())  # equal, but it might be anything
    assert asked.calls == 2


def test_only_the_last_are_kept(asked: Asked) -> None:
    values = [torch.full((1, 2), float(number)) for number in range(KEPT + 1)]
    for value in values:
        asked(value)
    asked(values[-1])
    assert asked.calls == KEPT + 1
    asked(values[0])
    assert asked.calls == KEPT + 2


def test_changes_in_place_are_noticed(asked: Asked) -> None:
    value = torch.ones(3, 2)
    asked(value)
    value[1] = 5
    assert asked(value).equal(asked.network(value))
    assert asked.calls == 2


def test_changed_weights_are_noticed(asked: Asked) -> None:
    value = torch.ones(3, 2)
    asked(value)
    asked.network.requires_grad_(True)
    optimiser = torch.optim.Adam(asked.network.parameters())
    asked.network(value).sum().backward()
    optimiser.step()
    asked.network.requires_grad_(False)
    assert asked(value).equal(asked.network(value))
    with torch.no_grad():
        for parameter in asked.network.parameters():
            parameter.lerp_(torch.zeros_like(parameter), 0.5)
    assert asked(value).equal(asked.network(value))
    asked.network.load_state_dict(nn.Linear(2, 1).state_dict())
    assert asked(value).equal(asked.network(value))


def test_sizes_are_told_apart(asked: Asked) -> None:
    value = torch.ones(3, 2)
    asked(value, size=(1, 2))
    asked(value, size=(2, 1))
    assert asked.calls == 2


def test_networks_in_training_are_always_asked(asked: Asked) -> None:
    value = torch.ones(3, 2)
    asked.network.train()
    asked(value), asked(value)
    asked.network.eval().requires_grad_(True)
    assert asked(value).requires_grad
    asked(value)
    assert asked.calls == 4


def test_functions_are_always_asked() -> None:
    recent, value, calls = Recent(), torch.ones(1), []

    def compute() -> Tensor:
        calls.append(1)
        return value

    for _ in range(2):
        recent.get(compute, compute, value)
    assert len(calls) == 2


def test_gradients_are_followed_and_none_is_kept(asked: Asked) -> None:
    value = torch.ones(3, 2, requires_grad=True)
    with torch.no_grad():
        assert not asked(value).requires_grad
    assert asked(value).requires_grad
    assert asked.calls == 2
    plain = torch.ones(3, 2)
    assert not asked(plain).requires_grad
    assert all(not known.result.requires_grad for known in asked.recent._known)


def test_autocast_is_told_apart(asked: Asked) -> None:
    value = torch.ones(3, 2)
    exact = asked(value)
    with torch.autocast("cpu", torch.bfloat16):
        assert asked(value).dtype == torch.bfloat16
    assert asked(value) is exact


def test_inference_tensors_cannot_be_watched_and_are_not_kept(asked: Asked) -> None:
    with torch.inference_mode():
        value = torch.ones(3, 2)
        asked(value), asked(value)
    assert asked.calls == 2


def test_inputs_are_not_kept_alive(asked: Asked) -> None:
    value = torch.ones(3, 2)
    asked(value)
    alive = weakref.ref(value)
    del value
    gc.collect()
    assert alive() is None
    # A tensor that comes to lie where the old one lay is another one.
    for number in range(5):
        other = torch.full((3, 2), float(number))
        assert asked(other).equal(asked.network(other))


def test_copies_know_nothing(asked: Asked) -> None:
    asked(torch.ones(3, 2))
    again = copy.deepcopy(asked.recent)
    assert not again._known
    assert again._known.maxlen == KEPT
