"""The client's connection: how far the client is with what it was sent, and ways to end it."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core import limits

FLUSH_PATIENCE = limits.FLUSH_WAIT
"""Seconds that a client has to take the rest of an answer once its connection is to be closed."""
FIRST_LOOK, LAST_LOOK = 0.005, 0.2
"""Seconds between looks at what the client has yet to take: they double from the first to the last."""
LINGER_SECONDS = limits.LINGER
LINGER_BYTES = 2 * 1024 * 1024
"""What a client may still send after the last answer of its connection. A connection that is closed before is reset by
the system, and the client may lose the answer (RFC 9112, section 9.6)."""


class ClientConnection(HttpToolsProtocol):
    """What a response wants to know of the client's connection; see `web.http.content.Connection`."""

    _lost: asyncio.Event | None = None
    _closing_timer: asyncio.TimerHandle | None = None
    _lingering = False
    _lingered = 0
    _cut_off = False
    """Whether the connection ended while the client had yet to take something."""

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
        """Bytes the client has not acknowledged: the transport's buffer plus the kernel's send queue (SIOCOUTQ)."""
        held = 0
        with suppress(OSError, ValueError, AttributeError):
            file = self.transport.get_extra_info("socket").fileno()
            (held,) = struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4)))
        return self.transport.get_write_buffer_size() + held

    async def taken(self) -> None:
        """Return when it is no longer slow, or gone."""
        await self.flow.drain()

    async def took_all(self) -> bool:
        """Whether the client took all it was sent, and its system confirmed it; returns when that is known."""
        pause = FIRST_LOOK
        while self in self.connections:
            if not self.unsent:
                return True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
        return not self._cut_off

    async def gone(self) -> None:
        """Return when uvicorn knows that the client is gone: it reports an answer that ends before that as a fault."""
        if self in self.connections:
            self._lost = self._lost or asyncio.Event()
            await self._lost.wait()

    def end(self) -> None:
        """Close the connection when the client has taken the rest, or after `FLUSH_PATIENCE` seconds."""
        self.transport.close()
        self._abort_later()

    def abort(self) -> None:
        """Close the connection at once and discard what is still to be sent, in the kernel too (SO_LINGER 0)."""
        with suppress(OSError, ValueError, AttributeError):
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        self._cut_off = True
        self.transport.abort()

    def linger(self) -> None:
        """Close the connection for writing, and discard what the client still sends, up to a bound."""
        if self._lingering or self.transport.is_closing():
            return
        self._lingering = True
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError, NotImplementedError):
            self.transport.write_eof()
        self._cancel_timer()
        self._closing_timer = self.loop.call_later(LINGER_SECONDS, self.end)

    def discard(self, data: bytes) -> None:
        """Count what a client sends to a connection that lingers; too much ends it."""
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._cut_off = self._cut_off or exc is not None
        super().connection_lost(exc)
        self._cancel_timer()
        if self._lost is not None:
            self._lost.set()

    def _abort_later(self) -> None:
        # A transport that is closed first sends what it holds, for as long as the client takes.
        if self.transport.is_closing() and self in self.connections:
            self._cancel_timer()
            self._closing_timer = self.loop.call_later(FLUSH_PATIENCE, self.abort)

    def _cancel_timer(self) -> None:
        if self._closing_timer is not None:
            self._closing_timer.cancel()
            self._closing_timer = None
