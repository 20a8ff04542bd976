from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralpaint.agents.attention import (
    MAX_SIDE,
    SIZES,
    Attention,
    build_attention,
    downsize,
    load_attention,
    reconstruction_loss,
    save_attention,
)
from neuralpaint.agents.resnet import ResNet, load_standard


def draw(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def small(seed: int = 0, side: int = 16) -> Attention:
    torch.manual_seed(seed)
    return build_attention("small", side)


def trained(side: int = 16) -> Attention:
    """Evaluation mode, with statistics of a batch in place of the initial ones."""
    attention = small(side=side)
    attention(draw(4, 3, 32, 32))
    return attention.eval()


# --- the loss of Eq 6.3 ---


def test_downsizing_is_the_mean_over_areas() -> None:
    image = torch.arange(8.0).view(1, 1, 2, 4)
    assert downsize(image, (1, 2)).flatten().tolist() == [(0 + 1 + 4 + 5) / 4, (2 + 3 + 6 + 7) / 4]
    assert downsize(image, (2, 4)) is image


def test_reconstruction_loss_by_hand() -> None:
    """A white 2x2 canvas, three of its pixels subject, is 3/4 grey as one pixel."""
    canvas = torch.ones(1, 3, 2, 2)
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]]).view(1, 1, 2, 2)
    focus = torch.tensor([0.25, 0.75, 1.25]).view(1, 3, 1, 1)
    loss = reconstruction_loss(focus, canvas, mask)
    assert loss.item() == pytest.approx((0.5**2 + 0 + 0.5**2) / 3)
    assert reconstruction_loss(focus, canvas, 0 * mask).item() == pytest.approx(
        (0.25**2 + 0.75**2 + 1.25**2) / 3
    )


def test_the_loss_is_the_mean_over_a_batch() -> None:
    focus, canvas = draw(4, 3, 8, 8), draw(4, 3, 16, 16).flip(0)
    mask = (draw(4, 1, 16, 16) > 0.5).float()
    each = [
        reconstruction_loss(focus[i : i + 1], canvas[i : i + 1], mask[i : i + 1]) for i in range(4)
    ]
    torch.testing.assert_close(reconstruction_loss(focus, canvas, mask), torch.stack(each).mean())


# --- the network ---


def test_the_thesis_size_holds_resnet_34() -> None:
    attention = build_attention("thesis")
    standard = ResNet(3, 64, (3, 4, 6, 3)).state_dict()
    encoder = attention.encoder.state_dict()
    expected = {k: v.shape for k, v in standard.items() if not k.startswith("layer4.")}
    assert {name: weight.shape for name, weight in encoder.items()} == expected
    assert attention.side == 64
    assert SIZES["thesis"].blocks == (3, 4, 6)


def test_the_small_size_is_small() -> None:
    assert sum(weight.numel() for weight in build_attention("small").parameters()) < 150_000


def test_standard_weights_of_resnet_34_load(tmp_path: Path) -> None:
    torch.manual_seed(3)
    standard = ResNet(3, 64, (3, 4, 6, 3)).state_dict()
    file = {**standard, "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}
    save_file(file, tmp_path / "resnet34.safetensors")
    attention = build_attention("thesis")
    load_standard(attention.encoder, tmp_path / "resnet34.safetensors")
    for name in ("conv1.weight", "layer3.5.conv2.weight"):
        assert torch.equal(attention.encoder.state_dict()[name], standard[name])
    with pytest.raises(ValueError, match=r"conv1\.weight is missing or not \(16, 3, 7, 7\)"):
        load_standard(small().encoder, tmp_path / "resnet34.safetensors")


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (300, 200), (48, 80), (37, 101), (1, 1)])
@pytest.mark.parametrize("side", [64, 15])
def test_the_focus_has_its_size_whatever_the_canvas(size: tuple[int, int], side: int) -> None:
    image, mask = trained(side)(draw(2, 3, *size))
    assert image.shape == (2, 3, side, side)
    assert mask.shape == (2, 1, side, side)
    for values in (image, mask):
        assert ((values >= 0) & (values <= 1)).all()


def test_thesis_shapes() -> None:
    image, mask = build_attention("thesis").eval()(draw(1, 3, 128, 128))
    assert image.shape == (1, 3, 64, 64)
    assert mask.shape == (1, 1, 64, 64)


def test_where_the_mask_is_zero_nothing_of_the_canvas_is_seen() -> None:
    attention = trained()
    torch.nn.init.zeros_(attention.attend.weight)
    torch.nn.init.constant_(attention.get_parameter("attend.bias"), -1e4)  # f_attn = 0
    image, mask = attention(draw(2, 3, 32, 32))
    assert not mask.any()
    assert torch.equal(image[0], image[1])
    torch.nn.init.zeros_(attention.get_parameter("attend.bias"))
    with torch.no_grad():
        attention.alpha.zero_()  # alpha f_f = 0
    assert torch.equal(attention(draw(2, 3, 32, 32)).image, image)


