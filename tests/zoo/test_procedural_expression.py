"""Drawn faces that move: rest is what it was, landmarks go with the drawing, mouths differ."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from neuralpaint.zoo.procedural_faces import (
    PARTS,
    Expression,
    FaceSpec,
    Kept,
    Person,
    Scene,
    draw,
    express,
    face,
    landmarks,
    picture,
)
from neuralpaint.zoo.procedural_faces.expression import APERTURE, CHIN, gap, parting
from neuralpaint.zoo.procedural_faces.shape import AVERAGE, MOUTH
from neuralpaint.zoo.procedural_talking.visemes import NUMBERS, VISEMES

PLAIN = FaceSpec(Person(), Scene(smile=0.1))
SHARES = st.floats(0, 1)
ANY = st.builds(Expression, SHARES, SHARES, st.floats(-1, 1), *[SHARES] * 5)


def saying(phoneme: str) -> Expression:
    """The mouth shape of a phoneme that is held."""
    return Expression(**dict(zip(NUMBERS, VISEMES[phoneme][0].shape, strict=True)))


def mouth_pixels(expression: Expression, size: int = 128) -> NDArray[np.float64]:
    """(3, N) RGB of what lies between the lips of the plain face, in [0, 1]."""
    image, points = picture(PLAIN, 30, size, expression)
    return image[:, inside(points, size) > 0.5] / 255


def inside(points: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    """The share of each pixel between the inner edges of the lips, (S, S)."""
    plane = Image.new("L", (8 * size, 8 * size))
    inner = points[60:68].astype(float) * 8 * size - 0.5
    ImageDraw.Draw(plane).polygon(inner.ravel().tolist(), fill=255)
    return np.asarray(plane.reduce(8)) / 255


# --- at rest -------------------------------------------------------------------------------------

# Of `face(number, framing="crop")` at 64 pixels, before faces could move: every 16th pixel of the
# red plane from the eighth on, and x and y of the points 8, 48 and 57.
BEFORE = {
    (2, 33): (
        [145, 190, 222, 100, 136, 204, 223, 172, 123, 177, 183, 200, 226, 143, 161, 213],
        [0.5173, 0.9923, 0.33162, 0.68758, 0.50512, 0.74397],
    ),
    (11, 68): (
        [142, 164, 196, 154, 135, 180, 194, 135, 104, 151, 164, 186, 213, 103, 113, 196],
        [0.5077, 0.95694, 0.33454, 0.68922, 0.50266, 0.73021],
    ),
}


@pytest.mark.parametrize(("number", "age"), list(BEFORE))
def test_resting_faces_are_those_from_before_faces_could_move(number: int, age: int) -> None:
    image, points = picture(face(number, framing="crop"), age, 64)
    pixels, places = BEFORE[number, age]
    # Sums of floats differ from machine to machine by less than a level.
    assert np.abs(image[0, 8::16, 8::16].ravel().astype(int) - pixels).max() <= 1
    assert np.allclose(points[[8, 48, 57]].ravel(), places, atol=1e-5)


@settings(max_examples=12, deadline=None)
@given(number=st.integers(0, 400), age=st.integers(0, 100))
def test_doing_nothing_is_to_rest_bit_by_bit(number: int, age: int) -> None:
    spec = face(number, framing="crop")
    image, points = picture(spec, age, 48)
    same, also = picture(spec, age, 48, Expression())
    assert np.array_equal(image, same)
    assert np.array_equal(points, also)


def test_kept_layers_give_the_same_pictures() -> None:
    moves = [
        Expression(),
        saying("AA"),
        Expression(0.2, 0.3, blink=0.6),
        saying("M"),
        saying("UW"),
    ]
    for number, age in ((2, 33), (7, 62), (11, 25)):
        spec, kept = face(number), Kept()
        for move in moves:
            image, points = picture(spec, age, 64, move)
            again, places = picture(spec, age, 64, move, kept)
            assert np.array_equal(image, again)
            assert np.array_equal(points, places)


# --- how points move -----------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(expression=ANY)
@example(expression=Expression(wide=1.0, press=1.0, bite=1.0))
def test_points_stay_a_face(expression: Expression) -> None:
    points = express(AVERAGE, expression)
    assert np.isfinite(points).all()
    still = [i for i in range(68) if 17 <= i < 36]
    assert np.array_equal(points[still], AVERAGE[still])
    assert np.allclose(points[[36, 39, 42, 45]], AVERAGE[[36, 39, 42, 45]])
    # Left and right mirror each other.
    mirror = [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
    assert np.allclose(points[MOUTH] * (-1, 1), points[mirror])
    # From above: edge of the upper lip, its inner edge, that of the lower lip, its edge, the chin.
    down = points[[51, 62, 66, 57, 8], 1]
    assert (np.diff(down) > -1e-9).all()
    assert (np.diff(points[48:55, 0]) > 0).all()
    assert (points[[41, 40, 47, 46], 1] >= points[[37, 38, 43, 44], 1]).all()


def test_each_number_does_what_it_says() -> None:
    rest = AVERAGE
    assert np.array_equal(express(rest, Expression()), rest)
    assert express(rest, Expression(jaw=1))[8, 1] - rest[8, 1] == pytest.approx(CHIN)
    opened = express(rest, Expression(open=1))
    assert gap(opened) - gap(rest) == pytest.approx(APERTURE)
    assert opened[8, 1] == rest[8, 1]

    def width(expression: Expression) -> float:
        points = express(rest, expression)
        return float(points[54, 0] - points[48, 0])

    assert width(Expression(wide=1)) == pytest.approx(1.17 * width(Expression()))
    assert width(Expression(round=1)) == pytest.approx(0.6 * width(Expression()))
    pressed = express(rest, Expression(press=1))
    assert gap(pressed) < 0.25 * gap(rest)
    assert pressed[57, 1] - pressed[51, 1] < 0.6 * (rest[57, 1] - rest[51, 1])
    bitten = express(rest, saying("F"))
    assert bitten[66, 1] < parting(rest) + 0.2 * CHIN * saying("F").jaw + 0.01
    shut = express(rest, Expression(blink=1))
    assert np.abs(shut[[37, 38], 1] - shut[[41, 40], 1]).max() < 0.05 * 0.064


@pytest.mark.parametrize("field", [field.name for field in fields(Expression)])
def test_numbers_out_of_range_are_named(field: str) -> None:
    least = -1.0 if field == "wide" else 0.0
    for wrong in (1.01, least - 0.01, float("nan")):
        with pytest.raises(ValueError, match=field):
            Expression(**{field: wrong})
    Expression(**{field: least})


def test_speech_drives_all_but_the_lids() -> None:
    assert (*NUMBERS, "blink") == tuple(field.name for field in fields(Expression))


# --- what is seen --------------------------------------------------------------------------------


SHOWN = ("SIL", "M", "F", "IY", "EH", "AE", "AA", "UW")


def test_mouths_of_different_sounds_look_different() -> None:
    seen = {name: mouth_pixels(saying(name)) for name in SHOWN}
    dark = {name: (pixels.max(0) < 0.3).sum() for name, pixels in seen.items()}
    bright = {name: (pixels.min(0) > 0.55).sum() for name, pixels in seen.items()}
    assert dark["M"] == bright["M"] == dark["SIL"] == bright["SIL"] == 0
    assert dark["AA"] > dark["AE"] > dark["EH"] > dark["IY"]
    assert dark["AA"] > 90
    assert bright["IY"] > 20
    assert bright["F"] > 10  # teeth on the lip, and little between them
    assert dark["F"] < 0.5 * bright["F"]
    assert bright["UW"] == 0  # round lips cover the teeth
    assert dark["UW"] > 20
    wide = {name: np.ptp(landmarks(PLAIN, 30, saying(name))[48:60, 0]) for name in SHOWN}
    assert wide["IY"] > 1.05 * wide["AA"] > 1.4 * wide["UW"]


def test_tongue_is_seen_where_it_is_asked_for() -> None:
    def pink(expression: Expression) -> int:
        red, green, blue = mouth_pixels(expression)
        return int(((red > 0.6) & (green < 0.6 * red) & (blue < 0.65 * red)).sum())

    assert pink(saying("TH")) > pink(saying("T")) + 20


@pytest.mark.parametrize("phoneme", ["AA", "EH", "UW"])
def test_landmarks_are_where_the_mouth_is_drawn(phoneme: str) -> None:
    size = 256
    image, points = picture(PLAIN, 30, size, saying(phoneme))
    dark = image.max(0) < 70
    left, top, right, bottom = (
        int(v) for v in (*(points[48:60].min(0) * size), *(points[48:60].max(0) * size))
    )
    box = np.zeros_like(dark)
    box[top:bottom, left:right] = True
    # The opening is a smooth curve through the points, so that it bulges a little beyond them.
    assert inside(points, size)[dark & box].mean() > 0.85
    rows, columns = np.nonzero(dark & box)
    assert points[62, 1] - 0.01 < rows.min() / size < points[62, 1] + 0.03
    assert rows.max() / size < points[66, 1] + 0.01
    assert columns.mean() / size == pytest.approx(points[62, 0], abs=0.005)
    assert np.ptp(columns) > 0.75 * np.ptp(points[60:68, 0]) * size


def test_an_expression_changes_the_lower_face_alone() -> None:
    rest, _ = picture(PLAIN, 30, 128)
    moved, points = picture(PLAIN, 30, 128, saying("AA"))
    differs = (rest != moved).any(0)
    assert not differs[: int(points[27, 1] * 128)].any()
    below = int(points[33, 1] * 128)
    assert differs[below:].mean() > 0.2
    blink, _ = picture(PLAIN, 30, 128, Expression(blink=1))
    change = np.abs(blink.astype(int) - rest).max(0)
    assert change[below:].max() <= 6  # shade of the eyes on the cheeks
    assert change[:below].max() > 100


def test_parts_of_an_open_mouth_add_up() -> None:
    drawn = draw(face(7), 40, 96, saying("AA"))
    total = np.sum([drawn.parts[name] for name in PARTS], axis=0)
    assert np.allclose(total, 1, atol=1e-5)
    closed = draw(face(7), 40, 96)
    assert drawn.parts["mouth"].sum() > 1.3 * closed.parts["mouth"].sum()
    image, points = picture(face(7), 40, 96, saying("AA"))
    assert np.array_equal(drawn.image, image)
    assert np.array_equal(drawn.landmarks, points)
    assert np.array_equal(landmarks(face(7), 40, saying("AA")), points)
