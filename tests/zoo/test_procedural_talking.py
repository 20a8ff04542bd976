"""Drawn faces that talk: mouths follow the sounds, clips are complete, exact and in time."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo.data.talking import Clips
from neuralpaint.zoo.procedural_faces import Expression, face, people, picture
from neuralpaint.zoo.procedural_talking import (
    NUMBERS,
    OLDEST,
    VISEMES,
    YOUNGEST,
    Take,
    blinks,
    expressions,
    film,
    framed,
    make_clips,
    speaker,
    take,
    tracks,
)
from neuralpaint.zoo.procedural_talking.visemes import AFTER, BEFORE
from neuralpaint.zoo.talking.geometry import STEADY, stabilise, towards
from neuralpaint.zoo.talking.grammar import SLOTS
from neuralpaint.zoo.talking.mfcc import windows
from neuralpaint.zoo.talking.spoken import PHONEMES, Span

JAW, OPEN, WIDE, ROUND, PRESS, BITE, TONGUE = range(7)
SPOKEN = [name for name in VISEMES if name != "SIL"]
LASTING = st.lists(st.tuples(st.sampled_from(SPOKEN), st.floats(0.07, 0.25)), min_size=3)


def spans(sounds: Sequence[tuple[str, float]], start: float = 0.0) -> list[Span]:
    """Sounds one after another, from their lengths in seconds."""
    ends = start + np.cumsum([length for _, length in sounds])
    return [
        Span(name, float(end) - length, float(end))
        for (name, length), end in zip(sounds, ends, strict=True)
    ]


def at_middles(sounds: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
    said = spans(sounds)
    return tracks(said, np.array([(span.start + span.end) / 2 for span in said]))


@pytest.fixture(scope="module")
def clip() -> Take:
    return take(12, size=64)


@pytest.fixture(scope="module")
def made() -> Clips:
    return make_clips(3, 32)


# --- mouths --------------------------------------------------------------------------------------


def test_every_phoneme_has_a_mouth() -> None:
    assert set(VISEMES) == set(PHONEMES)
    for parts in VISEMES.values():
        for part in parts:
            assert len(part.shape) == len(part.firm) == len(NUMBERS)
            assert min(part.firm) > 0
            Expression(*part.shape)  # within its bounds


def test_a_sound_that_is_held_reaches_its_target() -> None:
    for name, parts in VISEMES.items():
        if len(parts) == 1:
            assert tracks([Span(name, 0, 1)], np.array([0.5]))[0] == pytest.approx(parts[0].shape)
    ends = tracks([Span("OW", 0, 1)], np.array([0.1, 0.95]))
    assert ends[0, OPEN] > ends[1, OPEN] + 0.1  # the lips close as it glides to "oo"


def test_two_sounds_blend_as_by_hand() -> None:
    # "aa" and "ee" of 0.2 s each, seen where they meet: both are held for 0.32 of their length
    # to either side of the middle, so 0.1 - 0.064 = 0.036 s away. The first falls by AFTER, the
    # second is still to come and rises by BEFORE; both have dominance 1 in the jaw.
    first, second = np.exp(-AFTER * 0.036), np.exp(-BEFORE * 0.036)
    (open_jaw,), (closed_jaw,) = (
        [part.shape[JAW] for part in VISEMES[name]] for name in ("AA", "IY")
    )
    expected = (first * open_jaw + second * closed_jaw) / (first + second)
    got = tracks(spans([("AA", 0.2), ("IY", 0.2)]), np.array([0.2]))[0, JAW]
    assert got == pytest.approx(expected)


def test_lips_prepare_what_comes() -> None:
    two, tea = at_middles([("T", 0.08), ("UW", 0.2)]), at_middles([("T", 0.08), ("IY", 0.2)])
    assert two[0, ROUND] > tea[0, ROUND] + 0.3
    assert tea[0, WIDE] > two[0, WIDE] + 0.3


@settings(deadline=None, max_examples=60)
@given(sounds=LASTING)
def test_lips_meet_in_every_bilabial_and_touch_teeth_in_every_labiodental(
    sounds: list[tuple[str, float]],
) -> None:
    moved = at_middles(sounds)
    assert np.isfinite(moved).all()
    assert moved[:, WIDE].min() >= -1
    assert np.delete(moved, WIDE, axis=1).min() >= 0
    assert moved.max() <= 1
    for (name, _), row in zip(sounds, moved, strict=True):
        if name in ("P", "B", "M"):
            assert row[PRESS] > 0.6
            assert row[OPEN] < 0.1
        if name in ("F", "V"):
            assert row[BITE] > 0.6
            assert row[OPEN] < 0.3
        if name in ("AA", "AE"):
            assert row[OPEN] > 0.33
            assert row[PRESS] < 0.25
        if name in ("UW", "W"):
            assert row[ROUND] > 0.5


def test_sounds_without_a_mouth_are_named() -> None:
    with pytest.raises(ValueError, match="QQ"):
        tracks([Span("AA", 0, 1), Span("QQ", 1, 2)], np.array([0.5]))
    with pytest.raises(ValueError, match="no phonemes"):
        tracks([], np.array([0.5]))


def test_mumbling_moves_less_but_closes_all_the_same() -> None:
    said = spans([("M", 0.12), ("AA", 0.2), ("M", 0.12)])
    loud, low = (expressions(said, 11, effort=effort) for effort in (1.0, 0.6))
    middle = 5  # frame of 0.2 to 0.24 s, in the vowel
    assert low[middle].open == pytest.approx(0.6 * loud[middle].open, abs=1e-3)
    assert low[1].press == loud[1].press > 0.8
    assert max(move.jaw for move in expressions(said, 11, effort=3)) <= 1


def test_blinks_shut_the_lids_for_a_moment() -> None:
    moves = expressions([Span("SIL", 0, 2)], 50, blinks=[1.02])
    shut = np.array([move.blink for move in moves])
    assert shut[25] == 1
    assert shut[:24].max() == shut[29:].max() == 0
    moments = blinks(np.random.default_rng(3), 600)
    assert 120 < len(moments) < 300
    assert (np.diff(moments) > 1).all()


# --- films ---------------------------------------------------------------------------------------


def test_people_are_framed_as_the_crop_is() -> None:
    for identity in (0, 5, 23):
        spec, age = speaker(identity, seed=1)
        assert YOUNGEST <= age <= OLDEST
        image, points = picture(spec, age, 64, Expression(0.5, 0.5))
        way = towards(points, 1)  # nose and corners of the eyes take no part in speech
        assert way.scale == pytest.approx(1, abs=1e-4)
        assert way.angle == pytest.approx(0, abs=0.01)
        assert abs(way.right) + abs(way.down) < 1e-4
        # So the data's own way to such crops leaves it as it is.
        frames = image.transpose(1, 2, 0)[None].repeat(3, 0)
        moved, places = stabilise(frames, points[None].repeat(3, 0) * 64, 64)
        assert np.allclose(places[1], points.ravel(), atol=1e-4)
        assert np.abs(moved[1].astype(int) - frames[1]).mean() < 1
    spec = face(4)
    assert framed(spec, 40).person == spec.person


def test_a_film_is_made_of_pictures() -> None:
    spec, age = speaker(9)
    moves = [Expression(), Expression(0.6, 0.7, blink=0.5), Expression(press=1)]
    frames, points = film(spec, age, moves, 48)
    for frame, row, move in zip(frames, points, moves, strict=True):
        image, places = picture(spec, age, 48, move)
        assert np.array_equal(frame, image)
        assert np.array_equal(row, places.ravel())


def test_only_the_expression_moves(clip: Take) -> None:
    points = clip.landmarks.reshape(-1, 68, 2)
    assert np.ptp(points[:, STEADY], axis=0).max() == 0
    assert np.ptp(points[:, 66, 1]) > 0.02
    # The picture above the brows stands still.
    top = int(points[0, 17:27, 1].min() * 64) - 2
    assert np.ptp(clip.frames[:, :, :top], axis=0).max() <= 3  # shade of what is below, rounded


def test_mouths_are_in_time_with_the_sound(clip: Take) -> None:
    points = clip.landmarks.reshape(-1, 68, 2)
    apart = points[:, 66, 1] - points[:, 62, 1]
    times = (np.arange(75) + 0.5) / 25
    sound = {name: np.zeros(75, bool) for name in VISEMES}
    for name, start, end in clip.phonemes:
        inner = 0.25 * (end - start)
        sound[name] |= (times >= start + inner) & (times < end - inner)
    closed = sound["P"] | sound["B"] | sound["M"]
    vowels = np.logical_or.reduce([sound[name] for name in ("AA", "AE", "AY", "EH", "AW", "AO")])
    assert closed.any()
    assert vowels.any()
    assert apart[closed].max() < 0.35 * apart[vowels].min()

    # Loud where the mouth is open: their correlation is highest within two frames.
    loud = np.sqrt((clip.samples.reshape(75, 640) ** 2).mean(1))
    fits = {
        shift: np.corrcoef(np.roll(loud, shift)[15:-15], apart[15:-15])[0, 1]
        for shift in range(-12, 13)
    }
    best = max(fits, key=lambda shift: float(fits[shift]))
    assert abs(best) <= 2
    assert fits[0] > 0.5


# --- the set -------------------------------------------------------------------------------------


def test_a_set_is_complete(made: Clips) -> None:
    assert len(made) == 3
    assert made.frames.shape == (3 * 75, 3, 32, 32)
    assert made.first.tolist() == [0, 75, 150, 225]
    assert made.speakers.tolist() == [0, 0, 1]
    assert not made.held_out.any()
    assert len({said[1:-1] for said in made.words}) == 3
    for number, said in enumerate(made.words):
        assert said[0].word == said[-1].word == "sil"
        assert (said[0].start, said[-1].end) == (0, 75)
        assert all(a.end == b.start for a, b in pairwise(said))
        words = [span.word for span in said if span.word != "sil"]
        assert all(word in slot for word, slot in zip(words, SLOTS, strict=True))
        assert torch.equal(
            made.windows[made.rows(number)], torch.from_numpy(windows(made.sound(number)))
        )
        assert 0.05 < np.abs(made.sound(number)).max() < 1


def test_a_clip_depends_on_seed_and_number_alone(made: Clips) -> None:
    one = take(0, 1, size=32)
    rows = made.rows(1)
    assert np.array_equal(made.frames[rows].numpy(), one.frames)
    assert np.array_equal(made.landmarks[rows].numpy(), one.landmarks)
    assert made.words[1] == one.words
    assert made.names[1] == one.name
    first, again, other = speaker(0), speaker(0, view=1), speaker(0, seed=1)
    assert first[0].person == again[0].person != other[0].person
    assert first[1] == again[1]
    assert first[0].scene != again[0].scene


def test_a_set_is_the_same_on_any_number_of_processes(made: Clips) -> None:
    calls: list[tuple[int, int]] = []
    shared = make_clips(2, 32, workers=2, report=lambda done, total: calls.append((done, total)))
    alone = made.choose([0, 1])
    for name in ("frames", "landmarks", "windows", "speakers", "sounds", "first"):
        assert torch.equal(getattr(shared, name), getattr(alone, name)), name
    assert shared.words == alone.words
    assert shared.checksum == alone.checksum
    assert calls == [(1, 2), (2, 2)]


def test_every_eighth_person_is_held_out() -> None:
    assert people(9, None) == [0, 1, 2, 3, 4, 5, 6, 8, 7]
    tested = make_clips(1, 32, held_out=True)
    assert tested.speakers.tolist() == [7]
    assert tested.held_out.all()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"count": 0}, "count"),
        ({"size": 16}, "size"),
        ({"seed": -1}, "seed"),
        ({"seconds": 0.5}, "seconds"),
        ({"per_person": 0}, "per_person"),
        ({"workers": 0}, "workers"),
        ({"seconds": 1.0}, "too short"),
        ({"engine": "parrot"}, "parrot"),
    ],
)
def test_bad_arguments_are_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        make_clips(**({"count": 1, "size": 32} | wrong))
