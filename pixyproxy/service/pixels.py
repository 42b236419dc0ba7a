"""The size of a picture in pixels, read from its header: nothing is decoded."""

from typing import BinaryIO

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from pixyproxy.core.content_types import ContentType

BOMBS = (Pillow.DecompressionBombWarning, Pillow.DecompressionBombError)
"""Exceptions for far too many pixels."""
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError)
"""Exceptions for an unreadable header."""


def pixels_of(file: BinaryIO, content_type: ContentType) -> tuple[int, int]:
    """Width and height of the picture in a file; one of `UNREADABLE` or `BOMBS`."""
    if content_type == "image/webp":  # Pillow would read the whole file and make a canvas
        return webp_pixels(file.read(30))
    with Pillow.open(file, formats=[content_type.removeprefix("image/")]) as opened:
        return opened.size


def webp_pixels(head: bytes) -> tuple[int, int]:
    """Width and height by the first chunk of a WebP (RFC 9649, sections 2.5 to 2.7); `ValueError` if it has none."""
    chunk = head[12:16]
    if len(head) == 30 and chunk == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if len(head) >= 25 and chunk == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if len(head) == 30 and chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    raise ValueError("no WebP")
