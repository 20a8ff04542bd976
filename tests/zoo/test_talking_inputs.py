"""Sounds in every form a user may give, as mono samples at 16 kHz."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.backend import media
from neuralpaint.zoo.talking import sounds
from neuralpaint.zoo.talking.inputs import several
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE
from neuralpaint.zoo.talking.sounds import Listener, Sound, blocks, read_whole, speak

Samples = NDArray[np.float32]


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> Samples:
    time = np.arange(round(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def assert_tone(samples: Samples) -> None:
    """A second of 440 Hz with amplitude 0.5."""
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=1200)
    spectrum = np.abs(np.fft.rfft(samples[4000:12_000])) / 4000
    assert np.argmax(spectrum) == 220  # of 8000 samples
    assert spectrum.max() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 96_000])
def test_files_of_any_rate(tmp_path: Path, rate: int) -> None:
    media.write_sound(tmp_path / "a.wav", tone(rate), rate)
    sound = read_whole(tmp_path / "a.wav")
    assert_tone(sound.samples)
    assert (sound.name, sound.notes, sound.origin) == ("a.wav", (), {"Sound": "a.wav"})
    parts = list(blocks(str(tmp_path / "a.wav")))
    assert np.array_equal(np.concatenate(parts), sound.samples)


def test_long_files_come_in_blocks_of_a_second(tmp_path: Path) -> None:
    media.write_sound(tmp_path / "a.wav", tone(22_050, 3.3), 22_050)
    parts = list(blocks(tmp_path / "a.wav"))
    assert [len(part) for part in parts[:3]] == [SAMPLE_RATE] * 3
    assert len(parts) == 4
    assert np.array_equal(np.concatenate(parts), read_whole(tmp_path / "a.wav").samples)


def test_a_video_is_taken_for_its_sound(tmp_path: Path) -> None:
    frames = np.zeros((25, 16, 16, 3), np.uint8)
    media.write_video(tmp_path / "a.mp4", frames, 25, audio=tone(48_000), sample_rate=48_000)
    assert_tone(read_whole(tmp_path / "a.mp4").samples)
    media.write_video(tmp_path / "b.mp4", frames, 25)
    for read in (read_whole, lambda path: list(blocks(path))):
        with pytest.raises(media.MediaError, match=r"b\.mp4: no sound in it"):
            read(tmp_path / "b.mp4")


def test_what_is_no_sound_file(tmp_path: Path) -> None:
    media.write_image(tmp_path / "a.png", np.zeros((9, 9, 3)))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not a sound")
    media.write_sound(tmp_path / "whole.wav", tone(16_000), 16_000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:9000])
    for name, message in [
        ("a.png", "no sound"),
        ("empty.wav", "is empty"),
        ("text.wav", "no sound"),
        ("cut.wav", "truncated"),
        ("gone.wav", "no such file"),
        (".", "is a folder"),
    ]:
        for read in (read_whole, lambda path: list(blocks(path))):
            with pytest.raises(media.MediaError, match=message):
                read(tmp_path / name)


def test_what_is_wrong_is_told_before_the_first_block() -> None:
    with pytest.raises(media.MediaError, match="no such file"):
        blocks("gone.wav")
    with pytest.raises(TypeError, match="a sound is a path"):
        blocks(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not bytes"):
        blocks(b"RIFF")  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [8000, 11_025, 48_000, 96_000])
def test_arrays_with_their_rate(rate: int) -> None:
    assert_tone(read_whole((tone(rate), rate)).samples)


def test_arrays_of_any_kind() -> None:
    plain = tone(16_000)
    assert np.array_equal(read_whole(plain).samples, plain)
    assert np.array_equal(read_whole(plain.astype(np.float64)).samples, plain)
    stereo = np.stack([plain, np.zeros_like(plain)], 1)
    np.testing.assert_allclose(read_whole(stereo).samples, plain / 2, atol=1e-7)
    whole = np.rint(plain * 32_767).astype(np.int16)
    np.testing.assert_allclose(read_whole(whole).samples, plain, atol=1e-4)
    given = Sound("mine", plain, ("a note",), {"Sound": "mine"})
    assert read_whole(given) is given
    assert np.array_equal(np.concatenate(list(blocks(given))), plain)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\); samples are"),
        (np.zeros(0), "samples are"),
        (np.array([0, np.nan]), "NaN"),
        (np.array([0, 300.0]), "peak 300; samples must lie"),
        (np.zeros(9, np.int32), "int32 samples"),
        (np.zeros((2, 16_000)), r"\(N, channels\), turn it"),
        ((np.zeros(9), 100), "100 samples a second; must be"),
        ((np.zeros(9), 99_991), "99991 samples a second cannot"),
        (iter([]), "is empty"),
        ([np.zeros(0)], "is empty"),
    ],
)
def test_arrays_that_are_no_sound(bad: Any, message: str) -> None:
    with pytest.raises(media.MediaError, match=f"the sound: .*{message}"):
        read_whole(bad)


def test_blocks_that_are_none() -> None:
    with pytest.raises(TypeError, match="a block is list"):
        read_whole([[0.0]])  # type: ignore[list-item]


def test_too_long_is_refused() -> None:
    with pytest.raises(media.MediaError, match=r"longer than 0\.5 seconds; stream it"):
        read_whole(tone(16_000), max_seconds=0.5)


@given(st.lists(st.integers(0, 700), max_size=8))
def test_blocks_are_the_whole(sizes: list[int]) -> None:
    ends = np.cumsum([0, *sizes, 1])
    whole = tone(16_000)[: ends[-1]]
    parts = [whole[a:b] for a, b in pairwise(ends)]
    heard = list(blocks(parts))
    assert np.array_equal(np.concatenate(heard), whole)
    assert all(len(part) for part in heard)


def notes(*parts: Samples) -> tuple[str, ...]:
    listener = Listener("me")
    for part in parts:
        listener.hear(part)
    return listener.notes


def test_notes_on_what_is_heard() -> None:
    silence, full = np.zeros(16_000, np.float32), np.full(100, 1.0, np.float32)
    half = np.full(160_000, 0.5, np.float32)
    assert notes() == ()
    assert notes(silence) == ("me: is silent; the face has nothing to say",)
    assert notes(silence, full)[0].startswith("me: clipped (0.6% of its samples are at full scale)")
    assert notes(silence, full, half) == ()
    assert notes(half[:160]) == ("me: 10 ms long, less than a syllable",)


def test_lists_and_single_inputs() -> None:
    assert several("face.jpg", "face") is None
    assert several(Path("face.jpg"), "face") is None
    assert several(np.zeros(3), "sound") is None
    assert several((np.zeros(3), 8000), "sound") is None
    assert several(iter([]), "sound") is None
    assert several(("a.wav", "b.wav"), "sound") == ["a.wav", "b.wav"]
    assert several(["a.wav"], "sound") == ["a.wav"]
    with pytest.raises(ValueError, match="at least one sound"):
        several([], "sound")


def test_the_second_voice_is_named_where_the_first_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sounds, "has_espeak", lambda: False)
    sound = speak("now")
    assert len(sound.samples) > 1600
    assert sound.notes == (
        "the text 'now': spoken by the built-in formant synthesiser; for clearer speech: "
        "pip install 'neuralpaint[audio]'",
    )
    assert sound.origin == {"Text": "now", "Voice": "the built-in formant synthesiser, voice 0"}
    assert np.array_equal(speak("now", "formant").samples, sound.samples)
    assert not np.array_equal(speak("now", "formant", 5).samples, sound.samples)
