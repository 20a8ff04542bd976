"""The files of a model: config.json and safetensors, one file or several, read strictly.

    config.json                      {"model": kind, "format": 1, "config": {...}, "card": {...}}
    model.safetensors                all weights, or
    model-00001-of-00002.safetensors ... with model.safetensors.index.json, which says what is where
    README.md                        the card, for people; it is not read

The files may come from anyone. They are bounded, hold numbers and texts and nothing that runs, and
are refused by the name of the first field or weight that is missing, unknown or of another shape.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..backend.files import read_json, writable_folder, write_bytes, write_json, write_text
from ..backend.weights import fill, read_tensors
from .cards import Card
from .registry import CONFIG

FORMAT = 1
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
README = "README.md"
SHARD_BYTES = 16 * 2**20
"""A file of weights is not larger than this, unless a single weight is."""
MAX_JSON_BYTES = 16 * 2**20
MAX_BYTES = 4 * 2**30
"""Of all files of weights together."""
MAX_SHARDS = 999

AnyConfig = TypeVar("AnyConfig")

_SHARD = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors")
_HEADER_BYTES = 256  # that a weight may take in its file's header, beside its numbers
_FIELDS = ("model", "format", "config", "card")


class Description(NamedTuple):
    """What config.json says.

    Attributes:
        kind: of model.
        config: of its networks, JSON values that the model's class reads.
        card: see `Card`.
    """

    kind: str
    config: dict[str, Any]
    card: Card


# --- reading -------------------------------------------------------------------------------------


def read_description(path: Path) -> Description:
    """Read a config.json.

    Args:
        path: the file.

    Returns:
        Its content; the configuration itself is not checked yet.

    Raises:
        ValueError: absent, too large, not such a file, of another format, or with a field that is
            missing or unknown (names it).
    """
    values = read_json(path, max_bytes=MAX_JSON_BYTES)
    if not isinstance(values, dict) or "model" not in values:
        raise ValueError(f"{path}: not the {CONFIG} of a model of this zoo")
    for name in values:
        if name not in _FIELDS:
            raise ValueError(f"{path}: unknown field {name!r:.80}")
    for name in _FIELDS:
        if name not in values:
            raise ValueError(f"{path}: the field {name!r} is missing")
    if type(values["format"]) is not int or values["format"] != FORMAT:
        raise ValueError(
            f"{path}: format {values['format']!r:.20}, this version reads format {FORMAT}; "
            "upgrade neuralpaint"
        )
    if not isinstance(values["model"], str) or not isinstance(values["config"], dict):
        raise ValueError(f"{path}: model must be a text and config an object")
    try:
        card = Card.from_json(values["card"])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Description(values["model"], values["config"], card)


def weight_files(folder: Path) -> tuple[str, ...]:
    """Names of the files of weights of a folder, all of them there.

    Args:
        folder: of a model.

    Returns:
        The names, the index not among them.

    Raises:
        FileNotFoundError: a file is absent.
        ValueError: both kinds are there, or the index is not right.
    """
    single, index = (folder / SINGLE).is_file(), (folder / INDEX).is_file()
    if single and index:
        raise ValueError(f"{folder}: holds both {SINGLE} and {INDEX}; remove the wrong one")
    if single:
        return (SINGLE,)
    if not index:
        raise FileNotFoundError(f"{folder}: holds neither {SINGLE} nor {INDEX}")
    names = tuple(sorted(set(read_index(folder / INDEX).values())))
    for name in names:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: the file {name} that {INDEX} names is missing")
    return names


def read_index(path: Path) -> dict[str, str]:
    """Read an index of shards.

    Args:
        path: the file.

    Returns:
        Weight -> name of a file beside the index.

    Raises:
        ValueError: not such an index, or it names something else than shards.
    """
    values = read_json(path, max_bytes=MAX_JSON_BYTES)
    places = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{path}: not an index of weights: it has no weight_map")
    for name in places.values():
        match = _SHARD.fullmatch(name) if isinstance(name, str) else None
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= MAX_SHARDS:
            raise ValueError(f"{path}: {name!r:.80} is not the name of a shard")
    return places


def read_weights(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Read all files of weights of a model.

    Args:
        folder: where they are.
        names: from `weight_files`.

    Returns:
        The weights by name.

    Raises:
        FileNotFoundError: a file is absent.
        ValueError: a file is damaged, all are too large, or a weight is not in the file where the
            index has it (names it).
    """
    places = {} if names == (SINGLE,) else read_index(folder / INDEX)
    tensors: dict[str, Tensor] = {}
    left = MAX_BYTES
    for file in names:
        found, _ = read_tensors(folder / file, left)
        left -= (folder / file).stat().st_size
        for name in found:
            if places and places.get(name) != file:
                raise ValueError(f"{folder / file}: unknown weight {name[:80]!r}, not in the index")
        tensors.update(found)
    for name, file in places.items():
        if name not in tensors:
            raise ValueError(f"{folder / file}: weight {name[:80]!r} is missing")
    return tensors


