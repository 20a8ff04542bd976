"""HfGAN for users, at tiny size with random weights."""

import json
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from neuralpaint import zoo
from neuralpaint.backend.device import generator, spawn
from neuralpaint.backend.media import to_uint8
from neuralpaint.backend.weights import save_weights
from neuralpaint.zoo.cards import Card
from neuralpaint.zoo.hfgan import HfGanConfig
from neuralpaint.zoo.hfgan_model import HfGan
from neuralpaint.zoo.result import GeneratedImage
from neuralpaint.zoo.text import Vocabulary, tokenize

ROOT = Path(__file__).parents[2]
WORDS = ("the", "bird", "with", "a", "yellow", "breast", "and", "black", "wings", "has", "beak")
CONFIG = HfGanConfig(
    size=64, ng=4, nd=2, z=6, condition=5, dim=8, embedding=7, growth=3, vocabulary=WORDS
)
PROMPTS = ["a yellow bird", "the bird with black wings", "a beak", "bird " * 20]


@pytest.fixture(scope="module")
def model() -> HfGan:
    torch.manual_seed(0)
    made = HfGan(CONFIG, card=Card(summary="tiny"), name="tiny")
    made.networks.half().float()
    # Random weights make nearly grey images; the last layer is made to tell them apart.
    made.networks.get_parameter("generator.image.weight").mul_(20)
    return made


def pixels(result: Any) -> np.ndarray[Any, np.dtype[Any]]:
    return np.stack([np.asarray(image) for image in result])


# --- images and seeds -----------------------------------------------------------------------------


def test_images_are_those_of_the_networks(model: HfGan) -> None:
    """The whole way by hand: words, noise, generator, 8 bits."""
    result = model.generate("a yellow bird", seed=[5])
    tokens = Vocabulary(WORDS).encode(["a yellow bird"])
    noise = torch.randn(6, generator=generator(5))[None]
    with torch.no_grad():
        words, sentence = model.networks["text"](tokens.ids, tokens.mask)
        images = model.networks["generator"](noise, sentence, words, tokens.mask).images
    assert images.std() > 0.05
    expected = to_uint8((images[0].permute(1, 2, 0).numpy() + 1) / 2)
    assert isinstance(result[0], GeneratedImage)
    assert result[0].size == (64, 64)
    assert np.abs(np.asarray(result[0]).astype(int) - expected).max() <= 1
    assert (np.asarray(result[0]) == expected).mean() > 0.999


def test_items_are_prompts_times_images_and_seeds_are_spawned(model: HfGan) -> None:
    result = model.generate(PROMPTS[:2], num_images=3, seed=9)
    assert len(result) == 6
    assert result.prompts == (*[PROMPTS[0]] * 3, *[PROMPTS[1]] * 3)
    assert result.seeds == tuple(spawn(9, index) for index in range(6))
    assert len({image.tobytes() for image in result}) == 6


def test_the_same_seed_gives_the_same_bits_alone_or_together(model: HfGan) -> None:
    together = model.generate(PROMPTS, num_images=2, seed=3, output_type="np")
    again = model.generate(PROMPTS, num_images=2, seed=3, output_type="np")
    assert np.array_equal(together.images, again.images)
    for prompt, seed, image in zip(together.prompts, together.seeds, together, strict=True):
        assert np.array_equal(model.generate(prompt, seed=[seed], output_type="np")[0], image)
    turned = model.generate(
        together.prompts[::-1], seed=list(together.seeds[::-1]), output_type="np"
    )
    assert np.array_equal(turned.images[::-1], together.images)
    assert not np.array_equal(together.images[0], together.images[1])


def test_64_callers_get_the_images_they_get_alone(model: HfGan) -> None:
    alone = [model.generate(PROMPTS[n % 4], seed=n)[0].tobytes() for n in range(64)]
    found: dict[int, bytes] = {}
    start = threading.Barrier(64)

    def call(number: int) -> None:
        start.wait()
        found[number] = model.generate(PROMPTS[number % 4], seed=number)[0].tobytes()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(64)] == alone
    assert len(set(alone)) == 64


