"""Batches of captioned pictures against loops over the pictures."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.text import MAX_WORDS, Vocabulary
from neuralpaint.zoo.train.batches import Pictures

CPU = torch.device("cpu")
LONG = " ".join(f"w{i}" for i in range(20))


def pictures(size: int = 4, stored: int = 6) -> tuple[Captioned, Pictures]:
    draws = torch.Generator().manual_seed(0)
    data = Captioned(
        name="made up",
        images=torch.randint(256, (5, 3, stored, stored), generator=draws, dtype=torch.uint8),
        captions=(("red bird",), ("blue bird", LONG), ("red",), ("red",), ("blue",)),
        labels=torch.tensor([0, 1, 0, 0, 1]),
        held_out=torch.zeros(5, dtype=torch.bool),
        species=("a", "b"),
    )
    words = Vocabulary.build(text for group in data.captions for text in group).words
    return data, Pictures(data, size, words, CPU)


@settings(max_examples=30)
@given(
    index=st.integers(0, 4),
    place=st.tuples(st.floats(0, 0.999), st.floats(0, 0.999), st.floats(0, 0.999)),
)
def test_crops(index: int, place: tuple[float, float, float]) -> None:
    data, source = pictures()
    crop = source.images(torch.tensor([index]), torch.tensor([place]))[0]
    top, left = (int(torch.tensor(p) * 3) for p in place[:2])
    expected = data.images[index, :, top : top + 4, left : left + 4].float() / 127.5 - 1
    if place[2] < 0.5:
        expected = expected.flip(2)
    assert torch.allclose(crop, expected, atol=1e-6)


def test_a_half_is_the_middle() -> None:
    data, source = pictures()
    crop = source.images(torch.tensor([0]), torch.full((1, 3), 0.5))[0]
    assert torch.allclose(crop, data.images[0, :, 1:5, 1:5].float() / 127.5 - 1, atol=1e-6)


def test_captions_are_those_of_the_picture() -> None:
    data, source = pictures()
    words = Vocabulary.build(text for group in data.captions for text in group)
    index, which = torch.tensor([0, 1, 1, 4]), torch.tensor([0.9, 0.0, 0.6, 0.0])
    ids, mask = source.text(index, which)
    expected = words.encode(["red bird", "blue bird", LONG, "blue"])
    assert torch.equal(ids, expected.ids)
    assert torch.equal(mask, expected.mask)


def test_long_captions_keep_an_ordered_subset() -> None:
    data, source = pictures()
    words = Vocabulary.build(text for group in data.captions for text in group)
    keys = torch.rand(2, source.longest, generator=torch.Generator().manual_seed(3))
    ids, mask = source.text(torch.tensor([1, 0]), torch.tensor([0.9, 0.0]), keys)
    kept = [words.words[i - 1] for i in ids[0].tolist()]
    order = [int(word[1:]) for word in kept]
    assert len(set(order)) == MAX_WORDS
    assert order == sorted(order)
    assert order != list(range(MAX_WORDS))
    assert set(order) == set(keys[0].topk(MAX_WORDS).indices.tolist())
    assert mask[0].all()
    assert torch.equal(ids[1], words.encode(["red bird"]).ids[0])
    assert mask[1].sum() == 2


def test_others_are_of_other_classes() -> None:
    data, source = pictures()
    index = torch.arange(5).repeat(40)
    others = source.others(index, torch.Generator().manual_seed(1))
    assert (others != index).all()
    assert (data.labels[others] != data.labels[index]).float().mean() > 0.9


def test_what_cannot_be_trained_on() -> None:
    data, _ = pictures()
    with pytest.raises(ValueError, match="too small to train at 8"):
        Pictures(data, 8, ("red",), CPU)
    with pytest.raises(ValueError, match="no word of the caption 'blue bird'"):
        Pictures(data, 4, ("red",), CPU)
    with pytest.raises(ValueError, match="no other"):
        Pictures(
            Captioned(
                name="one",
                images=torch.zeros(1, 3, 4, 4, dtype=torch.uint8),
                captions=(("red",),),
                labels=torch.zeros(1, dtype=torch.int64),
                held_out=torch.zeros(1, dtype=torch.bool),
                species=("a",),
            ),
            4,
            ("red",),
            CPU,
        ).others(torch.tensor([0]), torch.Generator())
