"""The server's own answers: to bytes that never become a request, and to connections over the limit."""

import json
from collections.abc import Sequence
from http import HTTPStatus

from pixyproxy.core.exceptions import PixyProxyException, TooManyConnectionsError
from pixyproxy.web.log.request_log import RequestRecord, current, log_end, log_start, request_ids

Headers = Sequence[tuple[bytes, bytes]]


def logged_refusal(error: PixyProxyException, *, defaults: Headers) -> bytes:
    """The whole answer, with the two lines of the log that every request has."""
    record = RequestRecord(request_id=request_ids().new(), method="-", path="-")
    token = current.set(record)
    try:
        log_start(record)
        answer, size = refusal(error, request_id=record.request_id, defaults=defaults)
        record.facts["problem"] = error.name
        log_end(record, status=error.status, milliseconds=0.0, size=size)
        return answer
    finally:
        current.reset(token)


def refusal(error: PixyProxyException, *, request_id: str, defaults: Headers) -> tuple[bytes, int]:
    """The whole answer, which ends the connection, and the bytes of its body. `defaults`: uvicorn's own headers."""
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


def over_the_limit(*, defaults: Headers) -> bytes:
    """The answer to a connection over the limit; its request is not read, and not logged."""
    return refusal(TooManyConnectionsError(), request_id=request_ids().new(), defaults=defaults)[0]
