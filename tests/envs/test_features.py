"""VGG features: the standard names, the masks, the distance, and files that do not fit."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from neuralpaint.envs import features
from neuralpaint.envs.features import Vgg16, feature_mask, load_vgg, save_vgg, vgg_distance

# Index in the standard `features`, input channels, output channels.
STANDARD = [
    (0, 3, 64),
    (2, 64, 64),
    (5, 64, 128),
    (7, 128, 128),
    (10, 128, 256),
    (12, 256, 256),
    (14, 256, 256),
    (17, 256, 512),
    (19, 512, 512),
    (21, 512, 512),
    (24, 512, 512),
    (26, 512, 512),
    (28, 512, 512),
]
Tensors = dict[str, Tensor]


def random_vgg(width: int = 2, seed: int = 0) -> Vgg16:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Vgg16(width).requires_grad_(False)


def plain_vgg() -> Vgg16:
    """Width 1; every convolution passes its first channel on: the normalised red, rectified."""
    vgg = Vgg16(1).requires_grad_(False)
    for weight in vgg.parameters():
        weight.zero_()
        if weight.ndim == 4:
            weight[:, 0, 1, 1] = 1
    return vgg


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def shipped() -> Vgg16:
    return load_vgg()


# --- the net ---


def test_names_and_shapes_are_the_standard_ones() -> None:
    expected = dict[str, tuple[int, ...]]()
    for index, inputs, outputs in STANDARD:
        expected[f"features.{index}.weight"] = (outputs, inputs, 3, 3)
        expected[f"features.{index}.bias"] = (outputs,)
    with torch.device("meta"):
        assert {k: (*v.shape,) for k, v in Vgg16().state_dict().items()} == expected
    assert [type(step) for step in Vgg16(1).features][24:] == [nn.Conv2d, nn.ReLU] * 3 + [
        nn.MaxPool2d
    ]


def test_the_small_net_has_an_eighth_of_the_channels(shipped: Vgg16) -> None:
    assert shipped.name == "VGG-small (trained on UTKFace and CUB crops)"
    assert shipped.width == 8
    assert not shipped.training
    assert not any(weight.requires_grad for weight in shipped.parameters())
    weights = shipped.state_dict()
    assert len(weights) == 2 * len(STANDARD)
    for index, _, outputs in STANDARD:
        assert len(weights[f"features.{index}.weight"]) == outputs // 8
        assert weights[f"features.{index}.weight"].dtype == torch.float32


def test_layers_2_and_17_equal_a_sequence_built_by_hand() -> None:
    vgg = random_vgg()
    names = [f"features.{index}" for index, _, _ in STANDARD[:8]]
    weights = vgg.state_dict()
    convolutions = list[nn.Conv2d]()
    for name in names:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
        layer.load_state_dict({"weight": weight, "bias": bias})
        convolutions.append(layer)
    c11, c12, c21, c22, c31, c32, c33, c41 = convolutions
    second = nn.Sequential(c11, nn.ReLU(), c12)
    rest = nn.Sequential(
        *(nn.ReLU(), nn.MaxPool2d(2), c21, nn.ReLU(), c22),
        *(nn.ReLU(), nn.MaxPool2d(2), c31, nn.ReLU(), c32, nn.ReLU(), c33),
        *(nn.ReLU(), nn.MaxPool2d(2), c41),
    )
    image = draw(2, 3, 20, 24)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    expected = second((image - mean) / deviation)
    deep, shallow = vgg(image, (17, 2))
    torch.testing.assert_close(shallow, expected)
    torch.testing.assert_close(deep, rest(expected))
    assert shallow.min() < 0  # before the ReLU
    assert deep.shape == (2, 16, 2, 3)
    assert torch.equal(vgg(image, (2,))[0], shallow)


def test_it_runs_no_further_than_asked() -> None:
    vgg = random_vgg()
    for index in range(18, 31):
        vgg.features[index].register_forward_pre_hook(lambda *_: pytest.fail("ran too far"))
    vgg(draw(1, 3, 16, 16), (2, 17))


def test_a_gray_image_counts_as_three_equal_channels() -> None:
    vgg, gray = random_vgg(), draw(2, 1, 16, 16)
    torch.testing.assert_close(vgg(gray, (17,)), vgg(gray.repeat(1, 3, 1, 1), (17,)))
    torch.testing.assert_close(
        feature_mask(vgg, gray, 2), feature_mask(vgg, gray.repeat(1, 3, 1, 1), 2)
    )


@pytest.mark.parametrize("layers", [(), (31,), (-1,), (2, 40)])
def test_layers_that_do_not_exist_are_refused(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="layers must be indices from 0 to 30"):
        random_vgg()(draw(1, 3, 16, 16), layers)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 4, 16, 16), (1, 2, 16, 16)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"image must be \(B, 3, H, W\)"):
        random_vgg()(draw(*shape), (2,))


def test_an_image_that_the_pools_swallow_is_refused() -> None:
    vgg = random_vgg()
    assert vgg(draw(1, 3, 8, 9), (17,))[0].shape[2:] == (1, 1)
    with pytest.raises(ValueError, match="layer 17 needs an image of 8x8, got 7x16"):
        vgg(draw(1, 3, 7, 16), (17,))


@pytest.mark.parametrize("width", [0, 65])
def test_an_impossible_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width must be 1 to 64, got {width}"):
        Vgg16(width)


# --- masks ---


@pytest.mark.parametrize("layer", [2, 17])
@pytest.mark.parametrize("size", [None, (64, 64), (20, 31)])
def test_masks_reach_from_0_to_1(shipped: Vgg16, layer: int, size: tuple[int, int] | None) -> None:
    mask = feature_mask(shipped, draw(3, 3, 32, 40), layer, size)
    assert mask.shape == (3, 1, *(size or (32, 40)))
    assert (mask.amin((1, 2, 3)) == 0).all()
    assert (mask.amax((1, 2, 3)) == 1).all()
    assert not mask.requires_grad


@pytest.mark.parametrize("layer", [2, 17])
def test_the_mask_of_a_blank_image_is_zero(shipped: Vgg16, layer: int) -> None:
    images = torch.cat([torch.full((1, 3, 32, 32), 0.3), draw(1, 3, 32, 32)])
    images[0, 1] = 0.9  # blank, not gray
    mask = feature_mask(shipped, images, layer)
    assert (mask[0] == 0).all()
    assert mask[1].max() == 1


def test_a_map_that_is_constant_but_for_rounding_gives_a_zero_mask() -> None:
    vgg = plain_vgg()
    vgg.get_parameter("features.2.bias").fill_(1e4)
    image = draw(1, 3, 8, 8)
    image[:, 0] = 0.5
    image[0, 0, 0, 0] += 1e-3
    assert (feature_mask(vgg, image, 2) == 0).all()


def test_a_mask_by_hand() -> None:
    """Red 0.485 + 0.229 x is x for the net; x = 0, 1, 3 and 4 become 0, 1/4, 3/4 and 1."""
    values = torch.tensor([[0.0, 1.0], [3.0, 4.0]]) / 2
    image = (0.485 + 0.229 * values).expand(1, 3, 2, 2)
    expected = torch.tensor([[[[0.0, 0.25], [0.75, 1.0]]]])
    torch.testing.assert_close(feature_mask(plain_vgg(), image, 2), expected)
    wider = feature_mask(plain_vgg(), image, 2, (2, 4))  # bilinear: at -1/4, 1/4, 3/4, 5/4
    row = torch.tensor([0, 0.0625, 0.1875, 0.25])
    torch.testing.assert_close(wider, torch.stack([row, row + 0.75])[None, None])


def test_a_loud_no_counts_as_much_as_a_yes() -> None:
    image = (0.485 + 0.229 * torch.tensor([[0.0, 1.0], [1.0, 2.0]])).expand(1, 3, 2, 2)
    vgg = plain_vgg()
    vgg.get_parameter("features.2.weight").neg_()
    vgg.get_parameter("features.2.bias").fill_(0.5)
    mask = feature_mask(vgg, image, 2)  # of 0.5, -0.5, -0.5, -1.5
    torch.testing.assert_close(mask, torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]]))
    plain = feature_mask(vgg, image, 2, absolute=False)
    torch.testing.assert_close(plain, torch.tensor([[[[1.0, 0.5], [0.5, 0.0]]]]))


def test_the_mask_does_not_depend_on_the_other_images(shipped: Vgg16) -> None:
    images = draw(3, 3, 32, 32)
    together = feature_mask(shipped, images, 17)
    alone = torch.cat([feature_mask(shipped, image, 17) for image in images.split(1)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("layer", [2, 17])
def test_masks_find_a_subject(shipped: Vgg16, layer: int) -> None:
    """A disc with a pattern on a plain ground; the border of the image is left out."""
    y, x = torch.meshgrid(torch.arange(64) - 31.5, torch.arange(64) - 31.5, indexing="ij")
    radius = (x.square() + y.square()).sqrt()
    pattern = 0.5 + 0.4 * torch.sin(1.5 * x) * torch.cos(1.1 * y)
    image = torch.where(radius < 16, pattern, 0.5).expand(1, 3, 64, 64)
    mask = feature_mask(shipped, image, layer)[0, 0]
    ground = (radius > 22) & (x.abs() < 26) & (y.abs() < 26)
    assert mask[radius < 14].mean() > 1.5 * mask[ground].mean()


# --- distance ---


def test_a_distance_by_hand() -> None:
    """One feature channel per 8 x 8 pixels at layer 17 of 8: red / 0.229, where not negative."""
    canvas, target = torch.full((2, 3, 16, 16), 0.485), torch.full((2, 3, 16, 16), 0.485)
    target[0, 0] += 0.229  # 1 in the net's units, everywhere
    target[1, 0, :8] += 0.229 / 2  # a half in the upper half
    canvas[:, 1] = 0.1  # green has no say
    distance = vgg_distance(plain_vgg(), canvas, target)
    torch.testing.assert_close(distance, torch.tensor([1.0, 0.125]))
    assert torch.equal(vgg_distance(plain_vgg(), target, target), torch.zeros(2))
    torch.testing.assert_close(vgg_distance(plain_vgg(), canvas, target, 2), distance)


def test_the_gradient_reaches_the_canvas_and_lowers_the_distance(shipped: Vgg16) -> None:
    target = draw(1, 3, 32, 32)
    canvas = torch.zeros_like(target).requires_grad_()
    before = vgg_distance(shipped, canvas, target)
    (gradient,) = torch.autograd.grad(before.sum(), canvas)
    assert (gradient != 0).any(1).float().mean() > 0.9
    with torch.no_grad():
        step = canvas - 1e-2 * gradient / gradient.abs().max()
        assert vgg_distance(shipped, step, target) < before
    assert all(weight.grad is None for weight in shipped.parameters())


def test_distances_and_masks_are_float32_under_autocast(shipped: Vgg16) -> None:
    canvas, target = draw(2, 3, 32, 32), draw(2, 3, 32, 32, seed=1)
    exact = vgg_distance(shipped, canvas, target)
    with torch.autocast("cpu", torch.bfloat16):
        rounded, mask = vgg_distance(shipped, canvas, target), feature_mask(shipped, target, 17)
    assert rounded.dtype == mask.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.03, atol=0)


# --- files ---


def test_weights_survive_their_file(tmp_path: Path) -> None:
    vgg, path = random_vgg(3), tmp_path / "own.safetensors"
    save_vgg(vgg, path)
    loaded = load_vgg(path)
    assert (loaded.width, loaded.name) == (3, "VGG-16 of the file own.safetensors")
    for name, weight in vgg.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.half().float())
    assert load_vgg(str(path)).width == 3
    assert [file.name for file in tmp_path.iterdir()] == ["own.safetensors"]


def test_loading_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    load_vgg()
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_of_a_classifier_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    own = {k: v.clone() for k, v in random_vgg().state_dict().items()}
    others = ("classifier.0.weight", "pre_logits.fc1.weight", "head.fc.bias")
    save_file({**own, **{name: torch.full((2,), torch.nan) for name in others}}, path)
    loaded = load_vgg(path)
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in own.items())


def drop(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name != "features.7.bias"}


def drop_first(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name != "features.0.weight"}


def add(tensors: Tensors) -> Tensors:
    return {**tensors, "features.30.weight": torch.zeros(3)}


def reshape(tensors: Tensors) -> Tensors:
    return {**tensors, "features.17.weight": tensors["features.17.weight"][:, :, :2].contiguous()}


def spoil(tensors: Tensors) -> Tensors:
    return {**tensors, "features.28.bias": tensors["features.28.bias"] * torch.inf}


def widen(tensors: Tensors) -> Tensors:
    return {**tensors, "features.0.weight": torch.zeros(65, 3, 3, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, r"weight features\.7\.bias is missing or not \(4,\)"),
        (drop_first, r"weight features\.0\.weight is missing or not"),
        (add, r"unknown weight features\.30\.weight"),
        (reshape, r"weight features\.17\.weight is missing or not \(16, 8, 3, 3\)"),
        (spoil, r"weight features\.28\.bias holds NaN or infinity"),
        (widen, r"weight features\.0\.weight is missing or not \(1-64, 3, 3, 3\)"),
    ],
)
def test_a_file_that_is_not_quite_right_is_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_vgg(random_vgg(), good)
    save_file(change(load_file(good)), bad)
    with pytest.raises(ValueError, match=message) as error:
        load_vgg(bad)
    assert str(bad) in str(error.value)


@pytest.mark.parametrize("size", [7, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    save_vgg(random_vgg(), good)
    bad.write_bytes(good.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        load_vgg(bad)


def test_absent_empty_and_huge_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match='vgg19: no such file; give a path, "small" or "imagenet"'
    ):
        load_vgg("vgg19")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors: no such file"):
        load_vgg(tmp_path / "none.safetensors")
    path = tmp_path / "w.safetensors"
    path.touch()
    with pytest.raises(ValueError, match=r"w\.safetensors: not a safetensors file"):
        load_vgg(path)
    with path.open("wb") as file:
        file.truncate(features.MAX_BYTES + 1)  # sparse
    with pytest.raises(ValueError, match="larger than 1073741824 bytes"):
        load_vgg(path)


# --- the Hub ---


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder in which the Hub's cache keeps the standard weights; nothing is in it yet."""
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: pytest.fail("a download began")
    )
    return tmp_path / "models--timm--vgg16.tv_in1k"


