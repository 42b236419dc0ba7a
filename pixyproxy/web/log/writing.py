"""Writes log lines: those of one turn of the event loop together, for a system call a line costs more than the line."""

import asyncio
import logging
from collections.abc import Iterator

AT_ONCE = 4096
"""Characters that are written at once: so many bytes of one process stay together in a pipe that several share
(PIPE_BUF of Linux; pipe(7)). Our lines are ASCII but for what a warning of a library says."""


class TurnHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr what is logged in a turn of the event loop when that turn ends, and everything else at once.

    A warning, and what is worse, does not wait, and takes with it what came before. Only a process that is killed
    loses lines: those of the turn that it died in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        # `logging` asks the system for these at every line, and no line of ours has them.
        logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

    def emit(self, record: logging.LogRecord) -> None:
        """Called with a record, by one thread at a time."""
        try:
            self._lines.append(self.format(record) + self.terminator)
        except Exception:  # noqa: BLE001 -- as every handler does
            self.handleError(record)
            return
        if record.levelno >= logging.WARNING:
            self.flush()
        elif len(self._lines) == 1:  # else a turn that has not ended will write them
            loop = asyncio._get_running_loop()
            if loop is None:
                self.flush()
            else:
                loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits. What cannot be written is lost: a full disk or a closed pipe stops nothing else."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            for piece in pieces(lines):
                self.stream.write(piece)
                self.stream.flush()
        except (OSError, ValueError):  # the latter: it is closed
            pass
        finally:
            self.release()


def pieces(lines: list[str]) -> Iterator[str]:
    """The lines, as many together as stay together; a longer one alone."""
    start = length = 0
    for position, line in enumerate(lines):
        if length + len(line) > AT_ONCE and position > start:
            yield "".join(lines[start:position])
            start, length = position, 0
        length += len(line)
    if start < len(lines):
        yield "".join(lines[start:])
