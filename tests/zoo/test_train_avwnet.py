"""Training of AVWnet: pictures that follow the sound, switchable terms, resuming, processes."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neuralpaint
from neuralpaint.backend.video import read_video
from neuralpaint.zoo.avwnet import (
    AvwnetConfig,
    LipReader,
    LipReaderConfig,
    TalkingLandmarks,
    TalkingLandmarksConfig,
    load_avwnet,
)
from neuralpaint.zoo.avwnet_losses import Weights, mouth_areas, pixel_loss
from neuralpaint.zoo.data.talking import SILENCE, Clips
from neuralpaint.zoo.train.avwnet import AvwnetTrainer, train_avwnet
from neuralpaint.zoo.train.avwnet_settings import Batch, Settings
from neuralpaint.zoo.train.loop import fit

ROOT = Path(neuralpaint.__file__).parents[1]
CPU = torch.device("cpu")
READER = LipReaderConfig(
    words=("bin", "lay", "place", "set", SILENCE), width=2, blocks=(1, 1, 1, 1), hidden=4
)
LANDMARKS = TalkingLandmarksConfig(components=4, hidden=8)
CONFIG = AvwnetConfig(ni=4, nd=2, audio=2, residual=True, reader=READER, landmarks=LANDMARKS)
EVERY = Weights(mask=1.0, smooth=1.0)
TINY = Settings(steps=4, batch=2, frames=2, apart=3, precision="fp32", weights=EVERY)
NONE = dict.fromkeys(vars(EVERY), 0.0)
Toys = Callable[..., Clips]


def frozen(data: Clips) -> tuple[LipReader, TalkingLandmarks]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        predictor = TalkingLandmarks(LANDMARKS)
        shapes = data.landmarks.view(len(data), -1, 136)
        predictor.fit_basis((shapes - shapes.mean(1, keepdim=True)).flatten(0, 1))
        nn.init.normal_(predictor.coefficients.weight, std=0.3)
        return LipReader(READER).eval(), predictor.eval()


def trainer(data: Clips, settings: Settings = TINY, **more: Any) -> AvwnetTrainer:
    return AvwnetTrainer(CONFIG, settings, data, *frozen(data), CPU, **more)


def flat(network: nn.Module) -> Tensor:
    return torch.cat([w.flatten().float() for w in network.state_dict().values()])


# --- learning ------------------------------------------------------------------------------------


def always(made: AvwnetTrainer, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Let a trainer see one batch again and again."""
    batch = made.batch(0)
    monkeypatch.setattr(made, "batch", lambda step: batch)
    return batch


