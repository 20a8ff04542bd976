"""The agent proposes, the gradient refines: budgets, bits, quality, interruptions, extremes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from neuralpaint.agents import hybrid as module
from neuralpaint.agents.descent import Image
from neuralpaint.agents.hybrid import hybrid
from neuralpaint.agents.methods import agent_alone
from neuralpaint.agents.optimise import Progress, Settings
from neuralpaint.agents.policy import Policy, PolicyConfig, load_policy
from neuralpaint.envs.procedural import picture
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.replay import canvases
from neuralpaint.renderers.stroke import random_strokes


def quick(strokes: int, **settings: Any) -> Settings:
    return Settings(**{"strokes": strokes, "effort": 0.05, **settings})


@pytest.fixture(scope="module")
def photo() -> Image:
    return picture(np.random.default_rng(0), 48, 64)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy()


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def error(drawing: Drawing, photo: Image, count: int | None = None) -> float:
    """Mean squared error of a painting of the photo at the photo's size."""
    (canvas,) = canvases(drawing, [len(drawing) if count is None else count])
    return float(np.mean((canvas.astype(np.float64) - photo) ** 2))


@pytest.mark.parametrize("strokes", [1, 7, 60])
def test_exact_budgets_of_strokes_in_range(strokes: int, photo: Image, policy: Policy) -> None:
    drawing = hybrid(photo, 36, 48, quick(strokes), policy=policy)
    assert drawing.strokes.shape == (strokes, 13)
    assert drawing.strokes.min() >= 0
    assert drawing.strokes.max() <= 1
    assert (drawing.height, drawing.width, drawing.method) == (36, 48, "hybrid")
    assert drawing.extra == {"finish": "process", "interrupted": False}


def test_same_bits_on_any_number_of_threads(photo: Image, policy: Policy, one_thread: None) -> None:
    drawings = []
    for threads in (1, 1, 2):
        torch.set_num_threads(threads)
        drawings.append(hybrid(photo, 96, 128, quick(100), policy=policy).strokes)
    np.testing.assert_array_equal(drawings[0], drawings[1])
    np.testing.assert_array_equal(drawings[0], drawings[2])


def test_the_seed_changes_no_stroke(photo: Image, policy: Policy) -> None:
    first, second = (hybrid(photo, 32, 48, quick(7, seed=n), policy=policy) for n in (0, 1))
    np.testing.assert_array_equal(first.strokes, second.strokes)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_closer_than_the_agent_alone(number: int, policy: Policy) -> None:
    photo = picture(np.random.default_rng(number), 48, 64)
    refined = hybrid(photo, 48, 64, quick(60), policy=policy)
    alone = agent_alone(photo, 48, 64, quick(60), policy=policy)
    assert error(refined, photo) < 0.8 * error(alone, photo)


def test_finish_picture_is_for_the_end_and_process_for_the_way(
    photo: Image, policy: Policy
) -> None:
    process, whole = (
        hybrid(photo, 48, 64, quick(60, effort=0.2, finish=finish), policy=policy)
        for finish in ("process", "picture")
    )
    assert whole.extra["finish"] == "picture"
    assert error(whole, photo) < error(process, photo)
    assert error(process, photo, 20) < error(whole, photo, 20)


def test_progress_goes_from_nothing_to_all(photo: Image, policy: Policy) -> None:
    seen: list[Progress] = []
    hybrid(photo, 32, 48, quick(60), seen.append, policy=policy)
    assert list(dict.fromkeys(progress.stage for progress in seen)) == ["grow", "renew", "polish"]
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert seen[-1].psnr > seen[0].psnr


def test_replaced_strokes_keep_the_number(photo: Image, policy: Policy) -> None:
    target = np.ascontiguousarray(photo.transpose(2, 0, 1))
    search = module._Hybrid(policy, target, quick(30), lambda progress: None)
    search.grow()
    grown = search.strokes.clone()
    search.drop(6)
    assert len(search.strokes) == 24
    kept = {tuple(stroke) for stroke in search.strokes.tolist()}
    assert kept < {tuple(stroke) for stroke in grown.tolist()}
    search.refill(30)
    assert len(search.strokes) == 30
    fresh = search.strokes[24:]
    assert not kept & {tuple(stroke) for stroke in fresh.tolist()}
    torch.testing.assert_close(search.strokes[:24], search.strokes[:24].clamp(0, 1))


@pytest.mark.parametrize("stage", ["grow", "renew", "polish"])
def test_an_interrupted_painting_keeps_its_strokes(
    stage: str, photo: Image, policy: Policy
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    drawing = hybrid(photo, 32, 48, quick(60), stop, policy=policy)
    assert drawing.extra["interrupted"] is True
    assert len(drawing) == (module.FIRST_STOP if stage == "grow" else 60)


@pytest.mark.parametrize(("height", "width"), [(32, 80), (80, 32), (1, 1), (2, 40)])
def test_canvases_of_any_shape(height: int, width: int, policy: Policy) -> None:
    photo = picture(np.random.default_rng(3), height, width)
    drawing = hybrid(photo, height, width, quick(11, effort=0.01), policy=policy)
    assert (len(drawing), drawing.height, drawing.width) == (11, height, width)
    blank = float(np.mean((photo - np.asarray(drawing.background, np.float32)) ** 2))
    assert error(drawing, photo) <= blank + 1e-6


def test_more_effort_is_closer(photo: Image, policy: Policy) -> None:
    little, much = (
        hybrid(photo, 32, 48, quick(20, effort=effort), policy=policy) for effort in (0.01, 1.0)
    )
    small = canvases(little, [20], height=48, width=64), canvases(much, [20], height=48, width=64)
    errors = [float(np.mean((next(iter(made)) - photo) ** 2)) for made in small]
    assert len(little) == len(much) == 20
    assert errors[1] < errors[0]


def test_an_agent_without_scores_can_propose(photo: Image) -> None:
    torch.manual_seed(0)
    untrained = Policy(PolicyConfig(agent="ltp", bundle=3)).eval()
    drawing = hybrid(photo, 32, 48, quick(10), policy=untrained)
    assert len(drawing) == 10


def test_descents_shrink_the_canvas_and_bring_strokes_back(policy: Policy) -> None:
    """On 160 x 200 pixels the descent sees 80 x 100; without a step strokes stay as they are."""
    photo = picture(np.random.default_rng(0), 160, 200)
    target = np.ascontiguousarray(photo.transpose(2, 0, 1))
    search = module._Hybrid(policy, target, quick(12), lambda progress: None)
    search.strokes = random_strokes(12, torch.Generator().manual_seed(0))
    before, worse = search.strokes.clone(), np.mean((search.painted() - target) ** 2)
    search._move(0)
    torch.testing.assert_close(search.strokes, before)
    search._move(10)
    assert search.strokes.min() >= 0
    assert search.strokes.max() <= 1
    assert np.mean((search.painted() - target) ** 2) < worse
