"""Training of LDcGAN: ages toy faces, resumes bit for bit, every term counts, processes share."""

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
from torch import Tensor, nn

import neuralpaint
from neuralpaint.zoo.ages import CENTRES, age_code
from neuralpaint.zoo.data.faces import Faces
from neuralpaint.zoo.face_judges import AgeClassifier, IdentityFeatures
from neuralpaint.zoo.layers import BatchNorm
from neuralpaint.zoo.ldcgan import LandmarkPredictor, LdcGanConfig, load_ldcgan
from neuralpaint.zoo.ldcgan_losses import Weights, age_loss
from neuralpaint.zoo.train.ages import JudgeTrainer
from neuralpaint.zoo.train.ages import Settings as JudgeSettings
from neuralpaint.zoo.train.ldcgan import LdcGanTrainer, Settings, train_ldcgan
from neuralpaint.zoo.train.loop import fit

ROOT = Path(neuralpaint.__file__).parents[1]
CPU = torch.device("cpu")
CONFIG = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=8, judge=4)
TINY = Settings(steps=4, batch=4, precision="fp32", shift=0.1, penalty=1.0)
ONLY = dict.fromkeys(("adversarial", "reverse", "age", "reverse_age", "identity", "cycle"), 0.0)


def toys(people: int = 8, paired: bool = True, size: int = 64) -> Faces:
    """Squares that grow lighter with age, before a background of each person's colour."""
    draws = torch.Generator().manual_seed(0)
    count, quarter = people * 10, size // 4
    groups, identity = torch.arange(count) % 10, torch.arange(count) // 10
    colours = torch.rand(people, 3, 1, 1, generator=draws) * 100
    images = colours[identity].expand(-1, -1, size, size).clone()
    inside = slice(quarter, size - quarter)
    images[:, :, inside, inside] = 25.0 * groups[:, None, None, None]
    angles = torch.arange(68) * (2 * torch.pi / 68)
    ring = torch.stack([angles.cos(), angles.sin()], 1)
    points = 0.5 + (0.2 + 0.01 * groups)[:, None, None] * ring
    return Faces(
        name="squares",
        images=images.to(torch.uint8),
        ages=torch.tensor(CENTRES)[groups],
        landmarks=points.reshape(count, 136).float(),
        identity=identity if paired else torch.full((count,), -1),
        held_out=identity >= people * 3 // 4,
    )


def frozen(config: LdcGanConfig = CONFIG) -> tuple[AgeClassifier, IdentityFeatures, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = LandmarkPredictor(config)
        nn.init.normal_(predictor.decoder[-1].weight, std=0.01)  # type: ignore[arg-type]
        return AgeClassifier(config.judge), IdentityFeatures(4), predictor


def trainer(settings: Settings = TINY, data: Faces | None = None, **more: Any) -> LdcGanTrainer:
    return LdcGanTrainer(CONFIG, settings, data or toys(), *frozen(), CPU, **more)


def flat(made: LdcGanTrainer) -> Tensor:
    return torch.cat([w.flatten().float() for w in made.networks.state_dict().values()])


# --- learning ------------------------------------------------------------------------------------


def test_ages_faces_as_the_classifier_sees_them() -> None:
    """Without pairs: what D_A says of generated faces teaches G."""
    data = toys(12, paired=False)
    judged = JudgeSettings(
        steps=60, batch=16, width=4, rate=1e-2, size=64, augment=0, precision="fp32"
    )
    judge = JudgeTrainer(judged, data, CPU)
    for step in range(60):
        judge.step(step)
    _, identity, predictor = frozen()
    classifier = judge.average
    assert isinstance(classifier, AgeClassifier)
    settings = Settings(
        batch=8,
        rate=5e-3,
        precision="fp32",
        weights=Weights(**{**ONLY, "age": 1.0}),
    )
    made = LdcGanTrainer(
        replace(CONFIG, ni=4), settings, data, classifier, identity, predictor, CPU
    )
    copied = []
    for step in range(10):
        batch = made.batch(step)
        with torch.no_grad():
            copied.append(age_loss(classifier(batch.images), batch.targets).item())
    losses = [made.step(step) for step in range(80)]
    assert sum(float(x["age"]) for x in losses[-10:]) < 0.8 * sum(copied)


def test_the_way_back_leads_to_the_input() -> None:
    made = trainer(replace(TINY, rate=5e-3, weights=Weights(**{**ONLY, "cycle": 10.0})))
    losses = [float(made.step(step)["cycle"]) for step in range(20)]
    assert losses[-1] < 0.5 * losses[0]


def test_pairs_teach_what_copying_cannot() -> None:
    weights = Weights(**{**ONLY, "paired": 1.0})
    settings = Settings(batch=8, rate=3e-3, decay=0.9, precision="fp32", weights=weights)
    made = LdcGanTrainer(replace(CONFIG, ni=4), settings, toys(), *frozen(), CPU)
    for step in range(60):
        made.step(step)
    held = made.held
    assert held is not None
    index = torch.arange(20)
    groups = (held.groups[:20] + 5) % 10
    other, known = held.same_person(index, groups)
    assert known.all()
    truth, output = held.images(other), made.figures.generate(held, index, groups)
    error = (output.image - truth).abs().mean()
    assert error < 0.8 * (held.images(index) - truth).abs().mean()


# --- steps ---------------------------------------------------------------------------------------


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    def run(folder: str, steps: int) -> LdcGanTrainer:
        made = trainer()
        facts = made.settings_facts()
        fit(made, steps, tmp_path / folder, facts, save_every=2, measure_every=100)
        return made

    whole = run("whole", 4)
    run("cut", 2)
    assert torch.equal(flat(whole), flat(run("cut", 4)))


def test_every_term_counts() -> None:
    base = replace(TINY, weights=Weights(mask=1, smooth=1, paired=1, outside=1))
    names = tuple(vars(base.weights))
    changes: dict[str, Settings] = {
        name: replace(base, weights=replace(base.weights, **{name: 0})) for name in names
    }
    changes |= {
        "second_cycle": replace(base, second_cycle=False),
        "conditional": replace(base, conditional=False),
        "unconditional": replace(base, unconditional=False),
        "norm": replace(base, norm="layer"),
        "penalty": replace(base, penalty=0),
        "shift": replace(base, shift=0),
        "noise": replace(base, noise=0.5),
        "coarse": replace(base, coarse=4),
        "edges": replace(base, edges=3),
        "balanced": replace(base, balanced=False),
        "wgan-gp": replace(base, adversarial="wgan-gp", norm="layer", penalty=10),
    }
    whole = trainer(base)
    assert set(whole.step(0)) == {"discriminator", *names}
    for name, settings in changes.items():
        made = trainer(settings)
        losses = made.step(0)
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values()), name
        if name in names:
            assert set(losses) == {"discriminator", *names} - {name}
        assert not torch.equal(flat(made), flat(whole)), name


