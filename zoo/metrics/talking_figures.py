"""Figures of talking faces as Table 5.1, clip by clip: each is generated, measured and let go."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..ldcgan_parts import mirrored
from .ageing_parts import Found, Table
from .bootstrap import Bootstrap, Sums, sums_of
from .measures import Figure, Measure, Unit
from .talking import (
    correlation,
    decibels,
    distance,
    jitter,
    mouth_of,
    mouth_region,
    opening,
    similarity,
    square_error,
)
from .talking_parts import (
    FROZEN,
    GENERATED,
    GIVEN,
    REAL,
    SHUFFLED,
    Report,
    Spoken,
    Talker,
    TalkingJudges,
    TalkingTrial,
    short,
    speak,
)
from .talking_reading import Read, answers, read_table, slot_table, word_windows

FACES_MOST = 3
"""Frames of a clip that are searched for a face, at most."""

AGAIN = "the real frames, mirrored and found again"
OWN = "the landmarks of the set"
WHOLE, MOUTH = "whole frame", "mouth box"
ALL, LIPS = "68 points", "mouth"

SSIM, PSNR, CLIP_PSNR = "SSIM", "PSNR (dB)", "PSNR of the mean square of a clip (dB)"
LMD, AIMED = "LMD, landmarks found (pixels)", "error of the landmarks aimed at (pixels)"
JITTER, JITTER_AIMED = "jitter of landmarks found", "jitter of the landmarks aimed at"
OPENING = "opening of the mouth, correlation with the real one"
FACES = "frames with a face"
WORDS = "words read back"


class Tally:
    """Values of every figure, of everyone, by clip."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[Tensor]] = {}

    def add(self, name: str, who: str, values: Tensor) -> None:
        """The values (T,) of one more clip."""
        self.values.setdefault((name, who), []).append(values.double().reshape(-1).cpu())

    def sums(self, name: str, who: str) -> Sums | None:
        """Of all clips; None where there is no value."""
        values = self.values.get((name, who))
        if values is None:
            return None
        sums = sums_of(values)
        return sums if sums.number.sum() else None