def test_standard_weights_come_from_the_cache_without_a_question(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        huggingface_hub, "get_hf_file_metadata", lambda *_, **__: pytest.fail("asked the Hub")
    )
    snapshot = hub / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("abc")
    save_vgg(random_vgg(), snapshot / "model.safetensors")
    for local in (True, False):
        vgg = load_vgg("imagenet", cache_dir=hub.parent, local_files_only=local)
        assert vgg.name == "VGG-16 (ImageNet)"
        expected = random_vgg().get_parameter("features.0.weight").half().float()
        assert torch.equal(vgg.get_parameter("features.0.weight"), expected)


OFFER = 'connect once, give the path of such a file, or use the default vgg "small"'


def test_an_unreachable_hub_is_named_with_what_to_do(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str, *, token: str | None, timeout: float) -> None:
        assert url.endswith("timm/vgg16.tv_in1k/resolve/main/model.safetensors")
        assert timeout <= 5
        raise OSError("no route to host\nmore of it")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    with pytest.raises(FileNotFoundError) as error:
        load_vgg("imagenet", cache_dir=hub.parent)
    assert str(error.value) == (
        "model.safetensors of timm/vgg16.tv_in1k: not in the cache "
        f"{hub.parent}, and the Hub could not be reached (no route to host); {OFFER}"
    )