def test_canvases_together_and_alone_give_the_same() -> None:
    attention, canvases = trained(), draw(5, 3, 40, 40)
    together = attention(canvases)
    for i, canvas in enumerate(canvases):
        alone = attention(canvas[None])
        torch.testing.assert_close(together.image[i], alone.image[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.mask[i], alone.mask[0], atol=1e-5, rtol=0)


def test_only_training_moves_the_statistics() -> None:
    attention = trained()
    before = attention.encoder.bn1.running_mean
    assert before is not None
    kept = before.clone()
    attention(draw(2, 3, 32, 32))
    assert torch.equal(before, kept)
    attention.train()(draw(2, 3, 32, 32))
    assert not torch.equal(before, kept)


def test_same_seed_same_network_and_same_numbers() -> None:
    canvas = draw(2, 3, 32, 32)
    assert torch.equal(small()(canvas).image, small()(canvas).image)
    assert not torch.equal(small()(canvas).image, small(1)(canvas).image)


def test_the_gradient_reaches_every_parameter_and_the_canvas() -> None:
    attention, canvas = small(), draw(3, 3, 64, 64).requires_grad_()
    mask = (draw(3, 1, 64, 64) > 0.5).float()
    reconstruction_loss(attention(canvas).image, canvas.detach(), mask).backward()
    dead = [name for name, w in attention.named_parameters() if w.grad is None or not w.grad.any()]
    assert dead == []
    assert canvas.grad is not None
    assert canvas.grad.flatten(1).any(1).all()


def test_bfloat16_keeps_the_weights_and_the_output_in_float32() -> None:
    attention, canvas = trained(), draw(3, 3, 64, 64)
    exact = attention(canvas)
    with torch.autocast("cpu", torch.bfloat16):
        focus = attention(canvas)
    focus.image.sum().backward()
    assert focus.image.dtype == focus.mask.dtype == torch.float32
    assert {weight.dtype for weight in attention.parameters()} == {torch.float32}
    assert 0 < (focus.image - exact.image).abs().mean() < 0.01
    assert 0 < (focus.mask - exact.mask).abs().mean() < 0.01


# --- training ---


def discs(count: int, side: int) -> tuple[Tensor, Tensor]:
    """Bright warm discs on dim noise, and their masks."""
    generator = torch.Generator().manual_seed(7)
    centre = 0.3 + 0.4 * torch.rand(2, count, 1, 1, generator=generator)
    axis = (torch.arange(side) + 0.5) / side
    inside = (axis - centre[0]).square() + (axis[:, None] - centre[1]).square() < 0.22**2
    mask = inside[:, None].float()
    background = 0.5 * torch.rand(count, 3, side, side, generator=generator)
    subject = torch.tensor([0.9, 0.6, 0.3]).view(1, 3, 1, 1)
    return mask * subject + (1 - mask) * background, mask


def test_training_finds_the_subject_of_made_up_canvases() -> None:
    """Better than the mean of the masked canvases, which is the best image to guess unseen."""
    canvas, mask = discs(8, 32)
    truth = downsize(canvas * mask, (16, 16))
    guess = (truth - truth.mean(0)).square().mean()
    attention = small()
    optimiser = torch.optim.Adam(attention.parameters(), 3e-3)
    first = reconstruction_loss(attention(canvas).image, canvas, mask)
    for _ in range(60):
        optimiser.zero_grad()
        reconstruction_loss(attention(canvas).image, canvas, mask).backward()
        optimiser.step()
    with torch.no_grad():
        last = reconstruction_loss(attention.eval()(canvas).image, canvas, mask)
    assert last < 0.1 * first
    assert last < 0.3 * guess


# --- sizes and files ---


@pytest.mark.parametrize("side", [0, -1, MAX_SIDE + 1])
def test_other_sizes_and_sides_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match=r"size 'huge' of attention is unknown; known: thesis, sm"):
        build_attention("huge")
    with pytest.raises(ValueError, match=rf"side of attention must be 1 to 1024, got {side}"):
        build_attention("small", side)


def test_save_and_load(tmp_path: Path) -> None:
    path, attention = tmp_path / "attention.safetensors", trained()
    save_attention(attention, path, "small")
    loaded = load_attention(path)
    assert loaded.side == 16
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    canvas = draw(2, 3, 32, 32)
    torch.testing.assert_close(
        loaded(canvas).image, attention(canvas).image, atol=5e-3, rtol=0, check_stride=False
    )
    save_attention(loaded, tmp_path / "again.safetensors", "small")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"side": "16", "size": "small"}


@pytest.mark.parametrize(
    ("size", "side", "message"),
    [
        ("thesis", "16", r"weight encoder\.conv1\.weight is missing or not \(64, 3, 7, 7\)"),
        ("huge", "16", "names no size and side"),
        ("x" * 5000, "16", "names no size and side"),
        ("small", "9" * 5000, "names no size and side"),
        ("small", "-16", "names no size and side"),
        ("small", "", "names no size and side"),
        ("small", "0", "side of attention must be 1 to 1024"),
    ],
)
def test_a_file_that_names_another_module_is_refused(
    tmp_path: Path, size: str, side: str, message: str
) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_attention(small(), good, "small")
    save_file(load_file(good), bad, {"size": size, "side": side})
    with pytest.raises(ValueError, match=rf"bad\.safetensors: {message}") as error:
        load_attention(bad)
    assert len(str(error.value)) < 1000


def test_absent_weights_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"{path.name}: no weights of the attention"):
            load_attention(path)
