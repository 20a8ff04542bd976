"""Photos aged into a folder, one after the other, so that any number of them fits into memory.

me-age-070.png          the photo, all its faces at 70, everything else as it was
me-face0-age-070.png    each face alone
sheet.png               the first faces at every age, as Fig 4.6
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..backend.files import writable_folder
from ..backend.media import to_uint8
from .ages import GROUPS
from .faces import FaceFinder
from .ldcgan_model import LdcGan
from .ldcgan_result import AgedFace, AgedResult, Target, age_sheet, face_texts
from .result import GeneratedImage

SHEET = "sheet.png"
SHEET_ROWS = 24
SUFFIXES = (
    *(".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
"""Of the files of a folder that are looked at."""

Report = Callable[[int, int], None]
"""Called with (photos done, all photos)."""


@dataclass(frozen=True)
class ManyAged:
    """What was done.

    Attributes:
        photos: that were aged.
        faces: in them.
        files: written, in order.
        notes: on the photos.
        skipped: photo -> why it was left out.
    """

    photos: int
    faces: int
    files: tuple[Path, ...]
    notes: tuple[str, ...]
    skipped: dict[str, str]


def age_many(
    model: LdcGan,
    photos: Sequence[Path],
    targets: Sequence[Target],
    out: Path,
    *,
    face: Sequence[int] | None = None,
    finder: FaceFinder | None = None,
    report: Report = lambda done, total: None,
) -> ManyAged:
    """Age the faces of photos.

    Args:
        model: on its device.
        photos: files, see `photo_files`; one or more.
        targets: ages, or age groups, from `ldcgan_model.read_targets`.
        out: folder, made if absent; files of the same names are replaced.
        face: which faces of each photo; None = all.
        finder: see `LdcGan.generate`.
        report: called after each photo.

    Returns:
        What was done. Photos that cannot be read or show no face are left out, if there are others.

    Raises:
        ValueError: no photo, or none that can be used.
        ImportError: a library is missing (says how to get it).
        OSError: the folder cannot be written to.
    """
    if not photos:
        raise ValueError("there is no photo")
    writable_folder(out)
    written, rows, notes = list[Path](), list[AgedFace](), list[str]()
    count, skipped = 0, dict[str, str]()
    for index, (photo, name) in enumerate(zip(photos, _names(photos), strict=True)):
        try:
            result = _aged(model, photo, targets, face, finder)
        except ValueError as error:
            if len(photos) == 1:
                raise
            skipped[str(photo)] = str(error)
        else:
            written += _write(result, out, name)
            notes += result.notes
            count += len(result.faces[0])
            if len(rows) < SHEET_ROWS * len(targets):
                rows += [replace(one, photo=index) for faces in result.faces for one in faces]
        report(index + 1, len(photos))
    if not rows:
        first = next(iter(skipped.values()))
        raise ValueError(f"none of {len(photos)} photos can be used; of the first: {first}")
    ordered = sorted(rows, key=lambda one: (one.photo, one.number))
    age_sheet(ordered[: SHEET_ROWS * len(targets)], model.title).save(out / SHEET)
    return ManyAged(
        len(photos) - len(skipped), count, (*written, out / SHEET), tuple(notes), skipped
    )


def photo_files(paths: Iterable[Path]) -> list[Path]:
    """Files of photos.

    Args:
        paths: files, which are taken as they are, and folders, of which the pictures are taken in
            the order of their names, not those of folders in them.

    Returns:
        At least one file.

    Raises:
        ValueError: a folder without pictures.
        OSError: a folder that cannot be read.
    """
    files = list[Path]()
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise ValueError(f"{path}: holds no pictures ({', '.join(SUFFIXES)})")
        files += found
    return files


def slug(target: Target) -> str:
    """An age in the name of a file, so that names sort by age: "age-070", "group-61-70"."""
    if target.age is None:
        return f"group-{GROUPS[target.group]}"
    return f"age-{int(target.age):03d}" + f"{target.age % 1:g}"[1:]


def _aged(
    model: LdcGan,
    photo: Path,
    targets: Sequence[Target],
    face: Sequence[int] | None,
    finder: FaceFinder | None,
) -> AgedResult:
    ages = [target.age for target in targets if target.age is not None]
    groups = [GROUPS[target.group] for target in targets if target.age is None]
    return model.generate(
        photo, ages=ages or None, age_group=groups or None, face=face, finder=finder
    )


def _write(result: AgedResult, out: Path, name: str) -> list[Path]:
    """The photos and the faces of one photo."""
    paths = []
    for number, faces in enumerate(result.faces):
        when = slug(faces[0].target)
        paths.append(out / f"{name}-{when}.png")
        result.pil(number).save(paths[-1])
        for one in faces:
            paths.append(out / f"{name}-face{one.number}-{when}.png")
            texts = face_texts([one], result.model)
            GeneratedImage(to_uint8(one.image), texts).save(paths[-1])
    return paths


def _names(photos: Sequence[Path]) -> list[str]:
    """A name for each photo, all different."""
    taken, names = set[str](), []
    for photo in photos:
        name, number = photo.stem, 2
        while name.lower() in taken:  # some file systems do not tell cases apart
            name, number = f"{photo.stem}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names
