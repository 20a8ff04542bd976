"""AVWnet: frames a second from end to end, time a frame on one thread, and ten minutes of sound.

Weights do not change the speed, so both sizes are measured with random ones. The face is a drawn
one in its crop, and the sound is spoken by the built-in voice.
"""

import argparse
import subprocess
import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray

from measure import show
from neuralpaint.backend.device import peak_memory_bytes
from neuralpaint.zoo.avwnet import AvwnetConfig
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.data.talking import SILENCE
from neuralpaint.zoo.lipreader import LipReaderConfig
from neuralpaint.zoo.procedural_talking import make_clips
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.mfcc import FPS, SAMPLE_RATE, frame_count
from neuralpaint.zoo.talking.sounds import speak

SAYING = "bin blue at f two now"
TURNS = 3
MINUTES = 10
AHEAD = 4
"""Frames at the end of a sound whose windows reach beyond it."""


def model_of(size: str) -> AvwNet:
    """A model of random weights."""
    torch.manual_seed(0)
    reader = LipReaderConfig.of(size, (SILENCE, *sorted(set(SAYING.split()))))
    return AvwNet(AvwnetConfig.of(size, reader=reader), name=f"random-{size}")


def face() -> TalkingFace:
    """A drawn face in its crop."""
    clips = make_clips(2, per_person=1)
    points = clips.landmarks[0].reshape(-1, 2).numpy() * clips.size
    return TalkingFace.placed(clips.frames[0].permute(1, 2, 0).numpy(), points, "a drawn face")


def sound(seconds: float) -> NDArray[np.float32]:
    """A sentence, again and again."""
    said = np.asarray(speak(SAYING, "formant").samples, np.float32)
    return np.resize(said, int(seconds * SAMPLE_RATE))


def speed(size: str, threads: int, seconds: float) -> None:
    """Wall and processor time a frame; landmarks are given, or predicted from the sound."""
    torch.set_num_threads(threads)
    model, photo, said = model_of(size), face(), sound(seconds)
    frames = frame_count(len(said))
    given = np.repeat(photo.landmarks[None].astype(np.float32), frames, 0)
    ways = {"landmarks_given": (given, False), "landmarks_predicted_words_read": (None, True)}
    for name, (landmarks, words) in ways.items():
        wall, used = [], []
        for _ in range(TURNS):
            start, before = time.perf_counter(), time.process_time()
            model.generate(photo, said, landmarks=landmarks, read_words=words)
            wall.append(time.perf_counter() - start)
            used.append(time.process_time() - before)
        label = f"avwnet_ni_{model.config.ni}_{threads}_threads_{name}"
        show(f"{label}_frames_per_second", frames / min(wall), "")
        show(f"{label}_processor_seconds_per_frame", min(used) / frames, "s")


def memory(way: str) -> None:
    """Ten minutes of sound in this process.

    `generate` reads the words too, and makes the first ten seconds alone; `stream` does not.
    """
    torch.set_num_threads(2)
    model, photo, said = model_of("small"), face(), sound(60 * MINUTES)
    start = time.perf_counter()
    same = 1.0
    if way == "generate":
        whole = model.generate(photo, said).frames
        seconds, frames = time.perf_counter() - start, len(whole)
        alone = model.generate(photo, said[: 10 * SAMPLE_RATE]).frames
        # The last frames alone hear silence where the long sound goes on.
        some = len(alone) - AHEAD
        same = float((alone[:some] == whole[:some]).all())
    else:
        frames = sum(1 for _ in model.stream(photo, said, read_words=False))
        seconds = time.perf_counter() - start
    assert frames == 60 * MINUTES * FPS
    print(peak_memory_bytes(model.device), seconds, same)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("speed", "generate", "stream"), help="that part alone")
    parser.add_argument("--here", choices=("generate", "stream"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        memory(options.here)
        return
    if options.only in (None, "speed"):
        speed("small", 2, 10)
        speed("small", 1, 10)
        speed("thesis", 1, 4)
    for way in ("generate", "stream"):
        if options.only not in (None, way):
            continue
        output = subprocess.check_output([sys.executable, __file__, "--here", way], text=True)
        peak, seconds, same = (float(part) for part in output.split())
        show(f"avwnet_{MINUTES}_minutes_{way}_peak", peak / 1e9, "GB")
        show(f"avwnet_{MINUTES}_minutes_{way}_time", seconds, "s")
        if way == "generate":
            show(f"avwnet_{MINUTES}_minutes_first_ten_seconds_equal", same, "")


if __name__ == "__main__":
    main()
