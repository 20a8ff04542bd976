"""DAMSM: its encoders, its losses against plain loops over Eq 7-13, its files."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo.damsm import (
    Damsm,
    DamsmConfig,
    SmallImageEncoder,
    TextEncoder,
    damsm_loss,
    load_damsm,
    save_damsm,
    sentence_scores,
    word_attention,
    word_scores,
)

TINY = DamsmConfig(("a", "red", "bird"), dim=8, embedding=5, width=4)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(lengths: list[int], length: int) -> Tensor:
    return torch.arange(length) < torch.tensor(lengths)[:, None]


# --- the oracle: one image, one text, one word at a time ------------------------------------------


def plain_attention(image: Tensor, text: Tensor) -> Tensor:
    """Eq 7-9 for (D, R) regions and (D, T) words, all of them real words: (T, R)."""
    words, places = text.shape[1], image.shape[1]
    s = [[float(text[:, i] @ image[:, j]) for j in range(places)] for i in range(words)]
    shares = [
        [math.exp(s[i][j]) / sum(math.exp(s[k][j]) for k in range(words)) for j in range(places)]
        for i in range(words)
    ]
    rows = []
    for share in shares:
        strength = [math.exp(4 * value) for value in share]
        rows.append([value / sum(strength) for value in strength])
    return torch.tensor(rows)


def plain_score(image: Tensor, text: Tensor) -> float:
    """Eq 10: log of (the sum over words of exp(gamma2 cosine)) to the power 1 / gamma2."""
    attention = plain_attention(image, text)
    total = 0.0
    for i in range(text.shape[1]):
        context = sum(attention[i, j] * image[:, j] for j in range(image.shape[1]))
        assert isinstance(context, Tensor)
        word = text[:, i]
        total += math.exp(5 * float(context @ word) / float(context.norm() * word.norm()))
    return math.log(total ** (1 / 5))


def plain_loss(scores: list[list[float]], labels: list[int]) -> float:
    """Eq 11-13: both directions, each the mean of -log of a softmax with factor gamma3."""
    count = len(scores)
    total = 0.0
    for i in range(count):
        others = [j for j in range(count) if j == i or labels[j] != labels[i]]
        by_text = sum(math.exp(10 * scores[i][j]) for j in others)
        by_image = sum(math.exp(10 * scores[j][i]) for j in others)
        own = math.exp(10 * scores[i][i])
        total -= math.log(own / by_text) + math.log(own / by_image)
    return total / count


LENGTHS = [3, 1, 5, 4]


def example() -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Regions, whole, words, sentence, mask of four images of 2 x 3 regions and four texts."""
    regions, whole = random(4, 6, 2, 3), random(4, 6, seed=1)
    words, sentence = random(4, 6, 5, seed=2), random(4, 6, seed=3)
    return regions, whole, words, sentence, mask_of(LENGTHS, 5)


def test_scores_of_all_pairs_are_those_of_a_plain_loop() -> None:
    regions, _, words, _, mask = example()
    expected = [
        [
            plain_score(image.flatten(1), text[:, :length])
            for text, length in zip(words, LENGTHS, strict=True)
        ]
        for image in regions
    ]
    torch.testing.assert_close(word_scores(regions, words, mask), torch.tensor(expected))
    # as many texts as one likes
    torch.testing.assert_close(
        word_scores(regions, words[1:3], mask[1:3]), torch.tensor(expected)[:, 1:3]
    )


def test_attention_is_that_of_a_plain_loop() -> None:
    regions, _, words, _, mask = example()
    attention = word_attention(regions, words, mask)
    assert attention.shape == (4, 5, 2, 3)
    for image, text, found, length in zip(regions, words, attention, LENGTHS, strict=True):
        expected = plain_attention(image.flatten(1), text[:, :length])
        torch.testing.assert_close(found[:length].flatten(1), expected)
        assert (found[length:] == 0).all()


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [7, 2, 7, 2]])
def test_losses_are_those_of_a_plain_loop(labels: list[int]) -> None:
    regions, whole, words, sentence, mask = example()
    scores = [
        [
            plain_score(image.flatten(1), text[:, :length])
            for text, length in zip(words, LENGTHS, strict=True)
        ]
        for image in regions
    ]
    cosines = [
        [float(image @ text / (image.norm() * text.norm())) for text in sentence] for image in whole
    ]
    loss = damsm_loss(regions, whole, words, sentence, mask, torch.tensor(labels))
    assert loss.words.item() == pytest.approx(plain_loss(scores, labels), rel=1e-4)
    assert loss.sentence.item() == pytest.approx(plain_loss(cosines, labels), rel=1e-4)
    torch.testing.assert_close(sentence_scores(whole, sentence), torch.tensor(cosines))
    if labels == [0, 1, 2, 3]:  # no class is there twice: the same as without classes
        assert damsm_loss(regions, whole, words, sentence, mask) == loss


