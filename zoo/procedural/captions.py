"""What a picture is called, in the style of Reed et al. (2016), and what a caption claims.

The captions are plain lower-case sentences of at most 15 words, so that none of their colours is
cut off by the text encoder. Each names the two colours of its picture's class, and some of the
rest. `asserted` reads the grammar back.
"""

import re

import numpy as np

from .colours import NAMES
from .specs import VALUES, Bird, Flower, Spec

MAX_WORDS = 15

_PLACES = {
    "sky": ("against the sky", "under an open sky"),
    "leaves": ("in front of leaves", "among leaves"),
    "sunset": ("at sunset", "in the sunset"),
    "mist": ("in the mist", "on a misty day"),
}
_POSES = {
    "perched": ("on a branch", "perched on a branch", "sitting on a branch"),
    "standing": ("on the ground", "standing on the ground", "standing in the grass"),
}
_BIRDS = ("this bird", "a bird", "the bird", "a small bird", "this small bird", "this little bird")
_FLOWERS = ("this flower", "a flower", "the flower", "this pretty flower", "a single flower")


def captions(spec: Spec, count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Describe a picture in several ways.

    Args:
        spec: what is in it.
        count: how many sentences, at least 1.
        rng: the only source of randomness.

    Returns:
        As many, all different unless chance is against it eight times in a row.
    """
    made: list[str] = []
    for _ in range(count):
        for _ in range(8):
            caption = _bird(spec, rng) if isinstance(spec, Bird) else _flower(spec, rng)
            if caption not in made:
                break
        made.append(caption)
    return tuple(made)


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return choices[int(rng.random() * len(choices))]


def _a(phrase: str) -> str:
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"


def _bird(spec: Bird, rng: np.random.Generator) -> str:
    breast, wing, crown = NAMES[spec.breast], NAMES[spec.wing], NAMES[spec.crown]
    belly = _pick(rng, "breast", "breast", "belly", "chest")
    bill = _pick(rng, "beak", "bill")
    beak = f"{VALUES['beak'][spec.beak]} {bill}"
    colour = VALUES["beak_colour"][spec.beak_colour]
    facing = VALUES["facing"][spec.facing]
    extras = [
        _a(f"{crown} {_pick(rng, 'crown', 'crown', 'head')}"),
        _a(_pick(rng, beak, f"{colour} {bill}", f"{VALUES['beak'][spec.beak]} {colour} {bill}")),
        _a(f"{VALUES['tail'][spec.tail]} tail"),
    ]
    endings = [
        _pick(rng, *_POSES[VALUES["pose"][spec.pose]]),
        _pick(rng, *_PLACES[VALUES["background"][spec.background]]),
        _pick(rng, f"facing {facing}", f"looking {facing}"),
    ]
    form = rng.random()
    if breast == wing and form < 0.5:
        # Said of a whole bird, a colour is that of its breast and of its wings.
        return _joined(_a(f"{_pick(rng, '', 'small ')}{breast} bird"), [], extras, endings, rng)
    if form < 0.25:
        size = _pick(rng, "", "", "small ")
        return _joined(_a(f"{size}{breast} bird"), [f"{wing} wings"], extras, endings, rng)
    clauses = [_a(f"{breast} {belly}"), f"{wing} wings"]
    if rng.random() < 0.4:
        clauses.reverse()
    return _joined(_pick(rng, *_BIRDS), clauses, extras, endings, rng)


def _flower(spec: Flower, rng: np.random.Generator) -> str:
    petal, centre = NAMES[spec.petal], NAMES[spec.centre]
    count = VALUES["petal_count"][spec.petal_count]
    shape = VALUES["petal_shape"][spec.petal_shape]
    middle = _a(f"{centre} {_pick(rng, 'center', 'center', 'centre', 'middle')}")
    extras = [_a(f"{VALUES['stem'][spec.stem]} stem")]
    endings = [_pick(rng, *_PLACES[VALUES["background"][spec.background]])]
    form = rng.random()
    if form < 0.3:
        adjective = _pick(rng, "", f"{count} ", f"{shape} ", f"{count} {shape} ")
        clauses = [middle] if not adjective else [middle, f"{adjective}petals"]
        return _joined(_a(f"{petal} flower"), clauses, extras, endings, rng)
    adjective = _pick(rng, "", "", f"{count} ", f"{shape} ", f"{count} {shape} ")
    clauses = [f"{adjective}{petal} petals", middle]
    if rng.random() < 0.35:
        clauses.reverse()
    return _joined(_pick(rng, *_FLOWERS), clauses, extras, endings, rng)


def _joined(
    subject: str,
    clauses: list[str],
    extras: list[str],
    endings: list[str],
    rng: np.random.Generator,
) -> str:
    """A sentence of all clauses and of what chance and `MAX_WORDS` let in of the rest."""
    wanted = int(rng.random() * 3)  # 0, 1 or 2 extras
    chosen = [extras[i] for i in rng.permutation(len(extras))[:wanted].tolist()]
    end = endings[int(rng.random() * len(endings))] if rng.random() < 0.45 else ""
    verb = " with" if subject.startswith("a") else " has"
    while True:
        parts = [*clauses, *chosen]
        listed = " and ".join([", ".join(parts[:-1]), parts[-1]][-len(parts) :]) if parts else ""
        sentence = f"{subject}{verb} {listed}" if parts else subject
        text = f"{sentence} {end}" if end else sentence
        if len(text.split()) <= MAX_WORDS:
            return text
        if end:
            end = ""
        else:
            chosen.pop()


# --- reading -------------------------------------------------------------------------------------

_COLOUR = "|".join(NAMES)
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("breast", rf"({_COLOUR}) (?:breast|belly|chest|bird)"),
    ("wing", rf"({_COLOUR}) wings?"),
    ("crown", rf"({_COLOUR}) (?:crown|head)"),
    ("beak_colour", rf"({_COLOUR}) (?:beak|bill)"),
    ("beak", rf"(short|long) (?:(?:{_COLOUR}) )?(?:beak|bill)"),
    ("tail", r"(short|long) tail"),
    ("facing", r"(?:facing|looking) (left|right)"),
    ("petal", rf"({_COLOUR}) (?:petals?|flower)"),
    ("centre", rf"({_COLOUR}) (?:center|centre|middle)"),
    ("petal_count", rf"(five|eight|twelve) (?:round |pointed )?(?:(?:{_COLOUR}) )?petals"),
    ("petal_shape", rf"(round|pointed) (?:(?:{_COLOUR}) )?petals"),
    ("stem", r"(bare|leafy) stem"),
)
_WORDS = {
    "background": {
        "sky": "sky",
        "leaves": "leaves",
        "sunset": "sunset",
        "mist": "mist",
        "misty": "mist",
    },
    "pose": {"branch": "perched", "perched": "perched", "ground": "standing", "grass": "standing"},
    "kind": {"bird": "bird", "flower": "flower"},
}


def asserted(caption: str) -> dict[str, int]:
    """What a caption of this grammar claims about its picture.

    Words and phrases that the grammar does not have claim nothing.

    Args:
        caption: a sentence, in upper or lower case, with or without commas.

    Returns:
        Attribute -> index into its `VALUES`, for those that the caption speaks of.
    """
    words = re.findall(r"\w+", caption.lower())
    text = " ".join(words)
    claims: dict[str, int] = {}
    for name, pattern in _PATTERNS:
        found = re.search(rf"\b{pattern}\b", text)
        if found and found.group(1) in VALUES[name]:
            claims[name] = VALUES[name].index(found.group(1))
    for name, meanings in _WORDS.items():
        for word in words:
            if word in meanings:
                claims[name] = VALUES[name].index(meanings[word])
                break
    whole = re.search(rf"\b({_COLOUR}) bird\b", text)
    if whole and "wing" not in claims and not re.search(r"\b(breast|belly|chest)\b", text):
        claims["wing"] = NAMES.index(whole.group(1))
    return {name: claims[name] for name in VALUES if name in claims}


def claims_hold(caption: str, truth: dict[str, int]) -> bool:
    """Whether a picture is as a caption says.

    Args:
        caption: a sentence of this grammar.
        truth: see `specs.attributes`.

    Returns:
        True if nothing that the caption claims is otherwise.
    """
    return all(truth[name] == value for name, value in asserted(caption).items())
