"""Photos that are moved as the people of talking clips are: many faces to train on, none filmed.

The face of a photo is warped by a thin plate spline (Bookstein 1989) so that its landmarks go where
a clip's do, and where closed lips part, teeth and the dark behind them are painted. Eyes and brows
keep still. That is no truth: it shows a network how a mouth of any face follows landmarks, and no
more.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from ...backend import device as devices
from ...backend.files import MediaError
from ..data.talking import Clip, Clips, join
from ..face_geometry import POINTS
from ..faces import FaceError, FaceFinder
from .inputs import TalkingFace, read_face

NAME = "moved photos"
CLOSED = 0.012
"""Lips of a photo that are nearer to each other, as a share of its side, are closed."""
STILL = (*range(17, 27), *range(36, 48))
"""Brows and eyes: a photo's glasses must not follow them."""
INNER = tuple(range(60, 68))
STEP = 4
"""Pixels between the places where the spline is worked out; it is smooth between them."""
DARK, TEETH = (46.0, 18.0, 18.0), (206.0, 196.0, 184.0)
BITE = 0.45
"""Share of the opening that the upper teeth fill, at most `TALL` sides."""
TALL = 0.022
FINE = 4
"""Sub-pixels a side of the mouth's edge."""

_ANCHORS = tuple((x, y) for x in (0.0, 0.5, 1.0) for y in (0.0, 0.5, 1.0) if (x, y) != (0.5, 0.5))

Report = Callable[[int, int], None]
"""(clips made, how many are wanted)."""


def moved_photos(
    photos: Sequence[Path],
    clips: Clips,
    count: int,
    finder: FaceFinder,
    *,
    seed: int = 0,
    report: Report = lambda done, total: None,
) -> Clips:
    """Clips of photos, each moved as a clip that is not held out, and with its sound.

    Args:
        photos: files with a face each; those without one are passed over.
        clips: give movements and sounds.
        count: of clips, at most; fewer where the photos do not suffice.
        finder: finds faces.
        seed: of the choices.
        report: called as clips are made.

    Returns:
        The clips, without words; nobody is held out.

    Raises:
        ValueError: no photo can be used, or there is no clip to train on.
    """
    source = clips.part(False)
    draws = devices.generator(seed)
    found, skipped = list[Clip](), dict[str, str]()
    for number in torch.randperm(len(photos), generator=draws).tolist():
        if len(found) == count:
            break
        path = photos[number]
        clip = int(torch.randint(len(source), (1,), generator=draws))
        try:
            face = read_face(path, clips.size, finder)
        except (FaceError, MediaError) as error:
            skipped[str(path)] = str(error)
            continue
        found.append(_moved(face, source, clip, len(found)))
        report(len(found), count)
    if not found:
        raise ValueError(f"no photo with a face among {len(photos)}")
    return join(NAME, found, skipped)


def opening(landmarks: NDArray[np.floating]) -> float:
    """How far the lips of (68, 2) points are apart in their middle."""
    return float(landmarks[66, 1] - landmarks[62, 1])


def follow(own: Tensor, track: Tensor) -> Tensor:
    """Where a face's points go if it moves as another does.

    Args:
        own: (68, 2) of the face.
        track: (T, 68, 2) of the other; the frame whose lips are the closest is taken for its rest.

    Returns:
        (T, 68, 2), movements as large as the breadths of the mouths are to each other; eyes and
        brows stay.
    """
    apart = track[:, 66, 1] - track[:, 62, 1]
    rest = track[int(apart.argmin())]
    scale = (own[54] - own[48]).norm() / (rest[54] - rest[48]).norm()
    moves = scale * (track - rest)
    moves[:, list(STILL)] = 0
    places: Tensor = own + moves
    return places


