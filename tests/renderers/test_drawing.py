import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuralpaint.renderers import drawing as drawings
from neuralpaint.renderers.drawing import Drawing

SHARES = st.floats(0, 1, width=32)


def strokes(count: int) -> np.ndarray:
    return np.random.default_rng(count).random((count, 13), dtype=np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "strokes.json"
    Drawing(strokes(3), 4, 5, seed=7, method="m", source="a.jpg", extra={"k": [1]}).save(path)
    return path


@settings(max_examples=50)
@given(
    strokes=hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(13)), elements=SHARES),
    height=st.integers(1, 16384),
    width=st.integers(1, 16384),
    background=st.tuples(SHARES, SHARES, SHARES),
    control=st.sampled_from(["relative", "absolute"]),
    seed=st.none() | st.integers(0, 2**64 - 1),
    method=st.text(max_size=20),
    source=st.text(st.characters(exclude_characters="/"), max_size=20),
    extra=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.booleans()),
)
def test_a_saved_drawing_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, **fields: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "drawing.json"
    before = Drawing(**fields)
    before.save(path)
    after = Drawing.load(path)
    assert after.strokes.dtype == np.float32
    assert after.strokes.tobytes() == before.strokes.tobytes()
    for name in fields.keys() - {"strokes"}:
        assert getattr(after, name) == fields[name]


def test_the_file_by_hand(tmp_path: Path) -> None:
    row = np.array([[0.1, 0.25, 1, 0, 1 / 3, 0.7, 0.5, 1, 0.5, 1, 0.2, 0.4, 0.6]], np.float32)
    Drawing(row, 2, 3, (0.5, 0.0, 1.0), seed=7, source="é.jpg").save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    assert text.endswith(
        '  "strokes": [\n'
        "    [0.1, 0.25, 1.0, 0.0, 0.33333334, 0.7, 0.5, 1.0, 0.5, 1.0, 0.2, 0.4, 0.6]\n"
        "  ]\n}\n"
    )
    assert json.loads(text) == {
        "format": "neuralpaint-strokes",
        "version": 1,
        "canvas": {"height": 2, "width": 3, "background": [0.5, 0.0, 1.0]},
        "control": "relative",
        "seed": 7,
        "method": "",
        "source": "é.jpg",
        "extra": {},
        "columns": ["x0", "y0", "x1", "y1", "x2", "y2", "z0", "v0", "z1", "v1", "r", "g", "b"],
        "strokes": [[0.1, 0.25, 1, 0, 0.33333334, 0.7, 0.5, 1, 0.5, 1, 0.2, 0.4, 0.6]],
    }


def test_a_drawing_keeps_its_own_strokes() -> None:
    array = strokes(3)
    drawing = Drawing(array, 4, 5)
    array[:] = 0
    np.testing.assert_array_equal(drawing.strokes, strokes(3))
    with pytest.raises(ValueError, match="read-only"):
        drawing.strokes[0, 0] = 0


