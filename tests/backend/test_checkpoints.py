"""Checkpoints: exact round trips, what is kept, and damaged, foreign and unwritable files."""

import errno
import json
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from neuralpaint.backend.checkpoints import (
    Checkpoints,
    pack,
    read,
    same_settings,
    under,
    unpack,
)

DATA = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))


class Training:
    """A network with statistics, and its Adam."""

    def __init__(self, seed: int, width: int = 3) -> None:
        torch.manual_seed(seed)
        self.network = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width))
        parameters = self.network.parameters()
        self.adam = torch.optim.Adam(parameters, 1e-2, betas=(0.9, 0.99))

    def step(self) -> None:
        self.adam.zero_grad()
        self.network(DATA).pow(3).mean().backward()
        self.adam.step()

    def pack(self) -> dict[str, Tensor]:
        return pack(self.network, {"actor": self.adam})

    def unpack(self, tensors: dict[str, Tensor]) -> None:
        unpack(tensors, self.network, {"actor": self.adam})


@pytest.fixture
def two(tmp_path: Path) -> Checkpoints:
    """A folder with the checkpoints 10 and 20."""
    checkpoints = Checkpoints(tmp_path)
    for step in (10, 20):
        checkpoints.save(step, {"a": torch.tensor([step])}, {"b": step})
    return checkpoints


def damage(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


# --- round trip ---


def test_a_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    run = Training(seed=1)
    for _ in range(3):
        run.step()
    Checkpoints(tmp_path).save(3, run.pack(), {"name": "ä", "share": 0.1, "none": None})

    saved = Checkpoints(tmp_path).newest()
    assert saved is not None
    assert (saved.step, saved.facts) == (3, {"name": "ä", "share": 0.1, "none": None})
    resumed = Training(seed=2)
    resumed.unpack(saved.tensors)
    for _ in range(3):
        before, after = run.pack(), resumed.pack()
        assert before.keys() == after.keys()
        # 2 x (weight, bias), 3 statistics; count and 2 moments of each of 4 parameters
        assert len(before) == 4 + 3 + 4 * 3
        for name, tensor in before.items():
            assert torch.equal(tensor, after[name]), name
            assert tensor.dtype == after[name].dtype
        run.step()
        resumed.step()


def test_a_fused_optimiser_goes_on_with_weights_in_another_layout() -> None:
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def make() -> tuple[nn.Module, torch.optim.Adam]:
        torch.manual_seed(0)
        network = nn.Conv2d(3, 5, 3)
        nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
        return network, torch.optim.Adam(network.parameters(), 1e-2, fused=True)

    def train(network: nn.Module, adam: torch.optim.Adam, steps: int) -> None:
        for _ in range(steps):
            adam.zero_grad()
            network(images).pow(3).mean().backward()
            adam.step()

    whole, adam = make()
    train(whole, adam, 3)
    packed = pack(whole, {"a": adam})
    tensors = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in packed.items()
    }
    again, other = make()
    unpack(tensors, again, {"a": other})
    train(whole, adam, 3)
    train(again, other, 3)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))


def test_a_run_without_steps_has_no_moments(tmp_path: Path) -> None:
    run = Training(seed=1)
    Checkpoints(tmp_path).save(0, run.pack(), {})
    saved = Checkpoints(tmp_path).newest()
    assert saved is not None
    assert under(saved.tensors, "optimiser.") == {}
    resumed = Training(seed=2)
    resumed.unpack(saved.tensors)
    assert resumed.adam.state_dict()["state"] == {}


def test_settings_of_the_optimiser_are_not_those_of_the_file(tmp_path: Path) -> None:
    run = Training(seed=1)
    run.step()
    resumed = Training(seed=2)
    resumed.adam.param_groups[0]["lr"] = 0.5
    resumed.unpack(run.pack())
    assert resumed.adam.param_groups[0]["lr"] == 0.5


def test_tensors_in_any_layout_keep_type_and_values(tmp_path: Path) -> None:
    picture = torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors = {
        "picture": picture,
        "part": torch.arange(10)[::2],
        "levels": torch.tensor([0, 255], dtype=torch.uint8),
        "half": torch.tensor(0.1, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 13),
    }
    loaded = read(Checkpoints(tmp_path).save(0, tensors, {})).tensors
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor)
        assert loaded[name].dtype == tensor.dtype


def test_under_strips_the_beginning_only() -> None:
    zero, one = torch.tensor(0), torch.tensor(1)
    assert under({"a.b.a.c": zero, "aa.b": one}, "a.") == {"b.a.c": zero}


# --- what is kept ---


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-0-x.safetensors").write_text("another file")
    assert Checkpoints(tmp_path).newest() is None


