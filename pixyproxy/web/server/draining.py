"""uvicorn's server, which drains at SIGTERM, SIGHUP and SIGINT, so that a load balancer notices before it ends.

Of uvicorn.Server it overrides startup, on_tick, shutdown, handle_exit and capture_signals, and uses server_state,
lifespan.state, should_exit and force_exit.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from pixyproxy.web.server.accepting import Listener, Loads
from pixyproxy.web.server.protocol import HttpProtocol
from pixyproxy.web.server.turns import Turns

STEPS = "draining"
"""Where the application's lifespan state holds its `DrainingSteps`."""
FIRST_REQUEST = 1.0
"""Seconds that a connection accepted before the listening sockets closed has for its first request."""
LOOK = 0.01
CONNECTION_CLOSE = (b"connection", b"close")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DrainingSteps:
    """What the application does while the server drains.

    `announce`: report that this process ends, and continue as before. `finish`: begin nothing more, and return when
    everything that runs has ended.
    """

    announce: Callable[[], None]
    finish: Callable[[], Awaitable[None]]


class DrainingServer(uvicorn.Server):
    """Serves on sockets that it may share with other processes, until a signal, and then drains.

    SIGTERM and SIGHUP: the application announces the end, and requests are served for `drain_delay` seconds more, the
    answers with `Connection: close`. Then the listening sockets close, and the running requests end. SIGINT skips the
    delay: it comes from a terminal, where there is no load balancer. A SIGINT while it drains ends the process without
    waiting; other signals then change nothing.
    """

    def __init__(
        self, config: uvicorn.Config, *, sockets: Sequence[socket], drain_delay: float, loads: Loads, process: int
    ) -> None:
        super().__init__(config)
        self._sockets = sockets
        self._drain_delay = drain_delay
        self._loads = loads
        self._process = process
        self._turns = Turns()
        self._listener: Listener | None = None
        """None until it listens."""
        self._draining: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket] | None = None) -> None:  # noqa: ARG002 -- uvicorn's signature
        """Start the application, and then accept connections."""
        await super().startup(sockets=[])  # it opens none itself
        listener = Listener(
            self._sockets,
            protocol=self._protocol,
            connections=lambda: len(self.server_state.connections),
            limit=self.config.limit_concurrency or sys.maxsize,
            busy=lambda: self._turns.awaited,
            loads=self._loads,
            process=self._process,
        )
        try:
            listener.start()
        except OSError as error:
            logger.error("cannot listen: %s", error.strerror)
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        self._listener = listener

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; returns whether the server shuts down now."""
        if self._listener is not None:
            self._listener.publish()
        if not await super().on_tick(counter):
            return False
        self._begin_draining()
        return self.force_exit or self._draining is None or self._draining.done()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Close the connections, wait for the requests that still run, and end the application."""
        if self._listener is not None:
            self._listener.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called with a signal."""
        if sig == signal.SIGINT and not self.should_exit:
            self._drain_delay = 0
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._begin_draining)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle the signals that end the process, SIGHUP among them, unless it is ignored (nohup)."""
        self._loop = asyncio.get_running_loop()
        with super().capture_signals():
            hangup = signal.getsignal(signal.SIGHUP)
            if hangup is not signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, hangup)
                for handler in logging.getLogger().handlers:
                    handler.flush()  # the signal is raised again, and ends the process

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: HttpProtocol = protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        made.turns = self._turns
        if self._listener is not None:
            made.on_lost = self._listener.publish
        return made

    def _begin_draining(self) -> None:
        if self._listener is not None and self._draining is None:
            self._draining = asyncio.create_task(self._drain(self._listener))

    async def _drain(self, listener: Listener) -> None:
        steps: DrainingSteps | None = self.lifespan.state.get(STEPS)
        logger.info("draining: no connection is accepted after %g s", self._drain_delay)
        if steps is not None:
            steps.announce()
        listener.leave_to_others()
        self._close_after_answers()
        await asyncio.sleep(self._drain_delay)
        listener.close()
        await listener.wait_connected()
        for _ in range(round(FIRST_REQUEST / LOOK)):
            if not any(connection.cycle is None for connection in self._connections()):
                break
            await asyncio.sleep(LOOK)
        if steps is not None:
            await steps.finish()

    def _close_after_answers(self) -> None:
        # An idle connection stays open until its next answer: a request may be on its way.
        self.config.encoded_headers.append(CONNECTION_CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, CONNECTION_CLOSE]
        for connection in self._connections():
            if connection.cycle is not None:
                connection.cycle.keep_alive = False

    def _connections(self) -> list[Any]:
        return list(self.server_state.connections)
