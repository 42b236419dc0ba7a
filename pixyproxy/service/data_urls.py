"""`data:` URLs (RFC 2397) in base64, decoded as they arrive."""

import re
from collections.abc import AsyncGenerator, AsyncIterable

import pybase64

HEAD = re.compile(rb"data:[^,]{0,200};base64,", re.IGNORECASE)
LONGEST_HEAD = 256
PIECE = 64 * 1024


class Base64Decoder:
    """Decodes base64 (RFC 4648, section 4) as it arrives; `ValueError` for anything else. Padding may be missing."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes that are complete with these characters."""
        data = self._rest + data
        whole = max(len(data) - 1, 0) // 4 * 4  # the last four may be padded: they wait for the end
        self._rest = data[whole:]
        if data[:whole].endswith(b"="):
            raise ValueError("there are characters after the padding")
        return pybase64.b64decode(data[:whole], validate=True) if whole else b""

    def finish(self) -> bytes:
        """The last bytes."""
        rest, self._rest = self._rest, b""
        return pybase64.b64decode(rest + b"=" * (-len(rest) % 4), validate=True) if rest else b""


async def decode(characters: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The bytes of a `data:` URL; `ValueError` if it has none in base64."""
    decoder, head, begun = Base64Decoder(), b"", False
    async for piece in characters:
        if not begun:
            head += piece
            found = HEAD.match(head)
            if found is None and len(head) < LONGEST_HEAD:
                continue
            if found is None:
                break
            begun, piece = True, head[found.end() :]
        yield decoder.feed(piece)
    if not begun:
        raise ValueError("no data: URL in base64")
    yield decoder.finish()


async def pieces_of(text: str) -> AsyncGenerator[bytes, None]:
    """The characters of a text, piece by piece; `ValueError` if they are not ASCII."""
    for start in range(0, len(text), PIECE):
        yield text[start : start + PIECE].encode("ascii")
