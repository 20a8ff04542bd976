"""What AVWnet's `generate` and `stream` take and refuse: faces, sounds, texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from neuralpaint.backend import media
from neuralpaint.zoo.avwnet import Generator
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.faces import CropFinder, NoFaceError, SmallFaceError
from neuralpaint.zoo.talking.geometry import TEMPLATE
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.sounds import Sound
from tests.zoo.talking_models import (
    CONFIG,
    ONE,
    PHOTO,
    Fake,
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


# --- which face -----------------------------------------------------------------------------------


def test_of_several_faces_the_largest_talks_unless_another_is_chosen(model: AvwNet) -> None:
    three = Fake((170, 40, 120), (20, 30, 128), (160, 5, 60))
    video = talk(model, speech(0.1), finder=three)
    assert cut_from(video, 20, 30)
    assert video.notes[0].startswith("the photo: 3 faces; the largest talks, number 0 from left")
    right = talk(model, speech(0.1), finder=three, face_index=2)
    assert right.face.landmarks[27, 0] == pytest.approx(TEMPLATE[27, 0] * 128)
    assert not np.array_equal(right.face.image, video.face.image)
    assert not any("3 faces" in note for note in right.notes)
    with pytest.raises(ValueError, match="the photo: there is no face 3; it has 3"):
        talk(model, speech(0.1), finder=three, face_index=3)
    with pytest.raises(ValueError, match="there is no face -1"):
        talk(model, speech(0.1), finder=three, face_index=-1)
    with pytest.raises(TypeError, match="face_index is the number of a face"):
        talk(model, speech(0.1), finder=three, face_index=1.5)


def test_a_face_that_is_in_its_crop_is_taken_as_it_is(model: AvwNet) -> None:
    video = talk(model, speech(0.3))
    face = TalkingFace.placed(video.face.image, video.face.landmarks, "frame 3")
    again = talk(model, speech(0.3), face, finder=Fake())
    assert same(again, video)
    assert again.texts is not None
    assert again.texts["Face"] == "frame 3"
    two = model.generate([face, face], speech(0.1), read_words=False)
    assert same(*two)
    with pytest.raises(ValueError, match="small: 64 pixels a side; must be 128"):
        talk(model, speech(0.1), TalkingFace.placed(noise(64, 64), TEMPLATE, "small"))
    with pytest.raises(ValueError, match="a face in its crop is square"):
        TalkingFace.placed(noise(64, 65), TEMPLATE)
    with pytest.raises(ValueError, match="are not 68 finite points"):
        TalkingFace.placed(noise(64, 64), TEMPLATE[:67])


def test_photos_without_a_face_that_can_be_used(model: AvwNet, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "me.png")
    with pytest.raises(NoFaceError, match=r"me\.png: no face found"):
        talk(model, speech(0.1), tmp_path / "me.png", finder=Fake())
    with pytest.raises(SmallFaceError, match=r"me\.png: the face is 30 pixels wide"):
        talk(model, speech(0.1), tmp_path / "me.png", finder=Fake((9, 9, 30)))
    with pytest.raises(media.MediaError, match=r"gone\.png: no such file"):
        talk(model, speech(0.1), tmp_path / "gone.png")
    with pytest.raises(ValueError, match="not a cropped face"):
        talk(model, speech(0.1), finder=CropFinder())


def test_a_face_at_the_border_and_one_that_is_cropped_are_told(model: AvwNet) -> None:
    assert "near the border" in talk(model, speech(0.4), finder=Fake((-20, 5, 128))).notes[0]
    assert not talk(model, speech(0.4)).notes
    crop = talk(model, speech(0.4), noise(96, 96), finder=CropFinder())
    assert "taken for a face cropped as those of UTKFace are" in crop.notes[0]


# --- sounds and texts -----------------------------------------------------------------------------


def test_a_text_is_spoken(model: AvwNet) -> None:
    video = talk(model, None, text="bin", engine="formant", voice=3)
    assert len(video) > 10
    assert "spoken by the built-in formant synthesiser" in video.notes[0]
    assert video.texts is not None
    assert video.texts["Text"] == "bin"
    assert video.texts["Voice"] == "the built-in formant synthesiser, voice 3"
    stream = model.stream(PHOTO, text="bin", engine="formant", voice=3, finder=ONE)
    assert np.array_equal(np.stack(list(stream)), video.frames)
    assert stream.texts == video.texts
    assert stream.notes == video.notes
    many = model.generate(PHOTO, text=["bin", "now"], engine="formant", finder=ONE)
    assert [video.texts["Text"] for video in many] == ["bin", "now"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "give a sound or a text"),
        ({"sound": np.zeros(9), "text": "now"}, ValueError, "give a sound or a text"),
        ({"text": " "}, ValueError, "the text is empty"),
        ({"text": 3}, TypeError, "a text to be spoken is a str, not int"),
        ({"text": "now", "engine": "loud"}, ValueError, "engine 'loud' is unknown"),
        ({"sound": 3}, TypeError, "a sound is a path, an array at 16000 Hz"),
        ({"sound": np.zeros(0)}, media.MediaError, r"the sound: \(0,\); samples are"),
        ({"sound": "gone.wav"}, media.MediaError, r"gone\.wav: no such file"),
    ],
)
def test_what_is_no_sound(
    model: AvwNet, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    for method in (model.generate, model.stream):
        with pytest.raises(error, match=message):
            method(PHOTO, finder=ONE, **arguments)


def test_silence_clipping_and_a_click_of_sound_are_told(model: AvwNet) -> None:
    silent = talk(model, np.zeros(16_000, np.float32))
    assert len(silent) == 25
    assert silent.notes == ("the sound: is silent; the face has nothing to say",)
    loud = talk(model, (4 * speech(1.0)).clip(-1, 1))
    assert "the sound: clipped (" in loud.notes[0]
    short = talk(model, speech(0.01))
    assert len(short) == 1
    assert short.notes == ("the sound: 10 ms long, less than a syllable",)
    stream = model.stream(PHOTO, [np.zeros(160, np.float32)], finder=ONE)
    assert stream.notes == ()
    assert len(list(stream)) == 1
    assert len(stream.notes) == 2  # known only when it was heard


def test_a_sound_read_before_is_taken_as_it_is(model: AvwNet) -> None:
    sound = Sound("me", speech(0.4), ("a note",), {"Sound": "me.wav"})
    video = talk(model, sound)
    assert video.notes == ("a note",)
    assert video.texts is not None
    assert video.texts["Sound"] == "me.wav"
    assert same(video, talk(model, sound.samples))


def test_a_generator_on_its_own_agrees_on_the_first_state() -> None:
    """Zeros, which a request can hold, are what None stands for."""
    torch.manual_seed(0)
    network = Generator(CONFIG).eval()
    heard, points = torch.randn(1, 2, 28, 12), torch.rand(1, 2, 136)
    image, own = torch.rand(1, 3, 128, 128), torch.rand(1, 136)
    with torch.no_grad():
        none = network(image, heard, points, own)
        zero = network(image, heard, points, own, torch.zeros(1, 16, 8, 8))
    assert torch.equal(none.fine, zero.fine)
