"""Cuts the base64 out of JSON as it arrives: the megabytes of a picture are never held, or parsed, as JSON."""

import json
import secrets
from collections.abc import Callable
from typing import Any

from pixyproxy.core import limits
from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES
from pixyproxy.core.images import Picture
from pixyproxy.upstream.openai.pictures import ArrivingPicture

MAX_ANSWER_BYTES = limits.MAX_ANSWER
"""Of an answer, for each picture that was asked for: the base64 of the largest one that we keep, and its JSON."""
MAX_SKELETON_BYTES = 1024 * 1024
"""Of JSON without its base64."""
MEMBER = b"b64_json"
LONGEST_MEMBER = 6 * len(MEMBER)
"""Bytes of the key when each of its letters is escaped."""
LONGEST_BEGUN_ESCAPE = 5
"""Bytes of an escape that lacks its last one, such as `\\u002`."""
SPACE = b" \t\r\n"


class JsonScanner:
    """Takes one JSON document, in chunks of any size. `maximum`: its bytes.

    Every string that is the value of a `b64_json` is decoded. All the rest is the skeleton, in which a placeholder
    that nobody can guess stands for each of them. The skeleton is parsed at the end, and shows which of the strings
    are pictures: those in the wrong place, and those that a second `b64_json` replaces, are not. A string that turns
    out to be no base64 goes on as a part of the skeleton, so that it is judged as JSON first, and then as no picture.
    Of more than `MAX_IMAGES` strings the first ones are decoded.
    """

    def __init__(self, *, maximum: int = MAX_ANSWER_BYTES) -> None:
        self._maximum = maximum
        self._secret = secrets.token_hex(16)
        self._size = 0
        self._skeleton = bytearray()
        self._pictures: dict[str, Picture] = {}
        self._begun = 0
        # A method of the class: one that is bound would hold this scanner, and its pictures, until the next collection.
        self._scan: Callable[[JsonScanner, bytes, int], int] = JsonScanner._scan_between
        self._between = bytearray()
        self._string = bytearray()
        self._backslashes = 0
        self._picture = ArrivingPicture()
        self._escape = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; `UpstreamAnswerError` as soon as they, or those of a picture, are too many."""
        self._size += len(chunk)
        if self._size > self._maximum:
            raise UpstreamAnswerError(f"The upstream's answer is over {self._maximum} bytes.")
        position = 0
        while position < len(chunk):
            position = self._scan(self, chunk, position)

    def document(self) -> dict[str, Any]:
        """The document, a placeholder in the place of each picture; `ValueError` if it is no JSON object.

        A lone surrogate is none of its faults: no picture that was paid for is lost for half a character.
        """
        try:
            document = json.loads(self._skeleton.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        return document

    def has(self, text: bytes) -> bool:
        """Whether the text stands in what has come, outside of the pictures."""
        return text in self._skeleton

    @property
    def has_begun_a_picture(self) -> bool:
        """Whether a string of base64 has begun."""
        return self._begun > 0

    def picture(self, placeholder: Any) -> Picture | None:
        """The picture whose place in the skeleton has this value; None if it is no picture."""
        return self._pictures.get(placeholder) if isinstance(placeholder, str) else None

    def _scan_between(self, chunk: bytes, start: int) -> int:
        """Between strings, up to and with the quote that begins the next."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        self._between += chunk[start:stop]
        self._keep(chunk[start : stop + 1])
        if quote >= 0:
            is_picture = self._between.strip(SPACE) == b":" and is_key(self._string)
            self._between.clear()
            self._string.clear()
            if is_picture:
                self._begin_picture()
            else:
                self._backslashes = 0
                self._scan = JsonScanner._scan_string
        return stop + 1

    def _scan_string(self, chunk: bytes, start: int) -> int:
        """In a string of the skeleton, up to and with the next quote, which is its end unless it is escaped."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        text = chunk[start:stop]
        self._keep(chunk[start : stop + 1])
        backslashes = trailing_backslashes(text)
        self._backslashes = backslashes + (self._backslashes if backslashes == len(text) else 0)
        if len(self._string) <= LONGEST_MEMBER:
            self._string += text
        if quote >= 0:
            if self._backslashes % 2:
                self._string += b'"'
                self._backslashes = 0
            else:
                self._scan = JsonScanner._scan_between
        return stop + 1

    def _begin_picture(self) -> None:
        self._begun += 1
        if self._begun > MAX_IMAGES:
            self._backslashes = 0
            self._scan = JsonScanner._skip_string
            return
        self._picture = ArrivingPicture()
        self._escape = b""
        self._scan = JsonScanner._scan_picture

    def _skip_string(self, chunk: bytes, start: int) -> int:
        """In a string that is left out of the skeleton, up to and with the next quote."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        text = chunk[start:stop]
        backslashes = trailing_backslashes(text)
        self._backslashes = backslashes + (self._backslashes if backslashes == len(text) else 0)
        if quote >= 0:
            if self._backslashes % 2 == 0:
                self._keep(b'"')
                self._scan = JsonScanner._scan_between
            self._backslashes = 0
        return stop + 1

    def _scan_picture(self, chunk: bytes, start: int) -> int:
        """In a string of base64, up to and with the quote that ends it."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        text = self._escape + chunk[start:stop]
        try:
            whole = len(text) if quote >= 0 else without_begun_escape(text)
            self._escape = text[whole:]
            self._picture.feed(unescaped(text[:whole]))
            if quote < 0:
                return stop
            placeholder = f"{self._secret}:{self._begun}"
            self._pictures[placeholder] = self._picture.finish()
        except ValueError:
            self._keep(text)
            self._backslashes = trailing_backslashes(text)
            self._scan = JsonScanner._scan_string
            return stop
        self._keep(placeholder.encode() + b'"')
        self._scan = JsonScanner._scan_between
        return stop + 1

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise UpstreamAnswerError(f"The upstream's answer is over {MAX_SKELETON_BYTES} bytes without its base64.")


def is_key(string: bytearray) -> bool:
    """Whether the inside of a JSON string, or its beginning, means the key of a picture."""
    if b"\\" not in string or len(string) > LONGEST_MEMBER:
        return string == MEMBER
    try:
        return unescaped(bytes(string)) == MEMBER
    except ValueError:
        return False


def unescaped(text: bytes) -> bytes:
    """What the inside of a JSON string means (RFC 8259, section 7); `ValueError` for a wrong escape."""
    if b"\\" not in text:
        return text
    meaning: str = json.loads(f'"{text.decode()}"')
    return meaning.encode()


def trailing_backslashes(text: bytes) -> int:
    """How many backslashes the text ends with."""
    return len(text) - len(text.rstrip(b"\\"))


def without_begun_escape(text: bytes) -> int:
    """The length of the inside of a JSON string without an escape that its end cuts off."""
    backslash = text.rfind(b"\\", max(len(text) - LONGEST_BEGUN_ESCAPE, 0))
    return len(text) if backslash < 0 or text[backslash + 1 : backslash + 2] not in (b"", b"u") else backslash
