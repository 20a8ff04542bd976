"""CUDA graphs: a batch function's GPU work, recorded once per shape, replayed as one launch."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from .buckets import Batch, BatchFunction, Signature, signature
from .device import is_out_of_memory, synchronize

_WARM_UPS = 3  # cuDNN chooses its algorithms and libraries allocate before the recording


@dataclass(frozen=True)
class Captured:
    """A recording for one shape.

    Attributes:
        inputs: The tensors that the recording reads.
        outputs: The tensors that it writes.
        replay: Runs it on the current stream.
    """

    inputs: Batch
    outputs: Batch
    replay: Callable[[], None]


class Graphed:
    """Calls a batch function through CUDA graphs on a GPU, and directly on the CPU.

    The first call with a batch of some shape runs the function a few times and records it; later
    calls copy the batch in, replay, and copy the results out. Give it to a `Batcher` or `Bucketed`,
    whose buckets keep the number of shapes small. Gradients are off. Any thread may call.

    On a GPU the function must not make or move tensors from the CPU, read values (`.item()`,
    conditions on tensors, shapes that depend on values), or draw random numbers. Its Python code
    runs only while it is recorded. Weights that change in place (`optimizer.step()`,
    `load_state_dict`) take effect; replaced ones, `train()` and `eval()` do not: make a new
    `Graphed`. Enter autocast inside the function, not around the call.

    Args:
        function: Takes and returns a batch; it is given tensors on the device.
        device: A device from `device.resolve`.
        capacity: Most recordings kept; the one used longest ago makes room.

    Raises:
        ValueError: `capacity` is less than 1.
    """

    def __init__(
        self, function: BatchFunction, device: torch.device, *, capacity: int = 16
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity {capacity} is too small: use 1 or more")
        self._function = function
        self._device = device
        self._capacity = capacity
        self._lock = threading.Lock()
        self._recordings: OrderedDict[Signature, Captured] = OrderedDict()
        self._recorder = _Recorder(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> Batch:
        """Compute a batch.

        Args:
            batch: Tensors on any device.

        Returns:
            The function's tensors on the device; they are the caller's own.

        Raises:
            RuntimeError: The function cannot be recorded, or autocast is on around the call.
        """
        if torch.is_autocast_enabled(self._device.type):
            # Its cache of cast weights would be recorded, and outlives neither call.
            raise RuntimeError("autocast is on around a Graphed call: enter it in the function")
        with torch.no_grad():
            if self._recorder is None:
                return self._function(
                    {name: tensor.to(self._device) for name, tensor in batch.items()}
                )
            with self._lock, self._recorder.turn():
                recording = self._find(batch, self._recorder)
                for name, tensor in batch.items():
                    recording.inputs[name].copy_(tensor)
                recording.replay()
                return {name: tensor.clone() for name, tensor in recording.outputs.items()}

    def _find(self, batch: Batch, recorder: "_Recorder") -> Captured:
        shapes = signature(batch)
        if shapes in self._recordings:
            self._recordings.move_to_end(shapes)
            return self._recordings[shapes]
        if len(self._recordings) >= self._capacity:
            synchronize(self._device)  # it may still be running
            self._recordings.popitem(last=False)
        self._recordings[shapes] = recorder.record(self._function, batch)
        return self._recordings[shapes]


class _Recorder:
    """Records functions on one GPU; all its recordings share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        new_stream: Callable[[], torch.cuda.Stream] = torch.cuda.Stream  # has no types itself
        self._device = device
        with torch.cuda.device(device):
            self._side = new_stream()
            self._pool = torch.cuda.graph_pool_handle()
            self._previous = torch.cuda.current_stream()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Make this call's stream wait for the previous call's: they share inputs and memory."""
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            if current != self._previous:
                current.wait_stream(self._previous)
                self._previous = current
            yield

    def record(self, function: BatchFunction, batch: Batch) -> Captured:
        """Warm the function up and record it; within a turn."""
        inputs = {name: tensor.to(self._device, copy=True) for name, tensor in batch.items()}
        current = torch.cuda.current_stream()
        self._side.wait_stream(current)
        try:
            # This context also restores the stream where a failed recording leaves its own behind.
            with torch.cuda.stream(self._side):
                for _ in range(_WARM_UPS):
                    function(dict(inputs))
                return self._capture(function, inputs)
        finally:
            current.wait_stream(self._side)

    def _capture(self, function: BatchFunction, inputs: Batch) -> Captured:
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: other threads may go on using the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"
            ):
                outputs = function(dict(inputs))
        except Exception as error:
            # Leaving a failed recording may raise once more, which hides the first error.
            for cause in (error, error.__context__):
                if cause is not None and is_out_of_memory(cause):
                    raise cause from None
            raise RuntimeError(
                "the function cannot be recorded as a CUDA graph (see Graphed for what it may do): "
                "correct it, or call it without Graphed"
            ) from error
        return Captured(inputs, outputs, graph.replay)
