"""The words of a prompt, as the search knows them: the same on every database.

Case, accents and width make no difference. A run of letters and digits is a word. Scripts without spaces between words
(Han, kana, hangul, Thai, …) give each character, and each pair of neighbours. A symbol such as an emoji is a word, with
all that it is joined of.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

MAX_BYTES = 40
"""Of a word, in UTF-8. A longer one is known by its beginning."""
MAX_WORDS = 400
"""Distinct words of a prompt that are searched: the first ones."""
STOP_WORDS = frozenset(
    "a an and are as at be by for from in is it of on or that the this to with".split()  # noqa: SIM905 -- shorter
)
"""So common in English prompts that they distinguish none."""

UNSPACED = (
    r"\u0e00-\u0fff"  # Thai, Lao, Tibetan
    r"\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    r"\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    r"\u1780-\u17ff"  # Khmer
    r"\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai
    r"\ua980-\ua9df"  # Javanese
    r"\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3040-\u312f\u31a0-\u31ff\U0001aff0-\U0001b16f"  # kana, bopomofo
    r"\u2e80-\u2fdf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    r"\ua000-\ua4cf\U00016fe0-\U00018dff"  # Yi, Tangut, Khitan
)
PICTOGRAPH = r"[\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\U0001f000-\U0001faff]"
JOINED = rf"{PICTOGRAPH}[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*"
RUN = re.compile(
    rf"(?P<word>[^\W_{UNSPACED}]+)"
    rf"|(?P<unspaced>(?:(?=[{UNSPACED}])[^\W_])+)"
    rf"|(?P<symbol>[\U0001f1e6-\U0001f1ff]{{2}}|{JOINED}(?:\u200d{JOINED})*)"
)


@dataclass(frozen=True, slots=True)
class Run:
    """A part of a text that is one word, or, if it is `unspaced`, several that nothing separates."""

    text: str
    unspaced: bool


def normalized(text: str) -> str:
    """The text without the differences that a search does not know: case, accents, width."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKD", text).casefold()
    marks = [character for character in set(folded) if unicodedata.category(character)[0] == "M"]
    return unicodedata.normalize("NFC", folded.translate(str.maketrans("", "", "".join(marks))))


def runs(text: str) -> Iterator[Run]:
    """The runs of a text, in their order."""
    for found in RUN.finditer(normalized(text)):
        yield Run(found[0], unspaced=found.lastgroup == "unspaced")


def term(word: str) -> bytes:
    """A word as an index holds it: at most `MAX_BYTES` bytes of UTF-8."""
    encoded = word.encode()
    return encoded if len(encoded) <= MAX_BYTES else encoded[:MAX_BYTES].decode(errors="ignore").encode()


def pairs(unspaced: str) -> Iterator[str]:
    """Each two neighbours of an unspaced run."""
    return map("".join, pairwise(unspaced))


def prompt_terms(prompt: str) -> tuple[bytes, ...]:
    """The distinct words by which a prompt is found, in their order, at most `MAX_WORDS`."""
    found: dict[bytes, None] = {}
    for word in prompt_words(prompt):
        found[term(word)] = None
        if len(found) == MAX_WORDS:
            break
    return tuple(found)


def prompt_words(prompt: str) -> Iterator[str]:
    """All words by which a prompt is found."""
    for run in runs(prompt):
        if run.unspaced:
            for number, character in enumerate(run.text):
                yield character
                if number + 1 < len(run.text):
                    yield run.text[number : number + 2]
        elif run.text not in STOP_WORDS:
            yield run.text
