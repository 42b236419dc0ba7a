"""A commit beside an earlier one: what a generation, a 304 and a list cost, in the same minutes.

Both run at once, and their turns alternate: whatever slows the machine down slows both.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks import names
from benchmarks.commits import MODEL, Version, check_out, known_commit
from benchmarks.contestants import ROOT, Stub
from benchmarks.measuring import cpu_seconds, median, percentile
from benchmarks.run import Run, pid_of, stopping
from benchmarks.wrk import Address, WrongAnswerError, ask, check, load
from tests import planted
from tests.servers import PixyProxy

PART = "against"
BEFORE_THE_LEDGER = "bbf83f3"
"""The default base."""
DRAWN, QUICK_DRAWN = 120, 8
"""Generations of each in a round, one at a time, in turn."""
AFTER = 0.5
"""Seconds in which a process may finish what follows an answer."""
LOADS = 2
"""Loads of each in a round, in turn."""
CONNECTIONS = 8
PAGE = 50
KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
BODY = json.dumps({"model": MODEL, "prompt": "a lighthouse at dawn", "size": "1024x1024", "quality": "medium"})


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 15 + rounds * len(names.DATABASES) * (12 if quick else 35)


@dataclass(frozen=True)
class Running:
    """A server, and the requests for which it is measured."""

    server: PixyProxy
    pid: int
    connection: http.client.HTTPConnection

    def draw(self) -> float:
        """Seconds of a generation, on a connection that is kept."""
        begun = time.perf_counter()
        self.connection.request("POST", "/image", BODY, {**KEY, "Content-Type": "application/json"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 201:
            raise WrongAnswerError(f"POST /image: {answer.status} {body[:300]!r}")
        return time.perf_counter() - begun

    def addresses(self) -> dict[str, Address]:
        """Its newest picture, which the client has already, and the first page of its list."""
        page = Address(self.server.port, [f"/image?limit={PAGE}"], headers=KEY)
        _, body, _ = ask(page, page.paths[0])
        newest = json.loads(body)[0]
        current = {"If-None-Match": f'"{newest["sha256"]}"'}
        picture = Address(self.server.port, [f"/image/{newest['guid']}/content"], status=304, headers=current)
        return {names.A_304: picture, names.A_LIST: page}


def run(run: Run) -> None:
    """Both over every database. Without the base there is nothing to compare with, and the part is skipped."""
    base = known_commit(run.base)
    if base is None:
        run.progress.say(f"{PART}: SKIPPED: this clone has no commit {run.base} (git fetch --unshallow?)")
        return
    run.results.facts["base"] = run.base
    package = run.next_folder("base")
    check_out(base, package)
    versions = {names.BASE: Version(package), names.OURS: Version(ROOT)}
    run.progress.begin(PART, steps=run.rounds * len(names.DATABASES) * 3)
    stub = Stub(run.next_folder("stub"), delay=0.0)
    with stopping(stub):
        for database in names.DATABASES:
            with serving(run, versions, database, upstream=f"127.0.0.1:{stub.port}") as running:
                for who in turns(1, 2 if run.quick else 20):
                    running[who].draw()
                for number in range(1, run.rounds + 1):
                    draw(run, running, database, number)
                    request(run, running, database, number)


@contextmanager
def serving(run: Run, versions: dict[str, Version], database: str, *, upstream: str) -> Iterator[dict[str, Running]]:
    """A server of each version over a database of its own."""
    with ExitStack() as stack:
        running = {}
        for who, version in versions.items():
            folder = run.next_folder(PART)
            url = run.mariadb.create(folder.name.replace("-", "_")) if database == names.MARIADB else None
            server = version.serve(folder, database=url, upstream=upstream)
            stack.enter_context(stopping(server))
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            stack.callback(connection.close)
            running[who] = Running(server, pid_of(server), connection)
        yield running


def turns(number: int, count: int) -> list[str]:
    """Whose turn it is, in a round; each has `count`, which is even. Who is first in a pair is second in the next."""
    first, second = (names.BASE, names.OURS) if number % 2 else (names.OURS, names.BASE)
    return [first, second, second, first] * (count // 2)


def draw(run: Run, running: dict[str, Running], database: str, number: int) -> None:
    """Generations of both, one at a time. CPU is all that a process used meanwhile, after its answers too."""
    count = QUICK_DRAWN if run.quick else DRAWN
    taken: dict[str, list[float]] = {who: [] for who in running}
    before = {who: cpu_seconds(each.pid) for who, each in running.items()}
    for who in turns(number, count):
        taken[who].append(1000 * running[who].draw())
    time.sleep(AFTER)
    found = {
        who: {
            "cpu_ms": 1000 * (cpu_seconds(each.pid) - before[who]) / count,
            "p50_ms": percentile(taken[who], 50),
            "p99_ms": percentile(taken[who], 99),
        }
        for who, each in running.items()
    }
    record(run, names.drawn_over(database), found, number)


def request(run: Run, running: dict[str, Running], database: str, number: int) -> None:
    """304s and lists of both in turn."""
    for case in (names.A_304, names.A_LIST):
        addresses = {who: each.addresses()[case] for who, each in running.items()}
        figures: dict[str, list[dict[str, float]]] = {who: [] for who in running}
        for who in turns(number, LOADS):
            check(addresses[who])
            pids = {"cpu_ms": running[who].pid}
            seconds = 1 if run.quick else 2
            figures[who].append(load(addresses[who], pids=pids, connections=CONNECTIONS, seconds=seconds))
        found = {
            who: {name: median([each[name] for each in both]) for name in ("cpu_ms", "p50_ms", "p99_ms")}
            for who, both in figures.items()
        }
        record(run, f"{case}, {database}", found, number)


def record(run: Run, case: str, found: dict[str, dict[str, float]], number: int) -> None:
    """Keep the figures of both, and with ours by how much they are more."""
    base, ours = found[names.BASE], found[names.OURS]
    run.record(PART, case, names.BASE, number, **base)
    added = {f"added_{name}": ours[name] - base[name] for name in ours}
    run.record(PART, case, names.OURS, number, **ours, **added)
    said = f"CPU {base['cpu_ms']:.2f} + {added['added_cpu_ms']:.2f} ms, "
    said += f"p50 {base['p50_ms']:.2f} + {added['added_p50_ms']:.2f} ms"
    run.progress.step(f"round {number}/{run.rounds} {case}: {said}")
