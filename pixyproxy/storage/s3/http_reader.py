"""Sends GETs on connections that are kept. httptools parses heads; a body of known length passes by as it comes."""

import asyncio
import sys
from collections import defaultdict, deque
from contextlib import suppress
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.storage.s3.address import Url
from pixyproxy.storage.s3.connecting import Connector, Route

BUFFER = 128 * 1024
"""Unread bytes of a body beyond which no more are received. The last piece, of up to 256 KB with uvloop, is on top."""
MAX_HEAD = 64 * 1024
KEPT, KEEP_ALIVE = 100, 15.0
"""Idle connections to a server, and the seconds for which each is kept."""


class Exchange(asyncio.Protocol):
    """A connection, and the answer to its latest request: `status`, `headers`, `length` (None: not announced).

    What waits raises `OSError` if the answer breaks off or is no HTTP, or if the server is silent for `patience` s.
    """

    transport: Any = None
    status = 0
    length: int | None = None
    _parser: Any = None
    """None: the bytes of the body are only counted."""
    _left = 0
    """Bytes that may come: of the head, then of the body."""
    _unread, _ended, _keep, _paused = 0, True, False, False
    _error: OSError | None = None
    _arrival: asyncio.Future[None] | None = None

    def __init__(self, *, idle: "list[Exchange]", patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle, self._patience = idle, patience
        self.headers: dict[bytes, bytes] = {}
        self._pieces: deque[bytes] = deque()

    async def ask(self, request: bytes) -> "Exchange":
        """Send a request. Returns itself when the head of the answer has come; else the connection is closed."""
        self.status, self.length, self._left, self._ended, self._error = 0, None, MAX_HEAD, False, None
        self.headers.clear()
        self._parser = HttpResponseParser(self)
        self._heard = self._loop.time()
        self.transport.write(request)
        try:
            while not self.status:
                await self._more()
        except BaseException:
            self.transport.abort()
            raise
        return self

    async def piece(self) -> bytes:
        """The next bytes of the body; none at its end."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._more()
        piece = self._pieces.popleft()
        self._unread -= len(piece)
        self._pause_if_full()
        return piece

    def close(self) -> None:
        """Keep the connection for another request if the whole answer has come, else close it. Called once."""
        self._pieces.clear()
        self._unread = 0
        self._pause_if_full()
        if self._ended and self._keep and len(self._idle) < KEPT and not self.transport.is_closing():
            self._idle.append(self)
        else:
            self.transport.abort()

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._arrival = self._loop.create_future()
        await self._arrival

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _pause_if_full(self) -> None:
        full = self._unread > BUFFER and not self._ended
        if full != self._paused:
            self._paused, self._heard = full, self._loop.time()
            (self.transport.pause_reading if full else self.transport.resume_reading)()

    def _fail(self, error: OSError) -> None:
        self._error, self._parser, self._left = self._error or error, None, 0
        self.transport.abort()
        self._wake()

    def _look(self) -> None:
        if not self._paused and self._loop.time() - self._heard >= (KEEP_ALIVE if self._ended else self._patience):
            self._fail(TimeoutError("The server is silent."))
        if not self.transport.is_closing():  # asyncio tells nothing of a TLS handshake that is given up
            self._timer = self._loop.call_later(self._patience / 4, self._look)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called when it is open."""
        self.transport, self._heard = transport, self._loop.time()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when it is closed. That ends a body that has no other end (RFC 9112, section 6.3)."""
        self._timer.cancel()
        if self in self._idle:
            self._idle.remove(self)
        if self.status and self.length is None and b"transfer-encoding" not in self.headers and self._error is None:
            self._ended = True
        self._fail(ConnectionResetError(str(exc)))

    def data_received(self, data: bytes) -> None:
        """Called with bytes that have come."""
        self._heard = self._loop.time()
        try:
            if self._parser is not None:
                self._left -= 0 if self.status else len(data)
                self._parser.feed_data(data)
                if self._left < 0:
                    raise ConnectionError("The head is too large.")
                if self.length is not None:
                    self._parser = None
            elif len(data) <= self._left:
                self.on_body(data)
            else:
                raise ConnectionError("More came than was announced.")
        except (HttpParserError, HttpParserUpgrade, ConnectionError) as error:
            self._fail(ConnectionError(str(error)))

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._ended:
            raise ConnectionError("More came than was announced.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Called by the parser. An answer that only announces another one (1xx) is passed over."""
        status: int = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status, self._keep = status, self._parser.should_keep_alive()
        if b"content-length" in self.headers and b"transfer-encoding" not in self.headers:
            self.length = int(self.headers[b"content-length"])
        self._left = sys.maxsize if self.length is None else self.length
        self._wake()

    def on_body(self, body: bytes) -> None:
        """Called with bytes of the body, by the parser too."""
        self._pieces.append(body)
        self._unread += len(body)
        self._left -= len(body)
        self._ended = not self._left
        self._pause_if_full()
        self._wake()

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self.status:
            self._ended = True
            self._wake()


class HttpReader:
    """Asks servers over a route. Each connection has one request at a time."""

    def __init__(self, route: Route, *, limits: S3Limits = S3) -> None:
        self._connector = Connector(route, limits=limits)
        self._patience = limits.read
        self._idle: defaultdict[tuple[bool, str], list[Exchange]] = defaultdict(list)

    async def get(self, url: Url, *, header: str = "") -> Exchange:
        """The answer, once its head has come; `header` is a line with its end. Raises `OSError`."""
        request = self._connector.request(url, header=header)
        idle = self._idle[url.secure, url.host]
        if idle:
            with suppress(ConnectionError):  # the server may have closed it meanwhile: then another one is used, once
                return await idle.pop().ask(request)
        exchange = await self._connector.connect(Exchange(idle=idle, patience=self._patience), url)
        return await exchange.ask(request)

    async def aclose(self) -> None:
        """Close the idle connections."""
        for exchange in [each for idle in self._idle.values() for each in idle]:
            exchange.transport.abort()
        await asyncio.sleep(0)  # until they are closed
