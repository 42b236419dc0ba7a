"""uvicorn, set up for us: our log, our headers, and an answer of ours to what is not even HTTP."""

import asyncio
import fcntl
import json
import resource
import signal
import struct
import termios
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import FrameType
from typing import Any

import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core.exceptions import HeaderTooLargeError, MalformedRequestError, PixyProxyException
from pixyproxy.web.content import CONNECTION
from pixyproxy.web.request_log import RequestRecord, current, log_end, log_start, request_ids

KEEP_ALIVE = 75
"""Seconds; longer than what common proxies keep an idle connection, so that they close it first."""
MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
FLUSH_PATIENCE = 60
"""Seconds that a client has to take the rest of an answer once its connection is to be closed."""
WORKER_PATIENCE = 60
"""Seconds for which a worker may be frozen before the parent process kills it, with the pictures in its memory."""
OPEN_FILES = 65_536
UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also bounds the head, and answers with problems what never becomes a request."""

    _lost: asyncio.Event | None = None
    _in_head = False
    _unfinished = 0
    """Bytes of a head that has not ended."""
    _head = 0
    """Bytes of a request's line, headers and trailers."""

    def data_received(self, data: bytes) -> None:
        """Called with what has arrived."""
        self._unset_keepalive_if_required()
        self._unfinished += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(rest=data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The bytes sent are no HTTP request.")
        else:
            if self._head > MAX_HEAD or (self._in_head and self._unfinished > MAX_HEAD):
                self._refuse(HeaderTooLargeError(f"A request's line and headers may have {MAX_HEAD} bytes."))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        super().connection_lost(exc)
        if self._lost is not None:
            self._lost.set()

    def on_message_begin(self) -> None:
        """Called at a request's first byte."""
        self._in_head, self._unfinished, self._head = True, 0, 0
        super().on_message_begin()
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope[CONNECTION] = self

    def on_url(self, url: bytes) -> None:
        """Called with a piece of the request's target."""
        self._head += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called with a header, or a trailer."""
        self._head += len(name) + len(value) + 4
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Called at the end of a request's head. One that asks for an upgrade is read again without."""
        self._in_head = False
        if not self.parser.should_upgrade() and self._head <= MAX_HEAD:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Called with a piece of the body."""
        if self._head <= MAX_HEAD:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Called at the end of a request."""
        if not self.parser.should_upgrade() and self._head <= MAX_HEAD:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been written; a client that does not take it is not waited for."""
        super().on_response_complete()
        self._abort_if_it_stays()

    def timeout_keep_alive_handler(self) -> None:
        """Called when a connection has been idle for too long."""
        super().timeout_keep_alive_handler()
        self._abort_if_it_stays()

    def shutdown(self) -> None:
        """Called when the server ends."""
        super().shutdown()
        self._abort_if_it_stays()

    def _abort_if_it_stays(self) -> None:
        # A transport that is closed first sends what it holds, for as long as the client takes.
        if self.transport.is_closing():
            self.loop.call_later(FLUSH_PATIENCE, self.transport.abort)

    @property
    def left(self) -> bool:
        """Whether the client is gone."""
        return self.transport.is_closing()

    @property
    def slow(self) -> bool:
        """Whether the client has yet to take what it was sent."""
        return self.flow.write_paused

    @property
    def unsent(self) -> int:
        """Bytes of that, with what the system holds: it has room for megabytes, and says so only now and then.

        What the system holds is asked with SIOCOUTQ (tcp(7) of Linux); where there is none, it counts as nothing.
        """
        held = 0
        with suppress(OSError, ValueError, AttributeError):
            file = self.transport.get_extra_info("socket").fileno()
            (held,) = struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4)))
        return self.transport.get_write_buffer_size() + held

    async def taken(self) -> None:
        """Return when it is no longer slow, or gone."""
        await self.flow.drain()

    async def gone(self) -> None:
        """Return when uvicorn knows that the client is gone: it calls an answer that ends before that a fault."""
        if self in self.connections:
            self._lost = self._lost or asyncio.Event()
            await self._lost.wait()

    def end(self) -> None:
        """End the connection when the client has taken what is on its way, or after `FLUSH_PATIENCE` seconds."""
        self.transport.close()
        self._abort_if_it_stays()

    def abort(self) -> None:
        """End the connection at once, without sending what is on its way."""
        self.transport.abort()

    def _ignore_upgrade(self, *, rest: bytes) -> None:
        """Serve the request as what it is (RFC 9110, section 7.8); Java's client asks for h2c in every first one."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(MalformedRequestError("This is no proxy: CONNECT is not served."))
            return
        head = [method + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()]
        head += [name + b": " + value for name, value in self.headers if name not in UPGRADE_HEADERS]
        if not self.parser.should_keep_alive():
            head.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.data_received(b"\r\n".join(head) + b"\r\n\r\n" + rest)

    def send_400_response(self, msg: str) -> None:
        """Called when parsing fails."""
        self._refuse(MalformedRequestError(msg))

    def _refuse(self, error: PixyProxyException) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # another answer is on its way: nothing can be said in between
            return
        record = RequestRecord(request_id=request_ids().new(), method="-", path="-")
        token = current.set(record)
        log_start(record)
        body = json.dumps(error.document(request_id=record.request_id)).encode()
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
            "content-type: application/problem+json\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {record.request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        record.facts["problem"] = error.name
        log_end(record, status=error.status, milliseconds=0.0, size=len(body))
        current.reset(token)


@contextmanager
def drained_by_signals(drain: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """While the block runs, SIGTERM and SIGINT first wait for `drain`, and only then reach uvicorn.

    uvicorn closes its sockets at once, and /readyz could tell no load balancer that this process ends. A second SIGINT
    ends the process without waiting; a second SIGTERM changes nothing, for the parent of several workers sends one
    after a terminal's Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signal arrives
        yield
        return
    loop = asyncio.get_running_loop()
    handlers: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    draining: set[asyncio.Future[None]] = set()

    def begin(number: int) -> None:
        if not draining:
            task = asyncio.ensure_future(drain())
            draining.add(task)
            task.add_done_callback(lambda _: handlers[number](number, None))

    def on_signal(number: int, frame: FrameType | None) -> None:
        if draining and number == signal.SIGINT:
            handlers[number](number, frame)
            handlers[number](number, frame)  # for uvicorn the second is the one that does not wait
        loop.call_soon_threadsafe(begin, number)

    for number in handlers:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def allow_open_files() -> None:
    """Let this process, and its workers, have `OPEN_FILES` at once if the system agrees.

    A client takes one, and what is read or drawn for it another; a soft limit of 1024 is usual.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(application: str, *, host: str, port: int, workers: int, log_config: dict[str, Any]) -> None:
    """Serve the application that the named factory makes, in `workers` processes, until SIGTERM or SIGINT.

    Every running generation ends before that; then clients have `FLUSH_PATIENCE` seconds to take their answers.
    """
    allow_open_files()
    uvicorn.run(
        application,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_config=log_config,
        access_log=False,
        server_header=False,
        http=Protocol,
        ws="none",
        loop="uvloop",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=FLUSH_PATIENCE,
        timeout_worker_healthcheck=WORKER_PATIENCE,
    )


def serve_plain(application: ASGIApp, *, host: str, port: int, log_config: dict[str, Any]) -> None:
    """Serve another ASGI application, in this process."""
    uvicorn.run(application, host=host, port=port, log_config=log_config, access_log=False, ws="none")
