"""Authenticates private requests, before anything of the body is read or parsed."""

from typing import Annotated, Any

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from pixyproxy.core.exceptions import AuthenticationError
from pixyproxy.core.keys import Caller
from pixyproxy.web.dependencies import services_of
from pixyproxy.web.dialects import dialect_of
from pixyproxy.web.log.request_log import record_of

SCHEME = HTTPBearer(auto_error=False, description="A PixyProxy API key: `Authorization: Bearer pxp_…`")


async def authenticate(request: Request) -> Caller:
    """The caller. `AuthenticationError` is the same for every cause."""
    known: Caller | None = request.scope.get("pixyproxy.caller")
    if known is not None:
        return known
    caller = await services_of(request).keys.authenticate(key_of(request))
    request.scope["pixyproxy.caller"] = caller
    record_of(request.scope).facts["caller"] = caller.name
    return caller


async def optional_caller(request: Request) -> Caller | None:
    """The caller of a public request; None without credentials, and with wrong ones."""
    for name, _ in request.scope["headers"]:
        if name == b"authorization":
            break
    else:
        return None
    try:
        return await authenticate(request)
    except AuthenticationError:
        return None


def key_of(request: Request) -> str:
    """The API key of a request: from its only Authorization header, or else from the dialect's own header."""
    values = request.headers.getlist("authorization")
    own_header = dialect_of(request).key_header
    if not values and own_header is not None:
        values = [f"Bearer {key}" for key in request.headers.getlist(own_header)]
    if len(values) != 1:
        raise AuthenticationError
    scheme, _, key = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationError
    return key.strip()


async def authenticated_caller(request: Request, _: Annotated[Any, Security(SCHEME)]) -> Caller:
    """The dependency of private routes; `SCHEME` puts it into OpenAPI."""
    return await authenticate(request)


Authenticated = Annotated[Caller, Security(authenticated_caller)]
