"""Cuts the base64 out of an ImagesResponse as it arrives: its megabytes are never held, or parsed, as JSON."""

import hashlib
import json
import secrets
from collections.abc import Callable
from typing import Any

import pybase64
from pydantic import BaseModel, Field, ValidationError

from pixyproxy.core import limits
from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.generations import MAX_IMAGES
from pixyproxy.core.images import MAX_PICTURE_BYTES, Picture

MAX_ANSWER_BYTES = limits.MAX_ANSWER
"""Over the base64 of the largest picture that we keep, and its JSON."""
MAX_SKELETON_BYTES = 1024 * 1024
"""Of an answer without its base64."""
MEMBER = b"b64_json"
LONGEST_MEMBER = 6 * len(MEMBER)
"""Bytes of the key when each of its letters is escaped."""
LONGEST_BEGUN_ESCAPE = 5
"""Bytes of an escape that lacks its last one, such as `\\u002`."""
SPACE = b" \t\r\n"
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class AnsweredImage(BaseModel):
    """One element of `data`; a `url` is not read, for fetching it would let the upstream choose our requests."""

    b64_json: str


class ImagesResponse(BaseModel):
    """What we read of an ImagesResponse (OpenAI API reference, «Create image»)."""

    data: list[AnsweredImage] = Field(min_length=1, max_length=MAX_IMAGES)
    usage: Any = None


class ArrivingPicture:
    """Base64 that is decoded and hashed in parts. Both methods raise `ValueError` for what is no strict base64."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes) -> None:
        """Take the next characters; `UpstreamAnswerError` if the picture is too large."""
        if self._padded and text:
            raise ValueError("base64 goes on behind its padding")
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        if self._rest.translate(None, BASE64):
            raise ValueError("this is no base64")
        part = pybase64.b64decode(text[:whole], validate=True)
        self._padded = text.endswith(b"=", 0, whole)
        self._size += len(part)
        if self._size > MAX_PICTURE_BYTES:
            raise UpstreamAnswerError(f"The upstream sent a picture of over {MAX_PICTURE_BYTES} bytes.")
        self._hash.update(part)
        self._parts.append(part)

    def finish(self) -> Picture:
        """The picture, whose base64 has come to its end."""
        if self._rest:
            raise ValueError("base64 breaks off")
        data = b"".join(self._parts)
        self._parts.clear()
        return Picture(data=data, sha256=self._hash.hexdigest())


class AnswerScanner:
    """Is fed with the body of an answer, in whatever chunks.

    Every string that is the value of a `b64_json` is decoded; all the rest is the skeleton, in which a placeholder
    that nobody can guess stands for each. The skeleton is parsed at the end, and says which of them are pictures:
    those elsewhere than in `data`, and those that a second `b64_json` replaces, are not. A string that turns out to
    be no base64 goes on as a part of the skeleton, so that it is judged as JSON first, and then as no picture.
    """

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)
        self._size = 0
        self._skeleton = bytearray()
        self._pictures: dict[str, Picture] = {}
        self._begun = 0
        # A method of the class: one that is bound would hold this scanner, and its pictures, until the next collection.
        self._scan: Callable[[AnswerScanner, bytes, int], int] = AnswerScanner._scan_between
        self._between = bytearray()
        self._string = bytearray()
        self._backslashes = 0
        self._picture = ArrivingPicture()
        self._escape = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; `UpstreamAnswerError` as soon as there are too many of them, or of pictures."""
        self._size += len(chunk)
        if self._size > MAX_ANSWER_BYTES:
            raise UpstreamAnswerError(f"The upstream's answer is over {MAX_ANSWER_BYTES} bytes.")
        position = 0
        while position < len(chunk):
            position = self._scan(self, chunk, position)

    def finish(self) -> tuple[tuple[Picture, ...], Any]:
        """The pictures of `data` in their order, and `usage`; `UpstreamAnswerError` if it was no ImagesResponse."""
        try:
            answer = ImagesResponse.model_validate_json(bytes(self._skeleton))
        except ValidationError as error:
            raise UpstreamAnswerError("The upstream's answer is not an ImagesResponse with base64.") from error
        try:
            return tuple(self._pictures[image.b64_json] for image in answer.data), answer.usage
        except KeyError:
            raise UpstreamAnswerError("The upstream's answer holds broken base64.") from None

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
                self._scan = AnswerScanner._scan_string
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
                self._scan = AnswerScanner._scan_between
        return stop + 1

    def _begin_picture(self) -> None:
        self._begun += 1
        if self._begun > MAX_IMAGES:
            raise UpstreamAnswerError(f"The upstream sent more than {MAX_IMAGES} pictures.")
        self._picture = ArrivingPicture()
        self._escape = b""
        self._scan = AnswerScanner._scan_picture

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
            self._scan = AnswerScanner._scan_string
            return stop
        self._keep(placeholder.encode() + b'"')
        self._scan = AnswerScanner._scan_between
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