def test_loss_of_a_batch_of_one_class_is_zero() -> None:
    loss = damsm_loss(*example(), labels=torch.zeros(4, dtype=torch.int64))
    assert (loss.words.item(), loss.sentence.item()) == (0, 0)


def test_padding_has_no_influence_on_scores() -> None:
    regions, _, words, _, mask = example()
    longer = functional.pad(mask, (0, 3))
    padded = torch.where(longer[:, None], functional.pad(words, (0, 3)), 1e4)
    torch.testing.assert_close(
        word_scores(regions, padded, longer), word_scores(regions, words, mask)
    )


def test_loss_is_small_for_matches_and_large_for_mismatches() -> None:
    corners = torch.eye(4)
    regions = corners[:, :, None, None].expand(4, 4, 2, 2)
    words = corners[:, :, None].expand(4, 4, 3)
    mask = torch.ones(4, 3, dtype=torch.bool)
    good = damsm_loss(regions, corners, words, corners, mask)
    bad = damsm_loss(regions, corners, words.roll(1, 0), corners.roll(1, 0), mask)
    # cosines 1 and 0: -2 log(e^10 / (e^10 + 3)) and, mismatched, -2 log(1 / (e^10 + 3))
    assert good.sentence.item() == pytest.approx(2 * math.log1p(3 * math.exp(-10)), abs=1e-6)
    assert bad.sentence.item() == pytest.approx(2 * math.log(math.exp(10) + 3), rel=1e-6)
    assert good.words.item() < 0.01 < 10 < bad.words.item()


def test_scores_are_exact_inside_autocast(device: torch.device) -> None:
    tensors = [tensor.to(device) for tensor in example()]
    regions, whole, words, sentence, mask = tensors
    plain = damsm_loss(regions, whole, words, sentence, mask)
    half = [tensor.bfloat16() for tensor in (regions, whole, words, sentence)]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        inside = damsm_loss(regions, whole, words, sentence, mask)
        rounded = damsm_loss(half[0], half[1], half[2], half[3], mask)
    assert torch.equal(torch.stack(inside), torch.stack(plain))
    assert rounded.words.dtype == torch.float32
    torch.testing.assert_close(torch.stack(rounded), torch.stack(plain), rtol=0.02, atol=0.02)


def test_gradients_of_the_losses() -> None:
    *tensors, mask = example()
    plain = [tensor.requires_grad_() for tensor in tensors]

    def total(tensors: list[Tensor]) -> Tensor:
        regions, whole, words, sentence = tensors
        loss = damsm_loss(regions, whole, words, sentence, mask)
        return loss.words + loss.sentence

    gradients = torch.autograd.grad(total(plain), plain)
    for which, gradient in enumerate(gradients):
        assert gradient.isfinite().all()
        direction = random(*gradient.shape, seed=which + 20)
        ends = []
        for step in (-1e-2, 1e-2):
            moved = [t + step * direction if i == which else t for i, t in enumerate(plain)]
            ends.append(total(moved).item())
        slope = (gradient * direction).sum().item()
        assert (ends[1] - ends[0]) / 2e-2 == pytest.approx(slope, rel=0.02, abs=2e-3)
    assert (gradients[2].transpose(1, 2)[~mask] == 0).all()  # words that are not there


