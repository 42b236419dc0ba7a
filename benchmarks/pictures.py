"""PNG files of an exact size that nothing can compress, each seed another one."""

import random
import struct
import zlib

WIDTH = 256
OVERHEAD = 8 + 25 + 12 + 12 + 12
"""Bytes of the signature, of IHDR, and of the frames of IDAT, of the filling chunk and of IEND."""


def png(size_bytes: int, *, seed: int = 0) -> bytes:
    """A valid PNG of exactly so many bytes (2,000 or more), of random pixels that are stored uncompressed."""
    row = 1 + WIDTH * 3
    height = (size_bytes - OVERHEAD - 100) * 995 // 1000 // row
    noise = random.Random(seed)  # noqa: S311 -- noise, and the same in every run
    pixels = b"".join(b"\x00" + noise.randbytes(row - 1) for _ in range(height))
    data = zlib.compress(pixels, 0)
    head = struct.pack(">IIBBBBB", WIDTH, height, 8, 2, 0, 0, 0)
    filling = noise.randbytes(size_bytes - OVERHEAD - len(data))
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"fiLl", filling) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
