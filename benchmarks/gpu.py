"""GPU: strokes/s and env steps/s by batch size, with the fraction of the memory-bandwidth limit.

The limit is measured in the same run by copying a large tensor.
"""

import sys
import time
from collections.abc import Callable
from functools import partial

import gymnasium as gym
import torch

import neuralpaint  # noqa: F401  registers the environments
from measure import show
from neuralpaint.renderers import bezier, bezier_gpu
from neuralpaint.renderers.stroke import random_strokes

SIZE, BUNDLE = 128, 5


def seconds(call: Callable[[], object], repeats: int = 20) -> float:
    """Seconds of one call, mean over repeats after a warm-up."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeats


def train(canvas: torch.Tensor, strokes: torch.Tensor) -> None:
    """Forward and backward."""
    bezier.paint(canvas, strokes).sum().backward()


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("no CUDA device: nothing measured")
    print(f"device {torch.cuda.get_device_name()}")
    source = torch.empty(2**28, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / seconds(partial(target.copy_, source))
    show("memory_bandwidth", bandwidth / 1e9, "GB/s")
    for batch in (1, 8, 64, 96, 512, 2048):
        generator = torch.Generator().manual_seed(0)
        strokes = random_strokes(batch * BUNDLE, generator).view(batch, BUNDLE, -1).cuda()
        canvas = torch.zeros(batch, 3, SIZE, SIZE, device="cuda")
        with torch.no_grad():
            forward = seconds(partial(bezier.paint, canvas, strokes))
        moved = bezier_gpu.bytes_moved(canvas, strokes)
        leaf = strokes.requires_grad_()
        both = seconds(partial(train, canvas, leaf))
        show(f"gpu_paint_batch_{batch}", batch * BUNDLE / forward, "strokes/s")
        show(f"gpu_paint_batch_{batch}_of_bandwidth", moved / forward / bandwidth, "")
        show(f"gpu_paint_and_gradient_batch_{batch}", batch * BUNDLE / both, "strokes/s")
        envs = gym.make_vec("NeuralPaint-v0", num_envs=batch, device="cuda", output="torch")
        envs.reset(seed=0)
        action = strokes.detach().flatten(1)
        step = seconds(partial(envs.step, action))
        show(f"gpu_env_batch_{batch}", batch / step, "env steps/s")
        envs.close()


if __name__ == "__main__":
    main()
