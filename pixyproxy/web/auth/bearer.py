"""Callers with an API key in a header."""

from starlette.requests import Request

from pixyproxy.core.exceptions import AuthenticationError
from pixyproxy.core.keys import Caller
from pixyproxy.web.dependencies import services_of
from pixyproxy.web.dialects import dialect_of


async def bearer_caller(request: Request) -> Caller | None:
    """The caller whose key is in the request's only Authorization header, or else in the dialect's own header.

    None without such a header.
    """
    values = request.headers.getlist("authorization")
    own_header = dialect_of(request).key_header
    if not values and own_header is not None:
        values = [f"Bearer {key}" for key in request.headers.getlist(own_header)]
    if not values:
        return None
    return await services_of(request).keys.authenticate(key_in(values))


def key_in(values: list[str]) -> str:
    """The API key in the values of Authorization, of which there must be one."""
    if len(values) != 1:
        raise AuthenticationError
    scheme, _, key = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationError
    return key.strip()
