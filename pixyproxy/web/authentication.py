"""Who makes a private request. A private router runs this before anything of the request is read or parsed."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive

from pixyproxy.core.exceptions import AuthenticationError, PayloadTooLargeError, RequestTimeoutError
from pixyproxy.core.models import Caller
from pixyproxy.web.request_log import record_of
from pixyproxy.web.services import services_of

MAX_BODY = 1024 * 1024
"""Bytes of a request's body; a prompt of 32,000 emoji, escaped as JSON, has 384 KB."""

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


def limited(request: Request) -> Request:
    """The request, whose body may have `MAX_BODY` bytes and must come while the service is patient.

    `PayloadTooLargeError` at once if it announces more, else when more comes; `RequestTimeoutError`.
    """
    too_large = PayloadTooLargeError(f"The body may have {MAX_BODY} bytes.")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > MAX_BODY:
        raise too_large
    return Request(request.scope, _counting(request.receive, too_large, patience=services_of(request).client_patience))


def _counting(receive: Receive, too_large: PayloadTooLargeError, *, patience: float) -> Receive:
    received, end = 0, anyio.current_time() + patience
    whole = False

    async def counted() -> Message:
        nonlocal received, whole
        if whole:  # from here on it waits for the client to leave
            return await receive()
        with anyio.move_on_after(end - anyio.current_time()) as waiting:
            message = await receive()
        if waiting.cancelled_caught:
            raise RequestTimeoutError(f"The body did not arrive within {patience:g} seconds.")
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > MAX_BODY:
            raise too_large
        return message

    return counted


class PrivateRoute(APIRoute):
    """A route that nobody reaches without a key: FastAPI reads and parses the body before its dependencies run."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler behind the key and the limit of the body."""
        handle = super().get_route_handler()

        async def handle_authenticated(request: Request) -> Response:
            await authenticate(request)
            inner = limited(request)
            response = await handle(inner)
            if await inner.is_disconnected():
                record_of(request.scope).facts["aborted"] = "yes"
            return response

        return handle_authenticated


def private_router() -> APIRouter:
    """A router whose routes are all private; the dependency stands here too, for OpenAPI and for readers."""
    return APIRouter(route_class=PrivateRoute, dependencies=[Security(authenticated_caller)])
