"""The client's connection: how many of the sent bytes the client has acknowledged, and ways to close it."""

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pixyproxy.core import limits

FLUSH_PATIENCE = limits.FLUSH_WAIT
"""Seconds that a client has to read the rest of an answer before its connection is closed. Also the time between two
checks of a slow client: one that read nothing in between is disconnected."""
FIRST_LOOK, LAST_LOOK = 0.005, 0.2
"""Seconds between checks of whether the client has read its complete answer. They double, up to the last value."""
LINGER_SECONDS = limits.LINGER
LINGER_BYTES = 2 * 1024 * 1024
"""Bytes that a client may still send after the last answer of its connection. If the connection were closed at once,
the system would reset it, and the client could lose the answer (RFC 9112, section 9.6)."""


class ClientConnection(HttpToolsProtocol):
    """What a response needs to know about the client's connection; see `web.http.content.Connection`."""

    flush_patience: ClassVar[float] = FLUSH_PATIENCE
    _stall_timer: asyncio.TimerHandle | None = None
    """Runs while the transport's write buffer is over its limit."""
    _unsent_before: int | None = None
    """Bytes that the client had not acknowledged when the keep-alive time last ended."""
    _lost: asyncio.Event | None = None
    _closing_timer: asyncio.TimerHandle | None = None
    _lingering = False
    _may_linger = LINGER_BYTES
    """Bytes that the client may still send. They are discarded."""
    _cut_off = False
    """Whether the connection ended before the client had read everything."""

    @property
    def left(self) -> bool:
        """Whether the client has disconnected."""
        return self.transport.is_closing()

    @property
    def slow(self) -> bool:
        """Whether sending waits until the client has read more."""
        return self.flow.write_paused

    @property
    def unsent(self) -> int:
        """Bytes the client has not acknowledged: the transport's buffer plus the kernel's send queue (SIOCOUTQ)."""
        held = 0
        with suppress(OSError, ValueError, AttributeError):
            file = self.transport.get_extra_info("socket").fileno()
            (held,) = struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4)))
        return self.transport.get_write_buffer_size() + held

    def pause_writing(self) -> None:
        """Called when the write buffer is over its limit. A client that reads nothing from now on is disconnected."""
        super().pause_writing()
        self._look_again()

    def resume_writing(self) -> None:
        """Called when the client has read most of the buffer."""
        super().resume_writing()
        self._stop_looking()

    async def taken(self) -> None:
        """Return when the client is no longer slow, or has disconnected."""
        await self.flow.drain()

    async def took_all(self) -> bool:
        """Whether the client's system acknowledged every byte. Returns when that is known."""
        pause = FIRST_LOOK
        while self in self.connections:
            if not self.unsent:
                return True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK)
        return not self._cut_off

    async def gone(self) -> None:
        """Return when uvicorn has noticed the disconnect.

        Before that it would log the incomplete answer as an error.
        """
        if self in self.connections:
            self._lost = self._lost or asyncio.Event()
            await self._lost.wait()

    def end(self) -> None:
        """Close the connection when the client has read the rest, or after `flush_patience` seconds."""
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

    def linger(self, *, seconds: float = LINGER_SECONDS, size: int = LINGER_BYTES) -> None:
        """Close the connection for writing. Discard up to `size` bytes that the client sends within `seconds`."""
        if self._lingering or self.transport.is_closing():
            return
        self._lingering, self._may_linger = True, size
        self.flow.resume_reading()
        with suppress(OSError, RuntimeError, NotImplementedError):
            self.transport.write_eof()
        self._cancel_timer()
        self._closing_timer = self.loop.call_later(seconds, self.end)

    def discard(self, data: bytes) -> None:
        """Count bytes that arrive while the connection lingers. Too many close it."""
        self._may_linger -= len(data)
        if self._may_linger < 0:
            self.end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called when the connection has ended."""
        self._cut_off = self._cut_off or exc is not None
        super().connection_lost(exc)
        self._cancel_timer()
        self._stop_looking()
        if self._lost is not None:
            self._lost.set()

    def timeout_keep_alive_handler(self) -> None:
        """Called after the keep-alive time. A client that is still reading its last answer is not idle."""
        unsent = self.unsent
        if unsent and not self.transport.is_closing():
            if self._unsent_before is not None and unsent >= self._unsent_before:
                self.abort()
                return
            self._unsent_before = unsent
            self.timeout_keep_alive_task = self.loop.call_later(self.flush_patience, self.timeout_keep_alive_handler)
            return
        super().timeout_keep_alive_handler()
        self._abort_later()

    def shutdown(self) -> None:
        """Called when the server ends."""
        super().shutdown()
        self._abort_later()

    def _look_again(self) -> None:
        self._stall_timer = self.loop.call_later(self.flush_patience, self._abort_if_stalled, self.unsent)

    def _abort_if_stalled(self, unsent_before: int) -> None:
        if self.unsent >= unsent_before:
            self.abort()
        else:
            self._look_again()

    def _stop_looking(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _abort_later(self) -> None:
        # A closing transport first sends its buffer, however long that takes.
        if self.transport.is_closing() and self in self.connections:
            self._cancel_timer()
            self._closing_timer = self.loop.call_later(self.flush_patience, self.abort)

    def _cancel_timer(self) -> None:
        if self._closing_timer is not None:
            self._closing_timer.cancel()
            self._closing_timer = None
