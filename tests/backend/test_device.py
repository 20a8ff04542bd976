import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpaint.backend import device as dev

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def pretend_gpus(monkeypatch: pytest.MonkeyPatch, count: int, current: int = 0) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current)


# --- devices ---


@pytest.mark.parametrize("spec", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_cpu_by_any_name(spec: str | torch.device) -> None:
    assert dev.resolve(spec) == CPU


def test_auto_takes_the_cpu_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    assert dev.resolve() == dev.resolve("auto") == CPU


def test_auto_and_cuda_take_the_current_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2, current=1)
    for spec in ("auto", "cuda", "cuda:1", torch.device("cuda"), torch.device("cuda:1")):
        assert dev.resolve(spec) == torch.device("cuda", 1)


def test_gpu_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 2)
    assert dev.resolve("cuda:0").index == 0
    with pytest.raises(ValueError, match="'cuda:7' does not exist: the last of 2 is cuda:1"):
        dev.resolve("cuda:7")


def test_no_gpu_says_why_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(RuntimeError, match=r"'cuda'.*built without CUDA.*device='cpu'"):
        dev.resolve("cuda")
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    with pytest.raises(RuntimeError, match=r"'cuda:1'.*check the driver.*device='cpu'"):
        dev.resolve("cuda:1")


@pytest.mark.parametrize("spec", ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:1", "mps", "CPU"])
def test_unknown_device_lists_the_known(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpus(monkeypatch, 1)
    with pytest.raises(ValueError, match=r"unknown device .*'auto', 'cpu', 'cuda' or 'cuda:N'"):
        dev.resolve(spec)


# --- precision ---


def product_dtype() -> torch.dtype:
    return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_cpu_computes_in_float32_unless_asked() -> None:
    assert dev.compute_dtype(CPU) == torch.float32
    with dev.autocast(CPU):
        assert product_dtype() == torch.float32
    with dev.autocast(CPU, torch.bfloat16):
        assert product_dtype() == torch.bfloat16
        with dev.autocast(CPU):  # the inner policy wins
            assert product_dtype() == torch.float32
    assert product_dtype() == torch.float32


def test_precisions_that_a_device_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="float16 is for GPUs only"):
        dev.autocast(CPU, torch.float16)
    with pytest.raises(ValueError, match=r"autocast to torch\.float64 is not possible"):
        dev.autocast(CPU, torch.float64)
    monkeypatch.setattr(dev, "_has_bfloat16", lambda device: False)
    assert dev.compute_dtype(torch.device("cuda:0")) == torch.float16
    with pytest.raises(ValueError, match="cuda:0 has no bfloat16"):
        dev.autocast(torch.device("cuda:0"), torch.bfloat16)
    monkeypatch.setattr(dev, "_has_bfloat16", lambda device: True)
    assert dev.compute_dtype(torch.device("cuda:0")) == torch.bfloat16


# --- seeds ---


def test_generator_repeats() -> None:
    first, again, other = (torch.randn(5, generator=dev.generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, torch.randn(5, generator=torch.Generator().manual_seed(7)))


def test_spawned_seeds_are_the_same_everywhere() -> None:
    start, step = (int(word) for word in np.random.SeedSequence(7).generate_state(2))
    (high,) = np.random.SeedSequence(7, spawn_key=(3,)).generate_state(1)
    seed = dev.spawn(7, 3)
    assert seed == 8251062064205091675
    assert seed % 2**32 == (start + 3 * (step | 1)) % 2**32
    assert seed // 2**32 == high // 2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 300))
def test_spawned_seeds_never_meet_on_the_cpu(seed: int, first: int) -> None:
    seeds = [dev.spawn(seed, index) for index in range(first, first + 300)]
    assert all(0 <= spawned < 2**63 for spawned in seeds)
    assert len({spawned % 2**32 for spawned in seeds}) == 300


def test_spawned_generators_are_unrelated() -> None:
    rows = torch.stack(
        [torch.randn(2000, generator=dev.generator(dev.spawn(0, i))) for i in range(20)]
    )
    correlation = torch.corrcoef(rows) - torch.eye(20)
    assert correlation.abs().max() < 0.12  # 5 standard deviations of 1/sqrt(2000)


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range(seed: int) -> None:
    with pytest.raises(
        ValueError, match=r"seed .* is out of range: use an integer in \[0, 2\*\*64"
    ):
        dev.generator(seed)
    with pytest.raises(ValueError, match="seed"):
        dev.spawn(seed, 0)


def test_index_out_of_range() -> None:
    with pytest.raises(ValueError, match="index -1 is out of range"):
        dev.spawn(0, -1)
    with pytest.raises(ValueError, match="index"):
        dev.spawn(0, 2**32)


# --- memory ---


def test_peak_memory_is_the_processes_own_in_bytes() -> None:
    block = torch.ones(150_000_000)  # 600 MB, which ru_maxrss would hand down to the child
    del block
    program = """if True:
        from neuralpaint.backend import device
        cpu = device.resolve("cpu")
        print(device.peak_memory_bytes(cpu))
        block = bytearray(b"x") * 200_000_000
        print(device.peak_memory_bytes(cpu))
        del block
        device.reset_peak_memory(cpu)
        print(device.peak_memory_bytes(cpu))
    """
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    before, after, end = (int(line) for line in child.stdout.split())
    assert 50e6 < before < 500e6
    assert 180e6 < after - before < 220e6
    assert end > after - 5e6  # the kernel's own count is a little coarse


def test_peak_memory_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dev, "_STATUS", tmp_path / "status")
    used = resource.getrusage(resource.RUSAGE_SELF)
    monkeypatch.setattr(resource, "getrusage", lambda who: used)
    monkeypatch.setattr(sys, "platform", "linux")
    assert dev.peak_memory_bytes(CPU) == used.ru_maxrss * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert dev.peak_memory_bytes(CPU) == used.ru_maxrss


def test_out_of_memory_is_recognised() -> None:
    with pytest.raises(RuntimeError) as allocation:
        torch.empty(10**15)
    assert dev.is_out_of_memory(allocation.value)
    with pytest.raises(MemoryError) as array:
        np.ones(10**15)
    assert dev.is_out_of_memory(array.value)
    assert dev.is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    for text in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling"):
        assert dev.is_out_of_memory(RuntimeError(text))


def test_other_errors_are_not_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as mismatch:
        torch.ones(2) @ torch.ones(3)
    others = [mismatch.value, ValueError("CUDA out of memory"), KeyError("x"), SystemExit()]
    assert not any(dev.is_out_of_memory(error) for error in others)


# --- report ---


def test_report_is_json_and_names_the_cpu() -> None:
    report = json.loads(json.dumps(dev.describe()))
    assert report["torch"] == torch.__version__
    assert report["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    cpu = report["devices"][0]
    assert cpu["device"] == "cpu"
    assert cpu["dtype"] == "float32"
    assert cpu["threads"] == torch.get_num_threads()
    assert cpu["memory_bytes"] > 2**28
    assert len(report["devices"]) == 1 + torch.cuda.device_count()


def test_cpu_work_needs_no_waiting() -> None:
    dev.synchronize(CPU)
    dev.release_cached_memory()


# --- on a GPU ---


@pytest.mark.gpu
@needs_gpu
def test_gpu_policy() -> None:
    gpu = dev.resolve("cuda")
    assert torch.ones(1, device=gpu).device == gpu
    with dev.autocast(gpu):
        product = torch.ones(2, 2, device=gpu) @ torch.ones(2, 2, device=gpu)
    assert product.dtype == dev.compute_dtype(gpu) != torch.float32
    with dev.autocast(gpu, torch.float32):
        assert (product.float() @ product.float()).dtype == torch.float32
    described = dev.describe()["devices"]
    assert isinstance(described, list)
    assert described[1]["device"] == "cuda:0"


@pytest.mark.gpu
@needs_gpu
def test_gpu_peak_memory() -> None:
    gpu = dev.resolve("cuda")
    dev.reset_peak_memory(gpu)
    before = dev.peak_memory_bytes(gpu)
    block = torch.ones(2**20, device=gpu)
    assert dev.peak_memory_bytes(gpu) - before >= 4 * 2**20
    del block
    dev.release_cached_memory()
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**50, device=gpu)
    assert dev.is_out_of_memory(full.value)


def test_one_thread_is_set_back() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with dev.one_thread(torch.device("cpu")):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), dev.one_thread(torch.device("cpu")):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
