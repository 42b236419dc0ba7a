"""Streams: what 100 at once cost in memory, half of them read slowly, and how they slow other requests."""

import json
import subprocess
import sys

from benchmarks import names
from benchmarks.contestants import ROOT, Stub
from benchmarks.generation import p99_ms
from benchmarks.load import Gets, Plan, carried_out
from benchmarks.measuring import growth_of, median
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Planted
from tests import planted
from tests.servers import PixyProxy

PART = "streams"
CLIENTS = 100
RATE = 100_000
"""Bytes a second of the slow half, which needs half a minute for a stream of 3.3 MB."""
DRAWING = 8.0
"""Seconds of the upstream; a quarter from event to event."""
ROUNDS = 3
GETS_PER_S = 10.0
SECONDS = 40.0
"""Of GETs, while the streams last."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 15 if quick else 10 + min(rounds, ROUNDS) * (SECONDS + 8)


def run(run: Run) -> None:
    """A process of its own in every round."""
    rounds = min(run.rounds, ROUNDS)
    run.progress.begin(PART, steps=rounds)
    count, delay, rate = (10, 1.0, RATE * 10) if run.quick else (CLIENTS, DRAWING, RATE)
    stub = Stub(run.next_folder("stub"), delay=delay)
    with run.store("streams") as store, stopping(stub):
        store.environment |= {"OPENAI_BASE_URL": f"{stub.url}/v1"}
        small = store.plant(16, size_bytes=names.SIZES["50 KB"])
        for number in range(1, rounds + 1):
            server = store.serve(f"ours-{number}", MAX_GENERATIONS=str(count + 1))
            with stopping(server):
                ended(start(server.port, clients=2, rate=RATE * 100))  # what is loaded at first use
                figures = measured(server, small, clients=count, rate=rate, seconds=4.0 if run.quick else SECONDS)
            run.record(PART, names.STREAMS, names.OURS, number, **figures)
            said = f"+{figures['growth_mb']:.0f} MB, {figures['errors']:.0f} errors"
            run.progress.step(f"round {number}/{rounds}: {said}")


def measured(server: PixyProxy, small: list[Planted], *, clients: int, rate: float, seconds: float) -> dict[str, float]:
    """The figures of so many streams at once, with steady GETs beside them."""
    gets = {
        "details": Gets(server.port, [f"/image/{image.guid}" for image in small], GETS_PER_S),
        "content": Gets(server.port, [image.path for image in small], GETS_PER_S),
    }
    with growth_of(pid_of(server)) as growth:
        reading = start(server.port, clients=clients, rate=rate)
        during = carried_out(Plan(gets=gets, seconds=seconds))
        streams = ended(reading)
    fast, slow = streams[: clients // 2], streams[clients // 2 :]
    broken = sum(not whole for whole, _, _ in streams) + (clients - len(streams))
    broken += sum(each.status != 200 for name in gets for each in during[name])
    return {
        "growth_mb": growth.mb,
        "before_mb": growth.before,
        "errors": broken,
        "fast_seconds": median([taken for _, _, taken in fast]),
        "slow_seconds": median([taken for _, _, taken in slow]),
        "fast_partials": sum(partials for _, partials, _ in fast) / max(1, len(fast)),
        "slow_partials": sum(partials for _, partials, _ in slow) / max(1, len(slow)),
        **{f"{name}_p99_ms": p99_ms(during[name]) for name in gets},
    }


def start(port: int, *, clients: int, rate: float) -> "subprocess.Popen[bytes]":
    """Clients in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.stream_client", "--port", str(port)]
    options = ["--clients", str(clients), "--rate", str(rate)]
    environment = {"PIXYPROXY_API_KEY": planted.API_KEY}
    return subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def ended(reading: "subprocess.Popen[bytes]") -> list[tuple[bool, int, float]]:
    """The results of the streams."""
    try:
        output, _ = reading.communicate(timeout=320)
    finally:
        if reading.poll() is None:
            reading.kill()
            reading.wait()
    found: list[tuple[bool, int, float]] = json.loads(output)
    return found
