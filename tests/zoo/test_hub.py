"""Names to models: folders, shipped weights, and a Hub that is played by a folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch

from neuralpaint import zoo
from neuralpaint.zoo import pretrained
from neuralpaint.zoo.cards import Card
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.hub import from_pretrained, locate
from neuralpaint.zoo.registry import ZOO, Entry, Registry

CONFIG = HfGanConfig(
    size=64, ng=2, nd=2, z=4, condition=3, dim=4, embedding=5, growth=2, vocabulary=("a", "bird")
)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def build(seed: int) -> HfGan:
    torch.manual_seed(seed)
    return HfGan(CONFIG, card=Card(summary=f"model {seed}"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(0).save_pretrained(tmp_path_factory.mktemp("models") / "saved")


@pytest.fixture
def registry(tmp_path: Path, saved: Path) -> Registry:
    """Two models, of which one ships."""
    shutil.copytree(saved, tmp_path / "weights" / "bird-1")
    return Registry(
        kinds=ZOO.kinds,
        entries=(
            Entry("bird-1", "hfgan", "ships", "someone/bird-1"),
            Entry("bird-2", "hfgan", "does not", "someone/bird-2"),
        ),
        aliases={"bird": "bird-1", "better-bird": "bird-2"},
        weights=tmp_path / "weights",
    )


class FakeHub:
    """A Hub whose repositories are folders; counts what it is asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []

    def metadata(self, url: str, **options: object) -> SimpleNamespace:
        repository, _, rest = url.partition("/resolve/")
        folder = self.root / "/".join(repository.split("/")[-2:])
        revision, _, name = rest.partition("/")
        self.asked.append(f"{folder.name}@{revision[:4]}/{name}")
        errors = huggingface_hub.errors
        if not folder.is_dir():
            raise errors.RepositoryNotFoundError.__new__(errors.RepositoryNotFoundError)
        if revision not in ("main", "v1", COMMIT):
            raise errors.RevisionNotFoundError.__new__(errors.RevisionNotFoundError)
        if not (folder / name).is_file():
            raise errors.RemoteEntryNotFoundError.__new__(errors.RemoteEntryNotFoundError)
        return SimpleNamespace(size=(folder / name).stat().st_size)

    def download(
        self, repository: str, name: str, *, revision: str | None, cache_dir: str, **_: object
    ) -> str:
        store = Path(cache_dir) / f"models--{repository.replace('/', '--')}"
        (store / "refs").mkdir(parents=True, exist_ok=True)
        if revision != COMMIT:
            (store / "refs" / (revision or "main")).write_text(COMMIT)
        folder = store / "snapshots" / COMMIT
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.root / repository / name, folder / name)
        return str(folder / name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fake.metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.download)
    return fake


def same(one: Any, other: Any) -> bool:
    return bool(
        torch.equal(*(m.generate("a bird", seed=1, output_type="pt")[0] for m in (one, other)))
    )


# --- folders and shipped weights ------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Path, str, lambda path: f"{path}/"])
def test_a_folder(kind: Any, saved: Path) -> None:
    model = zoo.from_pretrained(kind(saved), device="cpu")
    assert isinstance(model, HfGan)
    assert (model.name, model.origin) == ("saved", f"folder {saved}")
    assert model.card.summary == "model 0"
    assert model.device.type == "cpu"
    assert model.dtype == torch.float32


def test_device_and_precision_are_passed_on(saved: Path) -> None:
    assert zoo.from_pretrained(saved, device="cpu", dtype=torch.bfloat16).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        zoo.from_pretrained(saved, device="tpu")


def test_short_names_lead_to_the_shipped_weights(registry: Registry, saved: Path) -> None:
    model = from_pretrained("bird-1", registry=registry, local_files_only=True)
    assert (model.name, model.origin) == ("bird-1", "shipped with the package")
    assert same(model, HfGan.load(saved))
    assert from_pretrained("bird", registry=registry).name == "bird-1"


