"""Training of HfGAN: learns coloured squares, resumes bit for bit, shares a batch by processes."""

import json
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
from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.backend.weights import read_tensors
from neuralpaint.zoo import from_pretrained
from neuralpaint.zoo.damsm import Damsm, DamsmConfig, damsm_loss
from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.hfgan import Generator, HfGanConfig
from neuralpaint.zoo.text import Vocabulary
from neuralpaint.zoo.train.hfgan import HfGanTrainer, Settings, train_hfgan
from neuralpaint.zoo.train.loop import fit

ROOT = Path(neuralpaint.__file__).parents[1]
CPU = torch.device("cpu")
COLOURS = {"red": (230, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 230)}
TINY = Settings(steps=6, batch=4, precision="fp32", shift=0.1, penalty=1.0)


def squares(count: int = 48, size: int = 64) -> Captioned:
    """Pictures of one colour."""
    labels = torch.arange(count) % 3
    shades = torch.tensor(list(COLOURS.values()), dtype=torch.uint8)[labels]
    return Captioned(
        name="squares",
        images=shades[:, :, None, None].expand(-1, -1, size, size).contiguous(),
        captions=tuple((f"a {list(COLOURS)[label]} square",) for label in labels.tolist()),
        labels=labels,
        held_out=torch.arange(count) >= count * 3 // 4,
        species=tuple(COLOURS),
    )


def trainer(settings: Settings = TINY, ng: int = 4, dim: int = 8, **more: Any) -> HfGanTrainer:
    data = squares()
    words = Vocabulary.build(text for group in data.captions for text in group).words
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = DamsmConfig(vocabulary=words, dim=dim, embedding=dim, width=dim // 4)
        damsm = Damsm(config, dropout=0.0)  # so that a DAMSM taught in a test is always the same
    networks = HfGanConfig(
        size=64,
        ng=ng,
        nd=ng,
        z=dim,
        condition=dim,
        dim=dim,
        embedding=dim,
        growth=ng,
        vocabulary=words,
    )
    return HfGanTrainer(networks, settings, data, damsm, CPU, **more)


def run(settings: Settings, folder: Path, steps: int) -> HfGanTrainer:
    made = trainer(settings)
    fit(made, steps, folder, made.settings_facts(), save_every=3, measure_every=100)
    return made


def weights(made: HfGanTrainer) -> list[Tensor]:
    return list(made.networks.state_dict().values())


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    whole = run(TINY, tmp_path / "whole", 6)
    run(TINY, tmp_path / "cut", 3)
    resumed = run(TINY, tmp_path / "cut", 6)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        assert torch.equal(a, b)


def test_every_term_counts() -> None:
    steps = {}
    for name, changed in {
        "all": TINY,
        "no damsm": replace(TINY, damsm=0),
        "no kl": replace(TINY, kl=0),
        "unconditional": replace(TINY, conditional=False),
        "conditional": replace(TINY, unconditional=False),
        "no shift": replace(TINY, shift=0),
        "no penalty": replace(TINY, penalty=0),
    }.items():
        made = trainer(changed)
        losses = made.step(0)
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values())
        steps[name] = torch.cat([w.flatten().float() for w in weights(made)])
        assert ("damsm" in losses) == (name != "no damsm")
        assert ("kl" in losses) == (name != "no kl")
    for name, values in steps.items():
        assert name == "all" or not torch.equal(values, steps["all"])


