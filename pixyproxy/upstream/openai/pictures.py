"""Decodes and hashes base64 in parts."""

import hashlib

import pybase64

from pixyproxy.core.exceptions import UpstreamAnswerError
from pixyproxy.core.images import MAX_PICTURE_BYTES, Picture

BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class ArrivingPicture:
    """A picture that is arriving. Both methods raise `ValueError` for invalid base64."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes) -> None:
        """Decode the next characters; `UpstreamAnswerError` if the picture is too large."""
        if self._padded and text:
            raise ValueError("there are characters after the padding")
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        if self._rest.translate(None, BASE64):
            raise ValueError("this is not base64")
        part = pybase64.b64decode(text[:whole], validate=True)
        self._padded = text.endswith(b"=", 0, whole)
        self._size += len(part)
        if self._size > MAX_PICTURE_BYTES:
            raise UpstreamAnswerError(f"The upstream sent a picture of over {MAX_PICTURE_BYTES} bytes.")
        self._hash.update(part)
        self._parts.append(part)

    def finish(self) -> Picture:
        """The picture, whose base64 has ended."""
        if self._rest:
            raise ValueError("base64 breaks off")
        data = b"".join(self._parts)
        self._parts.clear()
        return Picture(data=data, sha256=self._hash.hexdigest())
