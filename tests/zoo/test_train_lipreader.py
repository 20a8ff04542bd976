"""Training of the lip reader: it learns words that differ by the mouth; resuming; figures."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neuralpaint.zoo.data.talking import SILENCE, Clips
from neuralpaint.zoo.lipreader import LipReaderConfig, load_reader
from neuralpaint.zoo.train.lipreader import (
    LipReaderTrainer,
    Settings,
    answers,
    spoken_loss,
    train_lipreader,
)
from neuralpaint.zoo.train.loop import fit

CPU = torch.device("cpu")
WORDS = ("bin", "lay", "place", "set", SILENCE)
CONFIG = LipReaderConfig(words=WORDS, width=4, blocks=(1, 1, 1, 1), hidden=16)
TINY = Settings(steps=4, batch=4, precision="fp32")
Toys = Callable[..., Clips]


def test_learns_to_read_and_comes_back(toys: Toys, tmp_path: Path) -> None:
    data = toys(12, 4)
    settings = Settings(
        steps=40, batch=6, rate=1e-2, decay=0.8, augment=0.0, late=0, precision="fp32"
    )
    result = train_lipreader(data, CONFIG, tmp_path, settings, measure_every=40)
    figures = result["figures"]
    assert figures["accuracy"] > 0.6 > 2 * figures["chance"] - 0.1
    made = LipReaderTrainer(CONFIG, settings, data, CPU)
    state = load_reader(tmp_path / "lipreader.safetensors").state_dict()
    made.average.load_state_dict(state)
    assert made.measure()["accuracy"] == pytest.approx(result["best"], abs=0.1)  # half precision
    assert (tmp_path / "samples.png").exists()


def test_resumed_is_uninterrupted(toys: Toys, tmp_path: Path) -> None:
    data = toys(4, 1)

    def run(folder: str, steps: int) -> LipReaderTrainer:
        made = LipReaderTrainer(CONFIG, TINY, data, CPU)
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


def test_figures_by_hand(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    made = LipReaderTrainer(CONFIG, TINY, toys(6, 2), CPU)
    held = made.held
    assert held is not None

    def always_bin(words: object, index: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.6, 0.1, 0.1, 0.1, 0.1]).log().expand(len(index), 16, -1)

    monkeypatch.setattr(made, "read", always_bin)
    figures = made.measure()
    spoken = held.labels[held.labels != 4]
    assert figures["accuracy"] == pytest.approx((spoken == 0).float().mean().item())
    assert figures["balanced"] == pytest.approx(1 / len(spoken.unique()))
    assert figures["silence"] == 0
    counts = made.words.counts.clone()
    counts[4] = 0
    assert figures["chance"] == pytest.approx((spoken == counts.argmax()).float().mean().item())


def test_the_frames_of_a_batch_show_its_words(toys: Toys) -> None:
    """Without augmentation the middle frame is the card with that word's mouth."""
    data = toys(6, 2)
    made = LipReaderTrainer(CONFIG, replace(TINY, batch=12, augment=0.0, late=0), data, CPU)
    frames, labels = made.batch(0)
    assert frames.shape == (12, 16, 1, 128, 128)
    reds = []
    for word in range(4):
        chosen = frames[labels == word][:, 8, 0, 60:124, 32:96]
        if len(chosen):
            edge = chosen[:, :1, :1]
            reds.append(((chosen - edge).abs() > 0.05).float().sum((1, 2)).tolist())
    assert len(reds) > 2
    assert all(max(areas) == min(areas) for areas in reds)
    assert len({areas[0] for areas in reds}) == len(reds)


def test_loss_and_answers_by_hand() -> None:
    said = torch.tensor([[[0.5, 0.5], [0.2, 0.8]], [[0.9, 0.1], [0.4, 0.6]]]).log()
    assert answers(said).tolist() == [1, 0]
    wanted = -torch.tensor([0.5, 0.8, 0.1, 0.6]).log().mean()
    assert spoken_loss(said, torch.tensor([1, 1])).item() == pytest.approx(wanted.item())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"late": -1}, "late must be at least 0"),
        ({"augment": -1.0}, "augment must be finite"),
        ({"decay": 1.0}, "decay must lie"),
        ({"precision": "fp8"}, "precision must be"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_clips_that_do_not_serve(toys: Toys) -> None:
    with pytest.raises(ValueError, match="frames of 64 pixels"):
        LipReaderTrainer(CONFIG, TINY, toys(4, 1, size=64), CPU)
    foreign = replace(CONFIG, words=("yes", "no"))
    with pytest.raises(ValueError, match="no clip to train on has a word"):
        LipReaderTrainer(foreign, TINY, toys(4, 1), CPU)
    alone = LipReaderTrainer(CONFIG, TINY, toys(3, 0), CPU)
    assert alone.measure() == {}
    assert alone.sample().std() > 0
