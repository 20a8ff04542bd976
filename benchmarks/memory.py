"""Memory of the vector environment: by number of environments, and over 10,000 steps."""

import subprocess
import sys

import gymnasium as gym
import numpy as np

import neuralpaint  # noqa: F401  registers the environments
from measure import show

SIZE, STEPS = 64, 10_000


def resident() -> int:
    """Bytes of this process in memory now (Linux)."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS line: this benchmark needs Linux")


def run(count: int, steps: int) -> tuple[int, int]:
    """Resident bytes after a first round of steps and after `steps` more."""
    envs = gym.make_vec("NeuralPaint-v0", num_envs=count, canvas=SIZE, device="cpu")
    envs.reset(seed=0)
    actions = np.random.default_rng(0).random((count, 65), np.float32) * 0.2
    for _ in range(200):
        envs.step(actions)
    before = resident()
    for _ in range(steps):
        envs.step(actions)
    return before, resident()


def main() -> None:
    if len(sys.argv) == 3:
        before, after = run(int(sys.argv[1]), int(sys.argv[2]))
        print(before, after)
        return
    base = 0
    for count in (1, 64, 128, 256):
        output = subprocess.check_output([sys.executable, __file__, str(count), "0"], text=True)
        bytes_used = int(output.split()[0])
        base = base or bytes_used
        show(f"vector_env_{count}", bytes_used / 1e6, "MB")
        if count > 1:
            show(f"vector_env_{count}_per_env", (bytes_used - base) / (count - 1) / 1e6, "MB")
    output = subprocess.check_output([sys.executable, __file__, "8", str(STEPS)], text=True)
    before, after = (int(number) for number in output.split())
    show(f"vector_env_growth_over_{STEPS}_steps", (after - before) / 1e6, "MB")


if __name__ == "__main__":
    main()
