"""What LDcGAN's `generate` returns: aged photos or faces, with all that was made on the way."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw

from ..backend.media import to_uint8
from .ages import GROUPS
from .face_boxes import face_box
from .face_geometry import Pixels, Points, Similarity, warp
from .result import GeneratedImage, OutputType, Results, marks

GAP, HEAD, LEFT, FRAME = 6, 20, 66, 3
"""Pixels of a sheet: between pictures, of the titles above and beside, of a highlighting frame."""
HIGHLIGHT = (245, 200, 0)


@dataclass(frozen=True)
class Target:
    """An age that was asked for.

    Attributes:
        group: 0 to 9, see `ages.GROUPS`.
        age: in years; None where a group was asked for.
    """

    group: int
    age: float | None = None

    @property
    def title(self) -> str:
        """For people, as "age 70" or "61-70"."""
        return GROUPS[self.group] if self.age is None else f"age {self.age:g}"


@dataclass(frozen=True, eq=False)
class AgedFace:
    """One face at one age.

    Attributes:
        photo: which photo of the call, from 0.
        name: of the photo.
        number: which face of the photo, from 0, from left to right.
        target: what was asked for.
        source_group: 0 to 9, the age group that the classifier D_A sees in the input.
        input: (S, S, 3) uint8, the face as it is.
        image: (S, S, 3) float32 in [0, 1], the face at the target age.
        change_mask: 1 - f_A of Eq 4.4, (S, S) float32 in [0, 1]: how much of each pixel is new.
        landmarks: L*, (68, 2) float64, at the target age, pixels of the crop.
        source_landmarks: L, (68, 2) float64, of the face as it is.
        transform: mapping from the photo to the crop.
    """

    photo: int
    name: str
    number: int
    target: Target
    source_group: int
    input: Pixels
    image: NDArray[np.float32]
    change_mask: NDArray[np.float32]
    landmarks: Points
    source_landmarks: Points
    transform: Similarity

    @property
    def age_group(self) -> str:
        """The target's, one of `ages.GROUPS`."""
        return GROUPS[self.target.group]

    @property
    def source_age_group(self) -> str:
        """The input's by D_A, one of `ages.GROUPS`."""
        return GROUPS[self.source_group]

    @property
    def box(self) -> tuple[float, ...]:
        """Left, top, right, bottom of the face in sides of the crop, see `face_boxes.face_box`.

        Pasted back, nothing outside it changes.
        """
        landmarks = torch.from_numpy(self.source_landmarks).view(1, -1) / len(self.input)
        return tuple(face_box(landmarks)[0].tolist())


class Aged(NamedTuple):
    """One picture of a result.

    Attributes:
        faces: aged in it, one or more, of one photo at one age.
        photo: (H, W, 3) uint8, the photo with the faces pasted back; None: the crop of one face.
    """

    faces: tuple[AgedFace, ...]
    photo: Pixels | None


class AgedResult(Results):
    """Aged photos, or aged crops, in the order photo, face (of crops), age.

    Args:
        pictures: one or more.
        output_type: see `Results`; photos may differ in size, so that `images` is always a list.
        notes: what the user should know about the photos.
        model: name and weights.

    Attributes:
        faces: of each picture the faces aged in it, see `AgedFace`.
        ages: of each picture, in years; None where an age group was asked for.
        age_groups: of each picture, one of `ages.GROUPS`.
        source_age_group: of each picture, of each face in it, what D_A sees in the input.
        notes: texts.
        model: name and weights.
    """

    def __init__(
        self,
        pictures: Sequence[Aged],
        output_type: OutputType = "pil",
        *,
        notes: Sequence[str] = (),
        model: str = "",
    ) -> None:
        super().__init__(output_type, len(pictures), notes, model)
        self._pictures = tuple(pictures)
        self.faces = tuple(picture.faces for picture in self._pictures)
        targets = [faces[0].target for faces in self.faces]
        self.ages = tuple(target.age for target in targets)
        self.age_groups = tuple(GROUPS[target.group] for target in targets)
        self.source_age_group = tuple(
            tuple(face.source_age_group for face in faces) for faces in self.faces
        )

    @property
    def change_masks(self) -> list[NDArray[np.float32]]:
        """Of each picture, (H, W) float32 in [0, 1]: how much of each pixel the network changed.

        In a photo the change fades a little earlier than that, see `face_geometry.paste_back`.
        """
        return [_mask(picture) for picture in self._pictures]

    @property
    def landmarks(self) -> list[Points]:
        """Of each picture, those at the target age: (F, 68, 2) float64, pixels of the picture."""
        found = []
        for faces, photo in self._pictures:
            points = np.stack([face.landmarks for face in faces])
            if photo is not None:
                points = np.stack([face.transform.inverse()(face.landmarks) for face in faces])
            found.append(points)
        return found

    def pixels(self, number: int) -> NDArray[np.uint8] | NDArray[np.float32]:
        """A picture, (H, W, 3): a photo in uint8, a crop in float32 in [0, 1]."""
        faces, photo = self._pictures[number]
        return faces[0].image if photo is None else photo

    def texts(self, number: int) -> dict[str, str]:
        """Provenance of a picture: keyword -> value."""
        return face_texts(self.faces[number], self.model)

    def part(self, which: slice) -> "AgedResult":
        """Some of the pictures."""
        return AgedResult(
            self._pictures[which], self._output_type, notes=self.notes, model=self.model
        )

    def __repr__(self) -> str:
        return f"<{len(self)} aged pictures by {self.model}>"

    def sheet(self, side: int = 128) -> GeneratedImage:
        """All faces on one page as in Fig 4.6, see `age_sheet`.

        Args:
            side: of each face on the page, in pixels.

        Returns:
            The page; it carries its provenance.
        """
        return age_sheet([face for faces in self.faces for face in faces], self.model, side)


