"""The base of all models, with a model that doubles numbers and one that is wrong in some way."""

import gc
import json
import os
import re
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neuralpaint.backend.buckets import Batch
from neuralpaint.zoo import pretrained
from neuralpaint.zoo.cards import Card
from neuralpaint.zoo.model import Model


@dataclass(frozen=True)
class ScaleConfig:
    width: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Scale(Model):
    """Multiplies numbers by its weights: as little as a model can be."""

    kind = "scale"

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> tuple[ScaleConfig, nn.ModuleDict]:
        unknown = config.keys() - {"width"}
        if unknown:
            raise ValueError(f"unknown field {min(unknown)!r}")
        width = config["width"]
        return ScaleConfig(width), nn.ModuleDict(
            {"scale": nn.Linear(width, width), "norm": nn.BatchNorm1d(width)}
        )

    def forward(self, batch: Batch) -> Batch:
        if (batch["x"] < 0).any():
            raise ValueError("a number is negative")
        return {"y": self.networks["norm"](self.networks["scale"](batch["x"]))}

    def generate(
        self, numbers: Sequence[Tensor], progress: Callable[[int, int], None] | None = None
    ) -> list[Tensor]:
        return [result["y"] for result in self.run([{"x": x} for x in numbers], progress)]


@pytest.fixture
def model() -> Scale:
    torch.manual_seed(0)
    config, networks = Scale.build({"width": 4})
    networks["norm"](networks["scale"](torch.rand(8, 4)))  # moves the statistics
    networks.half().float()  # what is saved in half precision
    return Scale(config, dict(networks.items()), Card(summary="scales"), name="scale-4")


@pytest.fixture
def saved(model: Scale, tmp_path: Path) -> Path:
    return model.save_pretrained(tmp_path / "saved")


def numbers(count: int = 5, width: int = 4) -> list[Tensor]:
    return list(torch.rand(count, width, generator=torch.Generator().manual_seed(1)))


def same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


# --- files ----------------------------------------------------------------------------------------


def test_saved_and_loaded_it_computes_the_same(model: Scale, saved: Path) -> None:
    loaded = Scale.load(saved)
    assert same(loaded.generate(numbers()), model.generate(numbers()))
    assert loaded.config == model.config
    assert loaded.fingerprint == model.fingerprint
    assert loaded.card == Card(summary="scales", parameters=4 * 4 + 4 + 4 + 4)
    assert (loaded.name, loaded.origin) == ("saved", f"folder {saved}")
    assert not any(weight.requires_grad for weight in loaded.networks.parameters())
    assert not loaded.networks.training


