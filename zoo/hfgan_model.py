"""HfGAN for users: prompts in, images out.

    model = zoo.from_pretrained("hfgan")
    result = model.generate("a small bird with a yellow breast", num_images=4, seed=0)
    result[0].save("bird.png")

The networks are in `hfgan` (generator) and `damsm` (text encoder).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..backend import device as devices
from ..backend.buckets import Batch
from ..backend.weights import read_tensors
from .arguments import MAX_ITEMS, check_count, item_seeds
from .cards import Card
from .damsm import TextEncoder
from .hfgan import Generator, GeneratorOutput, HfGanConfig
from .hfgan_look import Look
from .model import Model, Progress
from .pretrained import MAX_BYTES, build
from .result import OUTPUT_TYPES, ImageResult, OutputType
from .text import MAX_WORDS, Tokens, Vocabulary, tokenize

MAX_CHARACTERS = 1_000_000
"""Of one prompt."""


class HfGan(Model):
    """Text to image (chapter 3).

    Args:
        config: of the networks, with the vocabulary.
        networks: "text", a `TextEncoder`, and "generator", a `Generator`; None makes new ones with
            random weights.
        card: see `Card`.
        name: of the weights.
        origin: where the weights come from.

    Attributes:
        vocabulary: the words it knows.
    """

    kind = "hfgan"
    config: HfGanConfig

    def __init__(
        self,
        config: HfGanConfig,
        networks: Mapping[str, nn.Module] | None = None,
        card: Card | None = None,
        *,
        name: str = "unnamed",
        origin: str = "this process",
    ) -> None:
        made = dict((networks or _networks(config)).items())
        super().__init__(config, made, card, name=name, origin=origin)
        self.vocabulary = Vocabulary(config.vocabulary)

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> tuple[HfGanConfig, nn.ModuleDict]:
        """See `Model.build`."""
        if not isinstance(config, Mapping):
            raise ValueError("the configuration is not a JSON object")
        try:
            made = HfGanConfig.from_json(config)
        except TypeError:  # a list where a number belongs, for instance
            raise ValueError("a field of the configuration has a value of another type") from None
        Vocabulary(made.vocabulary)  # refuses what is no word
        return made, _networks(made)

    @classmethod
    def from_run(cls, file: Path, card: Card | None = None) -> "HfGan":
        """Read the weights that a training run wrote, `best.safetensors` of `train.hfgan`.

        Args:
            file: of weights, with the configuration in its metadata.
            card: what there is to say about them, for `save_pretrained`.

        Returns:
            The model, on the CPU.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: not such a file, or a field or a weight is not right (names it).
        """
        tensors, meta = read_tensors(file, MAX_BYTES)
        try:
            described = json.loads(meta["config"])
        except (KeyError, ValueError, RecursionError):
            raise ValueError(f"{file}: not the weights of a training run of HfGAN") from None
        config, networks = build(lambda: cls.build(described), tensors, file, file)
        return cls(config, dict(networks.items()), card, name=file.stem, origin=f"file {file}")

    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        num_images: int = 1,
        seed: int | Sequence[int] | None = None,
        output_type: OutputType = "pil",
        progress: Progress | None = None,
    ) -> ImageResult:
        """Make images of sentences.

        The same prompt and item seed give the same image, alone or together with any others, from
        one thread or many: bit by bit on the CPU (with the same number of PyTorch's threads), and
        on a GPU as far as its kernels give a row the same bits in every place of a batch. Other
        devices, thread counts and precisions differ in the last bits.

        Args:
            prompt: a sentence, or several. Words that the model does not know are left out, and of
                a longer one the first 15 that it knows count; `notes` of the result says so.
            num_images: for each prompt. All images of the first prompt come first.
            seed: an int, from which image i takes `device.spawn(seed, i)`; one for each image; or
                None for a random one. `seeds` of the result repeats any image.
            output_type: "pil", "np" (float32 in [0, 1], channels last) or "pt" (float32 in [0, 1],
                channels first, on the CPU).
            progress: called with (images done, all images).

        Returns:
            The images, see `ImageResult`.

        Raises:
            TypeError: a prompt is no text, or a number is none.
            ValueError: no prompt, one without a word that the model knows, too many images, not as
                many seeds as images, or an unknown output type.
        """
        if output_type not in OUTPUT_TYPES:
            known = ", ".join(OUTPUT_TYPES)
            raise ValueError(f"output_type {output_type!r:.40} is unknown; known: {known}")
        prompts, notes = self.check_prompts(prompt)
        each = check_count(num_images, MAX_ITEMS, "num_images")
        total = each * len(prompts)
        if total > MAX_ITEMS:
            raise ValueError(
                f"{total} images in one call, at most {MAX_ITEMS}: call it several times, or use "
                "`neuralpaint generate`, which writes them as it goes"
            )
        seeds = item_seeds(seed, total)
        tokens = self.vocabulary.encode(prompts)
        requests = [self._request(tokens, i // each, item) for i, item in enumerate(seeds)]
        results = self.run(requests, progress)
        return ImageResult(
            torch.stack([result["image"] for result in results]),
            output_type,
            prompts=[text for text in prompts for _ in range(each)],
            seeds=seeds,
            notes=notes,
            model=self.title,
        )

    def look(self, prompt: str, seed: int = 0) -> Look:
        """Look into the generator: word attention (Fig 3.8), feature maps before and after fusion.

        Args:
            prompt: a sentence.
            seed: of the image, as in `seeds` of a result.

        Returns:
            The image, the weights of its words and its feature maps, see `Look`.

        Raises:
            TypeError: the prompt is no text.
            ValueError: it has no word that the model knows.
        """
        if not isinstance(prompt, str):
            raise TypeError(f"a prompt is a text, not {type(prompt).__name__}")
        prompts, _ = self.check_prompts(prompt)
        (item,) = item_seeds([seed], 1)
        request = self._request(self.vocabulary.encode(prompts), 0, item)
        batch = {name: tensor[None].to(self.device) for name, tensor in request.items()}
        with torch.no_grad(), devices.autocast(self.device, self.dtype):
            output = self._output(batch)
        words = [word for word in tokenize(prompts[0]) if word in self.vocabulary][:MAX_WORDS]
        return Look.of(output, prompts[0], words, item, self.title)

    def check_prompts(self, prompt: object) -> tuple[list[str], list[str]]:
        """Prompts that can be drawn, and what the user should know about them.

        Args:
            prompt: a text or a sequence of texts.

        Returns:
            The prompts, and notes on words that are left out.

        Raises:
            TypeError: one is no text.
            ValueError: there is none, or one has no word that the model knows.
        """
        given = [prompt] if isinstance(prompt, str) else prompt
        if not isinstance(given, Sequence) or isinstance(given, (bytes, bytearray)):
            raise TypeError(f"a prompt is a text, not {type(prompt).__name__}")
        if not given:
            raise ValueError("there is no prompt: give a sentence")
        vocabulary = self.vocabulary
        prompts: list[str] = []
        notes: list[str] = []
        for number, text in enumerate(given, 1):
            which = "the prompt" if len(given) == 1 else f"prompt {number}"
            if not isinstance(text, str):
                raise TypeError(f"{which} is not a text but {type(text).__name__}")
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"{which} is longer than {MAX_CHARACTERS} characters")
            words = tokenize(text)
            unknown = vocabulary.unknown(text)
            known = sum(word in vocabulary for word in words)
            if not known:
                problem = f"no word that the model knows ({text[:40]!r})" if words else "no words"
                raise ValueError(f"{which} has {problem}; it knows {self._some_words()}")
            if unknown:
                notes.append(f"{which}: left out unknown words: {_shortened(unknown)}")
            if known > MAX_WORDS:
                notes.append(f"{which}: only the first {MAX_WORDS} of {known} known words count")
            # What cannot be written as UTF-8 (a lone half of a character) is no word either.
            prompts.append(text.encode("utf-8", "replace").decode())
        return prompts, notes

    def forward(self, batch: Batch) -> Batch:
        """Images in [0, 1] of rows "ids", "mask" and "noise"."""
        images = self._output(batch).images
        return {"image": (images / 2 + 0.5).clamp(0, 1)}

    def _request(self, tokens: Tokens, row: int, seed: int) -> Batch:
        noise = torch.randn(self.config.z, generator=devices.generator(seed))
        return {"ids": tokens.ids[row], "mask": tokens.mask[row], "noise": noise}

    def _output(self, batch: Batch) -> GeneratorOutput:
        text, generator = self.networks["text"], self.networks["generator"]
        words, sentence = text(batch["ids"], batch["mask"])
        output: GeneratorOutput = generator(batch["noise"], sentence, words, batch["mask"])
        return output

    def _some_words(self) -> str:
        """Words of some length, the most frequent first."""
        words = self.config.vocabulary
        shown = [word for word in words if len(word) > 3][:10] or words[:10]
        return f"{len(words)} words, such as {', '.join(shown)}"


def _networks(config: HfGanConfig) -> nn.ModuleDict:
    text = TextEncoder(len(config.vocabulary) + 1, config.embedding, config.dim)
    return nn.ModuleDict({"text": text, "generator": Generator(config)})


def _shortened(words: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(word[:30] for word in words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
