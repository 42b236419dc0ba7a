"""uvicorn's HTTP protocol with our bounds, and problems for what never becomes a request."""

import asyncio
import fcntl
import json
import struct
import termios
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core.exceptions import HeaderTooLargeError, MalformedRequestError, PixyProxyException
from pixyproxy.web.http.content import CONNECTION
from pixyproxy.web.log.request_log import RequestRecord, current, log_end, log_start, request_ids

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers."""
FLUSH_PATIENCE = 60
"""Seconds that a client has to take the rest of an answer once its connection is to be closed."""
UPGRADE_HEADERS = (b"connection", b"upgrade", b"http2-settings")


class HttpProtocol(HttpToolsProtocol):
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
