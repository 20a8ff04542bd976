"""Drawn birds and flowers: the same for everyone, and as their truth and their captions say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from neuralpaint.zoo.procedural import (
    COLOURS,
    VALUES,
    Bird,
    Flower,
    Prompt,
    asserted,
    attributes,
    claims_hold,
    draw,
    is_held_out,
    label,
    make,
    prompts,
    sample,
    species,
)
from neuralpaint.zoo.procedural.canvas import Canvas, ellipse, smooth, stroke
from neuralpaint.zoo.procedural.captions import captions
from neuralpaint.zoo.procedural.colours import nearest, varied
from neuralpaint.zoo.procedural.draw import picture
from neuralpaint.zoo.procedural.specs import BIRD, FLOWER, PETAL_COUNTS, Spec

NAMES = list(COLOURS)


def index(name: str) -> st.SearchStrategy[int]:
    return st.integers(0, len(VALUES[name]) - 1)


STYLES = st.integers(0, 2**31)
BIRDS = st.builds(
    Bird,
    *map(index, ("breast", "wing", "crown", "beak_colour", "beak", "tail", "facing", "pose")),
    background=index("background"),
    style=STYLES,
)
FLOWERS = st.builds(
    Flower,
    *map(index, ("petal", "centre", "petal_count", "petal_shape", "stem", "background")),
    style=STYLES,
)
SPECS = st.one_of(BIRDS, FLOWERS)
PLAIN_BIRD = Bird(0, 4, 2, 2, 1, 1, 1, 0, 0)
PLAIN_FLOWER = Flower(0, 4, 1, 0, 0, 0)


def measured(image: NDArray[np.uint8], part: NDArray[np.float32]) -> str:
    """The name of the median colour where a part fills whole pixels."""
    inside = image[:, part > 0.9]
    return NAMES[nearest(np.median(inside, axis=1).astype(np.float32) / 255)]


# --- the set -------------------------------------------------------------------------------------


def test_a_set_is_the_same_on_any_number_of_processes() -> None:
    calls: list[tuple[int, int]] = []
    alone = make(5, 32, seed=3)
    shared = make(5, 32, seed=3, workers=2, report=lambda done, total: calls.append((done, total)))
    assert torch.equal(alone.images, shared.images)
    assert alone.captions == shared.captions
    assert torch.equal(alone.labels, shared.labels)
    assert all(torch.equal(alone.attributes[name], shared.attributes[name]) for name in VALUES)
    assert calls == [(3, 5), (5, 5)]


def test_a_picture_depends_on_seed_and_index_alone() -> None:
    few, many = make(3, 32, held_out=False), make(40, 32, held_out=False)
    assert torch.equal(few.images, many.images[:3])
    assert few.captions == many.captions[:3]
    assert len({image.numpy().tobytes() for image in many.images}) == 40
    other = make(3, 32, seed=1, held_out=False)
    assert not torch.equal(few.images, other.images)
    both = make(8, 32)
    assert torch.equal(both.images[:3], few.images)
    assert torch.equal(both.images[7], make(8, 32, held_out=True).images[7])


def test_a_set_is_complete() -> None:
    made = make(160, 32)
    assert made.images.shape == (160, 3, 32, 32)
    assert made.generated_captions
    assert made.held_out.tolist() == [False] * 140 + [True] * 20
    assert list(made.attributes) == list(VALUES)
    kinds = made.attributes["kind"]
    assert set(kinds.tolist()) == {BIRD, FLOWER}
    for name, values in VALUES.items():
        column = made.attributes[name]
        assert int(column.max()) < len(values)
        assert set(column[column >= 0].tolist()) == set(range(len(values))), name
    assert bool(((made.attributes["wing"] >= 0) == (kinds == BIRD)).all())
    assert bool(((made.attributes["petal"] >= 0) == (kinds == FLOWER)).all())
    assert len(made.part(held_out=True)) == 20


def test_held_out_pairs_never_meet_training() -> None:
    pairs: dict[bool, set[tuple[int, int, int]]] = {}
    for held_out in (False, True):
        made = make(150, 16, held_out=held_out)
        assert bool((made.held_out == held_out).all())
        columns = made.attributes
        bird = columns["kind"] == BIRD
        first = torch.where(bird, columns["breast"], columns["petal"])
        second = torch.where(bird, columns["wing"], columns["centre"])
        rows = zip(columns["kind"].tolist(), first.tolist(), second.tolist(), strict=True)
        pairs[held_out] = set(rows)
    assert not pairs[False] & pairs[True]
    assert len(pairs[True]) == 16
    assert len(pairs[False]) > 60


@pytest.mark.parametrize("kind", [BIRD, FLOWER])
def test_every_colour_is_held_out_once_in_either_role(kind: int) -> None:
    table = np.array([[is_held_out(kind, i, j) for j in range(8)] for i in range(8)])
    assert table.sum(0).tolist() == table.sum(1).tolist() == [1] * 8
    assert not table.diagonal().any()


def test_classes_are_the_pairs_of_colours() -> None:
    names = species()
    assert len(set(names)) == len(names) == 128
    assert names[label(PLAIN_BIRD)] == "red bird with blue wings"
    assert names[label(PLAIN_FLOWER)] == "red flower with blue centre"
    assert label(replace(PLAIN_BIRD, crown=5, tail=0, style=9)) == label(PLAIN_BIRD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count must be 1 to"),
        ({"count": 10**9}, "count must be 1 to"),
        ({"size": 8}, "size must be 16 to 1024"),
        ({"size": 4096}, "size must be 16 to 1024"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers must be at least 1"),
    ],
)
def test_bad_arguments(change: dict[str, int], message: str) -> None:
    given_ = {"count": 1, "size": 32, "seed": 0, "workers": 1, **change}
    with pytest.raises(ValueError, match=message):
        make(given_["count"], given_["size"], seed=given_["seed"], workers=given_["workers"])


def test_bad_specifications() -> None:
    with pytest.raises(ValueError, match="wing must be 0 to 7, got 8"):
        replace(PLAIN_BIRD, wing=8)
    with pytest.raises(ValueError, match="petal must be 0 to 7, got -1"):
        replace(PLAIN_FLOWER, petal=-1)
    with pytest.raises(ValueError, match="style"):
        replace(PLAIN_FLOWER, style=-1)
    with pytest.raises(ValueError, match="size must be"):
        draw(PLAIN_BIRD, 2000)


# --- the pictures --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(SPECS, st.integers(32, 256))
def test_pictures_show_their_truth(spec: Spec, size: int) -> None:
    image, parts = draw(spec, size)
    assert image.dtype == np.uint8
    assert image.shape == (3, size, size)
    total = sum(parts.values())
    assert all(part.min() >= 0 for part in parts.values())
    assert np.max(total) <= 1.001
    truth = {name: value for name, value in attributes(spec).items() if value >= 0}
    shown = {"petal", "centre", "stem"}
    if isinstance(spec, Bird):
        shown = {"breast", "wing", "crown", "beak", "tail", "eye", "legs", "perch"}
    assert shown <= set(parts)
    for name in ("breast", "wing", "petal", "centre"):
        if name in truth:
            assert parts[name].mean() > 0.012
            assert measured(image, parts[name]) == NAMES[truth[name]], name
    if isinstance(spec, Bird) and (parts["crown"] > 0.9).sum() > 8:
        assert measured(image, parts["crown"]) == NAMES[truth["crown"]]


@settings(max_examples=15, deadline=None)
@given(SPECS)
def test_pictures_are_the_same_at_every_size(spec: Spec) -> None:
    small, large = picture(spec, 48), picture(spec, 96)
    halved = large.reshape(3, 48, 2, 48, 2).mean((2, 4))
    assert np.abs(halved - small).mean() < 4
    drawn, _ = draw(spec, 48)
    assert np.array_equal(drawn, small)


@settings(max_examples=15, deadline=None)
@given(BIRDS)
def test_birds_look_where_they_face(spec: Bird) -> None:
    across = np.arange(96)

    def middle(part: NDArray[np.float32]) -> float:
        return float((part.sum(0) * across).sum() / part.sum())

    _, parts = draw(spec, 96)
    ahead = middle(parts["beak"]) - middle(parts["tail"])
    assert (ahead > 0) == (VALUES["facing"][spec.facing] == "right")
    assert abs(ahead) > 20


@settings(max_examples=15, deadline=None)
@given(BIRDS)
def test_beaks_and_tails_have_their_length(spec: Bird) -> None:
    for name in ("beak", "tail"):
        short, long = (
            draw(replace(spec, **{name: value}), 96)[1][name].sum()
            for value in (VALUES[name].index("short"), VALUES[name].index("long"))
        )
        assert long > 1.3 * short


@settings(max_examples=20, deadline=None)
@given(FLOWERS)
def test_petals_can_be_counted(spec: Flower) -> None:
    _, parts = draw(spec, 128)
    flower = parts["petal"] + parts["centre"]
    rows, columns = np.indices(flower.shape)
    disc = parts["centre"]
    y, x = (float((disc * axis).sum() / disc.sum()) for axis in (rows, columns))
    angles = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    steps = np.arange(0, 64, 0.5)[:, None]
    ray_rows = np.clip(np.rint(y + steps * np.sin(angles)), 0, 127).astype(int)
    ray_columns = np.clip(np.rint(x + steps * np.cos(angles)), 0, 127).astype(int)
    outline = (flower[ray_rows, ray_columns] > 0.5).sum(0)
    waves = np.abs(np.fft.rfft(outline))
    assert PETAL_COUNTS[spec.petal_count] == max(
        PETAL_COUNTS, key=lambda count: float(waves[count])
    )


def test_style_changes_the_picture_and_not_the_truth() -> None:
    for spec in (PLAIN_BIRD, PLAIN_FLOWER):
        other = replace(spec, style=1)
        assert attributes(spec) == attributes(other)
        assert np.abs(picture(spec, 64).astype(float) - picture(other, 64)).mean() > 3


# --- colours and shapes --------------------------------------------------------------------------


@given(st.sampled_from(NAMES), st.integers(0, 10**6), st.floats(0.65, 1.0))
def test_colours_keep_their_names_in_the_shade(name: str, seed: int, shade: float) -> None:
    colour = varied(NAMES.index(name), np.random.default_rng(seed))
    assert colour.dtype == np.float32
    assert 0 <= colour.min() <= colour.max() <= 1
    assert NAMES[nearest(colour * np.float32(shade))] == name


def test_masks_have_the_area_of_their_shapes() -> None:
    for size in (32, 100):
        canvas = Canvas(np.zeros((3, size, size), np.float32))
        disc = canvas.mask(ellipse(0.5, 0.4, 0.3, 0.2, 0.5))
        assert disc.cover.sum() / size**2 == pytest.approx(np.pi * 0.06, rel=0.03)
        line = canvas.mask(stroke(((0.2, 0.2), (0.8, 0.7)), 0.1, 0.05))
        assert line.cover.sum() / size**2 == pytest.approx(np.hypot(0.6, 0.5) * 0.075, rel=0.05)
        half = canvas.mask(np.array([(-1.0, 0.5), (2.0, 0.5), (2.0, 3.0), (-1.0, 3.0)]))
        assert half.cover.sum() / size**2 == pytest.approx(0.5, rel=0.02)
        nothing = canvas.mask(ellipse(3, 3, 0.5, 0.5))
        assert nothing.cover.size == 0
        canvas.paint(nothing, np.ones(3, np.float32), part="nothing")
        assert not canvas.image.any()
        assert not canvas.parts


def test_what_is_painted_later_hides_what_lies_below() -> None:
    canvas = Canvas(np.zeros((3, 40, 40), np.float32))
    red, blue = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    canvas.paint(canvas.mask(ellipse(0.5, 0.5, 0.4, 0.4)), red, part="below")
    canvas.paint(canvas.mask(ellipse(0.5, 0.5, 0.2, 0.2)), blue, part="above")
    assert canvas.image[:, 20, 20].tolist() == [0, 0, 1]
    assert canvas.image[:, 20, 7].tolist() == [1, 0, 0]
    below, above = canvas.parts["below"], canvas.parts["above"]
    assert (below[20, 20], above[20, 20], below[20, 7], above[20, 7]) == (0, 1, 1, 0)
    ring = np.pi * (0.4**2 - 0.2**2)
    assert below.sum() / 1600 == pytest.approx(ring, rel=0.05)


def test_light_comes_from_the_upper_left() -> None:
    canvas = Canvas(np.zeros((3, 60, 60), np.float32))
    ball = canvas.mask(ellipse(0.5, 0.5, 0.4, 0.4))
    light = canvas.volume(ball, 0.2, 0.4)
    assert light.shape == ball.cover.shape
    upper, lower = light[10, 20], light[-11, -21]
    assert upper > 1.05
    assert lower < 0.95
    assert light[light.shape[0] // 2, light.shape[1] // 2] == pytest.approx(1, abs=0.02)


def test_curves_pass_through_their_points() -> None:
    points = np.array([(0.0, 0.0), (1.0, 0.2), (0.7, 1.0), (0.1, 0.8)])
    curve = smooth(points)
    assert curve.shape == (24, 2)
    assert np.allclose(curve[::6], points)


# --- the captions --------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(SPECS, st.integers(0, 10**6))
def test_captions_assert_the_truth(spec: Spec, seed: int) -> None:
    truth = attributes(spec)
    always = {"kind", "breast", "wing"} if isinstance(spec, Bird) else {"kind", "petal", "centre"}
    for caption in captions(spec, 5, np.random.default_rng(seed)):
        claims = asserted(caption)
        assert always <= set(claims), caption
        assert all(truth[name] == value for name, value in claims.items()), caption
        assert claims_hold(caption, truth)
        words = caption.replace(",", "").split()
        assert len(words) <= 15
        assert caption == caption.lower()
        # Nothing is said that the reader does not understand.
        for value in (*COLOURS, "short", "long", "left", "right", "five", "eight", "twelve"):
            if value in words:
                assert any(VALUES[name][claims[name]] == value for name in claims), caption


@pytest.mark.parametrize(
    ("caption", "claims"),
    [
        ("a small bird with a yellow breast and black wings", "bird breast=yellow wing=black"),
        ("a red bird with a short beak", "bird breast=red wing=red beak=short"),
        ("a red bird with white wings", "bird breast=red wing=white"),
        (
            "This bird has blue wings, a long orange bill and a green belly.",
            "bird breast=green wing=blue beak_colour=orange beak=long",
        ),
        (
            "the bird has a red chest, red wings and a black head facing left",
            "bird breast=red wing=red crown=black facing=left",
        ),
        ("a bird sitting on a branch on a misty day", "bird pose=perched background=mist"),
        (
            "a flower with eight pointed purple petals, a white center and a bare stem at sunset",
            "flower background=sunset petal=purple centre=white petal_count=eight "
            "petal_shape=pointed stem=bare",
        ),
        ("a red flower with a blue middle", "flower petal=red centre=blue"),
        ("eine rote Blume", ""),
        ("", ""),
    ],
)
def test_captions_are_read(caption: str, claims: str) -> None:
    expected = {}
    for claim in claims.split():
        name, _, value = claim.rpartition("=")
        expected[name or "kind"] = VALUES[name or "kind"].index(value)
    assert asserted(caption) == expected


def test_claims_that_do_not_hold() -> None:
    truth = attributes(PLAIN_BIRD)
    assert claims_hold("a red bird with blue wings", truth)
    assert not claims_hold("a red bird with green wings", truth)
    assert not claims_hold("a red flower with a blue center", truth)


def test_captions_of_a_picture_differ() -> None:
    for group in make(60, 16).captions:
        assert len(group) == len(set(group)) == 5


def test_prompts_are_of_their_side_of_the_split() -> None:
    for held_out in (True, False):
        made = prompts(100, seed=4, held_out=held_out)
        assert made[:20] == prompts(20, seed=4, held_out=held_out)
        assert made != prompts(100, seed=5, held_out=held_out)
        for text, claims in made:
            assert claims == asserted(text)
            kind = claims["kind"]
            pair = ("breast", "wing") if kind == BIRD else ("petal", "centre")
            assert is_held_out(kind, claims[pair[0]], claims[pair[1]]) == held_out
        assert {prompt.asserted["kind"] for prompt in made} == {BIRD, FLOWER}
    assert isinstance(made[0], Prompt)
    with pytest.raises(ValueError, match="count must be"):
        prompts(0)


def test_attributes_are_drawn_evenly() -> None:
    rng = np.random.default_rng(0)
    birds = [spec for spec in (sample(rng, False) for _ in range(3000)) if isinstance(spec, Bird)]
    assert 1400 < len(birds) < 1600
    for name in ("breast", "wing", "crown"):
        counts = np.bincount([getattr(spec, name) for spec in birds], minlength=8)
        assert counts.min() > 0.7 * len(birds) / 8
