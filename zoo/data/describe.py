"""Captions for birds that have none: colours measured at the annotated parts, in Reed's style.

"this bird has a yellow breast with black wings and a short beak". The sentences are generated, and
what loads them says so: they name what a program saw, not what people would find worth naming.

A part of one picture is often in shade, hidden or clicked beside, so its colour is weighed against
that of the same part in all pictures of the species: it gives way to one that is far more frequent,
and a colour that few pictures of the species share is not spoken of. Sexes of different colour
keep theirs that way.

Measured on the 543 birds of classes 1 to 10 of CUB-200-2011, where people name the colour of the
part: 82 % of 1,592 colours are named for it by at least one of ten people, and 80 % are what they
name most (68 % and 64 % before birds are weighed against their species; 54 % are named by someone
if the colours are those of other birds). Of what one person says of a part, 85 % is said by another
one too. The borders in `colours` and the constants below were chosen on the same birds.
"""

import random
import zlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import NamedTuple

from ...backend.datasets import CubBird
from ...backend.files import MediaError
from . import colours
from .parts import View, beak_length, patches
from .pictures import Report, original, quiet

COUNT = 10
"""Captions per picture, as in Reed et al. (2016)."""
MAX_WORDS = 15
"""Of a caption: what the text encoder reads."""
LEAD = 0.45
"""A colour gives way to one that this share of the species' pictures more has."""
SHARE = 0.35
"""A colour is spoken of if this share of the species' pictures has it."""
SHORT, LONG = 0.53, 0.65
"""Up to the one and from the other `beak_length` on, in the middle of a species."""

_TRUNK = ("crown", "back", "wings", "breast", "belly")
# How often people name a part, roughly; captions choose parts by these weights.
_WEIGHTS = {
    "beak": 5, "crown": 4, "nape": 1, "throat": 2, "breast": 4, "belly": 4, "back": 2, "wings": 4,
    "tail": 2, "legs": 1,
}  # fmt: skip
_NOUNS = {
    "beak": ("beak", "bill"),
    "breast": ("breast", "chest"),
    "belly": ("belly", "belly", "abdomen"),
    "legs": ("legs", "feet"),
}
_PLURAL = ("wings", "legs", "feet")
_THREADS = 4


class Look(NamedTuple):
    """What captions say of one bird.

    Attributes:
        colours: group of parts -> name of its colour.
        beak: "short", "long", or "" if neither or unknown.
    """

    colours: dict[str, str]
    beak: str


def captions(
    birds: Sequence[CubBird], views: Mapping[int, View], report: Report = quiet
) -> dict[int, tuple[str, ...]]:
    """Write captions.

    Args:
        birds: of whole species, as far as there are any: they are weighed against each other.
        views: number of the picture -> its parts.
        report: called after each picture with how many are looked at, of how many.

    Returns:
        Number of the picture -> `COUNT` captions. Pictures with fewer than two visible parts, and
        those that cannot be read, are absent.
    """
    seen = looks(birds, views, report)
    return {
        bird.number: write(seen[bird.number], zlib.crc32(bird.path.name.encode()))
        for bird in birds
        if bird.number in seen
    }


def looks(
    birds: Sequence[CubBird], views: Mapping[int, View], report: Report = quiet
) -> dict[int, Look]:
    """Measure birds and weigh the pictures of a species against each other.

    Args:
        birds: see `captions`.
        views: see `captions`.
        report: see `captions`.

    Returns:
        Number of the picture -> what can be said of it, for those with two things to say.
    """
    measured = [bird for bird in birds if views.get(bird.number, View(bird.path, {})).parts]
    own = dict[int, dict[str, str]]()
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(_measure, [views[bird.number] for bird in measured])
        for done, (bird, names) in enumerate(zip(measured, found, strict=True), 1):
            own[bird.number] = names
            report(done, len(measured))
    votes = defaultdict[tuple[int, str], Counter[str]](Counter)
    lengths = defaultdict[int, list[float]](list)
    for bird in measured:
        for group, name in own[bird.number].items():
            votes[bird.label, group][name] += 1
        length = beak_length(views[bird.number])
        if length is not None:
            lengths[bird.label].append(length)
    result = dict[int, Look]()
    for bird in measured:
        common, shared = dict[str, str](), dict[str, str]()
        for group, name in own[bird.number].items():
            ballot = votes[bird.label, group]
            common[group] = ballot.most_common(1)[0][0]
            weighed = weigh(name, ballot)
            if ballot[weighed] >= SHARE * ballot.total():
                shared[group] = weighed
        # A picture that shares next to nothing with its species was taken in odd light.
        sure = shared if len(shared) >= 2 else common
        if len(sure) >= 2:
            result[bird.number] = Look(sure, _length(lengths[bird.label]))
    return result


