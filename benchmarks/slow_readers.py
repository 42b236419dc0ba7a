"""Slow readers: what 200 of them cost in memory, and how they slow other requests."""

import json
import subprocess
import sys

from benchmarks import names
from benchmarks.contestants import ROOT
from benchmarks.generation import p99_ms
from benchmarks.load import Gets, Plan, carried_out
from benchmarks.measuring import growth_of
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Planted

PART = "slow_readers"
CLIENTS = 200
RATE = 100_000
"""Bytes a second of each."""
ROUNDS = 2
GETS_PER_S = 10.0
BEFORE = 10.0
"""Seconds of GETs alone before the readers come."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (10 + 24) if quick else 10 + min(rounds, ROUNDS) * len(names.SLOW) * (BEFORE + 42 + 3)


def run(run: Run) -> None:
    """Both numbers of objects in every round, each with a process of its own."""
    rounds = min(run.rounds, ROUNDS)
    run.progress.begin(PART, steps=rounds * len(names.SLOW))
    size, before, rate = (names.SIZES["50 KB"] * 10, 2.0, 100_000) if run.quick else (names.SIZES["4 MB"], BEFORE, RATE)
    with run.store("slow-readers") as store:
        small = store.plant(16, size_bytes=names.SIZES["50 KB"])
        large = store.plant(max(names.SLOW.values()), size_bytes=size)
        for number in range(1, rounds + 1):
            for case, objects in names.SLOW.items():
                server = store.serve(f"ours-{number}-{objects}")
                with stopping(server):
                    figures = measured(server.port, pid_of(server), small, large[:objects], before=before, rate=rate)
                run.record(PART, case, names.OURS, number, **figures)
                said = f"+{figures['growth_mb']:.0f} MB, {figures['errors']:.0f} errors"
                run.progress.step(f"round {number}/{rounds} {case}: {said}")


def measured(
    port: int, pid: int, small: list[Planted], large: list[Planted], *, before: float, rate: int
) -> dict[str, float]:
    """The figures of 200 readers of these objects, with steady GETs of the small ones before and during that."""
    details, content = [f"/image/{image.guid}" for image in small], [image.path for image in small]
    gets = {"details": Gets(port, details, GETS_PER_S), "content": Gets(port, content, GETS_PER_S)}
    alone = carried_out(Plan(gets=gets, seconds=before))
    command = [sys.executable, "-m", "benchmarks.slow_client", "--port", str(port)]
    options = ["--clients", str(CLIENTS), "--rate", str(rate), *(image.path for image in large)]
    with growth_of(pid) as growth:
        readers = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            during = carried_out(Plan(gets=gets, seconds=large[0].size_bytes / rate))
            output, _ = readers.communicate(timeout=300)
        finally:
            if readers.poll() is None:
                readers.kill()
                readers.wait()
    wanted = [200, large[0].size_bytes]
    broken = sum(each != wanted for each in json.loads(output))
    broken += sum(each.status != 200 for name in gets for each in (*alone[name], *during[name]))
    return {
        "growth_mb": growth.mb,
        "before_mb": growth.before,
        "errors": broken,
        **{f"{name}_p99_ms": p99_ms(during[name]) for name in gets},
        **{f"{name}_p99_ms_before": p99_ms(alone[name]) for name in gets},
    }