def test_a_blank_image_gives_finite_gradients() -> None:
    regions = torch.zeros(2, 4, 2, 2, requires_grad=True)
    words = random(2, 4, 3)
    loss = damsm_loss(regions, torch.zeros(2, 4), words, words[:, :, 0], mask_of([3, 2], 3))
    loss.words.backward()
    assert regions.grad is not None
    assert regions.grad.isfinite().all()


# --- text encoder --------------------------------------------------------------------------------


def text_encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(9, embedding=5, dim=8, dropout=0.5).eval()


def test_text_encoder_is_a_bidirectional_lstm_on_packed_sequences(device: torch.device) -> None:
    encoder = text_encoder()
    reference = nn.LSTM(5, 4, batch_first=True, bidirectional=True)
    back = {f"{name}_reverse": value for name, value in encoder.back.state_dict().items()}
    reference.load_state_dict({**encoder.forth.state_dict(), **back})
    ids = torch.tensor([[3, 1, 4, 0, 0, 0], [5, 5, 2, 6, 8, 7], [1, 0, 0, 0, 0, 0]])
    lengths = [3, 6, 1]
    packed = nn.utils.rnn.pack_padded_sequence(
        encoder.embedding(ids), torch.tensor(lengths), batch_first=True, enforce_sorted=False
    )
    output, (hidden, _) = reference(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    encoder.to(device)
    words, sentence = encoder(ids.to(device), mask_of(lengths, 6).to(device))
    assert words.shape == (3, 8, 6)
    torch.testing.assert_close(words.cpu(), expected.transpose(1, 2))
    torch.testing.assert_close(sentence.cpu(), torch.cat([hidden[0], hidden[1]], 1))


def test_padding_has_no_influence_on_texts(device: torch.device) -> None:
    encoder = text_encoder().to(device)
    ids = torch.tensor([[3, 1, 4], [5, 2, 0]], device=device)
    mask = mask_of([3, 2], 3).to(device)
    words, sentence = encoder(ids, mask)
    # more of it, other ids in its place, and other texts beside
    more = torch.tensor([[8, 7, 6, 5, 4], [3, 1, 4, 7, 7], [5, 2, 8, 1, 3]], device=device)
    longer, again = encoder(more, mask_of([5, 3, 2], 5).to(device))
    torch.testing.assert_close(longer[1:, :, :3], words)
    torch.testing.assert_close(again[1:], sentence)
    assert (words[1, :, 2:] == 0).all()
    assert (longer[1, :, 3:] == 0).all()


def test_a_text_without_words_is_zero() -> None:
    words, sentence = text_encoder()(torch.zeros(2, 4, dtype=torch.int64), mask_of([0, 0], 4))
    assert (words == 0).all()
    assert (sentence == 0).all()


def test_dropout_in_training_only() -> None:
    encoder = text_encoder()
    ids, mask = torch.tensor([[3, 1, 4]]), mask_of([3], 3)
    assert torch.equal(encoder(ids, mask)[1], encoder(ids, mask)[1])
    encoder.train()
    assert not torch.equal(encoder(ids, mask)[1], encoder(ids, mask)[1])


def test_texts_do_not_depend_on_autocast(device: torch.device) -> None:
    encoder = text_encoder().to(device)
    ids, mask = torch.tensor([[3, 1, 4]], device=device), mask_of([3], 3).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        inside = encoder(ids, mask)
    assert inside[0].dtype == torch.float32
    assert torch.equal(inside[0], encoder(ids, mask)[0])
    low = encoder.bfloat16()(ids, mask)
    assert low[1].dtype == torch.bfloat16
    torch.testing.assert_close(low[1].float(), inside[1], rtol=0.1, atol=0.02)


def test_odd_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="dim must be even, one half for each direction, got 5"):
        TextEncoder(3, dim=5)


# --- image encoder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "side"),
    [((32, 32), (4, 4)), ((64, 64), (8, 8)), ((128, 64), (16, 8)), ((160, 160), (16, 16))],
)
def test_regions_are_an_eighth_and_at_most_sixteen(
    size: tuple[int, int], side: tuple[int, int]
) -> None:
    encoder = SmallImageEncoder(dim=6, width=4).eval()
    regions, whole = encoder(random(2, 3, *size))
    assert regions.shape == (2, 6, *side)
    assert whole.shape == (2, 6)


