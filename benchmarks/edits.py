"""Edits: what 32 clients that upload 40 MB each at once cost in memory, and how they slow other requests."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import names
from benchmarks.contestants import ROOT
from benchmarks.generation import p99_ms
from benchmarks.load import Gets, Plan, carried_out
from benchmarks.measuring import growth_of
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Planted
from tests import planted
from tests.servers import PixyProxy

PART = "edits"
CLIENTS = 32
IMAGES = 4
IMAGE_MB = 10
UPLOAD_MB = "2048"
"""More than all images need: with less, some edits would get 503."""
ROUNDS = 3
GETS_PER_S = 10.0
SECONDS = 20.0
"""Of GETs, while the edits last: some 10 s on two cores."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 15 if quick else 10 + min(rounds, ROUNDS) * len(names.EDITS) * (SECONDS + 6)


def run(run: Run) -> None:
    """Forms and JSON in every round, each with a process of its own."""
    rounds = min(run.rounds, ROUNDS)
    run.progress.begin(PART, steps=rounds * len(names.EDITS))
    clients, size = (4, 1) if run.quick else (CLIENTS, IMAGE_MB)
    with run.store("edits") as store, drawing(run.next_folder("demo-upstream")) as upstream:
        store.environment |= {"OPENAI_BASE_URL": f"{upstream}/v1", "PIXYPROXY_QUALITY": "low"}
        small = store.plant(16, size_bytes=names.SIZES["50 KB"])
        for number in range(1, rounds + 1):
            for case, form in names.EDITS.items():
                server = store.serve(f"ours-{number}-{form}", UPLOAD_MB=UPLOAD_MB)
                with stopping(server):
                    upload(server.port, form=form, clients=1, size=1)  # what is loaded at first use
                    figures = measured(server, small, form=form, clients=clients, size=size, quick=run.quick)
                run.record(PART, case, names.OURS, number, **figures)
                said = f"+{figures['growth_mb']:.0f} MB, {figures['errors']:.0f} errors"
                run.progress.step(f"round {number}/{rounds} {case}: {said}")


@contextmanager
def drawing(folder: Path) -> Iterator[str]:
    """The address of a demo upstream of its own process, which takes a second for a picture."""
    upstream = PixyProxy(folder, {}, arguments=("demo-upstream", "--delay", "1"), defaults={}, installed=True)
    with stopping(upstream.start()):
        yield upstream.url


def measured(
    server: PixyProxy, small: list[Planted], *, form: str, clients: int, size: int, quick: bool
) -> dict[str, float]:
    """The figures of so many edits at once, with steady GETs beside them."""
    gets = {
        "details": Gets(server.port, [f"/image/{image.guid}" for image in small], GETS_PER_S),
        "content": Gets(server.port, [image.path for image in small], GETS_PER_S),
    }
    with growth_of(pid_of(server)) as growth:
        uploading = start_upload(server.port, form=form, clients=clients, size=size)
        during = carried_out(Plan(gets=gets, seconds=3.0 if quick else SECONDS))
        statuses, seconds = ended(uploading)
    broken = sum(each != 200 for each in statuses) + (clients - len(statuses))
    broken += sum(each.status != 200 for name in gets for each in during[name])
    return {
        "growth_mb": growth.mb,
        "before_mb": growth.before,
        "errors": broken,
        "seconds": seconds,
        **{f"{name}_p99_ms": p99_ms(during[name]) for name in gets},
    }


def start_upload(port: int, *, form: str, clients: int, size: int) -> "subprocess.Popen[bytes]":
    """Clients in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.upload_client", "--port", str(port), "--form", form]
    options = ["--clients", str(clients), "--images", str(IMAGES), "--megabytes", str(size)]
    environment = {"PIXYPROXY_API_KEY": planted.API_KEY}
    return subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE, env=environment)


def ended(uploading: "subprocess.Popen[bytes]") -> tuple[list[int], float]:
    """The statuses that the clients got, and the seconds until the last answer."""
    try:
        output, _ = uploading.communicate(timeout=300)
    finally:
        if uploading.poll() is None:
            uploading.kill()
            uploading.wait()
    statuses, seconds = json.loads(output)
    return statuses, seconds


def upload(port: int, *, form: str, clients: int, size: int) -> None:
    """Some edits that are not measured."""
    ended(start_upload(port, form=form, clients=clients, size=size))
