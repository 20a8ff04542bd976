"""What stays the same from frame to frame of a moving face: painted once, then laid on again."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np

from ..procedural.canvas import Array, Canvas, Mask, lit
from ..procedural.colours import Colour

T = TypeVar("T")


class _Layer(NamedTuple):
    rows: slice
    columns: slice
    paint: Array
    opaque: Array


class _Tape(Canvas):
    """A canvas that remembers what is painted instead of showing it."""

    def __init__(self, size: int) -> None:
        super().__init__(np.zeros((3, size, size), np.float32), track=False)
        self.layers: list[_Layer] = []

    def paint(
        self,
        mask: Mask,
        colour: Colour,
        light: Array | None = None,
        alpha: float = 1.0,
        part: str | None = None,
    ) -> None:
        """Remember a coat of paint, see `Canvas.paint`."""
        rows, columns, cover = mask
        if not cover.size:
            return
        paint = colour[:, None, None] if light is None else lit(colour, light)
        opaque = cover if alpha == 1 else cover * np.float32(alpha)
        self.layers.append(_Layer(rows, columns, paint, opaque))


class Kept:
    """The layers of a face that do not move, for one person in one scene at one age and size.

    What is laid on from here gives the same picture, bit by bit, as painting it anew; only the
    parts of a picture (`Canvas.parts`) are not kept.
    """

    def __init__(self) -> None:
        self._values: dict[str, object] = {}
        self._layers: dict[str, list[_Layer]] = {}

    def value(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returned when it was first asked for under this name; not to be changed."""
        if name not in self._values:
            self._values[name] = make()
        return cast(T, self._values[name])  # a name has one type

    def canvas(self, make: Callable[[], Canvas]) -> Canvas:
        """A canvas as `make` began it the first time, to go on painting; without its parts."""
        begun = self.value("canvas", make)
        return Canvas(begun.image.copy(), track=False)

    def paint(self, canvas: Canvas, name: str, paint: Callable[[Canvas], T]) -> T:
        """Do what `paint` does to the canvas, by what it painted the first time.

        Args:
            canvas: painted on.
            name: of the step.
            paint: paints on a canvas, and on nothing else; does not look at what is on it.

        Returns:
            What `paint` returned the first time.
        """
        if name not in self._layers:
            tape = _Tape(canvas.size)
            self._values[name] = paint(tape)
            self._layers[name] = tape.layers
        for rows, columns, colour, opaque in self._layers[name]:
            below = canvas.image[:, rows, columns]
            below += (colour - below) * opaque
        return cast(T, self._values[name])


class Anew(Kept):
    """Keeps nothing: each step is painted on the canvas itself."""

    def value(self, name: str, make: Callable[[], T]) -> T:
        """What `make` returns."""
        return make()

    def canvas(self, make: Callable[[], Canvas]) -> Canvas:
        """The canvas that `make` begins, with its parts."""
        return make()

    def paint(self, canvas: Canvas, name: str, paint: Callable[[Canvas], T]) -> T:
        """Let `paint` paint on the canvas."""
        return paint(canvas)
