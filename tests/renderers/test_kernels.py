"""Compiled kernels round alike on every machine of a kind, whatever was compiled before."""

from numba.core.caching import NullCache
from numba.core.dispatcher import Dispatcher

from neuralpaint.renderers import bezier_cpu


def test_no_kernel_calls_a_cached_one() -> None:
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
