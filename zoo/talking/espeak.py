"""Speech by espeak-ng, an optional library, with the times it gives for phonemes and words.

The library (GPL-3) comes with the package espeakng-loader and is called through ctypes. Its
synthesis carries state from one text to the next, so every call loads it, speaks and unloads it:
10 ms, after which the same text sounds the same.
"""

# ruff: noqa: RUF001  signs of the phonetic alphabet look like letters

import bisect
import ctypes
import importlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .formant import LEAD
from .mfcc import SAMPLE_RATE
from .pronounce import PAUSE, spell
from .spoken import SILENCE, Span, Spoken

EXTRA = "pip install 'neuralpaint[audio]'"

_PEAK = 0.5
_CLOSURE = 0.045  # seconds of a stop before its burst
_STOPS = ("P", "B", "T", "D", "K", "G", "CH", "JH")
_VARIANTS = (*(f"m{n}" for n in range(1, 8)), *(f"f{n}" for n in range(1, 6)))

# Of espeak-ng's speak_lib.h.
_SYNCHRONOUS = 2
_PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 0x1, 0x2, 0x8000
_UTF8, _PHONEME_INPUT = 0x1, 0x100
_CHARACTER_POSITION = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_END, _WORD, _PHONEME = 0, 1, 7

# The library's signs for English, without stress, to the phonemes of `spoken`.
_IPA = {
    **{"iː": "IY", "i": "IY", "ɪ": "IH", "ᵻ": "IH", "ɛ": "EH", "e": "EH", "a": "AE", "æ": "AE"},
    **{"ɑː": "AA", "ɑ": "AA", "ɒ": "AO", "ɔː": "AO", "ɔ": "AO", "oː": "AO", "o": "OW"},
    **{"ʊ": "UH", "uː": "UW", "u": "UW", "ʌ": "AH", "ɜː": "ER", "ɜ": "ER", "ɚ": "ER"},
    **{"ə": "AX", "ɐ": "AX", "eɪ": "EY", "aɪ": "AY", "ɔɪ": "OY", "aʊ": "AW"},
    **{"əʊ": "OW", "oʊ": "OW", "iə": "IY AX", "ɪə": "IH AX", "eə": "EH AX", "ʊə": "UH AX"},
    **{"aɪə": "AY AX", "aʊə": "AW AX", "əl": "AX L", "p": "P", "b": "B", "t": "T", "d": "D"},
    **{"k": "K", "ɡ": "G", "g": "G", "tʃ": "CH", "dʒ": "JH", "f": "F", "v": "V", "θ": "TH"},
    **{"ð": "DH", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "ç": "HH", "x": "K"},
    **{"m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R", "w": "W"},
    **{"j": "Y", "ɾ": "D", "ʔ": "T"},
}


class _Name(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("identifier", ctypes.c_uint),
        ("position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("milliseconds", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("name", _Name),
    )


class _Mark(NamedTuple):
    """The start of a phoneme (its sign in IPA) or of a word (None), at a sample."""

    sign: str | None
    position: int
    sample: int


_lock = threading.Lock()  # the library has one state for the whole process


def speak(text: str, voice: int = 0) -> Spoken:
    """Say a text.

    Args:
        text: see `pronounce.spell`.
        voice: seed of the speaker: one of twelve variants, pitch, liveliness and pace.

    Returns:
        The sound, peak 0.5, with `formant.LEAD` seconds of silence before and after. Words that
        the library says as one ("of the") share its time by their letters.

    Raises:
        ImportError: the library is not installed.
        ValueError: a text that `spell` refuses.
        RuntimeError: the library fails.
    """
    if voice < 0:
        raise ValueError(f"voice {voice}: a seed is 0 or more")
    tokens = spell(text)
    written, places = _written(tokens)
    with _lock:
        samples, marks, rate = _synthesise(written, voice)
    words, phonemes = _phonemes(marks, len(samples), round(_CLOSURE * rate))
    spoken = _times(tokens, places, words, phonemes)
    return _finish(samples, rate, phonemes, spoken)


def _written(tokens: Sequence[str]) -> tuple[str, list[int]]:
    """The text for the library, and where in it each word starts, counted from 1."""
    written = ""
    places = []
    for token in tokens:
        if token == PAUSE:
            written += ","
            continue
        written += " " if written else ""
        places.append(len(written) + 1)
        # The letter, as GRID has it; the library would say the article.
        written += "[[eI]]" if token == "a" else token
    return written, places


def _synthesise(text: str, voice: int) -> tuple[NDArray[np.int16], list[_Mark], int]:
    """Samples, marks and sample rate."""
    blocks: list[NDArray[np.int16]] = []
    marks: list[_Mark] = []

    def receive(wave: Any, count: int, events: Any) -> int:
        if count > 0:
            blocks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        for event in itertools.takewhile(lambda event: event.type != _END, events):
            if event.type == _WORD:
                marks.append(_Mark(None, event.position, event.sample))
            elif event.type == _PHONEME:
                marks.append(
                    _Mark(event.name.string.decode(errors="replace"), event.position, event.sample)
                )
        return 0

    rng = np.random.default_rng(voice)
    variant = _VARIANTS[int(rng.integers(len(_VARIANTS)))]
    settings = {
        _RATE: int(rng.integers(130, 176)),  # words a minute
        _PITCH: int(rng.integers(35, 66)),  # of 0 to 99
        _RANGE: int(rng.integers(35, 66)),
    }
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
    )
    with _library() as (library, data):
        flags = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), flags)
        if rate <= 0:
            raise RuntimeError(f"espeak-ng did not start (code {rate}); install it again: {EXTRA}")
        callback = prototype(receive)  # has to live as long as the library may call it
        library.espeak_SetSynthCallback(callback)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        code = library.espeak_SetVoiceByName(f"en+{variant}".encode())
        for parameter, value in settings.items():
            code = code or library.espeak_SetParameter(parameter, value, 0)
        content = text.encode() + b"\0"
        code = code or library.espeak_Synth(
            content, len(content), 0, _CHARACTER_POSITION, 0, _UTF8 | _PHONEME_INPUT, None, None
        )
        library.espeak_Terminate()
    if code or not blocks:
        raise RuntimeError(f"espeak-ng could not say {text[:40]!r} (code {code})")
    return np.concatenate(blocks), marks, rate


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, str]]:
    """Load the library, anew, and where its data lie."""
    try:
        loader = importlib.import_module("espeakng_loader")  # it has no types
    except ImportError as error:
        raise ImportError(f"engine 'espeak' needs espeak-ng: {EXTRA}") from error
    from _ctypes import dlclose  # ctypes itself can only load

    library = ctypes.CDLL(loader.get_library_path())
    try:
        yield library, loader.get_data_path()
    finally:
        dlclose(library._handle)


