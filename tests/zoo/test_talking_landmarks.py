"""The landmark predictor: its PCA against NumPy's SVD, causality, pieces, learning, files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo.talking.geometry import TEMPLATE
from neuralpaint.zoo.talking_landmarks import (
    TalkingLandmarks,
    TalkingLandmarksConfig,
    load_talking_landmarks,
    save_talking_landmarks,
)

TINY = TalkingLandmarksConfig(components=3, hidden=16)


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def faces(count: int) -> Tensor:
    return torch.from_numpy(TEMPLATE.ravel().copy()).float() + draws(count, 136) / 50


def ready(config: TalkingLandmarksConfig = TINY) -> TalkingLandmarks:
    """One whose basis is set and whose heads are not zero, as after training."""
    predictor = TalkingLandmarks(config).eval()
    predictor.fit_basis(draws(60, 136, seed=4) / 50)
    for head in (predictor.coefficients, predictor.beginning):
        nn.init.normal_(head.weight)
    return predictor


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"components": 137}, "components must be an integer from 1 to 136"),
        ({"hidden": 0}, "hidden must be an integer"),
        ({"layers": 1.0}, "layers must be an integer"),
        ({"depth": 1}, "unknown field 'depth' in the configuration of a landmark predictor"),
    ],
)
def test_bad_configurations(values: dict[str, float], complaint: str) -> None:
    assert TalkingLandmarksConfig.from_json(TINY.to_json()) == TINY
    with pytest.raises(ValueError, match=complaint):
        TalkingLandmarksConfig.from_json(values)


# --- principal components ------------------------------------------------------------------------


def test_principal_components_against_svd() -> None:
    offsets = draws(200, 136) * torch.linspace(0.001, 0.03, 136) + 0.01
    predictor = TalkingLandmarks(TINY)
    shares = predictor.fit_basis(offsets)
    centred = offsets.double().numpy() - offsets.double().numpy().mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    for found, axis in zip(predictor.basis.double().numpy(), axes[:3], strict=True):
        assert abs(found @ axis) == pytest.approx(1, abs=1e-5)
    expected = (sizes**2 / (sizes**2).sum())[:3]
    assert shares.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert predictor.spread.tolist() == pytest.approx((sizes[:3] / 200**0.5).tolist(), rel=1e-4)
    values = predictor.project(offsets - offsets.mean(0))
    assert torch.allclose(values.var(0, unbiased=False), torch.ones(3), atol=1e-4)


def test_the_sign_of_a_component_is_certain() -> None:
    offsets = draws(50, 136)
    one, other = TalkingLandmarks(TINY), TalkingLandmarks(TINY)
    one.fit_basis(offsets)
    other.fit_basis(-offsets)
    assert torch.allclose(one.basis, other.basis, atol=1e-5)


@pytest.mark.parametrize(
    ("offsets", "complaint"),
    [
        (torch.zeros(2, 136), "N at least 3"),
        (torch.zeros(9, 68), r"got \(9, 68\)"),
        (torch.ones(9, 136), "do not move"),
        (torch.full((9, 136), torch.nan), "not finite"),
    ],
)
def test_offsets_without_components(offsets: Tensor, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TalkingLandmarks(TINY).fit_basis(offsets)


# --- prediction ----------------------------------------------------------------------------------


def test_untrained_the_face_does_not_move() -> None:
    predictor, first = TalkingLandmarks(TINY), faces(2)
    predictor.fit_basis(draws(60, 136) / 50)
    moved, state = predictor(draws(2, 4, 28, 12), first)
    assert torch.equal(moved, first[:, None].expand(-1, 4, -1))
    assert state.shape == (2, 1, 2, 16)


def test_movements_lie_in_the_space_of_the_components() -> None:
    predictor, first = ready(), faces(2)
    moved, _ = predictor(20 * draws(2, 4, 28, 12), first)
    steps = moved - first[:, None]
    back = predictor.project(steps) * predictor.spread @ predictor.basis
    assert steps.abs().max() > 1e-3
    assert torch.allclose(back, steps, atol=1e-5)


def test_a_frame_knows_the_past_and_its_window_only() -> None:
    predictor = ready()
    windows, first = (20 * draws(2, 4, 28, 12)).requires_grad_(), faces(2).requires_grad_()
    moved, _ = predictor(windows, first)
    moved[0, 2].square().sum().backward()
    assert windows.grad is not None
    assert first.grad is not None
    slopes = windows.grad.flatten(2).abs().sum(2)
    assert (slopes[0, :3] > 0).all()
    assert not slopes[0, 3].any()
    assert not slopes[1].any()
    assert not first.grad[1].any()
    assert windows.grad[0, 2].abs().sum(1).gt(0).all()  # all rows of the window


@pytest.mark.parametrize("layers", [1, 2])
def test_pieces_are_as_one_pass(layers: int) -> None:
    predictor = ready(TalkingLandmarksConfig(components=3, hidden=16, layers=layers))
    windows, first = 20 * draws(2, 7, 28, 12), faces(2)
    with torch.no_grad():
        whole, last = predictor(windows, first)
        state, pieces = None, []
        for piece in windows.split((1, 4, 2), 1):
            moved, state = predictor(piece, first, state)
            pieces.append(moved)
    assert state is not None
    assert torch.allclose(torch.cat(pieces, 1), whole, atol=1e-6)
    assert torch.allclose(state, last, atol=1e-6)


def test_half_precision() -> None:
    predictor, windows, first = ready(), 20 * draws(2, 3, 28, 12), faces(2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        moved, state = predictor(windows, first)
        again, _ = predictor(windows, first, state)
    assert moved.dtype == again.dtype == state.dtype == torch.float32
    with torch.no_grad():
        assert (moved - predictor(windows, first)[0]).abs().max() < 0.01


def test_it_learns_to_follow_the_sound() -> None:
    """A mouth opens with the first coefficient; half the faces begin with it open already."""
    torch.manual_seed(0)
    predictor = TalkingLandmarks(TINY)
    direction = torch.zeros(136)
    direction[2 * 55 + 1 : 2 * 60 : 2] = 0.05  # the lower lip goes down
    generator = torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        opening, start = torch.rand(8, 5, generator=generator), torch.rand(8, generator=generator)
        windows = torch.randn(8, 5, 28, 12, generator=generator)
        windows[..., 0] += 30 * (opening[..., None] - 0.5)
        own = faces(1) + start[:, None] * direction
        return windows, own, faces(1) + opening[..., None] * direction

    values = torch.rand(100, 1, generator=generator) - 0.5
    predictor.fit_basis(values * direction + torch.randn(100, 136, generator=generator) / 1e4)
    optimiser = torch.optim.Adam(predictor.parameters(), 1e-2)
    for _ in range(60):
        windows, own, truth = batch()
        moved, _ = predictor(windows, own)
        loss = (moved - truth).square().mean() * 1e4
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    windows, own, truth = batch()
    with torch.no_grad():
        error = (predictor(windows, own)[0] - truth).square().mean()
    assert error < (own[:, None] - truth).square().mean() / 5  # than the first face kept
    assert error < (truth - truth.mean((0, 1))).square().mean() / 3  # than one face for all frames


# --- files ---------------------------------------------------------------------------------------


def test_the_predictor_comes_back(tmp_path: Path) -> None:
    predictor, windows, first = ready(), draws(2, 3, 28, 12), faces(2)
    save_talking_landmarks(predictor, tmp_path / "landmarks.safetensors")
    again = load_talking_landmarks(tmp_path / "landmarks.safetensors")
    assert again.config == TINY
    moved = predictor.requires_grad_(False)(windows, first)[0]
    assert torch.equal(again(windows, first)[0], moved)
    assert not any(weight.requires_grad for weight in again.parameters())
    save_talking_landmarks(predictor, tmp_path / "half.safetensors", half=True)
    half = load_talking_landmarks(tmp_path / "half.safetensors")
    assert torch.allclose(half(windows, first)[0], moved, atol=1e-3)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"hidden": 100000}', '{"depth": 3}', "{}"])
def test_files_that_are_no_predictors(text: str, tmp_path: Path) -> None:
    path = tmp_path / "landmarks.safetensors"
    save_weights(nn.Linear(1, 1), path, {"talking landmarks": text})
    with pytest.raises(ValueError, match=r"landmarks\.safetensors: "):
        load_talking_landmarks(path)
