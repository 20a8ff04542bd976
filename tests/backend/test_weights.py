import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neuralpaint.backend import weights
from neuralpaint.backend.weights import (
    NoSuchHubFileError,
    fill,
    hub_file,
    load_weights,
    read_tensors,
    save_weights,
)

Tensors = dict[str, Tensor]
LIMIT = 10_000


def build(meta: dict[str, str]) -> nn.Module:
    """A linear layer and a batch norm, whose counter is an integer."""
    width = meta.get("width", "")
    if width not in ("2", "3"):
        raise ValueError("names no width")
    return nn.Sequential(nn.Linear(4, int(width)), nn.BatchNorm1d(int(width)))


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(1)
    network = build({"width": "2"})
    network(torch.randn(5, 4))  # moves the statistics
    return network


@pytest.fixture
def good(network: nn.Module, tmp_path: Path) -> Path:
    save_weights(network, tmp_path / "good.safetensors", {"width": "2", "by": "test"})
    return tmp_path / "good.safetensors"


# --- round trip ---


def test_round_trip_is_exact(network: nn.Module, good: Path) -> None:
    loaded = load_weights(good, build, LIMIT)
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, weight in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
        assert loaded.state_dict()[name].dtype == weight.dtype
    assert loaded.state_dict()["1.num_batches_tracked"] == 1
    assert all(weight.requires_grad for weight in loaded.parameters())


def test_half_precision_rounds_but_not_the_counters(network: nn.Module, tmp_path: Path) -> None:
    save_weights(network, tmp_path / "h.safetensors", {"width": "2"}, half=True)
    stored = load_file(tmp_path / "h.safetensors")
    assert stored["0.weight"].dtype == torch.float16
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    loaded = load_weights(tmp_path / "h.safetensors", build, LIMIT).state_dict()
    weight = network.state_dict()["0.weight"]
    assert torch.equal(loaded["0.weight"], weight.half().float())
    assert not torch.equal(loaded["0.weight"], weight)


def test_same_network_and_texts_same_bytes(network: nn.Module, tmp_path: Path) -> None:
    texts = {f"key {i}": "é\n" * i for i in range(8)}
    files = []
    for i in range(6):
        save_weights(network, tmp_path / f"{i}.safetensors", texts)
        files.append((tmp_path / f"{i}.safetensors").read_bytes())
    assert len(set(files)) == 1
    assert read_tensors(tmp_path / "0.safetensors", LIMIT)[1] == texts
    length = int.from_bytes(files[0][:8], "little")
    assert length % 8 == 0


def test_no_texts_and_other_layouts_in_memory(tmp_path: Path) -> None:
    conv = nn.Conv2d(2, 3, 3)
    conv.weight = nn.Parameter(conv.weight.detach().to(memory_format=torch.channels_last))
    save_weights(conv, tmp_path / "c.safetensors", {})
    tensors, meta = read_tensors(tmp_path / "c.safetensors", LIMIT)
    assert meta == {}
    assert torch.equal(tensors["weight"], conv.weight)


def test_loading_draws_no_random_numbers(good: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    load_weights(good, build, LIMIT)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("value", "half"), [(torch.nan, False), (torch.inf, True), (7e4, True)])
def test_what_could_not_be_loaded_is_not_written(
    network: nn.Module, tmp_path: Path, value: float, half: bool
) -> None:
    with torch.no_grad():
        network.get_parameter("0.bias")[0] = value
    with pytest.raises(ValueError, match=r"n\.safetensors: not written, weight 0\.bias is not fin"):
        save_weights(network, tmp_path / "n.safetensors", {}, half=half)
    assert list(tmp_path.iterdir()) == []


# --- what is refused ---


def drop(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name != "1.running_var"}


def add(tensors: Tensors) -> Tensors:
    return {**tensors, "2.bias": torch.zeros(3)}


def reshape(tensors: Tensors) -> Tensors:
    return {**tensors, "0.weight": tensors["0.weight"].T.contiguous()}


def spoil(tensors: Tensors) -> Tensors:
    return {**tensors, "0.bias": tensors["0.bias"] * torch.nan}


def overflow(tensors: Tensors) -> Tensors:
    return {**tensors, "0.bias": torch.full((2,), 1e300, dtype=torch.float64)}


def count(tensors: Tensors) -> Tensors:
    return {**tensors, "0.bias": torch.ones(2, dtype=torch.int64)}


def imagine(tensors: Tensors) -> Tensors:
    return {**tensors, "1.num_batches_tracked": torch.tensor(1j)}


REFUSED = [
    (drop, r"weight 1\.running_var is missing or not \(2,\)"),
    (add, r"unknown weight 2\.bias"),
    (reshape, r"weight 0\.weight is missing or not \(2, 4\)"),
    (spoil, r"weight 0\.bias holds NaN or infinity"),
    (overflow, r"weight 0\.bias holds NaN or infinity"),
    (count, r"weight 0\.bias is torch\.int64, not torch\.float32"),
    (imagine, r"weight 1\.num_batches_tracked is torch\.complex64, not torch\.int64"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_file_that_is_not_quite_right_is_refused_by_name(
    good: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    bad = good.with_name("bad.safetensors")
    save_file(change(load_file(good)), bad, {"width": "2"})
    with pytest.raises(ValueError, match=rf"bad\.safetensors: {message}"):
        load_weights(bad, build, LIMIT)


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_refused_fill_changes_nothing(
    network: nn.Module, good: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tensors = {name: value + 1 for name, value in load_file(good).items()}
    with pytest.raises(ValueError, match=message):
        fill(network, change(tensors), good)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"width": "3"}, r"weight 0\.weight is missing or not \(3, 4\)"),
        ({"width": "999999999"}, "names no width"),
        (None, "names no width"),
    ],
)
def test_texts_that_do_not_fit_are_refused(
    good: Path, meta: dict[str, str] | None, message: str
) -> None:
    bad = good.with_name("bad.safetensors")
    save_file(load_file(good), bad, meta)
    with pytest.raises(ValueError, match=rf"bad\.safetensors: {message}"):
        load_weights(bad, build, LIMIT)


