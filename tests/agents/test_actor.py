import pytest
import torch
from torch import Tensor

from neuralpaint.agents.actor import Actor


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small(seed: int = 0) -> Actor:
    torch.manual_seed(seed)
    return Actor(12, 65, 8)


def trained() -> Actor:
    """Evaluation mode, with statistics of a batch in place of the initial ones."""
    actor = small()
    actor(draw(4, 12, 32, 32))
    return actor.eval()


def test_parameters_of_the_published_size() -> None:
    resnet_18 = 11_689_512 - (512 * 1000 + 1000)  # without its classifier
    stem = 9 * 64 * 3 * 3 - 3 * 64 * 7 * 7
    stride = 64 * 64 + 2 * 64  # the first stage halves the sides, so its shortcut convolves
    count = sum(weight.numel() for weight in Actor(9, 65).parameters())
    assert count == resnet_18 + stem + stride + (512 * 65 + 65)
    assert round(count / 1e6, 1) == 11.2


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 80), (37, 101), (1, 1)])
def test_shapes_and_range(size: tuple[int, int]) -> None:
    actions = trained()(draw(2, 12, *size))
    assert actions.shape == (2, 65)
    assert ((actions > 0) & (actions < 1)).all()


def test_states_together_and_alone_give_the_same() -> None:
    actor, states = trained(), draw(5, 12, 40, 40)
    together = actor(states)
    alone = torch.cat([actor(state[None]) for state in states])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-6)


def test_same_seed_same_network_and_same_numbers() -> None:
    states = draw(3, 12, 32, 32)
    assert torch.equal(small()(states), small()(states))
    assert not torch.equal(small()(states), small(1)(states))


def test_the_gradient_reaches_every_parameter_and_the_state() -> None:
    actor, states = small(), draw(3, 12, 64, 64).requires_grad_()
    actor(states).square().sum().backward()
    dead = [name for name, w in actor.named_parameters() if w.grad is None or not w.grad.any()]
    assert dead == []
    assert states.grad is not None
    assert states.grad.flatten(2).any(2).all()  # every channel of every state


def test_bfloat16_keeps_the_weights_and_the_output_in_float32() -> None:
    actor, states = trained(), draw(3, 12, 64, 64)
    exact = actor(states)
    with torch.autocast("cpu", torch.bfloat16):
        actions = actor(states)
    actions.sum().backward()
    assert actions.dtype == torch.float32
    assert {weight.dtype for weight in actor.parameters()} == {torch.float32}
    assert 0 < (actions - exact).abs().max() < 0.02
