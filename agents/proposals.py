"""An actor that proposes one stroke for each cell of a grid and paints the best of them.

The actor of Learning to Paint presses the whole picture into one vector and then has to name places
as numbers. Here every cell of a 16 x 16 grid proposes a stroke near itself, in numbers relative to
the cell, together with the gain that it expects of it; the bundle is made of the proposals that
promise most and do not cover each other. It is still a deterministic policy a = mu(s), one forward
pass per bundle, and the model's gradient reaches the strokes that were chosen; the expected gains
are fitted to the gains that came about. The choice of a discrete part by value and of its
continuous numbers by gradient follows P-DQN (Xiong et al. 2018).

B batch, G = 16 cells a side, N = G * G proposals, K strokes of a bundle.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..renderers.stroke import STROKE_SIZE

VIEW = 64
"""Side in pixels of what the actor sees, whatever the size of the canvas."""

CELL = 4
GRID = VIEW // CELL
OFFSET = 0.12
"""How far the middle of a stroke may lie from its cell, in canvas widths."""

PICTURES = 9  # canvas, target and what is missing
LOG_GAIN = -6.0  # score of a typical stroke


SMALLEST_REWARD = 1e-4
"""Rewards nearer to 0 than this are told apart on a straight scale, larger ones on a logarithm."""


def score_of(reward: Tensor) -> Tensor:
    """A reward as the actor expects it: its natural logarithm, but for small and negative ones.

    The rewards of single strokes span four powers of ten, and some strokes do harm, so neither the
    plain number nor its logarithm will do: asinh(r / s) - ln(2 / s), s = 1e-4, is ln r for r >> s.

    Args:
        reward: any shape, any finite numbers.

    Returns:
        The same shape; a larger reward has a larger score.
    """
    return torch.asinh(reward / SMALLEST_REWARD) - math.log(2 / SMALLEST_REWARD)


def reward_of(score: Tensor) -> Tensor:
    """The inverse of `score_of`."""
    return SMALLEST_REWARD * torch.sinh(score + math.log(2 / SMALLEST_REWARD))


class Proposals(NamedTuple):
    """One stroke for each cell.

    Attributes:
        strokes: (B, N, 13) in [0, 1], Eq 6.1.
        scores: (B, N), `score_of` the reward that is expected of the stroke.
    """

    strokes: Tensor
    scores: Tensor


class ProposalActor(nn.Module):
    """Convolutions on three scales, then a stroke and a score for each cell.

    Args:
        width: channels on the 16 x 16 grid; twice as many on 8 x 8 and 4 x 4.
        focus: whether a focused image (Eq 6.3) is part of the input.
    """

    def __init__(self, width: int = 64, focus: bool = False) -> None:
        super().__init__()
        self.width, self.focus = width, focus
        inputs = (PICTURES + 3 * focus) * CELL**2 + 2  # and coordinates
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.fine = nn.Sequential(_Block(width), _Block(width))
        self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
        self.middle = nn.Sequential(_Block(2 * width), _Block(2 * width))
        self.deeper = nn.Conv2d(2 * width, 2 * width, 2, stride=2)
        self.coarse = nn.Sequential(_Block(2 * width), _Global(2 * width), _Block(2 * width))
        self.middle_up = _Block(2 * width)
        self.up = nn.Conv2d(2 * width, width, 1)
        self.fine_up = _Block(width)
        self.head = nn.Conv2d(width, STROKE_SIZE + 1, 1)
        nn.init.normal_(self.head.weight, std=0.02)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    def forward(self, canvas: Tensor, target: Tensor, focus: Tensor | None = None) -> Proposals:
        """Propose strokes.

        How many steps are left is no part of the input: the next strokes of a painting that shall
        look good at every moment do not depend on it, and another budget changes nothing.

        Args:
            canvas: (B, 3, H, W) in [0, 1], any size.
            target: the same shape.
            focus: (B, 3, h, w), the focused image, where the actor was made for one.

        Returns:
            The proposals, float32.
        """
        canvas, target = view(canvas), view(target)
        pictures = [canvas - 0.5, target - 0.5, 2 * (target - canvas)]
        if self.focus:
            if focus is None:
                raise ValueError("this actor was made to see a focused image: pass focus")
            pictures.append(view(focus) - 0.5)
        x = functional.pixel_unshuffle(torch.cat(pictures, 1), CELL)  # (B, C, G, G)
        place = _centres(x.device).view(1, GRID, GRID, 2).permute(0, 3, 1, 2)
        places = (2 * place - 1).expand(len(x), -1, -1, -1)
        x = torch.cat([x, places], 1).contiguous(memory_format=torch.channels_last)
        fine = self.fine(self.stem(x))
        middle = self.middle(self.down(fine))
        coarse = self.coarse(self.deeper(middle))
        middle = self.middle_up(middle + functional.interpolate(coarse, scale_factor=2))
        fine = self.fine_up(fine + functional.interpolate(self.up(middle), scale_factor=2))
        raw = self.head(functional.relu(fine)).float().flatten(2).transpose(1, 2)  # (B, N, 14)
        colour = functional.avg_pool2d(target.float(), CELL).flatten(2).transpose(1, 2)
        return Proposals(decode(raw[:, :, :STROKE_SIZE], colour), raw[:, :, STROKE_SIZE] + LOG_GAIN)


def view(image: Tensor) -> Tensor:
    """An image as the actor sees it: (B, C, H, W) of any size to (B, C, 64, 64), area-averaged."""
    if image.shape[-2:] == (VIEW, VIEW):
        return image
    return functional.interpolate(image, (VIEW, VIEW), mode="area")


def decode(raw: Tensor, colour: Tensor) -> Tensor:
    """Numbers of a cell to a stroke near it.

    Args:
        raw: (B, N, 13) unbounded: middle (2), bend (2), half of the way from end to end (2),
            thickness and opacity at both ends (4), colour (3).
        colour: (B, N, 3) mean colour of the target in the cell.

    Returns:
        (B, N, 13) strokes in [0, 1].
    """
    middle = _centres(raw.device) + OFFSET * torch.tanh(raw[..., 0:2])
    half = 0.5 * torch.tanh(0.5 * raw[..., 4:6])
    bend = torch.sigmoid(2 * raw[..., 2:4])
    thick = torch.sigmoid(raw[..., 6:10:2] - 2)
    opaque = torch.sigmoid(raw[..., 7:10:2] + 2)
    ends = torch.stack([thick, opaque], -1).flatten(-2)  # z0, v0, z1, v1
    shade = colour + 0.5 * torch.tanh(raw[..., 10:13])
    return torch.cat([middle - half, bend, middle + half, ends, shade], -1).clamp(0, 1)


def choose(proposals: Proposals, count: int, noise: Tensor | None = None) -> Tensor:
    """The proposals that promise most and do not cover each other, best first.

    Args:
        proposals: N of them.
        count: how many to choose.
        noise: (B, N) added to the scores, for exploration.

    Returns:
        (B, count) int64 indices.
    """
    with torch.no_grad():
        scores = proposals.scores if noise is None else proposals.scores + noise
        strokes = proposals.strokes
        middles = 0.5 * (strokes[..., 0:2] + strokes[..., 4:6])  # (B, N, 2)
        lines = _lines(strokes)
        rows = torch.arange(len(strokes), device=strokes.device)
        chosen: list[Tensor] = []
        for turn in range(count):
            best = scores.argmax(1)
            chosen.append(best)
            if turn == count - 1:
                break  # nobody asks what the last one covers
            one = _Lines(*(part[rows, best][:, None] for part in lines))  # (B, 1, ...)
            middle = middles[rows, best][:, None]
            cover = torch.maximum(_inside(one, middles), _inside(lines, middle))
            scores = scores + torch.log1p(-0.999 * cover)
            scores = scores.scatter(1, best[:, None], -torch.inf)
    return torch.stack(chosen, 1)


def gumbel(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Gumbel noise: added to scores, the largest is a draw from their softmax.

    Args:
        like: shape and device.
        generator: on the CPU.

    Returns:
        The noise, float32.
    """
    uniform = torch.rand(like.shape, generator=generator).clamp_(1e-9, 1 - 1e-7)
    return -torch.log(-torch.log(uniform)).to(like.device)


