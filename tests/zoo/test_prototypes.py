"""Ageing by prototypes: warps, bands, and what two flat groups differ by."""

import pytest
import torch
from torch import Tensor

from neuralpaint.zoo.face_template import TEMPLATE
from neuralpaint.zoo.prototypes import MOST, STRONGER, Prototypes, bands, blurred, face_area
from neuralpaint.zoo.spline import warped

SIZE = 64
FACE = torch.from_numpy(TEMPLATE.copy()).float().view(1, 136)


def smooth(count: int, seed: int = 0) -> Tensor:
    noise = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return blurred(noise, 4) * 2


def test_no_move_is_no_change() -> None:
    images = smooth(2)
    torch.testing.assert_close(
        warped(images, FACE.expand(2, -1), FACE.expand(2, -1)), images, atol=1e-4, rtol=0
    )


def test_what_lies_at_a_landmark_moves_with_it_and_borders_stay() -> None:
    moved = FACE.clone().view(1, 68, 2)
    moved[:, 27:36] += torch.tensor([0.06, -0.04])  # the nose
    moved[:, 48:] += torch.tensor([0.0, 0.05])  # the mouth
    steps = (torch.arange(SIZE) + 0.5) / SIZE
    ramps = torch.stack([steps.expand(SIZE, -1), steps[:, None].expand(-1, SIZE)])[None]
    seen = warped(ramps, FACE, moved.view(1, 136))
    places = 2 * moved - 1  # the ramps say from where in the picture each pixel comes
    found = torch.nn.functional.grid_sample(seen, places[None], align_corners=False)[0, :, 0].T
    apart = (found - FACE.view(68, 2)).norm(dim=1)
    assert apart.max() < 0.02
    still = (ramps - seen).abs()
    for edge in (still[..., 0], still[..., -1], still[..., 0, :], still[..., -1, :]):
        assert edge.max() < 0.02


def test_blur_keeps_what_is_flat_and_bands_add_up() -> None:
    flat = torch.full((1, 3, SIZE, SIZE), 0.3)
    torch.testing.assert_close(blurred(flat, 2.5), flat)
    images = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    scale = SIZE / 128
    whole = blurred(images, 0.8 * scale) - blurred(images, 6.4 * scale)
    torch.testing.assert_close(sum(bands(images)), whole)


def test_an_area_holds_the_face_and_not_the_corners() -> None:
    area = face_area(FACE, SIZE)[0, 0]
    points = (FACE.view(68, 2) * SIZE).long().clamp(0, SIZE - 1)
    assert area[points[17:, 1], points[17:, 0]].min() > 0.9
    assert area[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0


def flats(level: float = 10.0) -> tuple[Tensor, Tensor, Tensor]:
    """Two faces of each group, all of one grey that grows with age, with a fixed grain."""
    groups = torch.arange(20) % 10
    grain = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    strength = torch.where(groups < 5, 2.0, 4.0)[:, None, None, None]
    images = 60 + level * groups[:, None, None, None] + strength * grain
    return images.clamp(0, 255).to(torch.uint8), FACE.expand(20, -1), groups


def test_faces_get_the_colours_and_the_grain_of_the_target_group() -> None:
    images, landmarks, groups = flats()
    made = Prototypes(images, landmarks, groups)
    source, target = torch.tensor([1]), torch.tensor([8])
    face = images[1:2] / 127.5 - 1
    aged = made.aged(face, FACE, source, target, FACE)
    middle = (slice(None), slice(None), slice(28, 36), slice(28, 36))
    brighter = (aged - face)[middle].mean() * 127.5
    assert brighter.item() == pytest.approx(STRONGER * 70, abs=4)
    rough, plain = (torch.stack(bands(images)).sum(0)[middle] for images in (aged, face))
    grain = rough.std() / plain.std()
    assert 1.5 < grain.item() < MOST + STRONGER  # the means have a grain too
    corner = (slice(None), slice(None), slice(0, 1), slice(0, 1))
    torch.testing.assert_close(aged[corner], face[corner], atol=1e-3, rtol=0)


def test_the_own_group_is_no_change() -> None:
    images, landmarks, groups = flats()
    made = Prototypes(images, landmarks, groups)
    face, own = images[3:4] / 127.5 - 1, torch.tensor([3])
    torch.testing.assert_close(made.aged(face, FACE, own, own, FACE), face, atol=2e-3, rtol=0)


def test_every_group_is_needed() -> None:
    images, landmarks, groups = flats()
    with pytest.raises(ValueError, match="all age groups"):
        Prototypes(images, landmarks, groups.clamp(max=8))
