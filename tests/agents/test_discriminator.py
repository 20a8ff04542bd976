import math

import pytest
import torch
from torch import Tensor

from neuralpaint.agents.discriminator import Discriminator, discriminator_loss, gradient_penalty


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=seeded(seed))


def small(seed: int = 0) -> Discriminator:
    torch.manual_seed(seed)
    return Discriminator(4)


def linear(canvas: Tensor, target: Tensor) -> Tensor:
    """Gradient (1, 2, 2) in the one pixel of the canvas, (4, 0, 0) in that of the target."""
    weights = torch.tensor([1.0, 2.0, 2.0]).view(3, 1, 1)
    return (weights * canvas).sum((1, 2, 3)) + 4 * target[:, 0].sum((1, 2))


def test_parameters_of_the_published_size() -> None:
    filters = 5 * 5 * (6 * 16 + 16 * 32 + 32 * 64 + 64 * 128 + 128)
    lengths = biases = 16 + 32 + 64 + 128 + 1
    count = sum(weight.numel() for weight in Discriminator().parameters())
    assert count == filters + lengths + biases + 4
    assert round(count / 1e6, 2) == 0.27


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 80), (37, 101), (1, 1)])
def test_shapes(size: tuple[int, int]) -> None:
    scores = small()(draw(2, 3, *size), draw(2, 3, *size, seed=1))
    assert scores.shape == (2,)
    assert scores.isfinite().all()


def test_canvas_and_target_are_told_apart() -> None:
    a, b = draw(2, 3, 32, 32), draw(2, 3, 32, 32, seed=1)
    assert not torch.allclose(small()(a, b), small()(b, a), atol=1e-5)


def test_pairs_together_and_alone_give_the_same() -> None:
    d, canvas, target = small(), draw(5, 3, 40, 40), draw(5, 3, 40, 40, seed=1)
    alone = torch.cat([d(c[None], t[None]) for c, t in zip(canvas, target, strict=True)])
    torch.testing.assert_close(d(canvas, target), alone, atol=1e-6, rtol=1e-5)


def test_same_seed_same_network_and_same_numbers() -> None:
    canvas, target = draw(2, 3, 32, 32), draw(2, 3, 32, 32, seed=1)
    assert torch.equal(small()(canvas, target), small()(canvas, target))
    losses = [discriminator_loss(small(), canvas, target, seeded(i)).loss for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


# --- the loss ---


def test_penalty_of_a_linear_score_by_hand() -> None:
    """Its gradient has length sqrt(1 + 4 + 4 + 16) = 5 everywhere, so (5 - 1)^2 = 16."""
    pairs = [(draw(3, 3, 1, 1, seed=i), draw(3, 3, 1, 1, seed=i + 1)) for i in (0, 2)]
    penalty = gradient_penalty(linear, pairs[0], pairs[1], seeded())
    torch.testing.assert_close(penalty.item(), 16.0)


def test_penalty_is_taken_between_the_pairs() -> None:
    """The gradient of c^2 / 2 at s * 1 + (1 - s) * 0 on three numbers has length s * sqrt(3)."""

    def quadratic(canvas: Tensor, target: Tensor) -> Tensor:
        return canvas.square().sum((1, 2, 3)) / 2 + 0 * target.sum((1, 2, 3))

    one, zero = torch.ones(4, 3, 1, 1), torch.zeros(4, 3, 1, 1)
    shares = draw(4, 1, 1, 1).flatten().tolist()
    expected = sum((s * math.sqrt(3) - 1) ** 2 for s in shares) / 4
    penalty = gradient_penalty(quadratic, (one, one), (zero, one), seeded())
    torch.testing.assert_close(penalty.item(), expected)


def test_penalty_of_a_flat_score_is_one_and_pulls_nowhere() -> None:
    slope = torch.zeros((), requires_grad=True)
    images = draw(2, 3, 4, 4)
    pair = (images, images)
    penalty = gradient_penalty(lambda c, t: slope * (c + t).sum((1, 2, 3)), pair, pair, seeded())
    penalty.backward()
    assert penalty.item() == 1
    assert slope.grad is not None
    assert slope.grad.isfinite()


def test_loss_by_hand() -> None:
    """Canvas 0 and target 1: real 1 + 2 + 2 + 4 = 9, painted 4, so -(9 - 4) + 10 * 16 = 155."""
    canvas, target = torch.zeros(2, 3, 1, 1, requires_grad=True), torch.ones(2, 3, 1, 1)
    loss, distance, penalty = discriminator_loss(linear, canvas, target, seeded())
    torch.testing.assert_close(distance.item(), 5.0)
    torch.testing.assert_close(penalty.item(), 16.0)
    torch.testing.assert_close(loss.item(), 155.0)
    half = discriminator_loss(linear, canvas, target, seeded(), weight=5)
    torch.testing.assert_close(half.loss.item(), 75.0)


def test_the_loss_reaches_every_parameter_but_not_the_canvas() -> None:
    d, canvas = small(), draw(2, 3, 64, 64).requires_grad_()
    # The last bias shifts real and painted scores alike; it has no use, and no gradient.
    discriminator_loss(d, canvas, draw(2, 3, 64, 64, seed=1), seeded()).loss.backward()
    dead = {name for name, w in d.named_parameters() if w.grad is None or not w.grad.any()}
    assert dead == {"layers.8.bias"}
    assert canvas.grad is None


def test_it_learns_to_tell_blurred_canvases_from_targets() -> None:
    d, target = small(), draw(8, 3, 32, 32)
    canvas = torch.nn.functional.avg_pool2d(target, 5, 1, 2)
    optimiser = torch.optim.Adam(d.parameters(), 3e-3, (0.0, 0.9))
    generator = seeded()
    for _ in range(40):
        optimiser.zero_grad()
        discriminator_loss(d, canvas, target, generator).loss.backward()
        optimiser.step()
    held_out = draw(8, 3, 32, 32, seed=9)
    canvas = torch.nn.functional.avg_pool2d(held_out, 5, 1, 2)
    assert (d(held_out, held_out) > d(canvas, held_out)).all()


def test_bfloat16_keeps_the_weights_and_the_output_in_float32() -> None:
    d, canvas, target = small(), draw(3, 3, 64, 64), draw(3, 3, 64, 64, seed=1)
    exact = discriminator_loss(d, canvas, target, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        scores = d(canvas, target)
        loss = discriminator_loss(d, canvas, target, seeded())
    loss.loss.backward()
    assert scores.dtype == loss.loss.dtype == torch.float32
    assert {weight.dtype for weight in d.parameters()} == {torch.float32}
    assert 0 < (scores - d(canvas, target)).abs().max() < 0.02
    torch.testing.assert_close(loss.penalty, exact.penalty, atol=0.05, rtol=0.05)
