"""How often the Haar cascade finds a face on photos of faces, and on photos without, by setting.

python benchmarks/face_detection.py UTKFace/ CUB_200_2011/
"""

import argparse
from pathlib import Path

from measure import show
from neuralpaint.agents.detect import HaarDetector, has_face
from neuralpaint.backend.datasets import image_files, split
from neuralpaint.backend.media import read_image

PADS, SCALES = (0.0, 0.25, 0.5), (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("faces", type=Path)
    parser.add_argument("others", type=Path, help="pictures without faces")
    parser.add_argument("--count", type=int, default=200)
    options = parser.parse_args()
    for kind, folder in (("faces", options.faces), ("others", options.others)):
        photos = [read_image(file) for file in split(image_files(folder), options.count)[1]]
        for pad in PADS:
            for scale in SCALES:
                detector = HaarDetector(pad, scale)
                found = sum(has_face(detector, photo) for photo in photos)
                show(f"{kind}_pad_{pad:g}_scale_{scale}", 100 * found / len(photos), "% found")


if __name__ == "__main__":
    main()
