"""Drawn faces: the same for everyone, exact in their truth, and changed by age in nothing else."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo.ages import groups_of
from neuralpaint.zoo.procedural.canvas import Mask
from neuralpaint.zoo.procedural_faces import (
    FRAMINGS,
    OLDEST,
    PARTS,
    FaceSpec,
    Person,
    Scene,
    ageing,
    bounds,
    draw,
    face,
    is_held_out,
    landmarks,
    make_faces,
    pairs,
    picture,
    sample,
    sample_scene,
    series,
    untouched,
    wrinkle_energy,
)
from neuralpaint.zoo.procedural_faces.hair import grey_colour, young_colour
from neuralpaint.zoo.procedural_faces.relief import blurred, bumps, lamp, lighting
from neuralpaint.zoo.procedural_faces.shape import AVERAGE, EYES, JAW, MOUTH, grown
from neuralpaint.zoo.procedural_faces.specs import HAIR_STYLES

AGES = st.integers(0, OLDEST)
PLAIN = FaceSpec(Person(), Scene())


def specs(kind: type[Person] | type[Scene]) -> st.SearchStrategy[dict[str, float]]:
    """Any value of every field within its bounds."""
    whole = {field.name for field in fields(kind) if field.type in (int, "int")}
    return st.fixed_dictionaries(
        {
            name: st.integers(int(low), int(high)) if name in whole else st.floats(low, high)
            for name, (low, high) in bounds(kind).items()
        }
    )


PERSONS = specs(Person).map(lambda values: Person(**values))  # type: ignore[arg-type]
ANY_SCENES = specs(Scene).map(lambda values: Scene(**values))  # type: ignore[arg-type]
PORTRAITS = st.integers(0, 2**31).map(lambda seed: sample_scene(np.random.default_rng(seed)))
SPECS = st.builds(FaceSpec, PERSONS, PORTRAITS)
PEOPLE = st.integers(0, 2**31).map(lambda seed: sample(np.random.default_rng(seed)))


def luminance(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = image.mean(0, dtype=np.float64)
    return mean


# --- the set -------------------------------------------------------------------------------------


def test_a_set_is_the_same_on_any_number_of_processes() -> None:
    calls: list[tuple[int, int]] = []
    alone = make_faces(6, 32, seed=3)
    shared = make_faces(
        6, 32, seed=3, workers=2, report=lambda done, total: calls.append((done, total))
    )
    for name in ("images", "ages", "landmarks", "identity", "held_out"):
        assert torch.equal(getattr(alone, name), getattr(shared, name)), name
    assert alone.checksum == shared.checksum
    assert calls == [(3, 6), (6, 6)]


def test_a_person_depends_on_seed_and_number_alone() -> None:
    few, many = make_faces(4, 32, held_out=False), make_faces(20, 32, held_out=False)
    assert torch.equal(few.images, many.images[:4])
    assert len({image.numpy().tobytes() for image in many.images}) == 20
    assert not torch.equal(few.images, make_faces(4, 32, seed=1, held_out=False).images)
    row = 9
    identity, age = int(many.identity[row]), int(many.ages[row])
    image, points = picture(face(identity, view=row % 4), age, 32)
    assert np.array_equal(image, many.images[row].numpy())
    assert np.array_equal(points.reshape(-1), many.landmarks[row].numpy())


def test_a_set_is_complete() -> None:
    made = make_faces(64, 32, per_person=4)
    assert made.images.shape == (64, 3, 32, 32)
    assert made.has_landmarks.all()
    assert made.identity.unique().numel() == 16
    assert made.held_out.tolist() == [False] * 56 + [True] * 8
    assert made.held_out.tolist() == [is_held_out(number) for number in made.identity.tolist()]
    groups = groups_of(made.ages).reshape(16, 4)
    assert all(row.unique().numel() == 4 for row in groups)
    assert groups.unique().numel() == 10
    assert int(made.ages.max()) <= OLDEST


def test_held_out_people_never_meet_training() -> None:
    trained = make_faces(28, 32, per_person=2, held_out=False)
    tested = make_faces(4, 32, per_person=2, held_out=True)
    both = make_faces(32, 32, per_person=2)
    assert not trained.held_out.any()
    assert tested.held_out.all()
    assert not set(trained.identity.tolist()) & set(tested.identity.tolist())
    assert set(both.part(held_out=True).identity.tolist()) <= set(tested.identity.tolist())
    assert not set(both.part(held_out=False).identity.tolist()) & set(tested.identity.tolist())


def test_pictures_of_a_person_are_redrawn_on_request() -> None:
    kept = make_faces(4, 48, ages=[30], redraw=False)
    assert kept.ages.tolist() == [30] * 4
    assert all(torch.equal(kept.images[0], image) for image in kept.images[1:])
    redrawn = make_faces(4, 48, ages=[30])
    assert torch.equal(redrawn.images[0], kept.images[0])
    assert redrawn.landmarks.unique(dim=0).shape[0] == 4


def test_series_is_one_person_in_one_scene() -> None:
    made = series(7, [5, 40, 80], 64, seed=2)
    assert made.ages.tolist() == [5, 40, 80]
    assert made.identity.tolist() == [7] * 3
    assert made.held_out.tolist() == [True] * 3
    same = torch.from_numpy(untouched(face(7, 2), [5, 40, 80], 64))
    assert same.float().mean() > 0.05
    assert (made.images[0] != made.images[2])[:, ~same].any(0).float().mean() > 0.8
    moved = series(7, [5, 5], 64, seed=2, redraw=True)
    assert not torch.equal(moved.images[0], moved.images[1])


def test_pairs_are_of_one_person_in_one_scene() -> None:
    sources, targets = pairs(9, 32, seed=5, apart=3)
    assert len(sources) == len(targets) == 9
    assert torch.equal(sources.identity, targets.identity)
    assert torch.equal(sources.held_out, targets.held_out)
    assert sources.identity.unique().numel() == 9
    assert ((groups_of(sources.ages) - groups_of(targets.ages)).abs() >= 3).all()
    for row in range(9):
        identity, age = int(sources.identity[row]), int(targets.ages[row])
        assert np.array_equal(targets.images[row], picture(face(identity, 5), age, 32)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count must be 1 to"),
        ({"count": 10**9}, "count must be 1 to"),
        ({"size": 16}, "size must be 32 to 1024"),
        ({"size": 4096}, "size must be 32 to 1024"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"per_person": 0}, "per_person must be at least 1"),
        ({"ages": []}, "no ages"),
        ({"ages": [101]}, "ages must be whole years, 0 to 100, got 101"),
        ({"ages": [-1]}, "ages must be"),
        ({"ages": [2.5]}, "ages must be"),
        ({"framing": "wide"}, "unknown framing 'wide'"),
    ],
)
def test_bad_arguments(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"count": 1, "size": 32, **change}
    with pytest.raises(ValueError, match=message):
        make_faces(**arguments)  # type: ignore[arg-type]


def test_bad_specifications() -> None:
    with pytest.raises(ValueError, match=r"jaw must be -1 to 1, got 1\.5"):
        Person(jaw=1.5)
    with pytest.raises(ValueError, match="hair_style must be 0 to 6, got 7"):
        Person(hair_style=7)
    with pytest.raises(ValueError, match="hair_style must be a whole number"):
        Person(hair_style=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="style must be"):
        Person(style=-1)
    with pytest.raises(ValueError, match="yaw must be"):
        Scene(yaw=float("nan"))
    for age in (-0.1, 100.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="age must be 0 to 100"):
            draw(PLAIN, age, 64)
    with pytest.raises(ValueError, match="size must be"):
        draw(PLAIN, 30, 2000)
    with pytest.raises(ValueError, match="no ages"):
        untouched(PLAIN, [], 64)
    with pytest.raises(ValueError, match="must be at least 0"):
        face(-1)
    with pytest.raises(ValueError, match="must be at least 0"):
        series(-1, [3])
    for apart in (0, 10):
        with pytest.raises(ValueError, match="apart must be 1 to 9"):
            pairs(1, 32, apart=apart)


# --- the pictures --------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(PERSONS, ANY_SCENES, AGES, st.integers(32, 140))
def test_any_face_can_be_drawn(person: Person, scene: Scene, age: int, size: int) -> None:
    spec = FaceSpec(person, scene)
    image, points, parts, box = draw(spec, age, size)
    assert image.dtype == np.uint8
    assert image.shape == (3, size, size)
    assert points.dtype == np.float32
    assert points.shape == (68, 2)
    assert np.isfinite(points).all()
    assert tuple(parts) == PARTS
    total = np.sum(list(parts.values()), axis=0)
    assert np.allclose(total, 1, atol=1e-4)
    assert min(float(part.min()) for part in parts.values()) >= 0
    assert 0 <= box[0] < box[2] <= 1
    assert 0 <= box[1] < box[3] <= 1
    plain, places = picture(spec, age, size)
    assert np.array_equal(plain, image)
    assert np.array_equal(places, points)
    assert np.array_equal(landmarks(spec, age), points)


@settings(max_examples=10, deadline=None)
@given(PEOPLE, AGES)
def test_pictures_are_the_same_at_every_size(spec: FaceSpec, age: int) -> None:
    small, large = picture(spec, age, 64)[0], picture(spec, age, 128)[0]
    halved = large.reshape(3, 64, 2, 64, 2).mean((2, 4))
    assert np.abs(halved - small).mean() < 3


@settings(max_examples=12, deadline=None)
@given(SPECS, AGES)
def test_landmarks_lie_on_what_they_name(spec: FaceSpec, age: int) -> None:
    size = 128
    # Without hair before the face nothing hides eyes and mouth.
    bare = replace(spec, person=replace(spec.person, hair_style=6, beard=0))
    _, points, parts, box = draw(bare, age, size)
    assert points.min() > -0.05
    assert points.max() < 1.05

    def near(place: NDArray[np.float32], part: str) -> float:
        """How much of a part there is within a pixel and a half of a place."""
        x, y = place * size
        rows, columns = np.indices((size, size)) + 0.5
        around = (rows - y) ** 2 + (columns - x) ** 2 < 1.6**2
        return float(parts[part][around].max())

    for eye in EYES:
        centre = points[eye].mean(0)
        assert near(centre, "eyes") > 0.9
        for place in points[eye]:
            assert near(place, "eyes") > 0.1
            assert near(place + 0.5 * (place - centre), "eyes") < near(centre, "eyes")
    for place in points[MOUTH]:
        assert near(place, "mouth") > 0.1
    for place in points[17:27]:
        assert near(place, "brows") > 0.02
    for place in points[27:36]:
        assert near(place, "skin") > 0.9
    left, top, right, bottom = box
    inside = np.clip(points[JAW], 0, 1)
    assert ((inside >= (left - 1e-6, top - 1e-6)) & (inside <= (right + 1e-6, bottom + 1e-6))).all()
    # All that is eye or mouth lies about its points.
    rows, columns = np.nonzero(parts["mouth"] > 0.5)
    low, high = points[MOUTH].min(0) * size, points[MOUTH].max(0) * size
    assert columns.min() > low[0] - 2
    assert columns.max() < high[0] + 2
    assert rows.min() > low[1] - 2
    assert rows.max() < high[1] + 2


@settings(max_examples=8, deadline=None)
@given(SPECS, AGES, AGES)
def test_age_leaves_alone_what_it_does_not_drive(spec: FaceSpec, first: int, second: int) -> None:
    one, two = (draw(spec, age, 96) for age in (first, second))
    behind = (one.parts["background"] == 1) & (two.parts["background"] == 1)
    assert np.array_equal(one.image[:, behind], two.image[:, behind])
    same = untouched(spec, [first, second], 96)
    assert (same | ~behind).all()
    changed = np.abs(one.image.astype(int) - two.image)[:, same]
    assert changed.size == 0 or changed.max() <= 1  # clothes lie on other skin: rounding
    if abs(first - second) >= 10:
        assert not np.array_equal(one.image, two.image)


@settings(max_examples=20, deadline=None)
@given(PERSONS, PORTRAITS, AGES)
def test_scenes_move_the_points_and_not_the_person(person: Person, scene: Scene, age: int) -> None:
    still = replace(scene, yaw=0.0, pitch=0.0, roll=0.0, x=0.0, y=0.0, scale=1.0)
    points = landmarks(FaceSpec(person, still), age)
    # Seen from the front a face is its own mirror image about the middle of the picture.
    mirrored = points[JAW][::-1] * (-1, 1) + (1, 0)
    assert np.allclose(points[JAW], mirrored, atol=1e-6)
    moved = landmarks(FaceSpec(person, replace(still, x=0.03, y=-0.02)), age)
    assert np.allclose(moved - points, (0.03, -0.02), atol=1e-6)
    larger = landmarks(FaceSpec(person, replace(still, scale=1.05)), age)
    assert np.ptp(larger, axis=0) == pytest.approx(1.05 * np.ptp(points, axis=0), rel=1e-4)
    leaning = landmarks(FaceSpec(person, replace(still, roll=0.1)), age)
    x, y = leaning[45] - leaning[36]
    assert np.arctan2(y, x) == pytest.approx(0.1, abs=1e-4)
    turned = landmarks(FaceSpec(person, replace(still, yaw=0.2)), age)
    # The tip of the nose goes before the bridge, and both before the ears.
    assert turned[30, 0] > turned[27, 0] > points[27, 0]
    assert turned[30, 0] - turned[0, 0] > turned[16, 0] - turned[30, 0]


def test_framing() -> None:
    spans = {}
    for framing in FRAMINGS:
        made = make_faces(6, 32, framing=framing, per_person=1)
        x = made.landmarks.reshape(6, 68, 2)[:, JAW, 0]
        spans[framing] = float((x.amax(1) - x.amin(1)).mean())
    assert 0.5 < spans["portrait"] < 0.68
    assert 0.72 < spans["crop"] < 0.95


# --- what age does -------------------------------------------------------------------------------


def test_signals_of_age_are_monotone() -> None:
    for person in (Person(), Person(greying=1, wrinkling=1, receding=1, beard=3), Person(skin=1)):
        states = [ageing(person, age) for age in range(OLDEST + 1)]
        for name in ("strain", "puberty", "sag", "gaunt", "wrinkles", "spots", "grey", "recession"):
            values = np.array([getattr(state, name) for state in states])
            assert (np.diff(values) >= 0).all(), name
            assert np.abs(np.diff(values)).max() < 0.2, name
        assert (np.diff([state.puppy_fat for state in states]) < 0).all()
        energies = [wrinkle_energy(FaceSpec(person, Scene()), age) for age in range(0, 101, 4)]
        assert (np.diff(energies) >= -0.02).all()
        assert energies[-1] > 5 * energies[5]


@settings(max_examples=10, deadline=None)
@given(PEOPLE)
def test_hair_turns_grey(spec: FaceSpec) -> None:
    """Of dark long hair: how far its colour has gone from young to grey."""
    person = replace(
        spec.person, hair_style=HAIR_STYLES.index("long"), hair_colour=1, receding=0.0, beard=0
    )
    spec = replace(spec, person=person)
    seen = []
    for age in (25, 40, 50, 60, 75, 95):
        image, _, parts, _ = draw(spec, age, 64)
        seen.append(luminance(image)[parts["hair"] > 0.99].mean())
    assert (np.diff(seen) > -2).all()
    assert seen[-1] > seen[0] + 50
    assert ageing(person, 25).grey < 0.12
    assert ageing(person, 95).grey > 0.99
    old = ageing(person, 95)
    assert grey_colour(old).min() > young_colour(person, old).max() + 0.3


@settings(max_examples=10, deadline=None)
@given(PEOPLE)
def test_wrinkles_show_in_the_picture(spec: FaceSpec) -> None:
    """Fine detail about the eyes, where neither brow nor hair lies, grows with age."""
    person = replace(spec.person, hair_style=6, beard=0, freckles=0.0)
    scene = replace(spec.scene, yaw=0.0, pitch=0.0, roll=0.0)
    energies = []
    for age in (18, 45, 70, 100):
        image, points, parts, _ = draw(FaceSpec(person, scene), age, 128)
        grey = luminance(image)
        fine = grey - blurred(grey.astype(np.float32), 2.0)
        low, high = points[41, 1] + 0.015, points[33, 1] + 0.05
        left, right = points[36, 0] - 0.05, points[45, 0] + 0.05
        rows, columns = (np.indices((128, 128)) + 0.5) / 128
        zone = (rows > low) & (rows < high) & (columns > left) & (columns < right)
        zone &= parts["skin"] > 0.99
        zone &= np.abs(columns - points[30, 0]) > 0.09  # the nose has edges at any age
        energies.append(float(fine[zone].std() / grey[zone].mean()))
    assert energies[0] < energies[1] * 1.1
    assert energies[0] < energies[2] < energies[3] * 1.1
    assert energies[3] > 1.5 * energies[0]


@settings(max_examples=25, deadline=None)
@given(PERSONS)
def test_proportions_are_those_of_the_age(person: Person) -> None:
    scene = Scene(smile=0.0)
    baby, child, adult, old = (landmarks(FaceSpec(person, scene), age) for age in (1, 7, 30, 90))

    def shares(points: NDArray[np.float32]) -> tuple[float, float, float]:
        """Lower face and opening of the eyes by the distance of the eyes; the lips by the mouth."""
        eyes = points[42:48, 0].mean() - points[36:42, 0].mean()
        lower = (points[8, 1] - points[27, 1]) / eyes
        opening = np.ptp(points[36:42, 1]) / eyes
        lips = np.ptp(points[48:60, 1]) / np.ptp(points[48:60, 0])
        return float(lower), float(opening), float(lips)

    assert shares(baby)[0] < shares(child)[0] < shares(adult)[0]
    assert shares(baby)[1] > shares(child)[1] > shares(adult)[1]
    assert shares(adult)[2] > shares(old)[2]
    # Brows sink, jowls hang.
    assert old[19, 1] > adult[19, 1]


def test_growth_is_the_cardioidal_strain() -> None:
    points = np.array([(0.0, -1.0), (1.0, 0.0), (0.0, 1.0)])
    # k = -0.1: up (1), sideways (1 - 0.1), down (1 - 0.2), over the factor sideways.
    expected = np.array([(0, -1 / 0.9), (1, 0), (0, 0.8 / 0.9)])
    assert np.allclose(grown(points, -0.1), expected)
    assert np.allclose(grown(AVERAGE, 0.0), AVERAGE)


def test_people_differ_more_than_scenes_hide() -> None:
    """Faces of two people at one age are further apart than those of one a year later."""
    spec, other = face(0), face(1)
    other = replace(other, scene=spec.scene)
    base = picture(spec, 30, 64)[0].astype(float)
    later = np.abs(base - picture(spec, 31, 64)[0]).mean()
    stranger = np.abs(base - picture(other, 30, 64)[0]).mean()
    assert 0 < later < 2
    assert stranger > 5 * later


def test_beards_come_with_puberty_and_baldness_with_age() -> None:
    person = Person(beard=3, receding=1.0)
    shown = {age: draw(FaceSpec(person, Scene()), age, 64) for age in (8, 25, 95)}
    below = {
        age: float(drawn.parts["hair"][int(drawn.landmarks[33, 1] * 64) :].sum())
        for age, drawn in shown.items()
    }
    above = {
        age: float(drawn.parts["hair"][: int(drawn.landmarks[19, 1] * 64)].sum())
        for age, drawn in shown.items()
    }
    assert below[8] == 0 < below[25]
    assert above[95] < 0.5 * above[25]


# --- light and form ------------------------------------------------------------------------------


def test_a_bump_is_a_gaussian_at_its_place() -> None:
    window = Mask(slice(10, 50), slice(0, 64), np.zeros((40, 64), np.float32))
    place, width = np.array([[0.5, 0.5]]), np.array([[0.1, 0.05]])
    plane = bumps(place, width, np.array([2.0]), window, 64)
    assert plane.shape == (40, 64)
    row, column = np.unravel_index(int(plane.argmax()), plane.shape)
    assert row + 10 in (31, 32)
    assert column in (31, 32)
    assert plane.max() == pytest.approx(2, rel=0.03)
    assert plane.sum() == pytest.approx(2 * 2 * np.pi * 6.4 * 3.2, rel=0.03)
    # A bump finer than the pixels keeps its volume.
    thin = bumps(place, np.array([[0.002, 0.002]]), np.array([1.0]), window, 64)
    assert thin.sum() == pytest.approx(2 * np.pi * 0.128**2, rel=0.25)


def test_blur_keeps_what_is_even_and_the_sum_of_what_is_not() -> None:
    assert np.allclose(blurred(np.ones((12, 9), np.float32), 1.5), 1, atol=1e-5)
    point = np.zeros((31, 31), np.float32)
    point[15, 15] = 1
    soft = blurred(point, 2.0)
    assert soft.sum() == pytest.approx(1, rel=1e-3)
    assert soft[15, 15] == pytest.approx(1 / (2 * np.pi * 4), rel=0.01)


@settings(max_examples=20, deadline=None)
@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_light_falls_on_what_faces_it(light: float, height: float, contrast: float) -> None:
    scene = Scene(light=light, height=height, contrast=contrast)
    x, y, z = lamp(scene)
    assert x * x + y * y + z * z == pytest.approx(1)
    flat, _ = lighting(np.zeros((9, 9), np.float32), scene, 1.0)
    assert np.allclose(flat, 1)
    rows, columns = np.indices((41, 41)) - 20.0
    dome = np.sqrt(np.maximum(30.0**2 - rows**2 - columns**2, 0)).astype(np.float32)
    bright, shine = lighting(dome, scene, 1.0)
    assert (bright[8, 20] > bright[32, 20]).all()  # it comes from above
    if abs(light) > 0.1:
        assert (bright[20, 30] > bright[20, 10]) == (light > 0)
    assert shine.min() >= 0
    assert shine.max() > 0


def test_light_shows_on_the_face() -> None:
    def sides(light: float) -> float:
        scene = Scene(light=light, contrast=1.0)
        image, points, _, _ = draw(FaceSpec(Person(hair_style=6), scene), 30, 96)
        grey = luminance(image)
        row = int(points[30, 1] * 96)
        left, right = int(points[2, 0] * 96) + 8, int(points[14, 0] * 96) - 8
        middle = (left + right) // 2
        return float(grey[row - 4 : row + 4, middle + 9 : right].mean()) - float(
            grey[row - 4 : row + 4, left : middle - 9].mean()
        )

    assert sides(1.0) > 10
    assert sides(-1.0) < -10
