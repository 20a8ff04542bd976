"""Layers of the zoo against plain PyTorch, loops and hand-made cases."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuralpaint.zoo.layers import BatchNorm, Conv, Up, enlarged, follow, initialise, shifted, tiled


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 5, 3)])
def test_batch_norm_is_pytorchs_in_one_process(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.randn(shape) * 3 + 1
    ours = BatchNorm(4)
    theirs: nn.Module = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    theirs.load_state_dict(ours.state_dict())  # standard names
    for training in (True, False):
        ours.train(training)
        theirs.train(training)
        assert torch.equal(ours(values), theirs(values))
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_batch_norm_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match="batch norm needs"):
        BatchNorm(3)(torch.zeros(3))


def test_up_doubles_and_conv_divides() -> None:
    values = torch.randn(2, 8, 6, 6)
    assert Up(8, 5)(values).shape == (2, 5, 12, 12)
    assert Conv(8, 5)(values).shape == (2, 5, 6, 6)
    assert Conv(8, 5, 3, 2)(values).shape == (2, 5, 3, 3)
    assert Conv(8, 5, 4, 2)(values).shape == (2, 5, 3, 3)


def test_initial_weights_are_orthogonal() -> None:
    torch.manual_seed(1)
    linear, norm = nn.Linear(8, 4), BatchNorm(4)
    initialise(nn.Sequential(linear, norm))
    assert torch.allclose(linear.weight @ linear.weight.T, torch.eye(4), atol=1e-5)
    assert not linear.bias.any()
    scale = norm.state_dict()["weight"]
    assert 0.8 < scale.min() < scale.max() < 1.2


def test_the_average_follows_weights_and_statistics() -> None:
    average = BatchNorm(2)
    network = copy.deepcopy(average)
    with torch.no_grad():
        state = network.state_dict()
        state["weight"] += 1
        state["running_mean"] += torch.tensor([10.0, 20.0])
        state["num_batches_tracked"] += 7
    follow(average, network, 0.9)
    assert torch.allclose(average.weight, torch.tensor([1.1, 1.1]))
    assert torch.allclose(average.state_dict()["running_mean"], torch.tensor([1.0, 2.0]))
    assert average.num_batches_tracked == 7
    follow(average, network, 0.0)
    assert torch.equal(average.weight, network.weight)


@settings(max_examples=30)
@given(side=st.integers(1, 6), data=st.data())
def test_shifts_are_those_of_a_loop(side: int, data: st.DataObject) -> None:
    reach = st.integers(-side + 1, side - 1)
    offsets = torch.tensor([[data.draw(reach), data.draw(reach)] for _ in range(3)])
    images = torch.arange(3.0 * 2 * side * side).view(3, 2, side, side) + 1
    expected = torch.zeros_like(images)
    for i, (right, down) in enumerate(offsets.tolist()):
        for row in range(side):
            for column in range(side):
                if 0 <= row + down < side and 0 <= column + right < side:
                    expected[i, :, row + down, column + right] = images[i, :, row, column]
    assert torch.equal(shifted(images, offsets), expected)


def test_shifts_are_differentiable() -> None:
    images = torch.ones(1, 1, 2, 2, requires_grad=True)
    shifted(images, torch.tensor([[1, 0]])).sum().backward()
    assert images.grad is not None
    assert images.grad[0, 0].tolist() == [[1, 0], [1, 0]]  # the right column left the picture


def test_tiled_and_enlarged() -> None:
    assert tiled(torch.tensor([[3.0, 4.0]]), (1, 2))[0].tolist() == [[[3, 3]], [[4, 4]]]
    small = torch.tensor([[[[1.0, 2.0]]]])
    assert enlarged(small)[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
