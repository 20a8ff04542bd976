"""H_r: its weights, its files, and how close it comes to the exact renderer."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from neuralpaint.renderers import bezier, get
from neuralpaint.renderers.neural import (
    MAX_BYTES,
    MAX_WIDTH,
    NeuralRenderer,
    load_weights,
    save_weights,
)
from neuralpaint.renderers.stroke import random_strokes
from neuralpaint.renderers.train import evaluate


@pytest.fixture(scope="module")
def shipped() -> NeuralRenderer:
    return load_weights()


def scrambled(width: int = 8, seed: int = 0) -> NeuralRenderer:
    """A network whose last layer does something, unlike that of a fresh one."""
    generator = torch.Generator().manual_seed(seed)
    network = NeuralRenderer(width)
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
    return network


def draw(count: int, seed: int = 0) -> Tensor:
    return random_strokes(count, torch.Generator().manual_seed(seed), "mixed")


# --- the shipped weights ---


def test_the_shipped_network_is_small_and_frozen(shipped: NeuralRenderer) -> None:
    assert sum(weight.numel() for weight in shipped.parameters()) <= 3_000_000
    assert not any(weight.requires_grad for weight in shipped.parameters())
    assert not shipped.training
    assert all(weight.isfinite().all() for weight in shipped.parameters())


@pytest.mark.parametrize("size", [64, 128])
def test_error_on_held_out_strokes(shipped: NeuralRenderer, size: int) -> None:
    """Far below predicting the mean alpha of all strokes everywhere, or no stroke at all."""
    error = evaluate(shipped, count=128, size=size)
    truth = bezier.alpha(draw(128, seed=1), size, size)
    mean = (truth - truth.mean(0)).abs().mean().item()
    nothing = truth.abs().mean().item()
    assert error["all"] < 0.01 * min(mean, nothing)
    assert error["all"] < 1e-3
    assert error["0-1.5 px"] < 0.15
    assert all(value < 0.03 for band, value in error.items() if band != "0-1.5 px")


def test_training_has_improved_on_the_analytic_front_end(shipped: NeuralRenderer) -> None:
    fresh = evaluate(NeuralRenderer(8), count=128, size=64)
    learned = evaluate(shipped, count=128, size=64)
    assert learned["all"] < 0.75 * fresh["all"]
    assert learned["0-1.5 px"] < 0.75 * fresh["0-1.5 px"]


@pytest.mark.parametrize("thick_end", [0, 1])
@pytest.mark.parametrize("length", [0.0, 0.02, 0.2])
def test_short_strokes_that_taper_are_found(
    shipped: NeuralRenderer, length: float, thick_end: int
) -> None:
    """Where one end disc holds the other, the thick end is what covers."""
    strokes = draw(16)
    strokes[:, 4:6] = strokes[:, 0:2] + length * (strokes[:, 4:6] - strokes[:, 0:2])
    strokes[:, [6, 8]] = 0.05
    strokes[:, 6 + 2 * thick_end] = 0.95
    error = (shipped(strokes, 128, 128) - bezier.alpha(strokes, 128, 128)).abs()
    assert error.mean() < 3e-4
    assert error.amax((1, 2)).mean() < 0.1


@pytest.mark.parametrize(
    ("height", "width", "bound"),
    [(64, 64, 1e-3), (63, 90, 1e-3), (18, 201, 3e-3), (5, 4, 0.06), (1, 37, 0.03), (1, 1, 0.25)],
)
def test_any_canvas_size(shipped: NeuralRenderer, height: int, width: int, bound: float) -> None:
    """Any size works; where whole strokes are smaller than a cell of 4 pixels it only guesses."""
    strokes = draw(40)
    alpha = shipped(strokes, height, width)
    assert alpha.shape == (40, height, width)
    assert alpha.min() >= 0
    assert alpha.max() <= 1
    assert (alpha - bezier.alpha(strokes, height, width)).abs().mean() < bound


def test_absolute_middle_points(shipped: NeuralRenderer) -> None:
    strokes = draw(40)
    exact = bezier.alpha(strokes, 64, 64, control="absolute")
    assert (shipped(strokes, 64, 64, "absolute") - exact).abs().mean() < 2e-3
    assert (shipped(strokes, 64, 64) - exact).abs().mean() > 0.01


def test_gradients_point_the_way_of_the_exact_ones(shipped: NeuralRenderer) -> None:
    """Those of a squared error between strokes and slightly different ones."""
    strokes, generator = draw(64), torch.Generator().manual_seed(1)
    goal = (strokes + 0.1 * torch.randn(64, 13, generator=generator)).clamp(0, 1)
    target = bezier.alpha(goal, 64, 64)

    def gradient(alpha: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        leaf = strokes.clone().requires_grad_()
        (grad,) = torch.autograd.grad((alpha(leaf, 64, 64) - target).square().sum(), leaf)
        return grad

    ours, exact = gradient(shipped), gradient(bezier.alpha)
    assert (ours[:, 10:] == 0).all()
    assert (ours[:, :10].abs().sum(0) > 0).all()
    similarity = torch.cosine_similarity(ours[:, :10], exact[:, :10])
    assert similarity.mean() > 0.98
    assert similarity.quantile(0.1) > 0.95
    # Each of the ten numbers by itself, over all strokes.
    assert torch.cosine_similarity(ours[:, :10], exact[:, :10], 0).min() > 0.9


# --- painting ---


def test_get_gives_the_shipped_renderer(shipped: NeuralRenderer) -> None:
    canvas = torch.rand(2, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    strokes = draw(6).view(2, 3, 13)
    painted = get("neural")(canvas, strokes)
    assert torch.equal(painted, shipped.paint(canvas, strokes))
    assert (painted - bezier.paint(canvas, strokes)).abs().mean() < 3e-3
    gray = get("neural")(canvas[:, :1], strokes)
    torch.testing.assert_close(gray, painted[:, :1])


def test_bundles_paint_in_order(shipped: NeuralRenderer) -> None:
    canvas = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    strokes = draw(5)[None]
    together = shipped.paint(canvas, strokes)
    for stroke in strokes.split(1, 1):
        canvas = shipped.paint(canvas, stroke)
    torch.testing.assert_close(canvas, together)


def test_no_strokes_and_no_images() -> None:
    network = scrambled()
    canvas = torch.rand(2, 3, 9, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.paint(canvas, torch.zeros(2, 0, 13)), canvas)
    assert network.paint(torch.zeros(0, 3, 9, 10), torch.zeros(0, 4, 13)).shape == (0, 3, 9, 10)
    assert network(torch.zeros(0, 13), 9, 10).shape == (0, 9, 10)


def test_strokes_out_of_reach_leave_no_trace() -> None:
    strokes = draw(3)
    strokes[:, 0:6:2] += 9
    assert (scrambled()(strokes, 20, 20) == 0).all()


def test_a_result_does_not_depend_on_the_batch(shipped: NeuralRenderer) -> None:
    strokes = draw(20)
    together = shipped(strokes, 40, 52)
    alone = torch.cat([shipped(stroke, 40, 52) for stroke in strokes.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_fresh_networks_start_from_the_analytic_alpha() -> None:
    """The last layer is 0, so the width of the others does not show."""
    strokes = draw(8)
    torch.testing.assert_close(
        NeuralRenderer(4)(strokes, 32, 32), NeuralRenderer(9)(strokes, 32, 32)
    )


def test_the_whole_network_learns() -> None:
    """Every weight gets a gradient."""
    network = scrambled(16)
    network(draw(8), 32, 32).square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert (weight.grad != 0).any(), name


@pytest.mark.parametrize("width", [0, -3, MAX_WIDTH + 1])
def test_an_impossible_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width must be 1 to {MAX_WIDTH}, got {width}"):
        NeuralRenderer(width)


# --- files ---


def test_weights_survive_their_file(tmp_path: Path) -> None:
    network, path = scrambled(12), tmp_path / "w.safetensors"
    save_weights(network, path)
    loaded = load_weights(path)
    assert loaded.width == 12
    for name, weight in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.half().float())
    strokes = draw(8)
    torch.testing.assert_close(loaded(strokes, 32, 32), network(strokes, 32, 32), atol=5e-3, rtol=0)
    save_weights(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.safetensors", path.name]


def test_the_widest_network_can_be_read_again(tmp_path: Path) -> None:
    network = NeuralRenderer(MAX_WIDTH)
    assert sum(weight.numel() for weight in network.parameters()) <= 3_000_000
    save_weights(network, tmp_path / "w.safetensors")
    assert (tmp_path / "w.safetensors").stat().st_size < MAX_BYTES
    assert load_weights(tmp_path / "w.safetensors").width == MAX_WIDTH


Tensors = dict[str, Tensor]


def drop(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name != "layers.2.bias"}


def add(tensors: Tensors) -> Tensors:
    return {**tensors, "layers.9.bias": torch.zeros(3)}


def reshape(tensors: Tensors) -> Tensors:
    return {**tensors, "layers.0.weight": tensors["layers.0.weight"].T.contiguous()}


def spoil(tensors: Tensors) -> Tensors:
    return {**tensors, "layers.4.bias": tensors["layers.4.bias"] * torch.nan}


@pytest.mark.parametrize(
    ("change", "width", "message"),
    [
        (drop, "8", r"weight layers\.2\.bias is missing or not \(8,\)"),
        (add, "8", r"unknown weight layers\.9\.bias"),
        (reshape, "8", r"weight layers\.0\.weight is missing or not \(8, 15\)"),
        (spoil, "8", r"weight layers\.4\.bias holds NaN or infinity"),
        (dict, "9", r"weight layers\.0\.weight is missing or not \(9, 15\)"),
        (dict, None, "names no width"),
        (dict, "0", "names no width"),
        (dict, "-8", "names no width"),
        (dict, "eight", "names no width"),
        (dict, "99999999999", "names no width"),
        (dict, "9" * 5000, "names no width"),
    ],
)
def test_a_file_that_is_not_quite_right_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors], Tensors], width: str | None, message: str
) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_weights(scrambled(8), good)
    with safe_open(good, "pt") as file:
        assert file.metadata() == {"width": "8"}
    save_file(change(load_file(good)), bad, None if width is None else {"width": width})
    with pytest.raises(ValueError, match=message) as error:
        load_weights(bad)
    assert str(bad) in str(error.value)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_weights(scrambled(8), good)
    bad.write_bytes(good.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        load_weights(bad)


def test_other_files_are_refused(tmp_path: Path) -> None:
    image = tmp_path / "photo.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    with pytest.raises(ValueError, match=r"photo\.png: not a safetensors file"):
        load_weights(image)
    with image.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ValueError, match=r"photo\.png: larger than"):
        load_weights(image)


def test_absent_weights_say_how_to_make_them(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no weights of H_r; train them"):
            load_weights(path)
