"""docs/thesis_map.md tells the truth: every equation has its row, every name exists."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/thesis_map.md"
LAST_EQUATION = {3: 9, 4: 15, 5: 12, 6: 9}  # chapter -> number of its last equation
LAST_TABLE = {3: 3, 4: 3, 5: 2}


class Row(NamedTuple):
    thesis: str
    where: str

    def __str__(self) -> str:
        return self.thesis

    @property
    def places(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.where)


def read_rows() -> list[Row]:
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    assert {len(row) for row in cells} == {3}
    return [
        Row(thesis, where)
        for thesis, _, where in cells
        if thesis != "thesis" and not thesis.startswith("---")
    ]


ROWS = read_rows()
DONE = [(row, place) for row in ROWS for place in row.places]
NUMBERED = [(row, place) for row, place in DONE if not row.thesis.startswith("Sec")]


def module_names(file: Path) -> set[str]:
    """The functions, classes and constants that a file defines at its top level."""
    names = set()
    for node in ast.parse(file.read_text("utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def numbered(kind: str, last: dict[int, int]) -> list[str]:
    return [f"{kind} {c}.{n}" for c, count in last.items() for n in range(1, count + 1)]


@pytest.mark.parametrize(("kind", "last"), [("Eq", LAST_EQUATION), ("Table", LAST_TABLE)])
def test_every_equation_and_table_has_one_row(kind: str, last: dict[int, int]) -> None:
    listed = [row.thesis for row in ROWS if row.thesis.startswith(f"{kind} ")]
    assert sorted(listed) == sorted(numbered(kind, last))


def test_rows_have_a_known_form() -> None:
    unknown = [
        r.thesis for r in ROWS if not re.fullmatch(r"(Eq|Table|Fig|Sec) [2-6](\.\d+)+", r.thesis)
    ]
    assert unknown == []


def test_a_row_names_its_places_or_says_not_yet() -> None:
    wrong = [
        row for row in ROWS if row.where != (", ".join(f"`{p}`" for p in row.places) or "not yet")
    ]
    assert wrong == []


@pytest.mark.parametrize(("row", "place"), DONE, ids=str)
def test_every_place_exists(row: Row, place: str) -> None:
    file, name = place.split(":")
    assert name in module_names(ROOT / file), f"{row.thesis} is not at {place}"


@pytest.mark.parametrize(("row", "place"), NUMBERED, ids=str)
def test_the_code_cites_its_equation(row: Row, place: str) -> None:
    text = (ROOT / place.split(":")[0]).read_text("utf-8")
    assert re.search(rf"\b{re.escape(row.thesis.split()[1])}\b", text), f"{place}: {row.thesis}"