def test_a_folder_comes_before_a_name_only_if_it_holds_a_model(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bird").mkdir()
    assert locate("bird", registry=registry).folder == tmp_path / "weights" / "bird-1"
    other = build(1)
    other.save_pretrained("bird")
    assert (
        from_pretrained("bird", registry=registry).fingerprint
        == HfGan.load(tmp_path / "bird").fingerprint
    )


# --- the Hub --------------------------------------------------------------------------------------


def test_a_name_that_does_not_ship_comes_from_its_repository(
    registry: Registry, hub: FakeHub, saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, hub.root / "someone/bird-2")
    cache = tmp_path / "cache"
    model = from_pretrained("better-bird", registry=registry, cache_dir=cache)
    assert model.name == "bird-2"
    assert model.origin == "someone/bird-2 on the Hub, 0123456789ab"
    assert same(model, HfGan.load(saved))
    # All files are of the commit of the first; the second time nothing is asked.
    assert hub.asked == ["bird-2@main/config.json", "bird-2@0123/model.safetensors"]
    from_pretrained("bird-2", registry=registry, cache_dir=cache, local_files_only=True)
    from_pretrained("bird-2", registry=registry, cache_dir=cache)
    assert len(hub.asked) == 2


def test_a_sharded_model_of_anyone(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(2)
    with monkeypatch.context() as patch:
        patch.setattr(pretrained, "SHARD_BYTES", 20_000)
        folder = model.save_pretrained(hub.root / "me/mine")
    shards = sorted(file.name for file in folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    cache = tmp_path / "cache"
    loaded = from_pretrained("me/mine", cache_dir=cache)
    assert loaded.name == "me/mine"
    assert loaded.fingerprint == HfGan.load(folder).fingerprint
    names = ["model.safetensors", "model.safetensors.index.json", *shards]
    assert hub.asked == ["mine@main/config.json", *(f"mine@0123/{name}" for name in names)]
    assert same(from_pretrained("me/mine", cache_dir=cache, local_files_only=True), loaded)


def test_a_revision_is_asked_for_also_where_weights_ship(
    registry: Registry, hub: FakeHub, saved: Path, tmp_path: Path
) -> None:
    shutil.copytree(saved, hub.root / "someone/bird-1")
    from_pretrained("bird", revision="v1", registry=registry, cache_dir=tmp_path / "cache")
    assert hub.asked[0] == "bird-1@v1/config.json"
    with pytest.raises(FileNotFoundError, match=r"has no revision v9; revision v9 of bird-1 does"):
        from_pretrained("bird", revision="v9", registry=registry, cache_dir=tmp_path / "cache")


def test_nothing_large_is_fetched_for_a_foreign_config(hub: FakeHub, tmp_path: Path) -> None:
    (hub.root / "me/llm").mkdir(parents=True)
    (hub.root / "me/llm/config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match=r"not the config\.json of a model of this zoo"):
        from_pretrained("me/llm", cache_dir=tmp_path / "cache")
    assert hub.asked == ["llm@main/config.json"]


def test_a_repository_without_weights_or_without_config(
    hub: FakeHub, saved: Path, tmp_path: Path
) -> None:
    (hub.root / "me/half").mkdir(parents=True)
    cache = tmp_path / "cache"
    with pytest.raises(FileNotFoundError, match=r"config\.json of me/half: .* has no such file"):
        from_pretrained("me/half", cache_dir=cache)
    shutil.copy(saved / "config.json", hub.root / "me/half")
    with pytest.raises(FileNotFoundError, match=r"index\.json of me/half: .* has no such file"):
        from_pretrained("me/half", cache_dir=cache)


def test_a_name_that_is_not_on_the_hub_says_what_was_tried(hub: FakeHub, tmp_path: Path) -> None:
    pattern = (
        r"config\.json of me/none: not in the cache .*, and the Hub shows no such repository "
        r"\(a private one needs a token\); there is no folder me/none; give a folder, or a name of"
    )
    with pytest.raises(FileNotFoundError, match=pattern):
        from_pretrained("me/none", cache_dir=tmp_path)


@pytest.mark.parametrize("name", ["hfgan-none", "bird-2"])
@pytest.mark.parametrize("local", [False, True])
def test_a_hub_out_of_reach_says_what_was_tried(
    name: str, local: bool, registry: Registry, tmp_path: Path
) -> None:
    """HF_HUB_OFFLINE stands for a network that is not there: the question is refused at once."""
    entries = (*registry.entries, Entry("hfgan-none", "hfgan", "", "someone/none"))
    pattern = rf"config\.json of someone/.*cache.*; {name} does not ship with the package; give"
    with pytest.raises(FileNotFoundError, match=pattern) as error:
        from_pretrained(
            name,
            registry=replace(registry, entries=entries),
            cache_dir=tmp_path,
            local_files_only=local,
        )
    reason = "local_files_only keeps it" if local else "the Hub could not be reached"
    assert reason in str(error.value)


# --- names that are none --------------------------------------------------------------------------


def test_an_unknown_name_lists_the_known_ones_and_the_closest() -> None:
    with pytest.raises(ValueError, match="did you mean 'hfgan-256'") as error:
        zoo.from_pretrained("hfgan256")
    assert "known: hfgan-64, hfgan-128, hfgan-cub-64, hfgan-256, ldcgan" in str(error.value)


@pytest.mark.parametrize("name", ["./none", "a/b/c", "~nobody-here/x", Path("bird-2"), "../x"])
def test_a_folder_that_is_not_there(name: Any, registry: Registry) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder; check the name"):
        from_pretrained(name, registry=registry)


@pytest.mark.parametrize("name", ["", "  ", "a\0b", b"hfgan"])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^(model|a model is)"):
        zoo.from_pretrained(name)


@pytest.mark.parametrize("name", [None, 3, ["hfgan"]])
def test_what_is_no_text(name: Any) -> None:
    with pytest.raises(TypeError, match="a model is a name or a folder, not"):
        zoo.from_pretrained(name)


def test_long_names_make_no_long_errors() -> None:
    with pytest.raises(ValueError, match="is unknown") as error:
        zoo.from_pretrained("x" * 100_000)
    assert len(str(error.value)) < 500


def test_files_and_empty_folders_are_told_from_models(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json, so no model of this zoo"):
        zoo.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors: is a file; give the folder"):
        zoo.from_pretrained(saved / "model.safetensors")


def test_an_unknown_kind_is_refused(tmp_path: Path, saved: Path) -> None:
    shutil.copytree(saved, tmp_path / "m")
    values = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps({**values, "model": "os:system"}))
    with pytest.raises(ValueError, match="'os:system' is of no known kind; known: hfgan"):
        zoo.from_pretrained(tmp_path / "m")
