"""A talking face frame by frame: sound in blocks, chunks of frames out, the state carried on.

Networks see `CHUNK` frames at a time, whatever the length of the sound, and hand their recurrent
state over to the next chunk: memory does not grow, and no seam shows. All chunks have one size (the
last is filled up and cut), so those of several faces go through a model's batcher together, and a
sound's first seconds give the same frames however long it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ...backend.buckets import Batch
from ..face_geometry import POINTS
from ..lipreader import READ
from .inputs import TalkingFace
from .mfcc import COEFFICIENTS, FPS, ROWS, WindowStream
from .sounds import Listener, Samples

CHUNK = 16
"""Frames that the networks make at a time: those of a training clip (Sec 5.4.1)."""
HOP = 2
"""Frames from one reading of the lips to the next: 80 ms, half of a short word."""
SILENCE = "sil"
"""What the lip reader says of lips that do not speak."""

Run = Callable[[Sequence[Batch]], list[Batch]]
"""Computes requests, as `Model.run`."""


class Piece(NamedTuple):
    """Some consecutive frames of a talking face.

    Attributes:
        frames: (t, S, S, 3) uint8.
        landmarks: (t, 68, 2) float32, pixels.
        coarse_mask: (t, S/2, S/2) uint8, 255 where all is new (Eq 5.5), of the first stage.
        fine_mask: (t, S, S) uint8, of the second.
    """

    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    coarse_mask: NDArray[np.uint8]
    fine_mask: NDArray[np.uint8]

    def at(self, places: Sequence[int]) -> "Piece":
        """Some of the frames."""
        rows = list(places)
        return Piece(
            self.frames[rows], self.landmarks[rows], self.coarse_mask[rows], self.fine_mask[rows]
        )

    def put(self, into: "Piece", start: int) -> None:
        """Copy the frames to a place in a longer piece."""
        rows = slice(start, start + len(self.frames))
        into.frames[rows] = self.frames
        into.landmarks[rows] = self.landmarks
        into.coarse_mask[rows] = self.coarse_mask
        into.fine_mask[rows] = self.fine_mask

    @classmethod
    def room(cls, frames: int, side: int) -> "Piece":
        """Room for frames; pages of memory are taken as they are filled."""
        return cls(
            np.empty((frames, side, side, 3), np.uint8),
            np.empty((frames, POINTS, 2), np.float32),
            np.empty((frames, side // 2, side // 2), np.uint8),
            np.empty((frames, side, side), np.uint8),
        )


class ReadWord(NamedTuple):
    """A word that the lip reader reads.

    Attributes:
        word: one of its classes.
        start: seconds.
        end: seconds.
        probability: mean over its readings, 0 to 1.
    """

    word: str
    start: float
    end: float
    probability: float


class LipReading:
    """Windows of frames slid over a video, each asked for its word; runs of a word are merged.

    A reading stands for `HOP` frames in the middle of its `READ` frames. At both ends of the video
    its first and last frame are repeated.

    Args:
        words: classes of the lip reader.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._names = tuple(words)
        self._held: list[NDArray[np.uint8]] = []
        self._frames, self._asked = 0, 0
        self._best: list[tuple[int, float]] = []  # class and probability of each reading

    def push(self, frames: NDArray[np.uint8]) -> list[Batch]:
        """See more frames.

        Args:
            frames: (t, S, S, 3).

        Returns:
            Requests for the lip reader: "lips" (16, S, S, 3) uint8.
        """
        if not self._frames and len(frames):
            self._held = [frames[0]] * (READ // 2 - HOP // 2)
        self._held += list(frames)
        self._frames += len(frames)
        return self._ready()

    def finish(self) -> list[Batch]:
        """The last requests, after the last frame."""
        due = -(-self._frames // HOP) - self._asked
        if due > 0:
            lacking = READ + (due - 1) * HOP - len(self._held)
            self._held += [self._held[-1]] * max(0, lacking)
        return self._ready()[:due]

    def take(self, scores: NDArray[np.float32]) -> None:
        """Take an answer, in the order of the requests.

        Args:
            scores: (V,) log probabilities.
        """
        best = int(scores.argmax())
        self._best.append((best, float(np.exp(scores[best]))))

    @property
    def words(self) -> tuple[ReadWord, ...]:
        """What was read up to now; stretches without speech are left out."""
        found, start = list[ReadWord](), 0
        for place in range(1, len(self._best) + 1):
            same = place < len(self._best) and self._best[place][0] == self._best[start][0]
            if same:
                continue
            word = self._names[self._best[start][0]]
            if word != SILENCE:
                end = min(place * HOP, self._frames) / FPS
                likely = float(np.mean([sure for _, sure in self._best[start:place]]))
                found.append(ReadWord(word, start * HOP / FPS, end, likely))
            start = place
        return tuple(found)

    def _ready(self) -> list[Batch]:
        requests = []
        while len(self._held) >= READ:
            requests.append({"lips": torch.from_numpy(np.stack(self._held[:READ]))})
            del self._held[:HOP]
            self._asked += 1
        return requests


@dataclass(frozen=True)
class Start:
    """What a talking face starts from.

    Attributes:
        face: it.
        fixed: tensors that go with every chunk: what the networks see in the face.
        state: tensors that a chunk hands over to the next, before the first one.
        landmarks: (T, 68, 2) pixels of the crop to follow, for all T frames of the sound; None =
            predict them from the sound.
    """

    face: TalkingFace
    fixed: Batch
    state: Batch
    landmarks: NDArray[np.float32] | None = None


class Act:
    """One face that says one sound.

    Args:
        start: see `Start`.
        sound: blocks of samples.
        listener: told of all samples.
        reading: sees all frames; None = nobody reads the lips.
    """

    def __init__(
        self,
        start: Start,
        sound: Iterator[Samples],
        listener: Listener,
        reading: LipReading | None = None,
    ) -> None:
        self.start, self.listener, self.reading = start, listener, reading
        self._sound, self._windows = sound, WindowStream()
        self._state = start.state
        self._ready = np.empty((0, ROWS, COEFFICIENTS), np.float32)
        self.over, self._asked, self._frames = False, 0, 0

    def request(self) -> Batch | None:
        """The next chunk for the networks; None after the last.

        Returns:
            "windows" (16, 28, 12), with the tensors of `Start`, and "given" (16, 136) if there
            are landmarks to follow, as shares of the side.

        Raises:
            Exception: whatever reading the sound raises.
        """
        while len(self._ready) < CHUNK and not self.over:
            self._listen()
        count = self._asked = min(CHUNK, len(self._ready))
        if not count:
            return None
        chunk = np.zeros((CHUNK, ROWS, COEFFICIENTS), np.float32)
        chunk[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        request = {"windows": torch.from_numpy(chunk), **self.start.fixed, **self._state}
        given = self.start.landmarks
        if given is not None:
            rows = np.arange(self._frames, self._frames + CHUNK).clip(max=len(given) - 1)
            shares = given[rows].reshape(CHUNK, -1) / np.float32(len(self.start.face.image))
            request["given"] = torch.from_numpy(shares.astype(np.float32))
        return request

    def take(self, result: Batch) -> Piece:
        """Take the networks' answer to the last request.

        Args:
            result: "frames" (16, S, S, 3), "coarse" (16, S/2, S/2) and "fine" (16, S, S) uint8,
                "landmarks" (16, 136), and the tensors of the state.

        Returns:
            The frames that belong to the sound.
        """
        self._state = {name: result[name] for name in self._state}
        count = self._asked
        self._frames += count
        side = len(self.start.face.image)
        landmarks = result["landmarks"][:count].view(count, POINTS, 2) * side
        return Piece(
            result["frames"][:count].numpy(),
            landmarks.numpy(),
            result["coarse"][:count].numpy(),
            result["fine"][:count].numpy(),
        )

    def _listen(self) -> None:
        block = next(self._sound, None)
        if block is None:
            self.over = True
            more = self._windows.finish()
        else:
            self.listener.hear(block)
            more = self._windows.push(block)
        self._ready = np.concatenate([self._ready, more])


def perform(acts: Sequence[Act], run: Run) -> Iterator[tuple[int, Piece]]:
    """Let faces talk, all at the same time.

    Args:
        acts: one or more.
        run: computes requests.

    Yields:
        Of an act, by its number, its next frames; those of one act in order.
    """
    live = list(range(len(acts)))
    while live:
        requests = [(number, acts[number].request()) for number in live]
        asked = [(number, request) for number, request in requests if request is not None]
        over = set(live) - {number for number, _ in asked}
        results = run([request for _, request in asked]) if asked else []
        pieces = [
            (number, acts[number].take(result))
            for (number, _), result in zip(asked, results, strict=True)
        ]
        _read_lips(acts, pieces, over, run)
        live = [number for number, _ in asked]
        yield from pieces


def _read_lips(
    acts: Sequence[Act], pieces: Sequence[tuple[int, Piece]], over: set[int], run: Run
) -> None:
    whose, requests = list[LipReading](), list[Batch]()
    for number, frames in [(n, piece.frames) for n, piece in pieces] + [(n, None) for n in over]:
        reading = acts[number].reading
        if reading is not None:
            new = reading.finish() if frames is None else reading.push(frames)
            whose += [reading] * len(new)
            requests += new
    if requests:
        for reading, answer in zip(whose, run(requests), strict=True):
            reading.take(answer["scores"].float().numpy())


class TalkingStream:
    """Frames of a talking face as they come; an iterator of (S, S, 3) uint8 frames.

    Args:
        act: that is performed.
        run: computes requests.
        notes: what is known beforehand.
        texts: provenance, keyword -> value.

    Attributes:
        fps: frames a second.
        face: that talks.
        texts: provenance.
    """

    fps = FPS

    def __init__(self, act: Act, run: Run, notes: Sequence[str], texts: dict[str, str]) -> None:
        self.face, self.texts = act.start.face, texts
        self._act, self._notes = act, tuple(notes)
        self._pieces = (piece for _, piece in perform([act], run))
        self._frames = (frame for piece in self._pieces for frame in piece.frames)

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return self

    def __next__(self) -> NDArray[np.uint8]:
        return next(self._frames)

    def pieces(self) -> Iterator[Piece]:
        """What is still to come, with landmarks and masks, some frames at a time."""
        return self._pieces

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know; of a sound that is streamed only when it has been heard."""
        heard = self._act.listener.notes if self._act.over else ()
        return tuple(dict.fromkeys((*self._notes, *heard)))

    @property
    def words(self) -> tuple[ReadWord, ...]:
        """What the lip reader has read up to now; after the last frame, everything."""
        return self._act.reading.words if self._act.reading is not None else ()
