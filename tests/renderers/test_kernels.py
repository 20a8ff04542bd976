"""Compiled kernels round alike on every machine of a kind, whatever was compiled before."""

import os
import subprocess
import sys
from pathlib import Path

from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from neuralpaint.renderers import bezier_cpu

# The smallest kernel whose helper is too large for LLVM to inline by itself.
GRADIENT = """
import numpy as np
from neuralpaint.renderers import bezier_cpu

def uniform(*shape):
    return rng.random(shape, dtype=np.float32)

rng = np.random.default_rng(0)
geometry, data, pull = uniform(8, 13) * np.float32(16), uniform(5, 8 * 61), uniform(3, 8, 64)
spans = np.array([(k, k, 1, 61 * k) for k in range(9)])
grad = np.zeros((8, 13))
bezier_cpu.backward_rows(geometry, spans, 8, data, 0.5, pull, grad)
hits = sum(bezier_cpu.backward_rows.stats.cache_hits.values())
print(hits, grad.tobytes().hex() + pull.tobytes().hex())
"""


def test_every_kernel_holds_its_helpers() -> None:
    compiled = {
        name: value for name, value in vars(bezier_cpu).items() if isinstance(value, Dispatcher)
    }
    cached = {
        name for name, value in compiled.items() if not isinstance(vars(value)["_cache"], NullCache)
    }
    assert {"paint_rows", "backward_rows", "process_rows", "score"} <= cached
    for name, value in compiled.items():
        called = set(value.py_func.__code__.co_names)
        # Loaded from the cache a callee would be linked, not inlined, and round differently.
        assert not called & cached, f"{name} calls {called & cached}"
        assert name in cached or value.targetoptions.get("forceinline"), f"{name} may be linked"


def test_compiling_process_rounds_like_a_loading_one(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", GRADIENT]
    (compiled, first), (loaded, second) = (
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    )
    assert (compiled, loaded) == ("0", "1")
    assert first == second