def test_pixels_teach_what_the_example_cannot_show(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Weights(**{**NONE, "pixel": 1.0, "colour": 1.0})
    made = trainer(toys(8, 2), replace(TINY, frames=8, rate=3e-2, weights=weights))
    batch = always(made, monkeypatch)
    losses = [float(made.step(step)["pixel"]) for step in range(18)]
    repeated = 0.0
    for side in (64, 128):
        real, still = (
            torch.nn.functional.avg_pool2d(frames.flatten(0, 1), 128 // side).unflatten(0, (2, -1))
            for frames in (batch.frames, batch.example[:, None].expand_as(batch.frames))
        )
        repeated += pixel_loss(still, real, mouth_areas(batch.landmarks, side)).item()
    assert losses[0] > repeated
    assert losses[-1] < 0.7 * repeated


def test_the_reader_teaches_words(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = Weights(**{**NONE, "word": 1.0})
    settings = replace(TINY, frames=16, centred=1.0, rate=1e-2, weights=weights)
    made = trainer(toys(6, 0), settings)
    always(made, monkeypatch)
    losses = [float(made.step(step)["word"]) for step in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_discriminators_learn_to_tell_frames(toys: Toys) -> None:
    weights = Weights(**{**NONE, "match": 1.0})
    made = trainer(toys(6, 0), replace(TINY, frames=4, rate=3e-3, weights=weights))
    batch = made.batch(0)
    stages = made.stages(batch, made.make(batch))
    losses = [float(made.update_judges(batch, stages)) for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]


# --- steps ---------------------------------------------------------------------------------------


def test_resumed_is_uninterrupted(toys: Toys, tmp_path: Path) -> None:
    data = toys(6, 0)

    def run(folder: str, steps: int) -> AvwnetTrainer:
        made = trainer(data)
        facts = made.settings_facts()
        fit(made, steps, tmp_path / folder, facts, save_every=2, measure_every=100)
        return made

    whole = run("whole", 4)
    run("cut", 2)
    assert torch.equal(flat(whole.networks), flat(run("cut", 4).networks))


def test_every_term_counts(toys: Toys) -> None:
    data = toys(6, 0)
    names = set(vars(EVERY))
    changes = {name: replace(TINY, weights=Weights(**{**vars(EVERY), name: 0.0})) for name in names}
    changes |= {
        "coarse": replace(TINY, stages=("coarse",)),
        "fine": replace(TINY, stages=("fine",)),
        "centred": replace(TINY, centred=1.0),
        "predicted": replace(TINY, predicted=1.0),
        "judged": replace(TINY, judged=1),
        "apart": replace(TINY, apart=0),
        "mirror": replace(TINY, mirror=False, seed=1),
        "tint": replace(TINY, tint=0.5),
    }
    whole = trainer(data)
    assert set(whole.step(0)) == {"judges", *names}
    whole.step(1)  # masks begin flat, so that their roughness has a slope from here on
    mirrored = trainer(data, replace(TINY, seed=1))
    mirrored.step(0)
    mirrored.step(1)
    for name, settings in changes.items():
        made = trainer(data, settings)
        losses = made.step(0)
        made.step(1)
        assert all(torch.isfinite(torch.as_tensor(value)) for value in losses.values()), name
        if name in names:
            assert set(losses) == {"judges", *names} - {name}
        other = mirrored if name == "mirror" else whole
        if made.judges.keys() == other.judges.keys():
            assert not torch.equal(flat(made.networks), flat(other.networks)), name
        else:
            assert list(made.judges) == [name]


def test_nothing_is_worked_out_that_no_term_needs(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(toys(6, 0), replace(TINY, weights=Weights(**{**NONE, "pixel": 1.0})))
    assert not made.judges
    assert set(made.optimisers) == {"generator"}

    def never(*_: object) -> None:
        raise AssertionError("not needed")

    monkeypatch.setattr(made.reader, "forward", never)
    monkeypatch.setattr(made.predictor, "forward", never)
    batch = made.batch(0)
    assert batch.others.numel() == 0
    assert set(made.step(0)) == {"pixel"}


def test_what_is_frozen_stays_and_the_average_follows(toys: Toys) -> None:
    made = trainer(toys(6, 0))
    still = nn.ModuleList([made.reader, made.predictor])
    before = flat(still)
    start = [w.clone() for w in made.average.parameters()]
    made.step(0)
    assert torch.equal(flat(still), before)
    triples = zip(start, made.average.parameters(), made.generator.parameters(), strict=True)
    for old, kept, new in triples:
        assert torch.allclose(kept, 0.1 * old + 0.9 * new, atol=1e-5)


def test_a_batch_belongs_together(toys: Toys) -> None:
    data = toys(6, 0)
    made = trainer(data, replace(TINY, batch=8, frames=6, centred=0.5, judged=2))
    batch = made.batch(3)
    assert (batch.words >= 0).sum() == batch.asked == 4
    assert (batch.words != 4).all()  # silence is nothing to read
    corner = batch.frames[:, :, :, 0, 0]
    assert torch.equal(corner, batch.example[:, None, :, 0, 0].expand_as(corner))
    assert torch.equal(batch.given, batch.landmarks)
    dark = (batch.frames[:, :, 0] < -0.5).float().sum((2, 3))  # the area of the mouth
    high = batch.landmarks.unflatten(2, (68, 2))[:, :, 48:68]
    area = (high.amax(2) - high.amin(2)).prod(2) * 128**2
    assert torch.allclose(dark, area, rtol=0.2)
    sounds = {tuple(window.flatten().tolist()) for window in batch.windows.flatten(0, 1)}
    assert {tuple(window.flatten().tolist()) for window in batch.others.flatten(0, 1)} <= sounds | {
        tuple(window.flatten().tolist()) for window in data.windows
    }
    assert batch.others.shape == (8, 2, 28, 12)
    heard = trainer(data, replace(TINY, batch=8, predicted=1.0)).batch(3)
    assert not torch.allclose(heard.given, heard.landmarks, atol=1e-3)


# --- figures and files ---------------------------------------------------------------------------


def test_figures_of_a_generator_that_repeats_the_first_frame(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = toys(6, 2)
    made = trainer(data)
    assert made.held is not None
    held, figures = made.held, made.figures
    generate = figures.generate

    def first(clips: Any, clip: int) -> Any:
        frames = clips.frames(clips.rows(clip))
        return generate(clips, clip)._replace(fine=frames[:1].expand_as(frames))

    monkeypatch.setattr(figures, "generate", first)
    found = figures.measure(held)
    for name in ("l1", "psnr", "l1_mouth", "psnr_mouth"):
        assert found[name] == pytest.approx(found[f"first_{name}"])
    real = data.frames[held.rows(0)].double() / 255
    other = data.frames[held.rows(1)].double() / 255
    wanted = [(x[1:] - x[:1]).abs().mean().item() for x in (real, other)]
    assert found["l1"] == pytest.approx(sum(wanted) / 2, rel=1e-4)
    assert found["psnr_mouth"] < found["psnr"]

    def true(clips: Any, clip: int) -> Any:
        return generate(clips, clip)._replace(fine=clips.frames(clips.rows(clip)))

    monkeypatch.setattr(figures, "generate", true)
    found = figures.measure(held)
    assert found["l1"] == 0
    assert found["words"] == found["words_real"]


def test_chunks_make_one_clip(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(toys(6, 2))
    assert made.held is not None
    whole = made.figures.generate(made.held, 0)
    monkeypatch.setattr("neuralpaint.zoo.train.avwnet_figures.CHUNK", 7)
    pieces = made.figures.generate(made.held, 0)
    for one, other in zip(whole, pieces, strict=True):
        assert len(one) == 32
        assert torch.allclose(one, other, atol=1e-4)


def test_a_run_writes_what_generation_and_going_on_need(toys: Toys, tmp_path: Path) -> None:
    data = toys(6, 2)
    settings = replace(TINY, steps=2)
    result = train_avwnet(data, *frozen(data), CONFIG, tmp_path, settings, measure_every=2)
    assert result["best"] == result["figures"]["psnr_mouth"]
    frames, fps = read_video(tmp_path / "sample.mp4")
    assert frames.shape == (32, 128, 256, 3)
    assert fps == 25
    assert (tmp_path / "samples.png").exists()
    config, networks = load_avwnet(tmp_path / "best.safetensors")
    assert config == CONFIG
    generator: Any = networks["generator"]
    fresh = trainer(data)
    fresh.begin_with(generator, tmp_path / "discriminators")
    for a, b in zip(generator.parameters(), fresh.average.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(flat(trainer(data).judges), flat(fresh.judges))
    (tmp_path / "discriminators" / "config.json").unlink()
    with pytest.raises(ValueError, match="no such file"):
        fresh.begin_with(generator, tmp_path / "discriminators")
    with pytest.raises(ValueError, match="need their generator"):
        train_avwnet(data, *frozen(data), CONFIG, tmp_path, settings, discriminators=tmp_path)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"frames": 1}, "frames must be at least 2"),
        ({"judged": 17}, "more than the 16 frames"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"decay": 1.0}, "decay must lie"),
        ({"centred": 2.0}, "centred must lie"),
        ({"predicted": -1.0}, "predicted must lie"),
        ({"stages": ()}, "stages must be"),
        ({"best": "loss"}, "best must be one of"),
        ({"precision": "fp8"}, "precision must be"),
    ],
)
def test_bad_settings(change: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**change)


def test_parts_that_do_not_fit(toys: Toys) -> None:
    data = toys(6, 2)
    reader, predictor = frozen(data)
    other = replace(CONFIG, reader=replace(READER, hidden=8))
    with pytest.raises(ValueError, match="not the one of the configuration"):
        AvwnetTrainer(other, TINY, data, reader, predictor, CPU)
    with pytest.raises(ValueError, match="set the weight of word to 0"):
        trainer(data, replace(TINY, centred=0.0))
    with pytest.raises(ValueError, match="no clip to train on has 34 frames"):
        trainer(data, replace(TINY, apart=17))
    with pytest.raises(ValueError, match="frames of 16 pixels"):
        trainer(toys(6, 2, size=16))


def test_other_readers_are_other_settings(toys: Toys) -> None:
    data = toys(6, 2)
    facts = trainer(data).settings_facts()
    reader, predictor = frozen(data)
    with torch.no_grad():
        reader.head.bias.add_(1)
    other = AvwnetTrainer(CONFIG, TINY, data, reader, predictor, CPU)
    assert other.settings_facts() != facts
    assert json.loads(json.dumps(facts)) == facts


SCRIPT = """
import json, sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[2])
from conftest import toy_clips
from test_train_avwnet import CPU, trainer
from neuralpaint.backend.distributed import start, stop
torch.set_num_threads(1)
group = start(CPU)
made = trainer(toy_clips(6, 0), group=group)
losses = []
for step in range(2):
    found = {name: torch.as_tensor(value).clone() for name, value in made.step(step).items()}
    group.average(list(found.values()))
    losses.append({name: value.item() for name, value in found.items()})
Path(sys.argv[1], f"{group.rank}.json").write_text(json.dumps(losses))
stop()
"""


def test_two_processes_train_as_one_with_the_whole_batch(toys: Toys, tmp_path: Path) -> None:
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
    alone = trainer(toys(6, 0))
    for step, losses in enumerate(first):
        found = alone.step(step)
        near = 1e-2 if step else 1e-3  # Adam at first takes the signs of gradients that are noise
        for name, value in losses.items():
            assert value == pytest.approx(float(found[name]), rel=near, abs=1e-5), (step, name)
