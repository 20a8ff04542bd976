"""Devices, precision, seeds and memory: with `graphs`, the only place that speaks to torch.cuda."""

import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch

_STATUS = Path("/proc/self/status")  # Linux only
_ALLOCATION_FAILURES = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


# --- devices -------------------------------------------------------------------------------------


def resolve(spec: str | torch.device = "auto") -> torch.device:
    """Turn a user's choice of device into one that exists.

    Args:
        spec: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" (the GPU that torchrun
            gave this process by LOCAL_RANK, else the current one), "cuda:N", or a torch.device.

    Returns:
        The device; a GPU always carries its index, so that it equals the device of its tensors.

    Raises:
        ValueError: The name is unknown, or that GPU does not exist.
        RuntimeError: A GPU was asked for and PyTorch cannot use one.
    """
    name = str(spec)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind == "cpu" and index in ("", "0"):
        return torch.device("cpu")
    if kind != "cuda" or not (index.isdecimal() or name == "cuda"):
        raise ValueError(f"unknown device {name!r}: use 'auto', 'cpu', 'cuda' or 'cuda:N'")
    if not torch.cuda.is_available():
        raise RuntimeError(f"no GPU for device {name!r}: {_why_no_gpu()}, or use device='cpu'")
    number = int(index or os.environ.get("LOCAL_RANK", "") or torch.cuda.current_device())
    count = torch.cuda.device_count()
    if number >= count:
        raise ValueError(f"device {name!r} does not exist: the last of {count} is cuda:{count - 1}")
    return torch.device("cuda", number)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Context in which PyTorch computes on one thread: results that do not depend on their number.

    Convolutions add up in another order on two threads than on one. The number belongs to the
    whole process and is set back at the end; on a GPU nothing is changed.

    Args:
        device: A device from `resolve`.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def synchronize(device: torch.device) -> None:
    """Wait until the work queued on a device is done; at once on the CPU.

    Args:
        device: The device; call this before reading a clock.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _why_no_gpu() -> str:
    if torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} is built without CUDA; install a CUDA build"
    return f"PyTorch {torch.__version__} finds no GPU; check the driver and CUDA_VISIBLE_DEVICES"


# --- precision -----------------------------------------------------------------------------------


def compute_dtype(device: torch.device) -> torch.dtype:
    """Precision that autocast uses on a device by default.

    Args:
        device: A device from `resolve`.

    Returns:
        float32 on the CPU; on a GPU bfloat16 where its hardware has it, else float16.
    """
    if device.type == "cpu":
        return torch.float32
    return torch.bfloat16 if _has_bfloat16(device) else torch.float16


def autocast(
    device: torch.device, dtype: torch.dtype | None = None
) -> AbstractContextManager[object]:
    """Context in which matrix products and convolutions run at the chosen precision.

    Autocast belongs to the thread that enters it: a function run by a `Batcher` enters its own.

    Args:
        device: A device from `resolve`.
        dtype: float32 (no autocast, also inside an outer one), bfloat16, or float16 (GPU only);
            by default `compute_dtype(device)`.

    Returns:
        The context.

    Raises:
        ValueError: The device cannot compute in `dtype`.
    """
    dtype = compute_dtype(device) if dtype is None else dtype
    if dtype == torch.float32:
        return torch.autocast(device.type, enabled=False)
    if dtype == torch.float16 and device.type == "cpu":
        raise ValueError("float16 is for GPUs only: use float32 or bfloat16 on the CPU")
    if dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"autocast to {dtype} is not possible: use float32, bfloat16 or float16")
    if dtype == torch.bfloat16 and device.type == "cuda" and not _has_bfloat16(device):
        raise ValueError(f"{device} has no bfloat16: use float16 or float32")
    return torch.autocast(device.type, dtype=dtype)


def _has_bfloat16(device: torch.device) -> bool:
    # The question is answered for the current GPU, and emulated bfloat16 is slower than float16.
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


# --- seeds ---------------------------------------------------------------------------------------


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Random number generator of one request or one run.

    Draw on the CPU and move the numbers: a CPU and a GPU generator give different numbers for the
    same seed. PyTorch's CPU generator reads only the low 32 bits of the seed.

    Args:
        seed: Any integer in [0, 2**64).
        device: Where the generator draws; leave it at the CPU wherever results must repeat.

    Returns:
        A freshly seeded generator.

    Raises:
        ValueError: The seed is out of range.
    """
    return torch.Generator(device).manual_seed(_checked(seed, "seed", 64))


