"""What a search asks for, and what it is asked about."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from pixyproxy.core.words import STOP_WORDS, Run, pairs, runs, term

MAX_PREFIXES = 5
"""Prefixes of a search; the `*` of further words means nothing."""
QUOTED = re.compile(r'["“”„]([^"“”„]*)["“”„]')


@dataclass(frozen=True, slots=True)
class SearchedImage:
    """What the search knows of an image."""

    guid: UUID
    prompt: str
    created_at: datetime


@dataclass(frozen=True)
class Search:
    """Prompts that have all of these words, for each of the prefixes a word that begins with it, and all phrases.

    Words and prefixes are as `words.term` gives them. A phrase is contained as it is written, but for upper and lower
    case. A search for nothing finds every image.
    """

    words: tuple[bytes, ...] = ()
    prefixes: tuple[bytes, ...] = ()
    phrases: tuple[str, ...] = ()

    @classmethod
    def parse(cls, q: str | None) -> Self:
        """The search that a person wrote: words, `word*`, `"a phrase"`. Every text is one.

        What is neither letter, digit nor symbol separates words. A quotation mark that is not closed means nothing, and
        neither does a `*` that does not end a word of a script with spaces.
        """
        words: dict[bytes, None] = {}
        prefixes: dict[bytes, None] = {}
        phrases = {phrase: None for phrase in QUOTED.findall(q or "") if phrase.strip()}
        for phrase in phrases:
            words |= dict.fromkeys(asked_words(runs(phrase)))
        for piece in QUOTED.sub(" ", q or "").split():
            found = list(runs(piece))
            if piece.endswith("*") and found and not found[-1].unspaced and len(prefixes) < MAX_PREFIXES:
                prefixes[term(found.pop().text)] = None
            words |= dict.fromkeys(asked_words(found))
        return cls(tuple(words), tuple(prefixes), tuple(phrases))

    def __bool__(self) -> bool:
        """Whether it asks for anything."""
        return bool(self.words or self.prefixes or self.phrases)


def asked_words(written: Iterable[Run]) -> list[bytes]:
    """The words that a prompt with these runs has. Of several characters without spaces between them: the pairs."""
    found: list[str] = []
    for run in written:
        if run.unspaced and len(run.text) > 1:
            found += pairs(run.text)
        elif run.unspaced or run.text not in STOP_WORDS:
            found.append(run.text)
    return [term(word) for word in found]