class _Lines(NamedTuple):
    """Strokes taken as straight: what does not depend on where they are asked about."""

    start: Tensor
    way: Tensor
    length: Tensor  # squared
    thickness: Tensor  # where it starts
    growth: Tensor  # of the thickness along the way


def _lines(strokes: Tensor) -> _Lines:
    start, way = strokes[..., 0:2], strokes[..., 4:6] - strokes[..., 0:2]
    length = (way * way).sum(-1) + 1e-6
    return _Lines(start, way, length, strokes[..., 6], strokes[..., 8] - strokes[..., 6])


def _inside(lines: _Lines, points: Tensor) -> Tensor:
    """How much points (B, N, 2) lie within lines, or one of either, 1 to 0."""
    gap = points - lines.start
    t = ((gap * lines.way).sum(-1) / lines.length).clamp(0, 1)
    distance = (gap - t[..., None] * lines.way).norm(dim=-1)
    radius = 0.25 * (lines.thickness + t * lines.growth) + 0.5 / GRID
    cover: Tensor = (1.5 - distance / radius).clamp(0, 1)
    return cover


def gather(strokes: Tensor, indices: Tensor) -> Tensor:
    """Pick strokes: (B, N, 13) and (B, K) to (B, K, 13)."""
    return strokes.gather(1, indices[..., None].expand(-1, -1, strokes.shape[-1]))


def _centres(device: torch.device) -> Tensor:
    """Centres of the cells as x, y in canvas widths, (N, 2)."""
    line = (torch.arange(GRID, device=device) + 0.5) / GRID
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).view(-1, 2)


class _Block(nn.Module):
    """Residual block whose second convolution starts at zero, which takes the place of a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = functional.relu(self.first(functional.relu(x)))
        out: Tensor = x + self.second(hidden)
        return out


class _Global(nn.Module):
    """Adds what the whole picture says to every cell."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x.mean((2, 3)))[:, :, None, None]
        return out
