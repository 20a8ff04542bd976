import pytest
import torch
from torch import Tensor, nn

from neuralpaint.agents.critic import Critic, TReLU, normed_conv


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small(seed: int = 0) -> Critic:
    torch.manual_seed(seed)
    return Critic(12, 8)


def test_trelu_by_hand() -> None:
    """Below a threshold of 0.5 the output is 0.5 and moves with the threshold alone."""
    act = TReLU()
    x = torch.tensor([-1.0, 0.25, 1.0, 3.0], requires_grad=True)
    assert act(x).tolist() == [0, 0.25, 1, 3]
    nn.init.constant_(act.threshold, 0.5)
    y = act(x)
    assert y.tolist() == [0.5, 0.5, 1, 3]
    y.sum().backward()
    assert x.grad is not None
    assert act.threshold.grad is not None
    assert x.grad.tolist() == [0, 0, 1, 1]
    assert act.threshold.grad.item() == 2


def test_weight_norm_by_hand() -> None:
    """The filter (3, 4) has length 5; at length 10 its output doubles, whatever is said of v."""
    conv = normed_conv(2, 1, 1, 1)
    with torch.no_grad():
        conv.get_parameter("parametrizations.weight.original1").copy_(
            torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
        )
        conv.get_parameter("parametrizations.weight.original0").fill_(10)
        conv.get_parameter("bias").fill_(0.5)
    torch.testing.assert_close(conv(torch.ones(1, 2, 1, 1)).item(), 6 + 8 + 0.5)


def test_parameters_of_the_published_size() -> None:
    resnet_18 = 11_689_512 - (512 * 1000 + 1000)  # without its classifier
    stem = 9 * 64 * 3 * 3 - 3 * 64 * 7 * 7
    stride = 64 * 64 + 2 * 64  # the first stage halves the sides, so its shortcut convolves
    thresholds = 17
    # Length and bias of each filter take the place of batch norm's scale and shift.
    count = sum(weight.numel() for weight in Critic(9).parameters())
    assert count == resnet_18 + stem + stride + thresholds + (512 + 1)
    assert round(count / 1e6, 1) == 11.2


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 80), (37, 101), (1, 1)])
@pytest.mark.parametrize("inputs", [9, 12])
def test_shapes(size: tuple[int, int], inputs: int) -> None:
    values = Critic(inputs, 8)(draw(2, inputs, *size))
    assert values.shape == (2,)
    assert values.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_states_together_and_alone_give_the_same(training: bool) -> None:
    critic, states = small().train(training), draw(5, 12, 40, 40)
    alone = torch.cat([critic(state[None]) for state in states])
    torch.testing.assert_close(critic(states), alone, atol=1e-6, rtol=1e-5)
    assert (alone[0] - alone[1]).abs() > 1e-6


def test_same_seed_same_network_and_same_numbers() -> None:
    states = draw(3, 12, 32, 32)
    assert torch.equal(small()(states), small()(states))
    assert not torch.equal(small()(states), small(1)(states))


def test_the_gradient_reaches_every_parameter_and_the_state() -> None:
    critic, states = small(), draw(3, 12, 64, 64).requires_grad_()
    critic(states).square().sum().backward()
    dead = [name for name, w in critic.named_parameters() if w.grad is None or not w.grad.any()]
    assert dead == []
    assert states.grad is not None
    assert states.grad.flatten(2).any(2).all()


def test_it_learns_the_values_of_a_few_states() -> None:
    critic, states = small(), draw(4, 12, 16, 16)
    truth = torch.tensor([1.0, -1.0, 0.5, 0.0])
    optimiser = torch.optim.Adam(critic.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        loss = (critic(states) - truth).square().mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.2 * truth.var(correction=0)


def test_bfloat16_keeps_the_weights_and_the_output_in_float32() -> None:
    critic, states = small(), draw(3, 12, 64, 64)
    exact = critic(states)
    with torch.autocast("cpu", torch.bfloat16):
        values = critic(states)
    values.sum().backward()
    assert values.dtype == torch.float32
    assert {weight.dtype for weight in critic.parameters()} == {torch.float32}
    assert 0 < (values - exact).abs().max() < 0.02
