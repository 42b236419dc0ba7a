"""A TCP proxy that can be told to misbehave, to stand before a real server."""

import asyncio
import threading
from typing import Literal

Mode = Literal["pass", "refuse", "silent"]


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and passes everything on to `target`, while it is told to.

    `refuse`: closes every connection at once. `silent`: accepts connections and never passes a byte on, in either
    direction, those that are open included.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.mode: Mode = "pass"
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        """End it with its connections."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            if self.mode == "refuse":
                return
            while self.mode == "silent":
                await asyncio.sleep(0.05)
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))
            finally:
                there_writer.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            while self.mode == "silent":
                await asyncio.sleep(0.05)
            if self.mode == "refuse":
                break
            sink.write(data)
            await sink.drain()
        sink.close()
