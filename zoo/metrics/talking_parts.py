"""What the parts of an evaluation of talking faces share: the model, the clips, the judges."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ...backend import device as devices
from ..avwnet import Generator
from ..data.talking import Clips
from ..lipreader import LipReader
from ..talking_landmarks import TalkingLandmarks
from .retrieval import others

CHUNK = 25
"""Frames of one pass of the generator; its state is carried on to the next."""

GENERATED = "generated"
GIVEN = "true landmarks given"
SHUFFLED, FROZEN = "another clip's sound", "the first frame, repeated"
REAL = "the real video"

Report = Callable[[str, int, int], None]
"""(what is being done, how much of it is done, of how much)."""
Find = Callable[[Tensor, Tensor], Tensor]
"""From frames (T, 3, S, S) uint8 and the landmarks (136,) of the first, to landmarks (T, 136)."""


class Talker(Protocol):
    """What is needed of a model; rows do not meet."""

    @property
    def title(self) -> str:
        """Name and weights."""

    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        """Landmarks from sound.

        Args:
            windows: (B, T, 28, 12), see `talking.mfcc`.
            first: (B, 136), landmarks of the example face.

        Returns:
            (B, T, 136) float32, as shares of the side.
        """

    def talk(self, example: Tensor, first: Tensor, windows: Tensor, landmarks: Tensor) -> Tensor:
        """Frames from an example face, sound and landmarks.

        Args:
            example: (B, 3, S, S) uint8.
            first: (B, 136), its landmarks.
            windows: (B, T, 28, 12).
            landmarks: (B, T, 136).

        Returns:
            (B, T, 3, S, S) uint8.
        """


class NetworkTalker:
    """The networks of an AVWnet, on their device.

    Args:
        networks: "generator" and "landmarks", as of a model.
        title: name and weights.
        dtype: to compute in, see `device.autocast`.

    Raises:
        ValueError: a network is missing.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], title: str, dtype: torch.dtype = torch.float32
    ) -> None:
        generator, landmarks = networks["generator"], networks["landmarks"]
        if not isinstance(generator, Generator) or not isinstance(landmarks, TalkingLandmarks):
            raise ValueError(f"{title}: not the networks of an AVWnet")
        self.generator, self.landmarks = generator.eval(), landmarks.eval()
        self._title, self.dtype = title, dtype
        self.device = next(generator.parameters()).device

    @property
    def title(self) -> str:
        """See `Talker`."""
        return self._title

    @torch.no_grad()
    def predict(self, windows: Tensor, first: Tensor) -> Tensor:
        """See `Talker`."""
        found, _ = self.landmarks(windows.to(self.device), first.to(self.device))
        points: Tensor = found.float().cpu()
        return points

    @torch.no_grad()
    def talk(self, example: Tensor, first: Tensor, windows: Tensor, landmarks: Tensor) -> Tensor:
        """See `Talker`."""
        face = example.to(self.device) / 127.5 - 1
        own, state, parts = first.to(self.device), None, []
        with devices.autocast(self.device, self.dtype):
            looked = self.generator.look(face)
            for heard, aimed in zip(
                windows.split(CHUNK, 1), landmarks.split(CHUNK, 1), strict=True
            ):
                made = self.generator(
                    looked, heard.to(self.device), aimed.to(self.device), own, state
                )
                state = made.state
                pixels = (made.fine.float().clamp(-1, 1) + 1) * 127.5
                parts.append(pixels.round().to(torch.uint8).cpu())
        return torch.cat(parts, 1)


@dataclass(frozen=True, eq=False)
class TalkingTrial:
    """Held-out clips to speak again.

    Attributes:
        clips: the data set.
        rows: N numbers of held-out clips.
        partners: N, the clip whose sound the shuffled control hears, each of `rows` once.
        notes: what a reader should know.
    """

    clips: Clips
    rows: tuple[int, ...]
    partners: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """Of the set, for tables."""
        return f"{self.clips.name}, held-out clips"

    def heard(self, place: int) -> Tensor:
        """The other clip's windows, of the length of this one: cut, or silent at the end.

        Args:
            place: number of the clip in this trial.

        Returns:
            (T, 28, 12) float32.
        """
        own = self.clips.rows(self.rows[place])
        found = self.clips.windows[self.clips.rows(self.partners[place])]
        count = own.stop - own.start
        padded = torch.zeros(count, *found.shape[1:])
        padded[: len(found)] = found[:count]
        return padded


