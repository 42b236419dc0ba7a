"""Origins: which service, and which page, a URL belongs to."""

from urllib.parse import urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str | None, int | None]
"""Scheme, host and port (RFC 6454, section 4)."""


def parse_origin(url: str) -> Origin | None:
    """The origin of a URL, or in a header `Origin`; None if the text is not a URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
