"""The request log: two lines a request, whatever happens to it, and a request-id on every line and answer.

`RequestLog` is pure ASGI and wraps the complete application, so that it logs every request. The dependency
`record_route` adds the facts that only a route knows. docs/operations.md describes the format.
"""

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixyproxy.core.exceptions import InternalError
from pixyproxy.web.dialects import Dialect, render_in
from pixyproxy.web.log.request_ids import request_ids

CLIENT_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNPRINTABLE = re.compile(r"[^!-~]")
MAX_PRINTED = 300
"""Characters of what a client sent that are logged."""
MAX_ADDRESS = 45
"""Characters of the longest IP address: IPv6 that ends with IPv4."""
SCOPE_KEY = "pixyproxy.request"
CLIENT_LEFT = "pixyproxy.client_left"
"""The scope's key of a client that left before its answer was complete; the server puts it there."""
JSON_ONLY = ("route", "guid", "generation")
"""Facts that the text line leaves out."""

logger = logging.getLogger(__name__)
EVERY_LINE = vars(logging.LogRecord(logger.name, logging.INFO, __file__, 0, "", None, None)) | {
    "thread": None,
    "process": None,
}
"""What the records of all lines of requests have in common."""


@dataclass(slots=True)
class RequestRecord:
    """What is known about the request that is being served.

    `answer_headers` are added to every answer to it. The wrappers around all requests add theirs here.
    """

    request_id: str
    method: str
    path: str
    client_request_id: str | None = None
    facts: dict[str, str] = field(default_factory=dict)
    answer_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


current: ContextVar[RequestRecord | None] = ContextVar("pixyproxy_request", default=None)


def record_of(scope: Scope) -> RequestRecord:
    """The record of the request with this scope."""
    record: RequestRecord = scope[SCOPE_KEY]
    return record


async def record_route(request: Request) -> None:
    """The dependency of all routes: puts route and guid into the record."""
    add_route(request.scope)


def add_route(scope: Scope) -> None:
    """Put route and guid into the record of the request with this scope. Its route must be known."""
    facts = record_of(scope).facts
    facts["route"] = scope["route"].path
    if "guid" in scope["path_params"]:
        facts["guid"] = printable(scope["path_params"]["guid"])


def add_facts(**facts: str) -> None:
    """Put facts into the record of the request that is being served."""
    record = current.get()
    if record is not None:
        record.facts.update(facts)


def printable(text: str) -> str:
    """ASCII without control characters: nothing that a client sends can begin a line or colour a terminal."""
    if len(text) <= MAX_PRINTED and text.isascii() and text.isprintable() and " " not in text:
        return text
    return UNPRINTABLE.sub("?", text)[:MAX_PRINTED]


def address_of(host: str) -> str:
    """The address, or `invalid`: behind a trusted proxy it may be any text that a client sent.

    A zone (`fe80::1%eth0`) may be any text too, and names nothing outside of the machine.
    """
    return "invalid" if len(host) > MAX_ADDRESS or "%" in host else canonical_address(host)


@lru_cache(maxsize=1024)
def canonical_address(host: str) -> str:
    """The address in its one form, or `invalid`."""
    try:
        return str(ip_address(host))
    except ValueError:
        return "invalid"


def log_start(record: RequestRecord) -> None:
    """The first line. The query is left out of the path: a search is a piece of a prompt."""

    def facts() -> dict[str, Any]:
        client = {} if record.client_request_id is None else {"client_request_id": record.client_request_id}
        return {"method": record.method, "path": record.path, **client}

    suffix = f" client={record.client_request_id}" if record.client_request_id else ""
    write_line(f"REQUEST START {record.method} {record.path}{suffix}", facts)


