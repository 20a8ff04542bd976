from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from neuralpaint.agents import resnet
from neuralpaint.agents.resnet import BasicBlock, ResNet, Stem, load_standard

# Entries of the standard ResNet-34, written by hand.
STANDARD = {
    "conv1.weight": (64, 3, 7, 7),
    "bn1.weight": (64,),
    "bn1.running_mean": (64,),
    "layer1.0.conv1.weight": (64, 64, 3, 3),
    "layer1.2.bn2.bias": (64,),
    "layer2.0.conv1.weight": (128, 64, 3, 3),
    "layer2.0.downsample.0.weight": (128, 64, 1, 1),
    "layer2.0.downsample.1.running_var": (128,),
    "layer2.3.conv2.weight": (128, 128, 3, 3),
    "layer3.0.downsample.0.weight": (256, 128, 1, 1),
    "layer3.5.bn1.num_batches_tracked": (),
    "layer4.2.conv2.weight": (512, 512, 3, 3),
}


def small(blocks: tuple[int, ...] = (1, 1), stem: Stem = "standard") -> ResNet:
    torch.manual_seed(0)
    return ResNet(3, 4, blocks, stem)


def parameters(network: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_names_and_shapes_of_resnet_34() -> None:
    state = ResNet(3, 64, (3, 4, 6, 3)).state_dict()
    assert {name: tuple(state[name].shape) for name in STANDARD} == STANDARD
    assert len(state) == 218 - 2  # all but fc.weight and fc.bias
    assert not any(name.startswith("layer1.0.downsample") for name in state)


@pytest.mark.parametrize(
    ("blocks", "published"), [((2, 2, 2, 2), 11_689_512), ((3, 4, 6, 3), 21_797_672)]
)
def test_parameters_of_the_published_networks(blocks: tuple[int, ...], published: int) -> None:
    classifier = 512 * 1000 + 1000
    assert parameters(ResNet(3, 64, blocks)) == published - classifier


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [
        (64, 64, [(32, 32), (16, 16), (8, 8)]),
        (128, 96, [(64, 48), (32, 24), (16, 12)]),
        (37, 5, [(19, 3), (10, 2), (5, 1)]),
        (1, 1, [(1, 1), (1, 1), (1, 1)]),
    ],
)
@pytest.mark.parametrize("stem", ["standard", "plain"])
def test_both_stems_halve_the_sides_alike(
    height: int, width: int, sides: list[tuple[int, int]], stem: Stem
) -> None:
    features = small(stem=stem).eval()(torch.rand(2, 3, height, width))
    assert [tuple(f.shape) for f in features] == [
        (2, channels, *side) for channels, side in zip((4, 4, 8), sides, strict=True)
    ]


def test_a_block_adds_its_input() -> None:
    block = BasicBlock(2, 2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.randn(1, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x.relu())


def test_the_features_kept_are_not_changed_by_later_stages() -> None:
    network = small().eval()
    x = torch.rand(1, 3, 16, 16)
    stem = network.bn1(network.conv1(x)).relu()
    assert torch.equal(network(x)[0], stem)


# --- standard weights ---


def standard_file(path: Path, **change: Tensor | None) -> Path:
    """A file as the standard ones are, of the small width, with four stages and a classifier."""
    torch.manual_seed(3)
    tensors: dict[str, Tensor | None] = {**ResNet(3, 4, (1, 1, 1, 1)).state_dict()}
    tensors |= {"fc.weight": torch.zeros(7, 32), "fc.bias": torch.zeros(7), **change}
    save_file({name: value for name, value in tensors.items() if value is not None}, path)
    return path


def test_standard_weights_load_into_the_first_stages(tmp_path: Path) -> None:
    network = small()
    load_standard(network, standard_file(tmp_path / "r.safetensors"))
    torch.manual_seed(3)
    expected = ResNet(3, 4, (1, 1, 1, 1)).state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, expected[name])


def test_older_files_lack_the_counters(tmp_path: Path) -> None:
    absent = {name: None for name in small().state_dict() if name.endswith("_tracked")}
    assert len(absent) == 6
    load_standard(small(), standard_file(tmp_path / "r.safetensors", **absent))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer2.0.bn1.running_var": None}, r"weight layer2\.0\.bn1\.running_var is missing"),
        ({"layer2.0.conv2.weight": torch.zeros(8, 8, 1, 1)}, r"or not \(8, 8, 3, 3\)"),
        ({"layer2.1.conv1.weight": torch.zeros(8, 8, 3, 3)}, r"unknown weight layer2\.1\.conv1"),
        ({"head.weight": torch.zeros(1)}, r"unknown weight head\.weight"),
        ({"conv1.weight": torch.full((4, 3, 7, 7), torch.nan)}, r"conv1\.weight holds NaN"),
    ],
)
def test_other_files_are_refused_and_change_nothing(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    network = small()
    path = standard_file(tmp_path / "r.safetensors", **change)
    with pytest.raises(ValueError, match=message):
        load_standard(network, path)
    assert torch.equal(network.conv1.weight, small().conv1.weight)


def test_files_out_of_reach_and_files_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file of weights"):
        load_standard(small(), tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"resnet34\S*: not in the cache.*random weights"):
        load_standard(small(), local_files_only=True, cache_dir=tmp_path)
    path = standard_file(tmp_path / "r.safetensors")
    monkeypatch.setattr(resnet, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match="larger than 1000 bytes"):
        load_standard(small(), path)
