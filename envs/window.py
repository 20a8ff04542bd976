"""A window on the screen for render mode "human"."""

from typing import Any

import numpy as np
from gymnasium.error import DependencyNotInstalled
from numpy.typing import NDArray


class Window:
    """Shows one image after another with matplotlib.

    It needs a display. On a machine without one matplotlib chooses a backend that draws in memory,
    and nothing is to be seen: use render mode "rgb_array" there.

    Raises:
        DependencyNotInstalled: matplotlib is not there.
    """

    def __init__(self, title: str) -> None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise DependencyNotInstalled(
                "render_mode='human' needs matplotlib: pip install 'neuralpaint[train]'"
            ) from error
        self._pyplot = pyplot
        self._title = title
        self._figure: Any = None
        self._picture: Any = None

    def show(self, image: NDArray[np.uint8]) -> None:
        """Put an image into the window, which opens at the first one.

        Args:
            image: (H, W, 3).
        """
        if self._figure is None:
            self._figure, axes = self._pyplot.subplots(num=self._title, clear=True)
            axes.set_axis_off()
            self._picture = axes.imshow(image, interpolation="nearest")
            self._figure.show()
        self._picture.set_data(image)
        self._figure.canvas.draw()
        self._figure.canvas.flush_events()

    def close(self) -> None:
        """Close the window, if it is open."""
        if self._figure is not None:
            self._pyplot.close(self._figure)
            self._figure = None
