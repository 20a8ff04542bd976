"""LDcGAN's networks: shapes of every stage, Eq 4.2-4.4 by hand, landmarks, files."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo.ages import age_code
from neuralpaint.zoo.face_judges import (
    KINDS,
    AgeClassifier,
    AgeRegressor,
    IdentityFeatures,
    load_judge,
    save_judge,
)
from neuralpaint.zoo.ldcgan import (
    Discriminator,
    Generator,
    LandmarkAttention,
    LandmarkPredictor,
    LdcGanConfig,
    build,
    load_ldcgan,
)
from neuralpaint.zoo.ldcgan_parts import (
    MIRROR,
    group_shapes,
    load_predictor,
    mirrored,
    moved_shapes,
    save_predictor,
    scaled,
)

TINY = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=8, judge=2)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def faces(config: LdcGanConfig, count: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images = draws(count, 3, config.size, config.size) * 2 - 1
    code = age_code(torch.arange(count) % 10)
    return images, code, draws(count, 136, seed=1), draws(count, 136, seed=2)


# --- configuration -------------------------------------------------------------------------------


def test_configuration_as_json() -> None:
    config = LdcGanConfig.of("small", blocks=2)
    assert LdcGanConfig.from_json(config.to_json()) == config
    assert config.ni < LdcGanConfig.of("thesis").ni == 16


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"size": 100}, "size must be 64 or 128"),
        ({"ni": 0}, "ni must be an integer"),
        ({"blocks": 10**9}, "blocks must be an integer"),
        ({"nd": 2.0}, "nd must be an integer"),
        ({"judge": True}, "judge must be an integer"),
        ({"layers": 3}, "unknown field 'layers'"),
    ],
)
def test_bad_configurations(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LdcGanConfig.from_json(values)


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match="thesis or small"):
        LdcGanConfig.of("huge")


# --- networks ------------------------------------------------------------------------------------


def test_the_thesis_size() -> None:
    """Fig 4.4 and Sec 4.4.1 as the readings settle them."""
    config = LdcGanConfig()
    generator: Any = Generator(config).eval()
    assert sum(p.numel() for p in generator.parameters()) == 8_119_492
    shapes = {}

    def note(name: str) -> Any:
        return lambda _layer, _inputs, output: shapes.update({name: tuple(output.shape[1:])})

    for name in ("encode", "deepest", "blocks", "decode", "rest"):
        getattr(generator, name).register_forward_hook(note(name))
    with torch.no_grad():
        output = generator(*faces(config, 1))
        discriminator = Discriminator(config).eval()
        features = discriminator(output.image)
    assert shapes == {
        "encode": (128, 32, 32),
        "deepest": (256, 16, 16),
        "blocks": (256, 16, 16),
        "decode": (128, 32, 32),
        "rest": (32, 128, 128),
    }
    assert output.image.shape == output.colour.shape == (1, 3, 128, 128)
    assert output.change_mask.shape == (1, 1, 128, 128)
    assert len(generator.blocks) == 6
    assert features.shape == (1, 8 * 64, 16, 16)
    assert generator.encode[0][0].in_channels == 3 + 10
    assert generator.decode[0].in_channels == 256 + 10 + 16
    assert discriminator.joint[0].in_channels == 512 + 10
    attention = generator.attention
    first, second = attention(*faces(config, 1)[2:])
    assert first.shape == (1, 16, 16, 16)
    assert second.shape == (1, 128, 32, 32)


def test_equation_4_4() -> None:
    inputs = faces(TINY)
    generator: Any = Generator(TINY).eval()
    image, mask, colour = generator(*inputs)
    assert torch.allclose(image, mask * colour + (1 - mask) * inputs[0], atol=1e-6)
    assert 0 <= mask.min() < mask.max() <= 1
    with torch.no_grad():
        generator.masks.weight[:1] = 0
        generator.masks.bias[:1] = 100  # f_A = 1 keeps the input
    kept = generator(*inputs)
    assert torch.allclose(kept.image, inputs[0], atol=1e-6)
    assert kept.change_mask.max() < 1e-6
    with torch.no_grad():
        generator.masks.bias[:1] = -100
    new = generator(*inputs)
    assert torch.allclose(new.image, new.colour, atol=1e-6)


def test_landmark_attention() -> None:
    """Eq 4.2 is a difference, zero where nothing moves; Eq 4.3 knows which face came first."""
    attention = LandmarkAttention(8, 2).eval()
    source, target = draws(2, 136, seed=1), draws(2, 136, seed=2)
    change, gate = attention(target, source)
    back, gate_back = attention(source, target)
    assert torch.allclose(change, -back, atol=1e-6)
    assert not torch.allclose(gate, gate_back)
    assert 0 <= gate.min() < gate.max() <= 1
    still, _ = attention(source, source)
    assert not still.any()
    hidden = attention.linear(scaled(target))
    by_hand = nn.functional.conv2d(
        (hidden - attention.linear(scaled(source))).view(2, 1, 8, 8),
        attention.conv.weight,
        padding=1,
    )
    assert torch.allclose(change, by_hand, atol=1e-5)


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_the_generator_uses_all_it_is_given(which: int) -> None:
    inputs = [values.clone().requires_grad_() for values in faces(TINY)]
    Generator(TINY)(*inputs).image.square().sum().backward()
    slope = inputs[which].grad
    assert slope is not None
    assert slope.abs().sum() > 0


def test_the_age_code_enters_twice() -> None:
    """At the input, and after the residual blocks."""
    generator: Any = Generator(TINY).eval()
    images, code, target, source = faces(TINY)
    other = code.roll(1, 1)
    with torch.no_grad():
        first = generator(images, code, target, source).image
        generator.encode[0][0].weight[:, 3:] = 0  # the input no longer tells
        late = generator(images, code, target, source).image
        assert not torch.allclose(late, generator(images, other, target, source).image)
        generator.decode[0].weight[32:42] = 0
        deaf = generator(images, code, target, source).image
        assert torch.equal(deaf, generator(images, other, target, source).image)
    assert not torch.allclose(first, late)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_heads_of_the_discriminator(norm: str) -> None:
    images, code, *_ = faces(TINY, 3)
    discriminator = Discriminator(TINY, norm).eval()
    features = discriminator(images)
    real, match = discriminator.realness(features), discriminator.match(features, code)
    assert real.shape == (3, 25)
    assert match.shape == (3, 1)
    assert not torch.allclose(match, discriminator.match(features, code.roll(1, 0)))
    names = {type(layer).__name__ for layer in discriminator.modules()}
    assert ("BatchNorm" in names) == (norm == "batch")


def test_unknown_norm() -> None:
    with pytest.raises(ValueError, match="norm must be"):
        Discriminator(TINY, "instance")


# --- landmarks -----------------------------------------------------------------------------------


def test_the_predictor_begins_with_the_face_as_it_is() -> None:
    images, code, landmarks, _ = faces(TINY)
    predictor = LandmarkPredictor(TINY)
    assert torch.equal(predictor(images, landmarks, code), landmarks)
    with torch.no_grad():
        nn.init.normal_(predictor.decoder[-1].weight)  # type: ignore[arg-type]
    inputs = [values.clone().requires_grad_() for values in (images, landmarks, code)]
    predictor(*inputs).square().sum().backward()
    assert all(values.grad is not None and values.grad.any() for values in inputs)
    assert predictor.latent(landmarks).shape == (2, 8)


def test_mirror() -> None:
    assert sorted(MIRROR) == list(range(68))
    assert [MIRROR[MIRROR[i]] for i in range(68)] == list(range(68))
    # corners of eyes and mouth, middle of the jaw, tip of the nose
    assert [MIRROR[i] for i in (36, 39, 48, 60, 8, 30, 0)] == [45, 42, 54, 64, 8, 30, 16]
    landmarks = draws(2, 136)
    assert torch.allclose(mirrored(mirrored(landmarks)), landmarks, atol=1e-6)
    assert mirrored(landmarks)[0, 0].item() == pytest.approx(1 - landmarks[0, 32].item())


def test_mean_shapes() -> None:
    landmarks, groups = draws(4, 136), torch.tensor([0, 0, 3, 9])
    shapes = group_shapes(landmarks, groups)
    assert torch.allclose(shapes[0], landmarks[:2].mean(0), atol=1e-6)
    assert torch.allclose(shapes[3], landmarks[2])
    assert shapes[1].isnan().all()


def similar(landmarks: Tensor, zoom: float, angle: float, x: float, y: float) -> Tensor:
    points = landmarks.view(-1, 68, 2)
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    turned = points @ torch.tensor([[cos, sin], [-sin, cos]]) + torch.tensor([x, y])
    return turned.reshape(-1, 136)


def test_a_face_moves_as_the_mean_face_does() -> None:
    young, old = draws(1, 136, seed=1), draws(1, 136, seed=2)
    person = similar(young, 0.7, 0.4, 0.1, -0.05)
    moved = moved_shapes(person, young, old)
    # Whoever has the mean shape of the group, turned and zoomed, gets that of the other one.
    expected = similar(old, 0.7, 0.4, 0.1, -0.05)
    assert torch.allclose(moved, expected, atol=1e-5)
    assert torch.equal(moved_shapes(person, young, young), person)


# --- judges and files ----------------------------------------------------------------------------


def test_judges() -> None:
    images = draws(2, 3, 64, 64) * 2 - 1
    assert AgeClassifier(2)(images).shape == (2, 10)
    years = AgeRegressor(2)
    assert years(images).shape == (2,)
    logits = torch.full((2, 117), -100.0)
    logits[0, 30] = logits[0, 32] = logits[1, 5] = 100
    assert years.years(logits).tolist() == pytest.approx([31, 5])
    identity = IdentityFeatures(2)
    assert identity(images).shape == (2, 16, 4, 4)
    assert torch.allclose(identity.embed(images).norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS.values())
def test_judges_come_back(kind: Any, tmp_path: Path) -> None:
    judge = kind(2).eval()
    save_judge(judge, tmp_path / "judge.safetensors")
    again = load_judge(tmp_path / "judge.safetensors", kind)
    images = draws(1, 3, 32, 32)
    assert torch.equal(judge.pooled(images), again.pooled(images))
    assert not any(weight.requires_grad for weight in again.parameters())
    other = next(each for each in KINDS.values() if each is not kind)
    with pytest.raises(ValueError, match=f"judges '{kind.kind}'"):
        load_judge(tmp_path / "judge.safetensors", other)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"kind": "identity"}', '{"kind": "identity", "width": 100000}']
)
def test_files_that_are_no_judges(text: str, tmp_path: Path) -> None:
    path = tmp_path / "judge.safetensors"
    save_weights(IdentityFeatures(2), path, {"judge": text})
    with pytest.raises(ValueError, match="judge of"):
        load_judge(path, IdentityFeatures)


def test_the_predictor_comes_back(tmp_path: Path) -> None:
    predictor = LandmarkPredictor(TINY).eval()
    with torch.no_grad():
        nn.init.normal_(predictor.decoder[-1].weight)  # type: ignore[arg-type]
    save_predictor(predictor, tmp_path / "landmarks.safetensors")
    again = load_predictor(tmp_path / "landmarks.safetensors")
    images, code, landmarks, _ = faces(TINY)
    assert torch.equal(again(images, landmarks, code), predictor(images, landmarks, code))
    assert again.config == TINY


def test_the_model_comes_back(tmp_path: Path) -> None:
    networks = build(TINY).eval()
    path = tmp_path / "best.safetensors"
    save_weights(networks, path, {"config": '{"size": 64, "ni": 2, "nd": 2, "blocks": 1, '
                                            '"latent": 8, "judge": 2}'})  # fmt: skip
    state = torch.get_rng_state()
    config, again = load_ldcgan(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert config == TINY
    inputs = faces(TINY)
    assert torch.equal(networks["generator"](*inputs).image, again["generator"](*inputs).image)


@pytest.mark.parametrize("text", ["", "3", '{"depth": 1}', '{"ni": 1000000}', '{"ni": 4}'])
def test_files_that_are_no_ldcgan(text: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(nn.Linear(1, 1), path, {"config": text})
    with pytest.raises(ValueError, match=r"best\.safetensors: "):
        load_ldcgan(path)
