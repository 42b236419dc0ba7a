"""When log lines are written: together at the end of a turn of the event loop, or at once; always in order."""

import asyncio
import io
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from pixyproxy.web.log.writing import AT_ONCE, MAX_WAITING, TurnHandler, pieces
from tests.servers import PixyProxy, wait_until

pytestmark = pytest.mark.anyio


class Writes(io.StringIO):
    """Remembers what was written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return len(text)


@pytest.fixture
def writes() -> Writes:
    """The stream of the log."""
    return Writes()


@pytest.fixture
def log(writes: Writes, monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """A log with one handler."""
    for name in ("logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    handler = TurnHandler()
    handler.stream = writes
    log = logging.Logger("turns", logging.INFO)
    log.addHandler(handler)
    yield log
    handler.close()


async def written(log: logging.Logger) -> None:
    """Return at the end of the turn, when the thread has written everything."""
    await asyncio.sleep(0)
    drain(log)


def drain(log: logging.Logger) -> None:
    """Return when the thread has written everything that it was given."""
    (handler,) = log.handlers
    assert isinstance(handler, TurnHandler)
    handler._writer.drain(10)


async def test_the_lines_of_a_turn_are_written_together_when_it_ends(log: logging.Logger, writes: Writes) -> None:
    log.info("one")
    log.info("two")
    drain(log)
    assert writes.calls == []
    await written(log)
    assert writes.calls == ["one\ntwo\n"]
    log.info("three")
    await written(log)
    assert writes.calls == ["one\ntwo\n", "three\n"]


async def test_a_warning_does_not_wait_and_comes_after_what_was_said_before(
    log: logging.Logger, writes: Writes
) -> None:
    log.info("one")
    log.warning("two")
    drain(log)
    assert "".join(writes.calls) == "one\ntwo\n"
    log.info("three")
    await written(log)
    assert "".join(writes.calls) == "one\ntwo\nthree\n"


def test_without_an_event_loop_a_line_is_written_at_once(log: logging.Logger, writes: Writes) -> None:
    log.info("one")
    assert writes.calls == ["one\n"]


async def test_a_line_of_another_thread_keeps_its_place(log: logging.Logger, writes: Writes) -> None:
    log.info("one")
    thread = threading.Thread(target=lambda: log.info("two"))
    thread.start()
    thread.join()
    log.info("three")
    await written(log)
    assert "".join(writes.calls) == "one\ntwo\nthree\n"


class Full(io.StringIO):
    """Takes nothing, as a full disk and a closed pipe do."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("broken", ["full", "closed", "none"])
async def test_a_log_that_cannot_be_written_stops_nothing(log: logging.Logger, writes: Writes, broken: str) -> None:
    (handler,) = log.handlers
    assert isinstance(handler, TurnHandler)
    handler.stream = Full()
    if broken == "closed":
        handler.stream.close()
    if broken == "none":
        handler.stream = None  # what Python makes of a stderr that the parent process closed
    log.info("lost")
    await written(log)
    log.warning("lost too")
    drain(log)
    handler.stream = writes
    log.info("kept")
    await written(log)
    assert writes.calls == ["kept\n"]


def test_a_service_whose_log_is_full_serves(tmp_path: Path) -> None:
    replica = PixyProxy(tmp_path, {})
    with Path("/dev/full").open("ab") as full:
        running = subprocess.Popen(
            replica.process.command,
            env=dict(replica.process.environment or {}),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=full,
        )
    try:
        wait_until(lambda: httpx2.get(f"{replica.url}/healthz"), seconds=60, what="PixyProxy")
        for _ in range(3):
            assert httpx2.get(f"{replica.url}/readyz").status_code == 200
    finally:
        running.terminate()
        running.wait(20)


class Stuck(io.StringIO):
    """Blocks its writer until it is read, as a full pipe does."""

    def __init__(self) -> None:
        super().__init__()
        self.read_again = threading.Event()
        self.taken: list[str] = []

    def write(self, text: str) -> int:
        self.read_again.wait(30)
        self.taken.append(text)
        return len(text)


async def test_a_log_that_nobody_reads_is_bounded_and_what_was_dropped_is_counted(log: logging.Logger) -> None:
    (handler,) = log.handlers
    assert isinstance(handler, TurnHandler)
    stuck = handler.stream = Stuck()
    for number in range(200):
        log.info("%03d %s", number, "x" * 10_000)
        await asyncio.sleep(0)
    stuck.read_again.set()
    drain(log)
    lines = "".join(stuck.taken).splitlines()
    kept = [int(line[:3]) for line in lines if line[:3].isdecimal()]
    assert kept == list(range(len(kept))), "the first ones, in their order"
    assert sum(len(line) for line in lines) <= MAX_WAITING + 20_000
    dropped = [int(line.rpartition(": ")[2]) for line in lines if "dropped" in line]
    assert (len(dropped) <= 2, sum(dropped)) == (True, 200 - len(kept))
    log.info("again")
    await written(log)
    assert stuck.taken[-1] == "again\n"


def test_a_service_whose_log_nobody_reads_serves_and_ends(tmp_path: Path) -> None:
    replica = PixyProxy(tmp_path, {})
    reading, writing = os.pipe()
    running = subprocess.Popen(
        replica.process.command,
        env=dict(replica.process.environment or {}),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    try:
        wait_until(lambda: httpx2.get(f"{replica.url}/healthz"), seconds=60, what="PixyProxy")
        with httpx2.Client(timeout=20) as client:
            for _ in range(1500):  # some 300 KB of lines: a pipe holds 64 KB
                assert client.get(f"{replica.url}/healthz").status_code == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) in (0, -signal.SIGTERM)
    finally:
        running.kill()
        running.wait()
        os.close(reading)


def test_what_waits_when_the_process_ends_is_written() -> None:
    script = (
        "import asyncio, logging\n"
        "from pixyproxy.web.log.writing import TurnHandler\n"
        "log = logging.getLogger(); log.setLevel('INFO'); log.addHandler(TurnHandler())\n"
        "async def main():\n"
        "    log.info('the last words')\n"
        "    raise SystemExit(3)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (3, "the last words\n")


def test_what_is_written_at_once_is_whole_lines_and_stays_together_in_a_pipe() -> None:
    lines = [f"{number} {'x' * (number % 700)}\n" for number in range(300)]
    written = list(pieces(lines))
    assert "".join(written) == "".join(lines)
    assert all(len(piece) <= AT_ONCE and piece.endswith("\n") for piece in written)
    assert len(written) < 40
    long = "y" * 10_000 + "\n"
    assert list(pieces(["a\n", long, "b\n"])) == ["a\n", long, "b\n"]
    assert list(pieces([])) == []
