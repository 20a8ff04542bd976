"""What every model of the zoo can do: load, save, move, share, and run requests in batches.

A model is a few networks, a configuration and a card. A subclass says how its networks are built
(`build`), what they do with a batch (`forward`), and offers a `generate` that makes requests, runs
them (`run`) and wraps the results. All callers of one model, from any thread, share its `Batcher`.
"""

import hashlib
import os
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn

from ..backend import device as devices
from ..backend.batcher import Batcher
from ..backend.buckets import Batch
from .cards import Card, readme
from .pretrained import (
    INDEX,
    SINGLE,
    Description,
    build,
    read_description,
    read_weights,
    weight_files,
    write_folder,
)
from .registry import CONFIG, is_repository

Progress = Callable[[int, int], None]
"""Called with (done, total) in the caller's thread."""

AnyModel = TypeVar("AnyModel", bound="Model")


class Config(Protocol):
    """Configuration of networks, a frozen dataclass."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        ...


class Model(ABC):
    """A model of the zoo.

    The batcher starts with the first request. On the CPU requests run one by one, which is as fast
    as a batch and gives each the very bits it gets alone; on a GPU always in batches of one size,
    so that the same kernels meet each request in any company. See `BATCH`.

    Args:
        config: of the networks.
        networks: by name; they are put into evaluation mode, without gradients.
        card: what there is to say about the weights.
        name: of the weights, for people and for provenance.
        origin: where the weights come from, in words.

    Attributes:
        kind: what config.json says under "model".
        BATCH: requests in a call by kind of device, fixed.
        config: of the networks.
        networks: on `device`.
        name: of the weights.
        origin: where the weights come from.
        device: where the model computes.
        dtype: that it computes in.
    """

    kind: ClassVar[str]
    BATCH: ClassVar[Mapping[str, int]] = {"cpu": 1, "cuda": 32}

    def __init__(
        self,
        config: Config,
        networks: Mapping[str, nn.Module],
        card: Card | None = None,
        *,
        name: str = "unnamed",
        origin: str = "this process",
    ) -> None:
        self.config = config
        self.networks = nn.ModuleDict(dict(networks)).eval().requires_grad_(False)
        self.name, self.origin = name, origin
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self._card = card or Card()
        self._fingerprint = ""
        self._batcher: Batcher | None = None
        self._lock = threading.Lock()

    # --- what a subclass says --------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def build(cls, config: Mapping[str, Any]) -> tuple[Config, nn.ModuleDict]:
        """Make the configuration and networks, with weights that are about to be replaced.

        Args:
            config: JSON values that anyone may have written.

        Returns:
            The configuration, and the networks by name.

        Raises:
            ValueError: an unknown field (names it), or a value that is out of range.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Batch:
        """Compute a batch, on the batcher's thread, within `run`'s autocast and without gradients.

        Args:
            batch: tensors (n, ...) on `device`.

        Returns:
            Tensors (n, ...), each row from its own row alone.
        """

    @abstractmethod
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Make images or frames; see the subclass.

        Returns:
            A result object, which is also a sequence of them.
        """

    # --- weights ---------------------------------------------------------------------------------

    @classmethod
    def load(cls: type[AnyModel], folder: Path, *, name: str = "", origin: str = "") -> AnyModel:
        """Read a folder that `save_pretrained` wrote; `hub.from_pretrained` finds it by name.

        Args:
            folder: of the model.
            name: of the weights; by default the folder's.
            origin: where the weights come from; by default the folder.

        Returns:
            The model, on the CPU.

        Raises:
            FileNotFoundError: a file is absent.
            ValueError: a field or a weight is missing, unknown or not right (names it).
        """
        described = read_description(folder / CONFIG)
        if described.kind != cls.kind:
            raise ValueError(
                f"{folder / CONFIG}: a model of kind {described.kind!r:.80}, not {cls.kind!r}"
            )
        config, networks = build(
            lambda: cls.build(described.config),
            read_weights(folder, weight_files(folder)),
            folder,
            folder / CONFIG,
        )
        return cls(
            config,
            dict(networks.items()),
            described.card,
            name=name or folder.resolve().name,
            origin=origin or f"folder {folder}",
        )

    @property
    def card(self) -> Card:
        """What there is to say about the model, with its number of parameters."""
        count = sum(weight.numel() for weight in self.networks.parameters())
        return replace(self._card, parameters=count)

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that tell weights apart, the same on every device."""
        if not self._fingerprint:
            digest = hashlib.sha256()
            for name, weight in self.networks.state_dict().items():
                digest.update(name.encode())
                digest.update(weight.cpu().contiguous().view(-1).view(torch.uint8).numpy())
            self._fingerprint = digest.hexdigest()[:8]
        return self._fingerprint

    @property
    def title(self) -> str:
        """Name and fingerprint, for provenance."""
        return f"{self.name} (weights {self.fingerprint})"

    def save_pretrained(self, folder: str | os.PathLike[str], card: Card | None = None) -> Path:
        """Write config.json, weights in half precision (files of at most 16 MiB) and README.md.

        Args:
            folder: made if absent; an older model in it is replaced.
            card: in place of the model's own.

        Returns:
            The folder.

        Raises:
            ValueError: a weight is not finite in half precision (names it).
            OSError: the folder cannot be written to.
        """
        return self._write(Path(folder), card, Path(folder).resolve().name)

    def push_to_hub(
        self,
        repository: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        card: Card | None = None,
    ) -> str:
        """Write the model to the Hugging Face Hub, in one commit, with its card as the page.

        Args:
            repository: "org/name"; made if absent.
            token: of an account that may write there; by default that of `hf auth login`.
            private: whether a new repository can be seen by its owners only.
            card: in place of the model's own.

        Returns:
            Address of the commit.

        Raises:
            ValueError: not such a name.
            OSError: the Hub refuses or is out of reach.
        """
        import huggingface_hub

        if not is_repository(repository):
            raise ValueError(f"{repository!r:.100} is no name on the Hub; use 'org/name'")
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder), card, repository)
            api = huggingface_hub.HfApi(token=token)
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=f"{self.kind} by neuralpaint",
                delete_patterns=[SINGLE, INDEX, "model-*-of-*.safetensors"],  # of an older model
            )
        return str(commit.commit_url)

    def _write(self, folder: Path, card: Card | None, name: str) -> Path:
        kept = replace(card, parameters=self.card.parameters) if card else self.card
        description = Description(self.kind, self.config.to_json(), kept)
        write_folder(folder, description, self.networks, readme(kept, name, self.kind))
        return folder

    # --- where it runs ---------------------------------------------------------------------------

    def to(
        self: AnyModel,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> AnyModel:
        """Move the model; requests that are on their way are finished first.

        Args:
            device: "auto", "cpu", "cuda", "cuda:N"; None stays.
            dtype: float32, bfloat16, or float16 (GPU only), to compute in; the weights stay in
                float32. None stays; a new model computes in float32, so that it makes the same
                images on every device but for rounding.

        Returns:
            The model itself.

        Raises:
            ValueError: no such device, or it cannot compute in `dtype`.
            RuntimeError: a GPU is asked for and there is none.
        """
        place = self.device if device is None else devices.resolve(device)
        kept = self.dtype if dtype is None else dtype
        devices.autocast(place, kept)  # refuses what cannot be
        if (place, kept) != (self.device, self.dtype):
            self.close()
            self.networks.to(place)
            self.device, self.dtype = place, kept
        return self

    def close(self) -> None:
        """End the batcher's thread when its requests are done; a later `generate` starts another.

        A model that is no longer referenced does this by itself.
        """
        with self._lock:
            batcher, self._batcher = self._batcher, None
        if batcher is not None:
            batcher.close()

    def __enter__(self: AnyModel) -> AnyModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.title} on {self.device}, from {self.origin}>"

    # --- requests --------------------------------------------------------------------------------

    def run(self, requests: Sequence[Batch], progress: Progress | None = None) -> list[Batch]:
        """Compute requests, together with those of other callers.

        Args:
            requests: tensors without a batch dimension, on the CPU; they bring their own noise.
            progress: told after each request; an exception in it ends the call.

        Returns:
            Their results, in order, on the CPU.
        """
        batcher = self._running()
        futures = []
        try:
            for request in requests:
                futures.append(batcher.submit(request))
            results = []
            for done, future in enumerate(futures, 1):
                results.append(future.result())
                if progress is not None:
                    progress(done, len(futures))
            return results
        finally:
            for future in futures:
                future.cancel()  # does nothing to those that are done

    def compute(self, batch: Batch) -> Batch:
        """What the batcher's function does: `forward` on the model's device.

        Args:
            batch: tensors (n, ...) on any device.

        Returns:
            The results (n, ...), on the CPU.
        """
        moved = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with torch.no_grad(), devices.autocast(self.device, self.dtype):
            results = self.forward(moved)
        return {name: tensor.cpu() for name, tensor in results.items()}

    def _running(self) -> Batcher:
        with self._lock:
            if self._batcher is None:
                # The thread must not keep the model: it ends when nobody else does.
                function = partial(_compute, weakref.ref(self))
                size = self.BATCH[self.device.type]
                # With a size of 1 there is no company to wait for.
                wait = 0.0 if size == 1 else 0.002
                self._batcher = Batcher(function, max_size=size, max_wait=wait, fixed=True)
            return self._batcher


def _compute(model: "weakref.ref[Model]", batch: Batch) -> Batch:
    alive = model()
    if alive is None:
        raise RuntimeError("the model is gone; keep a reference to it while it works")
    return alive.compute(batch)
