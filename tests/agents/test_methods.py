"""Painters by name: what each needs, and the agent alone under the settings of the others."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from neuralpaint.agents import agent, methods
from neuralpaint.agents.descent import Image
from neuralpaint.agents.methods import DEFAULT, METHODS, Method, agent_alone, load_painter
from neuralpaint.agents.optimise import Progress, Settings, optimise
from neuralpaint.agents.policy import Policy, PolicyConfig, load_policy, save_policy
from neuralpaint.envs.procedural import picture
from neuralpaint.renderers.replay import canvases


@pytest.fixture(scope="module")
def photo() -> Image:
    return picture(np.random.default_rng(1), 40, 60)


def silent(progress: Progress) -> None:
    pass


def test_names() -> None:
    assert METHODS == get_args(Method) == ("hybrid", "agent", "optimise")
    assert DEFAULT in METHODS


@pytest.mark.parametrize("method", METHODS)
def test_every_method_paints_what_is_asked_for_and_signs_it(method: Method, photo: Image) -> None:
    drawing = load_painter(method)(photo, 24, 36, Settings(strokes=8, effort=0.05), silent)
    assert (len(drawing), drawing.height, drawing.width) == (8, 24, 36)
    assert drawing.method == method
    assert drawing.extra == {"finish": "process", "interrupted": False}
    assert drawing.background == pytest.approx(photo.mean((0, 1)), abs=0.02)


def test_the_search_needs_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(methods, "load_policy", lambda path: pytest.fail("read weights"))
    assert load_painter("optimise") is optimise
    with pytest.raises(ValueError, match="'optimise' has no weights"):
        load_painter("optimise", tmp_path / "painter.safetensors")


def test_unknown_method() -> None:
    with pytest.raises(ValueError, match="'fast' is unknown; known: hybrid, agent, optimise"):
        load_painter("fast")


@pytest.mark.parametrize("method", ["hybrid", "agent"])
def test_bad_weights_are_named(method: Method, tmp_path: Path) -> None:
    absent, text = tmp_path / "absent.safetensors", tmp_path / "text.safetensors"
    text.write_text("no weights")
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors"):
        load_painter(method, absent)
    with pytest.raises(ValueError, match=r"text\.safetensors: not a safetensors file"):
        load_painter(method, text)


def test_own_weights_are_used(photo: Image, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_policy(Policy(PolicyConfig(agent="ltp", bundle=3)), tmp_path / "own.safetensors")
    settings = Settings(strokes=7)
    drawings = [
        load_painter("agent", weights)(photo, 24, 36, settings, silent)
        for weights in (tmp_path / "own.safetensors", None)
    ]
    assert [len(drawing) for drawing in drawings] == [7, 7]
    assert not np.array_equal(drawings[0].strokes, drawings[1].strokes)


def test_the_agent_alone_paints_as_the_agent_does(photo: Image) -> None:
    policy = load_policy()
    drawing = agent_alone(photo, 24, 36, Settings(strokes=12, background="white"), policy=policy)
    plain = agent.paint(photo, 24, 36, 12, policy=policy, background="white")
    np.testing.assert_array_equal(drawing.strokes, plain.strokes)
    assert drawing.background == (1, 1, 1)


def test_the_agent_alone_reports_the_canvas(photo: Image) -> None:
    seen: list[Progress] = []
    drawing = agent_alone(photo, 40, 60, Settings(strokes=7), seen.append, policy=load_policy())
    assert [progress.stage for progress in seen] == ["paint", "paint"]
    assert [progress.strokes for progress in seen] == [5, 7]
    assert [progress.share for progress in seen] == [5 / 7, 1]
    (canvas,) = canvases(drawing, [7])
    # The canvas has the size of the photo, so that the photo itself is the target.
    error = np.mean((canvas.astype(np.float64) - photo) ** 2)
    assert seen[-1].psnr == pytest.approx(-10 * np.log10(error), abs=1e-3)


def test_an_interrupted_agent_keeps_its_strokes(photo: Image) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    drawing = agent_alone(photo, 24, 36, Settings(strokes=12), stop, policy=load_policy())
    assert len(drawing) == 5
    assert drawing.extra["interrupted"] is True