def test_pairs_teach_colours_where_the_change_mask_is_closed() -> None:
    made = trainer(replace(TINY, weights=Weights(**{**ONLY, "paired": 1.0})))
    masks = made.generator.masks
    assert masks.bias is not None
    with torch.no_grad():
        masks.weight[0], masks.bias[0] = 0, 40.0  # f_A = 1: every pixel is the input's
    batch = made.batch(0)
    terms = made.terms(batch, made.passes(batch))
    (slope,) = torch.autograd.grad(terms["paired"], [masks.weight])
    assert slope[1:].abs().max() > 0


def test_prototypes_pair_whom_nobody_knows_at_two_ages() -> None:
    settings = replace(TINY, prototypes=True, weights=Weights(**{**ONLY, "paired": 1.0}))
    made = trainer(settings, toys(paired=False))
    batch = made.batch(0)
    assert not batch.known.all()
    passes = made.passes(batch)
    assert made.prototypes is not None
    wanted = made.prototypes.aged(
        batch.images, batch.landmarks, batch.sources, batch.targets, passes.landmarks
    )
    # The toys are as bright as they are old, and so are the prototypes.
    older = batch.targets > batch.sources
    change = (wanted - batch.images).mean((1, 2, 3))
    assert (change[older] > 0).all()
    losses = [float(made.step(step)["paired"]) for step in range(12)]
    assert losses[-1] < losses[0]


def test_nothing_is_worked_out_that_no_term_needs() -> None:
    made = trainer(replace(TINY, weights=Weights(**{**ONLY, "age": 1.0})))
    before = [w.clone() for w in made.discriminator.parameters()]
    assert set(made.step(0)) == {"age"}
    assert all(
        torch.equal(a, b) for a, b in zip(before, made.discriminator.parameters(), strict=True)
    )
    passes = made.passes(made.batch(1))
    assert passes.back is None
    assert passes.twice is None


