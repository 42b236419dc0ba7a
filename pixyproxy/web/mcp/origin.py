"""The Origin of a request, which servers of MCP must check (streamable HTTP, security)."""

from starlette.requests import Request

from pixyproxy.core.exceptions import OriginNotAllowedError
from pixyproxy.web.dependencies import base_url
from pixyproxy.web.http.origins import parse_origin


def require_own_origin(request: Request) -> None:
    """`OriginNotAllowedError` for a request of a page that is not below our own base URL."""
    own = parse_origin(base_url(request))
    if any(parse_origin(value) != own for value in request.headers.getlist("origin")):
        raise OriginNotAllowedError
