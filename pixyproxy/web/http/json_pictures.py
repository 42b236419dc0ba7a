"""JSON that contains pictures: `data:` URLs in base64 are extracted while the body arrives; the rest is parsed."""

import re
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import anyio.lowlevel
from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from pixyproxy.core import limits
from pixyproxy.core.exceptions import MalformedRequestError, PayloadTooLargeError

Take = Callable[[AsyncIterable[bytes]], Awaitable[str]]
"""Reads the characters of a `data:` URL; returns its replacement in the JSON."""
PICTURE = re.compile(rb'data:[^,"]{0,200};base64,', re.IGNORECASE)
LOOK = 256
"""More characters than `PICTURE` can match."""
SPECIAL = re.compile(rb'["\\]')
TURN = 500
"""Quotes and escapes that are read before other requests may run."""
MAX_STRINGS = 10_000
ESCAPE = 6
"""Characters of the longest escape."""

NO_JSON = "We could not parse the JSON body of your request."
BROKEN_OFF = "The body broke off."


class PictureCutter:
    """Reads a JSON text. The text without the pictures may have `limits.MAX_BODY` bytes."""

    def __init__(self, stream: AsyncGenerator[bytes, None], take: Take) -> None:
        self._stream = stream
        self._take = take
        self._data, self._at = b"", 0
        """The bytes that have arrived, and how many of them were read."""
        self._text = bytearray()

    async def read(self) -> bytes:
        """The text, with what `take` returned in the place of each picture."""
        in_string, strings, turns = False, 0, 0
        while self._at < len(self._data) or await self._read_on():
            turns += 1
            if turns % TURN == 0:
                await anyio.lowlevel.checkpoint()
            found = SPECIAL.search(self._data, self._at)
            if found is None:
                self._keep(len(self._data))
            elif found[0] == b"\\":
                self._keep(found.start())
                await self._look(2)
                self._keep(self._at + 2)
            else:
                self._keep(found.end())
                in_string = not in_string
                if in_string:
                    strings += 1
                    if strings > MAX_STRINGS:
                        raise PayloadTooLargeError(f"The body may have {MAX_STRINGS} strings.")
                    await self._look(LOOK)
                    if PICTURE.match(self._data, self._at):
                        async with aclosing(self._picture()) as picture:
                            self._text += (await self._take(picture)).encode()
        return bytes(self._text)

    async def _picture(self) -> AsyncGenerator[bytes, None]:
        """The characters up to the end of the string, without the escapes that some encoders make."""
        while True:
            end = self._data.find(b'"', self._at)
            piece = self._data[self._at : None if end < 0 else end]
            escape = piece.rfind(b"\\", max(len(piece) - ESCAPE, 0)) if end < 0 else -1
            if escape >= 0:  # it may be incomplete
                piece = piece[:escape]
            self._at += len(piece)
            if piece:
                yield unescape(piece)
            if end >= 0:
                return
            if not await self._read_on():
                raise MalformedRequestError(BROKEN_OFF)

    def _keep(self, end: int) -> None:
        self._text += self._data[self._at : end]
        self._at = min(end, len(self._data))
        if len(self._text) > limits.MAX_BODY:
            raise PayloadTooLargeError(f"The body may have {limits.MAX_BODY} bytes besides its pictures.")

    async def _look(self, size: int) -> None:
        """Read until so many bytes are ahead, or the body ends."""
        while len(self._data) - self._at < size and await self._read_on():
            pass

    async def _read_on(self) -> bool:
        try:
            chunk = await anext(self._stream, b"")
        except ClientDisconnect:
            raise MalformedRequestError(BROKEN_OFF) from None
        self._data, self._at = self._data[self._at :] + chunk, 0
        return bool(chunk)


def unescape(piece: bytes) -> bytes:
    """The characters of a piece of a JSON string."""
    if b"\\" not in piece:
        return piece
    try:
        text: str = from_json(b'"' + piece + b'"')
        return text.encode()
    except ValueError as error:
        raise MalformedRequestError(NO_JSON) from error


async def json_object(request: Request, take: Take) -> dict[str, Any]:
    """The members of the JSON object in the body. Its pictures went to `take`."""
    async with aclosing(request.stream()) as stream:
        text = await PictureCutter(stream, take).read()
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError:
        raise MalformedRequestError(NO_JSON) from None
    if not isinstance(values, dict):
        raise MalformedRequestError("The JSON body must be an object.")
    return values
