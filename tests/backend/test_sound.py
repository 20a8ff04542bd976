import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from neuralpaint.backend import media
from neuralpaint.backend.sound import stream_sound

RATE = 16_000


def tone(seconds: float = 1.0, rate: int = RATE, amplitude: float = 0.5) -> NDArray[np.float64]:
    time = np.arange(int(seconds * rate)) / rate
    return np.asarray(amplitude * np.sin(2 * np.pi * 440 * time))


def write_wav(path: Path, channels: list[NDArray[np.float64]], rate: int, width: int = 2) -> None:
    """A WAV with any number of channels, 16 or 32 bits, by the standard library."""
    frames = np.stack(channels, 1) * 2.0 ** (8 * width - 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(frames.astype(f"<i{width}").tobytes())


def assert_tone(sound: NDArray[np.float32], amplitude: float = 0.5) -> None:
    """440 Hz is the strongest frequency, and its amplitude is right, away from the ends."""
    middle = sound[len(sound) // 4 : len(sound) // 4 + RATE // 2]  # 220 whole periods
    spectrum = np.abs(np.fft.rfft(middle)) / (len(middle) / 2)
    assert np.argmax(spectrum) * RATE / len(middle) == 440
    assert spectrum.max() == pytest.approx(amplitude, rel=0.01)


def test_a_tone_survives(tmp_path: Path) -> None:
    media.write_sound(tmp_path / "a.wav", tone(), RATE)
    sound = media.read_sound(tmp_path / "a.wav", RATE)
    assert sound.shape == (RATE,)
    assert sound.dtype == np.float32
    np.testing.assert_allclose(sound, tone(), atol=1 / 32768)
    assert_tone(sound)


@pytest.mark.parametrize(("rate", "width"), [(44_100, 2), (8_000, 2), (48_000, 4)])
def test_a_tone_survives_resampling(tmp_path: Path, rate: int, width: int) -> None:
    write_wav(tmp_path / "a.wav", [tone(rate=rate)], rate, width)
    sound = media.read_sound(tmp_path / "a.wav", RATE)
    assert len(sound) == pytest.approx(RATE, abs=32)
    assert_tone(sound)


@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_a_tone_and_a_click_survive_any_rate_in_stereo(tmp_path: Path, rate: int) -> None:
    write_wav(tmp_path / "tone.wav", [tone(rate=rate)] * 2, rate)
    assert_tone(np.concatenate(list(stream_sound(tmp_path / "tone.wav", RATE, 1000))))
    click = np.zeros(rate)
    click[int(0.3 * rate) : int(0.3 * rate) + rate // 1000] = 0.8
    write_wav(tmp_path / "click.wav", [click, click], rate)
    sound = np.concatenate(list(stream_sound(tmp_path / "click.wav", RATE, 640)))
    assert len(sound) == pytest.approx(RATE, abs=32)
    loud = np.flatnonzero(np.abs(sound) > 0.4)
    assert 0.2995 <= loud[0] / RATE <= loud[-1] / RATE <= 0.3015


@pytest.mark.parametrize("block", [1, 640, 10_007, 16_000, 10**6])
def test_a_stream_is_the_whole_in_blocks(tmp_path: Path, block: int) -> None:
    rate = 44_100 if block > 1 else 16_000
    length = 1.3 if block > 1 else 0.01
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, int(length * rate)))
    write_wav(tmp_path / "a.wav", list(noise), rate)
    blocks = list(stream_sound(tmp_path / "a.wav", RATE, block))
    assert {len(part) for part in blocks[:-1]} <= {block}
    assert 0 < len(blocks[-1]) <= block
    np.testing.assert_array_equal(
        np.concatenate(blocks), media.read_sound(tmp_path / "a.wav", RATE)
    )


def test_a_stream_finds_what_it_can_at_once(tmp_path: Path) -> None:
    with pytest.raises(media.MediaError, match=r"no\.wav"):
        stream_sound(tmp_path / "no.wav", RATE, 640)
    media.write_sound(tmp_path / "a.wav", tone(2), RATE)
    with pytest.raises(media.MediaError, match="block 0"):
        stream_sound(tmp_path / "a.wav", RATE, 0)
    with pytest.raises(media.MediaError, match="rate 0"):
        stream_sound(tmp_path / "a.wav", 0, 640)
    stream = stream_sound(tmp_path / "a.wav", RATE, RATE, max_seconds=1.5)
    assert len(next(stream)) == RATE
    with pytest.raises(media.MediaError, match=r"longer than 1\.5 seconds"):
        next(stream)


def test_one_voice_on_two_channels_keeps_its_amplitude(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", [tone(), tone()], RATE)
    assert_tone(media.read_sound(tmp_path / "a.wav", RATE))


def test_channels_are_averaged(tmp_path: Path) -> None:
    silence = np.zeros(RATE)
    write_wav(tmp_path / "a.wav", [tone(), silence, silence, tone()], RATE)
    assert_tone(media.read_sound(tmp_path / "a.wav", RATE), 0.25)


def test_full_scale_and_odd_lengths(tmp_path: Path) -> None:
    samples = np.array([1.0, -1.0, 0.0, 2**-15, 0.25], np.float32)
    media.write_sound(tmp_path / "a.wav", samples, 8000)
    sound = media.read_sound(tmp_path / "a.wav", 8000)
    np.testing.assert_array_equal(sound, [32767 / 32768, -1, 0, 2**-15, 0.25])


def test_a_long_sound_is_refused(tmp_path: Path) -> None:
    media.write_sound(tmp_path / "a.wav", tone(2.0), RATE)
    assert len(media.read_sound(tmp_path / "a.wav", RATE, max_seconds=2)) == 2 * RATE
    with pytest.raises(media.MediaError, match=r"a\.wav: longer than 1\.5 seconds"):
        media.read_sound(tmp_path / "a.wav", RATE, max_seconds=1.5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"plain text, no sound", "no sound"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.wav\n#EXT-X-ENDLIST\n", "no sound"),
        (b"ffconcat version 1.0\nfile other.wav\n", "no sound"),
        (b"RIFF\x04\0\0\0WAVE", "no sound"),
    ],
)
def test_what_is_no_sound(tmp_path: Path, data: bytes, message: str) -> None:
    media.write_sound(tmp_path / "other.wav", tone(0.1), RATE)  # what the playlists name
    path = tmp_path / "bad.wav"
    path.write_bytes(data)
    with pytest.raises(media.MediaError, match=rf"bad\.wav: .*{message}"):
        media.read_sound(path, RATE)


def test_a_truncated_wav_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    media.write_sound(path, tone(), RATE)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(media.MediaError, match=r"a\.wav: truncated \(20000 of 32044 bytes\)"):
        media.read_sound(path, RATE)


def test_a_streamed_wav_of_unstated_length_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    media.write_sound(path, tone(), RATE)
    data = bytearray(path.read_bytes())
    for place in (4, 40):  # the lengths of the file and of the samples
        data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert_tone(media.read_sound(path, RATE))


def test_a_picture_or_a_silent_video_has_no_sound(tmp_path: Path) -> None:
    frames = [np.zeros((16, 16, 3), np.uint8)] * 3
    media.write_video(tmp_path / "a.mp4", frames, 25)
    with pytest.raises(media.MediaError, match=r"a\.mp4: no sound in it"):
        media.read_sound(tmp_path / "a.mp4", RATE)
    media.write_image(tmp_path / "a.png", frames[0])
    with pytest.raises(media.MediaError, match=r"a\.png: .*no sound"):
        media.read_sound(tmp_path / "a.png", RATE)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((2, 4)), RATE, r"shape \(2, 4\)"),
        (np.zeros(0), RATE, "shape"),
        (np.array([np.nan]), RATE, "NaN"),
        (np.array([1.5]), RATE, r"peak 1\.5"),
        (np.zeros(4), 0, "rate 0"),
    ],
)
def test_bad_samples_are_refused(
    tmp_path: Path, samples: NDArray[np.float64], rate: int, message: str
) -> None:
    with pytest.raises(media.MediaError, match=message):
        media.write_sound(tmp_path / "a.wav", samples, rate)
    assert not list(tmp_path.iterdir())


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(media.MediaError, match=r"can only write \.wav"):
        media.write_sound(tmp_path / "a.mp3", tone(), RATE)


def test_a_decoder_that_never_ends_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ffmpeg sends more sound than allowed and then hangs; so would this test."""
    header = struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 6, RATE, 1)
    (tmp_path / "sound").write_bytes(header + bytes(4 * RATE * 2))
    stand_in = tmp_path / "ffmpeg"
    stand_in.write_text(f"#!/bin/sh\ncat '{tmp_path}/sound'\nexec sleep 1000\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(stand_in))
    with pytest.raises(media.MediaError, match="longer than 1 seconds"):
        media.read_sound(tmp_path / "sound", RATE, max_seconds=1)


def test_a_stream_without_end_is_read_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for ffmpeg never stops sending; a reader that gathers it all would hang."""
    (tmp_path / "sound").write_bytes(struct.pack(">4s5I", b".snd", 24, 0xFFFFFFFF, 6, RATE, 1))
    stand_in = tmp_path / "ffmpeg"
    stand_in.write_text(f"#!/bin/sh\ncat '{tmp_path}/sound'\nexec cat /dev/zero\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(stand_in))
    stream = stream_sound(tmp_path / "sound", RATE, 4000)
    assert [len(next(stream)) for _ in range(5)] == [4000] * 5
    del stream  # ends the decoder
