import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuralpaint.backend.buckets import (
    Batch,
    Bucketed,
    Calls,
    count_rows,
    pad_length,
    signature,
    stack,
    unstack,
)


class Recorded:
    """Doubles x and remembers the batches that it was called with."""

    def __init__(self, memory: int = 10**9) -> None:
        self.memory = memory
        self.seen: list[torch.Tensor] = []

    def __call__(self, batch: Batch) -> Batch:
        self.seen.append(batch["x"])
        if len(batch["x"]) > self.memory:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {"double": 2 * batch["x"]}

    @property
    def sizes(self) -> list[int]:
        return [len(seen) for seen in self.seen]


def numbers(count: int) -> Batch:
    return {"x": torch.arange(1.0, count + 1)}


# --- buckets ---


@pytest.mark.parametrize(
    ("rows", "max_size", "fixed", "sizes"),
    [
        (1, 8, False, [1]),
        (3, 8, False, [4]),
        (8, 8, False, [8]),
        (5, 6, False, [6]),
        (19, 8, False, [8, 8, 4]),
        (7, 1, False, [1] * 7),
        (1, 8, True, [8]),
        (19, 8, True, [8, 8, 8]),
    ],
)
def test_sizes_of_the_calls(rows: int, max_size: int, fixed: bool, sizes: list[int]) -> None:
    function = Recorded()
    bucketed = Bucketed(function, max_size=max_size, fixed=fixed)
    result = bucketed(numbers(rows))
    assert function.sizes == sizes
    assert torch.equal(result["double"], 2 * numbers(rows)["x"])
    assert bucketed.calls == Calls(batches=len(sizes), rows=rows, slots=sum(sizes))
    assert bucketed.calls.mean_fill == rows / sum(sizes)


def test_padding_repeats_the_last_row() -> None:
    function = Recorded()
    Bucketed(function, max_size=8)({"x": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])})
    assert function.seen[0].tolist() == [[1, 2], [3, 4], [5, 6], [5, 6]]


def test_out_of_memory_halves_and_remembers() -> None:
    function = Recorded(memory=3)
    bucketed = Bucketed(function, max_size=16)
    assert torch.equal(bucketed(numbers(13))["double"], 2 * numbers(13)["x"])
    assert function.sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 1]
    assert bucketed.limit(numbers(1)) == 2
    assert bucketed.calls == Calls(batches=7, rows=13, slots=13, halvings=3)
    function.seen.clear()
    bucketed(numbers(4))
    assert function.sizes == [2, 2]


def test_the_limit_belongs_to_the_shapes_of_the_rows() -> None:
    bucketed = Bucketed(Recorded(memory=2), max_size=8)
    bucketed(numbers(8))
    assert bucketed.limit(numbers(3)) == 2
    assert bucketed.limit({"x": torch.zeros(3, 1)}) == 8
    assert bucketed.limit({"x": torch.zeros(3, dtype=torch.float64)}) == 8


def test_fixed_buckets_halve_too() -> None:
    function = Recorded(memory=4)
    assert Bucketed(function, max_size=16, fixed=True)(numbers(1))["double"].tolist() == [2]
    assert function.sizes == [16, 8, 4]


def test_one_row_that_is_too_much_raises() -> None:
    bucketed = Bucketed(Recorded(memory=0), max_size=4)
    with pytest.raises(torch.OutOfMemoryError):
        bucketed(numbers(4))
    assert bucketed.calls == Calls(halvings=2)


def test_other_errors_pass_through_at_once() -> None:
    function = Recorded()

    def broken(batch: Batch) -> Batch:
        function(batch)
        raise KeyError("hair")

    with pytest.raises(KeyError, match="hair"):
        Bucketed(broken, max_size=8)(numbers(5))
    assert function.sizes == [8]


