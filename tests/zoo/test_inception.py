"""Inception-v3 against a plain listing of its layers by their standard names, and its files."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from neuralpaint.zoo.damsm import Damsm, DamsmConfig, load_damsm, save_damsm
from neuralpaint.zoo.inception import InceptionEncoder, InceptionV3, load_inception


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    """Weights and statistics at random, of a size that keeps values alive through 48 layers."""
    torch.manual_seed(0)
    made = InceptionV3()
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.8, 1.2)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def standard(network: InceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as older ones are: with the auxiliary classifier, without the counts of batch norm."""
    path = tmp_path_factory.mktemp("inception") / "model.safetensors"
    tensors = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    tensors["AuxLogits.fc.weight"] = torch.zeros(1000, 768)
    save_file({name: value.half() for name, value in tensors.items()}, path)
    return path


class Listing:
    """The network as a list of calls, with the layers' names as torchvision has them."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def layer(
        self, x: Tensor, name: str, stride: int = 1, padding: int | tuple[int, int] = 0
    ) -> Tensor:
        w = self.weights
        x = functional.conv2d(x, w[f"{name}.conv.weight"], None, stride, padding)
        of = [w[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var")]
        x = (x - of[0]) / (of[1] + 0.001).sqrt()
        x = x * w[f"{name}.bn.weight"][:, None, None] + w[f"{name}.bn.bias"][:, None, None]
        return x.clamp(min=0)

    def a(self, x: Tensor, m: str) -> Tensor:
        one = self.layer(x, f"{m}.branch1x1")
        five = self.layer(self.layer(x, f"{m}.branch5x5_1"), f"{m}.branch5x5_2", padding=2)
        three = self.layer(x, f"{m}.branch3x3dbl_1")
        three = self.layer(three, f"{m}.branch3x3dbl_2", padding=1)
        three = self.layer(three, f"{m}.branch3x3dbl_3", padding=1)
        pool = self.layer(functional.avg_pool2d(x, 3, 1, 1), f"{m}.branch_pool")
        return torch.cat([one, five, three, pool], 1)

    def b(self, x: Tensor, m: str) -> Tensor:
        three = self.layer(x, f"{m}.branch3x3", stride=2)
        double = self.layer(x, f"{m}.branch3x3dbl_1")
        double = self.layer(double, f"{m}.branch3x3dbl_2", padding=1)
        double = self.layer(double, f"{m}.branch3x3dbl_3", stride=2)
        return torch.cat([three, double, functional.max_pool2d(x, 3, 2)], 1)

    def c(self, x: Tensor, m: str) -> Tensor:
        row, column = (0, 3), (3, 0)
        one = self.layer(x, f"{m}.branch1x1")
        seven = self.layer(x, f"{m}.branch7x7_1")
        seven = self.layer(seven, f"{m}.branch7x7_2", padding=row)
        seven = self.layer(seven, f"{m}.branch7x7_3", padding=column)
        double = self.layer(x, f"{m}.branch7x7dbl_1")
        for number, padding in ((2, column), (3, row), (4, column), (5, row)):
            double = self.layer(double, f"{m}.branch7x7dbl_{number}", padding=padding)
        pool = self.layer(functional.avg_pool2d(x, 3, 1, 1), f"{m}.branch_pool")
        return torch.cat([one, seven, double, pool], 1)

    def d(self, x: Tensor, m: str) -> Tensor:
        three = self.layer(self.layer(x, f"{m}.branch3x3_1"), f"{m}.branch3x3_2", stride=2)
        seven = self.layer(x, f"{m}.branch7x7x3_1")
        seven = self.layer(seven, f"{m}.branch7x7x3_2", padding=(0, 3))
        seven = self.layer(seven, f"{m}.branch7x7x3_3", padding=(3, 0))
        seven = self.layer(seven, f"{m}.branch7x7x3_4", stride=2)
        return torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)

    def e(self, x: Tensor, m: str) -> Tensor:
        one = self.layer(x, f"{m}.branch1x1")
        three = self.layer(x, f"{m}.branch3x3_1")
        double = self.layer(x, f"{m}.branch3x3dbl_1")
        double = self.layer(double, f"{m}.branch3x3dbl_2", padding=1)
        pool = self.layer(functional.avg_pool2d(x, 3, 1, 1), f"{m}.branch_pool")
        return torch.cat(
            [
                one,
                self.layer(three, f"{m}.branch3x3_2a", padding=(0, 1)),
                self.layer(three, f"{m}.branch3x3_2b", padding=(1, 0)),
                self.layer(double, f"{m}.branch3x3dbl_3a", padding=(0, 1)),
                self.layer(double, f"{m}.branch3x3dbl_3b", padding=(1, 0)),
                pool,
            ],
            1,
        )

    def run(self, normalised: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images as torchvision takes them, mean and deviation of ImageNet; `transform_input`."""
        means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        channels = zip(normalised.unbind(1), means, deviations, strict=True)
        x = torch.stack([c * (d / 0.5) + (m - 0.5) / 0.5 for c, m, d in channels], 1)
        x = self.layer(x, "Conv2d_1a_3x3", stride=2)
        x = self.layer(self.layer(x, "Conv2d_2a_3x3"), "Conv2d_2b_3x3", padding=1)
        x = self.layer(functional.max_pool2d(x, 3, 2), "Conv2d_3b_1x1")
        x = functional.max_pool2d(self.layer(x, "Conv2d_4a_3x3"), 3, 2)
        for block in ("5b", "5c", "5d"):
            x = self.a(x, f"Mixed_{block}")
        x = self.b(x, "Mixed_6a")
        for block in ("6b", "6c", "6d", "6e"):
            x = self.c(x, f"Mixed_{block}")
        regions = x
        x = self.e(self.e(self.d(x, "Mixed_7a"), "Mixed_7b"), "Mixed_7c")
        pool = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return regions, pool, pool @ self.weights["fc.weight"].T + self.weights["fc.bias"]


