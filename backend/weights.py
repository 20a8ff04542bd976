"""Weights of networks as safetensors: written atomically, read strictly.

A file of weights is data that anyone may have made. It is bounded in size, holds tensors and short
texts and nothing that runs, and is refused by the name of the first weight that is missing,
unknown, of another shape or kind, or not finite.
"""

import json
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TypeVar, cast

import huggingface_hub
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .files import write_bytes

Network = TypeVar("Network", bound=nn.Module)
Answer = TypeVar("Answer")

HUB_SECONDS = 4.0
"""How long the Hub may take to answer, before any download."""


class NoSuchHubFileError(FileNotFoundError):
    """The Hub answered, and the repository has no such file."""


def save_weights(
    network: nn.Module, path: Path, meta: dict[str, str], *, half: bool = False
) -> None:
    """Write a network's parameters and buffers; the same network and texts give the same bytes.

    Args:
        network: on any device; it is not changed.
        path: file to write.
        meta: what `load_weights` needs to build the network again, as texts.
        half: keep floating-point weights as float16, half the size, for files to be shipped.

    Raises:
        ValueError: a weight is NaN or infinite, or too large for float16 (names it); nothing is
            written.
        OSError: see `files.atomic_path`.
    """
    tensors = {}
    for name, weight in network.state_dict().items():
        kept = weight.detach().cpu().contiguous()
        if half and kept.is_floating_point():
            kept = kept.half()
        if not kept.isfinite().all():
            raise ValueError(f"{path}: not written, weight {name} is not finite in {kept.dtype}")
        tensors[name] = kept
    write_bytes(path, _sorted_meta(save(tensors, meta)))


def load_weights(path: Path, build: Callable[[dict[str, str]], Network], max_bytes: int) -> Network:
    """Build a network and fill it with the weights that `save_weights` wrote.

    Args:
        path: a safetensors file.
        build: makes the network, on the CPU, from the texts of the file. They are as doubtful as
            the rest of it: it raises ValueError unless they name a network of bounded size.
        max_bytes: refuse larger files before reading them.

    Returns:
        The network, its weights in the precision that `build` gave them. Random numbers drawn by
        `build` do not advance PyTorch's generator.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: too large, not safetensors, refused by `build`, or a missing, unknown,
            mis-shaped or not finite weight (names file and weight).
    """
    tensors, meta = read_tensors(path, max_bytes)
    with torch.random.fork_rng(devices=[]):
        try:
            network = build(meta)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    fill(network, tensors, path)
    return network


def read_tensors(path: Path, max_bytes: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a safetensors file.

    Args:
        path: the file.
        max_bytes: refuse larger files before reading them.

    Returns:
        Its tensors by name, on the CPU, and its texts.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: too large, or not a safetensors file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights; check the name")
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"{path}: larger than {max_bytes} bytes, not such weights ({size} bytes)")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None


def fill(
    network: nn.Module, tensors: dict[str, Tensor], source: Path, ignore: tuple[str, ...] = ()
) -> None:
    """Copy tensors into a network, all of them or, on an error, none.

    Args:
        network: takes the values, in its own precision and on its own device.
        tensors: by name.
        source: where they come from, for the errors.
        ignore: beginnings of names that may be there without being used, as "fc.".

    Raises:
        ValueError: a weight is missing, unknown, of another shape or kind, or not finite.
    """
    state = network.state_dict()
    values = {}
    for name, weight in state.items():
        if name not in tensors or tensors[name].shape != weight.shape:
            raise ValueError(f"{source}: weight {name} is missing or not {tuple(weight.shape)}")
        value = tensors[name]
        if value.is_floating_point() != weight.is_floating_point() or value.is_complex():
            raise ValueError(f"{source}: weight {name} is {value.dtype}, not {weight.dtype}")
        values[name] = value.to(weight.dtype)
        if not values[name].isfinite().all():
            raise ValueError(f"{source}: weight {name} holds NaN or infinity")
    extra = [name for name in tensors.keys() - state.keys() if not name.startswith(ignore)]
    if extra:
        raise ValueError(f"{source}: unknown weight {min(extra)[:80]}")
    network.load_state_dict(values)


def hub_file(
    repository: str,
    name: str,
    instead: str,
    max_bytes: int,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Path:
    """Find a file in the Hub's cache, or download it.

    Args:
        repository: of the Hub, as "timm/resnet34.tv_in1k".
        name: of the file in it.
        instead: what a user without the Hub can do, the end of the error's sentence.
        max_bytes: refuse to download more.
        revision: branch, tag or commit; None for the main branch.
        local_files_only: never ask the Hub.
        cache_dir: the Hub's cache, by default its own.
        token: for the Hub, where one is needed.

    Returns:
        The file on this machine.

    Raises:
        NoSuchHubFileError: the Hub's repository has no such file.
        FileNotFoundError: neither worked; says what was tried, within `HUB_SECONDS`.
        ValueError: the Hub's file is larger than `max_bytes`.
    """
    cached = huggingface_hub.try_to_load_from_cache(repository, name, cache_dir, revision)
    if isinstance(cached, str):
        return Path(cached)
    from huggingface_hub import errors  # here, as it takes its time to import

    # The library that speaks HTTP for the Hub's client has changed; its root error is always this.
    http_error = cast(type[Exception], errors.HfHubHTTPError.__bases__[0])
    reason = "local_files_only keeps it from asking the Hub"
    kind: type[FileNotFoundError] = FileNotFoundError
    if not local_files_only:
        try:
            # One question first: a download repeats it for 23 s where the Hub is out of reach.
            url = huggingface_hub.hf_hub_url(repository, name, revision=revision)
            size = _within(
                HUB_SECONDS,
                lambda: (
                    huggingface_hub.get_hf_file_metadata(url, token=token, timeout=HUB_SECONDS).size
                ),
            )
            if size is not None and size > max_bytes:
                raise ValueError(f"{url}: {size} bytes, more than the limit of {max_bytes}")
            path = huggingface_hub.hf_hub_download(
                repository,
                name,
                revision=revision,
                cache_dir=cache_dir,
                token=token,
                etag_timeout=HUB_SECONDS,
            )
            return Path(path)
        except errors.RepositoryNotFoundError:
            reason = "the Hub shows no such repository (a private one needs a token)"
        except errors.RevisionNotFoundError:
            reason = f"the repository has no revision {revision}"
        except errors.RemoteEntryNotFoundError:
            reason, kind = "the repository on the Hub has no such file", NoSuchHubFileError
        except (OSError, http_error) as error:
            text = (str(error) or type(error).__name__).splitlines()[0]
            reason = f"the Hub could not be reached ({text})"
    folder = cache_dir or huggingface_hub.constants.HF_HUB_CACHE
    raise kind(f"{name} of {repository}: not in the cache {folder}, and {reason}; {instead}")


def _within(seconds: float, question: Callable[[], Answer]) -> Answer:
    """The answer to a question, or TimeoutError.

    The HTTP client's own limit is for each address of a host and each step of a connection: behind
    a firewall that drops everything they add up to a minute. The thread is left to end by itself.
    """
    future: Future[Answer] = Future()

    def ask() -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=ask, name="neuralpaint-hub", daemon=True).start()
    try:
        return future.result(seconds)
    except FutureTimeoutError as error:  # no builtin one in Python 3.10
        raise TimeoutError(f"no answer within {seconds:g} s") from error


def _sorted_meta(file: bytes) -> bytes:
    """The same safetensors file with its texts sorted; the library writes them in random order."""
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers behind it stay aligned
    return len(text).to_bytes(8, "little") + text + file[8 + length :]
