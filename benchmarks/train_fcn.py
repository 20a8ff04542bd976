"""Train the baseline renderer on the strokes that H_r was trained on: same data, same budget.

``python benchmarks/train_fcn.py --out runs/fcn --strokes 128000``; resumes.
"""

import argparse
import json
from pathlib import Path

import torch

from baselines import FullyConvolutionalRenderer
from neuralpaint.backend import device as devices
from neuralpaint.backend.files import writable_folder, write_json
from neuralpaint.renderers.train import Settings, evaluate, fit


def main() -> None:
    """Train, then print the error as benchmarks do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--strokes", type=int, default=128_000)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    writable_folder(options.out)
    settings = Settings(strokes=options.strokes, rate=options.rate)
    torch.manual_seed(settings.seed)
    network = FullyConvolutionalRenderer()

    def report(step: int, loss: float) -> None:
        if step % 100 == 0:
            print(f"step {step}/{settings.steps} loss {loss:.5f}", flush=True)

    fit(
        network,
        settings,
        options.out,
        device=devices.resolve(options.device),
        report=report,
    )
    errors = evaluate(network)
    write_json(options.out / "errors.json", errors)
    print(json.dumps(errors))


if __name__ == "__main__":
    main()
