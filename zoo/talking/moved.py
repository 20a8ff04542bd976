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

from ...backend import device as devices
from ...backend.files import MediaError
from ..data.talking import Clip, Clips, join
from ..face_geometry import POINTS
from ..faces import FaceError, FaceFinder
from ..spline import warped
from .geometry import opening
from .inputs import TalkingFace, read_face

NAME = "moved photos"
CLOSED = 0.012
"""Lips of a photo that are nearer to each other, as a share of its side, are closed."""
STILL = (*range(17, 27), *range(36, 48))
"""Brows and eyes: a photo's glasses must not follow them."""
INNER = tuple(range(60, 68))
SKIN = (1, 15, 30)
"""Points whose pixels tell how bright a face is: both sides and the tip of the nose."""
DIMMEST, BRIGHTER = 0.35, 0.75
"""The light on teeth: so much in black, and so much more in white."""
DARK, TEETH = (46.0, 18.0, 18.0), (206.0, 196.0, 184.0)
BITE = 0.45
"""Share of the opening that the upper teeth fill, at most `TALL` sides."""
TALL = 0.022
FINE = 4
"""Sub-pixels a side of the mouth's edge."""

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


def follow(own: Tensor, track: Tensor) -> Tensor:
    """Where a face's points go if it moves as another does.

    Args:
        own: (136,) of the face, in sides.
        track: (T, 136) of the other; the frame whose lips are the closest is taken for its rest.

    Returns:
        (T, 136), movements as large as the breadths of the mouths are to each other; eyes and brows
        stay.
    """
    rest = track[int(opening(track).argmin())]
    here, there = own.view(POINTS, 2), rest.view(POINTS, 2)
    scale = (here[54] - here[48]).norm() / (there[54] - there[48]).norm()
    moves = (scale * (track - rest)).view(-1, POINTS, 2)
    moves[:, list(STILL)] = 0
    places: Tensor = (here + moves).flatten(1)
    return places


def paint_mouth(frame: NDArray[np.float32], points: NDArray[np.float64], light: float) -> None:
    """Paint what parted lips show, in place.

    Args:
        frame: (S, S, 3), 0 to 255.
        points: (68, 2) pixels.
        light: of the face, 0 to 1.
    """
    side = len(frame)
    apart = float(points[66, 1] - points[62, 1])
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
    own = torch.from_numpy(face.landmarks / side).float().flatten()
    targets = follow(own, source.landmarks[rows])
    count = len(targets)
    image = torch.tensor(face.image).permute(2, 0, 1).float()
    shown = warped(image.expand(count, -1, -1, -1), own.expand(count, -1), targets)
    frames = shown.permute(0, 2, 3, 1).contiguous().numpy()
    if opening(own) < CLOSED:
        across, down = (own.view(POINTS, 2)[list(SKIN)] * side).long().clamp(0, side - 1).T
        light = DIMMEST + BRIGHTER * float(image[:, down, across].mean() / 255)
        places = targets.double().view(count, POINTS, 2).numpy() * side
        for frame, points in zip(frames, places, strict=True):
            paint_mouth(frame, points, light)
    return Clip(
        name=f"{number}: {face.name} as {source.names[clip]}",
        frames=torch.from_numpy(frames.round().clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2),
        landmarks=targets.clamp(-1, 2),
        windows=source.windows[rows],
        samples=source.sound(clip),
        words=(),
        speaker=number,
    )