def test_what_is_frozen_stays_and_the_average_follows() -> None:
    made = trainer()
    still = (made.classifier, made.identity, made.predictor)
    before = [w.clone() for network in still for w in network.state_dict().values()]
    start = [w.clone() for w in made.average.parameters()]
    made.step(0)
    after = [w for network in still for w in network.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    triples = zip(start, made.average.parameters(), made.generator.parameters(), strict=True)
    for old, kept, new in triples:
        assert torch.allclose(kept, 0.1 * old + 0.9 * new, atol=1e-5)


def test_batch_norm_remembers_real_faces_only() -> None:
    made = trainer()
    batch = made.batch(0)
    made.generator.train()
    with torch.no_grad():
        made.passes(batch)
    kept = {n: b.clone() for n, b in made.generator.named_buffers() if "running" in n}
    again = trainer()
    again.generator.train()
    code = age_code(batch.targets)
    with torch.no_grad():
        moved = again.predictor(batch.images, batch.landmarks, code)
        again.generator(batch.images, code, moved, batch.landmarks)
    found = dict(again.generator.named_buffers())
    assert all(torch.equal(values, found[name]) for name, values in kept.items())
    norms = [layer for layer in made.generator.modules() if isinstance(layer, BatchNorm)]
    assert {layer.momentum for layer in norms} == {0.1}


def test_real_faces_have_the_ages_asked_for() -> None:
    made = trainer(replace(TINY, batch=40, weights=Weights(paired=1)))
    batch = made.batch(0)
    middle = (batch.real[:, 0, 32, 32] + 1) * 127.5
    assert torch.equal((middle / 25).round().long(), batch.targets)
    middle = (batch.images[:, 0, 32, 32] + 1) * 127.5
    assert torch.equal((middle / 25).round().long(), batch.sources)
    middle = (batch.truth[:, 0, 32, 32] + 1) * 127.5
    assert batch.known.all()
    assert torch.equal((middle / 25).round().long(), batch.targets)
    assert torch.equal(batch.truth[:, :, 0, 0], batch.images[:, :, 0, 0])  # the same person


# --- files ---------------------------------------------------------------------------------------


def test_a_run_writes_what_generation_and_going_on_need(tmp_path: Path) -> None:
    settings = replace(TINY, steps=2)
    result = train_ldcgan(toys(), *frozen(), CONFIG, tmp_path, settings, measure_every=1)
    assert result["figures"]["frechet"] >= 0
    assert (tmp_path / "samples.png").exists()
    config, networks = load_ldcgan(tmp_path / "best.safetensors")
    assert config == CONFIG
    generator: Any = networks["generator"]
    fresh = trainer()
    fresh.begin_with(generator, tmp_path / "discriminator")
    for a, b in zip(generator.parameters(), fresh.average.parameters(), strict=True):
        assert torch.equal(a, b)
    blank, trained = (
        [w.flatten() for w in each.discriminator.parameters()] for each in (trainer(), fresh)
    )
    assert not torch.equal(torch.cat(blank), torch.cat(trained))
    with pytest.raises(ValueError, match="generator: weight"):
        LdcGanTrainer(replace(CONFIG, ni=4), TINY, toys(), *frozen(), CPU).begin_with(generator)
    (tmp_path / "discriminator" / "config.json").unlink()
    with pytest.raises(ValueError, match="no such file"):
        fresh.begin_with(generator, tmp_path / "discriminator")


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"decay": 1.0}, "decay must lie"),
        ({"shift": -0.1}, "shift must lie"),
        ({"precision": "fp8"}, "precision must be"),
        ({"adversarial": "lsgan"}, "adversarial must be"),
        ({"adversarial": "wgan-gp"}, "needs a penalty"),
        ({"conditional": False, "unconditional": False}, "switch the conditional"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_parts_that_do_not_fit() -> None:
    classifier, identity, predictor = frozen()
    with pytest.raises(ValueError, match="set judge to 4"):
        LdcGanTrainer(replace(CONFIG, judge=8), TINY, toys(), classifier, identity, predictor, CPU)
    with pytest.raises(ValueError, match="size and latent"):
        LdcGanTrainer(replace(CONFIG, latent=4), TINY, toys(), classifier, identity, predictor, CPU)
    with pytest.raises(ValueError, match="nobody in it is seen at two ages"):
        trainer(replace(TINY, weights=Weights(paired=1)), toys(paired=False))
    with pytest.raises(ValueError, match="two age groups"):
        trainer(data=replace(toys(), ages=torch.full((80,), 3)))
    with pytest.raises(ValueError, match="faces of 32 pixels"):
        trainer(data=toys(size=32))


def test_other_judges_are_other_settings() -> None:
    facts = trainer().settings_facts()
    classifier, identity, predictor = frozen()
    with torch.no_grad():
        classifier.head.bias.add_(1)
    other = LdcGanTrainer(CONFIG, TINY, toys(), classifier, identity, predictor, CPU)
    assert other.settings_facts() != facts
    assert json.loads(json.dumps(facts)) == facts


SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from test_train_ldcgan import CPU, trainer
from neuralpaint.backend.distributed import start, stop
torch.set_num_threads(1)
group = start(CPU)
made = trainer(group=group)
losses = []
for step in range(2):
    found = {name: torch.as_tensor(value).clone() for name, value in made.step(step).items()}
    group.average(list(found.values()))
    losses.append({name: value.item() for name, value in found.items()})
Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(losses))
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
    alone = trainer()
    for step, losses in enumerate(first):
        found = alone.step(step)
        near = 1e-2 if step else 1e-3  # Adam at first takes the signs of gradients that are noise
        for name, value in losses.items():
            assert value == pytest.approx(float(found[name]), rel=near, abs=1e-5), (step, name)