def test_first() -> None:
    drawing = Drawing(strokes(3), 4, 5, control="absolute", seed=1)
    shorter = drawing.first(2)
    np.testing.assert_array_equal(shorter.strokes, drawing.strokes[:2])
    assert (shorter.control, shorter.seed, len(shorter)) == ("absolute", 1, 2)
    assert len(drawing.first(0)) == 0
    assert len(drawing.first(3)) == 3
    for count in (4, -1):
        with pytest.raises(ValueError, match=f"first {count} strokes: ask for 0 to 3"):
            drawing.first(count)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strokes": np.zeros((2, 12))}, r"strokes: shape \(2, 12\)"),
        ({"strokes": np.zeros(13)}, "strokes: shape"),
        ({"strokes": np.full((1, 13), np.nan)}, r"strokes\[0\]\.x0: nan"),
        ({"strokes": np.eye(13) * 1.5}, r"strokes\[0\]\.x0: 1\.5"),
        ({"height": 0}, "height: 0"),
        ({"width": 16385}, "width: 16385"),
        ({"width": 2.0}, "width: 2.0"),
        ({"height": True}, "height: True"),
        ({"background": (0, 0)}, "background"),
        ({"background": (0, 0, 1.1)}, "background"),
        ({"background": (0, 0, float("nan"))}, "background"),
        ({"control": "other"}, "control: 'other'; known: relative, absolute"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": 1.0}, "seed: 1.0"),
        ({"source": "home/me/a.jpg"}, "source: .*without a folder"),
        ({"method": "m" * 1001}, "method: must be text"),
        ({"extra": [1]}, "extra"),
    ],
)
def test_bad_fields_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        replace(Drawing(strokes(1), 4, 5), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format: is not"),
        ({"version": 2}, "version: 2 is newer.*upgrade neuralpaint"),
        ({"version": 2, "strange": 1}, "upgrade neuralpaint"),
        ({"version": 0}, "version: 0"),
        ({"version": True}, "version: True"),
        ({"version": "1"}, "version: '1'"),
        ({"strange": 1}, "strange: is not a field"),
        ({"canvas": [4, 5]}, "canvas: must be an object"),
        ({"canvas": {"height": 4, "width": 5}}, r"canvas\.background: is missing"),
        ({"canvas": {"height": 4, "width": 5, "background": 0}}, r"canvas\.background: must"),
        ({"canvas": {"height": 4, "width": 5, "background": [0, 0, 0], "z": 1}}, r"canvas\.z"),
        ({"canvas": {"height": "4", "width": 5, "background": [0, 0, 0]}}, "height: '4'"),
        ({"control": ["relative"]}, "control"),
        ({"seed": "7"}, "seed: '7'"),
        ({"method": 3}, "method"),
        ({"source": None}, "source"),
        ({"extra": []}, "extra: must be an object"),
        ({"columns": ["x0"]}, "columns: must be x0, y0"),
        ({"strokes": {}}, "strokes: must be a list"),
        ({"strokes": [[0] * 12]}, r"strokes\[0\]: must be a list of 13"),
        ({"strokes": [[0] * 13, 5]}, r"strokes\[1\]: must be a list of 13"),
        ({"strokes": [[0] * 12 + [True]]}, r"strokes\[0\]\.b: True"),
        ({"strokes": [[0] * 12 + ["1"]]}, r"strokes\[0\]\.b: '1'"),
        ({"strokes": [[0] * 9 + [1.01, 0, 0, 0]]}, r"strokes\[0\]\.v1: 1\.01"),
        ({"strokes": [[0] * 12 + [-1e-9]]}, r"strokes\[0\]\.b: -1e-09"),
        ({"strokes": [[10**400] + [0] * 12]}, r"strokes\[0\]\.x0: 1000"),
    ],
)
def test_bad_files_are_refused_with_file_and_field(
    saved: Path, change: dict[str, Any], message: str
) -> None:
    saved.write_text(json.dumps(json.loads(saved.read_text()) | change))
    with pytest.raises(ValueError, match=rf"strokes\.json: .*{message}"):
        Drawing.load(saved)


@pytest.mark.parametrize("key", json.loads('["canvas", "control", "seed", "columns", "strokes"]'))
def test_a_missing_field_is_named(saved: Path, key: str) -> None:
    value = json.loads(saved.read_text())
    del value[key]
    saved.write_text(json.dumps(value))
    with pytest.raises(ValueError, match=rf"strokes\.json: {key}: is missing"):
        Drawing.load(saved)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_beyond_json(saved: Path, number: str) -> None:
    row = ", ".join([number] + ["0"] * 12)
    text = saved.read_text()
    saved.write_text(text[: text.index('"strokes": [')] + f'"strokes": [[{row}]]}}')
    with pytest.raises(ValueError, match=r"strokes\.json: .*(not a number|must lie)"):
        Drawing.load(saved)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"a\.json: no such file"):
        Drawing.load(path)
    for data in (b"[]", b"3", b"\x89PNG", b'{"format": '):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.json: (format|not valid JSON)"):
            Drawing.load(path)


def test_limits(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "MAX_STROKES", 2)
    with pytest.raises(ValueError, match="strokes: 3, more than the limit of 2"):
        Drawing.load(saved)
    with pytest.raises(ValueError, match="strokes: 3, more than the limit of 2"):
        Drawing(strokes(3), 4, 5)
    monkeypatch.setattr(drawings, "MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match="more than the limit of 100"):
        Drawing.load(saved)


@pytest.mark.parametrize("value", [float("nan"), object(), "x" * 2**25])
def test_extra_that_cannot_be_stored_leaves_the_old_file(saved: Path, value: object) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="extra"):
        replace(Drawing.load(saved), extra={"bad": value}).save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["strokes.json"]
