"""LDcGAN for users, at tiny size with random weights: photos, faces, ages, files, bad input."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from neuralpaint import zoo
from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo import faces, ldcgan_photos
from neuralpaint.zoo.ages import GROUPS, age_code, group_of
from neuralpaint.zoo.cards import Card
from neuralpaint.zoo.face_geometry import TEMPLATE, paste_back
from neuralpaint.zoo.faces import CropFinder, FoundFace, NoFaceError, SmallFaceError
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.ldcgan import LdcGanConfig
from neuralpaint.zoo.ldcgan_model import LdcGan, read_targets
from neuralpaint.zoo.ldcgan_result import Target, age_sheet
from neuralpaint.zoo.result import GeneratedImage

Pixels = NDArray[np.uint8]
CONFIG = LdcGanConfig(size=64, ni=2, nd=2, blocks=1, latent=8, judge=4)


@pytest.fixture(scope="module")
def model() -> LdcGan:
    torch.manual_seed(0)
    made = LdcGan(CONFIG, card=Card(summary="tiny"), name="tiny")
    # Random weights change every face alike; the last layers are made to tell ages apart.
    made.networks.get_parameter("generator.masks.weight").mul_(20)
    torch.nn.init.normal_(made.networks.get_parameter("landmarks.decoder.4.weight"), std=0.1)
    made.networks.half().float()
    return made


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class Fake:
    """Finds faces of a size at places."""

    def __init__(self, *places: tuple[float, float], width: float = 90.0) -> None:
        self.places, self.width = places, width

    def find(self, image: Pixels) -> list[FoundFace]:
        side = self.width
        return [
            FoundFace((x, y, x + side, y + side), TEMPLATE * side + (x, y), 1.0)
            for x, y in self.places
        ]


TWO = Fake((170, 40), (20, 30))
PHOTO = noise(160, 300)


# --- what comes out -------------------------------------------------------------------------------


def test_crops_are_those_of_the_networks(model: LdcGan) -> None:
    """The whole way by hand: pixels, landmarks, code, G_L, G, 8 bits."""
    crop = noise(64, 64)
    result = model.generate(crop, age=70, finder=CropFinder(), paste_back=False, output_type="np")
    image = torch.from_numpy(crop).permute(2, 0, 1)[None] / 127.5 - 1
    own = torch.from_numpy(TEMPLATE.copy()).float().view(1, 136)
    code = age_code(torch.tensor([7]))
    with torch.no_grad():
        moved = model.networks["landmarks"](image, own, code)
        made = model.networks["generator"](image, code, moved, own)
        group = int(model.networks["classifier"](image).argmax())
    np.testing.assert_allclose(result[0], made.image[0].permute(1, 2, 0) / 2 + 0.5, atol=1e-5)
    np.testing.assert_allclose(result.change_masks[0], made.change_mask[0, 0], atol=1e-5)
    np.testing.assert_allclose(result.landmarks[0], moved.view(1, 68, 2) * 64, atol=1e-3)
    assert result.source_age_group == ((GROUPS[group],),)
    assert (result.ages, result.age_groups) == ((70.0,), ("61-70",))
    assert np.abs(result.landmarks[0][0] - TEMPLATE * 64).max() > 0.1


def test_photos_keep_their_size_and_all_but_the_faces(model: LdcGan) -> None:
    result = model.generate(PHOTO, ages=[5, 70], finder=TWO)
    assert [image.size for image in result] == [(300, 160)] * 2
    assert [len(one) for one in result.faces] == [2, 2]
    assert [face.number for face in result.faces[0]] == [0, 1]
    outside = np.ones((160, 300), bool)
    for x, y in TWO.places:
        outside[int(y) : int(y) + 91, int(x) : int(x) + 91] = False
    for image, mask in zip(result, result.change_masks, strict=True):
        pixels = np.asarray(image)
        assert mask.shape == (160, 300)
        assert (pixels[outside] == PHOTO[outside]).all()
        assert not mask[outside].any()
        for x, y in TWO.places:  # and the faces are other ones
            inside = np.s_[int(y) + 20 : int(y) + 70, int(x) + 20 : int(x) + 70]
            assert np.abs(pixels[inside].astype(int) - PHOTO[inside]).mean() > 5
            assert mask[inside].mean() > 0.1
    assert result[0].tobytes() != result[1].tobytes()


def test_pasting_is_that_of_the_geometry_for_each_face_in_turn(model: LdcGan) -> None:
    result = model.generate(PHOTO, age=70, finder=TWO)
    page = PHOTO
    for face in result.faces[0]:
        place = face.transform
        page = paste_back(PHOTO, face.image, face.change_mask, place, box=face.box, onto=page)
    assert np.array_equal(np.asarray(result[0]), page)
    points = result.landmarks[0]
    assert points.shape == (2, 68, 2)
    for face, mine in zip(result.faces[0], points, strict=True):
        np.testing.assert_allclose(face.transform(mine), face.landmarks, atol=1e-6)
    assert points[0, :, 0].mean() < 150 < points[1, :, 0].mean()  # from left to right


def test_one_face_can_be_chosen(model: LdcGan) -> None:
    both = model.generate(PHOTO, age=70, finder=TWO)
    right = model.generate(PHOTO, age=70, finder=TWO, face=1)
    pixels = np.asarray(right[0])
    assert np.array_equal(pixels[:, :150], PHOTO[:, :150])
    assert np.array_equal(pixels[:, 160:], np.asarray(both[0])[:, 160:])
    assert [face.number for face in right.faces[0]] == [1]
    again = model.generate(PHOTO, age=70, finder=TWO, face=[1, 0, 1])
    assert again[0].tobytes() == both[0].tobytes()
    with pytest.raises(ValueError, match=r"the photo: there is no face 2; it has 2, which are co"):
        model.generate(PHOTO, age=70, finder=TWO, face=2)


def test_lists_of_paths_images_and_arrays(model: LdcGan, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "me.png")
    given: list[ldcgan_photos.PhotoLike] = [
        tmp_path / "me.png",
        str(tmp_path / "me.png"),
        Image.fromarray(PHOTO),
        PHOTO,
    ]
    result = model.generate([*given, noise(200, 310, 1)], ages=[5, 70], finder=TWO)
    pictures = [np.asarray(image) for image in result]
    assert len(pictures) == 10
    for other in (2, 4, 6):
        assert np.array_equal(pictures[0], pictures[other])
        assert np.array_equal(pictures[1], pictures[other + 1])
    assert pictures[9].shape == (200, 310, 3)
    assert [one[0].name for one in result.faces[::2]] == [
        *("me.png", "me.png", "photo 3", "photo 4", "photo 5")
    ]
    crops = model.generate(given[:2], ages=[5, 70], finder=TWO, paste_back=False)
    order = [(one.photo, one.number, one.target.age) for (one,) in crops.faces]
    assert order == [(p, f, a) for p in range(2) for f in range(2) for a in (5, 70)]


def test_the_three_output_types_agree(model: LdcGan) -> None:
    for paste in (True, False):
        pil, array, tensor = (
            model.generate(PHOTO, age=70, finder=TWO, paste_back=paste, output_type=kind)
            for kind in ("pil", "np", "pt")
        )
        assert isinstance(pil.images, list)
        for one, two, three in zip(pil.images, array.images, tensor.images, strict=True):
            assert isinstance(one, GeneratedImage)
            assert two.dtype == np.float32
            assert np.array_equal(two, three.permute(1, 2, 0).numpy())
            assert np.array_equal(np.asarray(one), np.rint(two * 255).astype(np.uint8))


def test_two_ages_of_a_group_are_one_face_and_groups_can_be_asked_for(model: LdcGan) -> None:
    told: list[tuple[int, int]] = []
    result = model.generate(
        PHOTO, ages=[61, 70, 5], finder=TWO, progress=lambda *now: told.append(now)
    )
    assert result[0].tobytes() == result[1].tobytes() != result[2].tobytes()
    assert told == [(n, 4) for n in range(1, 5)]  # two faces, two groups
    group = model.generate(PHOTO, age_group="61-70", finder=TWO)
    assert group[0].tobytes() == result[0].tobytes()
    assert group.ages == (None,)
    assert model.generate(PHOTO, age_group=["0-5", "80+"], finder=TWO).age_groups == ("0-5", "81+")


def test_a_photo_without_colours_stays_one(model: LdcGan) -> None:
    grey = PHOTO[:, :, 0]
    for paste in (True, False):
        pixels = np.asarray(model.generate(grey, age=70, finder=TWO, paste_back=paste)[0])
        assert (pixels == pixels[:, :, :1]).all()
    assert not np.array_equal(np.asarray(model.generate(grey, age=70, finder=TWO)[0])[..., 0], grey)


def test_a_face_cut_by_the_border(model: LdcGan) -> None:
    result = model.generate(PHOTO, age=70, finder=Fake((-20, 100)))
    assert result.notes == ("the photo: cut by the border; what lies beyond it was guessed",)
    assert not np.array_equal(np.asarray(result[0]), PHOTO)


def test_a_slice_is_a_result(model: LdcGan) -> None:
    result = model.generate(PHOTO, ages=[5, 20, 70], finder=TWO)
    part = result[1:]
    assert (len(part), part.ages, part.model) == (2, (20.0, 70.0), result.model)
    assert part[0].tobytes() == result[1].tobytes()
    assert repr(part).startswith("<2 aged pictures by tiny (weights ")


def test_64_callers_get_what_they_get_alone(model: LdcGan) -> None:
    alone = [model.generate(noise(64, 64, n), age=70, finder=CropFinder())[0] for n in range(4)]
    found: dict[int, bytes] = {}

    def call(number: int) -> None:
        made = model.generate(noise(64, 64, number % 4), age=70, finder=CropFinder())
        found[number] = made[0].tobytes()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[n] for n in range(64)] == [alone[n % 4].tobytes() for n in range(64)]


@pytest.mark.gpu
def test_on_a_gpu_the_same_but_for_rounding(model: LdcGan) -> None:
    there = LdcGan(CONFIG, dict(model.networks.items()), name="gpu")
    here = model.generate(PHOTO, age=70, finder=TWO, output_type="np", paste_back=False)[0]
    try:
        made = there.to("cuda").generate(
            PHOTO, age=70, finder=TWO, output_type="np", paste_back=False
        )[0]
    finally:
        there.to("cpu")
    np.testing.assert_allclose(made, here, atol=0.02)


# --- files ----------------------------------------------------------------------------------------


def test_saved_and_loaded_it_makes_the_same_faces(model: LdcGan, tmp_path: Path) -> None:
    loaded = zoo.from_pretrained(model.save_pretrained(tmp_path / "m"), device="cpu")
    assert isinstance(loaded, LdcGan)
    assert loaded.config == CONFIG
    assert loaded.card.summary == "tiny"
    pictures = [m.generate(PHOTO, age=70, finder=TWO)[0].tobytes() for m in (model, loaded)]
    assert pictures[0] == pictures[1]


def test_weights_of_a_run_become_a_model(model: LdcGan, tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    save_weights(model.networks, file, {"config": json.dumps(CONFIG.to_json())})
    loaded = LdcGan.from_run(file, Card(summary="from a run"))
    assert (loaded.name, loaded.card.summary) == ("best", "from a run")
    assert loaded.fingerprint == model.fingerprint
    save_weights(model.networks, file, {})
    with pytest.raises(ValueError, match=r"best\.safetensors: not weights of an LDcGAN"):
        LdcGan.from_run(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 3}, "unknown field 'depth'"),
        ({"ni": []}, r"ni must be an integer from 1 to 32, got \[\]"),
        ({"ni": 10**6}, "ni must be an integer from 1 to 32"),
        ({"blocks": 2}, r"weight generator\.blocks\.1.* is missing"),
        ({"size": 128}, "weight .* has shape"),
    ],
)
def test_a_changed_configuration_is_refused(
    model: LdcGan, change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    folder = model.save_pretrained(tmp_path / "m")
    described = json.loads((folder / "config.json").read_text())
    described["config"] |= change
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=message):
        zoo.from_pretrained(folder, device="cpu")


def test_another_kind_of_model_is_no_ldcgan(tmp_path: Path) -> None:
    config = HfGanConfig(
        size=64,
        ng=2,
        nd=2,
        z=6,
        condition=3,
        dim=4,
        embedding=5,
        growth=2,
        vocabulary=("a",),
    )
    other = HfGan(config)
    other.save_pretrained(tmp_path / "m")
    with pytest.raises(ValueError, match="a model of kind 'hfgan', not 'ldcgan'"):
        LdcGan.load(tmp_path / "m")


def test_pictures_carry_their_provenance(model: LdcGan, tmp_path: Path) -> None:
    result = model.generate(PHOTO, ages=[70, 5], finder=TWO)
    (first, _) = result.save(tmp_path)
    with Image.open(first) as stored:
        assert stored.info == result.texts(0)
        assert stored.info["Source"] == "AI-generated image"
        assert stored.info["Model"] == f"tiny (weights {model.fingerprint})"
        assert stored.info["Photo"] == "the photo"
        assert stored.info["Age"] == "age 70 (group 61-70)"
        assert stored.info["Faces"] == "0, 1"
        assert stored.info["Input age group"] == ", ".join(result.source_age_group[0])
        assert stored.info["Software"].startswith("neuralpaint 0")
    group = model.generate(PHOTO, age_group="81+", finder=TWO)
    assert group[0].info["Age"] == "81+"


def test_a_sheet_has_a_row_for_each_face(model: LdcGan) -> None:
    result = model.generate(PHOTO, age_group=GROUPS, finder=TWO)
    page = result.sheet(32)
    assert page.size == (66 + 11 * 38, 26 + 2 * 38)
    assert page.info["Age"].startswith("0-5, 6-10")
    assert "AI-generated" in page.info["Source"]
    pixels = np.asarray(page)
    for row in range(2):  # the input's own group is framed, and no other
        own = GROUPS.index(result.faces[0][row].source_age_group)
        framed = [
            (pixels[26 + row * 38, 66 + (g + 1) * 38 :][:32] == (245, 200, 0)).all()
            for g in range(10)
        ]
        assert framed == [g == own for g in range(10)]
    crops = model.generate(PHOTO, age_group=GROUPS, finder=TWO, paste_back=False)
    assert np.array_equal(np.asarray(crops.sheet(32)), pixels)
    with pytest.raises(ValueError, match="all be at the same ages"):
        crops[1:].sheet()
    with pytest.raises(ValueError, match="no face for a sheet"):
        age_sheet([], "m")


# --- bad input ------------------------------------------------------------------------------------


def test_what_has_no_face_that_can_be_used(model: LdcGan, tmp_path: Path) -> None:
    with pytest.raises(NoFaceError, match=r"^the photo: no face found.*profile.*40 pixels"):
        model.generate(PHOTO, age=70, finder=Fake())
    with pytest.raises(SmallFaceError, match=r"photo 2: the face is 16 pixels.*at least 40 pix"):
        model.generate([PHOTO] * 2, age=70, finder=_Second())
    with pytest.raises(SmallFaceError, match=r"picture of 16x16.*at least 40 pixels"):
        model.generate(noise(16, 16), age=70)
    with pytest.raises(NoFaceError, match="landmarks are not those of a face"):
        model.generate(PHOTO, age=70, finder=_Flat())
    Image.fromarray(PHOTO).save(tmp_path / "wide.png")
    with pytest.raises(NoFaceError, match=r"^wide\.png: a picture of 300x160 .* which is square"):
        model.generate(tmp_path / "wide.png", age=70, finder=CropFinder())


class _Second:
    """A face in the first picture, a tiny one in the second."""

    def __init__(self) -> None:
        self.calls = 0

    def find(self, image: Pixels) -> list[FoundFace]:
        self.calls += 1
        return Fake((5, 5), width=90 if self.calls == 1 else 16).find(image)


class _Flat:
    """Landmarks that failed."""

    def find(self, image: Pixels) -> list[FoundFace]:
        return [FoundFace((5, 5, 95, 95), TEMPLATE * (90, 0) + 5, 1.0)]


def test_files_that_cannot_be_read_are_named(model: LdcGan, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(ValueError, match=r"bad\.jpg: "):
        model.generate([PHOTO, tmp_path / "bad.jpg"], age=70, finder=TWO)
    with pytest.raises(ValueError, match=r"absent\.jpg: no such file"):
        model.generate(tmp_path / "absent.jpg", age=70)
    with pytest.raises(ValueError, match="is a folder"):
        model.generate(tmp_path, age=70)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ValueError, "give one of age=70, ages="),
        ({"age": 3, "ages": [3]}, ValueError, "give one of age=70"),
        ({"age": 117}, ValueError, "age 117 is out of range: use 0 to 116 years"),
        ({"age": -1}, ValueError, "age -1 is out of range"),
        ({"ages": [5, float("nan")]}, ValueError, "age nan is out of range"),
        ({"ages": []}, ValueError, "there is no age"),
        ({"age_group": []}, ValueError, "there is no age"),
        ({"age": "70"}, TypeError, "age must be a number of years, not str"),
        ({"ages": 70}, TypeError, "ages is a list of years, not int; for one use age="),
        ({"ages": "70"}, TypeError, "ages is a list of years, not str"),
        ({"age_group": 7}, TypeError, 'age_group is a text as "61-70"'),
        ({"age_group": "60-70"}, ValueError, "unknown age group '60-70'; use one of 0-5, 6-10"),
        ({"age": 70, "face": -1}, ValueError, "from left to right from 0"),
        ({"age": 70, "face": []}, ValueError, "from left to right from 0"),
        ({"age": 70, "face": "left"}, TypeError, "the number of a face, .* not 'left'"),
        ({"age": 70, "face": True}, TypeError, "the number of a face, .* not True"),
        ({"age": 70, "output_type": "jpg"}, ValueError, "output_type 'jpg' is unknown"),
        ({"ages": [70] * 2000}, ValueError, "1 photos at 2000 ages in one call, at most 1024"),
    ],
)
def test_bad_options(
    model: LdcGan, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.generate(PHOTO, finder=TWO, **options)


@pytest.mark.parametrize(
    ("photos", "error", "message"),
    [
        ([], ValueError, "there is no photo"),
        (None, TypeError, "a photo is a path, a PIL image or an array, .* not NoneType"),
        (b"me.jpg", TypeError, "not bytes"),
        ([PHOTO, 3], TypeError, "photo 2 is a int, not a path"),
        (PHOTO.astype(np.float32), ValueError, r"the photo: values from 0 to 255"),
        (PHOTO[None], ValueError, r"the photo: shape \(1, 160, 300, 3\)"),
        (PHOTO[:0], ValueError, "has no pixels"),
    ],
)
def test_what_is_no_photo(model: LdcGan, photos: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.generate(photos, age=70, finder=TWO)


@given(age=st.integers(-10, 200) | st.floats(allow_nan=True, allow_infinity=True))
def test_any_age_is_taken_or_refused(age: float) -> None:
    if 0 <= age < 117:
        assert read_targets(age=age) == [Target(group_of(age), float(age))]
    else:
        with pytest.raises(ValueError, match="out of range: use 0 to 116"):
            read_targets(age=age)


# --- with and without the extra -------------------------------------------------------------------


def test_without_the_extra_a_cropped_face_is_accepted_and_told(
    model: LdcGan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ldcgan_photos, "has_dlib", lambda: False)
    crop = noise(128, 128)
    result = model.generate(crop, age=70)
    (note,) = result.notes
    assert note.startswith("the photo: taken for a face cropped as those of UTKFace are; to have f")
    assert note.endswith("pip install 'neuralpaint[faces]'")
    for photo in (PHOTO, noise(300, 300)):
        with pytest.raises(NoFaceError, match=r"300x.*pip install 'neuralpaint\[faces\]'.*square"):
            model.generate(photo, age=70)
    assert model.generate(noise(300, 300), age=70, finder=CropFinder())[0].size == (300, 300)


@pytest.mark.skipif(not faces.has_dlib(), reason="needs the extra `faces`")
def test_a_real_photo_with_dlib(model: LdcGan) -> None:
    photo = data.astronaut()[:300, 50:400]
    result = model.generate(photo, age=70)
    assert result.notes == ()
    change = np.abs(np.asarray(result[0]).astype(int) - photo).max(2)
    rows, columns = np.nonzero(change)
    assert 40 < rows.min() < rows.max() < 200  # the astronaut's face
    assert 100 < columns.min() < columns.max() < 250
    both = np.concatenate([photo, photo[:, ::-1]], 1)
    assert len(model.generate(both, age=70).faces[0]) == 2
