"""AVWnet's networks: shapes of every stage, Eq 5.1-5.5 by hand, who depends on whom, files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo import avwnet
from neuralpaint.zoo.avwnet import (
    AvwnetConfig,
    AvwnetOutput,
    Discriminator,
    Generator,
    build,
    load_avwnet,
)
from neuralpaint.zoo.avwnet_layers import AudioEncoder, ConvGru, Heads
from neuralpaint.zoo.avwnet_losses import mouth_areas, pixel_loss
from neuralpaint.zoo.avwnet_parts import Shape
from neuralpaint.zoo.talking.geometry import TEMPLATE
from neuralpaint.zoo.talking_landmarks import TalkingLandmarks
from tests.zoo.talking_models import CONFIG as TINY

READER = TINY.reader


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def shapes(*sizes: int, seed: int = 0) -> Tensor:
    """Landmarks near the template, (*sizes, 136)."""
    template = torch.from_numpy(TEMPLATE.ravel().copy()).float()
    return template + (draws(*sizes, 136, seed=seed) - 0.5) / 8


def inputs(count: int = 2, frames: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Example, windows, landmarks and the example's landmarks."""
    return (
        draws(count, 3, 128, 128, seed=seed) * 2 - 1,
        (draws(count, frames, 28, 12, seed=seed + 1) - 0.5) * 60,
        shapes(count, frames, seed=seed + 2),
        shapes(count, seed=seed + 3),
    )


def set_masks(heads: Heads, bias: float) -> None:
    """Open or close the masks of a stage by the bias of their convolution."""
    assert heads.conv.bias is not None
    with torch.no_grad():
        heads.conv.bias[:1] = bias


@pytest.fixture
def generator() -> Any:
    """A tiny one whose masks depend on the frame, as after some training."""
    network = Generator(TINY).eval()
    with torch.no_grad():
        for heads in (network.coarse, network.fine):
            nn.init.normal_(heads.conv.weight, 0, 0.1)
    return network


# --- shapes --------------------------------------------------------------------------------------


def heard(network: Any, names: list[str]) -> dict[str, tuple[int, ...]]:
    """Shapes that layers put out, without the batch; filled by the next pass."""
    found: dict[str, tuple[int, ...]] = {}
    for name in names:
        network.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: found.update({name: tuple(output.shape[1:])})
        )
    return found


def check_shapes(output: AvwnetOutput, count: int, frames: int, ni: int) -> None:
    for side, made, mask, colour in (
        (64, output.coarse, output.coarse_mask, output.coarse_colour),
        (128, output.fine, output.fine_mask, output.fine_colour),
    ):
        assert made.shape == colour.shape == (count, frames, 3, side, side)
        assert mask.shape == (count, frames, 1, side, side)
    assert output.state.shape == (count, 4 * ni, 8, 8)
    assert all(values.dtype == torch.float32 for values in output)


