"""Thumbnails: small copies of an image, made at first request and kept as objects beside it."""

import re
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

Size = Literal[400, 800]
SIZES: tuple[Size, ...] = (400, 800)
"""Pixels of the longest side. No other size exists: an open one would let anybody fill the storage."""
CONTENT_TYPE = "image/webp"
RECIPE = 1
"""Part of the entity tag: raise it with each change of the bytes that a thumbnail is made of."""
THUMBNAIL_KEY = re.compile(rf"[0-9a-f-]{{36}}\.({'|'.join(map(str, SIZES))})\.webp")


def thumbnail_key(guid: UUID, size: Size) -> str:
    """The key of a thumbnail's object: it sorts directly before the image's own."""
    return f"{guid}.{size}.webp"


def thumbnail_keys(guid: UUID) -> tuple[str, ...]:
    """The keys of all thumbnails that an image may have."""
    return tuple(thumbnail_key(guid, size) for size in SIZES)


def is_thumbnail_key(key: str) -> bool:
    """Whether an object with this key is a thumbnail: it belongs to no generation, and may be removed at any time."""
    return THUMBNAIL_KEY.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class SmallPicture:
    """What a worker made of a picture: a WebP, and the thumbhash of its colours."""

    webp: bytes = field(repr=False)
    thumbhash: bytes
