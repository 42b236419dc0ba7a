"""The ledger: the usage of a year with 1,000,000 generations, by month and key, over every database."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from benchmarks import names
from benchmarks.ledger_rows import Year, cost_of, fill_server, fill_sqlite
from benchmarks.measuring import cpu_seconds, median
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import QUIET
from benchmarks.wrk import Address, WrongAnswerError, ask
from pixyproxy.core.money import amount_of
from tests import planted
from tests.servers import MYSQL, SCRIPT, MySQL, PixyProxy, SqlServer, clean_environment

PART = "ledger"
QUICK_ROWS = 4_000
BUFFER_POOL = 1024 * names.MB
REQUESTS = 11
"""Of a question in a round, one after the other."""
PATIENCE = 1800.0
"""Seconds in which a database must have been added up for the first time."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (25 if quick else 420) + rounds * (1 if quick else 12)


def run(run: Run) -> None:
    """The same questions over MariaDB, SQLite and, if it is installed, MySQL."""
    year = Year(QUICK_ROWS if run.quick else run.rows, datetime.now(UTC))
    run.progress.begin(PART, steps=3 * run.rounds * len(names.USAGES))
    run.mariadb.query("SET GLOBAL innodb_buffer_pool_size = %s", BUFFER_POOL)
    measure(run, names.MARIADB, run.mariadb, year)
    measure(run, names.SQLITE, None, year)
    if MYSQL.exists():
        mysql = MySQL(run.next_folder("mysql"), f"--innodb-buffer-pool-size={BUFFER_POOL}")
        try:
            measure(run, names.MYSQL, mysql, year)
        finally:
            mysql.process.stop()


def measure(run: Run, database: str, server: SqlServer | None, year: Year) -> None:
    """Fill a database, let its days be added up, and ask."""
    with filled(run, database, server, year) as environment:
        ours = PixyProxy(run.next_folder("server"), environment, installed=True).start()
        with stopping(ours):
            address = Address(ours.port, [], headers={"Authorization": f"Bearer {planted.API_KEY}"})
            begun = time.monotonic()
            add_up(address, year)
            run.record(PART, names.usage_over(names.FIRST_ASKED, database), names.OURS, 1, s=time.monotonic() - begun)
            run.progress.say(f"{PART}: {database} was added up in {time.monotonic() - begun:.0f} s")
            for number in range(1, run.rounds + 1):
                for case in names.USAGES:
                    pids = {"cpu_ms": pid_of(ours)}
                    if server is not None:
                        pids["database_cpu_ms"] = server.process.handle.pid
                    figures = asked(address, question(case, year), pids)
                    run.record(PART, names.usage_over(case, database), names.OURS, number, **figures)
                    run.progress.step(f"round {number}/{run.rounds} {case}, {database}: {figures['p50_ms']:.0f} ms")


@contextmanager
def filled(run: Run, database: str, server: SqlServer | None, year: Year) -> Iterator[dict[str, str]]:
    """The settings of a PixyProxy over a database with a year of generations; without a server it is SQLite."""
    folder = run.next_folder(PART)
    name = folder.name.replace("-", "_")
    (folder / "images").mkdir(parents=True)
    url = f"sqlite:///{folder / 'pixyproxy.db'}" if server is None else server.create(name)
    environment = {
        **QUIET,
        "PIXYPROXY_DATABASE_URL": url,
        "PIXYPROXY_STORAGE_URL": f"file:{folder / 'images'}",
        "PIXYPROXY_API_KEY": planted.API_KEY,
        "PIXYPROXY_DEMO": "1",
    }
    migrating = [SCRIPT, "migrate"]
    subprocess.run(migrating, env=clean_environment(environment), cwd=folder, check=True, capture_output=True)
    begun = time.monotonic()
    run.progress.say(f"{PART}: {year.rows:,} generations are inserted into {database}")
    if server is None:
        fill_sqlite(Path(folder, "pixyproxy.db"), year)
    else:
        fill_server(server, f"test_{name}", year)
    run.progress.say(f"{PART}: that took {time.monotonic() - begun:.0f} s")
    yield environment
    if server is not None:
        server.query(f"DROP DATABASE `test_{name}`")


def question(case: str, year: Year) -> str:
    """The path of a question. The day after today is after the last one."""
    since, by = (year.first, "month,key") if case == names.A_YEAR else (year.now.date().replace(day=1), "key")
    return f"/usage?{urlencode({'from': since, 'to': year.now.date() + timedelta(days=1), 'by': by})}"


def add_up(address: Address, year: Year) -> None:
    """Ask until all days are stored. `WrongAnswerError` if the sums are not those of the rows."""
    path, end, status = question(names.A_YEAR, year), time.monotonic() + PATIENCE, 503
    while status == 503 and time.monotonic() < end:
        status, body, _ = ask(address, path)
    answer = json.loads(body)
    if status != 200:
        raise WrongAnswerError(f"{path}: {status} {answer}")
    total, grouped = answer["total"], sum(group["generations"] for group in answer["groups"])
    expected = year.rows, year.rows, amount_of(sum(map(cost_of, range(year.rows))))
    found = grouped, total["generations"], total["cost"]
    if found != expected:
        raise WrongAnswerError(f"{path}: generations and cost are {found}, and not {expected}")


def asked(address: Address, path: str, pids: Mapping[str, int]) -> dict[str, float]:
    """The latency of a question, one at a time, and the CPU of each process."""
    taken, before = [], {name: cpu_seconds(pid) for name, pid in pids.items()}
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        status, body, _ = ask(address, path)
        taken.append(1000 * (time.perf_counter() - begun))
        if status != 200:
            raise WrongAnswerError(f"{path}: {status} {body[:300]!r}")
    used = {name: 1000 * (cpu_seconds(pid) - before[name]) / REQUESTS for name, pid in pids.items()}
    return {"p50_ms": median(taken), "worst_ms": max(taken), **used}
