"""Recognizes URLs of the bytes of a picture. The wrappers around all requests treat them differently."""

import re

from pixyproxy.core.images import SUFFIXES

EXTENSIONS = tuple(SUFFIXES.values())
CONTENT = re.compile(rf"/image/[^/]+(/content|/thumbnail|\.({'|'.join(EXTENSIONS)}))")


def is_content(path: str) -> bool:
    """Whether the path is that of a picture.

    `/image/{guid}/content`, `/image/{guid}/thumbnail`, or `/image/{guid}.png`, `.webp` or `.jpg`.
    """
    return CONTENT.fullmatch(path) is not None
