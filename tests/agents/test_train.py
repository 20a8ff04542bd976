"""Training runs: killed and resumed, damaged, refused, and shared by two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neuralpaint.agents import policy, train
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.agents.policy import Widths, load_policy
from neuralpaint.agents.train import Progress, Settings
from neuralpaint.backend import checkpoints as store
from neuralpaint.backend import datasets, files, media
from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.envs import procedural, rewards

ROOT = Path(__file__).parents[2]
TINY = Widths(proposals=8, resnet=4, view=32)
PICTURES = 9


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.SIZES, "small", TINY)
    monkeypatch.setattr(train, "COUNTS", (5, 10))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(PICTURES):
        picture = procedural.picture(np.random.default_rng(number), 40, 40)
        media.write_image(folder / f"{number}.png", picture)
    return folder


def settings(**changed: Any) -> Settings:
    chosen: dict[str, Any] = {
        "steps": 40,
        "canvas": 32,
        "paintings": 4,
        "batch": 4,
        "updates": 2,
        "buffer": 24,
        "held_out": 3,
        "save_every": 4,
        "evaluate_every": 8,
        "update": UpdateConfig(critic=False, proposals=5),
        **changed,
    }
    return Settings(**chosen)


class KilledError(Exception):
    pass


def killer(steps: int) -> train.Report:
    def report(progress: Progress) -> None:
        if progress.steps >= steps:
            raise KilledError

    return report


def run(photos: Path, out: Path, *, killed: int = 0, **changed: Any) -> dict[str, Any]:
    report = killer(killed) if killed else lambda progress: None
    return train.train([photos], out, settings(**changed), device="cpu", report=report)


def newest(out: Path) -> store.Checkpoint:
    saved = Checkpoints(out).newest()
    assert saved is not None
    return saved


def assert_same_runs(one: Path, other: Path) -> None:
    """Networks, optimisers, replay, paintings and random numbers, exactly."""
    a, b = newest(one), newest(other)
    assert a.step == b.step
    assert a.facts == b.facts
    assert a.tensors.keys() == b.tensors.keys()
    assert {name.split(".")[0] for name in a.tensors} == {
        "network", "optimiser", "replay", "rollout", "random"
    }  # fmt: skip
    assert [name for name in a.tensors if not a.tensors[name].equal(b.tensors[name])] == []


# --- a run ---------------------------------------------------------------------------------------


def test_a_run_and_what_it_leaves(photos: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = train.train([photos], tmp_path, settings(), device="cpu", report=seen.append)
    assert [progress.steps for progress in seen] == list(range(4, 44, 4))
    assert (result["steps"], result["updates"]) == (40, 18)
    assert result["held_out"].keys() == {"5", "10"}
    names = [path.name for path in Checkpoints(tmp_path).paths()]
    assert names == ["checkpoint-0-000000040.safetensors", "checkpoint-0-000000036.safetensors"]
    assert media.read_image(tmp_path / "samples.png").ndim == 3
    assert list(tmp_path.glob("tensorboard/painter_0/events.out.tfevents.*"))

    rows = json.loads((tmp_path / "held_out.json").read_text())
    assert [row["updates"] for row in rows] == [8, 16, 18]
    assert rows[-1]["mean"] == pytest.approx((rows[-1]["5"] + rows[-1]["10"]) / 2)
    assert result["best"] == max(row["mean"] for row in rows)
    assert load_policy(Path(result["weights"])).config.canvas == 32

    # Asked again, it is done and nothing changes.
    before = (tmp_path / "held_out.json").read_bytes()
    assert run(photos, tmp_path) == result
    assert (tmp_path / "held_out.json").read_bytes() == before


def test_the_best_policy_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    save = policy.save_policy

    def spy(agent: policy.Policy, path: Path, facts: dict[str, str]) -> None:
        steps.append(int(facts["steps"]))
        save(agent, path, facts)

    monkeypatch.setattr(train, "save_policy", spy)
    run(photos, tmp_path, evaluate_every=2)
    best, expected = -np.inf, []
    for row in json.loads((tmp_path / "held_out.json").read_text()):
        if row["mean"] > best:
            best = row["mean"]
            expected.append(row["steps"])
    assert steps == expected


@pytest.mark.parametrize("env", ["NeuralPaintGray-v0", "NeuralPaintOpaque-v0"])
def test_other_environments(env: str, photos: Path, tmp_path: Path) -> None:
    result = run(photos, tmp_path, env=env, steps=12)
    assert all(np.isfinite(value) for value in result["held_out"].values())


# --- stopped and resumed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "critic"),
    [
        ("proposals", False),
        ("proposals", True),
        ("attention", True),
        ("thesis", True),
        ("ltp", True),
    ],
)
def test_resumed_is_uninterrupted_bit_for_bit(
    agent: str, critic: bool, photos: Path, tmp_path: Path
) -> None:
    update = UpdateConfig(critic=critic, proposals=5)
    changed: dict[str, Any] = {"agent": agent, "update": update, "steps": 20}
    run(photos, tmp_path / "straight", **changed)
    with pytest.raises(KilledError):
        run(photos, tmp_path / "killed", killed=16, **changed)
    assert newest(tmp_path / "killed").step == 12
    torch.rand(3)  # the global generator has no say
    run(photos, tmp_path / "killed", **changed)
    assert_same_runs(tmp_path / "straight", tmp_path / "killed")


PROCESS = """
import os, sys
from pathlib import Path
from neuralpaint.agents import policy, train
from neuralpaint.agents.learner import UpdateConfig
from neuralpaint.backend import distributed
policy.SIZES["small"] = policy.Widths(8, 4, 32)
train.COUNTS = (5, 10)
settings = train.Settings(
    steps=40, canvas=32, paintings=4, batch=4, updates=2, buffer=24, held_out=3, save_every=4,
    evaluate_every=8, update=UpdateConfig(critic=False, proposals=5),
)
kill = int(sys.argv[3])
def report(progress):
    if kill and progress.steps >= kill:
        os._exit(9)