def test_the_files_are_what_others_expect(saved: Path) -> None:
    assert sorted(file.name for file in saved.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    described = json.loads((saved / "config.json").read_text())
    assert list(described) == ["model", "format", "config", "card"]
    assert described["model"] == "scale"
    assert described["format"] == 1
    assert described["config"] == {"width": 4}
    assert described["card"]["parameters"] == 28
    stored = load_file(saved / "model.safetensors")
    assert stored["scale.weight"].dtype == torch.float16
    assert stored["norm.num_batches_tracked"].dtype == torch.int64
    assert "# saved" in (saved / "README.md").read_text()


def test_saving_draws_nothing_and_gives_the_same_bytes(model: Scale, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    files = [model.save_pretrained(tmp_path / name) / "model.safetensors" for name in "ab"]
    Scale.load(tmp_path / "a")
    assert files[0].read_bytes() == files[1].read_bytes()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_large_models_are_written_in_shards(
    model: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "SHARD_BYTES", 600)
    folder = model.save_pretrained(tmp_path / "m")
    shards = sorted(file.name for file in folder.glob("*.safetensors"))
    count = len(shards)
    assert count > 2
    assert shards == [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    assert all((folder / shard).stat().st_size <= 600 for shard in shards)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(shards)
    assert index["metadata"]["total_size"] == 28 * 2 + 8 * 2 + 8
    assert same(Scale.load(folder).generate(numbers()), model.generate(numbers()))

    monkeypatch.undo()
    model.save_pretrained(folder)  # in one file again: the shards go
    assert sorted(file.name for file in folder.glob("model*")) == ["model.safetensors"]
    Scale.load(folder)


def test_other_files_of_the_folder_stay(model: Scale, saved: Path) -> None:
    (saved / "notes.txt").write_text("mine")
    model.save_pretrained(saved)
    assert (saved / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("moment", range(6))
def test_a_save_that_is_cut_off_leaves_no_mixture(
    model: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Whatever is there can be loaded as a whole, old or new, or says that it is not complete."""
    monkeypatch.setattr(pretrained, "SHARD_BYTES", 400)
    folder = model.save_pretrained(tmp_path / "m")
    config, networks = Scale.build({"width": 6})
    other = Scale(config, dict(networks.items()))
    replace, calls = os.replace, []

    def fails(source: Path, target: Path) -> None:
        # Those of the single files, each written atomically aside, are not counted.
        if Path(target).parent == folder:
            calls.append(target)
            if len(calls) > moment:
                raise OSError("killed")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="killed"):
        other.save_pretrained(folder)
    assert [file.name for file in folder.iterdir() if file.name.startswith(".part")] == []
    with pytest.raises(ValueError, match=r"config\.json: no such file"):
        Scale.load(folder)


def test_what_is_not_finite_in_half_precision_is_not_saved(model: Scale, saved: Path) -> None:
    before = (saved / "model.safetensors").read_bytes()
    model.networks.get_parameter("scale.bias")[0] = 1e5
    with pytest.raises(ValueError, match=r"not saved: weight scale\.bias is not finite"):
        model.save_pretrained(saved)
    assert (saved / "model.safetensors").read_bytes() == before
    Scale.load(saved)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(colour=1), "unknown field 'colour'"),
        (lambda c: c["config"].update(depth=1), r"config\.json: unknown field 'depth'"),
        (lambda c: c["card"].update(praise="high"), "card: unknown field 'praise'"),
        (lambda c: c.pop("card"), "the field 'card' is missing"),
        (lambda c: c.pop("model"), r"not the config\.json of a model of this zoo"),
        (lambda c: c.update(format=2), "format 2, this version reads format 1; upgrade"),
        (lambda c: c.update(format=True), "format True"),
        (lambda c: c.update(model="hfgan"), "a model of kind 'hfgan', not 'scale'"),
        (lambda c: c.update(config=[]), "config an object"),
        (lambda c: c["config"].update(width=5), r"weight scale\.weight has shape \(4, 4\), not"),
    ],
)
def test_a_description_that_is_not_right_is_refused(
    saved: Path, change: Change, message: str
) -> None:
    path = saved / "config.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message) as error:
        Scale.load(saved)
    assert str(error.value).startswith(str(saved))


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "3", '{"model": NaN}', "{" * 100_000])
def test_a_file_that_is_no_description_is_refused(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: "):
        Scale.load(saved)


Weights = dict[str, Tensor]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("norm.bias"), r"weight norm\.bias is missing"),
        (lambda w: w.update(more=torch.zeros(1)), "unknown weight 'more'"),
        (
            lambda w: w.update({"scale.bias": torch.zeros(5)}),
            r"weight scale\.bias has shape \(5,\), not \(4,\)",
        ),
        (
            lambda w: w.update({"scale.bias": torch.full((4,), torch.nan)}),
            r"weight scale\.bias holds NaN",
        ),
        (
            lambda w: w.update({"scale.bias": torch.zeros(4, dtype=torch.int64)}),
            r"weight scale\.bias is torch\.int64",
        ),
    ],
)
def test_weights_that_are_not_right_are_refused_by_name(
    saved: Path, change: Callable[[Weights], object], message: str
) -> None:
    weights = load_file(saved / "model.safetensors")
    change(weights)
    save_file(weights, saved / "model.safetensors")
    with pytest.raises(ValueError, match=message) as error:
        Scale.load(saved)
    assert str(error.value).startswith(str(saved))


@pytest.mark.parametrize("size", [0, 5, 200, -1])
def test_truncated_weights_are_refused(saved: Path, size: int) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a safetensors file"):
        Scale.load(saved)


def test_a_configuration_cannot_take_more_memory_than_its_weights(saved: Path) -> None:
    values = json.loads((saved / "config.json").read_text())
    values["config"]["width"] = 1_000_000  # 4 TB
    (saved / "config.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"weight scale\.weight has shape \(4, 4\)"):
        Scale.load(saved)


def test_absent_files_are_named(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds neither model\.safetensors nor"):
        Scale.load(saved)
    with pytest.raises(ValueError, match=r"config\.json: no such file"):
        Scale.load(saved / "absent")


def test_a_buffer_that_is_not_saved_is_an_error_of_the_programmer(tmp_path: Path) -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kernel", torch.ones(2), persistent=False)

    with pytest.raises(TypeError, match=r"the buffer a\.kernel is not saved"):
        pretrained.build(lambda: (None, nn.ModuleDict({"a": Forgetful()})), {}, tmp_path, tmp_path)


# --- shards that are not right --------------------------------------------------------------------


@pytest.fixture
def sharded(model: Scale, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pretrained, "SHARD_BYTES", 600)
    return model.save_pretrained(tmp_path / "sharded")


def reindex(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors.index.json"
    values = json.loads(path.read_text())
    change(values["weight_map"])
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    "name",
    [
        *("../../secret", "model.safetensors", "model-00002-of-00001.safetensors", 3, "a.bin"),
        *("model-00000-of-00003.safetensors", "model-00001-of-99999.safetensors"),
    ],
)
def test_an_index_names_nothing_but_shards(sharded: Path, name: object) -> None:
    reindex(sharded, lambda places: places.update({"scale.bias": name}))
    with pytest.raises(ValueError, match="is not the name of a shard"):
        Scale.load(sharded)


def test_shards_hold_what_the_index_says(sharded: Path) -> None:
    first = min(file.name for file in sharded.glob("model-*"))
    reindex(sharded, lambda places: places.update(more=first))
    with pytest.raises(ValueError, match="weight 'more' is missing"):
        Scale.load(sharded)
    reindex(sharded, lambda places: (places.pop("more"), places.pop("scale.bias")))
    with pytest.raises(ValueError, match=r"unknown weight 'scale\.bias', not in the index"):
        Scale.load(sharded)


def test_a_shard_that_is_missing_is_named(sharded: Path) -> None:
    (shard,) = sharded.glob("model-00002-*")
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=f"the file {re.escape(shard.name)} that"):
        Scale.load(sharded)


def test_one_file_or_several_but_not_both(sharded: Path) -> None:
    save_file({"a": torch.zeros(1)}, sharded / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds both model\.safetensors and"):
        Scale.load(sharded)


@pytest.mark.parametrize("text", ["{}", "[]", '{"weight_map": {}}', '{"weight_map": []}'])
def test_an_index_without_places_is_refused(sharded: Path, text: str) -> None:
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match="it has no weight_map"):
        Scale.load(sharded)


# --- the Hub --------------------------------------------------------------------------------------


class FakeApi:
    """The part of the Hub's client that is used; keeps what it is told."""

    calls: list[tuple[str, dict[str, Any]]]
    files: dict[str, bytes]

    def __init__(self, token: object) -> None:
        self.calls.append(("token", {"token": token}))

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append(("create", {"repository": repository, **options}))

    def upload_folder(self, *, folder_path: str, **options: Any) -> SimpleNamespace:
        self.calls.append(("upload", options))
        self.files.update({file.name: file.read_bytes() for file in Path(folder_path).iterdir()})
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[FakeApi]:
    FakeApi.calls, FakeApi.files = [], {}
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    return FakeApi


def test_push_writes_the_model_and_its_page_in_one_commit(
    model: Scale, api: type[FakeApi], tmp_path: Path
) -> None:
    address = model.push_to_hub("me/scale", token="t", private=True)
    assert address == "https://hub/commit/1"
    assert [name for name, _ in api.calls] == ["token", "create", "upload"]
    assert api.calls[0][1] == {"token": "t"}
    assert api.calls[1][1] == {"repository": "me/scale", "private": True, "exist_ok": True}
    assert api.calls[2][1]["repo_id"] == "me/scale"
    assert "model-*-of-*.safetensors" in api.calls[2][1]["delete_patterns"]
    assert "# me/scale" in api.files["README.md"].decode()
    assert 'from_pretrained("me/scale")' in api.files["README.md"].decode()
    for name, content in api.files.items():
        (tmp_path / name).write_bytes(content)
    assert same(Scale.load(tmp_path).generate(numbers()), model.generate(numbers()))


@pytest.mark.parametrize("name", ["scale", "a/b/c", "../x", ""])
def test_push_needs_a_name_of_the_hub(model: Scale, api: type[FakeApi], name: str) -> None:
    with pytest.raises(ValueError, match="is no name on the Hub; use 'org/name'"):
        model.push_to_hub(name)
    assert api.calls == []


def test_another_card_is_kept_with_the_right_count(model: Scale, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path, Card(summary="other", parameters=99))
    assert Scale.load(tmp_path).card == Card(summary="other", parameters=28)


# --- requests -------------------------------------------------------------------------------------


def test_callers_of_all_threads_get_their_own_results(model: Scale) -> None:
    inputs = numbers(64)
    alone = [model.generate([x])[0] for x in inputs]
    found: list[Tensor | None] = [None] * 64
    start = threading.Barrier(64)

    def call(number: int) -> None:
        start.wait()
        found[number] = model.generate([inputs[number]])[0]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same([x for x in found if x is not None], alone)
    assert same(model.generate(inputs), alone)


def test_progress_is_told_and_may_end_the_call(model: Scale) -> None:
    told: list[tuple[int, int]] = []
    model.generate(numbers(3), lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate(numbers(3), stop)
    assert len(model.generate(numbers(3))) == 3


def test_an_error_reaches_the_caller_and_no_other(model: Scale) -> None:
    with pytest.raises(ValueError, match="a number is negative"):
        model.generate([*numbers(2), -torch.ones(4)])
    assert len(model.generate(numbers(2))) == 2


def batchers() -> int:
    return sum(thread.name == "neuralpaint-batcher" for thread in threading.enumerate())


def test_the_thread_starts_late_ends_with_close_and_starts_again(model: Scale) -> None:
    before = batchers()
    with model:
        assert batchers() == before
        model.generate(numbers())
        model.generate(numbers())
        assert batchers() == before + 1
    assert batchers() == before
    model.close()
    assert len(model.generate(numbers())) == 5
    model.close()


def test_a_forgotten_model_goes_with_its_thread(saved: Path) -> None:
    model = Scale.load(saved)
    model.generate(numbers())
    assert model._batcher is not None
    gone, thread = weakref.ref(model), model._batcher._thread
    del model
    gc.collect()
    assert gone() is None
    thread.join(10)
    assert not thread.is_alive()


def test_to_changes_the_precision_and_back(model: Scale) -> None:
    exact = model.generate(numbers())
    assert model.to("cpu", torch.bfloat16) is model
    rough = model.generate(numbers())
    assert not same(rough, exact)
    assert torch.allclose(torch.stack(rough).float(), torch.stack(exact), atol=0.1)
    assert same(model.to(dtype=torch.float32).generate(numbers()), exact)
    assert all(weight.dtype == torch.float32 for weight in model.networks.parameters())


def test_to_refuses_what_cannot_be(model: Scale) -> None:
    with pytest.raises(ValueError, match="float16 is for GPUs only"):
        model.to("cpu", torch.float16)
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        model.to("gpu")
    assert (model.device.type, model.dtype) == ("cpu", torch.float32)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="no GPU"):
            model.to("cuda")


@pytest.mark.gpu
def test_a_gpu_gives_the_same_in_any_company(model: Scale) -> None:
    alone = model.generate(numbers(40))
    model.to("cuda")
    together = model.generate(numbers(40))
    assert same([model.generate([x])[0] for x in numbers(40)], together)
    assert torch.allclose(torch.stack(together), torch.stack(alone), atol=1e-5)


def test_the_fingerprint_tells_weights_apart(model: Scale) -> None:
    config, networks = Scale.build({"width": 4})
    networks.load_state_dict(model.networks.state_dict())
    assert Scale(config, dict(networks.items())).fingerprint == model.fingerprint
    with torch.no_grad():
        networks["scale"].get_parameter("bias")[0] += 1
    assert Scale(config, dict(networks.items())).fingerprint != model.fingerprint
    assert len(model.fingerprint) == 8
    assert repr(model) == (
        f"<Scale scale-4 (weights {model.fingerprint}) on cpu, from this process>"
    )
