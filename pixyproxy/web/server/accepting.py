"""Accepts connections on listening sockets that worker processes share, and spreads them over these processes.

SO_REUSEPORT would give every process its own queue, and when a process ends the kernel resets the connections in its
queue. In a shared queue a connection waits until any process accepts it.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from typing import Any

BACKLOG = 2048
"""Connections that may wait to be accepted."""
BATCH = 64
"""Connections that a process accepts in one turn of its event loop: a GET must not wait long behind a burst."""
YIELD = 0.02
"""Seconds for which a process leaves new connections to another that has fewer."""
SHORTAGE = 1.0
"""Seconds for which a process without free file descriptors or memory accepts nothing."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
MISSING_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
ACCEPTS_NONE = 2**31
"""The load of a process that accepts no connections: it drains, has not started, or has ended."""

Address = tuple[int, int, int, str, tuple[Any, ...]]
"""A result of `socket.getaddrinfo`: family, kind, protocol, name, address."""

logger = logging.getLogger(__name__)


def bind(host: str, port: int) -> list[socket.socket]:
    """A socket for each address of the host; for port 0 all have the same free one. `OSError` if one cannot be bound.

    The sockets accept no connections before `Listener.start`.
    """
    return bind_all(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE), port=port)


def bind_all(addresses: Iterable[Address], *, port: int) -> list[socket.socket]:
    """A socket for each of these addresses of `getaddrinfo`, at this port.

    An address that this machine does not have is skipped if another one works: `localhost` may name ::1 where IPv6 is
    switched off.
    """
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, kind, protocol, _, address in dict.fromkeys(addresses):
        try:
            sockets.append(bound_socket(family, kind, protocol, (address[0], port, *address[2:])))
            port = sockets[0].getsockname()[1]
        except OSError as error:
            if error.errno not in MISSING_ADDRESS:
                close_all(sockets)
                raise
            missing = error
    if missing is not None and not sockets:
        raise missing
    return sockets


def bound_socket(family: int, kind: int, protocol: int, address: tuple[Any, ...]) -> socket.socket:
    """A socket at this address; `OSError` if it cannot be bound."""
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.settimeout(0)
    except OSError:
        bound.close()
        raise
    return bound


def close_all(sockets: Iterable[socket.socket]) -> None:
    """Close the sockets."""
    for each in sockets:
        each.close()


class Loads:
    """The number of connections of each process, in shared memory."""

    def __init__(self, processes: int) -> None:
        self._loads = get_context("spawn").RawArray("l", [ACCEPTS_NONE] * processes)

    def __len__(self) -> int:
        """The number of processes."""
        return len(self._loads)

    def set(self, process: int, load: int) -> None:
        """Publish the load of a process."""
        self._loads[process] = load

    def of_others(self, process: int) -> list[int]:
        """The loads of all other processes."""
        loads = list(self._loads)
        return loads[:process] + loads[process + 1 :]


class Listener:
    """Accepts connections for one process. `connections` counts those that it has.

    With `limit` connections it leaves others in the queue while requests wait to begin, which `busy` tells: when these
    are answered, there may be a place. Else it accepts them, and the protocol refuses them.

    A process with more connections than another leaves new ones to the other for `YIELD` seconds. If the other accepts
    none, because it is busy or frozen, this process accepts one. After the next pause it accepts two, then four, and so
    on.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        protocol: Callable[[], asyncio.Protocol],
        connections: Callable[[], int],
        limit: int,
        busy: Callable[[], bool],
        loads: Loads,
        process: int,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = list(sockets)
        self._protocol = protocol
        self._connections = connections
        self._limit = limit
        self._busy = busy
        self._loads = loads
        self._process = process
        self._draining = False
        self._batch = 1
        """Connections to accept next if the others accept none."""
        self._connecting: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to accept connections; `OSError` if another program listens there."""
        for listening in self._sockets:
            listening.listen(BACKLOG)
            self._loop.add_reader(listening, self._on_connections, listening)
        self.publish()

    def publish(self) -> int:
        """Report to the other processes how many connections this one has. Returns what was reported."""
        load = ACCEPTS_NONE if self._draining else self._count()
        self._loads.set(self._process, load)
        return load

    def leave_to_others(self) -> None:
        """Accept only connections that no other process accepts."""
        self._draining = True
        self.publish()

    def close(self) -> None:
        """Accept the waiting connections, and stop listening."""
        self.leave_to_others()
        while self._sockets:
            listening = self._sockets.pop()
            self._loop.remove_reader(listening)
            while self._accept(listening):
                pass
            listening.close()

    async def wait_connected(self) -> None:
        """Return when every accepted connection counts among the connections."""
        if self._connecting:
            await asyncio.wait(self._connecting)

    def _on_connections(self, listening: socket.socket) -> None:
        for _ in range(BATCH):
            load, others = self.publish(), self._loads.of_others(self._process)
            if others and load > min(others):
                self._pause(listening, YIELD, others)
                return
            if self._leaves_waiting() or not self._accept(listening):
                return

    def _count(self) -> int:
        return len(self._connecting) + self._connections()

    def _leaves_waiting(self) -> bool:
        return self._count() >= self._limit and (bool(self._connecting) or self._busy())

    def _pause(self, listening: socket.socket, seconds: float, others: list[int]) -> None:
        self._loop.remove_reader(listening)
        self._loop.call_later(seconds, self._resume, listening, others)

    def _resume(self, listening: socket.socket, others: list[int]) -> None:
        if listening not in self._sockets:
            return
        self._loop.add_reader(listening, self._on_connections, listening)
        if self._loads.of_others(self._process) != others:
            self._batch = 1
            return
        for _ in range(self._batch):
            if self._leaves_waiting() or not self._accept(listening):
                self._batch = 1
                return
        self._batch = min(2 * self._batch, BATCH)

    def _accept(self, listening: socket.socket) -> bool:
        try:
            connection, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            if error.errno not in SHORTAGES:
                raise
            logger.error("no connection is accepted for %d s: %s", SHORTAGE, error.strerror)
            self._pause(listening, SHORTAGE, [])
            return False
        connection.settimeout(0)
        task = self._loop.create_task(self._connect(connection))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return True

    async def _connect(self, connection: socket.socket) -> None:
        with suppress(OSError):  # the client has already disconnected
            await self._loop.connect_accepted_socket(self._protocol, connection)
