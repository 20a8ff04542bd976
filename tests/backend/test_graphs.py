from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import pytest
import torch
from torch import nn

from neuralpaint.backend.batcher import Batcher
from neuralpaint.backend.buckets import Batch, BatchFunction, Bucketed
from neuralpaint.backend.device import autocast, resolve
from neuralpaint.backend.graphs import Captured, Graphed, _Recorder

CPU = torch.device("cpu")
SOON = 60.0


class PretendRecorder(_Recorder):
    """Stands in for a GPU: a replay reads the recorded inputs and overwrites the outputs."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.turns = 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        self.turns += 1
        yield

    def record(self, function: BatchFunction, batch: Batch) -> Captured:
        inputs = {name: torch.empty_like(tensor) for name, tensor in batch.items()}
        outputs = {name: torch.empty_like(tensor) for name, tensor in function(batch).items()}
        self.recorded.append(tuple(batch["x"].shape))

        def replay() -> None:
            for name, tensor in function(inputs).items():
                outputs[name].copy_(tensor)

        return Captured(inputs, outputs, replay)


def square(batch: Batch) -> Batch:
    return {"square": batch["x"] ** 2, "half": batch["x"] / 2}


def pretending(capacity: int = 16) -> tuple[Graphed, PretendRecorder]:
    graphed, recorder = Graphed(square, CPU, capacity=capacity), PretendRecorder()
    graphed._recorder = recorder
    return graphed, recorder


# --- on the CPU ---


def test_the_cpu_calls_the_function() -> None:
    batch = {"x": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}
    result, expected = Graphed(square, CPU)(batch), square(batch)
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_gradients_are_off() -> None:
    weight = torch.ones(1, requires_grad=True)
    assert not Graphed(lambda b: {"y": b["x"] * weight}, CPU)({"x": torch.ones(2)})[
        "y"
    ].requires_grad
    assert torch.is_grad_enabled()


def test_autocast_belongs_into_the_function() -> None:
    def product(batch: Batch) -> Batch:
        with autocast(CPU, torch.bfloat16):
            return {"y": batch["x"] @ batch["x"]}

    graphed = Graphed(product, CPU)
    assert graphed({"x": torch.ones(2, 2)})["y"].dtype == torch.bfloat16
    with (
        autocast(CPU, torch.bfloat16),
        pytest.raises(RuntimeError, match="enter it in the function"),
    ):
        graphed({"x": torch.ones(2, 2)})


def test_capacity_out_of_range() -> None:
    with pytest.raises(ValueError, match="capacity 0 is too small"):
        Graphed(square, CPU, capacity=0)


# --- recordings, with a pretended GPU ---


def test_each_shape_is_recorded_once() -> None:
    graphed, recorder = pretending()
    for value, rows in enumerate((4, 2, 4, 2, 4)):
        result = graphed({"x": torch.full((rows,), float(value))})
        assert result["square"].tolist() == [value**2] * rows
        assert result["half"].tolist() == [value / 2] * rows
    assert graphed({"x": torch.ones(2, dtype=torch.int64)})["square"].dtype == torch.int64
    assert recorder.recorded == [(4,), (2,), (2,)]
    assert recorder.turns == 6


def test_results_and_batches_are_the_callers_own() -> None:
    graphed, _ = pretending()
    batch = {"x": torch.ones(2)}
    first = graphed(batch)["square"]
    second = graphed({"x": torch.full((2,), 3.0)})["square"]
    assert first.tolist() == [1, 1]
    assert second.tolist() == [9, 9]
    assert batch["x"].tolist() == [1, 1]


def test_the_recording_used_longest_ago_makes_room() -> None:
    graphed, recorder = pretending(capacity=2)
    for rows in (1, 2, 1, 3, 1, 2):
        assert graphed({"x": torch.ones(rows)})["square"].tolist() == [1] * rows
    assert recorder.recorded == [(1,), (2,), (3,), (2,)]
    assert len(graphed._recordings) == 2


def test_a_function_that_fails_is_not_recorded() -> None:
    graphed, recorder = pretending(capacity=1)
    graphed({"x": torch.ones(1)})
    with pytest.raises(KeyError, match="x"):
        graphed({"y": torch.ones(1)})
    graphed({"x": torch.ones(1)})
    assert recorder.recorded == [(1,), (1,)]


def test_threads_take_turns() -> None:
    graphed, recorder = pretending()
    together = Barrier(4)

    def ask(thread: int) -> list[float]:
        together.wait(SOON)
        return [
            float(graphed({"x": torch.full((64,), 100.0 * thread + i)})["half"][63])
            for i in range(50)
        ]

    with ThreadPoolExecutor(4) as threads:
        for thread, answers in enumerate(threads.map(ask, range(4))):
            assert answers == [50 * thread + i / 2 for i in range(50)]
    assert recorder.recorded == [(64,)]


def test_buckets_keep_the_recordings_few() -> None:
    graphed, recorder = pretending()
    bucketed = Bucketed(graphed, max_size=8)
    for rows in range(1, 20):
        x = torch.arange(float(rows))
        assert torch.equal(bucketed({"x": x})["square"], x**2)
    assert sorted(recorder.recorded) == [(1,), (2,), (4,), (8,)]


# --- on a GPU ---

gpu_test = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def gpu_net(gpu: torch.device) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 8 * 8, 10)
    )
    return net.eval().to(gpu)


@pytest.mark.gpu
@gpu_test
def test_gpu_replays_equal_direct_calls() -> None:
    gpu = resolve("cuda")
    net = gpu_net(gpu)
    graphed = Graphed(lambda batch: {"y": net(batch["x"])}, gpu)
    for _ in range(3):
        for rows in (1, 4, 2):
            x = torch.randn(rows, 3, 8, 8)
            with torch.no_grad():
                torch.testing.assert_close(graphed({"x": x})["y"], net(x.to(gpu)))
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(0.5)  # in place: the recordings see it
        x = torch.randn(4, 3, 8, 8, device=gpu)
        torch.testing.assert_close(graphed({"x": x})["y"], net(x))


@pytest.mark.gpu
@gpu_test
def test_gpu_streams_wait_for_each_other() -> None:
    gpu = resolve("cuda")
    graphed = Graphed(square, gpu)
    new_stream: Callable[[torch.device], torch.cuda.Stream] = torch.cuda.Stream
    streams = [new_stream(gpu), new_stream(gpu)]
    results = []
    for value in range(20):
        with torch.cuda.stream(streams[value % 2]):
            results.append(graphed({"x": torch.full((2**20,), float(value), device=gpu)})["square"])
    torch.cuda.synchronize(gpu)
    assert all(bool((result == value**2).all()) for value, result in enumerate(results))


@pytest.mark.gpu
@gpu_test
def test_gpu_refuses_what_cannot_be_recorded() -> None:
    gpu = resolve("cuda")
    with pytest.raises(RuntimeError, match="cannot be recorded as a CUDA graph"):
        Graphed(lambda batch: {"y": batch["x"] * batch["x"].sum().item()}, gpu)(
            {"x": torch.ones(2)}
        )
    assert torch.equal(
        Graphed(square, gpu)({"x": torch.ones(2)})["half"].cpu(), torch.full((2,), 0.5)
    )


@pytest.mark.gpu
@gpu_test
def test_gpu_under_a_batcher_with_autocast() -> None:
    gpu = resolve("cuda")
    net = gpu_net(gpu)

    def function(batch: Batch) -> Batch:
        with autocast(gpu):
            return {"y": net(batch["x"])}

    requests = [{"x": torch.randn(3, 8, 8)} for _ in range(21)]
    with Batcher(Graphed(function, gpu), max_size=8, fixed=True) as batcher:
        together = batcher.map(requests)
        alone = [batcher(request) for request in requests]
    for one, other, request in zip(together, alone, requests, strict=True):
        assert torch.equal(one["y"], other["y"])
        with torch.no_grad():
            exact = net(request["x"][None].to(gpu))[0]
        torch.testing.assert_close(one["y"].float(), exact, atol=0.05, rtol=0.05)