def build(
    make: Callable[[], tuple[AnyConfig, nn.ModuleDict]],
    tensors: dict[str, Tensor],
    source: Path,
    described: Path,
) -> tuple[AnyConfig, nn.ModuleDict]:
    """Build networks and fill them with weights.

    They are built without memory and without random numbers, and compared with the weights, before
    they take any memory: a configuration cannot ask for more than its weights fill.

    Args:
        make: reads the configuration and makes the networks.
        tensors: their weights.
        source: where those come from, for errors.
        described: where the configuration comes from, for errors.

    Returns:
        The configuration, and the networks in float32 on the CPU.

    Raises:
        ValueError: the configuration is refused, or a weight is missing, unknown, of another shape
            or kind, or not finite.
    """
    try:
        with torch.device("meta"), _NoDraws():
            config, built = make()
    except ValueError as error:
        raise ValueError(f"{described}: {error}") from None
    expected = built.state_dict()
    for name, weight in expected.items():
        if name not in tensors:
            raise ValueError(f"{source}: weight {name} is missing")
        if tensors[name].shape != weight.shape:
            found, due = tuple(tensors[name].shape), tuple(weight.shape)
            raise ValueError(f"{source}: weight {name} has shape {found}, not {due}")
    for name in tensors:
        if name not in expected:
            raise ValueError(f"{source}: unknown weight {name[:80]!r}")
    kept = {name for name, _ in built.named_buffers()} - expected.keys()
    if kept:  # they would hold whatever was in memory
        raise TypeError(f"{type(built).__name__}: the buffer {min(kept)} is not saved")
    memory = {name: torch.empty(w.shape, dtype=w.dtype) for name, w in expected.items()}
    built.load_state_dict(memory, assign=True)
    fill(built, tensors, source)
    return config, built


class _NoDraws(TorchFunctionMode):
    """First weights are not drawn: on tensors without memory that would load PyTorch's compiler."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return named.get("tensor", *args[:1])
        if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        return func(*args, **named)


# --- writing -------------------------------------------------------------------------------------


def write_folder(folder: Path, description: Description, networks: nn.Module, page: str) -> None:
    """Write the files of a model, in half precision, shards of at most `SHARD_BYTES`.

    Everything is written aside and then moved into place, config.json last: a killed run leaves
    the old model, or for a moment a folder without a config.json, and never a mixture that loads.

    Args:
        folder: made if absent; other files in it stay.
        description: for config.json.
        networks: all weights.
        page: for README.md.

    Raises:
        ValueError: a weight is not finite in half precision (names it); nothing is changed.
        OSError: the folder cannot be written.
    """
    shards = _shards(networks.state_dict())
    writable_folder(folder)
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        count = len(shards)
        names = [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        if count == 1:
            names = [SINGLE]
        for name, shard in zip(names, shards, strict=True):
            write_bytes(aside / name, save(shard, {"format": "pt"}))
        if count > 1:
            places = {w: n for n, shard in zip(names, shards, strict=True) for w in shard}
            size = sum(tensor.nbytes for shard in shards for tensor in shard.values())
            index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places.items()))}
            write_json(aside / INDEX, index)
            names.append(INDEX)
        write_text(aside / README, page)
        values = (description.kind, FORMAT, description.config, description.card.to_json())
        write_json(aside / CONFIG, dict(zip(_FIELDS, values, strict=True)))
        (folder / CONFIG).unlink(missing_ok=True)
        for old in folder.iterdir():
            if old.name in (SINGLE, INDEX) or _SHARD.fullmatch(old.name):
                old.unlink()
        for name in (*names, README, CONFIG):
            os.replace(aside / name, folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _shards(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Weights in half precision on the CPU, in files that are small enough."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, weight in state.items():
        kept = weight.detach().cpu().contiguous()
        if kept.is_floating_point():
            kept = kept.half()
            if not kept.isfinite().all():
                raise ValueError(f"not saved: weight {name} is not finite in half precision")
        needed = kept.nbytes + _HEADER_BYTES
        if shards[-1] and size + needed > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = kept
        size += needed
    return shards
