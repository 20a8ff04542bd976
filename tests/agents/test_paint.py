import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from neuralpaint.agents.descent import Image
from neuralpaint.agents.optimise import Progress, Settings, optimise
from neuralpaint.agents.paint import (
    canvas_size,
    metrics,
    metrics_at,
    milestones,
    paint_photo,
    progress_sheet,
    render,
)
from neuralpaint.backend.files import UnwritableFolderError
from neuralpaint.backend.media import resize
from neuralpaint.backend.video import read_video
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.stroke import random_strokes

QUICK = Settings(strokes=12, effort=0.05)


@pytest.fixture
def photo() -> Image:
    rows, columns = np.mgrid[0:60, 0:90].astype(np.float32)
    return np.stack([rows / 60, columns / 90, ((rows // 12) % 2)], 2).astype(np.float32)


@pytest.fixture
def drawing() -> Drawing:
    strokes = random_strokes(12, torch.Generator().manual_seed(0)).numpy()
    return Drawing(strokes=strokes, height=24, width=36)


def test_a_painting_is_complete_and_consistent(photo: Image, tmp_path: Path) -> None:
    figures = paint_photo(photo, tmp_path / "a", size=24, settings=QUICK, source="photo.png")
    folder = tmp_path / "a"
    assert sorted(path.name for path in folder.iterdir()) == [
        "final.png",
        "metrics.json",
        "painting.svg",
        "progress.png",
        "strokes.json",
        "timelapse.mp4",
    ]
    assert json.loads((folder / "metrics.json").read_text()) == figures
    assert set(figures["at"]) == {"10", "12"}
    assert set(figures["at"]["12"]) == {"l2", "psnr", "ssim"}
    assert figures["canvas"] == {"height": 24, "width": 36}
    assert figures["seconds"] > 0
    assert figures["peak_memory_bytes"] > 2**20
    assert figures["versions"]["neuralpaint"]

    drawing = Drawing.load(folder / "strokes.json")
    assert (len(drawing), drawing.source) == (12, "photo.png")
    with PillowImage.open(folder / "final.png") as final:
        assert final.size == (90, 60)
        assert "neuralpaint" in final.text["Software"]
        picture = np.asarray(final).astype(np.float32) / np.float32(255)
    # Rendered larger and averaged down again, the painting is the one on the canvas.
    again = metrics(resize(picture, 24, 36), resize(photo, 24, 36))["psnr"]
    assert again == pytest.approx(figures["at"]["12"]["psnr"], abs=0.5)

    frames, fps = read_video(folder / "timelapse.mp4", max_frames=1000, max_pixels=10**6)
    assert fps == 25
    last = np.stack(list(frames))[-1].astype(np.float32) / 255
    assert last.shape == (60, 90, 3)
    assert np.abs(last - picture).mean() < 0.05


def test_large_photos_are_rendered_at_1024_pixels_at_most(tmp_path: Path) -> None:
    photo = np.zeros((30, 2100, 3), np.float32)
    paint_photo(photo, tmp_path, size=2, settings=Settings(strokes=1, effort=0.01))
    with PillowImage.open(tmp_path / "final.png") as final:
        assert final.size == (1024, 15)


def test_an_unwritable_folder_is_found_before_the_work(photo: Image, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    def report(progress: Progress) -> None:
        pytest.fail("painting began")

    with pytest.raises(UnwritableFolderError, match="file"):
        paint_photo(photo, tmp_path / "file" / "out", settings=QUICK, report=report)


def test_interrupted_paintings_are_written(photo: Image, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    figures = paint_photo(photo, tmp_path, size=24, settings=QUICK, painter=optimise, report=stop)
    assert figures["interrupted"] is True
    assert len(Drawing.load(tmp_path / "strokes.json")) == figures["strokes"] == 5
    assert (tmp_path / "final.png").exists()


def test_failed_output_leaves_nothing_under_its_name(drawing: Drawing, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tiff"):
        render(drawing, tmp_path / "a.tiff", 24, 36)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((60, 90), 128, (128, 192)), ((90, 60), 10, (15, 10)), ((5, 5), 1, (1, 1))],
)
def test_canvas_size(shape: tuple[int, int], size: int, expected: tuple[int, int]) -> None:
    assert canvas_size(np.zeros((*shape, 3), np.float32), size) == expected


@pytest.mark.parametrize("size", [0, -3, 4097])
def test_canvas_size_out_of_range(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        canvas_size(np.zeros((8, 8, 3), np.float32), size)


def test_milestones() -> None:
    assert milestones(3) == [3]
    assert milestones(100) == [10, 50, 100]
    assert milestones(450) == [10, 50, 100, 200, 400, 450]


def test_metrics_golden() -> None:
    target = np.zeros((8, 8, 3), np.float32)
    image = np.full((8, 8, 3), 0.1, np.float32)
    figures = metrics(image, target)
    assert figures["l2"] == pytest.approx(0.01)
    assert figures["psnr"] == pytest.approx(20.0, abs=1e-4)
    # Two constant images: SSIM is the luminance term alone, (2ab + c1) / (a^2 + b^2 + c1).
    assert figures["ssim"] == pytest.approx(1e-4 / (0.01 + 1e-4), rel=1e-3)
    assert metrics(target, target)["psnr"] == 100
    assert "ssim" not in metrics(target[:1, :1], target[:1, :1])


def test_metrics_at_counts_strokes(drawing: Drawing) -> None:
    target = np.zeros((24, 36, 3), np.float32)
    at = metrics_at(drawing, target)
    assert list(at) == ["10", "12"]
    (ten,) = metrics_at(drawing.first(10), target).values()
    assert at["10"] == ten


def test_progress_sheet_shows_every_milestone(drawing: Drawing) -> None:
    sheet = progress_sheet(drawing, np.zeros((24, 36, 3), np.float32))
    tiles = 2 + len(milestones(12))
    assert sheet.shape == (200 + 22 + 16, tiles * (300 + 8) + 8, 3)
    assert sheet[-9:, :, :].mean() > sheet[40:200, 10:300].mean()  # black target on white paper
