"""The server's own answers: to bytes that are not a request, and to connections over the limit."""

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from pixyproxy.core.exceptions import PixyProxyException, TooManyConnectionsError
from pixyproxy.web.log.request_ids import request_ids
from pixyproxy.web.log.request_log import SCOPE_KEY, RequestRecord, current, end_request, log_start

REPORT_INTERVAL = 1.0
"""Seconds between two lines of the log about connections over the limit."""

RENDER = "rendering"
"""In the state of the lifespan: what renders a refusal in the dialect of the request's path."""

Headers = Sequence[tuple[bytes, bytes]]
Render = Callable[[PixyProxyException, Request], Response]

logger = logging.getLogger(__name__)


def logged_refusal(
    error: PixyProxyException, *, defaults: Headers, path: str | None = None, render: Render | None = None
) -> bytes:
    """The complete answer. Writes the two log lines that every request has.

    `path`: of the request, if it is known. `render`: makes its answer in the dialect of its path.
    """
    record = new_record()
    token = current.set(record)
    try:
        log_start(record)
        if path is None or render is None:
            answer, size = refusal(error, request_id=record.request_id, defaults=defaults)
        else:
            answer, size = rendered_refusal(render, error, path=path, record=record, defaults=defaults)
        record.facts["problem"] = error.name
        end_request(record, status=error.status, milliseconds=0.0, size=size)
        return answer
    finally:
        current.reset(token)


def new_record() -> RequestRecord:
    """The record of a request that was not read."""
    return RequestRecord(request_id=request_ids().new(), method="-", path="-")


def refusal(error: PixyProxyException, *, request_id: str, defaults: Headers) -> tuple[bytes, int]:
    """The complete answer, which ends the connection, and the bytes of its body. `defaults`: uvicorn's own headers."""
    body = json.dumps(error.document(request_id=request_id, bought=False)).encode()
    headers = [
        *defaults,
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", request_id.encode()),
        *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
        (b"connection", b"close"),
    ]
    return answer_of(error.status, headers, body), len(body)


def rendered_refusal(
    render: Render, error: PixyProxyException, *, path: str, record: RequestRecord, defaults: Headers
) -> tuple[bytes, int]:
    """Like `refusal`, in the dialect of the path."""
    scope = {"type": "http", "method": record.method, "path": path, "headers": [], SCOPE_KEY: record}
    response = render(error, Request(scope))
    ids = [(b"x-request-id", record.request_id.encode()), (b"connection", b"close")]
    body = bytes(response.body)
    return answer_of(response.status_code, [*defaults, *response.raw_headers, *ids], body), len(body)


def answer_of(code: int, headers: Headers, body: bytes) -> bytes:
    """The bytes of an answer."""
    status = f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n".encode()
    return status + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body


class ConnectionsOverLimit:
    """Answers connections over the limit without reading their requests. Logs their number once a second."""

    def __init__(self) -> None:
        self._unreported = 0
        self._next_report = 0.0

    def answer(self, *, defaults: Headers) -> bytes:
        """The complete answer to one more connection."""
        error = TooManyConnectionsError()
        record = new_record()
        answer, size = refusal(error, request_id=record.request_id, defaults=defaults)
        record.facts["problem"] = error.name
        end_request(record, status=error.status, milliseconds=0.0, size=size, with_line=False)
        return answer

    def leave_unanswered(self) -> None:
        """Count one more connection, which is closed without an answer."""
        record = new_record()
        record.facts["problem"] = TooManyConnectionsError.name
        end_request(record, status=0, milliseconds=0.0, size=0, with_line=False)

    def report(self, loop: asyncio.AbstractEventLoop, *, connections: int) -> None:
        """Count one for the log. The first is reported at once, those of the following second together."""
        self._unreported += 1
        if loop.time() >= self._next_report:
            self._write(loop, connections)

    def _write(self, loop: asyncio.AbstractEventLoop, connections: int) -> None:
        if self._unreported:
            logger.warning("connections over the limit: %d were refused, with %d open", self._unreported, connections)
            self._unreported = 0
            self._next_report = loop.time() + REPORT_INTERVAL
            loop.call_later(REPORT_INTERVAL, self._write, loop, connections)