def test_the_last_two_are_kept(two: Checkpoints) -> None:
    newest = two.save(1_000_000_000, {"a": torch.tensor([1])}, {})  # longer than nine digits
    assert two.paths() == [newest, two.folder / "checkpoint-0-000000020.safetensors"]
    assert sorted(two.folder.iterdir()) == sorted(two.paths())
    saved = two.newest()
    assert saved is not None
    assert saved.step == 1_000_000_000


def test_each_process_has_its_own(two: Checkpoints) -> None:
    other = Checkpoints(two.folder, rank=1)
    assert other.newest() is None
    other.save(30, {"a": torch.tensor([1])}, {})
    assert len(two.paths()) == 2
    assert len(other.paths()) == 1


def test_what_was_just_written_stays_beside_later_ones(two: Checkpoints) -> None:
    path = two.save(5, {"a": torch.tensor([5])}, {})
    assert read(path).step == 5
    assert len(two.paths()) == 2


# --- damage ---


def test_a_truncated_one_gives_way_to_the_one_before(two: Checkpoints) -> None:
    newest = two.paths()[0]
    damage(newest)
    with pytest.warns(UserWarning, match=f"{newest.name}: damaged.*the checkpoint before"):
        saved = two.newest()
    assert saved is not None
    assert (saved.step, saved.facts) == (10, {"b": 10})
    assert saved.tensors["a"].tolist() == [10]


def test_all_damaged_is_an_error(two: Checkpoints) -> None:
    for file in two.paths():
        damage(file)
    with (
        pytest.warns(UserWarning, match="damaged") as seen,
        pytest.raises(ValueError, match="no checkpoint can be read; start in another folder"),
    ):
        two.newest()
    assert [str(warning.message).split(":")[0] for warning in seen] == [
        str(file) for file in two.paths()
    ]


@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "checkpoint-0-000000001.safetensors"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"000000001\.safetensors: damaged checkpoint"):
        read(file)


@pytest.mark.parametrize(
    "meta",
    [
        None,
        {"step": "1"},
        {"facts": "{}"},
        {"step": "one", "facts": "{}"},
        {"step": "1", "facts": "{"},
        {"step": "1", "facts": "[]"},
        {"step": "1", "facts": "[" * 100_000},
    ],
)
def test_a_file_of_other_content_is_refused(meta: dict[str, str] | None, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", meta)
    with pytest.raises(ValueError, match=r"a\.safetensors: damaged checkpoint"):
        read(tmp_path / "a.safetensors")


def test_a_large_file_is_refused_before_it_is_read(
    two: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuralpaint.backend.checkpoints.MAX_BYTES", 10)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        read(two.paths()[0])


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none: damaged checkpoint"):
        read(tmp_path / "none")


def test_a_full_disk_leaves_the_old_ones(two: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file: file.read_bytes() for file in two.folder.iterdir()}

    def full(path: Path, data: bytes) -> NoReturn:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        two.save(30, {"a": torch.zeros(100)}, {})
    assert {file: file.read_bytes() for file in two.folder.iterdir()} == before
    saved = two.newest()
    assert saved is not None
    assert saved.step == 20


# --- another network, other settings ---


def test_another_network_is_named() -> None:
    with pytest.raises(ValueError, match=r"of another network(.|\n)*0\.weight"):
        Training(seed=1).unpack(Training(seed=1, width=5).pack())


def test_a_missing_weight_is_named() -> None:
    tensors = Training(seed=1).pack()
    del tensors["network.1.running_var"]
    with pytest.raises(ValueError, match=r"of another network(.|\n)*1\.running_var"):
        Training(seed=1).unpack(tensors)


@pytest.mark.parametrize("name", ["0.exp_avg", "4.exp_avg", "x.exp_avg", "-1.exp_avg"])
def test_another_optimiser_is_named(name: str) -> None:
    run = Training(seed=1)
    run.step()
    tensors = {**run.pack(), f"optimiser.actor.{name}": torch.zeros(3)}
    with pytest.raises(ValueError, match=rf"of another optimiser: actor\.{name}"):
        Training(seed=1).unpack(tensors)


def test_the_field_that_differs_is_named() -> None:
    then = json.loads(json.dumps({"rate": 0.1, "sides": [64, 64], "gone": 1}))
    same_settings(then, {"rate": 0.1, "sides": [64, 64]}, Path("run"))
    with pytest.raises(ValueError, match=r"run: was begun with rate=0\.1, now 0\.2; use the same"):
        same_settings(then, {"sides": [64, 64], "rate": 0.2}, Path("run"))
    with pytest.raises(ValueError, match="begun with fresh=None, now 1"):
        same_settings(then, {"fresh": 1}, Path("run"))
