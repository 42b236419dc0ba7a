"""Who makes a private request. A private router runs this before anything of the request is read or parsed."""

from typing import Annotated, Any

from fastapi import Security
from fastapi.security import HTTPBearer
from starlette.requests import Request

from pixyproxy.core.exceptions import AuthenticationError
from pixyproxy.core.keys import Caller
from pixyproxy.web.dependencies import services_of
from pixyproxy.web.log.request_log import record_of

SCHEME = HTTPBearer(auto_error=False, description="A PixyProxy API key: `Authorization: Bearer pxp_…`")


async def authenticate(request: Request) -> Caller:
    """The caller; `AuthenticationError`, the same for every cause."""
    known: Caller | None = request.scope.get("pixyproxy.caller")
    if known is not None:
        return known
    values = request.headers.getlist("authorization")
    if len(values) != 1:
        raise AuthenticationError
    scheme, _, key = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise AuthenticationError
    caller = await services_of(request).keys.authenticate(key.strip())
    request.scope["pixyproxy.caller"] = caller
    record_of(request.scope).facts["caller"] = caller.name
    return caller


async def authenticated_caller(request: Request, _: Annotated[Any, Security(SCHEME)]) -> Caller:
    """The dependency of private routes; `SCHEME` puts it into OpenAPI."""
    return await authenticate(request)


Authenticated = Annotated[Caller, Security(authenticated_caller)]
