"""Contact sheets: columns of pictures under their titles."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from .media import to_uint8

SHORT_SIDE = 200
"""Shorter side in pixels of one picture on a sheet of one row; labels need room."""
GAP, HEAD = 8, 22


def sheet(
    columns: Sequence[Sequence[NDArray[np.float32]]], titles: Sequence[str], side: int = SHORT_SIDE
) -> NDArray[np.uint8]:
    """Put pictures side by side.

    Args:
        columns: of each the pictures from top to bottom, (H, W, 3) float32 RGB in [0, 1], all of
            one size.
        titles: one for each column.
        side: shorter side of each picture on the sheet; tiny ones are enlarged.

    Returns:
        (rows, columns, 3) uint8.
    """
    height, width = columns[0][0].shape[:2]
    zoom = side / min(height, width)
    rows, wide = max(1, round(height * zoom)), max(1, round(width * zoom))
    count = len(columns[0])
    page = PillowImage.new(
        "RGB",
        (len(columns) * (wide + GAP) + GAP, count * (rows + GAP) + HEAD + GAP),
        "white",
    )
    draw = ImageDraw.Draw(page)
    for index, (title, pictures) in enumerate(zip(titles, columns, strict=True)):
        left = GAP + index * (wide + GAP)
        draw.text((left, GAP), title, fill="black", font_size=14)
        for row, picture in enumerate(pictures):
            shown = PillowImage.fromarray(to_uint8(picture)).resize(
                (wide, rows), PillowImage.Resampling.LANCZOS
            )
            page.paste(shown, (left, HEAD + GAP + row * (rows + GAP)))
    return np.asarray(page)
