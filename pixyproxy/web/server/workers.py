"""Several worker processes that serve on the same listening sockets, and the parent process that keeps them running."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from socket import socket, socketpair

from uvicorn.config import STARTUP_FAILURE

from pixyproxy.web.server.accepting import ACCEPTS_NONE, Loads

WORKER_PATIENCE = 60.0
"""Seconds for which a worker may be frozen before the parent process kills it, with the pictures in its memory."""
BEAT = 1.0
"""Seconds between a worker's heartbeats."""
SPAWN = multiprocessing.get_context("spawn")

logger = logging.getLogger(__name__)

Serve = Callable[[Sequence[socket], Loads, int], None]
"""Serves on the sockets, with the loads of all workers, as the worker of this number, until a signal."""


class Beats:
    """Heartbeats: each worker counts in memory that the parent process reads."""

    def __init__(self, workers: int) -> None:
        self._counts = SPAWN.RawArray("L", workers)

    def count(self, worker: int) -> int:
        """The count of a worker."""
        return int(self._counts[worker])

    def send_until_the_parent_ends(self, worker: int) -> None:
        """Count in a thread of the worker. The worker ends if its parent process has ended."""
        parent = multiprocessing.parent_process()
        while parent is None or not wait([parent.sentinel], BEAT):
            self._counts[worker] += 1
        os.kill(os.getpid(), signal.SIGTERM)


def work(serve: Serve, sockets: Sequence[socket], loads: Loads, beats: Beats, worker: int) -> None:
    """The main function of a worker process."""
    os.setpgrp()  # a terminal's Ctrl-C reaches the parent process only, which passes it on once
    threading.Thread(target=beats.send_until_the_parent_ends, args=(worker,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        serve(sockets, loads, worker)


class Workers:
    """The parent process. It replaces workers that end or freeze, until SIGTERM, SIGHUP or SIGINT."""

    def __init__(self, serve: Serve, sockets: list[socket], *, number: int) -> None:
        self._serve = serve
        self._sockets = sockets
        self._number = number
        self._loads = Loads(number)
        self._beats = Beats(number)
        self._processes: dict[int, SpawnProcess] = {}
        self._silence: dict[int, tuple[int, float]] = {}
        """Each worker's last count, and the seconds since."""
        self._ending = False
        self._failed = False

    def run(self) -> None:
        """Run the workers, and return when they have ended after a signal; `SystemExit` if one cannot start."""
        with _caught(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            logger.info("the parent process [%d] starts %d workers", os.getpid(), self._number)
            for worker in range(self._number):
                self._start(worker)
            last = time.monotonic()
            while self._processes:
                wait([signals, *(process.sentinel for process in self._processes.values())], timeout=0.5)
                for number in _read(signals):
                    # Workers take SIGINT as Ctrl-C; a second one ends them without waiting.
                    self._end(signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
                now = time.monotonic()
                self._kill_frozen(min(now - last, 1.0))  # without the time for which this process itself was stopped
                last = now
                self._look_for_ended()
        if self._failed:
            sys.exit(STARTUP_FAILURE)

    def _start(self, worker: int) -> None:
        process = SPAWN.Process(target=work, args=(self._serve, self._sockets, self._loads, self._beats, worker))
        process.start()
        self._processes[worker] = process
        self._silence[worker] = (self._beats.count(worker), 0.0)

    def _look_for_ended(self) -> None:
        for worker, process in list(self._processes.items()):
            if process.is_alive():
                continue
            del self._processes[worker]
            self._loads.set(worker, ACCEPTS_NONE)
            if self._ending:
                continue
            if process.exitcode == STARTUP_FAILURE:
                logger.error("worker [%d] cannot start", process.pid)
                self._failed = True
                self._end(signal.SIGTERM)
            else:
                logger.warning("worker [%d] ended with status %d: another one starts", process.pid, process.exitcode)
                self._start(worker)

    def _kill_frozen(self, passed: float) -> None:
        if self._ending:
            return
        for worker, process in self._processes.items():
            count, (known, silent) = self._beats.count(worker), self._silence[worker]
            self._silence[worker] = (count, 0.0 if count != known else silent + passed)
            if self._silence[worker][1] > WORKER_PATIENCE:
                logger.error("worker [%d] has been frozen for %d s: it is killed", process.pid, WORKER_PATIENCE)
                process.kill()
                process.join()

    def _end(self, number: signal.Signals) -> None:
        self._ending = True
        for listening in self._sockets:
            listening.close()  # the workers have their own: the listening ends when the last one closes it
        for worker, process in self._processes.items():
            starts = self._beats.count(worker) == self._silence[worker][0] == 0
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGTERM if starts else number)


@contextmanager
def _caught(*numbers: signal.Signals) -> Iterator[socket]:
    """A socket from which the signals that arrive are read. A SIGHUP that is ignored (nohup) stays so."""
    reading, writing = socketpair()
    reading.settimeout(0)
    writing.settimeout(0)
    signal.set_wakeup_fd(writing.fileno())
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    with reading, writing:
        yield reading
        signal.set_wakeup_fd(-1)


def _read(signals: socket) -> list[int]:
    try:
        return list(signals.recv(64))
    except BlockingIOError:
        return []
