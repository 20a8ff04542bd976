"""Words and their numbers: golden cases, round trips, random subsets in their order."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuralpaint.zoo.text import MAX_WORDS, Tokens, Vocabulary, subset, tokenize

BIRD = Vocabulary(["a", "red", "bird", "wings"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A small bird, with RED wings.", ["a", "small", "bird", "with", "red", "wings"]),
        ("blue-grey  crown\n(2 bars)", ["blue", "grey", "crown", "2", "bars"]),
        ("ein grüner Vogel; 赤い鳥", ["ein", "grüner", "vogel", "赤い鳥"]),
        ("🐦 !?\t", []),
        ("", []),
    ],
)
def test_tokenize(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@given(st.text())
def test_words_of_any_text_are_single_words(text: str) -> None:
    for word in tokenize(text):
        assert tokenize(word) == [word]
    assert Vocabulary.build([text]).unknown(text) == []


def test_encode_pads_with_zero_and_drops_unknown_words() -> None:
    tokens = BIRD.encode(["A red, red BIRD", "purple wings", "purple"], 4)
    assert tokens.ids.dtype == torch.int64
    assert tokens.ids.tolist() == [[1, 2, 2, 3], [4, 0, 0, 0], [0, 0, 0, 0]]
    assert tokens.mask.tolist() == [[True] * 4, [True, False, False, False], [False] * 4]


def test_generation_keeps_the_first_words() -> None:
    tokens = BIRD.encode(["a purple red bird wings"], 2)
    assert tokens.ids.tolist() == [[1, 2]]
    long = BIRD.encode(["a red bird wings " * 10_000])
    assert long.ids.shape == (1, MAX_WORDS)
    assert long.ids[0, :5].tolist() == [1, 2, 3, 4, 1]


def test_training_keeps_a_random_subset_in_its_order() -> None:
    words = [f"w{i}" for i in range(10)]
    vocabulary = Vocabulary(words)
    generator = torch.Generator().manual_seed(0)
    text = " ".join(words)
    tokens = vocabulary.encode([text] * 300 + ["w3 w1"], 4, generator)
    rows = tokens.ids[:300]
    assert tokens.mask[:300].all()
    assert (rows[:, 1:] > rows[:, :-1]).all()  # ascending, so in order and none twice
    assert tokens.ids[300].tolist() == [4, 2, 0, 0]
    # Each of the ten words is kept with probability 0.4: 120 of 300, deviation 8.5.
    counts = rows.flatten().bincount(minlength=11)[1:]
    assert counts.min() > 85
    assert counts.max() < 155
    again = vocabulary.encode([text] * 300, 4, torch.Generator().manual_seed(0))
    assert torch.equal(again.ids, rows)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.integers(1, 9))
def test_subset_is_a_subsequence_with_padding_behind(lengths: list[int], kept: int) -> None:
    ids = torch.zeros(len(lengths), 9, dtype=torch.int64)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = torch.arange(1, length + 1)
    short = subset(Tokens(ids, ids > 0), kept, torch.Generator().manual_seed(1))
    assert short.ids.shape == short.mask.shape == (len(lengths), kept)
    for row, mask, length in zip(short.ids.tolist(), short.mask.tolist(), lengths, strict=True):
        words = [word for word in row if word]
        assert words == sorted(set(words))
        assert len(words) == min(length, kept)
        assert row == words + [0] * (kept - len(words))
        assert mask == [word > 0 for word in row]


def test_build_sorts_by_frequency_then_alphabet() -> None:
    captions = ["red bird", "a red wing", "a bird"]
    vocabulary = Vocabulary.build(captions)
    assert vocabulary.words == ("a", "bird", "red", "wing")
    assert vocabulary.words == Vocabulary.build(reversed(captions)).words
    assert Vocabulary.build(captions, least=2).words == ("a", "bird", "red")
    assert len(vocabulary) == 5  # with padding
    assert "wing" in vocabulary
    assert "wings" not in vocabulary


def test_unknown_words_once_and_in_order() -> None:
    assert BIRD.unknown("a Purple bird and purple wings, odd") == ["purple", "and", "odd"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "a"], "'a' is there twice"),
        (["Bird"], "'Bird' is not one word"),
        (["two words"], "'two words' is not"),
        ([""], "'' is not"),
        ([3], "3 is not"),
    ],
)
def test_bad_vocabularies_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary(words)


def test_bad_length_is_refused() -> None:
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        BIRD.encode(["a"], 0)
