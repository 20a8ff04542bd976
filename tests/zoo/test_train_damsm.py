"""Training of DAMSM on coloured squares: it learns, resumes bit for bit, and shares a batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import neuralpaint
from neuralpaint.backend import device as devices
from neuralpaint.backend.distributed import Group
from neuralpaint.zoo.damsm import load_damsm
from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.train import damsm as training
from neuralpaint.zoo.train.damsm import DamsmTrainer, Settings, train_damsm
from neuralpaint.zoo.train.loop import Progress

ROOT = Path(neuralpaint.__file__).parents[1]
CPU = torch.device("cpu")
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 40),
    "blue": (30, 50, 220),
    "yellow": (230, 220, 40),
    "white": (240, 240, 240),
    "black": (20, 20, 20),
}
TINY = Settings(steps=6, batch=8, size=32, dim=16, embedding=12, width=4, precision="fp32", seed=3)


class StoppedError(Exception):
    """As good as a kill: the run ends between two checkpoints."""


def squares(count: int, seed: int, side: int = 36, held: float = 0.25) -> Captioned:
    """Pictures of a square of one colour on another; thirty classes, two captions each."""
    generator = torch.Generator().manual_seed(seed)
    names, palette = list(COLOURS), torch.tensor(list(COLOURS.values()))
    front = torch.randint(6, (count,), generator=generator)
    back = (front + torch.randint(1, 6, (count,), generator=generator)) % 6
    noise = torch.randint(-12, 13, (count, 3, side, side), generator=generator)
    images = palette[back][:, :, None, None] + noise
    width = side // 2
    for i in range(count):
        y, x = torch.randint(side - width, (2,), generator=generator).tolist()
        change = palette[front[i]] - palette[back[i]]
        images[i, :, y : y + width, x : x + width] += change[:, None, None]
    pairs = [(names[a], names[b]) for a, b in zip(front.tolist(), back.tolist(), strict=True)]
    long = "here you see one {} square and all around it as far as one can see it is {}"
    return Captioned(
        name="squares",
        images=images.clamp(0, 255).byte(),
        captions=tuple((f"a {a} square on {b}", long.format(a, b)) for a, b in pairs),
        labels=front * 6 + back,
        held_out=torch.arange(count) >= round(count * (1 - held)),
        species=tuple(f"{a} on {b}" for a in names for b in names),
    )


@pytest.fixture(scope="module")
def data() -> Captioned:
    return squares(48, seed=1)


def weights(trainer: DamsmTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.damsm.state_dict().items()}


# --- it learns -----------------------------------------------------------------------------------


def test_it_learns_which_text_belongs_to_which_picture(tmp_path: Path) -> None:
    data = squares(400, seed=0)
    settings = replace(
        TINY, steps=60, batch=20, dim=32, embedding=24, width=8, rate=0.004, precision="bf16"
    )
    seen: list[Progress] = []
    before = DamsmTrainer(settings, data, CPU).measure()
    result = train_damsm(
        data, tmp_path, settings, device="cpu", measure_every=30, report=seen.append
    )
    after = result["figures"]
    # 100 held-out pictures: guessing gets one in a hundred texts right.
    assert before["chance"] <= 1 / 90
    assert after["top1"] > 0.3 > 4 * before["top1"]
    for name in ("words", "sentence"):
        assert after[name] < 0.75 * before[name]
        assert seen[-1].losses[name] < 0.85 * seen[0].losses[name]
    # what is shipped is the best, with its vocabulary, and needs nothing else
    loaded = load_damsm(tmp_path / "damsm.safetensors")
    assert set(COLOURS) < set(loaded.vocabulary.words)
    trainer = DamsmTrainer(settings, data, CPU)
    trainer.damsm.load_state_dict(loaded.state_dict())
    assert trainer.measure()["loss"] == pytest.approx(result["best"], rel=0.02)  # float16


# --- one step ------------------------------------------------------------------------------------


def test_a_batch_hangs_on_seed_and_step_alone(data: Captioned) -> None:
    trainer = DamsmTrainer(TINY, data, CPU)
    later, first = trainer.batch(5), trainer.batch(0)
    again = DamsmTrainer(TINY, data, CPU).batch(5)
    other = DamsmTrainer(replace(TINY, seed=4), data, CPU).batch(5)
    assert all(torch.equal(a, b) for a, b in zip(later, again, strict=True))
    assert not torch.equal(later.images, first.images)
    assert not torch.equal(later.images, other.images)
    assert later.images.shape == (8, 3, 32, 32)
    assert later.ids.shape == later.mask.shape == (8, 15)
    assert -1 <= later.images.min() < -0.5 < 0.5 < later.images.max() <= 1


def test_texts_belong_to_their_pictures(data: Captioned) -> None:
    trainer = DamsmTrainer(TINY, data, CPU)
    known = trainer.damsm.vocabulary.words
    lengths = set()
    for step in range(20):
        batch = trainer.batch(step)
        for row, label in zip(batch.ids.tolist(), batch.labels.tolist(), strict=True):
            words = [known[number - 1] for number in row if number]
            lengths.add(len(words))
            front, back = data.species[label].split(" on ")
            assert {word for word in words if word in COLOURS} <= {front, back}
    assert lengths == {5, 15}  # both captions occur; the longer one has 17 words


def test_no_picture_is_twice_in_a_batch(data: Captioned) -> None:
    trainer = DamsmTrainer(replace(TINY, batch=36), data, CPU)  # all there are
    labels = trainer.batch(0).labels
    assert torch.equal(labels.sort().values, data.part(False).labels.sort().values)


def test_held_out_pictures_have_no_influence(data: Captioned) -> None:
    spoiled = replace(data, images=data.images.clone())
    spoiled.images[data.held_out] = 0
    found = []
    for each in (data, spoiled):
        trainer = DamsmTrainer(TINY, each, CPU)
        for step in range(2):
            trainer.step(step)
        found.append(weights(trainer))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_step_leaves_the_random_numbers_of_others_alone(data: Captioned) -> None:
    trainer = DamsmTrainer(TINY, data, CPU)
    state = torch.get_rng_state()
    trainer.step(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_rate_falls_with_the_epochs_to_a_tenth(data: Captioned) -> None:
    trainer = DamsmTrainer(replace(TINY, decay=0.5), data, CPU)  # 36 pictures: 4.5 steps an epoch
    rates = [trainer.rate(step) for step in (0, 4, 5, 8, 9, 13, 14, 900)]
    assert rates == [0.002, 0.002, 0.001, 0.001, 0.0005, 0.0005, 0.00025, 0.0002]
    trainer.step(9)
    assert trainer.optimisers["damsm"].param_groups[0]["lr"] == 0.0005


def test_the_text_encoders_gradient_is_clipped(data: Captioned) -> None:
    trainer = DamsmTrainer(replace(TINY, clip=1e-3), data, CPU)
    trainer.step(0)
    norms = {
        name: torch.stack([p.grad.norm() for p in part.parameters() if p.grad is not None]).norm()
        for name, part in (("text", trainer.damsm.text), ("image", trainer.damsm.image))
    }
    assert norms["text"].item() == pytest.approx(1e-3, rel=1e-3)
    assert norms["image"] > 0.01


def test_pictures_of_one_class_are_not_told_apart(data: Captioned) -> None:
    alike = replace(data, labels=torch.zeros_like(data.labels))
    losses = DamsmTrainer(TINY, alike, CPU).step(0)
    assert {name: value.item() for name, value in losses.items()} == {"words": 0, "sentence": 0}


# --- several processes ---------------------------------------------------------------------------

SCRIPT = """
import importlib.util
import json
import sys
from pathlib import Path

