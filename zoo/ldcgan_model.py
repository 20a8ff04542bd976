"""LDcGAN for users: photos in, the same people at other ages out.

    model = zoo.from_pretrained("ldcgan")
    result = model.generate("me.jpg", ages=[5, 25, 45, 65, 85])
    result[0].save("me-at-5.png")

The networks are in `ldcgan`; faces are found by `faces` and pasted back by `face_geometry`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..backend.buckets import Batch
from .ages import age_code, group_of, parse_group
from .arguments import MAX_ITEMS
from .cards import Card
from .face_geometry import POINTS, paste_back
from .faces import FaceFinder
from .ldcgan import LdcGanConfig, LdcGanOutput, build, load_ldcgan
from .ldcgan_photos import (
    FaceCrop,
    Photo,
    PhotoLike,
    SharedFinder,
    check_choice,
    cut_out,
    listed,
    read_photo,
)
from .ldcgan_result import Aged, AgedFace, AgedResult, Target
from .model import Model, Progress
from .result import OUTPUT_TYPES, OutputType

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601)."""


class LdcGan(Model):
    """Faces at other ages (chapter 4).

    Args:
        config: of the networks.
        networks: those of `ldcgan.build`: "generator" G, "landmarks" G_L and "classifier" D_A;
            None makes new ones with random weights.
        card: see `Card`.
        name: of the weights.
        origin: where the weights come from.
    """

    kind = "ldcgan"
    config: LdcGanConfig

    def __init__(
        self,
        config: LdcGanConfig,
        networks: Mapping[str, nn.Module] | None = None,
        card: Card | None = None,
        *,
        name: str = "unnamed",
        origin: str = "this process",
    ) -> None:
        made = dict((networks or build(config)).items())
        super().__init__(config, made, card, name=name, origin=origin)
        self._finder = SharedFinder()

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> tuple[LdcGanConfig, nn.ModuleDict]:
        """See `Model.build`."""
        made = LdcGanConfig.from_json(config)
        return made, build(made)

    @classmethod
    def from_run(cls, file: Path, card: Card | None = None) -> "LdcGan":
        """Read the weights that a training run wrote, `best.safetensors` of `train.ldcgan`.

        Args:
            file: of weights, with the configuration in its metadata.
            card: what there is to say about them, for `save_pretrained`.

        Returns:
            The model, on the CPU.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not such a file, or a field or a weight is not right (names it).
        """
        config, networks = load_ldcgan(file)
        return cls(config, dict(networks.items()), card, name=file.stem, origin=f"file {file}")

    def generate(
        self,
        photos: PhotoLike | Sequence[PhotoLike],
        *,
        age: float | None = None,
        ages: Sequence[float] | None = None,
        age_group: str | Sequence[str] | None = None,
        face: int | Sequence[int] | None = None,
        paste_back: bool = True,
        finder: FaceFinder | None = None,
        output_type: OutputType = "pil",
        progress: Progress | None = None,
    ) -> AgedResult:
        """Age the faces in photos.

        Nothing is drawn at random: the same photo and age give the same picture. The networks know
        the ten groups of `ages.GROUPS`, so two ages of a group give the same face.

        Args:
            photos: path, PIL image, array (see `media.as_image`), or a sequence of them, of any
                size. A photo without colours stays one.
            age: in years, 0 to 116.
            ages: several; of these three, give one.
            age_group: one of `ages.GROUPS`, as "61-70", or several.
            face: which face of each photo, counted from left to right from 0, or several; by
                default all that are found.
            paste_back: return the photos with the aged faces in their places, at the photos' own
                size, and everything else as it was, bit by bit. Otherwise the aged crops, each of
                the networks' size.
            finder: finds faces; by default dlib of the `faces` extra. Without that, a square
                picture of up to 256 pixels a side is taken for a face that is cropped as those of
                UTKFace are; `faces.CropFinder()` takes any square picture for one.
            output_type: "pil", "np" (float32 in [0, 1], channels last) or "pt" (float32 in [0, 1],
                channels first, on the CPU).
            progress: called with (faces done, all faces); a face counts once for each age group.

        Returns:
            Of each photo the picture of each age, see `AgedResult`; of crops, of each photo of each
            face.

        Raises:
            TypeError: a photo, an age or the number of a face is of another type.
            ValueError: no age or several kinds of them, an age outside 0 to 116, an unknown group,
                too many pictures, a photo that cannot be read, without a face (`NoFaceError`) or
                with faces that are too small (`SmallFaceError`, says the size that is needed), or
                without the face that was chosen.
        """
        if output_type not in OUTPUT_TYPES:
            known = ", ".join(OUTPUT_TYPES)
            raise ValueError(f"output_type {output_type!r:.40} is unknown; known: {known}")
        targets = read_targets(age, ages, age_group)
        chosen = check_choice(face)
        given = listed(photos)
        if len(given) * len(targets) > MAX_ITEMS:
            raise ValueError(
                f"{len(given)} photos at {len(targets)} ages in one call, at most {MAX_ITEMS} "
                "pictures: call it several times"
            )
        read = [
            read_photo(photo, "the photo" if len(given) == 1 else f"photo {number}")
            for number, photo in enumerate(given, 1)
        ]
        crops: list[FaceCrop] = []
        notes: list[str] = []
        for index, photo in enumerate(read):
            found, told = cut_out(photo, index, self.config.size, finder or self._finder, chosen)
            crops += found
            notes += told
        faces = self._aged(read, crops, targets, progress)
        pictures = _pasted(read, faces) if paste_back else [Aged((one,), None) for one in faces]
        return AgedResult(pictures, output_type, notes=notes, model=self.title)

    def forward(self, batch: Batch) -> Batch:
        """What the networks make of faces.

        Args:
            batch: "image" (n, 3, S, S) in [-1, 1]; and, to age them, "landmarks" (n, 136) and
                "group" (n,), the target.

        Returns:
            Aged faces "image" (n, 3, S, S) in [0, 1], "mask" (n, S, S) and "landmarks" (n, 136); or
            of faces alone their age "group" (n,).
        """
        image = batch["image"]
        if "group" not in batch:
            return {"group": self.networks["classifier"](image).argmax(1)}
        own, code = batch["landmarks"], age_code(batch["group"])
        moved: Tensor = self.networks["landmarks"](image, own, code)
        made: LdcGanOutput = self.networks["generator"](image, code, moved, own)
        return {
            "image": (made.image / 2 + 0.5).clamp(0, 1),
            "mask": made.change_mask[:, 0].clamp(0, 1),
            "landmarks": moved,
        }

    def _aged(
        self,
        photos: Sequence[Photo],
        crops: Sequence[FaceCrop],
        targets: Sequence[Target],
        progress: Progress | None,
    ) -> list[AgedFace]:
        """Every face at every age, in this order."""
        images = [torch.from_numpy(c.image).permute(2, 0, 1) / 127.5 - 1 for c in crops]
        sources = self.run([{"image": image} for image in images])
        groups = sorted({target.group for target in targets})
        requests = [
            {"image": image, "landmarks": _flat(crop, self.config.size), "group": torch.tensor(g)}
            for image, crop in zip(images, crops, strict=True)
            for g in groups
        ]
        results = self.run(requests, progress)
        return [
            _face(
                photos[crop.photo],
                crop,
                target,
                int(sources[index]["group"]),
                results[index * len(groups) + groups.index(target.group)],
            )
            for index, crop in enumerate(crops)
            for target in targets
        ]


