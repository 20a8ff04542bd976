"""Training of the judges of faces: they learn toy faces, resume bit for bit, share a batch."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import neuralpaint
from neuralpaint.zoo.ages import CENTRES, OLDEST
from neuralpaint.zoo.data.faces import Faces
from neuralpaint.zoo.face_judges import AgeClassifier, load_judge
from neuralpaint.zoo.train.ages import (
    JudgeTrainer,
    Settings,
    identity_loss,
    train_judge,
    years_loss,
)
from neuralpaint.zoo.train.face_batches import (
    AUGMENT_DRAWS,
    FaceBatches,
    augmented,
    early,
    noisy,
    share,
)
from neuralpaint.zoo.train.loop import fit

ROOT = Path(neuralpaint.__file__).parents[1]
CPU = torch.device("cpu")
TINY = Settings(steps=4, batch=8, width=2, size=32, precision="fp32")

LOUD = replace(TINY, noise=0.5)


def toys(count: int = 80, size: int = 32, people: int = 8) -> Faces:
    """Grey with age, and with a coloured corner of each person's own."""
    draws = torch.Generator().manual_seed(0)
    groups = torch.arange(count) % 10
    identity = (torch.arange(count) // 10) % people
    light = 25.0 * groups[:, None, None, None]
    images = light.expand(-1, 3, size, size).clone()
    colours = torch.rand(people, 3, 1, 1, generator=draws) * 255
    images[:, :, : size // 2, : size // 2] = colours[identity]
    images += 5 * torch.randn(images.shape, generator=draws)
    return Faces(
        name="toys",
        images=images.clamp(0, 255).to(torch.uint8),
        ages=torch.tensor(CENTRES)[groups],
        landmarks=torch.full((count, 136), torch.nan),
        identity=identity,
        held_out=torch.arange(count) >= count * 3 // 4,
    )


def weights(made: JudgeTrainer) -> list[Tensor]:
    return list(made.networks.state_dict().values())


@pytest.mark.parametrize("task", ["groups", "years", "identity"])
def test_resumed_is_uninterrupted(task: str, tmp_path: Path) -> None:
    settings = replace(TINY, task=task)

    def run(folder: str, steps: int) -> JudgeTrainer:
        made = JudgeTrainer(settings, toys(), CPU)
        facts = made.settings_facts()
        fit(made, steps, tmp_path / folder, facts, save_every=2, measure_every=100)
        return made

    whole = run("whole", 4)
    run("cut", 2)
    resumed = run("cut", 4)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(a, b)


def test_the_classifier_learns(tmp_path: Path) -> None:
    settings = replace(TINY, steps=80, batch=20, width=4, rate=3e-3, augment=0.1)
    result = train_judge(toys(160), tmp_path, settings, measure_every=20)
    figures = result["figures"]
    assert figures["balanced"] > 0.4  # by chance a tenth
    assert figures["near"] >= figures["accuracy"]
    judge = load_judge(tmp_path / "age-classifier.safetensors", AgeClassifier)
    held = FaceBatches(toys(160).part(True), 32, CPU)
    found = judge(held.images(torch.arange(len(held)))).argmax(1)
    assert (found == held.groups).float().mean().item() == pytest.approx(result["best"], abs=0.06)


def test_the_regressor_learns() -> None:
    settings = replace(TINY, task="years", steps=80, batch=20, width=4, rate=3e-3, augment=0.1)
    made = JudgeTrainer(settings, toys(160), CPU)
    losses = [float(made.step(step)["loss"]) for step in range(80)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    figures = made.measure()
    assert figures["mae"] < 0.6 * figures["median_mae"]


def test_identities_are_learnt_across_ages() -> None:
    settings = replace(TINY, task="identity", steps=60, batch=20, width=4, rate=3e-3, augment=0.1)
    made = JudgeTrainer(settings, toys(160), CPU)
    before = made.measure()
    for step in range(60):
        made.step(step)
    after = made.measure()
    assert after["top1"] > max(before["top1"], 2 * after["chance"])


def test_samples_and_figures_without_held_out_faces() -> None:
    data = replace(toys(), held_out=torch.zeros(80, dtype=torch.bool))
    for task in ("groups", "years"):
        made = JudgeTrainer(replace(TINY, task=task), data, CPU)
        assert made.measure() == {}
        page = made.sample()
        assert page is not None
        assert page.std() > 0


def test_the_average_lags_and_forgets_the_start() -> None:
    made = JudgeTrainer(TINY, toys(), CPU)
    start = [w.clone() for w in made.average.parameters()]
    made.step(0)
    for old, kept, new in zip(
        start, made.average.parameters(), made.judge.parameters(), strict=True
    ):
        assert torch.allclose(kept, 0.1 * old + 0.9 * new, atol=1e-6)
    assert early(0.999, 10**6) == 0.999


# --- losses and batches --------------------------------------------------------------------------


def test_years_loss_is_least_at_the_age() -> None:
    ages = torch.tensor([30])
    years = torch.arange(OLDEST + 1.0)
    at = [
        years_loss(-((years - middle) ** 2)[None] / 8, ages).item() for middle in (20, 28, 30, 40)
    ]
    assert at[2] == min(at)
    # The same width as the wanted Gaussian (2 years): what is left is its entropy.
    entropy = math.log(2 * math.sqrt(2 * math.pi * math.e))
    assert at[2] == pytest.approx(entropy, abs=1e-3)


def test_identity_loss_by_hand() -> None:
    views = torch.eye(3)
    apart = torch.arange(3)
    # score 10 for the right one, 0 for two others
    expected = math.log(1 + 2 * math.exp(-10))
    assert identity_loss(views, views, apart).item() == pytest.approx(expected, rel=1e-2)
    # with all faces of one person nothing is left to confuse it with
    assert identity_loss(views, views[[0, 0, 0]], torch.zeros(3).long()).item() == 0


def test_augmentation() -> None:
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    middle = torch.full((4, AUGMENT_DRAWS), 0.5)
    assert torch.allclose(augmented(images, middle), images, atol=1e-5)
    mirror = middle.clone()
    mirror[:, 4] = 0.2
    assert torch.allclose(augmented(images, mirror), images.flip(3), atol=1e-5)
    bright = middle.clone()
    bright[:, 5:8] = 1.0
    assert torch.allclose(augmented(images, bright), (images + 0.1).clamp(-1, 1), atol=1e-5)
    wild = torch.rand(4, AUGMENT_DRAWS, generator=torch.Generator().manual_seed(1))
    assert not torch.allclose(augmented(images, wild), images, atol=0.1)
    assert augmented(images, wild, 5).abs().max() <= 1


def test_noise_is_as_much_as_drawn_whoever_shares_the_batch() -> None:
    images = torch.zeros(4, 3, 64, 64)
    draws = torch.tensor([[0.0, 0.1], [0.5, 0.2], [1.0, 0.3], [1.0, 0.3]], dtype=torch.float64)
    seen = noisy(images, draws, 0.4)
    assert torch.equal(seen[0], images[0])
    assert seen[1].std().item() == pytest.approx(0.2, rel=0.05)
    assert seen[2].std().item() == pytest.approx(0.4, rel=0.05)
    assert torch.equal(seen[2], seen[3])
    assert torch.equal(noisy(images[2:], draws[2:], 0.4), seen[2:])
    assert noisy(images, draws, 0) is images
    assert not torch.equal(*(JudgeTrainer(s, toys(), CPU).loss(0) for s in (TINY, LOUD)))


def test_faces_of_groups_and_of_people() -> None:
    batches = FaceBatches(toys(), 32, CPU)
    draws = torch.Generator().manual_seed(0)
    groups = torch.tensor([0, 9, 4, 4])
    assert batches.groups[batches.of_groups(groups, draws)].tolist() == groups.tolist()
    index = torch.arange(40)
    companions = batches.companions(index, draws)
    assert torch.equal(batches.people[companions], batches.people[index])
    assert not torch.equal(companions, index)
    other, known = batches.same_person(torch.tensor([0, 13]), torch.tensor([5, 2]))
    assert known.all()
    assert other.tolist() == [5, 12]
    assert batches.paired
    counts = torch.bincount(batches.groups[batches.draw(2000, draws, balanced=True)])
    assert counts.min() > 120


def test_unknown_people_are_people_of_their_own() -> None:
    data = replace(toys(), identity=torch.full((80,), -1))
    batches = FaceBatches(data, 32, CPU)
    index = torch.arange(20)
    assert torch.equal(batches.companions(index, torch.Generator()), index)
    other, known = batches.same_person(index, (batches.groups[:20] + 1) % 10)
    assert torch.equal(other, index)
    assert not known.any()
    assert not batches.paired


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"task": "gender"}, "task must be one of groups, years, identity"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"size": 40}, "multiple of 16"),
        ({"size": 16}, "size must be at least 32"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"decay": 1.0}, "decay must lie"),
        ({"precision": "fp8"}, "precision must be"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_faces_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="faces of 32 pixels"):
        JudgeTrainer(replace(TINY, size=64), toys(), CPU)
    with pytest.raises(ValueError, match="lower the batch"):
        JudgeTrainer(replace(TINY, batch=64), toys(), CPU)
    with pytest.raises(ValueError, match="no face has landmarks"):
        FaceBatches(toys(), 32, CPU, landmarks=True)


def test_a_batch_must_be_shared_equally() -> None:
    class Three:
        size, rank = 3, 1

    group: Any = Three()
    assert share(9, group) == slice(3, 6)
    with pytest.raises(ValueError, match="shared by 3 processes"):
        share(8, group)


SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from test_train_ages import CPU, TINY, JudgeTrainer, toys
from neuralpaint.backend.distributed import start, stop
torch.set_num_threads(1)
group = start(CPU)
facts = {}
for task in ("groups", "identity"):
    made = JudgeTrainer(replace(TINY, task=task), toys(), CPU, group)
    losses = []
    for step in range(3):
        loss = made.step(step)["loss"].clone()
        group.average([loss])
        losses.append(loss.item())
    facts[task] = losses
Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(facts))
stop()
"""


def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", str(script), str(tmp_path), str(Path(__file__).parent)),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    for task, losses in first.items():
        alone = JudgeTrainer(replace(TINY, task=task), toys(), CPU)
        found = [float(alone.step(step)["loss"]) for step in range(3)]
        assert losses == pytest.approx(found, rel=1e-3), task
