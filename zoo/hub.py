"""From a name to a model: a folder, the weights shipped with the package, or the Hugging Face Hub.

Weights are safetensors and a configuration is JSON; nothing that comes from a folder or from the
Hub is run.
"""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from ..backend.weights import NoSuchHubFileError, hub_file
from .pretrained import (
    INDEX,
    MAX_BYTES,
    MAX_JSON_BYTES,
    SINGLE,
    read_description,
    read_index,
    weight_files,
)
from .registry import CONFIG, ZOO, Registry, is_repository

if TYPE_CHECKING:
    from .model import Model

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Found(NamedTuple):
    """Where a model is.

    Attributes:
        name: what to call it: short name, "org/name", or name of the folder.
        origin: where its weights come from, in words.
        folder: with its files.
    """

    name: str
    origin: str
    folder: Path


def from_pretrained(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    registry: Registry = ZOO,
) -> "Model":
    """Load a model with its weights.

    Args:
        name_or_path: a folder that `save_pretrained` wrote, a name of `list_models` (its weights
            ship with the package, or come from the Hub), or "org/name" on the Hub.
        revision: of the Hub: branch, tag or commit.
        cache_dir: of the Hub's client, by default its own.
        token: for the Hub, where one is needed.
        local_files_only: never ask the Hub.
        device: "auto", "cpu", "cuda", "cuda:N".
        dtype: to compute in; see `Model.to`.
        registry: of the names and kinds.

    Returns:
        The model, in evaluation mode.

    Raises:
        FileNotFoundError: there is no such folder, or the Hub has no such model or is out of reach;
            says what was tried.
        ValueError: the name is unknown (names the known ones and the closest), or the files are not
            those of such a model: an unknown field, or a missing, unknown, mis-shaped or not finite
            weight, by name.
    """
    found = locate(
        name_or_path,
        revision=revision,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        registry=registry,
    )
    kind = registry.model_class(read_description(found.folder / CONFIG).kind)
    return kind.load(found.folder, name=found.name, origin=found.origin).to(device, dtype)


def locate(
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    registry: Registry = ZOO,
) -> Found:
    """Find the files of a model; see `from_pretrained`."""
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"a model is a name or a folder, not {type(name_or_path).__name__}")
    name = os.fspath(name_or_path)
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise ValueError(f"model {name!r:.80} is no name and no folder")
    entry = registry.find(name)
    folder = Path(os.path.expanduser(name))  # leaves an unknown user as it is
    # A folder that happens to be called like a model is not meant, unless it holds one.
    if _exists(folder / CONFIG) or (entry is None and _exists(folder)):
        return _local(folder)
    if isinstance(name_or_path, str) and entry is not None:
        shipped = registry.shipped(entry)
        if shipped is not None and revision is None:
            return Found(entry.name, "shipped with the package", shipped)
        name, repository = entry.name, entry.repository
        tried = f"{entry.name} does not ship with the package"
        if shipped is not None:
            tried = f"revision {revision} of {entry.name} does not ship with the package"
    elif isinstance(name_or_path, str) and is_repository(name):
        repository = name
        tried = f"there is no folder {name}"
    elif isinstance(name_or_path, str) and not re.search(r"[/\\]|^[.~]", name):
        raise ValueError(registry.unknown(name))
    else:
        raise FileNotFoundError(f"{name}: no such folder; check the name")
    where = str(cache_dir) if cache_dir is not None else None
    files = _HubFiles(repository, tried, where, token, local_files_only)
    folder = files.fetch(revision)
    return Found(name, f"{repository} on the Hub, {folder.name[:12]}", folder)


def _local(folder: Path) -> Found:
    if not folder.is_dir():
        raise ValueError(f"{folder}: is a file; give the folder with its {CONFIG}")
    if not (folder / CONFIG).is_file():
        raise FileNotFoundError(
            f"{folder}: holds no {CONFIG}, so no model of this zoo; was it saved completely?"
        )
    weight_files(folder)
    return Found(folder.resolve().name, f"folder {folder}", folder)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # name too long
        return False


class _HubFiles:
    """The files of one repository of the Hub, all of one commit.

    Args:
        repository: "org/name".
        tried: what was tried before, for errors.
        cache_dir: of the Hub's client.
        token: for the Hub.
        local_files_only: never ask the Hub.
    """

    def __init__(
        self,
        repository: str,
        tried: str,
        cache_dir: str | None,
        token: str | bool | None,
        local_files_only: bool,
    ) -> None:
        self._repository = repository
        self._tried = f"{tried}; give a folder, or a name of zoo.list_models()"
        self._cache_dir = cache_dir
        self._token = token
        self._local_files_only = local_files_only

    def fetch(self, revision: str | None) -> Path:
        """Bring all files into the Hub's cache, those of a sharded model too.

        Returns:
            The folder that holds them.
        """
        folder = self._file(CONFIG, MAX_JSON_BYTES, revision).parent
        # The rest is taken from the same commit, also if the repository changes meanwhile.
        commit = folder.name if _COMMIT.fullmatch(folder.name) else revision
        read_description(folder / CONFIG)  # before anything large is fetched
        weights = self._weights(commit)
        if weights.name == INDEX:
            for name in sorted(set(read_index(weights).values())):
                self._file(name, MAX_BYTES, commit)
        return folder

    def _weights(self, commit: str | None) -> Path:
        """The file of weights, or the index of several."""
        limits = {SINGLE: MAX_BYTES, INDEX: MAX_JSON_BYTES}
        for name, limit in limits.items():
            try:
                return self._file(name, limit, commit, local=True)
            except FileNotFoundError:
                continue
        try:
            return self._file(SINGLE, MAX_BYTES, commit)
        except NoSuchHubFileError:
            return self._file(INDEX, MAX_JSON_BYTES, commit)

    def _file(
        self, name: str, max_bytes: int, revision: str | None, *, local: bool = False
    ) -> Path:
        return hub_file(
            self._repository,
            name,
            self._tried,
            max_bytes,
            revision=revision,
            local_files_only=local or self._local_files_only,
            cache_dir=self._cache_dir,
            token=self._token,
        )
