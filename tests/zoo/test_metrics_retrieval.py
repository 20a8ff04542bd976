"""VS similarity and R-precision by hand, at their floors and at their ceilings."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from neuralpaint.zoo.metrics.retrieval import cosines, most_candidates, others, r_precision


def vectors(count: int, dim: int, seed: int) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def sentences(count: int) -> list[str]:
    return [f"sentence {index}" for index in range(count)]


def test_cosines_by_hand() -> None:
    images = torch.tensor([[1.0, 0], [3, 4], [1, 1]])
    texts = torch.tensor([[2.0, 0], [4, 3], [-5, -5]])
    assert cosines(images, texts).tolist() == pytest.approx([1, 24 / 25, -1])


@given(count=st.integers(2, 300), seed=st.integers(0, 2**63))
def test_others_are_never_oneself_and_each_is_used_once(count: int, seed: int) -> None:
    shuffle = others(count, seed)
    assert (shuffle != torch.arange(count)).all()
    assert sorted(shuffle.tolist()) == list(range(count))


def test_one_prompt_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="fewer than two"):
        others(1, 0)


def test_r_precision_by_hand() -> None:
    # Picture 0 is nearest to its own sentence, picture 1 to that of picture 0, picture 2 is torn.
    images = torch.tensor([[1.0, 0, 0], [0.9, 0.5, 0], [0, 1, 1]])
    texts = torch.eye(3)
    found = r_precision(images, texts, sentences(3), torch.arange(3), 0, candidates=3)
    assert found.tolist() == [True, False, False]


def test_ceiling_copies_find_themselves() -> None:
    table = vectors(300, 16, 0)
    found = r_precision(table, table, sentences(300), torch.arange(300), 0)
    assert found.all()


def test_floor_is_one_in_a_hundred() -> None:
    images, texts = vectors(4000, 16, 0), vectors(4000, 16, 1)
    found = r_precision(images, texts, sentences(4000), torch.arange(4000), 0)
    assert found.double().mean().item() == pytest.approx(0.01, abs=0.006)


def test_an_embedding_that_answers_nothing_finds_nothing() -> None:
    same = torch.ones(150, 4)
    assert not r_precision(same, same, sentences(150), torch.arange(150), 0).any()


def test_sentences_of_one_class_or_one_reading_are_no_mismatch() -> None:
    texts = torch.eye(6)
    images = texts.roll(1, 0)  # each picture lies on the sentence of the one before it
    labels = torch.arange(6)
    assert not r_precision(images, texts, sentences(6), labels, 0, 6).any()
    # Where the one before has the same class, or reads the same, nothing else is as near.
    images[0], images[2], images[4] = images[0] + 0.1, images[2] + 0.1, images[4] + 0.1
    together = torch.tensor([0, 1, 1, 3, 3, 0])  # 5 and 0, 1 and 2, 3 and 4
    found = r_precision(images + 0.1 * texts, texts, sentences(6), together, 0, 5)
    assert found.tolist() == [True, False, True, False, True, False]
    texts_alike = ["a", "b", "b", "c", "c", "a"]
    found = r_precision(images + 0.1 * texts, texts, texts_alike, labels, 0, 5)
    assert found.tolist() == [True, False, True, False, True, False]


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), candidates=st.integers(2, 30))
def test_more_candidates_are_harder(seed: int, candidates: int) -> None:
    images, texts = vectors(80, 8, seed), vectors(80, 8, seed)
    images = images + vectors(80, 8, seed + 1)
    alone = r_precision(images, texts, sentences(80), torch.arange(80), seed, candidates)
    every = r_precision(images, texts, sentences(80), torch.arange(80), seed, 80)
    assert (every <= alone).all()


def test_how_many_candidates_there_are() -> None:
    assert most_candidates(sentences(5), torch.arange(5)) == 5
    assert most_candidates(sentences(5), torch.tensor([0, 0, 0, 1, 2])) == 3
    assert most_candidates(["a", "a", "b", "c"], torch.arange(4)) == 3
    assert most_candidates(sentences(4), torch.zeros(4).long()) == 1


def test_too_few_sentences() -> None:
    table = vectors(50, 4, 0)
    with pytest.raises(ValueError, match="only 49 are of other classes"):
        r_precision(table, table, sentences(50), torch.arange(50), 0)
