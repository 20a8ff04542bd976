"""Paint a photo from Python: ``python examples/paint_photo.py photo.jpg --out out/photo``.

Without a photo it paints the portrait that ships with scikit-image.
"""

import argparse
from pathlib import Path

from skimage import data

from neuralpaint.agents.optimise import Progress, Settings
from neuralpaint.agents.paint import paint_photo
from neuralpaint.backend.media import as_image, read_image


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", nargs="?", type=Path, help="the photo to paint")
    parser.add_argument("--strokes", type=int, default=100)
    parser.add_argument("--size", type=int, default=128, help="shorter side of the canvas")
    parser.add_argument("--effort", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("out/paint_photo"))
    options = parser.parse_args(arguments)

    photo = read_image(options.photo) if options.photo else as_image(data.astronaut())
    settings = Settings(strokes=options.strokes, effort=options.effort)

    def report(progress: Progress) -> None:
        print(f"\r{progress.share:4.0%}  {progress.psnr:.2f} dB", end="", flush=True)

    figures = paint_photo(photo, options.out, size=options.size, settings=settings, report=report)
    print()
    for count, at in figures["at"].items():
        print(f"{count:>4} strokes: {at['psnr']:.2f} dB")
    print(f"see {options.out}")


if __name__ == "__main__":
    main()
