"""Curves of the trainings of HfGAN that made the shipped weights, from docs/curves/.

A row of those tables is what the training reported every 15 seconds: losses of one step, and the
held-out Fréchet distance as it was last measured, in the features of the DAMSM.

    python benchmarks/training_curves.py --out docs/images/hfgan-curves.png
"""

import argparse
import csv
from pathlib import Path

CURVES = Path(__file__).parents[1] / "docs/curves"
NAMES = ("discriminator", "generator", "damsm", "frechet")


def read(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Step and value by name, without the rows in which a value was not measured yet."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [(int(r["step"]), float(r[name])) for r in rows if r[name]] for name in NAMES}


def main() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/images/hfgan-curves.png"))
    options = parser.parse_args()
    titles = ("loss of D (Eq 3.3)", "adversarial loss of G (Eq 3.4)", "L_DAMSM", "Fréchet distance")
    figure, axes = pyplot.subplots(1, 4, figsize=(14, 3.2), layout="constrained")
    for path in sorted(CURVES.glob("*.csv")):
        curves = read(path)
        for axis, name in zip(axes, NAMES, strict=True):
            steps, values = zip(*curves[name], strict=True)
            axis.plot(steps, values, label=path.stem, linewidth=1.2)
    for axis, title in zip(axes, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
    for axis in axes[2:]:
        axis.set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.savefig(options.out, dpi=100)
    print(options.out)


if __name__ == "__main__":
    main()