def test_features_are_those_of_a_plain_listing(network: InceptionV3) -> None:
    images = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0))  # in [0, 1]
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = Listing(dict(network.state_dict())).run((images - mean) / deviation)
    found = network(2 * images - 1)
    assert [tuple(each.shape) for each in found] == [(1, 768, 17, 17), (1, 2048), (1, 1000)]
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().mean().item()
        assert scale > 1e-3  # not a comparison of zeros
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-3, atol=1e-3)


def test_size_is_that_of_the_standard_network(network: InceptionV3) -> None:
    count = sum(parameter.numel() for parameter in network.parameters())
    # The auxiliary classifier: 1x1 to 128 and 5x5 to 768 with batch norm, linear to 1000.
    auxiliary = 768 * 128 + 2 * 128 + 128 * 768 * 25 + 2 * 768 + 768 * 1000 + 1000
    assert count + auxiliary == 27_161_264  # what torchvision states for the whole
    assert count == 23_834_568
    # 94 convolutions with a weight and five tensors of batch norm each, and a linear layer.
    assert len(network.state_dict()) == 94 * 6 + 2


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d_1a_3x3.conv.weight", (32, 3, 3, 3)),
        ("Mixed_5b.branch5x5_2.conv.weight", (64, 48, 5, 5)),
        ("Mixed_5b.branch_pool.bn.running_var", (32,)),
        ("Mixed_6a.branch3x3.conv.weight", (384, 288, 3, 3)),
        ("Mixed_6b.branch7x7_2.conv.weight", (128, 128, 1, 7)),
        ("Mixed_6d.branch7x7dbl_4.conv.weight", (160, 160, 7, 1)),
        ("Mixed_7a.branch7x7x3_4.conv.weight", (192, 192, 3, 3)),
        ("Mixed_7b.branch1x1.conv.weight", (320, 1280, 1, 1)),
        ("Mixed_7c.branch3x3dbl_3b.conv.weight", (384, 384, 3, 1)),
        ("fc.bias", (1000,)),
    ],
)
def test_standard_names_and_shapes(network: InceptionV3, name: str, shape: tuple[int, ...]) -> None:
    assert tuple(network.state_dict()[name].shape) == shape


