"""The Origin of a request, which servers of MCP must check (streamable HTTP, security)."""

from urllib.parse import urlsplit

from starlette.requests import Request

from pixyproxy.core.exceptions import OriginNotAllowedError
from pixyproxy.web.dependencies import base_url

DEFAULT_PORTS = {"http": 80, "https": 443}


def require_own_origin(request: Request) -> None:
    """`OriginNotAllowedError` for a request of a page that is not below our own base URL."""
    own = parse_origin(base_url(request))
    if any(parse_origin(value) != own for value in request.headers.getlist("origin")):
        raise OriginNotAllowedError


def parse_origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port (RFC 6454, section 4); None if the text is not a URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
