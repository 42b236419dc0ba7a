"""Commands of `pixyproxy` as processes of their own that begin with everything imported.

One process, the fork server, has imported the product and started nothing: no thread, no event loop, no connection. It
forks for each command. The new process gets its environment, folder and output, and runs the entry point of the
installed script. Its pid, its exit status and what signals do to it are those of any process.
"""

import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Lock
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pixyproxy.cli",
        "pixyproxy.upstream.demo.server",
        "pixyproxy.upstream.openai.generator",
        "tests.crashing",
        # What libraries import only when they are used.
        "anyio._backends._asyncio",
        "sqlalchemy.dialects.mysql.pymysql",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "uvicorn.lifespan.on",
        "uvicorn.loops.uvloop",
        "uvicorn.protocols.http.httptools_impl",
        "tests.frozen",
    ]
)
LOCK = Lock()
"""multiprocessing reads the exit status of a process from a pipe, once: no two threads may try."""


class Forked:
    """A process that the fork server made, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, run: Callable[..., None], *arguments: Any) -> None:
        self._process = FORKS.Process(target=run, args=arguments)
        with LOCK:
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        with LOCK:
            return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        """The exit status."""
        return self.poll()

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, when it has ended; `TimeoutExpired` if that takes longer."""
        wait([self._process.sentinel], timeout)
        status = self.poll()
        if status is None:
            raise TimeoutExpired(self._process.name, timeout or 0)
        return status

    def send_signal(self, how: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, how)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


def enter(environment: Mapping[str, str], *, folder: Path, stdout: Path, stderr: Path) -> None:
    """Make the forked process what a new one would be: its environment, its folder, its output."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for file, mode, descriptor in ((Path(os.devnull), "rb", 0), (stdout, "ab", 1), (stderr, "ab", 2)):
        with file.open(mode) as opened:
            os.dup2(opened.fileno(), descriptor)
    if environment.get("PYTHONWARNINGS") == "error":
        warnings.simplefilter("error")


def run(
    script: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, stdout: Path, stderr: Path
) -> None:
    """Run the command to its end, in a process made for it."""
    enter(environment, folder=folder, stdout=stdout, stderr=stderr)
    sys.argv = [script, *arguments]
    from pixyproxy.cli import main

    sys.exit(main())
