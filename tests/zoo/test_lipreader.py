"""The lip reader: its first layer against a 3D convolution, what it looks at, learning, files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo import lipreader
from neuralpaint.zoo.lipreader import (
    CROP,
    LEFT,
    READ,
    TOP,
    LipReader,
    LipReaderConfig,
    grey,
    load_reader,
    save_reader,
)
from neuralpaint.zoo.talking.geometry import TEMPLATE, mouth_box

TINY = LipReaderConfig(words=("bin", "blue", "sil"), width=2, blocks=(1, 1, 1, 1), hidden=4)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_log_probabilities_of_each_frame() -> None:
    reader = LipReader(TINY).eval()
    read = reader(draws(2, 5, 1, 128, 128))
    assert read.shape == (2, 5, 3)
    assert torch.allclose(read.exp().sum(2), torch.ones(2, 5), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = reader(draws(2, 5, 1, 128, 128))
    assert half.dtype == torch.float32
    assert (half - read).abs().max() < 0.1


@pytest.mark.parametrize("shape", [(2, 5, 3, 128, 128), (2, 5, 1, 64, 64), (5, 1, 128, 128)])
def test_frames_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\(B, T, 1, 128, 128\)"):
        LipReader(TINY)(torch.zeros(shape))


def test_the_thesis_size_is_resnet_34(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lipreader, "initialise", lambda _network: None)  # takes seconds
    reader: Any = LipReader(LipReaderConfig.of("thesis", TINY.words)).eval()
    with torch.no_grad():
        assert reader(torch.zeros(1, 2, 1, 128, 128)).shape == (1, 2, 3)
    assert len(reader.residual) == 3 + 4 + 6 + 3
    body = sum(weight.numel() for weight in reader.residual.parameters())
    assert body == 21_275_136  # torchvision's resnet34 without its first layer and classifier
    assert reader.lstm.num_layers == 2
    assert reader.lstm.bidirectional


def test_the_first_layer_is_a_convolution_over_space_and_time() -> None:
    reader: Any = LipReader(TINY).eval()
    taken: list[Tensor] = []
    reader.first[0].register_forward_hook(lambda _layer, _inputs, output: taken.append(output))
    frames = draws(2, 6, 1, 128, 128)
    reader(frames)
    mouths = frames[:, :, 0, TOP : TOP + CROP, LEFT : LEFT + CROP]
    kernel = reader.first[0].weight[:, None]  # (width, 1, 5, 7, 7)
    expected = functional.conv3d(mouths[:, None], kernel, stride=(1, 2, 2), padding=(2, 3, 3))
    found = taken[0].unflatten(0, (2, 6)).transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_it_looks_at_the_mouth() -> None:
    left, top, right, bottom = (128 * side for side in mouth_box(TEMPLATE.ravel()))
    assert LEFT <= left < right <= LEFT + CROP
    assert top >= TOP
    assert bottom + 0.06 * 128 <= TOP + CROP  # there is room to open it
    frames = draws(1, 3, 1, 128, 128).requires_grad_()
    reader = LipReader(TINY).eval().requires_grad_(False)
    reader(frames)[:, :, 0].sum().backward()
    assert frames.grad is not None
    seen = frames.grad.abs().sum((0, 1, 2)) > 0
    inside = torch.zeros(128, 128, dtype=torch.bool)
    inside[TOP : TOP + CROP, LEFT : LEFT + CROP] = True
    assert not seen[~inside].any()
    assert seen[inside].float().mean() > 0.5


def test_a_request_alone_and_among_others() -> None:
    reader = LipReader(TINY).eval()
    frames = draws(3, 4, 1, 128, 128)
    with torch.no_grad():
        assert torch.allclose(reader(frames)[1:2], reader(frames[1:2]), atol=1e-5)
        turned = reader(frames.flip(1)).flip(1)
        assert not torch.allclose(turned, reader(frames), atol=1e-4)  # order does matter


def test_gradients_while_in_use() -> None:
    """A frozen reader teaches the generator; on GPUs an LSTM must be in training mode for that."""
    reader: Any = LipReader(TINY).eval()
    assert reader.lstm.training
    assert not reader.first[1].training
    assert not reader.training


def test_grey() -> None:
    frames = torch.zeros(2, 4, 3, 8, 8)
    frames[:, :, 1] = 1
    assert torch.allclose(grey(frames), torch.full((2, 4, 1, 8, 8), 0.587))
    assert torch.allclose(grey(torch.ones(3, 2, 2)), torch.ones(1, 2, 2))
    reader = LipReader(TINY).eval()
    coloured = draws(1, 2, 3, 128, 128)
    assert torch.equal(reader.read(coloured), reader(grey(coloured)))


def test_it_learns_words() -> None:
    """Two movements of the same pictures in another order, which no single frame tells apart."""
    torch.manual_seed(0)
    reader = LipReader(LipReaderConfig(words=("up", "down"), width=4, blocks=(1,) * 4, hidden=8))
    optimiser = torch.optim.Adam(reader.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(0)
    rows = torch.arange(128)[:, None]

    def batch() -> tuple[Tensor, Tensor]:
        words = torch.randint(2, (8,), generator=generator)
        times = torch.arange(6)[None] + torch.randint(3, (8, 1), generator=generator)
        places = 72 + 4 * torch.where(words[:, None] == 0, 8 - times, times)
        near = (rows - places[:, :, None, None, None]).abs() < 4
        return near.float().expand(-1, -1, 1, -1, 128) * 2 - 1, words

    for _ in range(25):
        frames, words = batch()
        loss = functional.nll_loss(reader(frames).mean(1), words)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    frames, words = batch()
    assert (reader(frames).mean(1).argmax(1) == words).float().mean() > 0.8


def test_the_reader_comes_back(tmp_path: Path) -> None:
    reader = LipReader(TINY).eval()
    frames = draws(1, READ, 1, 128, 128)
    save_reader(reader, tmp_path / "reader.safetensors")
    again = load_reader(tmp_path / "reader.safetensors")
    assert again.config == TINY
    assert torch.equal(again(frames), reader(frames))
    assert not any(weight.requires_grad for weight in again.parameters())
    save_reader(reader, tmp_path / "half.safetensors", half=True)
    half = load_reader(tmp_path / "half.safetensors")
    assert (half(frames) - reader(frames)).abs().max() < 0.02


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"words": ["a", "b"], "width": 100000}'])
def test_files_that_are_no_readers(text: str, tmp_path: Path) -> None:
    path = tmp_path / "reader.safetensors"
    save_weights(nn.Linear(1, 1), path, {"reader": text})
    with pytest.raises(ValueError, match=r"reader\.safetensors: "):
        load_reader(path)
