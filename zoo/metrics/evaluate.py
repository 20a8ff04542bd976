"""How good is a text-to-image model? All figures of chapter 3, with their floors and ceilings.

Does an image show what its prompt says: attribute accuracy, VS similarity, R-precision. Is the set
of images like real ones: Inception Score, FID. Floors are measured on the same images beside the
prompts of others (what follows from the prompt is lost, all else is kept) and on noise; ceilings on
real pictures.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from ...backend import device as devices
from ...backend.files import writable_folder, write_json, write_text
from ..inception import InceptionV3
from ..result import sheet_of
from .agreement import agreement
from .distributions import SPLITS, fid, inception_score
from .judges import CLASS, Judges, Report, resized
from .measures import Evaluation, Figure, Measure, mean_of, score_of, share_of, table
from .retrieval import CANDIDATES, cosines, most_candidates, others, r_precision
from .trials import Trial

RESULTS, TABLE, SHEET = "results.json", "results.md", "sheet.png"
SHEET_IMAGES = 32
PART = 64
"""Prompts of one call of the model."""
INCEPTION_BATCH = 16
GENERATED = "generated"
SHUFFLED, NOISE = "prompts of others", "noise"
REAL, OTHER = "real pictures", "other real pictures"


class TextToImage(Protocol):
    """What is needed of a model; `HfGan` has it."""

    @property
    def title(self) -> str:
        """Name and weights."""

    def generate(
        self,
        prompt: Sequence[str],
        *,
        num_images: int,
        seed: Sequence[int],
        output_type: Literal["pt"],
    ) -> Any:
        """A result whose `images` are (N, 3, S, S) float32 in [0, 1], where "pt" is asked for."""


class _Seen(NamedTuple):
    """What a network sees in a set: probabilities (N, classes) and features (N, F)."""

    probabilities: Tensor
    features: Tensor


def evaluate_hfgan(
    model: TextToImage,
    trial: Trial,
    judges: Judges,
    out: Path,
    *,
    seed: int = 0,
    inception: InceptionV3 | None = None,
    report: Report = lambda stage, done, total: None,
) -> Evaluation:
    """Generate an image for each prompt of a trial and measure them.

    Args:
        model: see `TextToImage`.
        trial: see `Trial`.
        judges: trained on the pictures of `trial.train`.
        out: folder of results.json, results.md and sheet.png, made if absent.
        seed: of the images, of the shuffled prompts and of the noise.
        inception: a second network for Inception Score and FID; None: the classifier alone.
        report: called with what is being done, how much of it is done, of how much.

    Returns:
        The figures; they do not depend on how fast it went, and on a CPU not on chance.

    Raises:
        ValueError: the model refuses a prompt or gives no such images, or there are fewer than
            four prompts.
        OSError: the folder cannot be written.
    """
    if len(trial) < 4:
        raise ValueError(f"{len(trial)} prompts; evaluate on 4 or more")
    writable_folder(out)
    start = time.monotonic()
    images = generate(model, trial.prompts, seed, report)
    seconds = {"generate": time.monotonic() - start, **judges.seconds}
    _write_sheet(model, trial, images, seed, out / SHEET)
    noise_of = devices.generator(devices.spawn(seed, 2**32 - 1))
    noise = torch.randint(0, 256, images.shape, generator=noise_of, dtype=torch.uint8)
    sets = {GENERATED: images, NOISE: noise, REAL: trial.real, OTHER: trial.another}
    shuffle = others(len(trial), devices.spawn(seed, 2**32 - 2))
    with devices.one_thread(judges.device):
        seen: dict[str, dict[str, _Seen]] = {}
        figures: list[Figure] = []
        if judges.classifier is not None:
            judged = {}
            for done, (name, pixels) in enumerate(sets.items(), 1):
                judged[name] = judges.attributes(pixels)
                report("judge", done, len(sets))
            seen["classifier"] = {
                name: _Seen(probabilities[CLASS], features)
                for name, (probabilities, features) in judged.items()
            }
            predicted = {
                name: {key: values.argmax(1) for key, values in judged[name][0].items()}
                for name in (GENERATED, REAL)
            }
            figures += _agreement_figures(trial, predicted, shuffle)
        if inception is not None:
            seen[inception.name] = _with_inception(inception, sets, judges.device, report)
        figures += _text_figures(trial, judges, sets, shuffle, seed)
        for network, found in seen.items():
            figures += _set_figures(network, found)
    notes = list(trial.notes)
    if inception is None:
        own = "left out" if judges.classifier is None else "those of the classifier alone"
        notes.append(
            f"no weights of Inception-v3: Inception Score and FID are {own}, and compare with no "
            "published figure"
        )
    facts = {
        "model": model.title,
        "set": trial.name,
        "count": len(trial),
        "size": int(images.shape[-1]),
        "judged_at": judges.size,
        "seed": seed,
        "networks": list(seen),
        "device": str(judges.device),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    evaluation = Evaluation(facts, tuple(figures), tuple(notes))
    write_json(out / RESULTS, evaluation.to_json())
    write_text(out / TABLE, table(evaluation))
    return evaluation


def generate(
    model: TextToImage,
    prompts: Sequence[str],
    seed: int,
    report: Report = lambda stage, done, total: None,
) -> Tensor:
    """One image for each prompt.

    Args:
        model: see `TextToImage`.
        prompts: N sentences.
        seed: prompt i has the seed `device.spawn(seed, i)`, whatever is generated with it.
        report: called after each part.

    Returns:
        (N, 3, S, S) uint8.

    Raises:
        ValueError: the model gives other than one square image for each prompt.
    """
    parts: list[Tensor] = []
    for first in range(0, len(prompts), PART):
        part = list(prompts[first : first + PART])
        seeds = [devices.spawn(seed, first + index) for index in range(len(part))]
        result = model.generate(part, num_images=1, seed=seeds, output_type="pt")
        pixels = torch.as_tensor(result.images)
        square = pixels.dim() == 4 and pixels.shape[1] == 3 and pixels.shape[2] == pixels.shape[3]
        if not square or len(pixels) != len(part) or not pixels.isfinite().all():
            raise ValueError(
                f"{model.title}: gave images of shape {tuple(pixels.shape)} for {len(part)} "
                "prompts, or not finite ones; expected one finite (3, S, S) each"
            )
        parts.append((pixels.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
        report("generate", first + len(part), len(prompts))
    return torch.cat(parts)


@torch.no_grad()
def _with_inception(
    network: InceptionV3, sets: Mapping[str, Tensor], device: torch.device, report: Report
) -> dict[str, _Seen]:
    network.to(device)
    total = sum(map(len, sets.values()))
    done, seen = 0, {}
    for name, images in sets.items():
        found = []
        for part in images.split(INCEPTION_BATCH):
            features = network(resized(part, int(part.shape[-1]), device))
            found.append(_Seen(features.logits.softmax(1).cpu(), features.pool.cpu()))
            done += len(part)
            report(f"look with {network.name}", done, total)
        seen[name] = _Seen(*(torch.cat(columns) for columns in zip(*found, strict=True)))
    return seen


# --- figures -------------------------------------------------------------------------------------


def _agreement_figures(
    trial: Trial, predicted: Mapping[str, Mapping[str, Tensor]], shuffle: Tensor
) -> list[Figure]:
    """Attribute accuracy; of photographs the species that the prompt's picture is of."""
    if not any(trial.claims):
        truth = trial.truth[CLASS]
        hits = {name: table[CLASS] == truth for name, table in predicted.items()}
        floor = predicted[GENERATED][CLASS] == truth[shuffle]
        chance = 1 / trial.classes[CLASS]
        return [
            _figure("species", hits[GENERATED], floor, hits[REAL], chance),
        ]
    spoken = [name for name in trial.classes if any(name in claims for claims in trial.claims)]
    mixed = [trial.claims[index] for index in shuffle.tolist()]

    def asked(names: Sequence[str]) -> list[tuple[dict[str, Tensor], Tensor, Tensor]]:
        return [
            agreement(predicted[GENERATED], trial.claims, names),
            agreement(predicted[GENERATED], mixed, names),
            agreement(predicted[REAL], trial.claims, names),
        ]

    figures = []
    if trial.colours:
        (_, shares, whole), (_, low, low_whole), (_, top, top_whole) = asked(trial.colours)
        figures.append(
            Figure(
                "colours of a prompt",
                "%",
                mean_of(shares),
                {SHUFFLED: mean_of(low)},
                {REAL: mean_of(top)},
                count=len(shares),
                chance=1 / trial.classes[trial.colours[0]],
            )
        )
        figures.append(_figure("all colours of a prompt", whole, low_whole, top_whole, None))
    generated, floors, ceilings = (found[0] for found in asked(spoken))
    for name in spoken:
        chance = 1 / trial.classes[name]
        title = name.replace("_", " ")
        figures.append(_figure(title, generated[name], floors[name], ceilings[name], chance))
    return figures


