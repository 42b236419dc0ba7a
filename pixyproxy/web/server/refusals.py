"""The server's own answers: to bytes that are not a request, and to connections over the limit."""

import asyncio
import json
import logging
from collections.abc import Sequence
from http import HTTPStatus

from pixyproxy.core.exceptions import PixyProxyException, TooManyConnectionsError
from pixyproxy.web.log.request_log import RequestRecord, current, end_request, log_start, request_ids

REPORT_INTERVAL = 1.0
"""Seconds between two lines of the log about connections over the limit."""

Headers = Sequence[tuple[bytes, bytes]]

logger = logging.getLogger(__name__)


def logged_refusal(error: PixyProxyException, *, defaults: Headers) -> bytes:
    """The complete answer, with the two log lines that every request has."""
    record = new_record()
    token = current.set(record)
    try:
        log_start(record)
        answer, size = refusal(error, request_id=record.request_id, defaults=defaults)
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
    status = f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n".encode()
    return status + b"".join(name + b": " + value + b"\r\n" for name, value in headers) + b"\r\n" + body, len(body)


class ConnectionsOverLimit:
    """Answers connections over the limit, whose requests are not read. The log has their number, once a second."""

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