@pytest.mark.gpu
def test_on_a_gpu_too(model: HfGan) -> None:
    torch.manual_seed(0)
    gpu = HfGan(CONFIG, dict(model.networks.items()), name="gpu").to("cuda")
    try:
        together = gpu.generate(PROMPTS, num_images=8, seed=3)
        alone = [
            gpu.generate(prompt, seed=[seed])[0]
            for prompt, seed in zip(together.prompts, together.seeds, strict=True)
        ]
        assert np.array_equal(pixels(alone), pixels(together))
    finally:
        gpu.to("cpu")


def test_without_a_seed_every_call_is_new_and_can_be_repeated(model: HfGan) -> None:
    first, second = model.generate("a bird"), model.generate("a bird")
    assert first.seeds != second.seeds
    assert first[0].tobytes() == model.generate("a bird", seed=first.seeds)[0].tobytes()


def test_global_random_numbers_are_left_alone(model: HfGan) -> None:
    before = torch.random.get_rng_state()
    model.generate("a bird")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_three_output_types_agree(model: HfGan) -> None:
    pil, array, tensor = (
        model.generate(PROMPTS, seed=0, output_type=kind) for kind in ("pil", "np", "pt")
    )
    assert tensor.images.shape == (4, 3, 64, 64)
    assert tensor.images.min() >= 0
    assert tensor.images.max() <= 1
    assert np.array_equal(array.images, tensor.images.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(pixels(pil), to_uint8(array.images))


def test_saved_and_loaded_it_makes_the_same_images(model: HfGan, tmp_path: Path) -> None:
    torch.manual_seed(1)
    fresh = HfGan(CONFIG)
    fresh.save_pretrained(tmp_path / "m")
    loaded = zoo.from_pretrained(tmp_path / "m", device="cpu")
    again = zoo.from_pretrained(loaded.save_pretrained(tmp_path / "n"), device="cpu")
    images = [m.generate(PROMPTS, seed=0, output_type="np").images for m in (loaded, again)]
    assert np.array_equal(*images)
    half = np.abs(fresh.generate(PROMPTS, seed=0, output_type="np").images - images[0])
    assert 0 < half.max() < 0.01  # what half precision costs
    assert isinstance(loaded, HfGan)
    assert loaded.config == CONFIG


def test_images_carry_their_provenance(model: HfGan, tmp_path: Path) -> None:
    result = model.generate("a yellow bird", seed=[5])
    result[0].save(tmp_path / "bird.png")
    with Image.open(tmp_path / "bird.png") as stored:
        assert stored.info["Model"] == f"tiny (weights {model.fingerprint})"
        assert stored.info["Prompt"] == "a yellow bird"
        assert stored.info["Seed"] == "5"
        assert "AI-generated" in stored.info["Source"]
        assert "neuralpaint 0" in stored.info["Software"]


# --- prompts --------------------------------------------------------------------------------------


def test_unknown_words_are_left_out_and_told(model: HfGan) -> None:
    known = model.generate("a yellow bird", seed=[1])
    result = model.generate(["a purple yellow bird, oh purple!", "a bird"], seed=[1, 2])
    assert result.notes == ("prompt 1: left out unknown words: purple, oh",)
    assert result.prompts[0] == "a purple yellow bird, oh purple!"
    assert result[0].tobytes() == known[0].tobytes()
    assert known.notes == ()
    many = model.generate("bird " + " ".join(f"x{n}" for n in range(20)))
    assert many.notes[0].endswith("x6, x7 and 12 more")


def test_of_a_long_prompt_the_first_fifteen_words_count(model: HfGan) -> None:
    long = " ".join(WORDS[n % len(WORDS)] for n in range(10_000))
    short = " ".join(WORDS[n % len(WORDS)] for n in range(15))
    result = model.generate(long, seed=[1])
    assert result.notes == ("the prompt: only the first 15 of 10000 known words count",)
    assert result[0].tobytes() == model.generate(short, seed=[1])[0].tobytes()


@pytest.mark.parametrize("prompt", ["", "   ", "!?", "🐦🐦", "\0", "\ud800"])
def test_a_prompt_without_words_is_refused(model: HfGan, prompt: str) -> None:
    with pytest.raises(
        ValueError, match=r"has no words; it knows 11 words, such as bird, with, ye"
    ):
        model.generate(prompt)


@pytest.mark.parametrize("prompt", ["purple haze", "красная птица", "赤い鳥", "३ पक्षी"])
def test_a_prompt_without_known_words_is_refused(model: HfGan, prompt: str) -> None:
    with pytest.raises(ValueError, match=r"^prompt 2 has no word that .* it knows 11 words"):
        model.generate(["a bird", prompt])


def test_emoji_and_other_scripts_among_words(model: HfGan) -> None:
    result = model.generate("a 🐦 bird \ud800 鳥", seed=[1])
    assert result.notes == ("the prompt: left out unknown words: 鳥",)
    assert result[0].tobytes() == model.generate("a bird", seed=[1])[0].tobytes()
    assert result[0].info["Prompt"] == "a 🐦 bird ? 鳥"


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        (None, TypeError, "a prompt is a text, not NoneType"),
        (3, TypeError, "a prompt is a text, not int"),
        (b"a bird", TypeError, "a prompt is a text, not bytes"),
        ({"a bird"}, TypeError, "a prompt is a text, not set"),
        ([], ValueError, "there is no prompt"),
        (["a bird", 3], TypeError, "prompt 2 is not a text but int"),
        ([None], TypeError, "the prompt is not a text but NoneType"),
        ("x" * 1_000_001, ValueError, "the prompt is longer than 1000000 characters"),
    ],
)
def test_what_is_no_prompt(model: HfGan, prompt: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.generate(prompt)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_images": 0}, ValueError, "num_images must be from 1 to 1024, got 0"),
        ({"num_images": 10**6}, ValueError, "num_images must be from 1 to 1024, got 1000000"),
        ({"num_images": 1.0}, TypeError, "num_images must be a whole number, not float"),
        ({"seed": [1, 2]}, ValueError, "2 seeds for 1 items"),
        ({"seed": -1}, ValueError, "seed -1 is out of range"),
        ({"output_type": "jpg"}, ValueError, "output_type 'jpg' is unknown; known: pil, np, pt"),
    ],
)
def test_bad_options(
    model: HfGan, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.generate("a bird", **options)


def test_images_of_one_call_are_bounded(model: HfGan) -> None:
    with pytest.raises(ValueError, match=r"1200 images in one call, at most 1024: call it sev"):
        model.generate(["a bird"] * 3, num_images=400)


@settings(max_examples=60)
@given(prompt=st.text(max_size=40) | st.text("bird \n🐦é\ud800", max_size=12))
def test_any_text_is_drawn_or_refused(prompt: str) -> None:
    with HfGan(CONFIG) as model:
        if any(word in model.vocabulary for word in tokenize(prompt)):
            assert model.generate(prompt, seed=0)[0].info["Prompt"].isprintable()
        else:
            with pytest.raises(ValueError, match="it knows 11 words"):
                model.generate(prompt)


# --- a look inside --------------------------------------------------------------------------------


def test_a_look_is_of_the_image_that_generate_makes(model: HfGan) -> None:
    look = model.look("a purple yellow bird", seed=5)
    image = model.generate("a purple yellow bird", seed=[5], output_type="np")[0]
    assert np.array_equal(look.image, image)
    assert look.words == ("a", "yellow", "bird")


def test_attention_and_features_have_the_sizes_of_their_stages(model: HfGan) -> None:
    look = model.look("the bird with black wings", seed=5)
    assert [weights.shape for weights in look.attention] == [(5, 16, 16), (5, 32, 32)]
    for weights in look.attention:
        assert np.allclose(weights.sum(0), 1, atol=1e-5)
        assert weights.min() >= 0
    assert {name: maps.shape for name, maps in look.features.items()} == {
        "F1": (4, 16, 16),
        "F2": (4, 32, 32),
        "F2f": (4, 32, 32),
        "F3": (4, 64, 64),
        "F3f": (4, 64, 64),
    }
    # Eq 3.9 as it is computed: what fusion adds to F3 is H_sup2 of F2f, twice as large.
    added = torch.from_numpy(look.features["F3f"] - look.features["F3"])
    with torch.no_grad():
        fused = torch.from_numpy(look.features["F2f"])[None]
        larger = fused.repeat_interleave(2, 2).repeat_interleave(2, 3)
        side = model.networks.get_submodule("generator.sup2")(larger)[0]
    assert torch.allclose(added, side, atol=1e-5)


def test_the_page_of_a_look(model: HfGan, tmp_path: Path) -> None:
    page = model.look("a yellow bird", seed=5).page(32)
    page.save(tmp_path / "look.png")
    with Image.open(tmp_path / "look.png") as stored:
        assert stored.info["Prompt"] == "a yellow bird"
        assert stored.info["Seed"] == "5"
    # Image and three words in two rows, then five kinds of maps in five rows.
    assert page.size == (5 * 40 + 8, (2 * 40 + 30) + (5 * 40 + 30))
    assert len(set(np.asarray(page).ravel().tolist())) > 50


def test_a_look_takes_one_text(model: HfGan) -> None:
    with pytest.raises(TypeError, match="a prompt is a text, not list"):
        model.look(["a bird"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="it knows 11 words"):
        model.look("purple")


# --- weights of a training run --------------------------------------------------------------------


def test_weights_of_a_run_become_a_model(model: HfGan, tmp_path: Path) -> None:
    meta = {"config": json.dumps(CONFIG.to_json())}
    save_weights(model.networks, tmp_path / "best.safetensors", meta)
    loaded = HfGan.from_run(tmp_path / "best.safetensors", Card(summary="from a run"))
    assert loaded.generate("a bird", seed=0)[0].tobytes() == (
        model.generate("a bird", seed=0)[0].tobytes()
    )
    assert (loaded.name, loaded.card.summary) == ("best", "from a run")


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({}, "not the weights of a training run of HfGAN"),
        ({"config": "[]"}, "the configuration is not a JSON object"),
        ({"config": '{"size": []}'}, "has a value of another type"),
        ({"config": "[" * 100_000}, "not the weights of a training run of HfGAN"),
        ({"config": "{"}, "not the weights of a training run of HfGAN"),
        ({"config": '{"depth": 3}'}, "unknown field 'depth'"),
        ({"config": '{"size": 64, "vocabulary": ["a", "a"]}'}, "the word 'a' is there twice"),
        ({"config": '{"size": 64, "vocabulary": ["a"]}'}, r"weight text\.embedding\.weight has sh"),
    ],
)
def test_files_that_are_no_run_are_refused(
    model: HfGan, meta: dict[str, str], message: str, tmp_path: Path
) -> None:
    save_weights(model.networks, tmp_path / "bad.safetensors", meta)
    with pytest.raises(ValueError, match=message) as error:
        HfGan.from_run(tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(error.value)


# --- the example ----------------------------------------------------------------------------------


def test_the_example(
    model: HfGan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = model.save_pretrained(tmp_path / "tiny")
    out = tmp_path / "birds"
    options = ["--model", folder, "--num", 3, "--out", out]
    script = ROOT / "examples/generate_birds.py"
    monkeypatch.setattr(sys, "argv", [str(script), "a purple bird", *map(str, options)])
    runpy.run_path(str(script), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith("tiny (weights ")
    assert "note: the prompt: left out unknown words: purple" in printed
    names = ["0000.png", "0001.png", "0002.png", "look.png", "sheet.png"]
    assert sorted(file.name for file in out.iterdir()) == names
