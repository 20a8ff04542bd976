import importlib
from pathlib import Path

import pytest

from neuralpaint import zoo
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.model import Model
from neuralpaint.zoo.registry import ZOO, Entry, Listed, Registry, is_repository, list_models

BIRD = Entry("bird-1", "fake", "draws a bird", "someone/bird-1")
FISH = Entry("fish-10", "fake", "draws a fish", "someone/fish-10")
KINDS = {"fake": "neuralpaint.zoo.hfgan_model:HfGan"}


def registry(weights: Path = Path()) -> Registry:
    return Registry(kinds=KINDS, entries=(BIRD, FISH), aliases={"bird": "bird-1"}, weights=weights)


@pytest.mark.parametrize("entry", ZOO.entries, ids=lambda entry: entry.name)
def test_every_entry_has_a_class_of_its_kind_and_a_repository(entry: Entry) -> None:
    found = ZOO.model_class(entry.kind)
    assert issubclass(found, Model)
    assert found.kind == entry.kind
    assert is_repository(entry.repository)
    assert entry.summary


NAMES = (
    *("hfgan-64", "hfgan-128", "hfgan-cub-64", "hfgan-256"),
    *("ldcgan", "ldcgan-drawn", "avwnet", "avwnet-photos", "avwnet-drawn"),
)


def test_the_zoo_offers_the_three_sizes_and_the_alias() -> None:
    assert ZOO.names == (*NAMES, "hfgan")
    entry = ZOO.find("hfgan")
    assert entry is not None
    assert entry.kind == "hfgan"
    assert ZOO.model_class("hfgan") is HfGan
    assert ZOO.weights == Path(importlib.import_module("neuralpaint.zoo").__file__ or "").with_name(
        "weights"
    )


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'bird-1' is given twice"):
        Registry(kinds=KINDS, entries=(BIRD, FISH, BIRD), aliases={})
    with pytest.raises(ValueError, match="'fish-10' is given twice"):
        Registry(kinds=KINDS, entries=(BIRD, FISH), aliases={"fish-10": "bird-1"})


def test_what_leads_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="alias 'cat' leads to 'cat-1'"):
        Registry(kinds=KINDS, entries=(BIRD,), aliases={"cat": "cat-1"})
    with pytest.raises(ValueError, match="alias 'a' leads to 'b'"):
        Registry(kinds=KINDS, entries=(BIRD,), aliases={"b": "bird-1", "a": "b"})
    with pytest.raises(ValueError, match="'bird-1' is of an unknown kind 'fake'"):
        Registry(kinds={}, entries=(BIRD,), aliases={})


def test_find_follows_aliases_and_knows_nothing_else() -> None:
    assert registry().find("bird") == registry().find("bird-1") == BIRD
    assert registry().find("fish-10") == FISH
    assert registry().find("Bird") is None


@pytest.mark.parametrize(
    ("name", "hint"), [("fish-01", "did you mean 'fish-10'"), ("BIRDS", "mean 'bird'"), ("xyz", "")]
)
def test_an_unknown_name_lists_the_known_ones_and_the_closest(name: str, hint: str) -> None:
    text = registry().unknown(name)
    assert text.startswith(f"model '{name}' is unknown: ")
    assert "known: bird-1, fish-10, bird" in text
    assert hint in text
    assert ("did you mean" in text) == bool(hint)


@pytest.mark.parametrize("kind", ["cat", None, 3, ["fake"]])
def test_an_unknown_kind_is_refused(kind: object) -> None:
    with pytest.raises(ValueError, match="is of no known kind; known: fake"):
        registry().model_class(kind)


def test_the_list_says_what_ships(tmp_path: Path) -> None:
    (tmp_path / "fish-10").mkdir()
    (tmp_path / "fish-10/config.json").write_text("{}")
    (tmp_path / "bird-1").mkdir()  # without a config.json: nothing that can be loaded
    listed = list_models(registry(tmp_path))
    assert listed == (
        Listed("bird-1", ("bird",), "draws a bird", False, "someone/bird-1"),
        Listed("fish-10", (), "draws a fish", True, "someone/fish-10"),
    )
    assert repr(listed).splitlines() == [
        "bird-1 = bird  tried on the Hub: someone/bird-1  draws a bird",
        "fish-10        shipped                           draws a fish",
    ]


def test_the_package_lists_its_models() -> None:
    names = [model.name for model in zoo.list_models()]
    assert names == [*NAMES]
    assert "hfgan-128 = hfgan" in repr(zoo.list_models())
    assert [m.name for m in zoo.list_models() if not m.shipped] == ["hfgan-256"]
    assert repr(list_models(Registry(kinds={}, entries=(), aliases={}))) == ""


@pytest.mark.parametrize("name", ["a/b", "Org-1/my_model.v2", "a/" + "b" * 94])
def test_names_of_repositories(name: str) -> None:
    assert is_repository(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b..c", "a/-b", "a/b-", "a--b/c"),
        *("ä/b", "a b/c", "a/b.git", "a/" + "b" * 95, "a/b\n", "a\\b/c"),
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert not is_repository(name)