def test_the_damsm_is_frozen_and_the_average_lags() -> None:
    made = trainer()
    before = [w.clone() for w in made.damsm.state_dict().values()]
    start = [w.clone() for w in made.average.parameters()]
    made.step(0)
    for a, b in zip(before, made.damsm.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for old, kept, new in zip(
        start, made.average.parameters(), made.generator.parameters(), strict=True
    ):
        assert torch.allclose(kept, 0.999 * old + 0.001 * new, atol=1e-6)


def taught(made: HfGanTrainer, steps: int) -> None:
    """Teach the DAMSM of a trainer which colour is which."""
    damsm = made.damsm.requires_grad_(True).train()
    optimiser = torch.optim.Adam(damsm.parameters(), 5e-3)
    draws = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = torch.arange(3) + 3 * torch.randint(10, (3,), generator=draws)
        ids, mask = made.pictures.text(index, torch.zeros(3))
        words, sentence = damsm.text(ids, mask)
        regions, whole = damsm.image(made.pictures.images(index, torch.full((3, 3), 0.5)))
        loss = damsm_loss(regions, whole, words, sentence, mask, made.pictures.labels[index])
        optimiser.zero_grad()
        (loss.words + loss.sentence).backward()
        optimiser.step()
    damsm.requires_grad_(False).eval()


def mismatch(made: HfGanTrainer) -> float:
    """L_DAMSM of generated images."""
    index = torch.arange(36)
    images, sentence = made.generate(made.pictures, index, 0)
    ids, mask = made.pictures.text(index, torch.zeros(36))
    regions, whole = made.damsm.image(images)
    words = made.damsm.text(ids, mask)[0]
    loss = damsm_loss(regions, whole, words, sentence, mask, made.pictures.labels[index])
    return float(loss.words + loss.sentence)


def test_learns_the_colours_of_its_captions() -> None:
    settings = Settings(batch=6, rate=1e-3, decay=0.9, damsm=50, penalty=1, precision="fp32")
    made = trainer(settings, ng=4, dim=32)
    taught(made, 60)
    before = mismatch(made)
    for step in range(60):
        made.step(step)
    assert mismatch(made) < 0.9 * before
    labels = torch.arange(36) % 3
    images, _ = made.generate(made.pictures, torch.arange(36), 0)
    shades = torch.tensor(list(COLOURS.values())) / 127.5 - 1
    distances = torch.cdist(images.mean((2, 3)), shades)
    own = distances[torch.arange(36), labels].mean()
    others = (distances.sum() - 36 * own) / 72
    assert own < 0.95 * others  # a generator that does not read is as far from all


def test_saves_what_generation_needs(tmp_path: Path) -> None:
    made = trainer()
    made.save(tmp_path / "weights.safetensors")
    tensors, meta = read_tensors(tmp_path / "weights.safetensors", 2**26)
    assert HfGanConfig.from_json(json.loads(meta["config"])) == made.config
    assert {name.split(".")[0] for name in tensors} == {"text", "generator"}
    assert tensors["generator.image.weight"].dtype == torch.float16


def test_held_out_figures_and_samples() -> None:
    made = trainer()
    figures = made.measure()
    assert figures["frechet"] > 0
    assert 0 <= figures["top1"] <= 1
    page = made.sample()
    assert page.ndim == 3
    assert page.std() > 0


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"decay": 1.0}, "decay must lie"),
        ({"precision": "fp8"}, "precision must be"),
        ({"conditional": False, "unconditional": False}, "switch the conditional"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_another_vocabulary_is_refused() -> None:
    made = trainer()
    with pytest.raises(ValueError, match="other words"):
        HfGanTrainer(replace(made.config, vocabulary=("cat",)), TINY, squares(), made.damsm, CPU)


SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from test_train_hfgan import TINY, trainer
from neuralpaint.backend.distributed import start, stop
torch.set_num_threads(1)
group = start(torch.device("cpu"))
made = trainer(TINY, group=group)
losses = []
for step in range(3):
    found = {name: torch.as_tensor(value).clone() for name, value in made.step(step).items()}
    group.average(list(found.values()))
    losses.append({name: value.item() for name, value in found.items()})
weights = torch.cat([w.flatten().double() for w in made.networks.state_dict().values()])
facts = {"losses": losses, "weights": weights.tolist()[::97]}
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
    alone = trainer(TINY)
    for step, losses in enumerate(first["losses"]):
        found = alone.step(step)
        for name, value in losses.items():
            assert value == pytest.approx(float(found[name]), rel=1e-3, abs=1e-4), (step, name)
    kept = torch.cat([w.flatten().double() for w in weights(alone)])[::97]
    apart = (kept - torch.tensor(first["weights"], dtype=torch.float64)).abs()
    assert apart.median() < 1e-5


def test_another_run_begins_with_what_one_left(tmp_path: Path) -> None:
    data, first = squares(), trainer()
    settings = replace(TINY, steps=2)
    train_hfgan(data, first.damsm, first.config, tmp_path / "one", settings, device="cpu")
    model = from_pretrained(tmp_path / "one/model", device="cpu")
    assert "2 steps of 4 pictures of squares" in model.card.training
    result = model.generate("a red square", seed=1, output_type="np")
    assert result.images.shape == (1, 64, 64, 3)
    second = trainer(replace(TINY, seed=5))
    generator = model.networks["generator"]
    assert isinstance(generator, Generator)
    second.begin_with(generator, tmp_path / "one/discriminator")
    for network in (second.generator, second.average):
        for name, weight in network.state_dict().items():
            assert torch.equal(weight, generator.state_dict()[name])
    kept = Checkpoints(tmp_path / "one").newest()
    assert kept is not None
    for name, weight in second.discriminator.state_dict().items():
        trained = kept.tensors[f"network.discriminator.{name}"]
        assert torch.allclose(weight, trained, rtol=1e-3, atol=1e-4), name


def test_a_model_is_no_discriminator(tmp_path: Path) -> None:
    made = trainer()
    (tmp_path / "config.json").write_text(
        json.dumps({"model": "hfgan", "format": 1, "config": {}, "card": {}})
    )
    with pytest.raises(ValueError, match="holds 'hfgan', not 'hfgan-discriminator'"):
        made.begin_with(made.average, tmp_path)
    data, folder = squares(), tmp_path / "run"
    with pytest.raises(ValueError, match="needs its generator"):
        train_hfgan(data, made.damsm, made.config, folder, TINY, discriminator=tmp_path)
    other = trainer(ng=8)
    with pytest.raises(ValueError, match="generator: weight"):
        made.begin_with(other.average)
