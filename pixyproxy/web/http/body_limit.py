"""Bounds the size of a body and the time for its arrival."""

from contextlib import suppress
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.types import Message, Receive

from pixyproxy.core import limits
from pixyproxy.core.exceptions import PayloadTooLargeError, PixyProxyException, RequestTimeoutError, ShuttingDownError
from pixyproxy.web.dependencies import Services, services_of


@dataclass(frozen=True)
class BodyLimit:
    """`size`: bytes that a body may have. It must arrive within `client_patience`.

    With a `rate` it may take longer: then no pause may exceed `client_patience`, and after `grace` seconds the average
    must reach `rate` bytes a second. A process that is ending stops reading it. `request_class`: how it is read.
    """

    size: int = limits.MAX_BODY
    rate: int | None = None
    grace: float = limits.UPLOAD_GRACE
    request_class: type[Request] = Request


SMALL_BODY = BodyLimit()
"""A prompt of 32,000 emoji, escaped as JSON, has 384 KB."""
EDIT_BODY = BodyLimit(size=limits.MAX_EDIT_BODY, rate=limits.UPLOAD_RATE)
EDIT_JSON = BodyLimit(size=limits.MAX_EDIT_JSON, rate=limits.UPLOAD_RATE)
MAX_SKIPPED = limits.MAX_SKIPPED
SKIP_WAIT = limits.SKIP_WAIT


def with_body_limit(request: Request, limit: BodyLimit) -> Request:
    """The request with a bounded body.

    `PayloadTooLargeError` at once if Content-Length is over the limit, else when more arrives. `RequestTimeoutError` if
    the body is too slow.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit.size:
        raise too_large(limit)
    return limit.request_class(request.scope, BoundedBody(request.receive, limit, services=services_of(request)))


def is_json(request: Request) -> bool:
    """Whether the body is declared to be JSON."""
    return request.headers.get("content-type", "").lower().startswith("application/json")


def too_large(limit: BodyLimit) -> PayloadTooLargeError:
    """The exception for a body over the limit."""
    return PayloadTooLargeError(f"The body may have {limit.size} bytes.")


async def skip_body(request: Request) -> None:
    """Read the rest of a refused body, up to a limit: many clients send everything before they read the answer."""
    body = request.receive
    if isinstance(body, BoundedBody):
        with anyio.move_on_after(SKIP_WAIT), suppress(PixyProxyException):
            most = body.received + MAX_SKIPPED
            while not body.whole and body.received < most:
                if (await body())["type"] == "http.disconnect":
                    return


class BoundedBody:
    """Receives a body within a limit. `received`: bytes; `whole`: whether its end has arrived."""

    def __init__(self, receive: Receive, limit: BodyLimit, *, services: Services) -> None:
        self._receive = receive
        self._limit = limit
        self._services = services
        self._began = anyio.current_time()
        self.received = 0
        self.whole = False

    async def __call__(self) -> Message:
        """The next message."""
        if self.whole:  # from now on it waits until the client leaves
            return await self._receive()
        if self._limit.rate is not None and self._services.readiness.ending.is_set():
            raise ShuttingDownError
        end, late = self._deadline()
        with anyio.move_on_after(end - anyio.current_time()) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            raise late
        self.received += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.received > self._limit.size:
            raise too_large(self._limit)
        return message

    def _deadline(self) -> tuple[float, PixyProxyException]:
        patience, rate = self._services.client_patience, self._limit.rate
        if rate is None:
            return self._began + patience, RequestTimeoutError(f"The body did not arrive within {patience:g} seconds.")
        stalled = anyio.current_time() + patience
        slow = self._began + self._limit.grace + self.received / rate
        if stalled < slow:
            return stalled, RequestTimeoutError(f"Nothing of the body arrived for {patience:g} seconds.")
        return slow, RequestTimeoutError(f"The body arrived at less than {rate} bytes a second.")