def weigh(own: str, votes: Counter[str]) -> str:
    """The colour of a part, given what it has in all pictures of the species.

    Args:
        own: as measured in this picture.
        votes: colour -> pictures of the species, this one included.

    Returns:
        `own`, or the most frequent colour where it leads by more than `LEAD` of all.
    """
    best, count = max(votes.items(), key=lambda item: (item[1], item[0] == own))
    return best if count - votes[own] > LEAD * votes.total() else own


def write(look: Look, seed: int) -> tuple[str, ...]:
    """Put into words what can be said of a bird, in several ways.

    Args:
        look: at least two colours.
        seed: of the choice of parts and words.

    Returns:
        `COUNT` captions of at most `MAX_WORDS` words, all different if there is enough to say.
    """
    generator = random.Random(seed)
    written = dict.fromkeys(_caption(look, generator) for _ in range(8 * COUNT))
    distinct = [text for text in written if len(text.split()) <= MAX_WORDS]
    return tuple(distinct[index % len(distinct)] for index in range(COUNT))


def _measure(view: View) -> dict[str, str]:
    """Group of parts -> name of its colour in one picture; nothing if it cannot be read."""
    try:
        found = patches(original(view.path), view)
    except MediaError:
        return {}
    return {
        group: colours.name(colours.median(patch), beak=group == "beak")
        for group, patch in found.items()
    }


def _length(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    middle = median(ratios)
    return "short" if middle <= SHORT else "long" if middle >= LONG else ""


def _caption(look: Look, generator: random.Random) -> str:
    """One caption, with one of the two spellings of grey; it may be too long."""
    text = _sentence(look, generator)
    return text.replace("grey", "gray") if generator.random() < 0.4 else text


def _sentence(look: Look, generator: random.Random) -> str:
    # Weighted choice without replacement (Efraimidis and Spirakis 2006).
    draws = {group: generator.random() ** (1 / _WEIGHTS[group]) for group in look.colours}
    groups = sorted(draws, key=draws.__getitem__, reverse=True)
    phrases = _phrases(look, groups[: generator.randint(2, 4)], generator)
    body = _body(look)
    kind = generator.randrange(8)
    rest = _and(phrases)
    if kind == 0:
        return f"this bird has {rest}"
    if kind == 1 and len(phrases) > 1:
        return f"this bird has {phrases[0]} with {_and(phrases[1:])}"
    if kind == 2:
        return f"{_article(body)} bird with {rest}"
    if kind == 3:
        return f"this is {_article(body)} bird with {rest}"
    if kind == 4:
        return f"this bird is {body} in color with {rest}"
    if kind == 5:
        return f"this {body} bird has {rest}"
    if kind == 6:
        first, second = (_noun(group, generator) for group in groups[:2])
        return (
            f"the {first} of this bird {_is(first)} {look.colours[groups[0]]} "
            f"and its {second} {_is(second)} {look.colours[groups[1]]}"
        )
    return f"a bird with {rest}"


def _phrases(look: Look, groups: Sequence[str], generator: random.Random) -> list[str]:
    """Noun phrases for parts; parts of one colour share it: "a white breast and belly"."""
    by_colour = dict[str, list[str]]()
    for group in groups:
        if group != "beak":
            by_colour.setdefault(look.colours[group], []).append(_noun(group, generator))
    phrases = []
    for colour, nouns in by_colour.items():
        nouns.sort(key=_PLURAL.__contains__)  # "a black tail and wings", not "a black wings"
        words = f"{colour} {_and(nouns)}"
        phrases.append(words if nouns[0] in _PLURAL else _article(words))
    if "beak" in groups:
        length = look.beak if generator.random() < 0.6 else ""
        coloured = not length or generator.random() < 0.6
        parts = [length, look.colours["beak"] if coloured else "", _noun("beak", generator)]
        phrases.append(_article(" ".join(filter(None, parts))))
    return phrases


def _body(look: Look) -> str:
    """The main colour of a bird, or the two that share it."""
    counts = Counter(look.colours[group] for group in _TRUNK if group in look.colours)
    counts = counts or Counter(look.colours.values())
    (first, most), *others = counts.most_common(2)
    if others and most < 3 and others[0][1] == most:
        return f"{first} and {others[0][0]}"
    return first


def _noun(group: str, generator: random.Random) -> str:
    return generator.choice(_NOUNS.get(group, (group,)))


def _is(noun: str) -> str:
    return "are" if noun in _PLURAL else "is"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _and(words: Sequence[str]) -> str:
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