def tally(
    model: Talker,
    trial: TalkingTrial,
    judges: TalkingJudges,
    report: Report,
    keep: Callable[[int, Spoken], None] = lambda place, spoken: None,
) -> tuple[Tally, Read | None]:
    """Let a model speak every clip of a trial and measure it.

    Args:
        model: see `Talker`.
        trial: see `TalkingTrial`.
        judges: see `TalkingJudges`.
        report: called after each clip.
        keep: called with the number of each clip in the trial and what was made of it.

    Returns:
        The values, and the words read; None without a reader, or a word that it knows.

    Raises:
        ValueError: the model gives other shapes, or landmarks that are not finite.
    """
    found = Tally()
    labels, clips, slots = list[Tensor](), list[Tensor](), list[Tensor]()
    said: dict[str, list[Tensor]] = {}
    for place in range(len(trial)):
        spoken = speak(model, trial, place)
        _quality(found, spoken)
        _aims(found, spoken)
        if judges.find is not None:
            _landmarks(found, spoken, judges)
        if judges.detect is not None:
            some = slice(None, None, -(-len(spoken.real) // FACES_MOST))
            for who in _TWICE:
                found.add(FACES, who, judges.detect(spoken.frames[who][some]))
            found.add(FACES, REAL, judges.detect(spoken.real[some]))
        if judges.reader is not None:
            words = trial.clips.words[trial.rows[place]]
            test = word_windows(words, len(spoken.real), judges.reader.config.words)
            labels.append(test.labels)
            clips.append(torch.full_like(test.labels, place))
            slots.append(torch.arange(len(test.labels)))
            for who, frames in {REAL: spoken.real, **spoken.frames}.items():
                said.setdefault(who, []).append(answers(judges.reader, frames, test.rows))
        keep(place, spoken)
        report("speak and measure", place + 1, len(trial))
    if not sum(map(len, labels)):
        return found, None
    joined = {who: torch.cat(parts) for who, parts in said.items()}
    return found, Read(torch.cat(labels), torch.cat(clips), torch.cat(slots), joined)


def _quality(found: Tally, spoken: Spoken) -> None:
    region = mouth_region(spoken.landmarks, int(spoken.real.shape[3]))
    # Frame 0 was given to the model.
    for who, frames in spoken.frames.items():
        pairs = {
            WHOLE: (frames[1:], spoken.real[1:]),
            MOUTH: (region.of(frames[1:]), region.of(spoken.real[1:])),
        }
        for where, (made, real) in pairs.items():
            square = square_error(made, real)
            found.add(f"{SSIM}, {where}", who, similarity(made, real))
            found.add(f"{PSNR}, {where}", who, decibels(square))
            found.add(f"{CLIP_PSNR}, {where}", who, decibels(square.mean()))


def _aims(found: Tally, spoken: Spoken) -> None:
    """The landmarks that the model predicted, against those of the set."""
    size, truth = int(spoken.real.shape[3]), spoken.landmarks
    for who, points in spoken.aimed.items():
        found.add(f"{AIMED}, {ALL}", who, distance(points[1:], truth[1:], size))
        lips = distance(mouth_of(points[1:]), mouth_of(truth[1:]), size)
        found.add(f"{AIMED}, {LIPS}", who, lips)
        found.add(f"{OPENING}, aimed at", who, correlation(opening(points), opening(truth)))
    for who, points in ((GENERATED, spoken.aimed[GENERATED]), (REAL, truth)):
        found.add(f"{JITTER_AIMED}, {ALL}", who, jitter(points, size))
        found.add(f"{JITTER_AIMED}, {LIPS}", who, jitter(mouth_of(points), size))


def _landmarks(found: Tally, spoken: Spoken, judges: TalkingJudges) -> None:
    """What one detector finds in real and generated frames."""
    assert judges.find is not None
    size, first = int(spoken.real.shape[3]), spoken.landmarks[0]
    real = judges.find(spoken.real, first)
    points = {who: judges.find(spoken.frames[who], first) for who in (GENERATED, GIVEN, SHUFFLED)}
    points[FROZEN] = real[:1].expand_as(real)
    points[OWN] = spoken.landmarks
    points[AGAIN] = mirrored(judges.find(spoken.real.flip(3), mirrored(first[None])[0]))
    for who, places in points.items():
        found.add(f"{LMD}, {ALL}", who, distance(places[1:], real[1:], size))
        lips = distance(mouth_of(places[1:]), mouth_of(real[1:]), size)
        found.add(f"{LMD}, {LIPS}", who, lips)
        course = correlation(opening(places), opening(real))
        found.add(f"{OPENING}, found", who, course)
    for who, places in {REAL: real, **points}.items():
        found.add(f"{JITTER}, {ALL}", who, jitter(places, size))
        found.add(f"{JITTER}, {LIPS}", who, jitter(mouth_of(places), size))


# --- figures -------------------------------------------------------------------------------------

_TWICE = (GENERATED, GIVEN)
_CONTROLS = (FROZEN, SHUFFLED)


def talking_figures(found: Tally, read: Read | None, draw: Bootstrap) -> Found:
    """All figures, with 95 % intervals over clips, and what stands beside them.

    Args:
        found: see `tally`.
        read: see `tally`.
        draw: see `Bootstrap`.

    Returns:
        Figures, tables and notes.
    """
    figures, ahead = list[Figure](), list[list[Any]]()
    quality = [f"{name}, {where}" for name in (SSIM, PSNR, CLIP_PSNR) for where in (WHOLE, MOUTH)]
    better = dict.fromkeys(quality, True)
    better |= {f"{name}, {which}": False for name in (LMD, AIMED) for which in (ALL, LIPS)}
    for name, higher in better.items():
        unit: Unit = "cos" if name.startswith(SSIM) else "score"
        figures += _rows(found, draw, name, unit, _CONTROLS, (OWN, AGAIN), higher=higher)
        for who, control in ((GENERATED, FROZEN), (GENERATED, SHUFFLED), (GIVEN, FROZEN)):
            ahead += _ahead(found, draw, name, who, control, higher=higher)
    for which in ("found", "aimed at"):
        name = f"{OPENING}, {which}"
        figures += _rows(found, draw, name, "cos", _CONTROLS, (AGAIN,))
        for who in _TWICE:
            ahead += _ahead(found, draw, name, who, SHUFFLED, higher=True)
    for name in (JITTER, JITTER_AIMED):
        for which in (ALL, LIPS):
            text = f"{name}, {which}"
            figures += _rows(
                found, draw, text, "score", (), (REAL,), suffix=" (pixels, as real is best)"
            )
    figures += _rows(found, draw, FACES, "%", (), (REAL,))
    tables = [
        Table(
            "Ahead of the controls, in the same clips: differences with 95 % intervals, and in how "
            "many of the clips",
            ("figure", "", "ahead of", "by", "95 %", "standard errors", "clips, %"),
            ahead,
        )
    ]
    notes = ["frame 0 of each clip is what the model is given, and is not compared"]
    if read is not None:
        figures += _read_figures(read, draw)
        tables.append(Table(f"Words read back, {len(read.labels)} in all", *read_table(read, draw)))
        if (by_slot := slot_table(read)) is not None:
            tables.append(Table("Words read back by their place in the clip, %", *by_slot))
    return figures, tables, notes


def _rows(
    found: Tally,
    draw: Bootstrap,
    name: str,
    unit: Unit,
    floors: tuple[str, ...],
    ceilings: tuple[str, ...],
    *,
    higher: bool = True,
    suffix: str = "",
) -> list[Figure]:
    """One line with the landmarks that the model predicts, one with true landmarks given."""

    def measures(names: tuple[str, ...]) -> Mapping[str, Measure]:
        sums = {who: found.sums(name, who) for who in names}
        return {who: draw.measure(values) for who, values in sums.items() if values is not None}

    figures = []
    for who in _TWICE:
        own = found.sums(name, who)
        if own is None:
            continue
        title = f"{name}{suffix}" if who == GENERATED else f"{name}{suffix}, {GIVEN}"
        figures.append(
            Figure(
                title,
                unit,
                draw.measure(own),
                measures(floors),
                measures(ceilings),
                higher=higher,
                count=int(own.number.sum()),
            )
        )
    return figures


def _ahead(
    found: Tally, draw: Bootstrap, name: str, who: str, control: str, *, higher: bool
) -> list[list[Any]]:
    own, other = found.sums(name, who), found.sums(name, control)
    if own is None or other is None:
        return []
    apart = draw.difference(own, other) if higher else draw.difference(other, own)
    known = abs(apart.low) < float("inf")
    return [
        [
            *(name, who, control, apart.value),
            f"[{short(apart.low)}, {short(apart.high)}]" if known else None,
            apart.errors if known and abs(apart.errors) < float("inf") else None,
            100 * apart.share,
        ]
    ]


def _read_figures(read: Read, draw: Bootstrap) -> list[Figure]:
    measures = {who: draw.measure(read.sums(who, draw.clips)) for who in read.answers}
    return [
        Figure(
            WORDS if who == GENERATED else f"{WORDS}, {GIVEN}",
            "%",
            measures[who],
            {name: measures[name] for name in (SHUFFLED, FROZEN)},
            {REAL: measures[REAL]},
            count=len(read.labels),
            chance=read.chance,
        )
        for who in _TWICE
    ]
