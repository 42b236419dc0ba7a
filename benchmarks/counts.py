"""Counts: the SQL statements and S3 requests that a GET costs, exactly."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import names
from benchmarks.counting import CountingProxy
from benchmarks.run import Run, stopping
from benchmarks.store import Planted, Store
from benchmarks.targets import COUNTS
from benchmarks.wrk import Address, WrongAnswerError, ask
from tests.servers import MariaDB, PixyProxy

PART = "counts"
SIZE = names.SIZES["50 KB"]
CROWD = 100
ENTRY = re.compile(r"^(?:\d{6} [ \d]\d:\d\d:\d\d)?\t\s*\d+ (\w+)\t?", re.MULTILINE)
"""The head of an entry of MariaDB's general log; a statement may go on in the next lines."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 8 + 1.5 * min(rounds, 3 if quick else rounds)


@contextmanager
def general_log(mariadb: MariaDB, file: Path) -> Iterator[None]:
    """MariaDB writes every statement into the file while the block runs."""
    mariadb.query("SET GLOBAL general_log_file = %s", str(file))
    mariadb.query("SET GLOBAL general_log = ON")
    try:
        yield
    finally:
        mariadb.query("SET GLOBAL general_log = OFF")


def about_images(log: str) -> int:
    """Statements in a general log about the table of images, without those that set up the log."""
    parts = ENTRY.split(log)[1:]
    entries = zip(parts[::2], parts[1::2], strict=True)
    return sum(kind in ("Query", "Execute") and re.search(r"\bimages\b", text) is not None for kind, text in entries)


@dataclass
class Counter:
    """A PixyProxy whose requests to S3 go through a proxy that counts them."""

    server: PixyProxy
    proxy: CountingProxy
    mariadb: MariaDB
    folder: Path

    def cost(self, work: Callable[[], None]) -> tuple[int, int]:
        """The SQL statements about images, and the S3 requests, while the work is done and for 0.2 s after it."""
        file = self.folder / f"general-{time.monotonic_ns()}.log"
        before = self.proxy.requests
        with general_log(self.mariadb, file):
            work()
            time.sleep(0.2)
        return about_images(file.read_text(errors="replace")), self.proxy.requests - before

    def get(self, image: Planted, *, status: int = 200, method: str = "GET", **headers: str) -> None:
        """One request for the content; `WrongAnswerError` if its status is another."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        found, _, _ = ask(Address(self.server.port, (), headers=sent), image.path, method=method)
        if found != status:
            raise WrongAnswerError(f"{method} with {sent or 'no headers'}: {found}, and not {status}")


def run(run: Run) -> None:
    """Every case in every round, each with an image that was never requested."""
    run.progress.begin(PART, steps=run.rounds * len(COUNTS))
    with run.store(PART) as store, CountingProxy(run.seaweedfs.port) as proxy:
        endpoint = {"S3_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
        servers = {
            names.CACHED: store.serve("cached", **endpoint),
            names.UNCACHED: store.serve("uncached", CONTENT_CACHE_MB="0", **endpoint),
        }
        with stopping(*servers.values()):
            time.sleep(2)  # for the reconciler's first turn
            counters = {who: Counter(server, proxy, run.mariadb, store.folder) for who, server in servers.items()}
            for number in range(1, run.rounds + 1):
                measure_round(run, store, counters, number)


def measure_round(run: Run, store: Store, counters: dict[str, Counter], number: int) -> None:
    """The cases once. A wrong answer is a failure of the part; the other cases run."""
    image, uncached, cold, partial = store.plant(4, size_bytes=SIZE, first=number * 10)
    cached, off = counters[names.CACHED], counters[names.UNCACHED]
    off.get(uncached)

    def crowd() -> None:
        with ThreadPoolExecutor(CROWD) as threads:
            list(threads.map(lambda _: cached.get(cold), range(CROWD)))

    works: dict[str, Callable[[], None]] = {
        "first GET": lambda: cached.get(image),
        "second GET": lambda: cached.get(image),
        "second GET, cache off": lambda: off.get(uncached),
        "100 GETs at once of a cold object": crowd,
        "304": lambda: cached.get(partial, status=304, If_None_Match=f'"{partial.sha256}"'),
        "HEAD": lambda: cached.get(partial, method="HEAD"),
        "416": lambda: cached.get(partial, status=416, Range=f"bytes={SIZE}-"),
    }
    for case, work in works.items():
        who = COUNTS[case][0]
        with run.tolerating(PART, case):
            statements, requests = counters[who].cost(work)
            run.record(PART, case, who, number, sql_statements=statements, s3_requests=requests)
            run.progress.step(f"round {number}/{run.rounds} {case}: {statements} SQL, {requests} S3")
