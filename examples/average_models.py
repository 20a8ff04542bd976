"""Average the weights of two models, the second tuned from the first: a middle way of both.

    python examples/average_models.py runs/aged/model runs/tuned/model --share 0.5 --out runs/both

Weights of one training and of another that went on from it lie in one valley, so that their average
works, too (Wortsman et al. 2022); those of two trainings from different random weights do not.
"""

import argparse
from pathlib import Path

from neuralpaint import zoo


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", help="name, folder, or org/name on the Hub")
    parser.add_argument("second", help="tuned from the first")
    parser.add_argument("--share", type=float, default=0.5, help="of the second, 0 to 1")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new model")
    options = parser.parse_args(arguments)
    if not 0 <= options.share <= 1:
        parser.error(f"--share must lie in [0, 1], got {options.share}")

    first, second = (zoo.from_pretrained(name) for name in (options.first, options.second))
    if first.config != second.config:
        parser.error(f"{options.first} and {options.second} have other configurations")
    state = first.networks.state_dict()
    for name, weight in second.networks.state_dict().items():
        if weight.is_floating_point():
            state[name].lerp_(weight, options.share)
    print(first.save_pretrained(options.out, second.card))


if __name__ == "__main__":
    main()
