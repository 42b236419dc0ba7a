"""Connects: the CPU of a new connection to MySQL, with the TLS context that all share and with one of its own."""

import time

from sqlalchemy import Engine, event

from benchmarks import names
from benchmarks.run import Run
from pixyproxy.data import tls
from pixyproxy.data.init import open_engine
from tests.servers import MySQL

PART = "connects"


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 8 + rounds * (1 if quick else 3)


def run(run: Run) -> None:
    """Engines as the product opens them; one of them connects by PyMySQL alone."""
    mysql = MySQL(run.next_folder("mysql"))
    try:
        url = mysql.create(PART)
        shared = open_engine(url, use="writing")
        own = open_engine(url, use="writing")
        event.remove(own, "do_connect", tls.connect)
        plain = open_engine(mysql.url(PART, options={"ssl_disabled": "true"}), use="writing")
        engines = {names.OWN_CONTEXT: own, names.SHARED_CONTEXT: shared, names.NO_TLS: plain}
        count = 5 if run.quick else 40
        run.progress.begin(PART, steps=run.rounds * len(engines))
        for number in range(run.rounds + 1):
            for who, engine in engines.items():
                cpu_ms = connect(engine, count=count)
                if number > 0:  # round 0 warms up
                    run.record(PART, names.CONNECT, who, number, cpu_ms=cpu_ms)
                    run.progress.step(f"round {number}/{run.rounds} {who}: {cpu_ms:.2f} ms")
    finally:
        mysql.process.stop()


def connect(engine: Engine, *, count: int) -> float:
    """Milliseconds of CPU of this process for a new connection, with the statements that the product sends first."""
    begun = time.process_time()
    for _ in range(count):
        connection = engine.raw_connection()
        connection.detach()  # the pool makes another one for the next
        connection.close()
    return 1000 * (time.process_time() - begun) / count
