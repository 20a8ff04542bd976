"""Generated captions: names of colours, what of a species is believed, the sentences."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from skimage.color import rgb2lab

from neuralpaint.backend.datasets import CubBird
from neuralpaint.zoo.data import colours, describe, parts
from neuralpaint.zoo.data.describe import Look
from neuralpaint.zoo.data.parts import View

# Pure colours, and such as birds have.
KNOWN = {
    (0, 0, 0): "black",
    (45, 42, 40): "black",
    (255, 255, 255): "white",
    (215, 210, 200): "white",
    (128, 128, 128): "grey",
    (110, 115, 125): "grey",
    (255, 0, 0): "red",
    (170, 30, 30): "red",
    (255, 140, 0): "orange",
    (230, 120, 30): "orange",
    (255, 255, 0): "yellow",
    (230, 200, 40): "yellow",
    (0, 128, 0): "green",
    (90, 140, 50): "green",
    (0, 0, 255): "blue",
    (60, 110, 190): "blue",
    (128, 0, 128): "purple",
    (255, 192, 203): "pink",
    (120, 80, 50): "brown",
    (165, 110, 70): "brown",
}


@pytest.mark.parametrize(("rgb", "expected"), KNOWN.items())
def test_known_colours(rgb: tuple[int, int, int], expected: str) -> None:
    assert colours.name(colours.lab(np.array(rgb, np.uint8))) == expected


def test_every_name_is_in_use_and_every_colour_has_a_name() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), -1).reshape(-1, 3)
    names = [colours.name(colour) for colour in colours.lab(grid)]
    assert set(names) == set(colours.COLOURS)
    # Hardly any beak is called brown that is not dark.
    assert colours.name(colours.lab(np.array([165, 110, 70], np.uint8)), beak=True) == "orange"
    assert colours.name(colours.lab(np.array([100, 100, 105], np.uint8)), beak=True) == "black"


def test_lab_is_that_of_an_independent_implementation() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    np.testing.assert_allclose(colours.lab(pixels), rgb2lab(pixels), atol=0.02)


def test_a_few_odd_pixels_do_not_change_the_colour_of_a_patch() -> None:
    patch = np.tile(np.array([[230, 200, 40]], np.uint8), (21, 1))
    patch[:10] = (0, 0, 255)
    assert colours.name(colours.median(patch)) == "yellow"


def bird(path: Path, number: int, label: int = 1) -> CubBird:
    return CubBird(path, number, label, f"{label:03d}.Bird", True, (0, 0, 1, 1))


def picture(path: Path, paint: Mapping[str, tuple[float, float, str]]) -> View:
    """Discs on a background of noise."""
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (128, 128, 3), np.uint8)
    image = Image.fromarray(noise)
    pen = ImageDraw.Draw(image)
    for x, y, colour in paint.values():
        pen.ellipse((x - 9, y - 9, x + 9, y + 9), colour)
    image.save(path, quality=95)
    return View(path, {part: (x, y) for part, (x, y, _) in paint.items()})


PLACES = {
    "crown": (40, 20),
    "beak": (14, 32),
    "throat": (30, 50),
    "breast": (36, 72),
    "belly": (58, 96),
    "left wing": (80, 70),
    "tail": (116, 90),
}
PALETTE = {
    "black": "black",
    "white": "white",
    "red": "#d01818",
    "yellow": "#f0d020",
    "blue": "#2850c8",
    "brown": "#7a5030",
    "orange": "#f08018",
    "green": "#308030",
}


def test_colours_are_measured_where_they_are(tmp_path: Path) -> None:
    """Random birds: at least nine in ten colours are found (by chance: one in eight)."""
    generator = np.random.default_rng(3)
    right = total = 0
    for number in range(12):
        truth = {part: str(generator.choice(list(PALETTE))) for part in PLACES}
        paint = {p: (*PLACES[p], PALETTE[truth[p]]) for p in PLACES}
        view = picture(tmp_path / f"{number}.jpg", paint)
        # A species of one: nothing to weigh against.
        seen = describe.looks([bird(view.path, number, number)], {number: view})[number].colours
        expected = {("wings" if part == "left wing" else part): c for part, c in truth.items()}
        assert seen.keys() == expected.keys()
        right += sum(seen[group] == colour for group, colour in expected.items())
        total += len(expected)
    assert right >= 0.9 * total


def test_a_bird_is_weighed_against_its_species(tmp_path: Path) -> None:
    """Nine blue birds and a white one in glaring light; of another species, half and half."""
    views, birds = dict[int, View](), list[CubBird]()
    for number in range(16):
        odd, label = (number == 9, 1) if number < 10 else (number % 2 == 1, 2)
        colour = "white" if odd else PALETTE["blue"]
        paint = {part: (*PLACES[part], colour) for part in ("crown", "breast", "belly")}
        views[number] = picture(tmp_path / f"{number}.jpg", paint)
        birds.append(bird(views[number].path, number, label))
    told = list[tuple[int, int]]()
    seen = describe.looks(birds, views, lambda done, total: told.append((done, total)))
    assert all(set(seen[number].colours.values()) == {"blue"} for number in range(10))
    sexes = [set(seen[number].colours.values()) for number in range(10, 16)]
    assert sexes == [{"blue"}, {"white"}] * 3
    assert told == [(done, 16) for done in range(1, 17)]


def test_a_colour_gives_way_only_to_a_far_more_frequent_one() -> None:
    assert describe.weigh("white", Counter(blue=72, white=28)) == "white"
    assert describe.weigh("white", Counter(blue=73, white=27)) == "blue"
    assert describe.weigh("white", Counter(blue=50, white=50)) == "white"


def test_what_few_of_a_species_share_is_not_spoken_of(tmp_path: Path) -> None:
    views, birds = dict[int, View](), list[CubBird]()
    for number, tail in enumerate(["red", "yellow", "green", "blue"] * 2):
        paint = {p: (*PLACES[p], PALETTE["black"]) for p in ("crown", "breast")}
        paint["tail"] = (*PLACES["tail"], PALETTE[tail])
        views[number] = picture(tmp_path / f"{number}.jpg", paint)
        birds.append(bird(views[number].path, number))
    seen = describe.looks(birds, views)
    assert all(look.colours == {"crown": "black", "breast": "black"} for look in seen.values())


def test_birds_with_too_little_to_say_or_unreadable_are_absent(tmp_path: Path) -> None:
    one = picture(tmp_path / "one.jpg", {"crown": (40, 20, "red")})
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    views = {1: one, 2: View(tmp_path / "bad.jpg", {"crown": (4, 4)}), 3: View(one.path, {})}
    birds = [bird(view.path, number) for number, view in views.items()]
    assert describe.captions(birds, views) == {}
    assert describe.captions([bird(one.path, 9)], {}) == {}


def test_the_length_of_a_beak() -> None:
    def view(beak: float) -> View:
        places = {"crown": (20.0, 0.0), "throat": (20.0, 20.0), "forehead": (10.0, 5.0)}
        return View(Path("a.jpg"), {**places, "beak": (10 - beak, 5.0)})

    assert parts.beak_length(view(7)) == pytest.approx(0.35)
    assert parts.beak_length(View(Path("a.jpg"), {"beak": (1, 1), "crown": (2, 2)})) is None
    flat = View(Path("a"), dict.fromkeys(("beak", "crown", "throat", "forehead"), (1.0, 1.0)))
    assert parts.beak_length(flat) is None
    assert [describe._length([x]) for x in (0.35, 0.6, 0.9)] == ["short", "", "long"]
    assert describe._length([0.2, 0.9, 0.8]) == "long"


looks = st.builds(
    Look,
    st.dictionaries(
        st.sampled_from(list(parts.GROUPS)), st.sampled_from(colours.COLOURS), min_size=2
    ),
    st.sampled_from(["", "short", "long"]),
)


@given(looks, st.integers(0, 2**32 - 1))
def test_sentences_are_short_true_and_repeatable(look: Look, seed: int) -> None:
    texts = describe.write(look, seed)
    assert texts == describe.write(look, seed)
    assert len(texts) == 10
    synonyms = {"bill": "beak", "chest": "breast", "abdomen": "belly", "feet": "legs"}
    for text in texts:
        words = [synonyms.get(word, word) for word in re.findall(r"\w+", text)]
        assert len(words) <= 15
        assert "bird" in words
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\ba (\w+ )?(wings|legs|feet)", text)
        named = {"grey" if word == "gray" else word for word in words} & set(colours.COLOURS)
        assert named <= set(look.colours.values())
        assert set(words) & set(parts.GROUPS) <= set(look.colours)
        assert {"short", "long"} & set(words) <= {look.beak}


def test_sentences_say_which_part_has_which_colour() -> None:
    look = Look({"crown": "red", "belly": "white", "wings": "black", "beak": "orange"}, "short")
    texts = [text for seed in range(20) for text in describe.write(look, seed)]
    pattern = r"(red|white|black|orange) (crown|belly|abdomen|wings|beak|bill)"
    pairs = Counter(re.findall(pattern, " ".join(texts)))
    assert {colour for colour, part in pairs if part in ("belly", "abdomen")} == {"white"}
    assert {colour for colour, part in pairs if part == "wings"} == {"black"}
    assert {colour for colour, part in pairs if part in ("beak", "bill")} == {"orange"}
    assert any("short orange b" in text for text in texts)
    assert len(set(texts)) > 100
    assert all(len(set(describe.write(look, seed))) == 10 for seed in range(20))
