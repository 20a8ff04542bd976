"""Held-out figures, sample sheets and sample videos of a training of AVWnet."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...backend import device as devices
from ...backend.sheet import sheet
from ...backend.video import write_video
from ..avwnet import Generator
from ..data.talking import SILENCE
from ..lipreader import READ, LipReader
from ..metrics.talking import Region, decibels, mouth_region
from ..talking.mfcc import FPS, SAMPLE_RATE
from ..talking.result import GENERATED
from ..talking_landmarks import TalkingLandmarks
from .clip_batches import ClipBatches, Words
from .face_batches import arrays

CHUNK = 25
"""Frames that are generated at a time, so that memory does not grow with a clip's length."""
MEASURED = 12
"""Held-out clips that are generated for the figures, at most."""
SHOWN, COLUMNS = 2, 8
"""Clips on a sample sheet, and frames of each."""


class Made(NamedTuple):
    """A generated clip on the CPU.

    Attributes:
        fine: (T, 3, 128, 128) float32 in [-1, 1].
        coarse: (T, 3, 64, 64).
        fine_mask: (T, 1, 128, 128) in [0, 1].
        coarse_mask: (T, 1, 64, 64).
    """

    fine: Tensor
    coarse: Tensor
    fine_mask: Tensor
    coarse_mask: Tensor


