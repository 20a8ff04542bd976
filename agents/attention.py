"""The attention module (Sec 6.3.3.1, Eq 6.3): from a canvas to an image of its subject alone.

One branch looks for the subject and answers with a mask f_attn, the other extracts features f_f of
the canvas; a reconstruction head H_c makes the focused image of their product. It is trained to
equal the masked canvas, so it learns what subjects look like on unfinished paintings.

    C_focus = H_c(f_attn * alpha f_f)        min MSE(C_focus, downsize(C_t * M))        (Eq 6.3)

Reading: the thesis starts the "decoder" from ResNet-34; a decoder has no such layers, so it is the
encoder here (`resnet.load_standard(attention.encoder)`).
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.device import autocast
from ..backend.weights import load_weights, save_weights
from ..envs.features import DEVIATION, MEAN
from .resnet import BasicBlock, ResNet, conv3x3, initialise

WEIGHTS = "attention.safetensors"
MAX_BYTES = 64 * 2**20
SIDE = 64
"""Side of the focused image in the thesis, half that of its canvas."""
MAX_SIDE = 1024


class Focus(NamedTuple):
    """What the attention module makes of B canvases.

    Attributes:
        image: (B, 3, side, side) float32 in [0, 1], the focused image C_focus.
        mask: (B, 1, side, side) float32 in [0, 1], f_attn, high where it sees the subject.
    """

    image: Tensor
    mask: Tensor


class Up(nn.Module):
    """One level of the decoder: double the sides, join the encoder's features, convolve.

    Args:
        inputs: channels from below.
        skip: channels of the encoder's features at this level.
        outputs: channels out.
    """

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv = conv3x3(inputs + skip, outputs)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, inputs, h, w) and (B, skip, H, W) to (B, outputs, H, W)."""
        x = functional.interpolate(x, skip.shape[-2:])
        return functional.relu(self.bn(self.conv(torch.cat([x, skip], 1))), inplace=True)


class Attention(nn.Module):
    """The dual-branch attention module.

    Canvases of any size are brought to the module's own: the mask branch sees at most `2 * side`
    pixels a side, the feature branch exactly `side`, so canvases that are not square are squeezed.

    Batch norm: in training mode an output depends on its batch and the running statistics move
    with every forward pass. Use evaluation mode wherever the module is not itself trained: in
    rewards, for the actor's input, while painting.

    Args:
        width: channels of the finest level; 64 is ResNet-34's.
        blocks: basic blocks of the encoder's stages.
        features: basic blocks of the feature branch.
        side: rows and columns of the focused image.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, width: int, blocks: tuple[int, ...], features: int, side: int = SIDE
    ) -> None:
        super().__init__()
        self.side = side
        # f_attn: U-Net (Ronneberger et al. 2015)
        self.encoder = ResNet(3, width, blocks)
        channels = [width, *(width * 2**i for i in range(len(blocks)))]  # from fine to coarse
        below, ups = channels.pop(), []
        for skip in reversed(channels):
            ups.append(Up(below, skip, skip))
            below = skip
        self.decoder = nn.ModuleList(ups)
        self.attend = conv3x3(below, 1, bias=True)
        # f_f
        self.features = nn.Sequential(
            conv3x3(3, width),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            *(BasicBlock(width, width) for _ in range(features)),
        )
        self.alpha = nn.Parameter(torch.ones(()))
        # H_c
        self.reconstruct = nn.Sequential(
            conv3x3(width, width, bias=True), nn.ReLU(), conv3x3(width, 3, bias=True)
        )
        initialise(self)
        # What standard encoders expect; it is not among the weights of a standard file.
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), False)

    def forward(self, canvas: Tensor) -> Focus:
        """C_focus and f_attn of canvases (Eq 6.3), differentiable in them.

        Args:
            canvas: (B, 3, H, W) in [0, 1], any sides.

        Returns:
            `Focus`, float32 also under autocast.
        """
        canvas = (canvas - self.mean) / self.deviation
        f_attn = self.attention_mask(canvas)
        f_f = self.features(downsize(canvas, (self.side, self.side)))
        c_focus = self.reconstruct(f_attn * (self.alpha * f_f))
        return Focus(torch.sigmoid(c_focus.float()), f_attn)

    def attention_mask(self, canvas: Tensor) -> Tensor:
        """f_attn, (B, 1, side, side) float32, of normalised canvases (B, 3, H, W)."""
        most = 2 * self.side
        height, width = canvas.shape[-2:]
        *skips, x = self.encoder(downsize(canvas, (min(height, most), min(width, most))))
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip)
        logits = self.attend(x).float()
        with autocast(canvas.device, torch.float32):
            if logits.shape[-2:] != (self.side, self.side):
                logits = functional.interpolate(logits, (self.side, self.side), mode="bilinear")
            return torch.sigmoid(logits)


def downsize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean over areas, as a photo is made smaller; unchanged where it has the size.

    Args:
        image: (B, C, H, W).
        size: rows and columns.

    Returns:
        (B, C, *size).
    """
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image, size, mode="area")


