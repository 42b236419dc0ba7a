"""A TCP proxy on 127.0.0.1 that counts the HTTP requests which pass it."""

import asyncio
import threading
from types import TracebackType
from typing import Self

import httptools

PIECE = 256 * 1024


class Counted:
    """What httptools calls for each request of a connection."""

    def __init__(self, proxy: "CountingProxy") -> None:
        self._proxy = proxy

    def on_message_begin(self) -> None:
        """Called at a request's first byte."""
        self._proxy.requests += 1


class CountingProxy:
    """Passes everything on to a port while the block runs; `requests` have passed so far."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.requests = 0
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def end() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        parser = httptools.HttpRequestParser(Counted(self))
        await asyncio.gather(self._pass(reader, there_writer, parser), self._pass(there_reader, writer, None))

    @staticmethod
    async def _pass(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, parser: httptools.HttpRequestParser | None
    ) -> None:
        try:
            while piece := await reader.read(PIECE):
                if parser is not None:
                    parser.feed_data(piece)
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
