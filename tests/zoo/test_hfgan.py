"""HfGAN's networks: shapes of every stage, attention by hand, fusion as in Eq 3.9."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.zoo.hfgan import (
    SIZES,
    ConditioningAugmentation,
    DenseBlock,
    Discriminator,
    Generator,
    HfGanConfig,
    WordAttention,
)
from neuralpaint.zoo.layers import enlarged


def small(size: int = 64, **more: Any) -> HfGanConfig:
    return HfGanConfig(size=size, ng=4, nd=4, z=5, condition=6, dim=8, growth=3, **more)


def inputs(config: HfGanConfig, count: int = 2, words: int = 4) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(0)
    mask = torch.arange(words) < torch.arange(words, words - count, -1)[:, None]
    return (
        torch.randn(count, config.z, generator=draws),
        torch.randn(count, config.dim, generator=draws),
        torch.randn(count, config.dim, words, generator=draws),
        mask,
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fusion", ["proj", "identity"])
def test_shapes_of_all_stages(size: int, fusion: str) -> None:
    config = small(size, fusion=fusion)
    output = Generator(config)(*inputs(config))
    assert output.images.shape == (2, 3, size, size)
    assert output.images.abs().max() <= 1
    sides = {"F1": size // 4, "F2": size // 2, "F2f": size // 2, "F3": size, "F3f": size}
    found = {name: tuple(values.shape) for name, values in output.features.items()}
    assert found == {name: (2, 4, side, side) for name, side in sides.items()}
    first, second = output.attention
    assert first.shape == (2, 4, size // 4, size // 4)
    assert second.shape == (2, 4, size // 2, size // 2)
    discriminator = Discriminator(config)
    features = discriminator(output.images)
    assert features.shape == (2, 8 * config.nd, 4, 4)
    assert discriminator.realness(features).shape == (2,)
    assert discriminator.match(features, output.condition.mean).shape == (2,)


def test_the_thesis_size() -> None:
    """4 x 4 x 16 N_g, 32 N_d, and the number of weights of the trial of the readings."""
    generator, discriminator = Generator(HfGanConfig()), Discriminator(HfGanConfig())
    assert generator.first == 16 * 32
    assert 7.0e6 < sum(p.numel() for p in generator.parameters()) < 7.2e6
    widths = [m.out_channels for m in discriminator.features.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [64, 128, 256, 512, 1024, 2048, 1024, 512]


def test_global_fusion_is_equation_3_9() -> None:
    config = small()
    generator = Generator(config).eval()
    output = generator(*inputs(config))
    f1, f2, f3 = (output.features[name] for name in ("F1", "F2", "F3"))

    def sup1(values: Tensor) -> Tensor:
        return nn.functional.conv2d(enlarged(values), generator.sup1.weight)

    def sup2(values: Tensor) -> Tensor:
        return nn.functional.conv2d(enlarged(values), generator.sup2.weight)

    assert torch.allclose(output.features["F2f"], f2 + sup1(f1), atol=1e-5)
    expected = f3 + sup2(sup1(f1)) + sup2(f2)  # as printed
    assert torch.allclose(output.features["F3f"], expected, atol=1e-4)


def test_dense_block_keeps_what_it_knows() -> None:
    block = DenseBlock(2, 3, None)
    convolutions = [m for m in block.layers.modules() if isinstance(m, nn.Conv2d)]
    assert [layer.in_channels for layer in convolutions] == [2, 5, 8, 11]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    values = torch.randn(1, 2, 4, 4)
    assert torch.equal(block(values), values)  # H_dense is 0, so F + 0
    assert DenseBlock(2, 3, 7)(values).shape == (1, 7, 4, 4)


def test_word_attention_by_hand() -> None:
    attention = WordAttention(2, 2)
    with torch.no_grad():
        attention.project.weight.copy_(torch.eye(2)[:, :, None])
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, 0.0]]]])  # two pixels: (1, 0) and (0, 0)
    words = torch.tensor([[[2.0, 0.0, 50.0], [0.0, 4.0, 50.0]]])  # (2, 0), (0, 4), and padding
    context, weights = attention(features, words, torch.tensor([[True, True, False]]))
    share = torch.tensor([2.0, 0.0]).softmax(0)  # pixel 0: scores 2 and 0; pixel 1: 0 and 0
    assert torch.allclose(weights[0, :, 0, 0], torch.tensor([*share, 0]))
    assert torch.allclose(weights[0, :, 0, 1], torch.tensor([0.5, 0.5, 0]))
    assert torch.allclose(context[0, :, 0, 0], torch.stack([2 * share[0], 4 * share[1]]))
    assert torch.allclose(context[0, :, 0, 1], torch.tensor([1.0, 2.0]))


def test_attention_sums_to_one_over_the_words_that_are_there() -> None:
    config = small()
    mask = inputs(config)[3]
    for weights in Generator(config)(*inputs(config)).attention:
        assert torch.allclose(weights.sum(1), torch.ones(()), atol=1e-5)
        assert not weights[~mask].any()


def test_padding_has_no_influence() -> None:
    config = small()
    generator = Generator(config).eval()
    noise, sentence, words, mask = inputs(config)
    longer = torch.cat([words, torch.full((2, config.dim, 3), 9.0)], 2)
    padded = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
    with torch.no_grad():
        plain = generator(noise, sentence, words, mask).images
        assert torch.allclose(plain, generator(noise, sentence, longer, padded).images, atol=1e-6)


def test_conditioning_augmentation_draws_from_its_gaussian() -> None:
    augment = ConditioningAugmentation(4, 3)
    sentence = torch.randn(5, 4)
    mean = augment(sentence)
    assert torch.equal(mean.vector, mean.mean)
    draw = torch.randn(5, 3)
    drawn = augment(sentence, draw)
    expected = drawn.mean + draw * torch.exp(drawn.log_variance / 2)
    assert torch.allclose(drawn.vector, expected)
    assert mean.mean.shape == mean.log_variance.shape == (5, 3)


def test_same_sentence_other_noise_other_image() -> None:
    config = small()
    generator = Generator(config).eval()
    noise, sentence, words, mask = (
        values[:1].expand(2, *values.shape[1:]) for values in inputs(config)
    )
    with torch.no_grad():
        same = generator(noise, sentence, words, mask).images
        other = generator(torch.randn(2, config.z), sentence, words, mask).images
    assert torch.allclose(same[0], same[1], atol=1e-6)
    assert (other[0] - other[1]).abs().max() > 1e-3


def test_the_match_hangs_on_the_condition() -> None:
    discriminator = Discriminator(small())
    features = discriminator(torch.randn(4, 3, 64, 64))
    one, two = (discriminator.match(features, torch.randn(4, 6)) for _ in range(2))
    assert not torch.allclose(one, two)


def test_configuration_survives_json() -> None:
    config = small(128, fusion="identity", vocabulary=("red", "bird"))
    assert HfGanConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"size": 100}, "size must be 64, 128 or 256"),
        ({"ng": 0}, "ng must be an integer from 1"),
        ({"ng": "32"}, "ng must be an integer"),
        ({"z": 10**6}, "z must be an integer"),
        ({"dim": 7}, "dim must be even"),
        ({"fusion": "sum"}, "fusion must be proj or identity"),
        ({"vocabulary": "red bird"}, "vocabulary must be a list"),
        ({"vocabulary": [1]}, "vocabulary must be"),
        ({"colour": 1}, "unknown field 'colour'"),
    ],
)
def test_bad_configurations(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        HfGanConfig.from_json(values)
