"""The models of the zoo: one readable list.

    from neuralpaint import zoo

    zoo.list_models()

A model's weights lie in zoo/weights/<name>/ where they ship with the package; where they do not,
they are looked for in its repository on the Hugging Face Hub.
"""

import difflib
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .model import Model

WEIGHTS = Path(__file__).parent / "weights"
CONFIG = "config.json"

_PART = r"(?!.*(?:--|\.\.|\.git$))[a-z0-9](?:[\w.-]*\w)?"
_REPOSITORY = re.compile(f"(?=.{{1,96}}$){_PART}/{_PART}", re.ASCII | re.IGNORECASE)


def is_repository(name: str) -> bool:
    """Whether a name can be one of a repository on the Hub, "org/name"."""
    return _REPOSITORY.fullmatch(name) is not None


class Entry(NamedTuple):
    """One model.

    Attributes:
        name: short name.
        kind: key of the registry's `kinds`.
        summary: what it does, in a line.
        repository: on the Hub.
    """

    name: str
    kind: str
    summary: str
    repository: str


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Models by name.

    Attributes:
        kinds: what config.json says under "model" -> "module:class", imported when it is needed.
        entries: the models.
        aliases: other names -> name of an entry.
        weights: folder with a folder of weights for each shipped model.

    Raises:
        ValueError: a name is given twice, an alias leads nowhere, or a kind is unknown.
    """

    kinds: Mapping[str, str]
    entries: tuple[Entry, ...]
    aliases: Mapping[str, str]
    weights: Path = WEIGHTS

    def __post_init__(self) -> None:
        taken: set[str] = set()
        for name in self.names:
            if name in taken:
                raise ValueError(f"the model name {name!r} is given twice")
            taken.add(name)
        for entry in self.entries:
            if entry.kind not in self.kinds:
                raise ValueError(f"model {entry.name!r} is of an unknown kind {entry.kind!r}")
        for alias, name in self.aliases.items():
            if name not in taken or name in self.aliases:
                raise ValueError(f"alias {alias!r} leads to {name!r}, which is no model")

    @property
    def names(self) -> tuple[str, ...]:
        """Names and aliases."""
        return (*(entry.name for entry in self.entries), *self.aliases)

    def find(self, name: str) -> Entry | None:
        """The entry behind a name or alias, if there is one."""
        name = self.aliases.get(name, name)
        return next((entry for entry in self.entries if entry.name == name), None)

    def shipped(self, entry: Entry) -> Path | None:
        """The folder of weights that ships with the package, if there is one."""
        folder = self.weights / entry.name
        return folder if (folder / CONFIG).is_file() else None

    def unknown(self, name: str) -> str:
        """What to say of a name that nobody knows: the known ones and the closest."""
        close = difflib.get_close_matches(name.lower(), self.names, 1, 0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return (
            f"model {name[:80]!r} is unknown: {hint}known: {', '.join(self.names)}; or give a "
            f"folder with a {CONFIG}, or 'org/name' on the Hub"
        )

    def model_class(self, kind: object) -> "type[Model]":
        """The class of a kind.

        Raises:
            ValueError: there is no such kind; names the known ones.
        """
        if not isinstance(kind, str) or kind not in self.kinds:
            known = ", ".join(self.kinds)
            raise ValueError(f"model {kind!r:.80} is of no known kind; known: {known}")
        module, _, name = self.kinds[kind].partition(":")
        found: type[Model] = getattr(importlib.import_module(module), name)
        return found


ZOO = Registry(
    kinds={
        "hfgan": "neuralpaint.zoo.hfgan_model:HfGan",
        "ldcgan": "neuralpaint.zoo.ldcgan_model:LdcGan",
        "avwnet": "neuralpaint.zoo.avwnet_model:AvwNet",
    },
    entries=(
        Entry(
            name="hfgan-64",
            kind="hfgan",
            summary="drawn birds and flowers of 64 x 64 pixels from a sentence, the fastest",
            repository="neuralpaint/hfgan-64",
        ),
        Entry(
            name="hfgan-128",
            kind="hfgan",
            summary="drawn birds and flowers of 128 x 128 pixels from a sentence",
            repository="neuralpaint/hfgan-128",
        ),
        Entry(
            name="hfgan-cub-64",
            kind="hfgan",
            summary="photographed birds of 64 x 64 pixels from a sentence, a first leg of training",
            repository="neuralpaint/hfgan-cub-64",
        ),
        Entry(
            name="hfgan-256",
            kind="hfgan",
            summary="256 x 256 pixels, the size of the thesis; no weights are trained yet",
            repository="neuralpaint/hfgan-256",
        ),
        Entry(
            name="ldcgan",
            kind="ldcgan",
            summary="a photographed face at another age, trained on UTKFace",
            repository="neuralpaint/ldcgan",
        ),
        Entry(
            name="ldcgan-drawn",
            kind="ldcgan",
            summary="a drawn face at another age",
            repository="neuralpaint/ldcgan-drawn",
        ),
        Entry(
            name="avwnet",
            kind="avwnet",
            summary="a face and a voice become a talking video, the small networks, trained on a "
            "speaker of GRID",
            repository="neuralpaint/avwnet",
        ),
        Entry(
            name="avwnet-photos",
            kind="avwnet",
            summary="the same for photos of other people, trained on photos moved by warping, too",
            repository="neuralpaint/avwnet-photos",
        ),
        Entry(
            name="avwnet-drawn",
            kind="avwnet",
            summary="a drawn face and a voice become a talking video, the small networks",
            repository="neuralpaint/avwnet-drawn",
        ),
    ),
    aliases={"hfgan": "hfgan-128"},  # the best shipped one
)


class Listed(NamedTuple):
    """What `list_models` says of a model.

    Attributes:
        name: for `from_pretrained`.
        aliases: names that lead to it.
        summary: what it does.
        shipped: whether its weights are in the package; else they are looked for on the Hub.
        repository: on the Hub.
    """

    name: str
    aliases: tuple[str, ...]
    summary: str
    shipped: bool
    repository: str


class Listing(tuple[Listed, ...]):
    """Models, shown as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        rows = [
            (
                " = ".join((model.name, *model.aliases)),
                "shipped" if model.shipped else f"tried on the Hub: {model.repository}",
                model.summary,
            )
            for model in self
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(2)] if rows else [0, 0]
        return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows)


def list_models(registry: Registry = ZOO) -> Listing:
    """The models that `from_pretrained` knows by name.

    Args:
        registry: whose.

    Returns:
        One `Listed` for each, which print as a table.
    """
    return Listing(
        Listed(
            entry.name,
            tuple(alias for alias, name in registry.aliases.items() if name == entry.name),
            entry.summary,
            registry.shipped(entry) is not None,
            entry.repository,
        )
        for entry in registry.entries
    )