def reconstruction_loss(focus_image: Tensor, canvas: Tensor, mask: Tensor) -> Tensor:
    """L_rec of Eq 6.3: the focused image shall be the canvas inside the target's subject.

    Args:
        focus_image: (B, 3, h, w), C_focus.
        canvas: (B, 3, H, W) in [0, 1], C_t.
        mask: (B, 1, H, W), M, 1 on the subject of the target and 0 elsewhere.

    Returns:
        Mean squared error, a scalar.
    """
    truth = downsize(canvas * mask, (focus_image.shape[-2], focus_image.shape[-1]))
    return functional.mse_loss(focus_image, truth)


# --- sizes and files -----------------------------------------------------------------------------


class Size(NamedTuple):
    """A size of the module; see `Attention`."""

    width: int
    blocks: tuple[int, ...]
    features: int


SIZES = {
    "thesis": Size(width=64, blocks=(3, 4, 6), features=2),
    "small": Size(width=16, blocks=(1, 1, 1), features=1),
}


def build_attention(size: str, side: int = SIDE) -> Attention:
    """A module with random weights, drawn from PyTorch's generator.

    Args:
        size: "thesis" (ResNet-34's first three stages) or "small" (for CPUs).
        side: rows and columns of the focused image.

    Returns:
        The module in training mode.

    Raises:
        ValueError: another size or side.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r} of attention is unknown; known: {', '.join(SIZES)}")
    if not 1 <= side <= MAX_SIDE:
        raise ValueError(f"side of attention must be 1 to {MAX_SIDE}, got {side}")
    return Attention(*SIZES[size], side=side)


def save_attention(attention: Attention, path: Path, size: str) -> None:
    """Write a module for `load_attention`, in half precision.

    Args:
        attention: the module.
        path: file to write.
        size: the name it was built by.

    Raises:
        ValueError: a weight is not finite.
    """
    save_weights(attention, path, {"size": size, "side": str(attention.side)}, half=True)


def load_attention(path: Path | None = None) -> Attention:
    """Read a trained module.

    Args:
        path: a file that `save_attention` wrote; None means the one shipped with the package.

    Returns:
        The module in float32 on the CPU, in evaluation mode, its parameters frozen.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a missing, unknown, mis-shaped or not finite weight (names it), or not such a
            file.
    """
    source = path or Path(str(resources.files(__package__) / "weights" / WEIGHTS))
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no weights of the attention module; train a painter")
    return load_weights(source, _built, MAX_BYTES).eval().requires_grad_(False)


def _built(meta: dict[str, str]) -> Attention:
    size, side = meta.get("size", ""), meta.get("side", "")
    if size not in SIZES or len(side) > 4 or not side.isdecimal():
        raise ValueError("names no size and side of an attention module")
    return build_attention(size, int(side))
