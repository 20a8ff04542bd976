"""Pictures of faces whose landmarks are moved: a thin-plate spline in the plane."""

import torch
from torch import Tensor
from torch.nn import functional

STIFF = 1e-3
"""Lets warps miss landmarks by a little, as those of closed lips coincide."""
GRID = 32
"""Points a side at which warps are worked out."""


def warped(images: Tensor, landmarks: Tensor, moved: Tensor) -> Tensor:
    """Images whose landmarks are moved, by a thin-plate spline (Bookstein 1989); borders stay.

    Args:
        images: (B, C, S, S).
        landmarks: (B, 136), in sides.
        moved: (B, 136), where they are to be.

    Returns:
        (B, C, S, S), edges repeated outwards.
    """
    count, place = len(images), images.device
    edge = torch.linspace(0, 1, 5, device=place)
    low, high = torch.zeros_like(edge), torch.ones_like(edge)
    border = torch.cat(
        [torch.stack(ends, 1) for ends in ((edge, low), (edge, high), (low, edge), (high, edge))]
    ).unique(dim=0)
    border = border.expand(count, -1, -1)
    source = torch.cat([landmarks.float().view(count, -1, 2), border], 1)
    target = torch.cat([moved.float().view(count, -1, 2), border], 1)
    points = target.shape[1]
    matrix = torch.zeros(count, points + 3, points + 3, device=place)
    matrix[:, :points, :points] = _kernel(target, target)
    matrix[:, :points, :points] += STIFF * torch.eye(points, device=place)
    ones = torch.ones(count, points, 1, device=place)
    matrix[:, :points, points:] = torch.cat([ones, target], 2)
    matrix[:, points:, :points] = matrix[:, :points, points:].mT
    wanted = torch.zeros(count, points + 3, 2, device=place)
    wanted[:, :points] = source - target  # from where each point of the result is taken
    spline = torch.linalg.solve(matrix, wanted)
    steps = (torch.arange(GRID, device=place) + 0.5) / GRID
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    grid = torch.stack([columns, rows], 2).view(1, -1, 2).expand(count, -1, -1)
    ones = torch.ones(count, GRID * GRID, 1, device=place)
    basis = torch.cat([_kernel(grid, target), ones, grid], 2)
    flow = (basis @ spline).mT.view(count, 2, GRID, GRID)
    size = images.shape[2]
    flow = functional.interpolate(flow, size=(size, size), mode="bilinear")
    steps = (torch.arange(size, device=place) + 0.5) / size
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    where = torch.stack([columns, rows]) + flow
    return functional.grid_sample(
        images, 2 * where.permute(0, 2, 3, 1) - 1, padding_mode="border", align_corners=False
    )


def _kernel(points: Tensor, centres: Tensor) -> Tensor:
    """r^2 log r^2 of the distances of points (B, N, 2) from centres (B, M, 2): (B, N, M)."""
    squares = (points[:, :, None] - centres[:, None]).square().sum(3)
    return squares * (squares + 1e-12).log()
