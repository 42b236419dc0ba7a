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
    unescape,
    without_begun_escape,
)
from pixyproxy.upstream.openai.pictures import ArrivingPicture

MAX_ANSWER_BYTES = limits.MAX_ANSWER
"""Bytes of an answer for each requested picture: the base64 of the largest one that we keep, and JSON."""
MAX_SKELETON_BYTES = 1024 * 1024
"""Bytes of JSON without its base64."""
MAX_BROKEN_BYTES = 64 * 1024
"""Bytes of a string that is not base64 and is parsed as JSON, while other pictures may follow."""
SPACE = b" \t\r\n"
NO_BASE64 = f"The upstream sent over {MAX_BROKEN_BYTES} bytes that are not base64 where a picture belongs."


class JsonScanner:
    """Parses one JSON document, in chunks of any size. `maximum`: its bytes; `images`: how many were requested.

    Every string that is the value of a `b64_json` is decoded. The rest is the skeleton, with an unguessable placeholder
    in place of each string. The skeleton is parsed at the end, and shows which strings are pictures. Strings in the
    wrong place are not, nor are those that a second `b64_json` replaces. A string that turns out not to be base64
    becomes a part of the skeleton: it is first checked as JSON, and then is not a picture. Only the first `MAX_IMAGES`
    strings are decoded.

    A picture that is too large is left out, and so is a long string that is not base64: they are skipped to the closing
    quote and not kept. Once as many were left out as were requested, no picture can follow: the document is refused at
    once.
    """

    def __init__(self, *, maximum: int = MAX_ANSWER_BYTES, images: int = 1) -> None:
        self._maximum = maximum
        self._images = images
        self._secret = secrets.token_hex(16)
        self._size = 0
        self._skeleton = bytearray()
        self._pictures: dict[str, Picture] = {}
        self._begun = 0
        # A method of the class: a bound method would keep this scanner and its pictures until the next collection.
        self._scan: Callable[[JsonScanner, bytes, int], int] = JsonScanner._scan_between
        self._between = bytearray()
        self._string = bytearray()
        self._backslashes = 0
        self._picture = ArrivingPicture()
        self._escape = b""
        self._left_out = 0
        self._before = 0  # the size of the skeleton where a broken picture begins

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes; `UpstreamAnswerError` as soon as the document or a picture is too large."""
        self._size += len(chunk)
        if self._size > self._maximum:
            raise UpstreamAnswerError(f"The upstream's answer is over {self._maximum} bytes.")
        position = 0
        while position < len(chunk):
            position = self._scan(self, chunk, position)

    def document(self) -> dict[str, Any]:
        """The document, with a placeholder in place of each picture; `ValueError` if it is not a JSON object.

        A lone surrogate is accepted: half a character must not lose a picture that was paid for.
        """
        try:
            document = json.loads(self._skeleton.decode())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        return document

    def arrived(self) -> dict[str, Any]:
        """Like `document`, for one that broke off: the part that arrived. Its last value may be incomplete."""
        document = from_json(bytes(self._skeleton), allow_partial=True)
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        return document

    def has(self, text: bytes) -> bool:
        """Whether the text has arrived, outside of the pictures."""
        return text in self._skeleton

    @property
    def has_begun_a_picture(self) -> bool:
        """Whether a string of base64 has begun."""
        return self._begun > 0

    def picture(self, placeholder: Any) -> Picture | None:
        """The picture with this placeholder in the skeleton; None if there is none."""
        return self._pictures.get(placeholder) if isinstance(placeholder, str) else None

    def _scan_between(self, chunk: bytes, start: int) -> int:
        """Scan between strings, up to and including the quote that begins the next one."""
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
        """Scan a string of the skeleton, up to and including the next quote, which ends it unless it is escaped."""
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
        """Scan a string that is left out of the skeleton, up to and including the next quote."""
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
        """Scan a string of base64, up to and including the quote that ends it."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        text = self._escape + chunk[start:stop]
        try:
            whole = len(text) if quote >= 0 else without_begun_escape(text)
            self._escape = text[whole:]
            self._picture.feed(unescape(text[:whole]))
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
        """This text shows that the string is not a picture that can be kept."""
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
        """Scan a string that is not base64 like one of the skeleton, while it is small."""
        quote = chunk.find(b'"', start)
        stop = len(chunk) if quote < 0 else quote
        if len(self._skeleton) - self._before + stop - start > MAX_BROKEN_BYTES:
            self._leave_out(UpstreamAnswerError(NO_BASE64))
            return start
        return self._scan_string(chunk, start)

    def _leave_out(self, refusal: UpstreamAnswerError) -> None:
        """Forget a broken picture, and skip the rest of it. Raises the refusal if no other picture can follow."""
        self._left_out += 1
        if self._left_out >= self._images:
            raise refusal
        del self._skeleton[self._before :]
        self._scan = JsonScanner._skip_string

    def _keep(self, text: bytes) -> None:
        self._skeleton += text
        if len(self._skeleton) > MAX_SKELETON_BYTES:
            raise UpstreamAnswerError(f"The upstream's answer is over {MAX_SKELETON_BYTES} bytes without its base64.")
