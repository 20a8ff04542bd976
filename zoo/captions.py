"""A page of pictures, each with a text of several lines below it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP = 8
FONT_SIZE = 12
LINES = 4
"""Of text, at most; a longer one ends in dots."""
COLUMNS = 8


def captioned_sheet(
    pictures: Sequence[NDArray[np.uint8]], texts: Sequence[str], side: int = 160
) -> NDArray[np.uint8]:
    """Put pictures in rows, each above its text.

    Args:
        pictures: (H, W, 3) uint8 RGB, one or more.
        texts: of each; a text that repeats the one before it is not written again.
        side: of each picture on the page, in pixels; they are stretched to squares of it.

    Returns:
        (rows, columns, 3) uint8.

    Raises:
        ValueError: no picture, or not as many texts as pictures.
    """
    if not pictures or len(pictures) != len(texts):
        raise ValueError(f"{len(pictures)} pictures and {len(texts)} texts: give one text each")
    font = ImageFont.load_default(FONT_SIZE)
    columns = min(COLUMNS, len(pictures))
    written = [
        [] if number % columns and text == texts[number - 1] else _wrapped(text, side, font)
        for number, text in enumerate(texts)
    ]
    line = FONT_SIZE + 3
    head = line * max(map(len, written)) + GAP // 2
    rows = math.ceil(len(pictures) / columns)
    size = (GAP + columns * (side + GAP), GAP + rows * (side + head + GAP))
    page = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for number, (picture, lines) in enumerate(zip(pictures, written, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (side + GAP), GAP + row * (side + head + GAP)
        shown = Image.fromarray(np.ascontiguousarray(picture))
        page.paste(shown.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        for index, text in enumerate(lines):
            place = (left, top + side + GAP // 2 + index * line)
            draw.text(place, text, fill="black", font=font)
    return np.asarray(page)


def _wrapped(
    text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> list[str]:
    """Lines of at most `width` pixels, broken between words, or within a word that is too long."""
    lines = [""]
    for word in text[:1000].split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
        if len(lines) > LINES:
            break
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], lines[LINES - 1][:-2] + "..."]
    return lines