def _figure(
    name: str, generated: Tensor, floor: Tensor, ceiling: Tensor, chance: float | None
) -> Figure:
    return Figure(
        name,
        "%",
        share_of(generated),
        {SHUFFLED: share_of(floor)},
        {REAL: share_of(ceiling)},
        count=len(generated),
        chance=chance,
    )


def _text_figures(
    trial: Trial, judges: Judges, sets: Mapping[str, Tensor], shuffle: Tensor, seed: int
) -> list[Figure]:
    """VS similarity and R-precision by the judges' embedding."""
    texts = judges.read(trial.prompts)
    looked = {name: judges.look(sets[name]) for name in (GENERATED, NOISE, REAL)}
    mixed = [trial.prompts[index] for index in shuffle.tolist()]
    similarity = Figure(
        "VS similarity",
        "cos",
        mean_of(cosines(looked[GENERATED], texts), with_sd=True),
        {
            SHUFFLED: mean_of(cosines(looked[GENERATED], texts[shuffle]), with_sd=True),
            NOISE: mean_of(cosines(looked[NOISE], texts), with_sd=True),
        },
        {REAL: mean_of(cosines(looked[REAL], texts), with_sd=True)},
        count=len(trial),
    )
    number = min(CANDIDATES, most_candidates(trial.prompts, trial.labels))
    if number < 2:
        return [similarity]  # all prompts are of one class
    shuffled = trial.labels[shuffle]

    def found(images: Tensor, read: Tensor, prompts: Sequence[str], labels: Tensor) -> Measure:
        return share_of(r_precision(images, read, prompts, labels, seed, number))

    precision = Figure(
        f"R-precision (VS embedding, 1 of {number})",
        "%",
        found(looked[GENERATED], texts, trial.prompts, trial.labels),
        {
            SHUFFLED: found(looked[GENERATED], texts[shuffle], mixed, shuffled),
            NOISE: found(looked[NOISE], texts, trial.prompts, trial.labels),
        },
        {REAL: found(looked[REAL], texts, trial.prompts, trial.labels)},
        count=len(trial),
        chance=1 / number,
    )
    return [similarity, precision]


