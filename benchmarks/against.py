"""A commit beside an earlier one: what a generation, a 304 and a list cost, in the same minutes.

Both run at once, and their turns alternate: whatever slows the machine down slows both.
"""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
TURNS = 2
"""Of each in a round: the first one, the other one twice, the first one."""
DRAWN, QUICK_DRAWN = 60, 4
"""Generations of a turn, one after the other."""
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

    def drawn(self, count: int) -> list[float]:
        """Seconds of each of so many generations, one after the other on one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        taken = []
        try:
            for _ in range(count):
                begun = time.perf_counter()
                connection.request("POST", "/image", BODY, {**KEY, "Content-Type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                taken.append(time.perf_counter() - begun)
                if answer.status != 201:
                    raise WrongAnswerError(f"POST /image: {answer.status} {body[:300]!r}")
        finally:
            connection.close()
        return taken

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
                for each in running.values():
                    each.drawn(2 if run.quick else 20)
                for number in range(1, run.rounds + 1):
                    draw(run, running, database, number)
                    request(run, running, database, number)


@contextmanager
def serving(run: Run, versions: dict[str, Version], database: str, *, upstream: str) -> Iterator[dict[str, Running]]:
    """A server of each version over a database of its own."""
    servers = {}
    for who, version in versions.items():
        folder = run.next_folder(PART)
        name = folder.name.replace("-", "_")
        url = run.mariadb.create(name) if database == names.MARIADB else None
        servers[who] = version.serve(folder, database=url, upstream=upstream)
    with stopping(*servers.values()):
        yield {who: Running(server, pid_of(server)) for who, server in servers.items()}


def turns(number: int) -> list[str]:
    """Whose turn it is, in a round: the one that begins a round ends it."""
    first, second = (names.BASE, names.OURS) if number % 2 else (names.OURS, names.BASE)
    return [first, second, second, first] * (TURNS // 2)


def draw(run: Run, running: dict[str, Running], database: str, number: int) -> None:
    """Generations of both in turn."""
    seconds: dict[str, list[float]] = {who: [] for who in running}
    used = dict.fromkeys(running, 0.0)
    for who in turns(number):
        before = cpu_seconds(running[who].pid)
        seconds[who] += running[who].drawn(QUICK_DRAWN if run.quick else DRAWN)
        used[who] += cpu_seconds(running[who].pid) - before
    found = {
        who: {
            "cpu_ms": 1000 * used[who] / len(seconds[who]),
            "p50_ms": 1000 * percentile(seconds[who], 50),
            "p99_ms": 1000 * percentile(seconds[who], 99),
        }
        for who in running
    }
    record(run, names.drawn_over(database), found, number)


def request(run: Run, running: dict[str, Running], database: str, number: int) -> None:
    """304s and lists of both in turn."""
    for case in (names.A_304, names.A_LIST):
        addresses = {who: each.addresses()[case] for who, each in running.items()}
        figures: dict[str, list[dict[str, float]]] = {who: [] for who in running}
        for who in turns(number):
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