@pytest.mark.parametrize(("name", "parameters"), [("small", 2_822_704), ("thesis", 44_907_496)])
def test_both_sizes(name: str, parameters: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fig 5.3 and Sec 5.4.1 as the readings settle them."""
    config = AvwnetConfig.of(name, reader=READER)
    monkeypatch.setattr(avwnet, "initialise", lambda _network: None)  # takes seconds
    network: Any = Generator(config).eval()
    ni = config.ni
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    names = "image.to64 image.to32 image.to8 audio.0 audio landmarks decode attention32 "
    found = heard(network, (names + "attention64 up64 refine up128").split())
    with torch.no_grad():
        check_shapes(network(*inputs(1, 2)), 1, 2, ni)
    assert found == {
        "image.to64": (ni // 2, 64, 64),
        "image.to32": (ni, 32, 32),
        "image.to8": (4 * ni, 8, 8),
        "audio.0": (2 * ni,),
        "audio": (2 * ni, 8, 8),
        "landmarks": (2 * ni, 8, 8),
        "decode": (ni, 32, 32),
        "attention32": (ni, 32, 32),
        "attention64": (ni // 2, 64, 64),
        "up64": (ni // 2, 64, 64),
        "refine": (ni // 2, 64, 64),
        "up128": (ni // 4, 128, 128),
    }
    assert network.recurrent.of_image.in_channels == 4 * ni
    assert network.recurrent.of_frame.in_channels == 4 * ni  # sound and landmarks, 2 N_i each
    kinds = [type(layer).__name__ for layer in network.audio[0].layers]
    assert kinds.count("Encode") == 5
    assert kinds.index("MaxPool2d") == 2
    assert kinds[6] == "MaxPool2d"


def test_examples_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(B, 3, 128, 128\), got \(1, 3, 64, 64\)"):
        Generator(TINY).look(torch.zeros(1, 3, 64, 64))


# --- equations -----------------------------------------------------------------------------------


def test_the_shape_is_about_the_template() -> None:
    shape = Shape()
    assert not shape(torch.from_numpy(TEMPLATE.ravel().copy()).float()).any()
    landmarks = shapes(2, 3)
    assert torch.allclose(shape.back(shape(landmarks)), landmarks, atol=1e-6)
    assert shape(landmarks + 1 / 32).sub(shape(landmarks)).mean().item() == pytest.approx(1)


def test_equation_5_1(generator: Any) -> None:
    """Landmarks come as a difference, which is zero where the face is as in the example."""
    example, windows, _, own = inputs(2, 3)
    seen: list[Tensor] = []
    generator.recurrent.register_forward_pre_hook(lambda _layer, args: seen.append(args[1]))
    generator(example, windows, own[:, None].expand(-1, 3, -1), own)
    assert seen[0][:, :, 8:].abs().max() < 1e-5
    assert seen[0][:, :, :8].abs().max() > 0.01
    assert torch.equal(seen[0][:, :, :8].flatten(0, 1), generator.audio(windows.flatten(0, 1)))
    other = shapes(2, 3, seed=9)
    generator(example, windows, other, own)
    expected = generator.landmarks(other[:, 1]) - generator.landmarks(own)
    assert torch.allclose(seen[1][:, 1, 8:], expected, atol=1e-5)


def test_the_recurrent_layer_is_a_gru() -> None:
    """On maps of one pixel a 3x3 convolution is a linear layer, and the layer PyTorch's own GRU."""
    layer, reference = ConvGru(2, 3, 4), nn.GRU(5, 4, batch_first=True)
    order = [*range(4, 8), *range(4), *range(8, 12)]  # PyTorch begins with the reset gate
    of_input, of_state, input_bias, state_bias = reference.all_weights[0]
    assert layer.of_image.bias is not None
    assert layer.of_state.bias is not None
    with torch.no_grad():
        of_input[:, :2] = layer.of_image.weight[order, :, 1, 1]
        of_input[:, 2:] = layer.of_frame.weight[order, :, 1, 1]
        of_state.copy_(layer.of_state.weight[order, :, 1, 1])
        input_bias.copy_(layer.of_image.bias[order])
        state_bias.copy_(layer.of_state.bias[order])
    image, frames, before = draws(2, 2), draws(2, 6, 3, seed=1), draws(2, 4, seed=2)
    joined = torch.cat([image[:, None].expand(-1, 6, -1), frames], 2)
    deep = layer.of_image(image[:, :, None, None])
    for start in (None, before):
        expected, _ = reference(joined, None if start is None else start[None])
        state = None if start is None else start[:, :, None, None]
        found, last = layer(deep, frames[..., None, None], state)
        assert torch.allclose(found[..., 0, 0], expected, atol=1e-5)
        assert torch.equal(found[:, -1], last)


def close_attention(attention: Any, value: float) -> None:
    with torch.no_grad():
        attention.layers[-1].weight.zero_()
        attention.layers[-1].bias.fill_(value)


def test_equation_5_4(generator: Any) -> None:
    """A closed attention leaves the example's features only, an open one the new ones only."""
    example, windows, landmarks, own = inputs(2, 3)
    taken: dict[str, Tensor] = {}
    for name in ("decode", "refine"):
        generator.get_submodule(name).register_forward_hook(
            lambda _layer, _inputs, output, name=name: taken.update({name: output})
        )
    for name in ("up64", "up128"):
        generator.get_submodule(name).register_forward_pre_hook(
            lambda _layer, args, name=name: taken.update({name: args[0]})
        )
    looked = generator.look(example)
    pairs = [("attention32", "decode", "up64", looked.taps32)]
    pairs.append(("attention64", "refine", "up128", looked.taps64))
    for attention, new, blended, old in pairs:
        gate = getattr(generator, attention)
        close_attention(gate, 100)
        generator(looked, windows, landmarks, own)
        assert torch.allclose(taken[blended], taken[new], atol=1e-6)
        close_attention(gate, -100)
        generator(looked, windows, landmarks, own)
        assert torch.allclose(taken[blended], old.repeat_interleave(3, 0), atol=1e-6)
        close_attention(gate, -1)
        generator(looked, windows, landmarks, own)
        share = torch.tensor(-1.0).sigmoid()
        by_hand = share * taken[new] + (1 - share) * old.repeat_interleave(3, 0)
        assert torch.allclose(taken[blended], by_hand, atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
def test_equation_5_5(residual: bool) -> None:
    """A mask of 1 is a new pixel, of 0 one of the example, at both sizes."""
    config = AvwnetConfig.from_json({**TINY.to_json(), "residual": residual})
    network = Generator(config).eval()
    example, *rest = inputs()
    coarse = nn.functional.interpolate(example, size=64, mode="area")
    for heads in (network.coarse, network.fine):
        nn.init.normal_(heads.conv.weight, 0, 0.1)
    output = network(example, *rest)
    for made, mask, colour, old in (
        (output.coarse, output.coarse_mask, output.coarse_colour, coarse),
        (output.fine, output.fine_mask, output.fine_colour, example),
    ):
        assert 0 < mask.min() < mask.max() < 1
        by_hand = mask * colour + (1 - mask) * old[:, None]
        assert torch.allclose(made, by_hand, atol=1e-6)
    for heads in (network.coarse, network.fine):
        with torch.no_grad():
            heads.conv.weight[:1] = 0
        set_masks(heads, -100)
    output = network(example, *rest)
    assert output.fine_mask.max() < 1e-6
    assert torch.allclose(output.fine, example[:, None].expand_as(output.fine), atol=1e-6)
    assert torch.allclose(output.coarse, coarse[:, None].expand_as(output.coarse), atol=1e-6)
    for heads in (network.coarse, network.fine):
        set_masks(heads, 100)
    output = network(example, *rest)
    assert torch.allclose(output.fine, output.fine_colour, atol=1e-6)
    assert torch.allclose(output.coarse, output.coarse_colour, atol=1e-6)


def test_masks_begin_half_open_and_colours_with_the_example() -> None:
    config = AvwnetConfig.from_json({**TINY.to_json(), "residual": True})
    example, *rest = inputs()
    output = Generator(config)(example, *rest)
    assert (output.fine_mask == 0.5).all()
    assert (output.coarse_mask == 0.5).all()
    error = (output.fine_colour - example[:, None]).abs().mean()
    assert error < example.abs().mean() / 2  # of grey colours it would be all of it
    (output.fine_colour.mean() + output.fine_mask.mean()).backward()


# --- who depends on whom -------------------------------------------------------------------------


def test_a_frame_knows_the_past_and_its_window_only(generator: Any) -> None:
    """The recurrence runs over time, never over the batch; a published one runs over the batch."""
    example, windows, landmarks, own = (values.requires_grad_() for values in inputs(2, 4))
    output = generator(example, windows, landmarks, own)
    (output.fine[0, 2].square().sum() + output.coarse[0, 2].square().sum()).backward()
    for values in (windows, landmarks):
        assert values.grad is not None
        slopes = values.grad.flatten(2).abs().sum(2)
        assert (slopes[0, :3] > 0).all()  # of the frames before, too
        assert not slopes[0, 3:].any()
        assert not slopes[1].any()
    for values in (example, own):
        assert values.grad is not None
        assert values.grad[0].any()
        assert not values.grad[1].any()


def test_a_request_alone_and_among_others(generator: Any) -> None:
    several = inputs(3, 3)
    with torch.no_grad():
        together = generator(*several)
        alone = generator(*(values[1:2] for values in several))
    for all_, one in zip(together, alone, strict=True):
        assert torch.allclose(all_[1:2], one, atol=1e-5)


@pytest.mark.parametrize("pieces", [(1, 1, 1, 1, 1), (2, 3), (4, 1)])
def test_pieces_are_as_one_pass(generator: Any, pieces: tuple[int, ...]) -> None:
    example, windows, landmarks, own = inputs(2, 5)
    with torch.no_grad():
        whole = generator(example, windows, landmarks, own)
        looked = generator.look(example)
        state, found = None, []
        parts = zip(windows.split(pieces, 1), landmarks.split(pieces, 1), strict=True)
        for sound, points in parts:
            output = generator(looked, sound, points, own, state)
            state = output.state
            found.append(output)
        fresh = generator(looked, windows[:, 4:], landmarks[:, 4:], own)
    joined = torch.cat([output.fine for output in found], 1)
    assert torch.allclose(joined, whole.fine, atol=1e-5)
    assert torch.allclose(found[-1].state, whole.state, atol=1e-5)
    assert not torch.allclose(fresh.fine[:, 0], whole.fine[:, 4], atol=1e-5)  # state does matter


@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_the_generator_uses_all_it_is_given(which: int, generator: Any) -> None:
    given = [values.requires_grad_() for values in inputs(2, 2)]
    generator.train()(*given).fine.square().sum().backward()
    slope = given[which].grad
    assert slope is not None
    assert slope.flatten(1).abs().sum(1).gt(0).all()


def test_half_precision(generator: Any) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        output = generator(*inputs())
        again = generator(*inputs(), output.state)
        exact = generator.float()(*inputs())
    for made in (output, again):
        check_shapes(made, 2, 3, TINY.ni)
        assert -1 <= made.fine.min() < made.fine.max() <= 1
        assert 0 <= made.fine_mask.min() < made.fine_mask.max() <= 1
    assert (output.fine - exact.fine).abs().max() < 0.05


# --- discriminators ------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 128])
def test_discriminators(side: int) -> None:
    discriminator = Discriminator(TINY, side).eval()
    frames, windows = draws(3, 3, side, side) * 2 - 1, (draws(3, 28, 12) - 0.5) * 60
    judged = discriminator(frames, windows)
    assert judged.real.shape == (3, (side // 8 - 3) ** 2)
    assert judged.match.shape == (3, 1)
    assert judged.landmarks.shape == (3, 136)
    seen = discriminator.look(frames)
    assert seen.early.shape == (3, 16, side // 8, side // 8)
    assert seen.late.shape == (3, 32, 4, 4)
    other = discriminator(frames, windows.roll(1, 0))
    assert not torch.allclose(judged.match, other.match)
    assert torch.equal(judged.real, other.real)
    assert torch.equal(judged.landmarks, other.landmarks)  # the sound does not tell them
    assert torch.equal(discriminator.match(seen, windows), judged.match)


def test_the_thesis_size_of_discriminators(monkeypatch: pytest.MonkeyPatch) -> None:
    config = AvwnetConfig.of("thesis", reader=READER, audio=2)
    monkeypatch.setattr(avwnet, "initialise", lambda _network: None)  # takes seconds
    discriminator = Discriminator(config, 128).eval()
    with torch.no_grad():
        seen = discriminator.look(torch.zeros(1, 3, 128, 128))
    assert seen.early.shape == (1, 8 * 64, 16, 16)
    assert seen.late.shape == (1, 16 * 64, 4, 4)
    third: Any = discriminator.third
    assert third[0].out_channels == 16 * 64


def test_stages_have_two_sizes() -> None:
    with pytest.raises(ValueError, match="64 or 128 pixels, got 32"):
        Discriminator(TINY, 32)


def test_a_discriminator_learns_landmarks() -> None:
    """Where a bright spot is, as the landmarks of a frame are to be found in it."""
    torch.manual_seed(0)
    discriminator = Discriminator(TINY, 64)
    places = draws(16) * 0.5 + 0.25
    columns = (torch.arange(64) + 0.5) / 64
    spots = ((columns - places[:, None]).abs() < 0.08).float()
    frames = spots[:, None, None, :].expand(-1, 3, 64, -1) * 2 - 1
    wanted = Shape().back(((places - 0.5) * 8)[:, None].expand(-1, 136))
    optimiser = torch.optim.Adam(discriminator.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        found = discriminator.points(discriminator.look(frames))
        loss = (found - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < wanted.var(0).mean().item() / 4  # a quarter of what one answer for all has


# --- sound ---------------------------------------------------------------------------------------


def test_the_audio_encoder_sees_all_of_a_window() -> None:
    encoder = AudioEncoder(2, 8)
    windows = ((draws(4, 28, 12) - 0.5) * 60).requires_grad_()
    codes = encoder(windows)
    assert codes.shape == (4, 8)
    codes.square().sum().backward()
    assert windows.grad is not None
    assert windows.grad.abs().sum(0).gt(0).all()


# --- training ------------------------------------------------------------------------------------


def test_the_generator_learns_to_open_a_mouth() -> None:
    """Soon nearer to the truth about the mouth than the example is, as a mask must be."""
    torch.manual_seed(0)
    config = AvwnetConfig.from_json({**TINY.to_json(), "residual": True})
    network = Generator(config)
    example, windows, _, own = inputs(1, 2)
    example = example * 0.2
    landmarks = own[:, None].repeat(1, 2, 1)
    landmarks[:, 1, 2 * 55 + 1 : 2 * 60 : 2] += 0.05  # the second frame opens the mouth
    mouth = mouth_areas(landmarks, 128)
    truth = example[:, None].repeat(1, 2, 1, 1, 1)
    truth[:, 1] = truth[:, 1] * (1 - mouth[:, 1]) - 0.8 * mouth[:, 1]
    optimiser = torch.optim.Adam(network.parameters(), 4e-3, (0.5, 0.999))
    for _ in range(25):
        output = network(example, windows, landmarks, own)
        loss = pixel_loss(output.fine, truth, mouth) + pixel_loss(output.fine_colour, truth, mouth)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    repeated = example[:, None].expand_as(truth)
    still = pixel_loss(repeated, truth, mouth, 0).item()
    assert pixel_loss(output.fine, truth, mouth, 0).item() < 0.7 * still


# --- files ---------------------------------------------------------------------------------------


def test_the_model_comes_back(tmp_path: Path) -> None:
    networks = build(TINY).eval()
    predictor = networks["landmarks"]
    assert isinstance(predictor, TalkingLandmarks)
    predictor.fit_basis(draws(50, 136) / 30)
    path = tmp_path / "best.safetensors"
    save_weights(networks, path, {"config": json.dumps(TINY.to_json())}, half=True)
    state = torch.get_rng_state()
    config, again = load_avwnet(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert config == TINY
    assert not again.training
    example, windows, landmarks, own = inputs()
    readers: list[Any] = [networks["reader"], again["reader"]]
    with torch.no_grad():
        made, back = (n["generator"](example, windows, landmarks, own) for n in (networks, again))
        moved, moved_back = (n["landmarks"](windows, own)[0] for n in (networks, again))
        read, read_back = (network.read(made.fine) for network in readers)
    assert torch.allclose(made.fine, back.fine, atol=0.02)
    assert torch.allclose(moved, moved_back, atol=1e-3)
    assert torch.allclose(read, read_back, atol=0.02)
    for name, weight in networks.state_dict().items():
        assert torch.allclose(weight.half().to(weight.dtype), again.state_dict()[name])


@pytest.mark.parametrize(
    "text", ["", "3", "{}", '{"depth": 1}', '{"ni": 1000000}', json.dumps(TINY.to_json())]
)
def test_files_that_are_no_avwnet(text: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_weights(nn.Linear(1, 1), path, {"config": text})
    with pytest.raises(ValueError, match=r"best\.safetensors: "):
        load_avwnet(path)