train.train([Path(sys.argv[1])], Path(sys.argv[2]), settings, device="cpu", report=report)
distributed.stop()
"""


def test_a_killed_process_is_resumed_by_another(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "straight")
    killed = subprocess.run(
        [sys.executable, "-c", PROCESS, photos, tmp_path / "killed", "24"], cwd=ROOT, check=False
    )
    assert killed.returncode == 9
    run(photos, tmp_path / "killed")
    assert_same_runs(tmp_path / "straight", tmp_path / "killed")


def test_two_processes(photos: Path, tmp_path: Path) -> None:
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    out = tmp_path / "out"
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
    ]
    done = subprocess.run(
        [*launch, script, photos, out, "0"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [Checkpoints(out, rank).newest() for rank in (0, 1)]
    assert ranks[0] is not None
    assert ranks[1] is not None
    one, other = ranks[0].tensors, ranks[1].tensors
    trained = [name for name in one if name.startswith(("network.", "optimiser."))]
    assert all(one[name].equal(other[name]) for name in trained)
    assert not one["replay.target"].equal(other["replay.target"])  # each paints other pictures
    assert ranks[0].facts["settings"]["processes"] == 2
    assert len(list(out.glob("*.safetensors"))) == 5  # two of each and the best weights
    assert len(list(out.glob("tensorboard/*/*"))) == 1


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"batch": 5}, "batch_size=4, now 5"),
        ({"noise": 0.25}, "noise=0.5, now 0.25"),
        ({"agent": "ltp"}, "agent='proposals', now 'ltp'"),
        ({"update": UpdateConfig(critic=False, proposals=6)}, "proposals=5, now 6"),
    ],
)
def test_other_settings_are_named(
    changed: dict[str, Any], field: str, photos: Path, tmp_path: Path
) -> None:
    run(photos, tmp_path, steps=8)
    with pytest.raises(ValueError, match=field):
        run(photos, tmp_path, **changed)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "straight")
    with pytest.raises(KilledError):
        run(photos, tmp_path / "hurt", killed=28)
    last, before = Checkpoints(tmp_path / "hurt").paths()
    last.write_bytes(last.read_bytes()[:-1000])
    with pytest.warns(UserWarning, match=f"{last.name}: damaged checkpoint.*the checkpoint before"):
        run(photos, tmp_path / "hurt")
    assert_same_runs(tmp_path / "straight", tmp_path / "hurt")
    assert before.name < last.name


def test_a_full_disk_leaves_the_last_good_checkpoint(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = []

    def full(path: Path, data: bytes) -> None:
        writes.append(path)
        if len(writes) > 2:
            raise OSError(28, "No space left on device")
        files.write_bytes(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            run(photos, tmp_path)
    assert newest(tmp_path).step == int(writes[1].stem.split("-")[2])
    assert run(photos, tmp_path)["steps"] == 40


def test_nan_stops_the_run_and_the_last_good_checkpoint_stands(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def broken(before: Any, after: Any) -> torch.Tensor:
        calls.append(1)
        worth = rewards.psnr(before, after)
        return worth * float("nan") if len(calls) > 20 else worth

    monkeypatch.setitem(rewards.REWARDS, "psnr", broken)
    with pytest.raises(FloatingPointError, match=r"^actor: loss nan"):
        run(photos, tmp_path)
    saved = newest(tmp_path)
    assert 0 < saved.step < 40
    assert all(
        tensor.isfinite().all() for tensor in saved.tensors.values() if tensor.is_floating_point()
    )


def test_too_few_pictures_to_hold_out(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{PICTURES} pictures are too few to hold 9 out"):
        run(photos, tmp_path, held_out=PICTURES)


def test_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(media.MediaError, match="no files in this folder"):
        run(tmp_path / "none", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:skipped")
def test_no_readable_pictures(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number in range(5):
        (tmp_path / "texts" / f"{number}.png").write_text("no picture")
    with pytest.raises(media.MediaError, match="no target image is readable"):
        run(tmp_path / "texts", tmp_path / "out")


def test_unreadable_held_out_pictures_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PICTURES):
        picture = procedural.picture(np.random.default_rng(number), 40, 40)
        media.write_image(folder / f"{number}.png", picture)
    _, held = datasets.split(datasets.image_files(folder), 3)
    held[1].write_text("no picture")
    with pytest.warns(UserWarning, match=f"left out of the held-out pictures.*{held[1].name}"):
        result = run(folder, tmp_path / "out", steps=8)
    assert np.isfinite(result["best"])


def test_an_unwritable_folder(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write to this output folder"):
        run(photos, tmp_path / "file")


@pytest.mark.parametrize("name", ["steps", "held_out", "save_every", "evaluate_every"])
def test_bad_settings_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        settings(**{name: 0})


# --- beginning with weights ----------------------------------------------------------------------


def test_a_run_begins_with_given_weights(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "first")
    given = tmp_path / "first/painter.safetensors"
    result = train.train(
        [photos], tmp_path / "second", settings(steps=4), device="cpu", weights=given
    )
    assert result["updates"] == 0
    begun = load_policy(tmp_path / "second/painter.safetensors").state_dict()
    for name, weight in load_policy(given).state_dict().items():
        torch.testing.assert_close(begun[name], weight)


def test_weights_of_another_agent_are_refused(photos: Path, tmp_path: Path) -> None:
    run(photos, tmp_path / "first")
    with pytest.raises(ValueError, match="agent='proposals', now 'attention'"):
        train.train(
            [photos],
            tmp_path / "second",
            settings(agent="attention", reward="l1"),
            device="cpu",
            weights=tmp_path / "first/painter.safetensors",
        )
