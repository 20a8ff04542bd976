"""AVWnet (chapter 5): the generator with its two stages, and the discriminators.

B batch, T frames, N_i and N_d channels. Frames are RGB in [-1, 1] here; windows and landmarks are
those of `avwnet_parts`. The 16 encoders and decoders that the thesis counts are one each, which all
frames go through together; only the recurrent layer knows their order.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..backend.weights import fill, read_tensors
from .avwnet_layers import (
    AudioEncoder,
    ConvGru,
    Heads,
    ImageEncoder,
    LandmarkAttention,
    LandmarkEncoder,
    blend,
)
from .avwnet_parts import (
    SIDE,
    AvwnetConfig,
    LipReaderConfig,
    Shape,
    TalkingLandmarksConfig,
    read_config,
)
from .layers import Conv, Deconv, ResidualBlock, Up, initialise, tiled
from .ldcgan_parts import COORDINATES
from .lipreader import LipReader
from .talking_landmarks import TalkingLandmarks

__all__ = [
    "AvwnetConfig",
    "AvwnetOutput",
    "Discriminator",
    "Generator",
    "Judged",
    "LipReader",
    "LipReaderConfig",
    "Looked",
    "TalkingLandmarks",
    "TalkingLandmarksConfig",
    "build",
    "load_avwnet",
]

MAX_BYTES = 2**29


# --- generator -----------------------------------------------------------------------------------


class Looked(NamedTuple):
    """An example face as the generator keeps it, for any number of frames.

    Attributes:
        fine: I^1*, (B, 3, 128, 128).
        coarse: I^0*, (B, 3, 64, 64).
        taps64: i^64, (B, N_i / 2, 64, 64).
        taps32: i^32, (B, N_i, 32, 32).
        deep: what i* adds to the gates of the recurrent layer, (B, 12 N_i, 8, 8).
    """

    fine: Tensor
    coarse: Tensor
    taps64: Tensor
    taps32: Tensor
    deep: Tensor


class AvwnetOutput(NamedTuple):
    """What the generator makes of a face and sound.

    Attributes:
        coarse: frames of the first stage, (B, T, 3, 64, 64) float32 in [-1, 1].
        fine: of the second, (B, T, 3, 128, 128).
        coarse_mask: f_gray of Eq 5.5, (B, T, 1, 64, 64) float32 in [0, 1]: 1 is a new pixel, 0
            one of the example. (LDcGAN's f_A has the other sign.)
        fine_mask: (B, T, 1, 128, 128).
        coarse_colour: f_colour, (B, T, 3, 64, 64) in [-1, 1].
        fine_colour: (B, T, 3, 128, 128).
        state: of the recurrent layer after the last frame, (B, 4 N_i, 8, 8) float32.
    """

    coarse: Tensor
    fine: Tensor
    coarse_mask: Tensor
    fine_mask: Tensor
    coarse_colour: Tensor
    fine_colour: Tensor
    state: Tensor


class Generator(nn.Module):
    """The generator of Eq 5.1 to 5.5 and Sec 5.4.1.

    Reading: "a four layer residual block" is two blocks of two convolutions each.

    Args:
        config: see `AvwnetConfig`.
    """

    def __init__(self, config: AvwnetConfig) -> None:
        super().__init__()
        ni = config.ni
        self.image = ImageEncoder(ni)
        self.audio = nn.Sequential(
            AudioEncoder(config.audio, 2 * ni),
            nn.Unflatten(1, (-1, 1, 1)),
            *(Up(2 * ni, 2 * ni) for _ in range(3)),
        )
        self.landmarks = LandmarkEncoder(ni)
        self.attention32 = LandmarkAttention(2 * ni, (ni, ni))
        self.attention64 = LandmarkAttention(2 * ni, (ni, ni // 2, ni // 2))
        self.recurrent = ConvGru(4 * ni, 4 * ni, 4 * ni)
        self.decode = nn.Sequential(
            ResidualBlock(4 * ni), ResidualBlock(4 * ni), Deconv(4 * ni, 2 * ni), Deconv(2 * ni, ni)
        )
        self.up64 = nn.Sequential(ResidualBlock(ni), Up(ni, ni // 2))
        self.refine = ResidualBlock(ni // 2)
        self.up128 = nn.Sequential(ResidualBlock(ni // 2), Up(ni // 2, ni // 4))
        self.coarse = Heads(ni // 2, config.residual)
        self.fine = Heads(ni // 4, config.residual)
        initialise(self)
        self.coarse.begin()
        self.fine.begin()

    def look(self, example: Tensor) -> Looked:
        """Look at example faces, once for all their frames.

        Args:
            example: I*, (B, 3, 128, 128) in [-1, 1], in the stabilised crop.

        Returns:
            See `Looked`.

        Raises:
            ValueError: of another shape.
        """
        if example.dim() != 4 or example.shape[1:] != (3, SIDE, SIDE):
            raise ValueError(
                f"an example face is (B, 3, {SIDE}, {SIDE}), got {tuple(example.shape)}"
            )
        taps64, taps32, deep = self.image(example)
        coarse = functional.avg_pool2d(example.float(), 2)
        return Looked(example, coarse, taps64, taps32, self.recurrent.of_image(deep))

    def forward(
        self,
        example: Tensor | Looked,
        windows: Tensor,
        landmarks: Tensor,
        example_landmarks: Tensor,
        state: Tensor | None = None,
    ) -> AvwnetOutput:
        """Frames of faces that say what is heard; long sound may come in pieces.

        Args:
            example: (B, 3, 128, 128) in [-1, 1], or what `look` made of it.
            windows: A, (B, T, 28, 12), T >= 1.
            landmarks: L, (B, T, 136) of the frames to make.
            example_landmarks: L*, (B, 136) of the example.
            state: of the piece before; None at the beginning.

        Returns:
            See `AvwnetOutput`.
        """
        looked = example if isinstance(example, Looked) else self.look(example)
        frames = windows.shape[1]
        sound = self.audio(windows.flatten(0, 1))  # E_a(A)
        shape, own = self.landmarks(landmarks.flatten(0, 1)), self.landmarks(example_landmarks)
        own = own.repeat_interleave(frames, 0)
        heard = torch.cat([sound, shape - own], 1)  # h' of Eq 5.1
        # h of Eq 5.2 is h' beside E_i(I*), which does not change from frame to frame.
        states, state = self.recurrent(looked.deep, heard.unflatten(0, (-1, frames)), state)
        pairs = torch.cat([own, shape], 1)
        v0 = self.decode(states.flatten(0, 1))
        f0 = blend(self.attention32(pairs), v0, looked.taps32)
        b64 = self.up64(f0)
        f1 = blend(self.attention64(pairs), self.refine(b64), looked.taps64)
        b128 = self.up128(f1)
        coarse, coarse_mask, coarse_colour = self.coarse(b64, looked.coarse, frames)
        fine, fine_mask, fine_colour = self.fine(b128, looked.fine, frames)
        return AvwnetOutput(coarse, fine, coarse_mask, fine_mask, coarse_colour, fine_colour, state)


# --- discriminator -------------------------------------------------------------------------------


class Seen(NamedTuple):
    """What a discriminator keeps of frames.

    Attributes:
        early: (N, 8 N_d, S / 8, S / 8), after the first part of Sec 5.4.1.
        late: (N, 16 N_d, 4, 4), after the second.
    """

    early: Tensor
    late: Tensor


class Judged(NamedTuple):
    """What a discriminator says of frames.

    Attributes:
        real: logits of D(I), (N, patches) float32.
        match: logits of D(I, A), (N, patches) float32.
        landmarks: where it finds them, (N, 136) float32.
    """

    real: Tensor
    match: Tensor
    landmarks: Tensor


class Discriminator(nn.Module):
    """A discriminator D_i of Sec 5.3.3 and 5.4.1, for frames of one of the stages.

    Four 3x3 convolutions of strides 2, 2, 2, 1 lead to 8 N_d channels, blocks of stride 2 to
    16 N_d x 4 x 4; there a code of the sound, by an encoder of its own, joins at every place.
    Readings as in `ldcgan.Discriminator`: the first layer has no batch norm, and the unconditional
    logits are those of overlapping patches of 55 pixels, from the first part. The landmarks are
    told from the frame alone, before the sound comes in.

    Args:
        config: see `AvwnetConfig`.
        side: of the frames, 64 or 128.

    Raises:
        ValueError: another side.
    """

    def __init__(self, config: AvwnetConfig, side: int) -> None:
        super().__init__()
        if side not in (SIDE // 2, SIDE):
            raise ValueError(
                f"a stage's frames have {SIDE // 2} or {SIDE} pixels, got {side!r:.40}"
            )
        nd, code = config.nd, 4 * config.audio
        self.first = nn.Sequential(
            Conv(3, nd, 3, 2, norm=False),
            Conv(nd, 2 * nd, 3, 2),
            Conv(2 * nd, 4 * nd, 3, 2),
            Conv(4 * nd, 8 * nd, 3, 1),
        )
        downs = [Conv(8 * nd, 16 * nd, 3, 2)]
        if side == SIDE:
            downs.append(Conv(16 * nd, 16 * nd, 3, 2))
        self.second = nn.Sequential(*downs)
        self.audio = AudioEncoder(config.audio, code)
        self.third = Conv(16 * nd + code, 16 * nd)
        self.real = nn.Conv2d(8 * nd, 1, 4)
        self.matching = nn.Conv2d(16 * nd, 1, 4)
        self.regress = nn.Linear(16 * nd * 16, COORDINATES)
        self.shape = Shape()
        initialise(self)

    def forward(self, frames: Tensor, windows: Tensor) -> Judged:
        """All that it says.

        Args:
            frames: (N, 3, S, S) in [-1, 1].
            windows: (N, 28, 12), their sound.

        Returns:
            See `Judged`.
        """
        seen = self.look(frames)
        return Judged(self.realness(seen), self.match(seen, windows), self.points(seen))

    def look(self, frames: Tensor) -> Seen:
        """Features of frames (N, 3, S, S), for the questions below."""
        early = self.first(frames)
        return Seen(early, self.second(early))

    def realness(self, seen: Seen) -> Tensor:
        """Logits of D(I), (N, patches) float32."""
        logits: Tensor = self.real(seen.early).flatten(1)
        return logits.float()

    def match(self, seen: Seen, windows: Tensor) -> Tensor:
        """Logits of D(I, A), (N, patches) float32, for sound (N, 28, 12)."""
        code = tiled(self.audio(windows), seen.late.shape[2:])
        joined = self.third(torch.cat([seen.late, code.to(seen.late.dtype)], 1))
        logits: Tensor = self.matching(joined).flatten(1)
        return logits.float()

    def points(self, seen: Seen) -> Tensor:
        """The landmarks that it finds, (N, 136) float32."""
        return self.shape.back(self.regress(seen.late.flatten(1)))


# --- files ---------------------------------------------------------------------------------------


def build(config: AvwnetConfig) -> nn.ModuleDict:
    """The networks that generation needs.

    Args:
        config: see `AvwnetConfig`.

    Returns:
        "generator", "landmarks" (the predictor) and "reader", with random weights.
    """
    return nn.ModuleDict(
        {
            "generator": Generator(config),
            "landmarks": TalkingLandmarks(config.landmarks),
            "reader": LipReader(config.reader),
        }
    )


def load_avwnet(path: Path) -> tuple[AvwnetConfig, nn.ModuleDict]:
    """Read the weights that a training wrote.

    Args:
        path: best.safetensors or last.safetensors of the run.

    Returns:
        The configuration and the networks of `build`, for use, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not such a file (says why).
    """
    tensors, meta = read_tensors(path, MAX_BYTES)
    try:
        config = read_config(meta, "config", AvwnetConfig)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    with torch.random.fork_rng(devices=[]):
        networks = build(config)
    fill(networks, tensors, path)
    return config, networks.eval()
