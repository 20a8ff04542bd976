"""AVWnet for users, at tiny size with random weights: photos, sounds, chunks, files, bad input."""

import itertools
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from neuralpaint.backend import media
from neuralpaint.zoo.avwnet import AvwnetOutput, Looked
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.talking.geometry import TEMPLATE
from neuralpaint.zoo.talking.mfcc import windows
from neuralpaint.zoo.talking.result import TalkingVideo
from neuralpaint.zoo.talking.streaming import CHUNK
from tests.zoo.talking_models import (
    CONFIG,
    ONE,
    PHOTO,
    Fake,
    Samples,
    cut_from,
    noise,
    same,
    small_model,
    speech,
    talk,
)


@pytest.fixture(scope="module")
def model() -> AvwNet:
    return small_model()


# --- what comes out -------------------------------------------------------------------------------


def test_chunks_are_one_pass_of_the_networks_over_the_whole_sound(model: AvwNet) -> None:
    """By hand: windows, predictor, generator, 8 bits; three chunks, the last of 5 frames."""
    samples = speech(1.48)
    video = talk(model, samples)
    assert video.frames.shape == (37, 128, 128, 3)
    assert (video.fps, video.sample_rate, len(video)) == (25, 16_000, 37)

    assert cut_from(video, 20, 30)
    image = torch.from_numpy(video.face.image.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    own = torch.from_numpy(TEMPLATE.copy()).float().view(1, 136)
    heard = torch.from_numpy(windows(samples))[None]
    with torch.no_grad():
        landmarks, _ = model.networks["landmarks"](heard, own)
        made = model.networks["generator"](image, heard, landmarks, own)
    expected = (made.fine[0].permute(0, 2, 3, 1) / 2 + 0.5) * 255
    assert np.abs(video.frames - expected.numpy()).max() < 0.51
    assert np.abs(video.masks.fine - made.fine_mask[0, :, 0].numpy() * 255).max() < 0.51
    assert np.abs(video.masks.coarse - made.coarse_mask[0, :, 0].numpy() * 255).max() < 0.51
    np.testing.assert_allclose(video.landmarks, landmarks.view(37, 68, 2) * 128, atol=1e-3)
    # And all of it moves.
    assert video.frames.std(0).max() > 3
    assert video.landmarks.std(0).max() > 0.3
    assert video.masks.fine.std() > 3


def test_a_frame_hears_what_was_said_before_and_at_most_its_window_ahead(model: AvwNet) -> None:
    samples = speech(1.6)
    landmarks = np.broadcast_to(TEMPLATE * 128, (40, 68, 2))
    before = talk(model, samples, landmarks=landmarks)
    changed = samples.copy()
    changed[9600:12800] = 0  # frames 15 to 19
    after = talk(model, changed, landmarks=landmarks)
    differs = np.abs(before.masks.fine.astype(int) - after.masks.fine).max((1, 2)) > 0
    # Frame 11's window ends at row 59, whose 25 ms end at sample 9840; frame 10's at 9200.
    assert not differs[:11].any()
    assert differs[11:20].all()
    assert differs[24:28].any()  # its own window begins with frame 21: it is the state that tells


def test_the_first_seconds_of_a_long_sound_are_those_of_a_short_one(model: AvwNet) -> None:
    samples = speech(2.0)
    long, short = talk(model, samples), talk(model, samples[: 16_000 + 64])
    assert (len(long), len(short)) == (50, 26)
    inside = 26 - 5  # later frames hear, or do not hear, what follows
    assert np.array_equal(long.frames[:inside], short.frames[:inside])
    assert np.array_equal(long.landmarks[:inside], short.landmarks[:inside])
    assert not np.array_equal(long.frames[25], short.frames[25])


@pytest.mark.parametrize("size", [160, 1000, 7777])
def test_a_stream_gives_the_same_frames_whatever_its_blocks(model: AvwNet, size: int) -> None:
    samples = speech(1.3)
    whole = talk(model, samples, read_words=True)
    parts = (samples[start : start + size] for start in range(0, len(samples), size))
    stream = model.stream(PHOTO, parts, finder=ONE)
    assert np.array_equal(np.stack(list(stream)), whole.frames)
    assert stream.words == whole.words
    pieces = list(model.stream(PHOTO, samples, finder=ONE).pieces())
    assert [len(piece.frames) for piece in pieces] == [CHUNK, CHUNK, 1]
    masks = np.concatenate([piece.fine_mask for piece in pieces])
    points = np.concatenate([piece.landmarks for piece in pieces])
    assert np.array_equal(masks, whole.masks.fine)
    assert np.array_equal(points, whole.landmarks)


def test_frames_come_while_the_sound_goes_on(model: AvwNet) -> None:
    heard = 0

    def endless() -> Iterator[Samples]:
        nonlocal heard
        for number in itertools.count():
            heard += 1
            yield speech(0.1, number)

    stream = model.stream(PHOTO, endless(), finder=ONE, read_words=False)
    assert next(stream).shape == (128, 128, 3)
    assert heard <= 8 + 1  # 0.64 s of a chunk and 0.135 s of its last window
    for _ in range(4 * CHUNK):
        next(stream)
    assert heard <= 33 + 1
    assert stream.words == ()


# --- several at once ------------------------------------------------------------------------------


def test_several_faces_and_sounds_are_as_each_alone(model: AvwNet) -> None:
    photos = [noise(190, 300, seed) for seed in range(3)]
    sounds = [speech(seconds, number) for number, seconds in enumerate((0.3, 1.0, 0.72))]
    told: list[tuple[int, int]] = []
    together = model.generate(
        photos, sounds, finder=ONE, progress=lambda done, total: told.append((done, total))
    )
    alone = [
        talk(model, sound, photo, read_words=True)
        for photo, sound in zip(photos, sounds, strict=True)
    ]
    assert [len(video) for video in together] == [8, 25, 18]
    assert all(same(one, other) for one, other in zip(together, alone, strict=True))
    assert told[-1] == (51, 51)
    assert told == sorted(told)


def test_one_face_with_several_sounds_and_one_sound_for_several_faces(model: AvwNet) -> None:
    sounds = [speech(0.2, 1), speech(0.3, 2)]
    first, second = model.generate(PHOTO, sounds, finder=ONE, read_words=False)
    assert same(second, talk(model, sounds[1]))
    other = noise(190, 300, 5)
    mine, theirs = model.generate([PHOTO, other], sounds[0], finder=ONE, read_words=False)
    assert same(mine, first)
    assert same(theirs, talk(model, sounds[0], other))
    assert len(model.generate([PHOTO], sounds[0], finder=ONE)) == 1
    with pytest.raises(ValueError, match="2 faces and 3 sounds"):
        model.generate([PHOTO, other], [*sounds, sounds[0]], finder=ONE)
    with pytest.raises(ValueError, match="an empty list: give at least one face"):
        model.generate([], sounds, finder=ONE)
    with pytest.raises(ValueError, match="landmarks are for a single video"):
        model.generate(PHOTO, sounds, finder=ONE, landmarks=np.zeros((5, 68, 2)))


def test_threads_share_the_batcher(model: AvwNet) -> None:
    sounds = [speech(0.3, seed) for seed in range(4)]
    alone = [talk(model, sound) for sound in sounds]
    made: dict[int, TalkingVideo] = {}

    def work(number: int) -> None:
        made[number] = talk(model, sounds[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(made[number], alone[number]) for number in range(4))


class Batched(AvwNet):
    """As on a GPU: always several requests in a call."""

    BATCH = {"cpu": 4, "cuda": 4}  # noqa: RUF012


def test_a_full_batch_tells_nothing_of_its_other_requests(model: AvwNet) -> None:
    many = Batched(CONFIG, dict(model.networks.items()), name="tiny")
    sounds = [speech(0.8, seed) for seed in range(3)]
    one, *_ = many.generate(PHOTO, sounds, finder=ONE, read_words=False)
    others = [sounds[0], sounds[1][:3000], 0 * sounds[2]]
    other, *_ = many.generate(PHOTO, others, finder=ONE, read_words=False)
    assert same(one, other)
    single = talk(model, sounds[0])
    assert np.abs(single.frames.astype(int) - one.frames).max() <= 1


# --- landmarks, words -----------------------------------------------------------------------------


def test_landmarks_can_be_given(model: AvwNet) -> None:
    samples = speech(0.8)
    own = talk(model, samples)
    again = talk(model, samples, landmarks=own.landmarks)
    assert np.abs(again.frames.astype(int) - own.frames).max() <= 1
    np.testing.assert_allclose(again.landmarks, own.landmarks, atol=1e-4)
    moved = talk(model, samples, landmarks=own.landmarks + 10)
    assert not np.array_equal(moved.frames, own.frames)
    with pytest.raises(ValueError, match=r"landmarks \(19, 68, 2\): expected finite \(20, 68, 2\)"):
        talk(model, samples, landmarks=own.landmarks[:19])
    with pytest.raises(ValueError, match="expected finite"):
        talk(model, samples, landmarks=own.landmarks * np.nan)


class Nodding(nn.Module):
    """A lip reader of dark ("blue"), grey ("now") and bright ("sil") frames."""

    def read(self, frames: Tensor) -> Tensor:
        light = frames[:, 6:10].mean((1, 2, 3, 4))
        rank = (light > -0.5).long() + (light > 0.5)
        scores = torch.full((len(frames), 16, 3), -5.0)
        return scores.scatter(2, rank[:, None, None].expand(-1, 16, 1), -0.25)


class Flashing(nn.Module):
    """A generator whose frames are bright where there is sound in their own 40 ms.

    A row's 25 ms reach 15 ms into the next one's time: the first two rows are its own.
    """

    def look(self, image: Tensor) -> Looked:
        return Looked(image, image, image, image, image)

    def forward(
        self, looked: Looked, windows: Tensor, landmarks: Tensor, own: Tensor, state: Tensor
    ) -> AvwnetOutput:
        loud = windows[:, :, 12:14].abs().amax((2, 3)) > 1
        light = loud[:, :, None, None, None] * 1.98 - 0.99
        fine = light.expand(-1, -1, 3, 128, 128)
        mask = torch.ones_like(fine[:, :, :1])
        small = fine[..., ::2, ::2]
        return AvwnetOutput(small, fine, mask[..., ::2, ::2], mask, small, fine, state)


def test_words_are_read_from_the_frames_with_their_times(model: AvwNet) -> None:
    parts = {**dict(model.networks.items()), "generator": Flashing(), "reader": Nodding()}
    flashing = AvwNet(CONFIG, parts)
    sound = np.zeros(32_000, np.float32)
    sound[640 * 20 : 640 * 32 - 1] = speech(0.48)[:-1]
    video = talk(flashing, sound, read_words=True)
    bright = np.flatnonzero(video.frames[:, 0, 0, 0] > 128)
    assert bright.tolist() == list(range(20, 32))
    # A reading of frames 2k to 2k+1 looks at 2k-1 to 2k+2: grey where that is half dark.
    blue, now, again, last = video.words
    assert (blue.word, now.word, again.word, last.word) == ("blue", "now", "now", "blue")
    assert (blue.start, blue.end) == (0, 0.72)
    assert (now.start, now.end) == (0.72, 0.88)
    assert (again.start, again.end) == (1.2, 1.36)
    assert (last.start, last.end) == (1.36, 2.0)
    assert blue.probability == pytest.approx(np.exp(-0.25))
    assert video.text == "blue now now blue"  # "sil" between them is left out
    stream = flashing.stream(PHOTO, sound, finder=ONE)
    for _ in stream:
        pass
    assert stream.words == video.words


def test_sound_and_frames_are_in_step_from_the_file_to_the_video(
    model: AvwNet, tmp_path: Path
) -> None:
    """A click track: each click flashes in one frame, and is heard while that frame stands."""
    flashing = AvwNet(CONFIG, {**dict(model.networks.items()), "generator": Flashing()})
    clicks = [11, 30, 47, 58]
    sound = np.zeros(75 * 1920, np.float32)  # 3 s at 48 kHz
    for frame in clicks:
        sound[frame * 1920 + 360 : frame * 1920 + 420] = 0.8
    media.write_sound(tmp_path / "clicks.wav", sound, 48_000)
    talk(flashing, tmp_path / "clicks.wav").save(tmp_path / "talk.mp4")
    frames, fps = media.read_video(tmp_path / "talk.mp4")
    assert (len(frames), fps) == (75, 25)
    bright = np.flatnonzero(frames.mean((1, 2, 3)) > 128)
    assert bright.tolist() == clicks
    heard = np.abs(media.read_sound(tmp_path / "talk.mp4", 16_000))
    for frame in clicks:
        here = heard[(frame - 3) * 640 : (frame + 4) * 640]
        offset = int(here.argmax()) - 3 * 640 - 120  # samples after the click's first
        assert -20 <= offset <= 40, offset  # the click is 20 samples long: 1 to 2 ms


# --- files ----------------------------------------------------------------------------------------


def test_the_video_says_where_it_comes_from(model: AvwNet, tmp_path: Path) -> None:
    video = talk(model, speech(0.4))
    assert video.save(tmp_path / "talk.mp4") == tmp_path / "talk.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-i", str(tmp_path / "talk.mp4")]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    assert "Source          : AI-generated video" in told
    assert f"Model           : {model.title}" in told
    assert "Face            : the photo" in told
    assert "comment         : Software: neuralpaint" in told
    assert "yuv420p" in told
    assert "aac" in told
    data = (tmp_path / "talk.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    assert [file.name for file in tmp_path.iterdir()] == ["talk.mp4"]
    with pytest.raises(media.MediaError, match=r"can only write \.mp4"):
        video.save(tmp_path / "talk.avi")


def test_a_strip_of_frames_and_masks(model: AvwNet, tmp_path: Path) -> None:
    video = talk(model, speech(0.4))
    page = video.strip(3)
    assert page.size == (60 + 3 * 132, 24 + 3 * 132)
    pixels = np.asarray(page)
    places = [1, 5, 8]  # the middles of thirds of 10 frames
    for column, place in enumerate(places):
        left = 60 + column * 132
        assert np.array_equal(pixels[24:152, left : left + 128], video.frames[place])
        fine = pixels[156:284, left : left + 128]
        assert np.array_equal(fine, np.repeat(video.masks.fine[place][:, :, None], 3, 2))
    page.save(tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as file:
        assert file.info["Source"] == "AI-generated video"
    assert video.strip(99).size[0] == 60 + 10 * 132
    with pytest.raises(ValueError, match="count 0"):
        video.strip(0)


def test_weights_come_back(model: AvwNet, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "mine")
    again = AvwNet.load(tmp_path / "mine")
    assert again.config == CONFIG
    assert again.card.summary == "tiny"
    assert again.fingerprint == model.fingerprint
    assert same(talk(again, speech(0.3)), talk(model, speech(0.3)))


def test_a_photo_of_any_size_is_brought_to_the_template(model: AvwNet) -> None:
    big = np.asarray(Image.fromarray(PHOTO).resize((900, 570)))
    video = talk(model, speech(0.1), big, finder=Fake((60, 90, 384)))
    np.testing.assert_allclose(video.face.landmarks, TEMPLATE * 128, atol=1e-6)
    assert video.face.image.shape == (128, 128, 3)
    there = video.face.transform
    np.testing.assert_allclose(there([[60, 90], [444, 474]]), [[0, 0], [128, 128]], atol=1e-6)
