"""Bounds the size of a body and the time for its arrival."""

from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.types import Message, Receive

from pixyproxy.core import limits
from pixyproxy.core.exceptions import PayloadTooLargeError, PixyProxyException, RequestTimeoutError, ShuttingDownError
from pixyproxy.web.dependencies import Services, services_of


@dataclass(frozen=True)
class BodyLimit:
    """`size`: bytes that a body may have. It must come while the service is patient with a client.

    With a `rate` it has longer: no pause may be longer than that, and after `grace` seconds the average must reach so
    many bytes a second. A process that ends reads no more of it.
    """

    size: int = limits.MAX_BODY
    rate: int | None = None
    grace: float = limits.UPLOAD_GRACE


SMALL_BODY = BodyLimit()
"""A prompt of 32,000 emoji, escaped as JSON, has 384 KB."""
EDIT_BODY = BodyLimit(size=limits.MAX_EDIT_BODY, rate=limits.UPLOAD_RATE)


def with_body_limit(request: Request, limit: BodyLimit) -> Request:
    """The request, whose body is bounded.

    `PayloadTooLargeError` at once if it announces more, else when more comes; `RequestTimeoutError`.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit.size:
        raise too_large(limit)
    return Request(request.scope, _counting(request.receive, limit, services=services_of(request)))


def too_large(limit: BodyLimit) -> PayloadTooLargeError:
    """The exception for a body that is larger."""
    return PayloadTooLargeError(f"The body may have {limit.size} bytes.")


def _counting(receive: Receive, limit: BodyLimit, *, services: Services) -> Receive:
    received, began, patience = 0, anyio.current_time(), services.client_patience
    whole = False

    def deadline() -> tuple[float, PixyProxyException]:
        if limit.rate is None:
            return began + patience, RequestTimeoutError(f"The body did not arrive within {patience:g} seconds.")
        stalled = anyio.current_time() + patience
        slow = began + limit.grace + received / limit.rate
        if stalled < slow:
            return stalled, RequestTimeoutError(f"Nothing of the body arrived for {patience:g} seconds.")
        return slow, RequestTimeoutError(f"The body arrived at less than {limit.rate} bytes a second.")

    async def counted() -> Message:
        nonlocal received, whole
        if whole:  # from here on it waits for the client to leave
            return await receive()
        if limit.rate is not None and services.readiness.ending.is_set():
            raise ShuttingDownError
        end, late = deadline()
        with anyio.move_on_after(end - anyio.current_time()) as waiting:
            message = await receive()
        if waiting.cancelled_caught:
            raise late
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > limit.size:
            raise too_large(limit)
        return message

    return counted
