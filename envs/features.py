"""VGG-16 features (Simonyan and Zisserman 2015): the masks and the distance of Sec 6.3.3.2.

Two sets of weights: the standard ones, trained on ImageNet, from the Hub, its cache or a file; and
those of a net of the same shape with an eighth of the channels, which ships with the package
(`features_train` made it). `Vgg16.name` tells which one a result rests on.
"""

from importlib import resources
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import fill, hub_file, read_tensors, save_weights

PLAN = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)
"""Channels of each convolution in units of the first one's, 0 for a pool that halves the sides."""
LAST = 30
"""The last index of `features`, the fifth pool."""
WIDTH = 64
"""Channels of the standard net's first convolution, the most there can be."""
SMALL_NAME = "VGG-small (trained on UTKFace and CUB crops)"
STANDARD_NAME = "VGG-16 (ImageNet)"

REPOSITORY = "timm/vgg16.tv_in1k"
FILE = "model.safetensors"
WEIGHTS = "vgg.safetensors"
MAX_BYTES = 2**30
MAX_SMALL_BYTES = 16 * 2**20
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
NOISE = 1e-6
"""A map whose range is below this share of its largest value is constant but for rounding."""


class Vgg16(nn.Module):
    """The convolutions of VGG-16 under their standard names, `features.0` to `features.28`.

    Args:
        width: channels of the first convolution, 1 to 64; 64 is the standard net.
        name: what results call it.

    Raises:
        ValueError: another width.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int = WIDTH, name: str = "VGG-16 (untrained)") -> None:
        super().__init__()
        if not 1 <= width <= WIDTH:
            raise ValueError(f"width must be 1 to {WIDTH}, got {width}")
        self.width = width
        self.name = name
        layers: list[nn.Module] = []
        channels = 3
        for factor in PLAN:
            if factor:
                # Not in place: the convolution's own output is what may have been asked for.
                layers += [nn.Conv2d(channels, factor * width, 3, padding=1), nn.ReLU()]
                channels = factor * width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        # The normalisation is not in the standard files.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), False)

    def forward(self, image: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """Features at some indices of the standard `features` sequence.

        Runs no further than the largest index. 2 is the second convolution (conv1_2), 17 the eighth
        (conv4_1), both before their ReLU.

        Args:
            image: (B, 3, H, W) or gray (B, 1, H, W) in [0, 1]; normalised here.
            layers: indices from 0 to 30, in any order.

        Returns:
            One (B, C, h, w) per index, in the order asked for.

        Raises:
            ValueError: no such index, another shape, or an image smaller than the pools need.
        """
        if not layers or not 0 <= min(layers) <= max(layers) <= LAST:
            raise ValueError(f"layers must be indices from 0 to {LAST}, got {layers}")
        if image.ndim != 4 or image.shape[1] not in (1, 3):
            raise ValueError(f"image must be (B, 3, H, W) or (B, 1, H, W), got {(*image.shape,)}")
        steps = list(self.features)[: max(layers) + 1]
        least = 2 ** sum(isinstance(step, nn.MaxPool2d) for step in steps)
        if min(image.shape[2:]) < least:
            sides = f"{image.shape[2]}x{image.shape[3]}"
            raise ValueError(f"layer {max(layers)} needs an image of {least}x{least}, got {sides}")
        values = (image.expand(-1, 3, -1, -1) - self.mean) / self.deviation
        # Channels last in memory: more than twice as fast on a CPU, and tensor cores want it too.
        values = values.contiguous(memory_format=torch.channels_last)
        found = {}
        for index, step in enumerate(steps):
            values = step(values)
            if index in layers:
                found[index] = values
        return [found[index] for index in layers]


@torch.no_grad()
def feature_mask(
    vgg: Vgg16,
    image: Tensor,
    layer: int,
    size: tuple[int, int] | None = None,
    *,
    absolute: bool = True,
) -> Tensor:
    """The feature mask f_mask of Eq 6.4 and 6.6: where an image has something to recognise.

    Reading: the mean over the layer's channels, resized bilinearly, scaled to [0, 1] per image, so
    that a mask is a probability map. The mean is of absolute values (the attention map of Zagoruyko
    and Komodakis 2017): before the ReLU a net says mostly "no", and says it loudest on a subject,
    so that the plain mean is dark there and would send strokes to the background.

    Args:
        vgg: see `load_vgg`.
        image: (B, 3, H, W) or (B, 1, H, W) in [0, 1].
        layer: index into VGG's features; the thesis takes 17 for the canvas, 2 for the focus.
        size: rows and columns of the mask; by default the image's.
        absolute: False takes the plain mean.

    Returns:
        (B, 1, h, w) with minimum 0 and maximum 1, without gradient; zeros where the image or the
        map is constant (what a blank image's map shows is the padding at the borders).
    """
    (features,) = vgg(image, (layer,))
    features = features.float()
    mean = (features.abs() if absolute else features).mean(1, keepdim=True)
    mask = functional.interpolate(mean, size or image.shape[2:], mode="bilinear")
    low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
    span = high - low
    blank = (image == image[:, :, :1, :1]).flatten(1).all(1)[:, None, None, None]
    constant: Tensor = blank | (span <= NOISE * torch.maximum(high.abs(), low.abs()))
    return ((mask - low) / span.masked_fill(constant, 1)).masked_fill(constant, 0)


def vgg_distance(vgg: Vgg16, canvas: Tensor, target: Tensor, layer: int = 17) -> Tensor:
    """Mean squared feature distance, L_vgg of Eq 6.4 (Johnson et al. 2016).

    Args:
        vgg: see `load_vgg`.
        canvas: (B, 3, H, W) or (B, 1, H, W) in [0, 1].
        target: the same shape.
        layer: index into VGG's features.

    Returns:
        (B,), at least 0, in squared units of the net's features; differentiable in both images.
    """
    (ours,), (theirs,) = vgg(canvas, (layer,)), vgg(target, (layer,))
    distance: Tensor = (ours.float() - theirs.float()).square().mean((1, 2, 3))
    return distance


# --- files ---------------------------------------------------------------------------------------


def save_vgg(vgg: Vgg16, path: Path) -> None:
    """Write the weights in half precision as safetensors under the standard names, atomically.

    Args:
        vgg: the net.
        path: file to write.

    Raises:
        ValueError: a weight is not finite (names it); nothing is written.
    """
    save_weights(vgg, path, {}, half=True)


def load_vgg(
    source: str | Path = "small",
    *,
    local_files_only: bool = False,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Vgg16:
    """Load a VGG-16.

    Args:
        source: "small", the net that ships with the package; "imagenet", the standard weights from
            the Hub or its cache (550 MB); or the path of a safetensors file with the standard
            names, of any width. Weights of a classifier in the file are left out.
        local_files_only: never ask the Hub.
        cache_dir: the Hub's cache, by default its own.
        token: for the Hub, where one is needed.

    Returns:
        The net in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: no such file, or the Hub's is neither in its cache nor to be reached.
        ValueError: too large, not safetensors, or a missing, unknown, mis-shaped or not finite
            weight (names it).
    """
    if source == "small":
        path = Path(str(resources.files(__package__) / "weights" / WEIGHTS))
        return _read(path, SMALL_NAME, MAX_SMALL_BYTES)
    if source == "imagenet":
        path = hub_file(
            REPOSITORY,
            FILE,
            'connect once, give the path of such a file, or use the default vgg "small"',
            MAX_BYTES,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
        )
        return _read(path, STANDARD_NAME, MAX_BYTES)
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f'{path}: no such file; give a path, "small" or "imagenet"')
    return _read(path, f"VGG-16 of the file {path.name}", MAX_BYTES)


def _read(path: Path, name: str, max_bytes: int) -> Vgg16:
    tensors, _ = read_tensors(path, max_bytes)
    tensors = {key: value for key, value in tensors.items() if key.startswith("features.")}
    first = tensors.get("features.0.weight", torch.empty(0))
    if first.ndim != 4 or not 1 <= len(first) <= WIDTH:
        raise ValueError(f"{path}: weight features.0.weight is missing or not (1-{WIDTH}, 3, 3, 3)")
    with torch.random.fork_rng(devices=[]):
        vgg = Vgg16(len(first), name)
    fill(vgg, tensors, path)
    return vgg.eval().requires_grad_(False)
