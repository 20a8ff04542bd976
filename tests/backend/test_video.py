import subprocess
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from neuralpaint.backend import media

Frame = NDArray[np.uint8]


def frames(count: int, height: int = 48, width: int = 64) -> list[Frame]:
    """Flat colours, each frame another: compression leaves them nearly as they are."""
    colours = [(255 * i // count, 100, 200 - 150 * i // count) for i in range(count)]
    return [np.full((height, width, 3), colour, np.uint8) for colour in colours]


def streams(path: Path) -> str:
    """What ffmpeg says is in a file."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr


def assert_near(video: Frame, expected: list[Frame]) -> None:
    assert np.abs(video.astype(int) - np.stack(expected)).max() <= 6


def test_every_frame_comes_back_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    media.write_video(path, iter(frames(29)), 25)
    video, fps = media.read_video(path)
    assert video.shape == (29, 48, 64, 3)
    assert video.dtype == np.uint8
    assert fps == 25
    assert_near(video, frames(29))
    assert "yuv420p" in streams(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("height", "width"), [(49, 63), (1, 1), (3, 40)])
def test_odd_sizes_are_padded_with_the_edge(tmp_path: Path, height: int, width: int) -> None:
    media.write_video(tmp_path / "a.mp4", frames(2, height, width), 10)
    video, _ = media.read_video(tmp_path / "a.mp4")
    assert video.shape == (2, height + height % 2, width + width % 2, 3)
    assert_near(video, frames(2, *video.shape[1:3]))
    assert "yuv420p" in streams(tmp_path / "a.mp4")


@pytest.mark.parametrize("fps", [0.5, 12.5, 29.97, 60])
def test_the_rate_is_kept(tmp_path: Path, fps: float) -> None:
    media.write_video(tmp_path / "a.mp4", frames(3), fps)
    video, read = media.read_video(tmp_path / "a.mp4")
    assert len(video) == 3
    assert read == pytest.approx(fps, abs=0.01)


def test_sound_in_a_video_keeps_its_pitch_and_amplitude(tmp_path: Path) -> None:
    time = np.arange(32_000) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    path = tmp_path / "a.mp4"
    media.write_video(path, frames(50), 25, audio=tone, sample_rate=16_000)
    sound = media.read_sound(path, 16_000)
    assert len(sound) == pytest.approx(32_000, abs=1024)  # one AAC frame
    middle = sound[8_000:16_000]
    spectrum = np.abs(np.fft.rfft(middle)) / 4_000
    assert np.argmax(spectrum) * 2 == 440
    assert spectrum.max() == pytest.approx(0.5, rel=0.02)  # 0.35 if it had been made stereo
    assert "mono" in streams(path)
    assert len(media.read_video(path)[0]) == 50


def test_metadata_is_stored_under_its_keywords_and_as_a_comment(tmp_path: Path) -> None:
    texts = {"Software": "a=b; c", "Model": "x \\ 'q' é"}
    path = tmp_path / "a.mp4"
    media.write_video(path, frames(3), 25, metadata=texts)
    shown = streams(path)
    assert "    Software        : a=b; c\n" in shown
    assert "    Model           : x \\ 'q' é\n" in shown
    assert "    comment         : Software: a=b; c; Model: x \\ 'q' é\n" in shown
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # still plays while it loads
    media.write_video(tmp_path / "b.mp4", frames(3), 25, metadata={})
    assert "comment" not in streams(tmp_path / "b.mp4")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"": "a"}, "metadata '' is empty"),
        ({"a=b": "c"}, "metadata 'a=b' is empty or holds '='"),
        ({"a": "b\nc"}, "or line breaks"),
        ({"a": "b\0c"}, "or line breaks"),
        ({"a": "é" * 2001}, "metadata 'a' is longer than 4000 bytes"),
    ],
)
def test_bad_metadata_is_refused_before_a_frame_is_asked_for(
    tmp_path: Path, texts: dict[str, str], message: str
) -> None:
    def stream() -> Iterator[Frame]:
        raise AssertionError("no frame is needed")
        yield

    with pytest.raises(media.MediaError, match=rf"a\.mp4: .*{message}"):
        media.write_video(tmp_path / "a.mp4", stream(), 25, metadata=texts)
    assert not list(tmp_path.iterdir())


def test_frames_are_not_collected(tmp_path: Path) -> None:
    alive: list[weakref.ref[Any]] = []
    most = 0

    def stream() -> Iterator[Frame]:
        nonlocal most
        for frame in frames(60):
            fresh = frame.copy()
            alive.append(weakref.ref(fresh))
            yield fresh
            del fresh
            most = max(most, sum(reference() is not None for reference in alive))

    media.write_video(tmp_path / "a.mp4", stream(), 25)
    assert len(alive) == 60
    assert most <= 2


@pytest.mark.parametrize(
    ("bad", "fps", "message"),
    [
        ([], 25, "no frames"),
        ([*frames(2), np.zeros((9, 9, 3), np.uint8)], 25, r"frame 2 is \(9, 9, 3\), the first was"),
        ([np.zeros((9, 9, 3), np.float32)], 25, "frame 0 is float32"),
        ([np.zeros((9, 9), np.uint8)], 25, r"frame 0 is uint8 \(9, 9\)"),
        ([np.zeros((0, 9, 3), np.uint8)], 25, "frame 0 is 9x0"),
        ([np.zeros((1, 16385, 3), np.uint8)], 25, "frame 0 is 16385x1"),
        (frames(2), 0, "fps 0"),
        (frames(2), float("nan"), "fps nan"),
        (frames(2), 1000, "fps 1000"),
    ],
)
def test_bad_frames_are_refused_and_the_old_file_stays(
    tmp_path: Path, bad: list[Frame], fps: float, message: str
) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("old")
    with pytest.raises(media.MediaError, match=rf"a\.mp4: {message}"):
        media.write_video(path, bad, fps)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_other_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(media.MediaError, match=r"can only write \.mp4"):
        media.write_video(tmp_path / "a.avi", frames(2), 25)
    with pytest.raises(media.MediaError, match="belong together"):
        media.write_video(tmp_path / "a.mp4", frames(2), 25, audio=np.zeros(9))
    with pytest.raises(media.MediaError, match=r"sound of .*a\.mp4: NaN"):
        media.write_video(
            tmp_path / "a.mp4", frames(2), 25, audio=np.array([np.nan]), sample_rate=8000
        )
    with pytest.raises(FileNotFoundError):
        media.write_video(tmp_path / "absent" / "a.mp4", frames(2), 25)
    assert not list(tmp_path.iterdir())


def test_an_interrupted_stream_leaves_nothing(tmp_path: Path) -> None:
    def stream() -> Iterator[Frame]:
        yield from frames(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        media.write_video(tmp_path / "a.mp4", stream(), 25)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("body", ["cat >/dev/null\necho no space >&2\nexit 3", "exit 3"])
def test_an_encoder_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    stand_in = tmp_path / "ffmpeg"
    stand_in.write_text(f"#!/bin/sh\n{body}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr("moviepy.video.io.ffmpeg_writer.FFMPEG_BINARY", str(stand_in))
    for size in (2, 400):  # within the pipe's buffer, and beyond it
        with pytest.raises(media.MediaError, match=r"a\.mp4: ffmpeg"):
            media.write_video(tmp_path / "a.mp4", frames(3, size, size), 25)
    assert [file.name for file in tmp_path.iterdir()] == ["ffmpeg"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of noise, so that cutting the file cuts frames."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    media.write_video(path, noise, 25)
    return path


@pytest.mark.parametrize("share", [0.005, 0.3, 0.6, 0.97])
def test_a_truncated_video_is_refused(clip: Path, tmp_path: Path, share: float) -> None:
    data = clip.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(media.MediaError, match=r"cut\.mp4: .*no video"):
        media.read_video(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"plain text, no video", "no video"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n", "no video"),
        (b"ffconcat version 1.0\nfile clip.mp4\n", "no video"),
    ],
)
def test_what_is_no_video(clip: Path, data: bytes, message: str) -> None:
    path = clip.with_name("bad.mp4")  # beside the clip that the playlists name
    path.write_bytes(data)
    with pytest.raises(media.MediaError, match=rf"bad\.mp4: .*{message}"):
        media.read_video(path)


def test_an_image_or_a_sound_is_no_video(tmp_path: Path) -> None:
    media.write_image(tmp_path / "a.png", frames(1)[0])
    with pytest.raises(media.MediaError, match=r"a\.png: .*no video"):
        media.read_video(tmp_path / "a.png")
    media.write_sound(tmp_path / "a.wav", np.zeros(800), 8000)
    with pytest.raises(media.MediaError, match=r"a\.wav: no video in it"):
        media.read_video(tmp_path / "a.wav")
    with pytest.raises(media.MediaError, match="no such file"):
        media.read_video(tmp_path / "absent.mp4")


def test_limits_are_the_callers(clip: Path) -> None:
    assert len(media.read_video(clip, max_frames=40, max_pixels=1024)[0]) == 40
    with pytest.raises(media.MediaError, match=r"clip\.mp4: more than 39 frames"):
        media.read_video(clip, max_frames=39)
    with pytest.raises(media.MediaError, match=r"clip\.mp4: frames of 32x32 are more"):
        media.read_video(clip, max_pixels=1023)


def test_a_giant_frame_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", [np.zeros((512, 1024, 3), np.uint8)], 25)
    with pytest.raises(media.MediaError, match=r"a\.mp4: .*exceeds specified max pixel count"):
        media.read_video(tmp_path / "a.mp4", max_pixels=1024)


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(frame) for frame in frames(4, 8, 8))
    first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=100)
    video, fps = media.read_video(tmp_path / "a.gif")
    assert fps == 10
    assert_near(video, frames(4, 8, 8))


def test_a_name_that_looks_like_an_address(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    Path("http:x.mp4").write_bytes(clip.read_bytes())
    assert len(media.read_video("http:x.mp4")[0]) == 40
    media.write_video("-odd name%d.mp4", frames(2), 25)
    assert len(media.read_video("-odd name%d.mp4")[0]) == 2