def face_texts(faces: Sequence[AgedFace], model: str) -> dict[str, str]:
    """What the metadata of a file with aged faces says.

    Args:
        faces: in it, of one photo at one age.
        model: name and weights.

    Returns:
        Keyword -> value; "Age" is what was asked for, "Input age group" what D_A saw.
    """
    first = faces[0]
    asked = first.target.title
    if first.target.age is not None:
        asked += f" (group {first.age_group})"
    more = {
        "Photo": first.name,
        "Faces": ", ".join(str(face.number) for face in faces),
        "Age": asked,
        "Input age group": ", ".join(face.source_age_group for face in faces),
    }
    return marks(model, **more)


def age_sheet(faces: Sequence[AgedFace], model: str, side: int = 128) -> GeneratedImage:
    """A page as Fig 4.6: a row for each person, the input first, then the person at every age.

    Beside each row stands the input's age group as D_A sees it; the faces of that group have a
    yellow frame.

    Args:
        faces: of one or more people, all at the same ages in the same order.
        model: name and weights.
        side: of each face on the page, in pixels.

    Returns:
        The page; it carries its provenance.

    Raises:
        ValueError: no face, or people at different ages.
    """
    ordered = sorted(faces, key=lambda face: (face.photo, face.number))  # stable: ages stay
    rows = [list(row) for _, row in groupby(ordered, key=lambda face: (face.photo, face.number))]
    if not rows:
        raise ValueError("there is no face for a sheet")
    targets = [face.target for face in rows[0]]
    if any([face.target for face in row] != targets for row in rows):
        raise ValueError("the faces of a sheet must all be at the same ages")
    size = (LEFT + (len(targets) + 1) * (side + GAP), HEAD + GAP + len(rows) * (side + GAP))
    page = PillowImage.new("RGB", size, "white")
    draw = ImageDraw.Draw(page)
    for column, title in enumerate(["input", *(target.title for target in targets)]):
        draw.text((LEFT + column * (side + GAP), GAP), title, fill="black", font_size=12)
    for number, row in enumerate(rows):
        top = HEAD + GAP + number * (side + GAP)
        first = row[0]
        draw.text((GAP, top + side // 2 - 7), first.source_age_group, fill="black", font_size=12)
        pictures = [first.input, *(to_uint8(face.image) for face in row)]
        for column, picture in enumerate(pictures):
            left = LEFT + column * (side + GAP)
            shown = PillowImage.fromarray(picture)
            page.paste(shown.resize((side, side), PillowImage.Resampling.LANCZOS), (left, top))
            if column and row[column - 1].target.group == first.source_group:
                corners = (left, top, left + side - 1, top + side - 1)
                draw.rectangle(corners, outline=HIGHLIGHT, width=FRAME)
    names = ", ".join(dict.fromkeys(row[0].name for row in rows))
    asked = ", ".join(target.title for target in targets)
    return GeneratedImage(np.asarray(page), marks(model, Photo=names, Age=asked))


def _mask(picture: Aged) -> NDArray[np.float32]:
    faces, photo = picture
    if photo is None:
        return faces[0].change_mask
    height, width = photo.shape[:2]
    whole = np.zeros((height, width), np.float32)
    for face in faces:
        back = face.transform.inverse()
        there = warp(face.change_mask[:, :, None], back, height, width, outside="zero")
        np.maximum(whole, there[:, :, 0].clip(0, 1), out=whole)
    return whole
