"""A run: its options, its servers, its results so far, and the lines that report its progress."""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contestants import Server
from benchmarks.results import Measurement, Results
from benchmarks.store import Store
from benchmarks.wrk import WrongAnswerError
from tests.servers import MariaDB, PixyProxy, SeaweedFS


@dataclass
class Progress:
    """How far a run is. `planned` are the seconds that each part should take."""

    planned: dict[str, float]
    begun: float = field(default_factory=time.monotonic)
    part: str = ""
    part_begun: float = 0.0
    steps: int = 1
    done: int = 0

    def begin(self, part: str, *, steps: int) -> None:
        """A part begins that has so many steps."""
        self.part, self.part_begun, self.steps, self.done = part, time.monotonic(), steps, 0

    def step(self, words: str) -> None:
        """Report what was measured, and how long the rest should take."""
        self.done = min(self.done + 1, self.steps)
        spent, planned = time.monotonic() - self.part_begun, self.planned.get(self.part, 0.0)
        rest = self.steps - self.done
        left = (spent / self.done if self.done * 5 > self.steps else planned / self.steps) * rest
        parts = list(self.planned)
        left += sum(self.planned[part] for part in parts[parts.index(self.part) + 1 :])
        self.say(f"{self.part:<12} {self.done:>3}/{self.steps} {words}  (about {left / 60:.0f} min left)")

    @staticmethod
    def say(words: str) -> None:
        """A line with the time of day."""
        print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


@dataclass
class Run:
    """What a part is given. `quick`: everything is smaller, and the figures mean nothing."""

    rounds: int
    quick: bool
    folder: Path
    results: Results
    progress: Progress
    mariadb: MariaDB
    seaweedfs: SeaweedFS
    rows: int = 1_000_000
    """Of the parts `search` and `ledger`."""
    base: str = ""
    """The commit that the part `against` compares with."""
    _names: Iterator[int] = field(default_factory=lambda: iter(range(1, 1_000_000)))

    @property
    def seconds(self) -> float:
        """How long a load lasts."""
        return 1.0 if self.quick else 3.0

    def record(self, part: str, case: str, contestant: str, number: int, **figures: float) -> None:
        """Keep the figures of a contestant in a case and a round."""
        rounded = {name: float(f"{value:.6g}") for name, value in figures.items() if not math.isnan(value)}
        self.results.measurements.append(Measurement(part, case, contestant, number, rounded))

    @contextmanager
    def tolerating(self, part: str, words: str) -> Iterator[None]:
        """A wrong answer in the block is a failure of the run; the rest continues."""
        try:
            yield
        except WrongAnswerError as error:
            self.results.failures[f"{part}: {words}"] = str(error)
            self.progress.step(f"{words}: FAILED: {error}")

    def next_folder(self, name: str) -> Path:
        """A new, unused folder."""
        return self.folder / f"{name}-{next(self._names)}"

    @contextmanager
    def store(self, name: str) -> Iterator[Store]:
        """An empty store while the block runs."""
        folder = self.next_folder(name)
        store = Store(self.mariadb, self.seaweedfs, name=folder.name.replace("_", "-"), folder=folder)
        try:
            yield store
        finally:
            store.drop()


@contextmanager
def stopping(*servers: Server | PixyProxy) -> Iterator[None]:
    """End the servers after the block."""
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.process.stop)
        yield


def pid_of(server: Server | PixyProxy) -> int:
    """The process of a server."""
    return server.process.handle.pid


def warn(words: str) -> None:
    """A line on stderr."""
    print(words, file=sys.stderr, flush=True)