def _set_figures(network: str, seen: Mapping[str, _Seen]) -> list[Figure]:
    """Inception Score and FID as one network sees the sets."""
    parts = max(2, min(SPLITS, len(seen[GENERATED].features) // 50))
    classes = seen[REAL].probabilities.shape[1]

    def scored(name: str) -> Measure:
        score = inception_score(seen[name].probabilities, parts)
        return score_of(score.value, score.spread, parts)

    def apart(name: str) -> Measure:
        score = fid(seen[REAL].features, seen[name].features)
        low, high = max(0.0, score.value - score.spread), score.value + score.spread
        return Measure(score.value, low, high)

    count = len(seen[GENERATED].features)
    return [
        Figure(
            f"IS({network}, {classes} classes)",
            "score",
            scored(GENERATED),
            {NOISE: scored(NOISE)},
            {REAL: scored(REAL)},
            count=count,
        ),
        Figure(
            f"FID({network})",
            "score",
            apart(GENERATED),
            {NOISE: apart(NOISE)},
            {OTHER: apart(OTHER)},
            higher=False,
            count=count,
        ),
    ]


def _write_sheet(model: TextToImage, trial: Trial, images: Tensor, seed: int, path: Path) -> None:
    shown = images[:SHEET_IMAGES].permute(0, 2, 3, 1).contiguous().numpy()
    seeds = [devices.spawn(seed, index) for index in range(len(shown))]
    sheet_of(list(shown), trial.prompts[: len(shown)], seeds, model.title).save(path)
