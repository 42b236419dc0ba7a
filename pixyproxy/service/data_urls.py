"""`data:` URLs (RFC 2397) in base64, decoded piece by piece."""

import binascii
import re
from collections.abc import AsyncGenerator

HEAD = re.compile(rb"data:[^,]{0,200};base64,", re.IGNORECASE)
PIECE = 256 * 1024
"""Characters that are decoded together."""


class Base64Decoder:
    """Decodes base64 (RFC 4648, section 4) as it arrives; `ValueError` for anything else. Padding may be missing."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The bytes that these characters complete."""
        data = self._rest + data
        whole = max(len(data) - 1, 0) // 4 * 4  # the last four, which may be padded, wait for the end
        self._rest = data[whole:]
        if data[:whole].endswith(b"="):
            raise ValueError("something stands behind the padding")
        return binascii.a2b_base64(data[:whole], strict_mode=True) if whole else b""

    def finish(self) -> bytes:
        """The last bytes."""
        rest, self._rest = self._rest, b""
        return binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True) if rest else b""


async def decoded(text: str) -> AsyncGenerator[bytes, None]:
    """The bytes of a `data:` URL; `ValueError` if it has none in base64."""
    data = text.encode("ascii", errors="strict")
    head = HEAD.match(data)
    if head is None:
        raise ValueError("no data: URL in base64")
    decoder = Base64Decoder()
    for start in range(head.end(), len(data), PIECE):
        yield decoder.feed(data[start : start + PIECE])
    yield decoder.finish()
