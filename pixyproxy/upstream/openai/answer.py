"""Reads an ImagesResponse: its pictures, what they cost, and how they were drawn."""

import json
from dataclasses import dataclass, replace
from typing import Any

from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES
from pixyproxy.core.images import Picture
from pixyproxy.core.model import MAX_PROMPT
from pixyproxy.upstream.openai.scanner import MAX_ANSWER_BYTES, JsonScanner

MAX_USAGE_BYTES = 8192
MAX_USAGE_LEVELS = 8
MAX_WORD = 64
"""Characters of a resolved parameter."""
RESOLVED = ("size", "quality", "background", "output_format")


@dataclass(frozen=True)
class Answer:
    """Pictures, and what the upstream said about them, in a form that a JSON column can hold."""

    pictures: tuple[Picture, ...]
    usage: dict[str, Any] | None
    answer: dict[str, Any] | None


class AnswerScanner:
    """Parses an ImagesResponse (OpenAI API reference, «Create image») in chunks of any size.

    `images`: how many were requested, which bounds its bytes.
    """

    def __init__(self, *, images: int = 1) -> None:
        self._scanner = JsonScanner(maximum=images * MAX_ANSWER_BYTES, images=images)

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; `UpstreamAnswerError` as soon as there are too many of them."""
        self._scanner.feed(chunk)

    def finish(self) -> Answer:
        """The pictures of `data` in their order; `UpstreamAnswerError` if there is none.

        Their number is the upstream's: every picture was paid for, whether fewer or more were requested. Elements
        without a picture are left out, and so are those after the first `MAX_IMAGES`.
        """
        try:
            return self._answer(self._scanner.document())
        except ValueError as error:
            raise UpstreamAnswerError("The upstream's answer is not an ImagesResponse with base64.") from error

    def arrived(self) -> Answer | None:
        """The complete pictures of an answer that broke off; None if there are none. Its usage is unknown."""
        try:
            return replace(self._answer(self._scanner.arrived()), usage=None)
        except ValueError:
            return None

    def _answer(self, document: dict[str, Any]) -> Answer:
        drawn = self._drawn(document.get("data"))[:MAX_IMAGES]
        return Answer(
            pictures=tuple(picture for picture, _ in drawn),
            usage=storable_usage(document.get("usage")),
            answer=answer_of(document, [revised for _, revised in drawn]) or None,
        )

    def _drawn(self, data: Any) -> list[tuple[Picture, Any]]:
        """Each picture of `data` and its `revised_prompt`; `ValueError` if there is none.

        A `url` is not read: fetching it would let the upstream choose our requests.
        """
        images = [each for each in data if isinstance(each, dict)] if isinstance(data, list) else []
        found = [(self._scanner.picture(image.get("b64_json")), image.get("revised_prompt")) for image in images]
        drawn = [(picture, revised) for picture, revised in found if picture is not None]
        if not drawn:
            raise ValueError("it holds no picture")
        return drawn


def answer_of(document: dict[str, Any], revised_prompts: list[Any]) -> dict[str, Any]:
    """`Generation.answer`: the resolved parameters that the document has, and the revised prompts if there are any.

    Invalid or overlong values are left out: they must not lose a picture that was paid for.
    """
    answer: dict[str, Any] = {
        name: document[name] for name in RESOLVED if is_word(document.get(name), longest=MAX_WORD)
    }
    revised = [storable_text(each) for each in revised_prompts]
    if any(each is not None for each in revised):
        answer["revised_prompt"] = revised
    return answer


def is_word(value: Any, *, longest: int) -> bool:
    """Whether the value is a short, printable ASCII text."""
    return isinstance(value, str) and 0 < len(value) <= longest and value.isascii() and value.isprintable()


def storable_text(value: Any) -> str | None:
    """The text, cut to the length of a prompt; None if it is not a text, or cannot be stored."""
    if not isinstance(value, str) or not value or "\x00" in value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return None
    return value[:MAX_PROMPT]


def storable_usage(usage: Any) -> dict[str, Any] | None:
    """The usage, or None if a JSON column cannot hold it: it must not lose a picture that was paid for."""
    if not isinstance(usage, dict) or not is_shallow(usage, levels=MAX_USAGE_LEVELS):
        return None
    try:
        text = json.dumps(usage, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # a NaN, or a lone surrogate
        return None
    return usage if len(text) <= MAX_USAGE_BYTES else None


def is_shallow(value: Any, *, levels: int) -> bool:
    """Whether the JSON value has at most so many levels; MariaDB refuses 32."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(is_shallow(each, levels=levels - 1) for each in inner)
