"""Authenticates private requests, before anything of the body is read or parsed."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from pixyproxy.core.exceptions import AuthenticationError
from pixyproxy.core.keys import Caller
from pixyproxy.web.auth.bearer import bearer_caller
from pixyproxy.web.auth.session_cookie import session_caller
from pixyproxy.web.log.request_log import record_of

SCHEME = HTTPBearer(auto_error=False, description="A PixyProxy API key: `Authorization: Bearer pxp_…`")

Scheme = Callable[[Request], Awaitable[Caller | None]]
"""The caller by one kind of credentials; None if the request has none of them. `AuthenticationError` for wrong ones."""

SCHEMES: tuple[Scheme, ...] = (bearer_caller, session_caller)
"""In this order: the first kind of credentials that a request has decides, whatever else it has."""
CREDENTIALS = (b"authorization", b"cookie")
"""The headers of our own dialect that may have credentials."""


async def authenticate(request: Request) -> Caller:
    """The caller. `AuthenticationError` is the same for every cause."""
    known: Caller | None = request.scope.get("pixyproxy.caller")
    if known is not None:
        return known
    for find_caller in SCHEMES:
        caller = await find_caller(request)
        if caller is not None:
            request.scope["pixyproxy.caller"] = caller
            record_of(request.scope).facts["caller"] = caller.name
            return caller
    raise AuthenticationError


async def optional_caller(request: Request) -> Caller | None:
    """The caller of a public GET or HEAD that shows more to callers; None without credentials, and with wrong ones.

    `DatabaseUnavailableError` if that cannot be found out: a caller must not silently get less.
    """
    if not any(name in CREDENTIALS for name, _ in request.scope["headers"]):
        return None
    try:
        return await authenticate(request)
    except AuthenticationError:
        return None


async def authenticated_caller(request: Request, _: Annotated[Any, Security(SCHEME)]) -> Caller:
    """The dependency of private routes; `SCHEME` puts it into OpenAPI."""
    return await authenticate(request)


Authenticated = Annotated[Caller, Security(authenticated_caller)]