def end_request(record: RequestRecord, *, status: int, milliseconds: float, size: int, with_line: bool = True) -> None:
    """Called at the end of every request, and for every connection that is refused: the place to count or observe them.

    Writes the second line. Status 0 stands for a request that got no answer. `with_line`: false for a connection over
    the limit, of which `web.server.refusals` reports only the number.
    """
    if not with_line:
        return

    def facts() -> dict[str, Any]:
        measured = {"status": status, "duration_ms": round(milliseconds, 1), "bytes": size}
        return {"method": record.method, "path": record.path, **measured, **record.facts}

    noted = "".join([f" {name}={value}" for name, value in record.facts.items() if name not in JSON_ONLY])
    write_line(f"REQUEST END {record.method} {record.path} {status} {milliseconds:.1f}ms {size}B{noted}", facts)


def write_line(message: str, facts: Callable[[], dict[str, Any]]) -> None:
    """What `logger.info` does, without a search of the stack: every request has two of these lines.

    `facts`: what a JSON line says besides the message.
    """
    if logger.isEnabledFor(logging.INFO):
        now = time.time()
        values = EVERY_LINE.copy()
        values["msg"], values["lineno"], values["facts"] = message, sys._getframe(1).f_lineno, facts
        values["created"], values["msecs"] = now, int(now % 1 * 1000)
        record = logging.LogRecord.__new__(logging.LogRecord)  # `__init__` would take our path apart for each line
        record.__dict__ = values
        logger.handle(record)


class RequestLog:
    """Wraps the application: the record, the two lines, `X-Request-ID`, and the last handler of exceptions.

    The dialect of the path renders the answer to a request for which even the exception handler failed.
    """

    def __init__(self, app: ASGIApp, *, dialects: tuple[Dialect, ...] = ()) -> None:
        self.app = app
        self._dialects = dialects

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_ids().new()
        record = RequestRecord(
            request_id=request_id,
            method=printable(scope["method"]),
            path=printable((scope.get("raw_path") or scope["path"].encode()).decode("latin-1")),
            client_request_id=client_request_id(scope),
            answer_headers=[(b"x-request-id", request_id.encode())],
        )
        if scope.get("client"):  # behind a trusted proxy, the address that it forwards
            record.facts["address"] = address_of(scope["client"][0])
        scope[SCOPE_KEY] = record
        token = current.set(record)
        status, size, whole = 0, 0, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, size, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *record.answer_headers]}
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                whole = not message.get("more_body", False)
            try:
                await send(message)
            except RuntimeError as error:
                if "handler is closed" not in str(error):  # uvloop's message for a client that has left
                    raise
                record.facts["aborted"] = "yes"
                raise ConnectionResetError from error

        started = time.perf_counter()
        log_start(record)
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            if "problem" not in record.facts and "aborted" not in record.facts:
                logger.exception("An exception left the application")
                record.facts["problem"] = "internal-error"
            if not status:
                await self._send_last_resort(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the server ends at once
            if not status:
                await self._send_last_resort(scope, receive, send_with_headers)
            raise
        finally:
            if (status and not whole) or CLIENT_LEFT in scope:
                record.facts["aborted"] = "yes"
            milliseconds = (time.perf_counter() - started) * 1000
            end_request(record, status=status, milliseconds=milliseconds, size=size)
            current.reset(token)

    async def _send_last_resort(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The 500 of a request for which even the exception handler failed, or was cancelled."""
        record = record_of(scope)
        record.facts["problem"] = InternalError.name
        try:
            response = render_in(self._dialects, InternalError(), Request(scope))
        except Exception:  # noqa: BLE001 -- there is no dialect, or its renderer fails
            document = InternalError().document(request_id=record.request_id, bought=record.method == "POST")
            response = Response(json.dumps(document), status_code=500, media_type="application/problem+json")
        await response(scope, receive, send)


def client_request_id(scope: Scope) -> str | None:
    """The client's own X-Request-ID, if it can be logged unchanged."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text = value.decode("latin-1")
            return text if CLIENT_REQUEST_ID.fullmatch(text) else None
    return None