def test_larger_images_are_averaged_not_sampled(network: InceptionV3) -> None:
    def logits(images: Tensor) -> Tensor:
        found: Tensor = network(images).logits
        return found

    places = torch.arange(897)
    board = ((places[:, None] + places) % 2 * 2.0 - 1).expand(1, 3, -1, -1)
    gray, white = logits(torch.zeros(1, 3, 299, 299)), logits(torch.ones(1, 3, 299, 299))
    assert (logits(board) - gray).norm() < 0.2 * (white - gray).norm()


def test_other_shapes_are_refused(network: InceptionV3) -> None:
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\), got \(1, 1, 64, 64\)"):
        network(torch.zeros(1, 1, 64, 64))


# --- encoder -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(network: InceptionV3) -> InceptionEncoder:
    made = InceptionEncoder(6)
    made.trunk.load_state_dict(network.state_dict())
    return made.eval()


def test_encoder_projects_the_trunks_features(
    network: InceptionV3, encoder: InceptionEncoder
) -> None:
    images = torch.rand(1, 3, 64, 64) * 2 - 1
    regions, whole = encoder(images)
    features = network(images)
    weight = encoder.to_regions.weight[:, :, 0, 0]
    torch.testing.assert_close(
        regions, torch.einsum("dc,bchw->bdhw", weight, features.regions), rtol=1e-3, atol=1e-3
    )
    expected = features.pool @ encoder.to_whole.weight.T + encoder.to_whole.bias
    torch.testing.assert_close(whole, expected, rtol=1e-3, atol=1e-3)


def test_training_leaves_the_trunk_as_it_is(encoder: InceptionEncoder) -> None:
    encoder.train()
    assert encoder.training
    assert not any(module.training for module in encoder.trunk.modules())
    before = encoder.trunk.Conv2d_1a_3x3.bn.running_mean
    assert before is not None
    before = before.clone()
    images = (torch.rand(1, 3, 32, 32) * 2 - 1).requires_grad_()
    regions, whole = encoder(images)
    (regions.mean() + whole.mean()).backward()
    after = encoder.trunk.Conv2d_1a_3x3.bn.running_mean
    assert after is not None
    assert torch.equal(before, after)
    trained = [name for name, p in encoder.named_parameters() if p.grad is not None]
    assert trained == ["to_regions.weight", "to_whole.weight", "to_whole.bias"]
    assert images.grad is not None
    assert (images.grad != 0).all()  # the generator learns from it
    encoder.eval()


def test_damsm_of_the_standard_network(encoder: InceptionEncoder, tmp_path: Path) -> None:
    damsm = Damsm(DamsmConfig(("a",), dim=6, embedding=4, image="inception")).eval()
    damsm.image.load_state_dict(encoder.state_dict())
    path = tmp_path / "damsm.safetensors"
    save_damsm(damsm, path, half=True)
    loaded = load_damsm(path)
    assert isinstance(loaded.image, InceptionEncoder)
    assert torch.equal(loaded.image.to_whole.weight, encoder.to_whole.weight.half().float())


# --- files ---------------------------------------------------------------------------------------


def test_standard_files_load(network: InceptionV3, standard: Path) -> None:
    loaded = load_inception(standard)
    assert loaded.name == "Inception-v3 of the file model.safetensors"
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, value in network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(loaded.state_dict()[name], value.half().float()), name


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Mixed_7c.branch1x1.conv.weight", None, r"Mixed_7c.branch1x1.conv.weight is missing"),
        ("fc.weight", torch.zeros(10, 2048), r"fc.weight is missing or not \(1000, 2048\)"),
        ("fc.bias", torch.full((1000,), torch.nan), "fc.bias holds NaN"),
        ("head.weight", torch.zeros(1), "unknown weight head.weight"),
    ],
)
def test_other_files_are_refused(
    network: InceptionV3, tmp_path: Path, name: str, value: Tensor | None, message: str
) -> None:
    tensors = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    with pytest.raises(ValueError, match=message):
        load_inception(path)


def test_absent_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="connect once or give the path"):
        load_inception(local_files_only=True, cache_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_inception(tmp_path / "absent.safetensors")