def talking_trial(clips: Clips, count: int, seed: int = 0, least: int = 3) -> TalkingTrial:
    """Draw held-out clips.

    Args:
        clips: the data set.
        count: N, at most.
        seed: of the choice.
        least: frames; shorter clips are left out.

    Returns:
        The trial.

    Raises:
        ValueError: fewer than two clips are held out.
    """
    if count < 2:
        raise ValueError(f"{count} clips: give 2 or more, as one hears the sound of another")
    long = clips.first.diff() >= least
    held = torch.nonzero(clips.held_out & long).flatten()
    if len(held) < 2:
        raise ValueError(f"{clips.name}: {len(held)} clips held out; 2 or more are needed")
    notes = []
    if short := int((clips.held_out & ~long).sum()):
        notes.append(f"{short} held-out clips of fewer than {least} frames are left out")
    if len(held) < count:
        notes.append(f"{count} clips were asked for; {len(held)} are held out")
    order = torch.randperm(len(held), generator=devices.generator(devices.spawn(seed, 0)))
    rows = held[order[:count]].sort().values
    known = set(clips.speakers[~clips.held_out].tolist())
    new = [row for row in rows.tolist() if int(clips.speakers[row]) not in known]
    speakers = len(clips.speakers[rows].unique())
    notes.append(
        f"{speakers} {'speaker' if speakers == 1 else 'speakers'}; {len(new)} of {len(rows)} clips "
        "are of people of whom no other clip is trained on"
    )
    partners = rows[others(len(rows), devices.spawn(seed, 1))]
    return TalkingTrial(clips, tuple(rows.tolist()), tuple(partners.tolist()), tuple(notes))


@dataclass(frozen=True, eq=False)
class TalkingJudges:
    """Who judges talking faces; none of them may have been in a loss.

    Attributes:
        reader: of lips, trained apart on real clips of the same kind; None leaves words out.
        find: landmarks; None leaves out those found in frames.
        detect: whether each of some frames (K, 3, S, S) uint8 shows a face, (K,) bool; None leaves
            it out.
        name: of `find` and `detect`.
        notes: what is left out and why, sentences.
    """

    reader: LipReader | None = None
    find: Find | None = None
    detect: Callable[[Tensor], Tensor] | None = None
    name: str = "dlib"
    notes: tuple[str, ...] = ()


class Spoken(NamedTuple):
    """One clip and what a model makes of it.

    Attributes:
        real: (T, 3, S, S) uint8.
        landmarks: (T, 136), the real ones.
        frames: by who, (T, 3, S, S) uint8: `GENERATED`, `GIVEN`, `SHUFFLED`, `FROZEN`.
        aimed: by who, (T, 136): `GENERATED`, `SHUFFLED`, `FROZEN`.
    """

    real: Tensor
    landmarks: Tensor
    frames: dict[str, Tensor]
    aimed: dict[str, Tensor]


def speak(model: Talker, trial: TalkingTrial, place: int) -> Spoken:
    """Let a model speak one clip: as a user would, and with the controls.

    Args:
        model: see `Talker`.
        trial: see `TalkingTrial`.
        place: number of the clip in the trial.

    Returns:
        See `Spoken`.

    Raises:
        ValueError: the model gives other shapes, or landmarks that are not finite.
    """
    clips = trial.clips
    rows = clips.rows(trial.rows[place])
    real, truth = clips.frames[rows], clips.landmarks[rows]
    own = clips.windows[rows]
    windows = torch.stack([own, trial.heard(place)])
    first = truth[:1].expand(2, -1)
    aimed = model.predict(windows, first)
    if aimed.shape != (2, *truth.shape) or not aimed.isfinite().all():
        raise ValueError(
            f"{model.title}: gave landmarks of shape {tuple(aimed.shape)}, or not finite; expected "
            f"finite {(2, *truth.shape)}"
        )
    goals = torch.stack([aimed[0], truth, aimed[1]])
    made = model.talk(
        real[:1].expand(3, -1, -1, -1), truth[:1].expand(3, -1), windows[[0, 0, 1]], goals
    )
    if made.shape != (3, *real.shape) or made.dtype != torch.uint8:
        raise ValueError(
            f"{model.title}: gave frames {made.dtype} {tuple(made.shape)}; expected uint8 "
            f"{(3, *real.shape)}"
        )
    frames = dict(zip((GENERATED, GIVEN, SHUFFLED), made, strict=True))
    frames[FROZEN] = real[:1].expand_as(real)
    return Spoken(
        real,
        truth,
        frames,
        {GENERATED: aimed[0], SHUFFLED: aimed[1], FROZEN: truth[:1].expand_as(truth)},
    )


def short(value: float) -> str:
    """A number as people write it, small ones with a digit that is not 0."""
    if not value:
        return "0.00"  # and not -0.00
    if abs(value) >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 5e-4 else f"{value:.0e}"
