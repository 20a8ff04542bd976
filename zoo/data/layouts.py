"""Open a folder of captioned pictures in whichever of the known official layouts it is."""

from pathlib import Path

from . import coco, cub, oxford, reed
from .captioned import Captioned
from .pictures import MAX_BYTES, Report, load, quiet

LAYOUTS = {
    "CUB-200-2011": "images.txt, images/ and text_c10/ or parts/",
    "Oxford-102": "jpg/, imagelabels.mat, setid.mat and text_c10/",
    "COCO": "annotations/captions_train2014.json and train2014/",
}
"""Data sets that can be read, with what tells them apart."""


def open_captioned(
    path: Path,
    size: int,
    *,
    captions: Path | None = None,
    split: reed.Split = "images",
    describing: cub.Describe = "missing",
    max_bytes: int = MAX_BYTES,
    threads: int | None = None,
    report: Report = quiet,
) -> Captioned:
    """Read a data set of captioned pictures into memory.

    Args:
        path: folder of CUB-200-2011, Oxford-102 or COCO in its official layout.
        size: pixels a side that the pictures are kept at. (To crop at random from them, as
            training does, keep them larger than the crops.)
        captions: folder of the captions of Reed et al.; None = inside or beside `path`. Not for
            COCO, which has its own.
        split: "images", the data set's own; or "classes", that of Reed et al.
        describing: which birds of CUB-200-2011 get generated captions: "never", those with
            "missing" ones, or "all"; `Captioned.generated_captions` and its name say so.
        max_bytes: memory that the pictures may take.
        threads: that decode; None = as many as processors, up to 8.
        report: called after each picture with how many are done, of how many.

    Returns:
        The pictures with captions; what was left out is named in `skipped`.

    Raises:
        ValueError: no such folder, a layout that is not known, a list that is missing, malformed
            or too large, a name that leads out of the folder, or too little memory.
    """
    root = Path(path)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder; give one of {', '.join(LAYOUTS)}")
    if cub.is_here(root):
        catalogue = cub.catalogue(root, captions, split, describing, report)
    elif oxford.is_here(root):
        catalogue = oxford.catalogue(root, captions, split)
    elif coco.is_here(root):
        if captions is not None or split != "images":
            raise ValueError(f"{root}: COCO has captions and a split of its own; leave both out")
        catalogue = coco.catalogue(root)
    else:
        known = "; ".join(f"{name}: {files}" for name, files in LAYOUTS.items())
        raise ValueError(f"{root}: not a layout that is known ({known})")
    return load(catalogue, size, max_bytes=max_bytes, threads=threads, report=report)
