"""Cuts the base64 out of JSON as it arrives: the megabytes of a picture are never held, or parsed, as JSON."""

import json
import secrets
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from pixyproxy.core import limits
from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES
from pixyproxy.core.images import Picture
from pixyproxy.upstream.openai.json_strings import (
    LONGEST_MEMBER,
    is_key,
    trailing_backslashes,
    unescaped,
    without_begun_escape,
)
from pixyproxy.upstream.openai.pictures import ArrivingPicture

MAX_ANSWER_BYTES = limits.MAX_ANSWER
"""Of an answer, for each picture that was asked for: the base64 of the largest one that we keep, and its JSON."""
MAX_SKELETON_BYTES = 1024 * 1024
"""Of JSON without its base64."""
MAX_BROKEN_BYTES = 64 * 1024
"""Of a string that is no base64, which is judged as JSON while other pictures may come."""
SPACE = b" \t\r\n"
NO_BASE64 = f"The upstream sent over {MAX_BROKEN_BYTES} bytes that are no base64 where a picture belongs."


class JsonScanner:
    """Takes one JSON document, in chunks of any size. `maximum`: its bytes; `images`: how many were asked for.

    Every string that is the value of a `b64_json` is decoded. All the rest is the skeleton, in which a placeholder
    that nobody can guess stands for each of them. The skeleton is parsed at the end, and shows which of the strings
    are pictures: those in the wrong place, and those that a second `b64_json` replaces, are not. A string that turns
    out to be no base64 goes on as a part of the skeleton, so that it is judged as JSON first, and then as no picture.
    Of more than `MAX_IMAGES` strings the first ones are decoded.

    A picture that is too large, or far too much that is no base64, is left out: up to its quote nothing of it is held.
    If no image can come beside it, for so many were left out as were asked for, the document is refused at once.
    """

    def __init__(self, *, maximum: int = MAX_ANSWER_BYTES, images: int = 1) -> None:
        self._maximum = maximum
        self._images = images
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
        self._left_out = 0
        self._before = 0  # the size of the skeleton where a broken picture begins

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; `UpstreamAnswerError` as soon as they, or those of the last picture, are too many."""
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

    def arrived(self) -> dict[str, Any]:
        """Like `document`, of one that broke off: what came of it. The value of its last member may not be whole."""
        document = from_json(bytes(self._skeleton), allow_partial=True)
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
            self._break(text)
            return stop
        except UpstreamAnswerError as error:
            self._break(text, too_large=error)
            return stop
        self._keep(placeholder.encode() + b'"')
        self._scan = JsonScanner._scan_between
        return stop + 1

    def _break(self, text: bytes, *, too_large: UpstreamAnswerError | None = None) -> None:
        """The picture is none, as this part of its text shows."""
        self._picture = ArrivingPicture()
        self._before = len(self._skeleton)
        self._backslashes = trailing_backslashes(text)
        if too_large is not None:
            self._leave_out(too_large)
        elif self._images == 1:
            self._keep(text)
            self._scan = JsonScanner._scan_string
        elif len(text) > MAX_BROKEN_BYTES:
            self._leave_out(UpstreamAnswerError(NO_BASE64))
        else:
            self._keep(text)
            self._scan = JsonScanner._scan_broken

    def _scan_broken(self, chunk: bytes, start: int) -> int:
        """In a string that is no base64: as in one of the skeleton, while it is small."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        if len(self._skeleton) - self._before + stop - start > MAX_BROKEN_BYTES:
            self._leave_out(UpstreamAnswerError(NO_BASE64))
            return start
        return self._scan_string(chunk, start)

    def _leave_out(self, refusal: UpstreamAnswerError) -> None:
        """Forget a broken picture, and skip the rest of it; the refusal if no image can come beside it."""
        self._left_out += 1
        if self._left_out >= self._images:
            raise refusal
        del self._skeleton[self._before :]
        self._scan = JsonScanner._skip_string

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise UpstreamAnswerError(f"The upstream's answer is over {MAX_SKELETON_BYTES} bytes without its base64.")