_Part = tuple[str, int, int]  # a phoneme and its first and last sample


def _phonemes(marks: Sequence[_Mark], end: int, closure: int) -> tuple[list[_Mark], list[_Part]]:
    """The marks of words, and the phonemes without gaps up to the end.

    A stop is marked at its burst. It gets the closure before it: from the start of its word, or
    else `closure` samples, at most half of the phoneme before.
    """
    words = []
    starts: list[tuple[str, int]] = []
    opens = None  # where a word began whose first phoneme has not come yet
    for mark in marks:
        sample = min(mark.sample, end)
        if mark.sign is None:
            words.append(mark)
            opens = sample
            continue
        sign = mark.sign.replace("ˈ", "").replace("ˌ", "")
        if opens is not None:
            sample = opens
        elif _IPA.get(sign) in _STOPS and starts and starts[-1][0]:
            sample -= min(closure, (sample - starts[-1][1]) // 2)
        starts.append((sign, sample))
        opens = None
    parts: list[_Part] = []
    for (sign, start), (_, stop) in itertools.pairwise([*starts, ("", end)]):
        if stop <= start:
            continue
        if sign and sign not in _IPA:
            raise RuntimeError(f"espeak-ng said {sign!r}, which is no phoneme of English here")
        sounds = _IPA[sign].split() if sign else [SILENCE]
        for place, sound in enumerate(sounds):
            first = start + (stop - start) * place // len(sounds)
            parts.append((sound, first, start + (stop - start) * (place + 1) // len(sounds)))
    return words, parts


def _times(
    tokens: Sequence[str], places: Sequence[int], marks: Sequence[_Mark], parts: Sequence[_Part]
) -> list[_Part]:
    """Words with their first and last sample."""
    names = [token for token in tokens if token != PAUSE]
    spoken = [part for part in parts if part[0] != SILENCE]
    # The words from each mark up to the next; the library may leave a word unmarked.
    first = [bisect.bisect_right(places, mark.position) - 1 for mark in marks]
    words = []
    for index, mark in enumerate(marks):
        last = index + 1 == len(marks)
        group = names[first[index] : len(names) if last else first[index + 1]]
        stop = spoken[-1][2] if last else marks[index + 1].sample
        ends = [part[2] for part in spoken if mark.sample <= part[1] < stop]
        if not group or not ends:
            continue
        letters = list(itertools.accumulate(map(len, group), initial=0))
        for place, name in enumerate(group):
            begin, end = (
                mark.sample + (max(ends) - mark.sample) * letters[place + side] // letters[-1]
                for side in (0, 1)
            )
            words.append((name, begin, end))
    return words


def _finish(
    samples: NDArray[np.int16], rate: int, parts: Sequence[_Part], words: Sequence[_Part]
) -> Spoken:
    """Resample, set the peak, and add the silence at both ends."""
    from scipy.signal import resample_poly

    sound = resample_poly(samples.astype(np.float64), SAMPLE_RATE, rate)
    lead = np.zeros(round(LEAD * SAMPLE_RATE))
    sound = np.concatenate([lead, sound * (_PEAK / max(1.0, np.abs(sound).max())), lead])
    length = len(sound) / SAMPLE_RATE
    edges = [Span(name, LEAD + start / rate, LEAD + end / rate) for name, start, end in parts]
    silent = [Span(SILENCE, 0.0, LEAD), *edges, Span(SILENCE, edges[-1].end, length)]
    merged: list[Span] = []
    for span in silent:
        if merged and span.text == merged[-1].text == SILENCE:
            merged[-1] = merged[-1]._replace(end=span.end)
        else:
            merged.append(span)
    return Spoken(
        sound.astype(np.float32),
        tuple(merged),
        tuple(Span(name, LEAD + start / rate, LEAD + end / rate) for name, start, end in words),
    )
