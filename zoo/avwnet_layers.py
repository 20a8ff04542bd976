"""Layers of AVWnet's generator and discriminators (Sec 5.3.1 and 5.4.1).

B batch, T frames, N their product, N_i channels. Windows and landmarks are those of `avwnet_parts`.
"""

import torch
from torch import Tensor, nn

from .avwnet_parts import LOUDNESS, Shape
from .layers import Deconv, Encode, ResidualBlock
from .ldcgan_parts import COORDINATES

BASE = 8
"""Side of the features that sound, landmarks and image meet in."""
FAITHFUL = 0.98
"""How strong the example's colours are before training, where the colours are added to them.

Below 1, as tanh would lose its slope at black and white.
"""


# --- encoders ------------------------------------------------------------------------------------


class AudioEncoder(nn.Module):
    """The first stage of E_a (Sec 5.4.1): five 3x3 convolutions, two max pools, a linear layer.

    The pools follow the second and the fifth convolution (3 wide, the first with stride 2 over the
    coefficients only), so 28 x 12 ends as 12 x 2.

    Args:
        width: channels of the first layer; the others have 2, 4, 4 and 8 times as many.
        out: length of the code.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Encode(1, width, 1),
            Encode(width, 2 * width, 1),
            nn.MaxPool2d(3, (1, 2)),
            Encode(2 * width, 4 * width, 1),
            Encode(4 * width, 4 * width, 1),
            Encode(4 * width, 8 * width, 1),
            nn.MaxPool2d(3, 2),
            nn.Flatten(),
            nn.Linear(8 * width * 12 * 2, out),
            nn.ReLU(),
        )

    def forward(self, windows: Tensor) -> Tensor:
        """Codes (N, out) of windows (N, 28, 12)."""
        code: Tensor = self.layers(windows[:, None] / LOUDNESS)
        return code


class ImageEncoder(nn.Module):
    """E_i: five convolutions of strides 1, 2, 2, 2, 2, with a residual block after the second.

    Args:
        ni: N_i.
    """

    def __init__(self, ni: int) -> None:
        super().__init__()
        self.to64 = nn.Sequential(
            Encode(3, ni // 4, 1), Encode(ni // 4, ni // 2, 2), ResidualBlock(ni // 2)
        )
        self.to32 = Encode(ni // 2, ni, 2)
        self.to8 = nn.Sequential(Encode(ni, 2 * ni, 2), Encode(2 * ni, 4 * ni, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """i^64 (B, N_i / 2, 64, 64), i^32 (B, N_i, 32, 32), i* (B, 4 N_i, 8, 8)."""
        taps64 = self.to64(images)
        taps32 = self.to32(taps64)
        return taps64, taps32, self.to8(taps32)


class LandmarkEncoder(nn.Module):
    """E_l: a linear layer with ReLU, seen as one channel, and a convolution to 2 N_i channels.

    Args:
        ni: N_i.
    """

    def __init__(self, ni: int) -> None:
        super().__init__()
        self.shape = Shape()
        self.linear = nn.Sequential(nn.Linear(COORDINATES, BASE * BASE), nn.ReLU())
        self.conv = nn.Conv2d(1, 2 * ni, 3, 1, 1)

    def forward(self, landmarks: Tensor) -> Tensor:
        """(N, 2 N_i, 8, 8) of landmarks (N, 136)."""
        values = self.linear(self.shape(landmarks)).view(-1, 1, BASE, BASE)
        encoded: Tensor = self.conv(values)
        return encoded


# --- time ----------------------------------------------------------------------------------------


class ConvGru(nn.Module):
    """The Conv-RNN: a gated recurrent unit of 3x3 convolutions, over time.

    Reading: GRU in the form of Cho et al. 2014 whose reset gate acts after the convolution, as
    PyTorch's own, so that a step is one convolution. That of the input is done for all frames at
    once, and its part for the example image, which is the same in all frames, only once.

    Args:
        image: channels of the example's features.
        inputs: channels of the features of a frame.
        hidden: channels of the state.
    """

    def __init__(self, image: int, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_image = nn.Conv2d(image, 3 * hidden, 3, 1, 1)
        self.of_frame = nn.Conv2d(inputs, 3 * hidden, 3, 1, 1, bias=False)
        self.of_state = nn.Conv2d(hidden, 3 * hidden, 3, 1, 1)

    def forward(self, deep: Tensor, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run over the frames.

        Args:
            deep: `of_image` of the example's features, (B, 3 hidden, h, w).
            inputs: (B, T, inputs, h, w).
            state: (B, hidden, h, w) after the frame before; None before the first.

        Returns:
            States (B, T, hidden, h, w) and the last of them.
        """
        batch, frames = inputs.shape[:2]
        given = self.of_frame(inputs.flatten(0, 1)).unflatten(0, (batch, frames)) + deep[:, None]
        if state is None:
            state = deep.new_zeros(batch, self.hidden, *deep.shape[2:], dtype=torch.float32)
        states = []
        for now in given.unbind(1):
            update, reset, new = now.chunk(3, 1)
            update_, reset_, new_ = self.of_state(state).chunk(3, 1)
            keep = (update + update_).sigmoid()
            fresh = (new + (reset + reset_).sigmoid() * new_).tanh()
            state = (fresh + keep * (state - fresh)).float()
            states.append(state)
        return torch.stack(states, 1), state