def test_gradients_reach_every_pixel_through_the_frozen_encoder() -> None:
    torch.manual_seed(0)
    encoder = SmallImageEncoder(dim=6, width=4).eval().requires_grad_(False)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    images = random(2, 3, 32, 32).requires_grad_()
    regions, whole = encoder(images)
    (regions.square().sum() + whole.square().sum()).backward()
    assert images.grad is not None
    assert (images.grad != 0).all()
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())


def test_evaluation_does_not_depend_on_the_other_images() -> None:
    encoder = SmallImageEncoder(dim=6, width=4).eval()
    images = random(3, 3, 32, 32)
    together, alone = encoder(images), encoder(images[1:2])
    torch.testing.assert_close(together[0][1:2], alone[0])
    torch.testing.assert_close(together[1][1:2], alone[1])


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sides of at least 32"):
        SmallImageEncoder(dim=6, width=4)(torch.zeros(shape))


# --- configuration and files ---------------------------------------------------------------------


def test_a_file_gives_the_same_network(tmp_path: Path) -> None:
    torch.manual_seed(3)
    damsm = Damsm(TINY).eval()
    save_damsm(damsm, tmp_path / "damsm.safetensors")
    loaded = load_damsm(tmp_path / "damsm.safetensors")
    assert loaded.config == TINY
    assert loaded.vocabulary.words == ("a", "red", "bird")
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    tokens, images = damsm.vocabulary.encode(["a red bird", "bird"], 4), random(2, 3, 32, 32)
    for ours, theirs in zip(
        (*damsm.text(*tokens), *damsm.image(images)),
        (*loaded.text(*tokens), *loaded.image(images)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    save_damsm(damsm, tmp_path / "half.safetensors", half=True)
    small, large = (tmp_path / f"{name}.safetensors" for name in ("half", "damsm"))
    assert small.stat().st_size < 0.7 * large.stat().st_size
    halved = load_damsm(small).text(*tokens)[1]
    torch.testing.assert_close(halved, damsm.text(*tokens)[1], rtol=0.01, atol=0.001)


def test_configuration_round_trip() -> None:
    values = json.loads(json.dumps(TINY.to_json()))
    assert DamsmConfig.from_json(values) == TINY
    assert DamsmConfig.from_json({"vocabulary": ["a"]}) == DamsmConfig(("a",))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabulary": ["a"], "depth": 3}, "unknown field 'depth'"),
        ({"dim": 8}, "vocabulary is missing"),
        ({"vocabulary": "a"}, "not a list of words"),
        ({"vocabulary": []}, "1 to 100000 words, got 0"),
        ({"vocabulary": ["a"], "dim": 10**9}, "dim must be an integer from 1 to 2048"),
        ({"vocabulary": ["a"], "width": True}, "width must be an integer"),
        ({"vocabulary": ["a"], "embedding": 2.5}, "embedding must be an integer"),
        ({"vocabulary": ["a"], "image": "large"}, "image must be small or inception, got 'large'"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DamsmConfig.from_json(values)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "not a DAMSM"),
        ({"model": "hfgan", "config": "{}"}, "not a DAMSM"),
        ({"model": "damsm", "config": "{"}, "not valid JSON"),
        ({"model": "damsm", "config": "[" * 100_000}, "not valid JSON"),
        ({"model": "damsm", "config": "[]"}, "not a JSON object"),
        ({"model": "damsm", "config": '{"vocabulary": ["a", "a"]}'}, "'a' is there twice"),
        ({"model": "damsm", "config": '{"vocabulary": [1]}'}, "1 is not one word"),
        (
            {"model": "damsm", "config": json.dumps({**TINY.to_json(), "dim": 10})},
            "is missing or not",
        ),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, meta: dict[str, str], message: str) -> None:
    path = tmp_path / "x.safetensors"
    save_weights(Damsm(TINY), path, meta)
    with pytest.raises(ValueError, match=message):
        load_damsm(path)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-9], lambda data: b"\x80\x04pickle" * 9, lambda data: b""]
)
def test_damaged_files_are_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x.safetensors"
    save_damsm(Damsm(TINY), path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_damsm(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_damsm(tmp_path / "absent.safetensors")