def spawn(seed: int, index: int) -> int:
    """Independent seed of the request (or env, or stroke) number `index` of a run.

    Two indices of one run never share their low 32 bits, which are all that PyTorch's CPU generator
    reads: those bits walk through all 2**32 values with a random start and a random odd step. The
    others come from numpy's SeedSequence.

    Args:
        seed: Seed of the run, in [0, 2**64).
        index: Number of the request, in [0, 2**32).

    Returns:
        A seed in [0, 2**63), the same on every machine; it may be spawned from again.

    Raises:
        ValueError: An argument is out of range.
    """
    _checked(seed, "seed", 64)
    _checked(index, "index", 32)
    start, step = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
    low = (start + index * (step | 1)) % 2**32
    high = int(np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1)[0]) >> 1
    return high << 32 | low


def _checked(value: int, name: str, bits: int) -> int:
    if not 0 <= value < 2**bits:
        raise ValueError(f"{name} {value} is out of range: use an integer in [0, 2**{bits})")
    return int(value)


# --- memory --------------------------------------------------------------------------------------


def peak_memory_bytes(device: torch.device) -> int:
    """Highest memory use so far.

    Args:
        device: A GPU (what PyTorch's tensors took on it since the start or `reset_peak_memory`) or
            the CPU (resident memory of this process since its start).

    Returns:
        Bytes.

    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return _resident_peak_bytes()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of a GPU's peak memory; the CPU's peak cannot be reset.

    Args:
        device: A device from `resolve`.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def release_cached_memory() -> None:
    """Give GPU memory that PyTorch holds but does not use back, after an out-of-memory error."""
    torch.cuda.empty_cache()  # does nothing where no GPU is in use


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, so that a smaller batch may succeed.

    Args:
        error: Any exception.

    Returns:
        True for PyTorch's GPU error, a failed allocation of its CPU allocator, of cuBLAS or cuDNN,
        and Python's MemoryError (numpy's is one).
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in _ALLOCATION_FAILURES
    )


def _resident_peak_bytes() -> int:
    if _STATUS.exists():
        # A child inherits ru_maxrss from the process that started it; VmHWM starts anew.
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- report --------------------------------------------------------------------------------------


def describe() -> dict[str, object]:
    """What this machine offers, for a report to the user.

    Returns:
        A dict of JSON types: "python", "platform", "torch", "cuda" (versions, None without CUDA),
        "auto" (the device that "auto" means) and "devices", one dict each: "device",
        "name", "memory_bytes" and "dtype" (autocast's default), with "threads" and "cores" on the
        CPU, "capability" and "free_bytes" on a GPU.
    """
    devices = [_describe_cpu()]
    if torch.cuda.is_available():
        devices += [_describe_gpu(number) for number in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "auto": str(resolve("auto")),
        "devices": devices,
    }


def _describe_cpu() -> dict[str, object]:
    cpu = torch.device("cpu")
    return {
        "device": "cpu",
        "name": platform.processor() or platform.machine(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "dtype": _dtype_name(cpu),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
    }


def _describe_gpu(number: int) -> dict[str, object]:
    gpu = torch.device("cuda", number)
    free, total = torch.cuda.mem_get_info(gpu)
    major, minor = torch.cuda.get_device_capability(gpu)
    return {
        "device": str(gpu),
        "name": torch.cuda.get_device_name(gpu),
        "memory_bytes": total,
        "dtype": _dtype_name(gpu),
        "capability": f"{major}.{minor}",
        "free_bytes": free,
    }


def _dtype_name(device: torch.device) -> str:
    return str(compute_dtype(device)).removeprefix("torch.")
