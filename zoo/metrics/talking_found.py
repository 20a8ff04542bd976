"""Landmarks and faces as dlib finds them in talking faces: one detector for real and generated.

The shape predictor is asked within one box for a whole clip, real and generated, so that figures
differ by the pixels alone. It answers on any picture, with an average face if need be; whether
there is a face at all the detector tells.
"""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..face_geometry import POINTS, RIGID, TEMPLATE, fit
from ..faces import FACE_BOX, WEAK, load_dlib, model_file

FINER = 4
"""Frames are enlarged so many times first: dlib gives whole pixels."""
ENLARGE = 1
"""The detector's picture is doubled so many times: its window is 80 pixels wide."""


class ClipFinder:
    """dlib's 68 landmarks (Kazemi and Sullivan 2014) and its detector (King 2009).

    Raises:
        ImportError: the `faces` extra is not installed.
    """

    def __init__(self) -> None:
        self._dlib = load_dlib()
        path = model_file("shape_predictor_68_face_landmarks.dat")
        self._predictor = self._dlib.shape_predictor(str(path))
        self._detector = self._dlib.get_frontal_face_detector()

    def find(self, frames: Tensor, first: Tensor) -> Tensor:
        """Landmarks of every frame of a clip.

        Args:
            frames: (T, 3, S, S) uint8.
            first: (136,), landmarks of the real clip's first frame, in sides: its face's box is
                that of all frames.

        Returns:
            (T, 136) float32, in sides.
        """
        size = frames.shape[3]
        side = FINER * size
        own = first.double().numpy().reshape(POINTS, 2) * side
        place = fit(TEMPLATE[RIGID, :], own[RIGID, :])
        left, top, right, bottom = FACE_BOX
        middle = place([(left + right) / 2, (top + bottom) / 2])
        half = (right - left) / 2 * place.scale
        low, high = (middle - half).round().astype(int), (middle + half).round().astype(int)
        box = self._dlib.rectangle(int(low[0]), int(low[1]), int(high[0]) - 1, int(high[1]) - 1)
        found = np.empty((len(frames), POINTS, 2), np.float32)
        for row, frame in zip(found, frames.permute(0, 2, 3, 1).contiguous().numpy(), strict=True):
            # The predictor looks at brightness alone.
            picture = (
                Image.fromarray(frame).convert("L").resize((side, side), Image.Resampling.BILINEAR)
            )
            parts = self._predictor(np.asarray(picture), box).parts()
            row[:] = [(part.x + 0.5, part.y + 0.5) for part in parts]
        return torch.from_numpy(found / side).flatten(1)

    def detect(self, frames: Tensor) -> Tensor:
        """Whether frames show an upright face.

        Args:
            frames: (K, 3, S, S) uint8.

        Returns:
            (K,) bool.
        """
        pictures = frames.permute(0, 2, 3, 1).contiguous().numpy()
        found = [len(self._detector.run(picture, ENLARGE, WEAK)[0]) > 0 for picture in pictures]
        return torch.tensor(found, dtype=torch.bool)