def test_gradients_are_off() -> None:
    weight = torch.ones(1, requires_grad=True)
    result = Bucketed(lambda batch: {"y": weight * batch["x"]})(numbers(3))
    assert not result["y"].requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"y": torch.zeros(3)}, r"'y' with \[3\]: a tensor of 4 rows is due"),
        ({"y": torch.zeros(())}, r"'y' with \[\]"),
        ({"y": 4}, "'y' with <class 'int'>"),
        (torch.zeros(4), "must return a dict of tensors"),
        ({}, "must return a dict of tensors"),
    ],
)
def test_functions_must_answer_row_by_row(answer: Batch, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        Bucketed(lambda batch: answer)(numbers(4))


@pytest.mark.parametrize(
    "batch", [{}, numbers(0), {"x": torch.zeros(2), "y": torch.zeros(3)}, {"x": torch.tensor(1.0)}]
)
def test_what_is_not_a_batch(batch: Batch) -> None:
    with pytest.raises(ValueError, match="not a batch of one or more rows"):
        Bucketed(Recorded())(batch)


def test_max_size_out_of_range() -> None:
    with pytest.raises(ValueError, match="max_size 0 is too small"):
        Bucketed(Recorded(), max_size=0)


def test_counts_are_exact_over_threads() -> None:
    bucketed = Bucketed(lambda batch: batch, max_size=4)
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(timeout=30)
        for _ in range(50):
            bucketed(numbers(3))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert bucketed.calls == Calls(batches=200, rows=600, slots=800)


@settings(deadline=None)
@given(
    rows=st.integers(1, 40), size=st.integers(1, 20), memory=st.integers(1, 20), fixed=st.booleans()
)
def test_any_size_and_memory_gives_every_row(
    rows: int, size: int, memory: int, fixed: bool
) -> None:
    function = Recorded(memory)
    bucketed = Bucketed(function, max_size=size, fixed=fixed)
    assert torch.equal(bucketed(numbers(rows))["double"], 2 * numbers(rows)["x"])
    assert max(function.sizes) <= size
    assert bucketed.calls.rows == rows
    assert bucketed.calls.slots == sum(s for s in function.sizes if s <= memory)
    assert bucketed.calls.halvings == sum(s > memory for s in function.sizes)


# --- together as alone ---


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.GroupNorm(3, 12),
        nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(24, 6, 4, stride=2, padding=1),
        nn.Flatten(),
        nn.Linear(6 * 16 * 16, 37),
    ).eval()


def test_together_equals_alone() -> None:
    net = small_net()
    images = torch.rand(21, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def function(batch: Batch) -> Batch:
        return {"y": net(batch["x"])}

    for fixed in (True, False):
        bucketed = Bucketed(function, max_size=8, fixed=fixed)
        together = bucketed({"x": images})["y"]
        alone = torch.cat([bucketed({"x": image[None]})["y"] for image in images])
        backwards = bucketed({"x": images.flip(0)})["y"].flip(0)
        if fixed:
            assert torch.equal(together, alone)
            assert torch.equal(together, backwards)
        torch.testing.assert_close(together, alone)
        torch.testing.assert_close(together, backwards)


# --- stacking and padding ---


def test_stack_and_unstack() -> None:
    requests = [
        {"x": torch.tensor([1, 2]), "s": torch.tensor(5)},
        {"x": torch.tensor([3, 4]), "s": torch.tensor(6)},
    ]
    batch = stack(requests)
    assert batch["x"].tolist() == [[1, 2], [3, 4]]
    assert batch["s"].tolist() == [5, 6]
    assert count_rows(batch) == 2
    rows = unstack(batch)
    assert [row["x"].tolist() for row in rows] == [[1, 2], [3, 4]]
    assert rows[0]["x"].untyped_storage().nbytes() == 16  # a copy of its own, not a view
    rows[0]["x"].zero_()
    assert batch["x"].tolist() == [[1, 2], [3, 4]]


def test_signature_ignores_order_and_values() -> None:
    a, b = torch.zeros(2), torch.ones(3, dtype=torch.int64)
    assert signature({"a": a, "b": b}) == signature({"b": 2 * b, "a": a + 1})
    different = [{"a": a}, {"a": a, "c": b}, {"a": b, "b": a}, {"a": a.double(), "b": b}]
    assert all(signature({"a": a, "b": b}) != signature(other) for other in different)


def test_pad_length() -> None:
    tokens = torch.tensor([[7, 7], [8, 8], [9, 9]])
    padded, mask = pad_length(tokens, [16, 4, 8])
    assert padded.tolist() == [[7, 7], [8, 8], [9, 9], [0, 0]]
    assert padded.dtype == tokens.dtype
    assert mask.tolist() == [True, True, True, False]
    exact, full = pad_length(tokens, [3])
    assert torch.equal(exact, tokens)
    assert full.all()


@pytest.mark.parametrize("lengths", [[2], []])
def test_sequence_too_long(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="a sequence of 3 is too long"):
        pad_length(torch.zeros(3), lengths)