class Figures:
    """What a generator makes of clips that it has not seen, as in use: landmarks from the sound.

    Args:
        generator: the moving average; it goes on changing.
        predictor: of landmarks.
        reader: lip reader of the training, so no evaluation; None reads nothing.
        dtype: of the convolutions.
        device: where the networks are.
    """

    def __init__(
        self,
        generator: Generator,
        predictor: TalkingLandmarks,
        reader: LipReader | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.generator, self.predictor, self.reader = generator, predictor, reader
        self.dtype, self.device = dtype, device

    @torch.no_grad()
    def generate(self, clips: ClipBatches, clip: int) -> Made:
        """A clip from its first frame and its sound.

        Args:
            clips: it comes from.
            clip: its number there.

        Returns:
            As many frames as the clip has.
        """
        rows = clips.rows(clip)
        first = rows[:1]
        own = clips.landmarks(first)
        parts: list[Made] = []
        state = heard = None
        with devices.autocast(self.device, self.dtype):
            looked = self.generator.look(clips.frames(first))
            for part in rows.split(CHUNK):
                windows = clips.windows(part)[None]
                landmarks, heard = self.predictor(windows, own, heard)
                made = self.generator(looked, windows, landmarks, own, state)
                state = made.state
                kept = (made.fine, made.coarse, made.fine_mask, made.coarse_mask)
                parts.append(Made(*(each[0].float().cpu() for each in kept)))
        return Made(*(torch.cat(each) for each in zip(*parts, strict=True)))

    @torch.no_grad()
    def measure(self, held: ClipBatches) -> dict[str, float]:
        """Figures of up to 12 clips, the first frame of each left out.

        Returns:
            Means over frames, for values in [0, 1]: "l1" and "psnr" (dB) of the whole frame,
            "l1_mouth" and "psnr_mouth" in a box about the mouth of the clip; each with "first_"
            before its name for the first frame repeated. With a lip reader, shares of the spoken
            words that it reads right: "words" in the generated clips, "words_real" in the real
            ones, and "words_shuffled" in those of other clips' sound at the same times.
        """
        count = min(MEASURED, len(held))
        totals: dict[str, float] = {}
        frames = 0
        videos = []
        for clip in range(count):
            made = self.generate(held, clip).fine
            rows = held.rows(clip)
            real = held.frames(rows).cpu()
            box = mouth_region(held.landmarks(rows[1:]).cpu(), held.size)
            for prefix, shown in (("", made), ("first_", real[:1].expand_as(real))):
                for name, value in _errors(shown[1:], real[1:], box).items():
                    totals[prefix + name] = totals.get(prefix + name, 0.0) + value
            frames += len(rows) - 1
            videos.append(made)
        figures = {name: total / max(1, frames) for name, total in totals.items()}
        return {**figures, **self._read(held, videos)}

    def _read(self, held: ClipBatches, videos: list[Tensor]) -> Mapping[str, float]:
        """Word accuracies, see `measure`."""
        if self.reader is None:
            return {}
        known = [word for word in self.reader.config.words if word != SILENCE]
        numbers = torch.tensor([self.reader.config.words.index(word) for word in known])
        words = Words(held, known, READ)
        right: dict[str, list[bool]] = {"words": [], "words_real": [], "words_shuffled": []}
        for index in range(len(words)):
            clip = int(words.clips[index])
            if clip >= len(videos):
                continue
            label = int(numbers[words.labels[index]])
            rows = words.rows(torch.tensor([index]))
            here = rows[0] - held.first[clip]
            right["words"].append(self._says(videos[clip][here]) == label)
            right["words_real"].append(self._says(held.frames(rows[0])) == label)
            other = videos[(clip + 1) % len(videos)]
            start = min(int(here[0]), len(other) - READ)
            right["words_shuffled"].append(self._says(other[start : start + READ]) == label)
        return {name: float(np.mean(hits)) for name, hits in right.items() if hits}

    def _says(self, frames: Tensor) -> int:
        """The word that all frames (16, 3, 128, 128) together name."""
        assert self.reader is not None
        with devices.autocast(self.device, self.dtype):
            said = self.reader.read(frames[None].to(self.device))
        return int(said[0].mean(0).argmax())

    def sample(self, clips: ClipBatches, folder: Path | None = None) -> NDArray[np.uint8]:
        """Two clips: rows of real frames, coarse and fine ones, coarse and fine masks (Fig 5.5).

        Args:
            clips: to show.
            folder: sample.mp4 is written there: the first clip, real and generated side by side,
                with its sound; None writes none.

        Returns:
            The page.
        """
        columns: list[list[NDArray[np.float32]]] = [[] for _ in range(COLUMNS)]
        for clip in range(min(SHOWN, len(clips))):
            made, rows = self.generate(clips, clip), clips.rows(clip)
            real = clips.frames(rows).cpu()
            if folder is not None and not clip:
                self._film(clips, clip, torch.cat([real, made.fine], 3), folder)
            places = torch.linspace(0, len(rows) - 1, COLUMNS).long()
            size = real.shape[2:]
            lines = [
                real[places],
                torch.nn.functional.interpolate(made.coarse[places], size),
                made.fine[places],
                *(
                    torch.nn.functional.interpolate(mask[places], size).expand(-1, 3, -1, -1) * 2
                    - 1
                    for mask in (made.coarse_mask, made.fine_mask)
                ),
            ]
            for line in lines:
                for column, picture in zip(columns, arrays(line), strict=True):
                    column.append(picture)
        titles = ["real, 64, 128, masks", *("" for _ in range(COLUMNS - 1))]
        return sheet(columns, titles, 128)

    @staticmethod
    def _film(clips: ClipBatches, clip: int, frames: Tensor, folder: Path) -> None:
        sound = clips.data.sound(int(clips.numbers[clip]))
        shown = (arrays(frames) * 255).round().astype(np.uint8)
        samples = np.zeros(round(len(shown) * SAMPLE_RATE / FPS), np.float32)
        count = min(len(samples), len(sound))
        samples[:count] = sound[:count].clip(-1, 1)
        write_video(
            folder / "sample.mp4",
            iter(shown),
            FPS,
            audio=samples,
            sample_rate=SAMPLE_RATE,
            metadata={"Source": GENERATED},
        )


def _errors(shown: Tensor, real: Tensor, box: Region) -> dict[str, float]:
    """Sums over frames of the mean absolute error and of PSNR in dB, whole and in a box."""
    found = {}
    for suffix, (a, b) in (("", (shown, real)), ("_mouth", (box.of(shown), box.of(real)))):
        apart = (a - b) / 2
        found[f"l1{suffix}"] = apart.abs().mean((1, 2, 3)).sum().item()
        found[f"psnr{suffix}"] = decibels(apart.square().mean((1, 2, 3))).sum().item()
    return found
