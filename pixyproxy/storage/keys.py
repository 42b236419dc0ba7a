"""The shape of our object keys."""

import re

from pixyproxy.core.exceptions import StorageError
from pixyproxy.core.thumbnails import SIZES

OBJECT_KEY = re.compile(
    rf"[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}\.(png|webp|jpg|({'|'.join(map(str, SIZES))})\.webp)"
)
"""An image's object, or a thumbnail's."""


def checked_object_key(key: str) -> str:
    """The key, if it has our shape: no other file or object is ever touched."""
    if not OBJECT_KEY.fullmatch(key):
        raise StorageError("An object key must be {guid}.{png|webp|jpg}, or {guid}.{400|800}.webp.")
    return key