def test_failures_of_the_http_library_are_told_alike(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an address that nothing listens at, through the real client."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_, **__: "http://127.0.0.1:9/x")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FileNotFoundError, match=r"could not be reached .*refused"):
        load_vgg("imagenet", cache_dir=hub.parent)


def test_offline_and_local_only_say_so(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=f"offline mode.*{OFFER}"):
        load_vgg("imagenet", cache_dir=hub.parent)
    with pytest.raises(FileNotFoundError, match=f"local_files_only keeps it from.*{OFFER}"):
        load_vgg("imagenet", cache_dir=hub.parent, local_files_only=True)


def test_a_download_is_bounded_and_then_read(
    hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(size: int) -> None:
        monkeypatch.setattr(
            huggingface_hub, "get_hf_file_metadata", lambda *_, **__: SimpleNamespace(size=size)
        )

    answer(2**30 + 1)
    with pytest.raises(ValueError, match="more than the limit of 1073741824"):
        load_vgg("imagenet", cache_dir=hub.parent)
    path = tmp_path / "w.safetensors"
    save_vgg(random_vgg(), path)

    def download(repository: str, file: str, **options: object) -> str:
        assert (repository, file) == ("timm/vgg16.tv_in1k", "model.safetensors")
        assert (options["token"], options["cache_dir"]) == ("secret", hub.parent)
        return str(path)

    answer(1000)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_vgg("imagenet", cache_dir=hub.parent, token="secret").name == "VGG-16 (ImageNet)"
