"""The main job on two CPU cores: the demo portrait at 128 x 128, each run in its own process."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import show

RUNS = (
    ("hybrid", "process", 400),
    ("hybrid", "picture", 200),
    ("hybrid", "picture", 400),
    ("agent", "process", 400),
    ("optimise", "process", 400),
    ("optimise", "picture", 200),
    ("optimise", "picture", 400),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for method, finish, strokes in RUNS:
            name = f"{method}_{finish}_{strokes}"
            command = [sys.executable, "-m", "neuralpaint", "paint", "--demo", "--json"]
            command += ["--method", method]
            command += ["--finish", finish, "--strokes", str(strokes)]
            done = subprocess.run(
                [*command, "--out", str(Path(folder, name))],
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            figures = json.loads(done.stdout)
            for count, at in figures["at"].items():
                show(f"{name}_psnr_after_{count}", at["psnr"], "dB")
                show(f"{name}_ssim_after_{count}", at["ssim"], "")
            show(f"{name}_seconds", figures["seconds"], "s")
            show(f"{name}_peak_memory", figures["peak_memory_bytes"] / 1e9, "GB")


if __name__ == "__main__":
    main()