def warped(image: Tensor, own: Tensor, targets: Tensor) -> Tensor:
    """A picture whose points go elsewhere; its border stays.

    Args:
        image: (3, S, S) float.
        own: (P, 2) pixels.
        targets: (T, P, 2) where they go.

    Returns:
        (T, 3, S, S).
    """
    side = image.shape[-1]
    anchors = own.new_tensor(_ANCHORS) * side
    ends = torch.cat([targets, anchors.expand(len(targets), -1, -1)], 1) / side
    starts = torch.cat([own, anchors])[None] / side
    size = ends.shape[1]
    # From where each place of the new picture comes: f(ends) = starts - ends, solved for all T.
    kernel = _bending(torch.cdist(ends, ends))
    plane = torch.cat([ends.new_ones(*ends.shape[:2], 1), ends], 2)
    system = ends.new_zeros(len(ends), size + 3, size + 3)
    system[:, :size, :size] = kernel + 1e-5 * torch.eye(size, dtype=ends.dtype)
    system[:, :size, size:], system[:, size:, :size] = plane, plane.mT
    wanted = torch.cat([starts - ends, ends.new_zeros(len(ends), 3, 2)], 1)
    weights = torch.linalg.solve(system, wanted)
    cells = (torch.arange(side // STEP, dtype=ends.dtype) + 0.5) * STEP / side
    grid = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), 2).flatten(0, 1)
    reach = _bending(torch.cdist(grid.expand(len(ends), -1, -1), ends))
    flat = torch.cat([torch.ones(len(grid), 1, dtype=ends.dtype), grid], 1)
    shift = reach @ weights[:, :size] + flat @ weights[:, size:]
    shift = shift.mT.unflatten(2, (side // STEP, side // STEP))
    shift = functional.interpolate(shift, size=(side, side), mode="bilinear", align_corners=False)
    pixels = (torch.arange(side, dtype=ends.dtype) + 0.5) / side
    place = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), 2)
    where = 2 * (place + shift.permute(0, 2, 3, 1)) - 1
    return functional.grid_sample(
        image.to(ends.dtype).expand(len(ends), -1, -1, -1),
        where,
        padding_mode="border",
        align_corners=False,
    )


def _bending(distance: Tensor) -> Tensor:
    """r^2 log r, the kernel of the spline in the plane."""
    square = distance.square()
    return 0.5 * square * square.clamp(min=1e-12).log()


def paint_mouth(frame: NDArray[np.float32], points: NDArray[np.float64], light: float) -> None:
    """Paint what parted lips show, in place.

    Args:
        frame: (S, S, 3), 0 to 255.
        points: (68, 2) pixels.
        light: of the face, 0 to 1.
    """
    side = len(frame)
    apart = opening(points)
    if apart < 1:
        return
    inner = points[list(INNER)]
    hole = _polygon(inner, side)
    down = min(BITE * apart, TALL * side)
    upper = inner[[0, 1, 2, 3, 4]]
    lower = upper[::-1] + np.array([0.0, down])
    teeth = _polygon(np.concatenate([upper, lower]), side) * hole
    fade = min(1.0, apart - 1) * 0.92
    for mask, colour, alpha in ((hole, DARK, fade), (teeth, TEETH, 0.85 * fade)):
        share = alpha * mask[..., None]
        frame *= 1 - share
        frame += share * (light * np.asarray(colour, np.float32))


def _polygon(points: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """(S, S) in [0, 1], the share of each pixel inside."""
    mask = Image.new("L", (side * FINE, side * FINE))
    ImageDraw.Draw(mask).polygon([(x * FINE, y * FINE) for x, y in points.tolist()], fill=255)
    small = mask.resize((side, side), Image.Resampling.BOX)
    return np.asarray(small, np.float32) / np.float32(255)


def _moved(face: TalkingFace, source: Clips, clip: int, number: int) -> Clip:
    side, rows = source.size, source.rows(clip)
    own = torch.from_numpy(np.asarray(face.landmarks, np.float32))
    track = source.landmarks[rows].reshape(-1, POINTS, 2) * side
    targets = follow(own, track)
    image = torch.from_numpy(np.ascontiguousarray(face.image)).permute(2, 0, 1).float()
    frames = warped(image, own, targets).permute(0, 2, 3, 1).contiguous().numpy()
    cheeks = own[[1, 15, 30]].round().long().clamp(0, side - 1)
    light = float(image[:, cheeks[:, 1], cheeks[:, 0]].mean() / 255)
    if opening(face.landmarks) < CLOSED * side:
        for frame, points in zip(frames, targets.double().numpy(), strict=True):
            paint_mouth(frame, points, 0.35 + 0.75 * light)
    shown = torch.from_numpy(frames.clip(0, 255).round().astype(np.uint8))
    return Clip(
        name=f"{number}: {face.name} as {source.names[clip]}",
        frames=shown.permute(0, 3, 1, 2).contiguous(),
        landmarks=(targets / side).flatten(1).clamp(-1, 2),
        windows=source.windows[rows].clone(),
        samples=source.sound(clip),
        words=(),
        speaker=number,
    )
