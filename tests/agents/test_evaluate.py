import csv
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from scipy import stats

from neuralpaint.agents.detect import Box, FaceDetector
from neuralpaint.agents.evaluate import (
    COLUMNS,
    Item,
    Masks,
    Painter,
    Progress,
    compare,
    evaluate,
    measure,
    radius,
    region_metrics,
    thickness,
)
from neuralpaint.agents.optimise import Settings, optimise
from neuralpaint.agents.paint import metrics
from neuralpaint.agents.plots import COLOURS, Summary, mean_interval, share_interval, table
from neuralpaint.backend.files import UnwritableFolderError
from neuralpaint.backend.media import ImageArray, read_image, resize, write_image
from neuralpaint.renderers.drawing import Drawing
from neuralpaint.renderers.stroke import random_strokes

COUNTS = (5, 10)
STROKES = 12
NAMES = ("a.png", "b.png", "c.png")


def painter(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
    """Random strokes that depend on photo and seed."""
    generator = torch.Generator().manual_seed(seed + int(photo.sum()))
    values = random_strokes(strokes, generator).numpy()
    return Drawing(strokes=values, height=height, width=width, background=(0.5, 0.5, 0.5))


class Brightness:
    """A detector that finds a "face" on any picture whose mean exceeds a half."""

    name = "brightness"

    def find(self, image: ImageArray) -> list[Box]:
        return [Box(0, 0, 1, 1)] * int(image.mean() > 0.55)


def left_half(path: Path, image: ImageArray) -> ImageArray:
    mask = np.zeros(image.shape[:2], np.float32)
    mask[:, : image.shape[1] // 2] = 1
    return mask


def write_pictures(folder: Path) -> list[Path]:
    folder.mkdir()
    for number, name in enumerate(NAMES):
        noise = np.random.default_rng(number).random((20, 30, 3), np.float32)
        write_image(folder / name, noise * np.float32(0.3 * (number + 1)))
    return [folder / name for name in NAMES]


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path / "photos")


def quiet(progress: Progress) -> None:
    pass


def run(
    files: Sequence[str | Path | Item],
    out: Path,
    paint: Painter = painter,
    *,
    name: str = "random",
    size: int = 16,
    strokes: int = STROKES,
    counts: Sequence[int] = COUNTS,
    masks: Masks | None = left_half,
    detector: FaceDetector | None = None,
    seed: int = 0,
    report: Callable[[Progress], None] = quiet,
) -> Summary:
    return evaluate(
        paint,
        files,
        out,
        name=name,
        size=size,
        strokes=strokes,
        counts=counts,
        masks=masks,
        detector=detector or Brightness(),
        seed=seed,
        report=report,
    )


class Finished(NamedTuple):
    pictures: list[Path]
    out: Path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("evaluated")
    pictures = write_pictures(folder / "photos")
    run(pictures, folder / "out")
    return Finished(pictures, folder / "out")


@pytest.fixture
def finished(evaluated: Finished, tmp_path: Path) -> Finished:
    """An evaluation that is complete, in a folder of the test's own."""
    copytree(evaluated.out, tmp_path / "out")
    return Finished(evaluated.pictures, tmp_path / "out")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def without_seconds(file: Path) -> list[dict[str, str]]:
    return [{**row, "seconds": ""} for row in rows_of(file)]


# ---- figures ------------------------------------------------------------------------------------


def test_region_metrics_golden_2x2() -> None:
    target = np.zeros((2, 2, 3), np.float32)
    image = np.zeros((2, 2, 3), np.float32)
    image[0, 0], image[0, 1], image[1, 0] = 0.1, 0.2, (0.3, 0, 0)
    # Squared errors: 0.01, 0.04; 0.09 / 3 = 0.03, 0.
    weights = np.array([[1, 0], [0, 0.5]], np.float32)
    inside = region_metrics(image, target, weights)
    assert inside["l2"] == pytest.approx((0.01 + 0.5 * 0) / 1.5)
    assert inside["psnr"] == pytest.approx(-10 * math.log10(0.01 / 1.5))
    outside = region_metrics(image, target, 1 - weights)
    assert outside["l2"] == pytest.approx((0.04 + 0.03 + 0) / 2.5)
    assert "ssim" not in inside
    # The whole is the mean of its regions by their weights.
    whole = metrics(image, target)["l2"]
    assert whole == pytest.approx((1.5 * inside["l2"] + 2.5 * outside["l2"]) / 4)
    assert region_metrics(image, target, np.zeros((2, 2), np.float32)) == {}


def test_region_metrics_golden_8x8() -> None:
    target = np.zeros((8, 8, 3), np.float32)
    image = np.zeros((8, 8, 3), np.float32)
    image[:, 4:] = 0.1
    left = np.zeros((8, 8), np.float32)
    left[:, :4] = 1
    assert region_metrics(image, target, left)["psnr"] == 100  # the cap
    right = region_metrics(image, target, 1 - left)
    assert right["l2"] == pytest.approx(0.01)
    assert right["psnr"] == pytest.approx(20, abs=1e-4)
    # Windows of 7 x 7 can be centred on columns 3 and 4 alone. Of their columns 0-6 and 1-7, three
    # and four are 0.1; the sample variance of n = 49 values m of which are 0.1:
    for weights, tenths in ((left, 3), (1 - left, 4)):
        mean, n, m = 0.1 * tenths / 7, 49, 7 * tenths
        variance = 0.01 * m * (n - m) / (n * (n - 1))
        ssim = 1e-4 / (mean**2 + 1e-4) * 9e-4 / (variance + 9e-4)
        assert region_metrics(image, target, weights)["ssim"] == pytest.approx(ssim, rel=1e-3)
    edge = np.zeros((8, 8), np.float32)
    edge[0] = 1
    assert set(region_metrics(image, target, edge)) == {"l2", "psnr"}


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (16, 24)])
def test_a_region_of_all_pixels_is_the_whole(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image, target = rng.random((2, *shape, 3), np.float32)
    expected = metrics(image, target)
    for weight in (1.0, 0.25):
        weights = np.full(shape, weight, np.float32)
        assert region_metrics(image, target, weights) == pytest.approx(expected, rel=1e-5)


def test_thickness_golden() -> None:
    strokes = np.full((12, 13), 0.5, np.float32)
    strokes[:10, 6], strokes[:10, 8] = 0.25, 0.75  # z0, z1; mean 0.5
    strokes[0, 6] = 1  # + 0.75 / 20
    strokes[10, [6, 8]], strokes[11, [6, 8]] = (0, 0.125), (0.25, 0.125)  # mean 0.125
    first, last = thickness(Drawing(strokes=strokes, height=64, width=64))
    assert (first, last) == pytest.approx((0.5375, 0.125))
    assert radius(0.125, 64) == 2.5  # 0.125 * 64 / 4 + half a pixel
    assert thickness(Drawing(strokes=strokes[:0], height=64, width=64)) == []


def test_measure_counts_strokes_and_faces() -> None:
    strokes = np.zeros((2, 13), np.float32)
    strokes[:, :6] = 0.5
    strokes[:, 6:10] = 1  # two opaque discs in the middle, 2.5 pixels of radius on 8 x 8
    strokes[1, 10:] = 1  # black first, then white
    drawing = Drawing(strokes=strokes, height=8, width=8, background=(1, 1, 1))
    target = np.ones((8, 8, 3), np.float32)
    mask = np.zeros((8, 8), np.float32)
    mask[3:5, 3:5] = 1
    rows = measure(drawing, target, [1, 2], mask, Brightness())
    assert rows[1]["l2_foreground"] == pytest.approx(1)
    assert rows[1]["l2_background"] == pytest.approx((64 * rows[1]["l2"] - 4) / 60)
    assert rows[2]["l2_foreground"] == pytest.approx(0, abs=1e-9)
    assert 0 < rows[2]["l2"] < rows[1]["l2"]
    for row in rows.values():
        assert (row["face_target"], row["face_blank"]) == (1, 1)
    assert rows[1]["face"] == 1
    dark = measure(replace(drawing, background=(0, 0, 0)), target, [1], None, Brightness())
    assert (dark[1]["face"], dark[1]["face_blank"]) == (0, 0)
    assert not any(key.endswith(("ground", "seconds")) for key in dark[1])


def test_mean_interval_is_scipys() -> None:
    values = [27.5, 30.25, 29, 33.5, 28.75]
    mean, low, high = mean_interval(values)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean == pytest.approx(29.8)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert mean_interval([3.0]) == (3.0, None, None)


@pytest.mark.parametrize(("hits", "count"), [(0, 8), (3, 8), (8, 8), (1, 1), (150, 200)])
def test_share_interval_is_scipys(hits: int, count: int) -> None:
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    result = share_interval(hits, count)
    assert result == pytest.approx((hits / count, expected.low, expected.high), abs=1e-9)


# ---- an evaluation ------------------------------------------------------------------------------


def test_an_evaluation_is_complete_and_consistent(pictures: list[Path], tmp_path: Path) -> None:
    out, seen = tmp_path / "out", list[Progress]()
    summary = run(pictures, out, report=seen.append)
    assert sorted(path.name for path in out.iterdir()) == [
        "faces.png",
        "per_image.csv",
        "psnr.png",
        "summary.csv",
        "summary.json",
        "thickness.csv",
        "thickness.png",
    ]
    assert [(p.done, p.total, p.picture) for p in seen] == [
        (1, 3, "a.png"), (2, 3, "b.png"), (3, 3, "c.png")
    ]  # fmt: skip
    rows = rows_of(out / "per_image.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["picture"], row["strokes"]) for row in rows] == [
        (name, count) for name in NAMES for count in ("5", "10", "12")
    ]
    assert float(rows[-1]["psnr"]) == seen[-1].psnr
    assert [bool(row["seconds"]) for row in rows] == [False, False, True] * 3
    head = {
        key: rows[0][key] for key in ("method", "counts", "budget", "size", "masks", "detector")
    }
    assert list(head.values()) == ["random", "5 10 12", "12", "16", "left_half", "brightness"]
    # One row worked out again from the drawing and the photo.
    photo = read_image(pictures[1])
    drawing = painter(photo, 16, 24, STROKES, 0)
    target = resize(photo, 16, 24)
    mask = resize(np.repeat(left_half(pictures[1], photo)[:, :, None], 3, 2), 16, 24)[:, :, 0]
    expected = measure(drawing, target, [10], mask, Brightness())[10]
    row = next(row for row in rows if (row["picture"], row["strokes"]) == ("b.png", "10"))
    assert {key: float(row[key]) for key in expected} == expected

    values = [float(row["psnr"]) for row in rows if row["strokes"] == "10"]
    found = summary.at("psnr", 10)
    assert found is not None
    assert (found.mean, found.low, found.high) == mean_interval(values)
    assert (found.pictures, found.interval) == (3, "t")
    faces = summary.at("face_target", 12)
    assert faces is not None
    targets = sum(float(row["face_target"]) for row in rows if row["strokes"] == "12")
    assert (faces.mean, faces.interval) == (targets / 3, "Wilson")
    rate = summary.detection(12)
    assert rate is not None
    assert (rate.ceiling, rate.floor, rate.pictures) == (targets / 3, 0, 3)

    thick = rows_of(out / "thickness.csv")
    assert [(row["first"], row["last"]) for row in thick] == [("1", "10"), ("11", "12")] * 3
    assert float(thick[2]["thickness"]) == thickness(drawing)[0]
    assert float(thick[2]["radius"]) == radius(thickness(drawing)[0], 16)
    assert [entry.strokes for entry in summary.curve("thickness")] == [10, 12]

    assert Summary.load(out / "summary.json") == summary
    assert len(rows_of(out / "summary.csv")) == len(summary.estimates)


def test_without_masks_and_detector_those_figures_are_left_out(
    pictures: list[Path], tmp_path: Path
) -> None:
    summary = evaluate(painter, pictures[:1], tmp_path / "out", name="random", size=16, strokes=3)
    assert summary.configuration.counts == (3,)
    assert {entry.figure for entry in summary.estimates} == {
        "psnr", "ssim", "l2", "seconds", "thickness", "radius"
    }  # fmt: skip
    assert summary.detection(3) is None
    assert not (tmp_path / "out" / "faces.png").exists()
    assert all(entry.low is None for entry in summary.estimates)  # a single picture
    assert "| random | 3 | " in table([summary])


def test_pictures_without_subject_have_no_regions(pictures: list[Path], tmp_path: Path) -> None:
    def masks(path: Path, image: ImageArray) -> ImageArray:
        return left_half(path, image) * np.float32(path.name != "b.png")

    summary = run(pictures, tmp_path / "out", masks=masks)
    subject, whole = summary.at("psnr_foreground", 12), summary.at("psnr", 12)
    assert subject is not None
    assert whole is not None
    assert (subject.pictures, whole.pictures) == (2, 3)
    assert "A subject was found on 2 of them." in table([summary])


def test_pictures_in_memory(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    mask = left_half(Path(), image)
    by_mask = run([Item("x", image, mask)], tmp_path / "a", masks=None)
    by_function = run([Item("x", image)], tmp_path / "b")
    assert by_mask.configuration.masks == "given"
    assert by_mask.at("l2_foreground", 12) == by_function.at("l2_foreground", 12)


def test_a_real_painter_gets_better(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:16, 0:16].astype(np.float32) / 16
    image = np.stack([rows, columns, rows * columns], 2)

    def paint(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
        return optimise(photo, height, width, Settings(strokes=strokes, effort=0.05, seed=seed))

    summary = run([Item("ramp", image)], tmp_path, paint, counts=(2,))
    first, last = (entry.mean for entry in summary.curve("psnr"))
    assert last > first > 10


# ---- going on ----------------------------------------------------------------------------------


def failing(at: int) -> tuple[Painter, list[int]]:
    calls: list[int] = []

    def paint(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
        calls.append(len(calls))
        if len(calls) == at:
            raise OSError("the machine was switched off")
        return painter(photo, height, width, strokes, seed)

    return paint, calls


def test_a_killed_evaluation_goes_on(finished: Finished, tmp_path: Path) -> None:
    pictures, out = finished.pictures, tmp_path / "killed"
    paint, _ = failing(at=2)
    with pytest.raises(OSError, match="switched off"):
        run(pictures, out, paint)
    assert {row["picture"] for row in rows_of(out / "per_image.csv")} == {"a.png"}
    paint, calls = failing(at=99)
    summary = run(pictures, out, paint)
    assert len(calls) == 2
    assert summary.pictures == NAMES
    for name in ("per_image.csv", "thickness.csv"):
        assert without_seconds(out / name) == without_seconds(finished.out / name)
    paint, calls = failing(at=1)
    assert run(pictures, out, paint).estimates == summary.estimates
    assert calls == []


def test_more_pictures_may_be_added_and_keep_their_order(
    pictures: list[Path], tmp_path: Path
) -> None:
    run(pictures[1:], tmp_path / "out")
    summary = run(pictures, tmp_path / "out")
    assert summary.pictures == NAMES
    rows = rows_of(tmp_path / "out" / "per_image.csv")
    assert [row["picture"] for row in rows[::3]] == list(NAMES)


def test_a_kill_between_the_two_tables_loses_nothing(finished: Finished) -> None:
    pictures, out = finished
    summary = Summary.load(out / "summary.json")
    lines = (out / "per_image.csv").read_text().splitlines(keepends=True)
    (out / "per_image.csv").write_text("".join(lines[:4]))  # thickness.csv is ahead of it
    again = run(pictures, out)
    (out / "thickness.csv").unlink()
    paint, calls = failing(at=99)
    third = run(pictures, out, paint)
    assert len(calls) == 3
    for entries in zip(summary.estimates, again.estimates, third.estimates, strict=True):
        assert len({entry for entry in entries if entry.figure != "seconds"}) <= 1


@pytest.mark.parametrize(
    ("field", "again"),
    [
        ("method", lambda files, out: run(files, out, name="another")),
        ("counts", lambda files, out: run(files, out, counts=(6, 10))),
        ("counts", lambda files, out: run(files, out, strokes=13)),
        ("size", lambda files, out: run(files, out, size=17)),
        ("seed", lambda files, out: run(files, out, seed=1)),
        ("masks", lambda files, out: run(files, out, masks=None)),
        ("picture", lambda files, out: run(files[1:], out)),
    ],
)
def test_foreign_rows_are_refused_by_field(
    finished: Finished, field: str, again: Callable[[list[Path], Path], Summary]
) -> None:
    pictures, out = finished
    before = (out / "per_image.csv").read_bytes()
    with pytest.raises(ValueError, match=rf"per_image\.csv: .*{field}.*another folder"):
        again(pictures, out)
    assert (out / "per_image.csv").read_bytes() == before


def test_another_detector_or_number_of_threads_is_refused(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Other(Brightness):
        name = "other"

    with pytest.raises(ValueError, match="detector is 'brightness', now 'other'"):
        run(*finished, detector=Other())
    threads = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    with pytest.raises(ValueError, match=f"threads is '{threads}', now '{threads + 1}'"):
        run(*finished)


def test_a_photo_that_changed_is_refused(finished: Finished) -> None:
    first, _, last = finished.pictures
    black = Item("b.png", np.zeros((20, 30, 3), np.float32))
    with pytest.raises(ValueError, match=r"photo: b\.png has changed"):
        run([first, black, last], finished.out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "", "columns"),
        (lambda text: text.replace("psnr,", "snr,", 1), "columns"),
        (lambda text: text + "a.png,5\n", "row 11 has 2 cells"),
        (lambda text: text.replace("\na.png,5,", "\na.png,5,inf,", 1), "row 2 has"),
        (lambda text: text.replace("a.png,5,", "a.png,five,", 1), "strokes of 'a.png' is 'five'"),
        (lambda text: text.replace("a.png,5,", "a.png,nan,", 1), "strokes of 'a.png' is 'nan'"),
        (lambda text: text.replace("c.png,12,", "c.png,11,", 1), "counts of picture 'c.png'"),
        (lambda text: text + '"', "not a CSV file|row"),
    ],
)
def test_damaged_tables_are_refused(
    finished: Finished, change: Callable[[str], str], message: str
) -> None:
    file = finished.out / "per_image.csv"
    damaged = change(file.read_text())
    file.write_text(damaged)
    with pytest.raises(ValueError, match=rf"(?s)per_image\.csv.*({message}|empty)"):
        run(*finished)
    assert file.read_text() == damaged


# ---- bad input ---------------------------------------------------------------------------------


def test_unreadable_pictures_are_named_and_skipped(pictures: list[Path], tmp_path: Path) -> None:
    pictures[1].write_bytes(pictures[1].read_bytes()[:100])
    seen: list[Progress] = []
    summary = run([*pictures, tmp_path / "absent.png"], tmp_path / "out", report=seen.append)
    assert summary.pictures == ("a.png", "c.png")
    assert list(summary.skipped) == ["b.png", "absent.png"]
    assert "no such file" in summary.skipped["absent.png"]
    assert [progress.psnr is None for progress in seen] == [False, True, False, True]
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert skipped == summary.skipped


def test_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"none of 1 pictures can be read: .*empty\.png"):
        run([tmp_path / "empty.png"], tmp_path / "out")
    with pytest.raises(ValueError, match="no pictures"):
        run([], tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"size": 0}, "size"),
        ({"strokes": 0}, "strokes"),
        ({"strokes": 10**6}, "strokes"),
        ({"counts": (0, 5)}, "counts"),
    ],
)
def test_numbers_out_of_range_are_found_before_the_work(
    pictures: list[Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    paint, calls = failing(at=1)
    with pytest.raises(ValueError, match=message):
        run(pictures, tmp_path / "out", paint, **changes)
    assert calls == []


def test_names_that_tables_cannot_hold_are_refused(pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"two pictures are named a\.png"):
        run([*pictures, tmp_path / "a.png"], tmp_path / "out")
    with pytest.raises(ValueError, match="rename it"):
        run([Item("a\nb", np.zeros((4, 4, 3), np.float32))], tmp_path / "out")


def test_an_unwritable_folder_is_found_before_the_work(
    pictures: list[Path], tmp_path: Path
) -> None:
    paint, calls = failing(at=1)
    with pytest.raises(UnwritableFolderError):
        run(pictures, pictures[0] / "out", paint)
    assert calls == []


def test_without_matplotlib_nothing_is_painted(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    paint, calls = failing(at=1)
    with pytest.raises(ImportError, match=r"neuralpaint\[train\]"):
        run(pictures, tmp_path / "out", paint)
    assert calls == []


def test_an_interrupted_painting_ends_the_evaluation(pictures: list[Path], tmp_path: Path) -> None:
    def paint(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
        return replace(painter(photo, height, width, strokes, seed), extra={"interrupted": True})

    with pytest.raises(KeyboardInterrupt):
        run(pictures, tmp_path / "out", paint)
    assert not (tmp_path / "out" / "per_image.csv").exists()


def test_another_drawing_than_asked_for_is_refused(pictures: list[Path], tmp_path: Path) -> None:
    def paint(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
        return painter(photo, width, height, strokes - 1, seed)

    with pytest.raises(ValueError, match="11 strokes on 16 x 24 pixels; asked for 12 on 24 x 16"):
        run(pictures, tmp_path / "out", paint)


@pytest.mark.parametrize(
    "mask", [np.zeros((16, 24)), np.full((20, 30), 2.0), np.full((20, 30), np.nan)]
)
def test_masks_that_do_not_fit_are_refused(
    pictures: list[Path], tmp_path: Path, mask: ImageArray
) -> None:
    paint, calls = failing(at=1)
    with pytest.raises(ValueError, match=r"a\.png: a mask"):
        run(pictures, tmp_path / "out", paint, masks=lambda path, image: mask)
    assert calls == []


# ---- shown -------------------------------------------------------------------------------------


def colours_in(file: Path) -> set[str]:
    """Colours of at least 100 pixels, as #RRGGBB."""
    with PillowImage.open(file) as image:
        assert min(image.size) > 300
        counted = image.convert("RGB").getcolors(maxcolors=2**24) or []
    return {f"#{bytes(colour).hex().upper()}" for count, colour in counted if count >= 100}


def test_plots_show_a_line_for_each_region_and_method(pictures: list[Path], tmp_path: Path) -> None:
    def paint(photo: ImageArray, height: int, width: int, strokes: int, seed: int) -> Drawing:
        return painter(photo, height, width, strokes, seed + 1)

    summaries = [
        run(pictures, tmp_path / "one", name="one"),
        run(pictures, tmp_path / "two", paint, name="two"),
    ]
    text = compare(summaries, tmp_path / "both")
    assert (tmp_path / "both" / "comparison.md").read_text() == text
    assert text.count("\n| one | ") == text.count("\n| two | ") == 3
    assert "3 pictures, canvas 16 px, 12 strokes in one process" in text
    assert text.count("(photos ") == 2
    first, second, third, *_ = COLOURS
    assert {first, second, third} <= colours_in(tmp_path / "one" / "psnr.png")
    for name in ("faces.png", "thickness.png"):
        assert first in colours_in(tmp_path / "one" / name)
        assert second not in colours_in(tmp_path / "one" / name)
    for name in ("psnr.png", "faces.png", "thickness.png"):
        assert {first, second} <= colours_in(tmp_path / "both" / name)


def test_what_was_measured_differently_is_not_compared(finished: Finished, tmp_path: Path) -> None:
    first, pictures = Summary.load(finished.out / "summary.json"), finished.pictures
    second = run(pictures, tmp_path / "b", name="two", size=17)
    with pytest.raises(ValueError, match=r"size differs: 16 \(random\) and 17 \(two\)"):
        compare([first, second], tmp_path / "both")
    third = run(pictures[:2], tmp_path / "c", name="three")
    with pytest.raises(ValueError, match="pictures differs"):
        compare([first, third], tmp_path / "both")
    with pytest.raises(ValueError, match="once"):
        compare([first, first], tmp_path / "both")
    with pytest.raises(ValueError, match="no summary"):
        compare([], tmp_path / "both")
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"configuration": {"counts": 3}}', "{"])
def test_files_that_are_no_summary_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"summary\.json"):
        Summary.load(tmp_path / "summary.json")
