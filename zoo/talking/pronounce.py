"""Words to phonemes: a lexicon of the GRID words and common ones, and letter rules for the rest.

The pronunciations are those of southern British English, which most speakers of GRID have: no r
after a vowel, z is "zed". The letter rules are a short list of the commonest spellings; they are
right often enough to move a mouth, not to teach anyone English.
"""

import re
from functools import cache

MAX_CHARACTERS = 5000
"""Longer texts are refused: about seven minutes of speech."""

PAUSE = ","
"""Stands among the words of `spell` for a stop."""

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_LEXICON = """
bin B IH N|lay L EY|place P L EY S|set S EH T
blue B L UW|green G R IY N|red R EH D|white W AY T
at AE T|by B AY|in IH N|with W IH DH
a EY|b B IY|c S IY|d D IY|e IY|f EH F|g JH IY|h EY CH|i AY|j JH EY|k K EY|l EH L|m EH M
n EH N|o OW|p P IY|q K Y UW|r AA|s EH S|t T IY|u Y UW|v V IY|w D AH B AX L Y UW|x EH K S
y W AY|z Z EH D
zero Z IH R OW|one W AH N|two T UW|three TH R IY|four F AO|five F AY V|six S IH K S
seven S EH V AX N|eight EY T|nine N AY N
again AX G EH N|now N AW|please P L IY Z|soon S UW N
the DH AX|of AX V|to T UW|and AE N D|is IH Z|was W AO Z|as AE Z|his HH IH Z|has HH AE Z
you Y UW|your Y AO|are AA|were W ER|there DH EH|their DH EH|they DH EY|this DH IH S
that DH AE T|then DH EH N|than DH AE N|these DH IY Z|those DH OW Z|them DH EH M|what W AO T
who HH UW|her HH ER|here HH IH|hello HH EH L OW|he HH IY|she SH IY|we W IY|me M IY|be B IY
have HH AE V|do D UW|does D AH Z|done D AH N|said S EH D|says S EH Z|some S AH M|come K AH M
go G OW|no N OW|so S OW|get G EH T|give G IH V|put P UH T|don't D OW N T|could K UH D|would W UH D
should SH UH D|people P IY P AX L|water W AO T AX|mother M AH DH AX|other AH DH AX
""".strip()

# Tried in order at each place of a word; ^ and $ are its ends. The first that matches is said.
_RULES = """
(?<=[^aeiou])le$ AX L|(?<=[aeiouy][^aeiouy])e$|(?<=[aeiouy][^aeiouy]{2})e$|(?<=[aeiou])e$
a(?=tion) EY|o(?=tion) OW|tion SH AX N|sion ZH AX N
ture CH AX|ous$ AX S|age$ IH JH|(?<=[td])ed$ IH D|(?<=[pksfxh])ed$ T
(?<=[^e])ed$ D|(?<=[sxzh])es$ IH Z|(?<=[ptkf])s$ S|(?<=[bdgmnlrvwyaeiou])s$ Z
igh AY|eigh EY|ough AO|augh AO|tch CH|dge JH|sch S K|ch CH|sh SH|ph F|wh W|ck K|qu K W
^kn N|^wr R|^gn N|^ps S|mb$ M|ng(?=[aou]) NG G|ng NG|nk NG K|gh|th(?=er) DH|th TH
a(?=[bcdgklmnpstvz]e) EY|e(?=[dgklmnptvz]e$) IY|i(?=[bcdgklmnpstvz]e) AY
o(?=[bcdgklmnpstvz]e) OW|u(?=[bcdgklmnpstvz]e) UW|y(?=[lmnpt]e$) AY
air EH|are$ EH|ear IH|eer IH|oor AO|our AO|ore AO|ire AY AX|ure Y UH
ee IY|ea IY|ei IY|ie$ AY|ie IY|eu Y UW|ew Y UW|ey$ IY|ey EY|ai EY|ay EY|au AO|aw AO
oa OW|oe OW|oi OY|oy OY|oo UW|ou AW|ow$ OW|ow AW|ue$ UW|ui UW
ar(?![aeiouy]) AA|or(?![aeiouy]) AO|er$ AX|or$ AX|(?:er|ir|ur)(?![aeiouy]) ER
al(?=[lk]) AO|a$ AX|a AE|e$ IY|e EH|i$ IY|i IH|o$ OW|old$ OW L D|o AO
(?<=p)u UH|u AH|^y(?=[aeiou]) Y|(?<=^[^aeiouy])y$ AY|(?<=^[^aeiouy]{2})y$ AY|y$ IY|y IH
bb B|cc K|dd D|ff F|gg G|kk K|ll L|mm M|nn N|pp P|rr R|ss S|tt T|zz Z
c(?=[eiy]) S|g(?=e$) JH|g(?=[ey]) JH|(?<=[aeiou])s(?=[aeiou]) Z|x K S|r$
b B|c K|d D|f F|g G|h HH|j JH|k K|l L|m M|n N|p P|q K|r R|s S|t T|v V|w W|z Z
'
""".strip()


def spell(text: str) -> tuple[str, ...]:
    """The words to say, and where to pause.

    Args:
        text: words of English letters; digits are said one by one; stops of sentences and
            clauses pause; other signs are left out.

    Returns:
        Words in lower case, and `PAUSE` between them where the text stops.

    Raises:
        ValueError: nothing to say, or more than `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"text of {len(text)} characters; say at most {MAX_CHARACTERS} at a time")
    words: list[str] = []
    for token in re.findall(r"[a-z]+(?:'[a-z]+)*|[0-9]|[.,;:!?]", text.lower().replace("’", "'")):
        if token in ".,;:!?":
            if words and words[-1] != PAUSE:
                words.append(PAUSE)
        else:
            words.append(_DIGITS[int(token)] if token.isdigit() else token)
    if words and words[-1] == PAUSE:
        words.pop()
    if not words:
        raise ValueError(f"text {text[:40]!r} has no words in English letters; give some to say")
    return tuple(words)


def pronounce(word: str) -> tuple[str, ...]:
    """The phonemes of a word.

    Args:
        word: one of `spell`, not `PAUSE`.

    Returns:
        Phonemes of `spoken.PHONEMES`, at least one. A word without a vowel, as "mm" or "tv", is
        spelt if the rules find none to say.
    """
    lexicon = _lexicon()
    if word in lexicon:
        return lexicon[word]
    sounds: list[str] = []
    place = 0
    while place < len(word):
        for pattern, phonemes in _rules():
            if match := pattern.match(word, place):
                sounds += phonemes
                place = match.end()
                break
        else:
            raise AssertionError(f"no rule for {word[place]!r}")
    if re.search(r"[aeiouy]", word) is None:
        return tuple(sound for letter in word if letter != "'" for sound in lexicon[letter])
    return tuple(sounds)


@cache
def _lexicon() -> dict[str, tuple[str, ...]]:
    entries = (entry.split() for entry in re.split(r"[|\n]", _LEXICON))
    return {word: tuple(phonemes) for word, *phonemes in entries}


@cache
def _rules() -> tuple[tuple[re.Pattern[str], tuple[str, ...]], ...]:
    entries = (entry.split() for entry in re.split(r"\|(?![^()]*\))|\n", _RULES))
    return tuple((re.compile(pattern), tuple(phonemes)) for pattern, *phonemes in entries)
