"""Bounds the size of a body and the time for its arrival."""

import anyio
from starlette.requests import Request
from starlette.types import Message, Receive

from pixyproxy.core import limits
from pixyproxy.core.exceptions import PayloadTooLargeError, RequestTimeoutError
from pixyproxy.web.dependencies import services_of

MAX_BODY = limits.MAX_BODY
"""Bytes of a request's body; a prompt of 32,000 emoji, escaped as JSON, has 384 KB."""


def with_body_limit(request: Request) -> Request:
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