import torch

from neuralpaint.backend.distributed import start, stop
from neuralpaint.backend.weights import save_weights

spec = importlib.util.spec_from_file_location("tiny", sys.argv[1])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
torch.set_num_threads(1)
group = start(torch.device("cpu"))
trainer = tiny.DamsmTrainer(tiny.TINY, tiny.squares(48, seed=1), tiny.CPU, group)
losses = [{k: v.item() for k, v in trainer.step(step).items()} for step in range(2)]
out = Path(sys.argv[2])
save_weights(trainer.damsm, out / f"{group.rank}.safetensors", {})
share = len(trainer.batch(0).images)
(out / f"{group.rank}.json").write_text(json.dumps([group.size, share, losses]))
stop()
"""


def test_two_processes_train_as_one_does(tmp_path: Path, data: Captioned) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc_per_node", "2", str(script), __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    trainer = DamsmTrainer(TINY, data, CPU)
    before = weights(trainer)
    losses = [{k: v.item() for k, v in trainer.step(step).items()} for step in range(2)]
    for rank in (0, 1):
        size, share, found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert (size, share) == (2, 4)
        for ours, theirs in zip(losses, found, strict=True):
            assert theirs == pytest.approx(ours, rel=1e-4)
        after = load_file(tmp_path / f"{rank}.safetensors")
        for name, value in weights(trainer).items():
            # Adam moves a weight by up to the rate of 0.002 a step, whatever its gradient's size.
            torch.testing.assert_close(after[name], value, rtol=1e-3, atol=4e-4, msg=name)
        moved = sum((after[k] - v).norm() for k, v in before.items() if v.is_floating_point())
        apart = sum(
            (after[k] - v).norm() for k, v in weights(trainer).items() if v.is_floating_point()
        )
        assert apart < 0.01 * moved


# --- whole runs ----------------------------------------------------------------------------------


def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, data: Captioned) -> None:
    def run(name: str, report: Any = lambda progress: None, settings: Settings = TINY) -> None:
        train_damsm(
            data,
            tmp_path / name,
            settings,
            device="cpu",
            save_every=2,
            measure_every=3,
            report=report,
        )

    def stop(progress: Progress) -> None:
        raise StoppedError

    run("whole")
    with pytest.raises(StoppedError):
        run("parts", stop)
    for path in (tmp_path / "parts").glob("checkpoint-*6.safetensors"):
        path.unlink()  # of the last step: what is left is that of step 4
    run("parts")
    for name in ("damsm.safetensors", "last.safetensors"):
        whole, parts = ((tmp_path / run_ / name).read_bytes() for run_ in ("whole", "parts"))
        assert whole == parts
    with pytest.raises(ValueError, match=r"was begun with clip=0\.25, now 0\.5"):
        run("whole", settings=replace(TINY, clip=0.5))


def test_the_page_shows_pictures_and_where_words_look(data: Captioned) -> None:
    page = DamsmTrainer(TINY, data, CPU).sample()
    assert page.dtype == np.uint8
    assert page.shape == (5 * 208 + 30, 6 * 208 + 8, 3)  # six pictures, four words each
    assert page.std() > 10


def test_without_held_out_pictures_the_last_weights_are_kept(tmp_path: Path) -> None:
    data = squares(16, seed=2, held=0)
    settings = replace(TINY, steps=2)
    assert DamsmTrainer(settings, data, CPU).measure() == {}
    result = train_damsm(data, tmp_path, settings, device="cpu")
    assert result["figures"] == {}
    shipped = tmp_path / training.SHIPPED
    assert shipped.read_bytes() == (tmp_path / "last.safetensors").read_bytes()


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"size": 16}, "size must be at least 32"),
        ({"rate": float("nan")}, "rate must be positive"),
        ({"clip": 0}, "clip must be positive"),
        ({"decay": 1.1}, r"decay must lie in \(0, 1\]"),
        ({"dropout": 1}, r"dropout must lie in \[0, 1\)"),
        ({"image": "vgg"}, "image must be small or inception"),
        ({"precision": "fp16"}, "precision must be bf16 or fp32"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_runs_that_cannot_be_are_refused_before_they_start(data: Captioned, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="36 pictures to train on are fewer than a batch of 40"):
        DamsmTrainer(replace(TINY, batch=40), data, CPU)
    with pytest.raises(ValueError, match="36 pixels are too small to train at 64"):
        DamsmTrainer(replace(TINY, size=64), data, CPU)
    with pytest.raises(ValueError, match="needs the standard weights"):
        DamsmTrainer(replace(TINY, image="inception"), data, CPU)
    group = group_of(3)
    with pytest.raises(ValueError, match="a batch of 8 cannot be shared by 3 processes"):
        DamsmTrainer(TINY, data, CPU, group)
    with pytest.raises(FileNotFoundError, match="no such file of weights"):
        train_damsm(
            data,
            tmp_path / "out",
            replace(TINY, image="inception"),
            device="cpu",
            inception=tmp_path / "inception.safetensors",
        )
    assert not (tmp_path / "out").exists()


def group_of(count: int) -> Any:
    """A group of so many processes, of which this is the first."""
    group = Group()
    group.size = count
    return group


def test_the_precision_is_checked_at_the_start(
    data: Captioned, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: torch.device, dtype: torch.dtype) -> None:
        raise ValueError(f"{device} has no {dtype}")

    monkeypatch.setattr(devices, "autocast", refuse)
    with pytest.raises(ValueError, match=r"cpu has no torch.bfloat16"):
        DamsmTrainer(replace(TINY, precision="bf16"), data, CPU)
