"""Training the attention module alone: it learns, repeats itself, and refuses bad input early."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from neuralpaint.agents import attention_train
from neuralpaint.agents.attention import Attention, build_attention, load_attention
from neuralpaint.agents.attention_train import evaluate, fit, main
from neuralpaint.agents.policy import Policy, load_policy
from neuralpaint.agents.rollout import Rollout
from neuralpaint.backend import datasets, media
from neuralpaint.envs import painting, targets
from neuralpaint.envs.procedural_subjects import bird
from neuralpaint.renderers import get


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PAINTINGS", 2), ("STATES", 16), ("BATCH", 4), ("HELD", 2)):
        monkeypatch.setattr(attention_train, name, value)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six birds with their masks, in the layout of CUB-200-2011."""
    root = tmp_path_factory.mktemp("birds")
    (root / "images.txt").touch()
    for number in range(6):
        image, mask = bird(np.random.default_rng(number), 32, 32)
        for name, picture in (
            ("images", image),
            ("segmentations", np.repeat(mask[:, :, None], 3, 2).astype(np.float32)),
        ):
            (root / name / "1").mkdir(parents=True, exist_ok=True)
            media.write_image(root / name / "1" / f"{number}.png", picture)
    return root


def trained(policy: Policy, updates: int, seed: int = 0) -> tuple[Attention, list[float]]:
    torch.manual_seed(0)
    attention = build_attention("small", 16)
    source = targets.open_source("procedural-birds", targets.Canvas(3, 32, 32))
    process = painting.Config(canvas=32, background="mean")
    rollout = Rollout(process, get("bezier"), source, 2, seed, torch.device("cpu"))
    losses: list[float] = []
    fit(attention, policy, rollout, updates, seed, lambda update, loss: losses.append(loss))
    return attention, losses


def test_the_loss_falls(policy: Policy) -> None:
    attention, losses = trained(policy, 60)
    assert len(losses) == 60
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert not attention.training


def test_same_seed_same_weights(policy: Policy) -> None:
    first, second, other = (trained(policy, 3, seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert not all(torch.equal(weight, other[name]) for name, weight in first.items())


def test_losses_that_are_not_finite_stop_the_training(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(image: Tensor, canvas: Tensor, mask: Tensor) -> Tensor:
        return image.mean() * float("nan")

    monkeypatch.setattr(attention_train, "reconstruction_loss", broken)
    with pytest.raises(FloatingPointError, match="nan at update 0"):
        trained(policy, 2)


def test_figures_beside_two_trivial_answers(policy: Policy) -> None:
    image, mask = torch.full((1, 3, 32, 32), 0.5), torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    figures = evaluate(build_attention("small", 16).eval(), policy, image, mask)
    # The canvas is gray all along. Black is wrong by 0.5 in the half with the subject, the canvas
    # as it is by 0.5 in the other half: both have a mean square of 0.25 / 2.
    assert figures["black"] == pytest.approx(0.125, rel=0.05)
    assert figures["canvas"] == pytest.approx(0.125, rel=0.05)
    assert figures["loss"] > 0


def test_the_shipped_module_sees_the_subject(policy: Policy) -> None:
    source = targets.open_source("procedural-faces", targets.Canvas(3, 64, 64))
    image, mask = targets.stack([source.pick(n) for n in range(3)], torch.device("cpu"))
    figures = evaluate(load_attention(), policy, image, mask)
    assert figures["loss"] < figures["canvas"]
    assert figures["loss"] < figures["black"]


def test_command(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = f"--targets {photos} --out {tmp_path} --subject object --canvas 32 --updates 2"
    main([*options.split(), "--held-out", "2"])
    (line,) = capsys.readouterr().out.splitlines()
    printed = json.loads(line)
    assert set(printed["held_out"]) == {"loss", "canvas", "black"}
    assert not load_attention(Path(printed["weights"])).training


def test_bad_input_is_refused_before_the_work(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attention_train, "fit", lambda *_: pytest.fail("training began"))
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "none").mkdir()
    out = tmp_path / "out"

    def failure(targets: Path, out: Path, *more: str) -> str:
        options = ["--targets", str(targets), "--out", str(out), "--subject", "object", *more]
        with pytest.raises(SystemExit) as stopped:
            main([*options, "--canvas", "32"])
        assert stopped.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert "no files" in failure(tmp_path / "none", out)
    assert "cannot hold out 200 of 6" in failure(photos, out)
    assert "hold out more" in failure(photos, out, "--held-out", "0")
    assert "file" in failure(photos, tmp_path / "file" / "out", "--held-out", "2")
    assert "unknown device 'tpu'" in failure(photos, out, "--device", "tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no GPU for device 'cuda'" in failure(photos, out, "--device", "cuda")
    assert list(out.iterdir()) == []


def test_held_out_pictures_without_a_subject_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = tmp_path / "broken.png", tmp_path / "good.png"
    broken.write_bytes(b"")
    media.write_image(good, bird(np.random.default_rng(0), 32, 32)[0])
    monkeypatch.setattr(datasets, "known_mask", lambda path: np.ones((32, 32), np.float32))
    canvas = targets.Canvas(3, 32, 32)
    with pytest.warns(UserWarning, match=r"broken\.png"):
        kept = attention_train._subjects([broken, good], canvas, "object")
    assert len(kept) == 1
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(media.MediaError, match="none of 1"),
    ):
        attention_train._subjects([broken], canvas, "object")
