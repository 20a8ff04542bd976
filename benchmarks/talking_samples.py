"""The three sample videos of the documentation, and the strip of their frames.

    python benchmarks/talking_samples.py --data grid --photo UTKFace/NAME.jpg --out docs

A held-out clip of GRID, a photo that says the same with the same voice, and a drawn person of whom
no model has seen anything.
"""

import argparse
from pathlib import Path

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from neuralpaint import zoo
from neuralpaint.zoo.avwnet_model import AvwNet
from neuralpaint.zoo.data.grid import open_grid
from neuralpaint.zoo.data.talking import Clips
from neuralpaint.zoo.metrics.talking_samples import moments
from neuralpaint.zoo.procedural_talking import make_clips
from neuralpaint.zoo.talking.inputs import TalkingFace
from neuralpaint.zoo.talking.mfcc import SAMPLE_RATE
from neuralpaint.zoo.talking.result import TalkingVideo

COLUMNS = 10
LEFT, HEAD, GAP = 120, 20, 4
Frames = NDArray[np.uint8]


def frames_of(clips: Clips, clip: int) -> Frames:
    """(T, S, S, 3) of a clip."""
    return clips.frames[clips.rows(clip)].permute(0, 2, 3, 1).contiguous().numpy()


def made(model: AvwNet, clips: Clips, clip: int) -> TalkingVideo:
    """What a model makes of a clip's first frame and its sound."""
    points = clips.landmarks[clips.rows(clip)][0].reshape(-1, 2).numpy() * clips.size
    face = TalkingFace.placed(frames_of(clips, clip)[0], points, clips.names[clip])
    video = model.generate(face, (clips.sound(clip), SAMPLE_RATE))
    assert isinstance(video, TalkingVideo)
    return video


def page(rows: list[tuple[str, Frames, list[tuple[int, str]]]]) -> Image.Image:
    """Rows of frames, each with its name, and the words above."""
    side = rows[0][1].shape[1]
    sheet = Image.new(
        "RGB", (LEFT + COLUMNS * (side + GAP), GAP + len(rows) * (HEAD + side)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for row, (name, frames, times) in enumerate(rows):
        top = row * (HEAD + side)
        draw.text((GAP, top + HEAD + side // 2 - 7), name, fill="black", font_size=13)
        for column, (place, word) in enumerate(times):
            left = LEFT + column * (side + GAP)
            draw.text((left, top + GAP), word, fill="black", font_size=13)
            sheet.paste(Image.fromarray(frames[place]), (left, top + HEAD))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of GRID")
    parser.add_argument("--cache", type=Path, help="of its clips")
    parser.add_argument(
        "--photo", type=Path, help="with a face; by default scikit-image's portrait"
    )
    parser.add_argument("--photo-model", default="avwnet", help="that moves the photo")
    parser.add_argument("--clip", type=int, default=30, help="which of those held out")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    model, drawing = zoo.from_pretrained("avwnet"), zoo.from_pretrained("avwnet-drawn")
    assert isinstance(model, AvwNet)
    assert isinstance(drawing, AvwNet)

    grid = open_grid(options.data, cache=options.cache).part(True)
    spoken = made(model, grid, options.clip)
    voice = (grid.sound(options.clip), SAMPLE_RATE)
    mover = zoo.from_pretrained(options.photo_model)
    photo = mover.generate(options.photo or skimage.data.astronaut(), voice)
    people = make_clips(8, seed=77, per_person=1)
    drawn = made(drawing, people, len(people) - 1)
    videos = options.out / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    for name, video in {"grid": spoken, "photo": photo, "drawn": drawn}.items():
        print(video.save(videos / f"{name}.mp4"), "the lip reader reads:", video.text)

    last = len(people) - 1
    times, drawn_times = (
        moments(clips.words[clip], len(frames_of(clips, clip)), COLUMNS)
        for clips, clip in ((grid, options.clip), (people, last))
    )
    rows = [
        ("real", frames_of(grid, options.clip), times),
        ("generated", spoken.frames, times),
        ("another face", photo.frames, times),
        ("drawn, real", frames_of(people, last), drawn_times),
        ("drawn, generated", drawn.frames, drawn_times),
    ]
    target = options.out / "images" / "talking.png"
    page(rows).save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    main()
