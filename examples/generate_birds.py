"""Make birds from a sentence: ``python examples/generate_birds.py --out out/birds``.

Writes the images, a sheet of them, and a page that shows which part each word drew.
"""

import argparse
from pathlib import Path

from neuralpaint import zoo
from neuralpaint.zoo.hfgan_model import HfGan

PROMPT = "a small bird with a yellow breast and black wings"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompt", nargs="?", default=PROMPT)
    parser.add_argument("--model", default="hfgan", help="name, folder, or org/name on the Hub")
    parser.add_argument("--num", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/generate_birds"))
    options = parser.parse_args(arguments)

    model = zoo.from_pretrained(options.model)
    assert isinstance(model, HfGan)
    print(f"{model.title}, trained on: {model.card.learned_from}")

    def progress(done: int, total: int) -> None:
        print(f"\r{done} of {total}", end="", flush=True)

    result = model.generate(
        options.prompt, num_images=options.num, seed=options.seed, progress=progress
    )
    print()
    for note in result.notes:
        print(f"note: {note}")
    result.save(options.out)
    result.sheet().save(options.out / "sheet.png")
    model.look(options.prompt, result.seeds[0]).page().save(options.out / "look.png")
    print(f"see {options.out}")


if __name__ == "__main__":
    main()
