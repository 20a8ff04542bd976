"""Training of the landmark predictor: pairs, mean shapes, resuming; it beats copying."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neuralpaint.zoo.ages import CENTRES
from neuralpaint.zoo.data.faces import Faces
from neuralpaint.zoo.ldcgan_parts import LdcGanConfig, load_predictor
from neuralpaint.zoo.train.landmarks import LandmarkTrainer, Settings, distance, train_landmarks
from neuralpaint.zoo.train.loop import fit

CPU = torch.device("cpu")
CONFIG = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=16, judge=2)
TINY = Settings(steps=4, batch=8, precision="fp32")


def toys(people: int = 16, paired: bool = True) -> Faces:
    """Rings of points, larger with age; everyone has a place of their own."""
    draws = torch.Generator().manual_seed(0)
    count = people * 10
    groups, identity = torch.arange(count) % 10, torch.arange(count) // 10
    angles = torch.arange(68) * (2 * torch.pi / 68)
    ring = torch.stack([angles.cos(), angles.sin()], 1)  # (68, 2)
    places = 0.5 + 0.1 * (torch.rand(people, 2, generator=draws) - 0.5)
    points = places[identity][:, None] + (0.2 + 0.02 * groups)[:, None, None] * ring
    light = (20 + 22 * groups)[:, None, None, None].expand(-1, 3, 64, 64)
    return Faces(
        name="rings",
        images=light.to(torch.uint8).contiguous(),
        ages=torch.tensor(CENTRES)[groups],
        landmarks=points.reshape(count, 136).float(),
        identity=identity if paired else torch.full((count,), -1),
        held_out=identity >= people * 3 // 4,
    )


def test_pairs_are_the_truth() -> None:
    made = LandmarkTrainer(CONFIG, TINY, toys(), CPU)
    index, groups = torch.tensor([0, 0, 25]), torch.tensor([0, 9, 1])
    batch = made.faces(made.pictures, index, groups)
    assert torch.equal(batch.truth, made.pictures.points[[0, 9, 21]])
    assert torch.equal(batch.truth[0], batch.landmarks[0])
    mirror = torch.tensor([False, True, True])
    turned = made.faces(made.pictures, index, groups, mirror)
    assert torch.equal(turned.truth[0], batch.truth[0])
    middles = (
        batch.truth.view(3, 68, 2)[..., 0].mean(1),
        turned.truth.view(3, 68, 2)[..., 0].mean(1),
    )
    assert (middles[0] + middles[1])[1:].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_without_pairs_the_mean_shape_moves_a_face() -> None:
    """Rings grow by similarity, so moving as the mean does is what the pairs would say."""
    paired = LandmarkTrainer(CONFIG, TINY, toys(), CPU)
    alone = LandmarkTrainer(CONFIG, TINY, toys(paired=False), CPU)
    # Mirrored rings have other points first, so these mean shapes are made without mirroring.
    points = alone.pictures.points.view(-1, 10, 136)
    alone.shapes = points.mean(0)
    index, groups = torch.arange(40), torch.arange(40).roll(7) % 10
    wanted = paired.faces(paired.pictures, index, groups)
    found = alone.faces(alone.pictures, index, groups)
    assert distance(found.truth, wanted.truth).max() < 0.5  # per cent of the side
    assert distance(found.landmarks, wanted.truth).max() > 10
    own = alone.faces(alone.pictures, index, alone.pictures.groups[index])
    assert torch.equal(own.truth, own.landmarks)


def test_beats_copying_and_comes_back(tmp_path: Path) -> None:
    settings = Settings(steps=150, batch=32, rate=3e-3, precision="fp32")
    result = train_landmarks(toys(), CONFIG, tmp_path, settings, measure_every=150)
    figures = result["figures"]
    assert figures["error"] < 0.5 * figures["copy"]
    made = LandmarkTrainer(CONFIG, settings, toys(), CPU)
    made.predictor.load_state_dict(load_predictor(tmp_path / "landmarks.safetensors").state_dict())
    assert made.measure()["error"] == pytest.approx(result["best"], rel=1e-4)
    assert made.sample().std() > 0


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> LandmarkTrainer:
        made = LandmarkTrainer(CONFIG, TINY, toys(), CPU)
        facts = made.settings_facts()
        fit(made, steps, tmp_path / folder, facts, save_every=2, measure_every=100)
        return made

    whole = run("whole", 4)
    run("cut", 2)
    resumed = run("cut", 4)
    pairs = zip(
        whole.networks.state_dict().values(), resumed.networks.state_dict().values(), strict=True
    )
    assert all(torch.equal(a, b) for a, b in pairs)


def test_distance_by_hand() -> None:
    first, second = torch.zeros(1, 136), torch.zeros(1, 136)
    second[0, 4:6] = torch.tensor([0.3, 0.4])
    assert distance(first, second).item() == pytest.approx(100 * 0.5 / 68)


def test_faces_without_landmarks_are_left_out() -> None:
    data = toys()
    data.landmarks[::3] = torch.nan
    made = LandmarkTrainer(CONFIG, TINY, data, CPU)
    assert len(made.pictures) == 80
    assert made.pictures.points.isfinite().all()
    assert made.shapes.isfinite().all()
    made.step(0)
    assert all(value == value for value in made.measure().values())


def test_held_out_groups_that_training_lacks() -> None:
    data = toys(paired=False)
    rows = data.held_out | (data.ages < 80)
    lacking = replace(
        data,
        images=data.images[rows],
        ages=data.ages[rows],
        landmarks=data.landmarks[rows],
        identity=data.identity[rows],
        held_out=data.held_out[rows],
    )
    figures = LandmarkTrainer(CONFIG, TINY, lacking, CPU).measure()
    assert all(value == value for value in figures.values())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"latent": -1}, "latent must be finite"),
        ({"rate": float("inf")}, "rate must be finite"),
        ({"precision": "int8"}, "precision must be"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_one_age_group_is_not_enough() -> None:
    data = replace(toys(), ages=torch.full((160,), 25))
    with pytest.raises(ValueError, match="21-30 years old; ageing needs two age groups"):
        LandmarkTrainer(CONFIG, TINY, data, CPU)
