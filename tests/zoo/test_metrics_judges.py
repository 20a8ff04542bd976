"""Judges: losses by hand, invariants of the networks, training that learns, resumes and is kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from neuralpaint.backend import supervised
from neuralpaint.backend.checkpoints import Checkpoints
from neuralpaint.zoo.data.captioned import Captioned
from neuralpaint.zoo.metrics.classifier import (
    Classifier,
    Look,
    classifier_loss,
    load_classifier,
    save_classifier,
)
from neuralpaint.zoo.metrics.embedding import (
    Embedding,
    load_embedding,
    ranking_loss,
    save_embedding,
)
from neuralpaint.zoo.metrics.judges import CLASS, Judges, JudgeSettings, class_of, judges, resized
from neuralpaint.zoo.metrics.retrieval import cosines, others

CPU = torch.device("cpu")


class StoppedError(Exception):
    """As good as a kill: the run ends between two checkpoints."""


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240,) * 3}
CLASSES = {CLASS: 16, "top": 4, "bottom": 4}
TINY = JudgeSettings(
    size=16, width=8, dim=16, batch=16, classifier_steps=120, embedding_steps=200, rate=5e-3
)
BRIEF = replace(TINY, classifier_steps=6, embedding_steps=6)


def flags(count: int, seed: int, side: int = 16) -> Captioned:
    """Flags of two colours, a little noisy."""
    generator = torch.Generator().manual_seed(seed)
    top, bottom = torch.randint(0, 4, (2, count), generator=generator)
    palette = torch.tensor(list(COLOURS.values()))
    halves = palette[torch.stack([top, bottom], 1)]  # (N, 2, 3)
    pixels = (
        halves.permute(0, 2, 1)[..., None].repeat_interleave(side // 2, 2).expand(-1, -1, -1, side)
    )
    noise = torch.randint(-15, 16, (count, 3, side, side), generator=generator)
    names = list(COLOURS)
    return Captioned(
        name="flags",
        images=(pixels + noise).clamp(0, 255).to(torch.uint8),
        captions=tuple(
            (f"{names[a]} over {names[b]}", f"a flag of {names[a]} above and {names[b]} below")
            for a, b in zip(top.tolist(), bottom.tolist(), strict=True)
        ),
        labels=4 * top + bottom,
        held_out=torch.zeros(count, dtype=torch.bool),
        species=tuple(f"{a} {b}" for a in names for b in names),
        attributes={"top": top, "bottom": bottom},
    )


def trained(folder: Path, settings: JudgeSettings = BRIEF, data: Captioned | None = None) -> Judges:
    data = data or flags(64, 0)
    return judges(
        lambda: data, {"set": data.checksum}, folder, settings, classes=CLASSES, device=CPU
    )


def images(count: int, side: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def seeded(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval()


def equal(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# --- networks ------------------------------------------------------------------------------------


def test_classifier_loss_by_hand() -> None:
    logits = {"a": torch.tensor([[0.0, 0], [0, 0], [5, 1]]), "b": torch.tensor([[0.0, 0, 0]] * 3)}
    truth = {"a": torch.tensor([0, 1, -1]), "b": torch.tensor([-1, -1, 2])}
    # log 2 for each of the two that a applies to, log 3 for the one that b applies to
    assert classifier_loss(logits, truth).item() == pytest.approx(0.693147 + 1.098612, abs=1e-5)
    nobody = {"a": torch.full((3,), -1), "b": torch.full((3,), -1)}
    assert classifier_loss(logits, nobody).item() == 0


def test_a_question_looks_at_its_place() -> None:
    look = Look(1, 1)
    with torch.no_grad():
        look.scores.weight.fill_(100)
        look.scores.bias.zero_()  # type: ignore[union-attr]
    features = torch.zeros(1, 1, 8, 8)
    features[0, 0, 2, 5] = 3
    # the mean would be 3/64
    assert look(features).item() == pytest.approx(3)


def test_ranking_loss_by_hand() -> None:
    table = torch.eye(3)
    assert ranking_loss(table, table, margin=0.2).item() == 0
    # c(v0, t0) = 0.6 and c(v0, t1) = 0.8: picture 0 is 0.2 + 0.2 short, text 1 beside picture 0 is
    # 0.8 - 1 + 0.2 = 0 short. Everything else is far.
    images = torch.tensor([[0.6, 0.8, 0], [0, 1, 0], [0, 0, 1]])
    assert ranking_loss(images, table, margin=0.2).item() == pytest.approx(0.4 / 3)
    same = torch.zeros(3, 3, dtype=torch.bool)
    same[0, 1] = True  # text 1 fits picture 0 too
    assert ranking_loss(images, table, margin=0.2, same=same).item() == 0


@settings(max_examples=20)
@given(seed=st.integers(0, 1000), count=st.integers(2, 8))
def test_ranking_loss_is_the_double_sum(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    v, t = functional.normalize(torch.randn(2, count, 5, generator=generator), dim=2)
    total = 0.0
    for i in range(count):
        for j in range(count):
            if i != j:
                true = float(v[i] @ t[i])
                total += max(0.0, 0.2 - true + float(v[i] @ t[j]))
                total += max(0.0, 0.2 - true + float(t[i] @ v[j]))
    assert ranking_loss(v, t).item() == pytest.approx(total / count, abs=1e-4)


def test_padding_has_no_influence() -> None:
    network = seeded(lambda: Embedding(["red", "over", "blue"], 16, 4))
    assert isinstance(network, Embedding)
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    more = functional.pad(ids, (0, 4)), functional.pad(mask, (0, 4))
    assert torch.allclose(network.read(ids, mask), network.read(*more), atol=1e-6)
    dirty = more[0].clone()
    dirty[0, 4:] = 2  # what is behind the mask
    assert torch.allclose(network.read(dirty, more[1]), network.read(ids, mask), atol=1e-6)


def test_order_of_words_matters() -> None:
    network = seeded(lambda: Embedding(["red", "over", "blue"], 16, 4))
    assert isinstance(network, Embedding)
    one, two = network.encode(["red over blue", "blue over red"])
    assert not torch.allclose(one, two, atol=1e-3)


def test_vectors_have_length_one_also_of_no_words() -> None:
    network = seeded(lambda: Embedding(["red"], 16, 4))
    assert isinstance(network, Embedding)
    read = network.encode(["red", "unknown words only", ""])
    assert read.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert torch.equal(read[1], read[2])
    assert network.look(images(3)).norm(dim=1).tolist() == pytest.approx([1, 1, 1])


def test_together_is_alone() -> None:
    classifier = seeded(lambda: Classifier(CLASSES, 4))
    embedding = seeded(lambda: Embedding(["red"], 16, 4))
    assert isinstance(classifier, Classifier)
    assert isinstance(embedding, Embedding)
    pictures = images(5)
    logits, features = classifier(pictures)
    for index in range(5):
        alone, own = classifier(pictures[index : index + 1])
        assert torch.allclose(own[0], features[index], atol=1e-5)
        for name, values in alone.items():
            assert torch.allclose(values[0], logits[name][index], atol=1e-5)
    looked = torch.cat([embedding.look(picture[None]) for picture in pictures])
    assert torch.allclose(looked, embedding.look(pictures), atol=1e-5)


def test_saved_is_loaded(tmp_path: Path) -> None:
    classifier = seeded(lambda: Classifier(CLASSES, 4))
    embedding = seeded(lambda: Embedding(["red", "blue"], 8, 4))
    assert isinstance(classifier, Classifier)
    assert isinstance(embedding, Embedding)
    save_classifier(classifier, tmp_path / "c.safetensors")
    save_embedding(embedding, tmp_path / "e.safetensors")
    read = load_classifier(tmp_path / "c.safetensors")
    assert read.classes == CLASSES
    assert equal(read, classifier)
    again = load_embedding(tmp_path / "e.safetensors")
    assert again.vocabulary.words == ("red", "blue")
    assert equal(again, embedding)
    with pytest.raises(ValueError, match="not a classifier"):
        load_classifier(tmp_path / "e.safetensors")
    with pytest.raises(ValueError, match="not an embedding"):
        load_embedding(tmp_path / "c.safetensors")
    (tmp_path / "c.safetensors").write_bytes(b"{}")
    with pytest.raises(ValueError, match="not a safetensors"):
        load_classifier(tmp_path / "c.safetensors")


# --- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Judges]:
    folder = tmp_path_factory.mktemp("judges")
    return folder, trained(folder, TINY, flags(400, 0))


def test_the_classifier_learns_what_pictures_show(good: tuple[Path, Judges]) -> None:
    test = flags(200, 1)
    probabilities, features = good[1].attributes(test.images)
    truth = {CLASS: class_of(test), **test.attributes}
    for name, count in CLASSES.items():
        assert probabilities[name].shape == (200, count)
        assert probabilities[name].sum(1).tolist() == pytest.approx([1] * 200, abs=1e-5)
        right = (probabilities[name].argmax(1) == truth[name]).double().mean().item()
        assert right > 0.95
    assert features.shape == (200, 4 * TINY.width)


def test_the_embedding_tells_true_from_shuffled(good: tuple[Path, Judges]) -> None:
    test = flags(200, 2)
    texts = good[1].read([group[1] for group in test.captions])
    looked = good[1].look(test.images)
    own = cosines(looked, texts).mean().item()
    control = cosines(looked, texts[others(200, 0)]).mean().item()
    assert own > control + 0.4
    assert own > 0.6


def test_kept_judges_are_used_without_the_pictures(good: tuple[Path, Judges]) -> None:
    def never() -> Captioned:
        raise AssertionError("asked for the pictures")

    key = {"set": flags(400, 0).checksum}
    again = judges(never, key, good[0], TINY, classes=CLASSES)
    assert again.seconds == {}
    assert good[1].seconds.keys() == {"classifier", "embedding"}
    assert again.classifier is not None
    assert good[1].classifier is not None
    assert equal(again.classifier, good[1].classifier)
    assert equal(again.embedding, good[1].embedding)
    for other in (replace(TINY, seed=1), replace(TINY, batch=8)):
        with pytest.raises(AssertionError, match="asked"):
            judges(never, key, good[0], other, classes=CLASSES)


def test_stopped_and_resumed_is_uninterrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A checkpoint every 4 of 6 steps; the kill comes at the fifth.
    whole = supervised.fit
    monkeypatch.setattr(supervised, "fit", lambda *a, **o: whole(*a, **{**o, "save_every": 4}))
    expected = trained(tmp_path / "one")
    stages = []

    def stop(stage: str, step: int, steps: int) -> None:
        stages.append(stage)
        if stage == stages[0] and step == 5 and stages.count(stage) == 5:
            raise StoppedError

    data = flags(64, 0)
    arguments = (lambda: data, {"set": data.checksum}, tmp_path / "two", BRIEF)
    with pytest.raises(StoppedError):
        judges(*arguments, classes=CLASSES, report=stop)
    (own,) = (tmp_path / "two").iterdir()
    saved = Checkpoints(own / "classifier").newest()
    assert saved is not None
    assert saved.step == 4
    resumed = judges(*arguments, classes=CLASSES)
    assert expected.classifier is not None
    assert resumed.classifier is not None
    assert equal(resumed.classifier, expected.classifier)
    assert equal(resumed.embedding, expected.embedding)


def test_no_classes_no_classifier(tmp_path: Path) -> None:
    data = flags(20, 0)
    found = judges(lambda: data, {"set": "x"}, tmp_path, BRIEF, classes={})
    assert found.classifier is None
    with pytest.raises(ValueError, match="no classifier"):
        found.attributes(data.images)


def test_pictures_that_do_not_fit(tmp_path: Path) -> None:
    data = flags(20, 0)
    for classes in ({**CLASSES, "tail": 2}, {**CLASSES, "top": 3}):
        with pytest.raises(ValueError, match=r"attribute (tail|top) is absent or not below"):
            judges(lambda: data, {"set": "x"}, tmp_path, BRIEF, classes=classes)


@pytest.mark.parametrize(
    ("field", "value"),
    [("width", 0), ("batch", 1), ("size", 8), ("rate", float("nan")), ("embedding_steps", 0)],
)
def test_settings_that_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(TINY, **{field: value})  # type: ignore[arg-type]


# --- pictures ------------------------------------------------------------------------------------


def test_pictures_of_the_judges_side_are_not_touched() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    values = resized(pixels, 16, CPU)
    assert values.min() == -1
    assert values.max() == 1
    assert ((values + 1) * 127.5).round().equal(pixels.float())


def test_larger_pictures_are_averaged_and_not_sampled() -> None:
    board = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    board[..., ::2, ::2] = 255
    board[..., 1::2, 1::2] = 255
    shown = resized(board, 16, CPU)
    assert shown[..., 2:-2, 2:-2].abs().max() < 0.02  # grey; every fourth pixel would be white


def test_classes_of_drawn_birds_and_flowers() -> None:
    data = flags(4, 0)
    truth = {
        "kind": torch.tensor([0, 0, 1, 1]),
        "breast": torch.tensor([0, 3, -1, -1]),
        "petal": torch.tensor([-1, -1, 2, 7]),
    }
    assert class_of(replace(data, attributes=truth)).tolist() == [0, 3, 10, 15]
    assert class_of(data).equal(data.labels)
