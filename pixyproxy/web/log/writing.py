"""Writes log lines in a thread, those of one turn of the event loop together.

A system call per line would cost more than the line itself. A pipe that is not read blocks its writer: in a thread it
does not block the service.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from pixyproxy.core import limits

AT_ONCE = 4096
"""Characters per write: writes of so many bytes are atomic in a pipe that several processes share (PIPE_BUF of Linux;
pipe(7)). Our lines are ASCII, except for warnings of libraries."""
MAX_WAITING = limits.MAX_LOG_WAITING
"""Characters that wait for the thread. Lines beyond this are dropped and counted."""
PAUSE = 0.02
"""Seconds between two writes: waking the thread for each line would take half as much CPU as the line."""
LAST_WORDS = 1.0
"""Seconds that a process waits at its end, and a command after each line, until the lines are written."""


class LogWriter:
    """A thread that writes lines with `write`, and the bounded buffer in front of it.

    `describe_dropped` makes the line that is written in place of dropped ones.
    """

    def __init__(self, write: Callable[[str], None], *, describe_dropped: Callable[[int], str]) -> None:
        self._write = write
        self._describe_dropped = describe_dropped
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._work = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

    def put(self, lines: list[str]) -> None:
        """Take lines to be written; drop them if the buffer is full. Never blocks for long."""
        size = sum(map(len, lines))
        with self._lock:
            if self._size + size > MAX_WAITING:
                self._dropped += len(lines)
            else:
                self._lines += lines
                self._size += size
            if self._idle.is_set():
                self._idle.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
        if not self._work.is_set():
            self._work.set()

    def drain(self, seconds: float) -> None:
        """Return when all lines are written, or after so many seconds."""
        self._idle.wait(seconds)

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            with self._lock:
                lines, self._lines = self._lines, []
                dropped, self._dropped = self._dropped, 0
            with suppress(Exception):  # the thread must not end, or nothing more would be written
                if dropped:
                    lines.append(self._describe_dropped(dropped))
                for piece in pieces(lines):
                    self._write(piece)
            with self._lock:
                self._size = sum(map(len, self._lines))
                if not self._lines and not self._dropped:
                    self._idle.set()
            time.sleep(PAUSE)


class TurnHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Collects the lines of one turn of the event loop and gives them to a `LogWriter` at its end; other lines at once.

    A warning or worse does not wait for the end of the turn, and takes earlier lines along. Only a killed process loses
    lines: those of its last milliseconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn: list[str] = []
        self._writer = LogWriter(self._write, describe_dropped=self._describe_dropped)
        # `logging` would query these from the system for every line, and our lines do not contain them.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Called with a record, by one thread at a time."""
        try:
            self._turn.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 -- as every handler does
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING:
            self._hand_over()
        elif len(self._turn) == 1:  # else it is handed over at the end of the turn
            loop = asyncio._get_running_loop()
            if loop is not None:
                loop.call_soon(self._hand_over)
            elif threading.current_thread() is threading.main_thread():
                self.flush()  # a command: its lines and its output keep their order
            else:
                self._hand_over()

    def flush(self) -> None:
        """Write the waiting lines, for at most `LAST_WORDS` seconds."""
        self._hand_over()
        self._writer.drain(LAST_WORDS)

    def _hand_over(self) -> None:
        self.acquire()
        try:
            lines, self._turn = self._turn, []
        finally:
            self.release()
        if lines:
            self._writer.put(lines)

    def _write(self, piece: str) -> None:
        """Write a piece.

        It is lost if it cannot be written: a full disk, a closed pipe or no stderr must not stop the service.
        """
        with suppress(Exception):  # without stderr the stream is None: AttributeError
            self.stream.write(piece)
            self.stream.flush()

    def _describe_dropped(self, number: int) -> str:
        message = f"log lines that were dropped, because the reader of the log is too slow: {number}"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
        return self.format(record) + self.terminator


def pieces(lines: list[str]) -> Iterator[str]:
    """The lines in pieces that are written atomically; a longer line is a piece of its own."""
    start = length = 0
    for position, line in enumerate(lines):
        if length + len(line) > AT_ONCE and position > start:
            yield "".join(lines[start:position])
            start, length = position, 0
        length += len(line)
    if start < len(lines):
        yield "".join(lines[start:])
