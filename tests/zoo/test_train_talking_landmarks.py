"""Training of the landmark predictor: it follows the sound and beats what keeps still; resuming."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neuralpaint.zoo.data.talking import Clips
from neuralpaint.zoo.talking_landmarks import TalkingLandmarksConfig, load_talking_landmarks
from neuralpaint.zoo.train.clip_batches import reflected
from neuralpaint.zoo.train.loop import fit
from neuralpaint.zoo.train.talking_landmarks import (
    Settings,
    TalkingLandmarksTrainer,
    train_talking_landmarks,
)

CPU = torch.device("cpu")
CONFIG = TalkingLandmarksConfig(components=4, hidden=16)
TINY = Settings(steps=4, batch=4, frames=16)
Toys = Callable[..., Clips]


def test_follows_the_sound_and_comes_back(toys: Toys, tmp_path: Path) -> None:
    data = toys(12, 4, size=16)
    settings = Settings(steps=80, batch=8, frames=24, rate=1e-2)
    result = train_talking_landmarks(data, CONFIG, tmp_path, settings, measure_every=80)
    figures = result["figures"]
    for still in ("first", "average", "shuffled"):
        assert figures["error"] < 0.5 * figures[still], still
    assert figures["motion"] == pytest.approx(1, abs=0.3)
    made = TalkingLandmarksTrainer(CONFIG, settings, data, CPU)
    kept = load_talking_landmarks(tmp_path / "talking-landmarks.safetensors")
    made.predictor.load_state_dict(kept.state_dict())
    assert made.measure()["error"] == pytest.approx(result["best"], rel=1e-3)


def test_untrained_it_is_the_first_frame(toys: Toys) -> None:
    figures = TalkingLandmarksTrainer(CONFIG, TINY, toys(6, 2, size=16), CPU).measure()
    assert figures["error"] == pytest.approx(figures["first"])
    assert figures["motion"] == pytest.approx(0, abs=1e-5)


def test_resumed_is_uninterrupted(toys: Toys, tmp_path: Path) -> None:
    data = toys(4, 1, size=16)

    def run(folder: str, steps: int) -> TalkingLandmarksTrainer:
        made = TalkingLandmarksTrainer(CONFIG, TINY, data, CPU)
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


def test_every_setting_counts(toys: Toys) -> None:
    data = toys(4, 1, size=16)
    changes: dict[str, Settings] = {
        "mouth": replace(TINY, mouth=1.0),
        "motion": replace(TINY, motion=0.0),
        "rest": replace(TINY, rest=1.0),
        "noise": replace(TINY, noise=0.0),
    }
    whole = TalkingLandmarksTrainer(CONFIG, TINY, data, CPU)
    whole.step(0)
    for name, settings in changes.items():
        made = TalkingLandmarksTrainer(CONFIG, settings, data, CPU)
        made.step(0)
        pairs = zip(made.predictor.parameters(), whole.predictor.parameters(), strict=True)
        assert not all(torch.equal(a, b) for a, b in pairs), name


def test_at_rest_the_first_frame_is_given(toys: Toys) -> None:
    data = toys(4, 0, size=16)
    made = TalkingLandmarksTrainer(CONFIG, replace(TINY, rest=1.0, batch=32), data, CPU)
    rests = data.landmarks[data.first[:-1]]
    given = made.batch(0).first
    both = torch.stack([rests, reflected(rests)])
    apart = (given[:, None, None] - both).abs().amax(3).amin(2)  # (32, 2): as it is, mirrored
    assert (apart.min(1).values < 1e-6).all()
    assert (apart[:, 0] > 1e-3).any()
    assert (apart[:, 1] > 1e-3).any()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frames": 1}, "frames must be at least 2"),
        ({"noise": -0.1}, "noise must be finite"),
        ({"rest": 1.1}, "rest must lie"),
        ({"precision": "int8"}, "precision must be"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_windows_longer_than_clips(toys: Toys) -> None:
    with pytest.raises(ValueError, match="no clip to train on has 50 frames"):
        TalkingLandmarksTrainer(CONFIG, Settings(), toys(4, 1, size=16), CPU)
