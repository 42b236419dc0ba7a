"""A TCP proxy in front of a real server that misbehaves on request."""

import asyncio
import socket
import struct
import threading
from dataclasses import dataclass
from typing import Literal

Direction = Literal["there", "back"]


@dataclass(frozen=True)
class Cut:
    """Every connection is reset when so many more bytes have passed, to the server (`there`) or from it (`back`)."""

    after: int
    direction: Direction


@dataclass(frozen=True)
class Slow:
    """So many seconds before each chunk, of at most `size` bytes: a delay, or with few bytes a drip."""

    seconds: float
    size: int = 65_536


@dataclass(frozen=True)
class LoseAnswer:
    """Passes on what the client sends. Once these have come in it, in their order, the next answer becomes a reset."""

    markers: tuple[bytes, ...]


Mode = Literal["pass", "closed", "refuse", "reset", "silent"] | Cut | Slow | LoseAnswer


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to `target`, unless it misbehaves.

    `closed`: the port is closed, and so is every connection. `refuse`: accepts connections and closes them, those that
    are open at their next byte. `reset`: the same with an RST. `silent`: accepts connections and never passes a byte
    on, in either direction, those that are open included; what came meanwhile is passed on when it ends.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode: Mode = "pass"
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    @property
    def mode(self) -> Mode:
        """How it behaves."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        asyncio.run_coroutine_threadsafe(self._behave(mode), self._loop).result(10)

    def close(self) -> None:
        """End it with its connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        self._server.close()
        await self._disconnect()

    async def _behave(self, mode: Mode) -> None:
        if mode == "closed":
            self._server.close()
            await self._disconnect()
        elif self._mode == "closed":
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._mode = mode

    async def _disconnect(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self._mode == "reset":
                raise ConnectionResetError
            if self._mode == "refuse":
                return
            while self._mode == "silent":
                await asyncio.sleep(0.05)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            swallowing = asyncio.Event()
            try:
                await asyncio.gather(
                    self._copy(reader, there_writer, "there", swallowing),
                    self._copy(there_reader, writer, "back", swallowing),
                )
            finally:
                there_writer.close()
        except ConnectionResetError:
            reset(writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _copy(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        direction: Direction,
        swallowing: asyncio.Event,
    ) -> None:
        """Pass on until the end; `ConnectionResetError` where both sides are to be reset."""
        counted, count, recent, found = self._mode, 0, b"", 0
        while data := await source.read(65_536):
            while self._mode == "silent":
                await asyncio.sleep(0.05)
            mode = self._mode
            if mode is not counted:
                counted, count, recent, found = mode, 0, b"", 0
            if mode == "refuse":
                break
            if mode == "reset" or (swallowing.is_set() and direction == "back"):
                raise ConnectionResetError
            if isinstance(mode, LoseAnswer) and direction == "there":
                recent += data
                while found < len(mode.markers) and mode.markers[found] in recent:
                    recent, found = recent.partition(mode.markers[found])[2], found + 1
                if found == len(mode.markers):
                    swallowing.set()
            if isinstance(mode, Cut) and direction == mode.direction:
                data = data[: mode.after - count]
                count += len(data)
            size, seconds = (mode.size, mode.seconds) if isinstance(mode, Slow) else (len(data) or 1, 0.0)
            for start in range(0, len(data), size):
                await asyncio.sleep(seconds if self._mode is mode else 0)
                sink.write(data[start : start + size])
                await sink.drain()
            if isinstance(mode, Cut) and count == mode.after and direction == mode.direction:
                raise ConnectionResetError
        sink.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection with an RST, which discards what was not read."""
    connection = writer.get_extra_info("socket")
    if connection.fileno() != -1:  # the other side was not faster
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
