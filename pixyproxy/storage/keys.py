"""The shape of our object keys."""

import re

from pixyproxy.core.exceptions import StorageError

OBJECT_KEY = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(png|webp|jpg)")


def checked_object_key(key: str) -> str:
    """The key, if it has our shape: no other file or object is ever touched."""
    if not OBJECT_KEY.fullmatch(key):
        raise StorageError("An object key must be {guid}.{png|webp|jpg}.")
    return key
