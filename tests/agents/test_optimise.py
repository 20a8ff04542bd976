import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage import data

from neuralpaint.agents.descent import Image
from neuralpaint.agents.optimise import (
    BACKGROUNDS,
    FINISHES,
    Background,
    Finish,
    Progress,
    Settings,
    optimise,
)
from neuralpaint.backend.media import as_image, resize
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.replay import canvases

SKETCH = Settings(strokes=30, effort=0.2)


@pytest.fixture(scope="module")
def portrait() -> Image:
    return resize(as_image(data.astronaut()), 48, 48)


def psnr(drawing: Drawing, photo: Image, count: int) -> float:
    (canvas,) = canvases(drawing, [count])
    target = resize(photo, drawing.height, drawing.width)
    return -10 * math.log10(max(1e-10, float(((canvas - target) ** 2).mean())))


@pytest.mark.parametrize("finish", FINISHES)
def test_painting_beats_its_empty_canvas_by_far(portrait: Image, finish: Finish) -> None:
    drawing = optimise(portrait, 48, 48, replace(SKETCH, finish=finish))
    assert len(drawing) == 30
    assert psnr(drawing, portrait, 30) > psnr(drawing, portrait, 0) + 5


def test_process_is_better_on_the_way_and_picture_at_the_end(portrait: Image) -> None:
    process, picture = (
        optimise(portrait, 48, 48, Settings(strokes=60, effort=0.5, finish=finish))
        for finish in FINISHES
    )
    assert psnr(process, portrait, 10) > psnr(picture, portrait, 10)
    assert psnr(picture, portrait, 60) > psnr(process, portrait, 60)


def test_same_seed_same_bits_on_any_number_of_threads(portrait: Image) -> None:
    before = torch.get_num_threads()
    try:
        drawings = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawings.append(optimise(portrait, 48, 48, Settings(strokes=12, effort=0.1)))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(drawings[0].strokes, drawings[1].strokes)
    other = optimise(portrait, 48, 48, Settings(strokes=12, effort=0.1, seed=1))
    assert not np.array_equal(other.strokes, drawings[0].strokes)


def test_interruption_keeps_what_was_painted(portrait: Image) -> None:
    def stop(progress: Progress) -> None:
        if progress.strokes >= 10:
            raise KeyboardInterrupt

    drawing = optimise(portrait, 48, 48, SKETCH, stop)
    assert len(drawing) == 10
    assert drawing.extra["interrupted"] is True
    assert psnr(drawing, portrait, 10) > psnr(drawing, portrait, 0) + 1


def test_progress_rises_to_one_and_tells_the_psnr(portrait: Image) -> None:
    seen: list[Progress] = []
    drawing = optimise(portrait, 48, 48, SKETCH, seen.append)
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert {progress.stage for progress in seen} == {"grow", "renew", "polish"}
    assert seen[-1].psnr == pytest.approx(psnr(drawing, portrait, 30), abs=0.5)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (7, 40), (300, 260)])
def test_any_canvas(portrait: Image, height: int, width: int) -> None:
    settings = Settings(strokes=3, effort=0.01, background="black")
    drawing = optimise(portrait, height, width, settings)
    assert (drawing.height, drawing.width, len(drawing)) == (height, width, 3)
    assert psnr(drawing, portrait, 3) >= psnr(drawing, portrait, 0)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_background(portrait: Image, background: Background) -> None:
    settings = Settings(strokes=1, effort=0.01, background=background)
    drawing = optimise(portrait, 16, 16, settings)
    expected = {"black": (0, 0, 0), "white": (1, 1, 1), "mean": portrait.mean((0, 1))}[background]
    np.testing.assert_allclose(drawing.background, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strokes", 0),
        ("strokes", 10_001),
        ("finish", "fast"),
        ("background", "pink"),
        ("effort", 0.0),
        ("effort", math.nan),
        ("bundle", 0),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        Settings(**{field: value})  # type: ignore[arg-type]