def read_targets(
    age: float | None = None,
    ages: Sequence[float] | None = None,
    age_group: str | Sequence[str] | None = None,
) -> list[Target]:
    """What ages a call asks for; one of the arguments must be given.

    Args:
        age: in years, 0 to 116.
        ages: several.
        age_group: names of `ages.GROUPS`, one or several.

    Returns:
        At least one.

    Raises:
        TypeError: an age is not a number, or a group not a text.
        ValueError: none or several of the arguments, out of range, or an unknown group.
    """
    if sum(value is not None for value in (age, ages, age_group)) != 1:
        raise ValueError('give one of age=70, ages=[5, 25, 45] and age_group="61-70"')
    if age is not None:
        return [_target(age)]
    if ages is not None:
        if isinstance(ages, str) or not isinstance(ages, (Sequence, range, np.ndarray)):
            raise TypeError(f"ages is a list of years, not {type(ages).__name__}; for one use age=")
        targets = [_target(value) for value in ages]
    else:
        names = [age_group] if isinstance(age_group, str) else age_group
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise TypeError('age_group is a text as "61-70", or a list of them')
        targets = [Target(parse_group(name)) for name in names]
    if not targets:
        raise ValueError("there is no age: give at least one")
    return targets


def _target(age: Any) -> Target:
    return Target(group_of(age), float(age))


def _flat(crop: FaceCrop, size: int) -> Tensor:
    """Landmarks as the networks take them, (136,) float32 as shares of the side."""
    return torch.from_numpy(crop.landmarks / size).float().flatten()


def _face(
    photo: Photo, crop: FaceCrop, target: Target, source: int, result: Mapping[str, Tensor]
) -> AgedFace:
    image: NDArray[np.float32] = result["image"].permute(1, 2, 0).float().contiguous().numpy()
    if photo.grey:
        image = np.repeat((image @ np.array(LUMA, np.float32))[:, :, None], 3, 2).clip(0, 1)
    side = len(image)
    return AgedFace(
        photo=crop.photo,
        name=photo.name,
        number=crop.number,
        target=target,
        source_group=source,
        input=crop.image,
        image=image,
        change_mask=result["mask"].float().numpy(),
        landmarks=result["landmarks"].double().view(POINTS, 2).numpy() * side,
        source_landmarks=crop.landmarks,
        transform=crop.transform,
    )


def _pasted(photos: Sequence[Photo], faces: Sequence[AgedFace]) -> list[Aged]:
    """The faces of each photo at each age, together in their places."""
    pictures = []
    for index, photo in enumerate(photos):
        own = [face for face in faces if face.photo == index]
        people = sorted({face.number for face in own})
        count = len(own) // len(people)
        for number in range(count):
            together = tuple(own[number::count])
            page = photo.pixels
            for face in together:
                page = paste_back(
                    photo.pixels,
                    face.image,
                    face.change_mask,
                    face.transform,
                    box=face.box,
                    onto=page,
                )
            pictures.append(Aged(together, page))
    return pictures
