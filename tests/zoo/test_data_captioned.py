"""The form of captioned pictures: what it refuses, its two sides, its checksum."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from neuralpaint.zoo.data import Captioned


def data(held_out: list[bool], /, **changes: object) -> Captioned:
    count = len(held_out)
    values: dict[str, object] = {
        "name": "set",
        "images": torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 4, 4),
        "captions": tuple((f"bird {row}", "a bird") for row in range(count)),
        "labels": torch.arange(count) % 2,
        "held_out": torch.tensor(held_out),
        "species": ("crow", "jay"),
        **changes,
    }
    return Captioned(**values)  # type: ignore[arg-type]


def test_both_sides_make_the_whole() -> None:
    whole = data(
        [False, True, True, False, True], attributes={"wing": torch.tensor([0, 1, 2, -1, 4])}
    )
    train, aside = whole.part(False), whole.part(True)
    assert (len(whole), len(train), len(aside), whole.size) == (5, 2, 3, 4)
    assert train.images[:, 0, 0, 0].tolist() == [0, 3]
    assert aside.images[:, 2, 3, 3].tolist() == [1, 2, 4]
    assert [group[0] for group in aside.captions] == ["bird 1", "bird 2", "bird 4"]
    assert train.labels.tolist() == [0, 1]
    assert train.attributes["wing"].tolist() == [0, -1]
    assert aside.held_out.all()
    assert not train.held_out.any()


def test_a_side_that_stands_together_is_not_copied() -> None:
    whole = data([False, False, True, True])
    for side, first in ((False, 0), (True, 2)):
        assert whole.part(side).images.data_ptr() == whole.images[first].data_ptr()


def test_an_empty_side_is_an_error() -> None:
    with pytest.raises(ValueError, match="set: no picture is held out"):
        data([False, False]).part(True)
    with pytest.raises(ValueError, match="set: no picture is to train on"):
        data([True]).part(False)


def test_the_checksum_tells_sets_apart() -> None:
    whole = data([False, True])
    assert whole.checksum == data([False, True]).checksum
    others = [
        data([True, False]),
        replace(whole, name="other"),
        replace(whole, images=whole.images + 1),
        replace(whole, captions=(("bird 0", "a bird"), ("bird 1", "a jay"))),
        replace(whole, generated_captions=True),
        replace(whole, labels=1 - whole.labels),
        replace(whole, images=torch.zeros(2, 3, 6, 6, dtype=torch.uint8)),
    ]
    assert len({whole.checksum, *(other.checksum for other in others)}) == len(others) + 1


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("images", torch.zeros(2, 3, 4, 4), "images are torch.float32"),
        ("images", torch.zeros(2, 1, 4, 4, dtype=torch.uint8), r"\(2, 1, 4, 4\); expected uint8"),
        ("images", torch.zeros(2, 3, 4, 5, dtype=torch.uint8), "not square"),
        ("images", torch.zeros(0, 3, 4, 4, dtype=torch.uint8), "or there are none"),
        ("captions", (("a bird",),), "1 groups of captions for 2 images"),
        ("captions", (("a bird",), ()), "every image needs"),
        ("captions", ("a bird", "a jay"), "every image needs"),
        ("labels", torch.tensor([0, 2]), "label 2 of 2 classes"),
        ("labels", torch.tensor([0, -1]), "labels has the value -1"),
        ("labels", torch.tensor([0.0, 1.0]), "labels are torch.float32"),
        ("held_out", torch.tensor([0, 1]), "held_out is torch.int64"),
        ("held_out", torch.tensor([True]), r"expected bool \(2,\)"),
        ("attributes", {"wing": torch.tensor([0, -2])}, "wing has the value -2"),
        ("attributes", {"wing": torch.tensor([0])}, r"wing are torch.int64 \(1,\)"),
    ],
)
def test_fields_that_do_not_fit_are_refused(field: str, value: Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        data([False, True], **{field: value})