@pytest.mark.parametrize("size", [0, 7, 100, -1])
def test_a_truncated_file_is_refused(good: Path, size: int) -> None:
    bad = good.with_name("bad.safetensors")
    bad.write_bytes(good.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        load_weights(bad, build, LIMIT)


def test_a_large_file_is_refused_unread(good: Path) -> None:
    size = good.stat().st_size
    load_weights(good, build, size)
    with pytest.raises(ValueError, match=rf"good\.safetensors: larger than {size - 1} bytes"):
        load_weights(good, build, size - 1)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"{path.name}: no such file of weights"):
            load_weights(path, build, LIMIT)


def test_ignored_names_may_be_there(network: nn.Module, good: Path) -> None:
    tensors = {**load_file(good), "fc.weight": torch.zeros(9), "fcx": torch.zeros(1)}
    with pytest.raises(ValueError, match="unknown weight fcx"):
        fill(network, tensors, good, ignore=("fc.",))
    del tensors["fcx"]
    fill(network, tensors, good, ignore=("fc.",))


def test_a_long_name_makes_no_long_error(network: nn.Module, good: Path) -> None:
    with pytest.raises(ValueError, match="unknown weight xxx") as error:
        fill(network, {**load_file(good), "x" * 100_000: torch.zeros(1)}, good)
    assert len(str(error.value)) < 1000


# --- the Hub ---


def in_cache(folder: Path, content: bytes) -> None:
    """Lay a file down as the Hub's client does."""
    store = folder / "models--a--b"
    (store / "refs").mkdir(parents=True)
    (store / "refs/main").write_text("c0ffee")
    (store / "snapshots/c0ffee").mkdir(parents=True)
    (store / "snapshots/c0ffee/model.safetensors").write_bytes(content)


def test_a_cached_file_needs_no_network(tmp_path: Path, good: Path) -> None:
    in_cache(tmp_path / "cache", good.read_bytes())
    found = hub_file(
        "a/b", "model.safetensors", "", LIMIT, local_files_only=True, cache_dir=tmp_path / "cache"
    )
    with safe_open(found, "pt") as file:
        assert file.metadata()["by"] == "test"


@pytest.mark.parametrize(
    ("local", "reason"),
    [(True, "local_files_only keeps it"), (False, "the Hub could not be reached")],
)
def test_a_hub_out_of_reach_says_which_file_and_what_else(
    tmp_path: Path, local: bool, reason: str
) -> None:
    pattern = (
        rf"model\.safetensors of a/b: not in the cache .*{tmp_path.name}, and {reason}.*; sing"
    )
    with pytest.raises(FileNotFoundError, match=pattern):
        hub_file("a/b", "model.safetensors", "sing", 9, local_files_only=local, cache_dir=tmp_path)


def test_a_large_file_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(url: str, **_: object) -> SimpleNamespace:
        assert url.endswith("/a/b/resolve/main/model.safetensors")
        return SimpleNamespace(size=10)

    def download(*_: object, **__: object) -> str:
        return str(tmp_path / "downloaded")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ValueError, match="10 bytes, more than the limit of 9"):
        hub_file("a/b", "model.safetensors", "", 9, cache_dir=tmp_path)
    found = hub_file("a/b", "model.safetensors", "", 10, cache_dir=tmp_path)
    assert found == tmp_path / "downloaded"


def test_a_revision_is_asked_for_and_found_in_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: Path
) -> None:
    asked = []

    def answer(url: str, **_: object) -> SimpleNamespace:
        asked.append(url.split("/a/b/")[1])
        return SimpleNamespace(size=1)

    def download(*_: object, revision: str | None, **__: object) -> str:
        asked.append(str(revision))
        return str(tmp_path / "downloaded")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    cache = tmp_path / "cache"
    in_cache(cache, good.read_bytes())
    found = hub_file("a/b", "model.safetensors", "", LIMIT, revision="v2", cache_dir=cache)
    assert found == tmp_path / "downloaded"
    assert asked == ["resolve/v2/model.safetensors", "v2"]
    found = hub_file("a/b", "model.safetensors", "", LIMIT, revision="c0ffee", cache_dir=cache)
    assert found.read_bytes() == good.read_bytes()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("RepositoryNotFoundError", FileNotFoundError, "the Hub shows no such repository"),
        ("RevisionNotFoundError", FileNotFoundError, "has no revision v2; sing"),
        ("RemoteEntryNotFoundError", NoSuchHubFileError, "on the Hub has no such file; sing"),
    ],
)
def test_what_the_hub_answers_is_told_apart(
    name: str,
    kind: type[Exception],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    error = getattr(huggingface_hub.errors, name)

    def answer(*_: object, **__: object) -> None:
        raise error.__new__(error)  # its constructor wants a response of the HTTP client

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer)
    with pytest.raises(FileNotFoundError, match=reason) as caught:
        hub_file("a/b", "model.safetensors", "sing", 9, revision="v2", cache_dir=tmp_path)
    assert type(caught.value) is kind


def test_a_hub_that_never_answers_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    never = threading.Event()
    monkeypatch.setattr(weights, "HUB_SECONDS", 0.01)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: never.wait())
    with pytest.raises(FileNotFoundError, match=r"no answer within 0\.01 s\); sing"):
        hub_file("a/b", "model.safetensors", "sing", 9, cache_dir=tmp_path)
    never.set()
