"""Layers that the zoo's networks share."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.distributed import Group


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation whose statistics are of the batches of all processes together.

    So two processes train as one does on both halves of the batch. (PyTorch's own SyncBatchNorm
    runs on GPUs only.) Parameters and buffers have the standard names.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, ...) normalised, the same shape and dtype."""
        group = Group()
        if not self.training or group.size == 1:
            alone: Tensor = super().forward(input)
            return alone
        values = input.float()
        axes = [axis for axis in range(values.dim()) if axis != 1]
        means = torch.stack([values.mean(axes), values.square().mean(axes)])
        mean, square = group.total(means) / group.size
        variance = (square - mean.square()).clamp(min=0)
        count = group.size * values.numel() / values.shape[1]
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        shape = [1, -1] + [1] * (values.dim() - 2)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        normalised: Tensor = values * scale.view(shape) + shift.view(shape)
        return normalised.to(input.dtype)


class Up(nn.Sequential):
    """Twice the size: nearest neighbours, 3x3 convolution, batch norm, GLU (Sec 3.4.3).

    Args:
        channels: of the input (B, C, H, W).
        out: of the output (B, out, 2H, 2W).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels, 2 * out, 3, 1, 1, bias=False),
            BatchNorm(2 * out),
            nn.GLU(1),
        )


class Conv(nn.Sequential):
    """Convolution, batch norm and LeakyReLU of slope 0.2.

    Args:
        channels: of the input.
        out: of the output.
        kernel: side in pixels.
        stride: in pixels; the size is divided by it.
        norm: False leaves batch norm out.
    """

    def __init__(
        self, channels: int, out: int, kernel: int = 3, stride: int = 1, norm: bool = True
    ) -> None:
        super().__init__(
            nn.Conv2d(channels, out, kernel, stride, 1, bias=not norm),
            BatchNorm(out) if norm else nn.Identity(),
            nn.LeakyReLU(0.2, inplace=True),
        )


class Deconv(nn.Sequential):
    """Twice the size: 3x3 deconvolution, batch norm, ReLU.

    Args:
        channels: of the input (B, C, H, W).
        out: of the output (B, out, 2H, 2W).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, out, 3, 2, 1, 1, bias=False), BatchNorm(out), nn.ReLU()
        )


class Encode(nn.Sequential):
    """3x3 convolution, batch norm, ReLU.

    Args:
        channels: of the input.
        out: of the output.
        stride: the size is divided by it.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(channels, out, 3, stride, 1, bias=False), BatchNorm(out), nn.ReLU()
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside the identity.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Encode(channels, channels, 1),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            BatchNorm(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """The same shape."""
        changed: Tensor = features + self.body(features)
        return changed


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Orthogonal weights, no bias, batch norm near the identity, as in AttnGAN (Xu et al. 2018).

    Args:
        network: changed in place; draws from PyTorch's generator.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            nn.init.orthogonal_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of weights and of batch norm's statistics; counts are copied.

    Args:
        average: the network that follows.
        network: the one in training.
        decay: share of the old average that is kept.
    """
    pairs = zip(average.state_dict().values(), network.state_dict().values(), strict=True)
    old: list[Tensor] = []
    new: list[Tensor] = []
    for kept, now in pairs:
        if kept.is_floating_point():
            old.append(kept)
            new.append(now)
        else:
            kept.copy_(now)
    torch._foreach_lerp_(old, new, 1 - decay)


def shifted(images: Tensor, offsets: Tensor) -> Tensor:
    """Move each picture by whole pixels, zeros (grey) coming in at the edges.

    Args:
        images: (B, C, S, S).
        offsets: (B, 2) int64, right and down, less than S in size.

    Returns:
        (B, C, S, S), differentiable in the images.
    """
    count, _, height, width = images.shape
    place = images.device
    rows = torch.arange(height, device=place) - offsets[:, 1:2]  # (B, H) where each row comes from
    columns = torch.arange(width, device=place) - offsets[:, :1]
    inside = _inside(rows, height)[:, :, None] & _inside(columns, width)[:, None]
    index = torch.arange(count, device=place)[:, None, None]
    rows, columns = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]
    moved = images.permute(0, 2, 3, 1)[index, rows, columns]  # (B, H, W, C)
    return (moved * inside[..., None]).permute(0, 3, 1, 2)


def _inside(index: Tensor, size: int) -> Tensor:
    return (index >= 0) & (index < size)


def tiled(vector: Tensor, size: Sequence[int]) -> Tensor:
    """A vector at every pixel: (B, C) to (B, C, H, W), without a copy."""
    return vector[:, :, None, None].expand(-1, -1, *size)


def enlarged(images: Tensor) -> Tensor:
    """Twice the size by nearest neighbours, (B, C, H, W) to (B, C, 2H, 2W)."""
    return functional.interpolate(images, scale_factor=2.0)