# --- attention and output ------------------------------------------------------------------------


class LandmarkAttention(nn.Module):
    """H_d of Eq 5.3 with its sigmoid: which features change between two shapes of a face.

    Args:
        channels: of E_l's features, twice, for the example and the frame.
        widths: of the deconvolutions; the last is also the number of the map's channels.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers = [Deconv(a, b) for a, b in zip((2 * channels, *widths[:-1]), widths, strict=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], widths[-1], 3, 1, 1))

    def forward(self, pairs: Tensor) -> Tensor:
        """Maps in [0, 1] of E_l(L*) with E_l(L), (N, 2 channels, 8, 8)."""
        maps: Tensor = self.layers(pairs).sigmoid()
        return maps


def blend(attention: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """f_attn v + (1 - f_attn) i of Eq 5.4; `old` (B, C, h, w) is the same for all frames."""
    frames = len(new) // len(old)
    attention, new = (x.unflatten(0, (-1, frames)) for x in (attention, new))
    old = old[:, None]
    return (old + attention * (new - old)).flatten(0, 1)


class Heads(nn.Module):
    """f_gray and f_colour of Eq 5.5, from b: one convolution for the four channels.

    Masks begin half open whatever the features, so that colours are asked from the first step on.
    With `residual` the colours begin as those of the example: a mask that closes then gains
    nothing, whereas beside colours that begin grey it closes at once, gives them no slope, and
    opens only slowly.

    Args:
        channels: of b.
        residual: whether the example is added to the colours before tanh.
    """

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.conv = nn.Conv2d(channels, 4, 7, 1, 3)

    @torch.no_grad()
    def begin(self) -> None:
        """Set the state described above; after `initialise`."""
        self.conv.weight[:1].zero_()
        if self.residual:
            self.conv.weight[1:].mul_(0.1)

    def forward(self, features: Tensor, example: Tensor, frames: int) -> tuple[Tensor, ...]:
        """Blend new pixels and old ones.

        Args:
            features: b, (B T, channels, S, S).
            example: I*, (B, 3, S, S).
            frames: T.

        Returns:
            Frames (B, T, 3, S, S), masks (B, T, 1, S, S) and colours (B, T, 3, S, S), float32.
        """
        final = self.conv(features).float().unflatten(0, (-1, frames))
        old = example.float()[:, None]
        mask, colour = final[:, :, :1].sigmoid(), final[:, :, 1:]
        if self.residual:
            colour = colour + (FAITHFUL * old).atanh()
        colour = colour.tanh()
        return old + mask * (colour - old), mask, colour
