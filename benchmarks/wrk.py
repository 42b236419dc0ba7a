"""Load by wrk, and the CPU that a process spends under it."""

import http.client
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import cpu_seconds

SCRIPT = Path(__file__).with_name("rotate.lua")
RESULT = re.compile(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", re.MULTILINE)


class WrongAnswerError(Exception):
    """A contestant gives a wrong answer: its figures would mean nothing."""


@dataclass(frozen=True)
class Address:
    """What is requested: a server's port on 127.0.0.1, paths in turn, and what every answer must be."""

    port: int
    paths: Sequence[str]
    status: int = 200
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def ask(address: Address, path: str, *, method: str = "GET") -> tuple[int, bytes, int]:
    """Status, body, and the bytes of the head of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
    try:
        connection.request(method, path, headers=dict(address.headers))
        answer = connection.getresponse()
        head = len(f"HTTP/1.1 {answer.status} {answer.reason}\r\n\r\n")
        return (
            answer.status,
            answer.read(),
            head + sum(len(name) + len(value) + 4 for name, value in answer.getheaders()),
        )
    finally:
        connection.close()


def check(address: Address, *, most: int = 100) -> int:
    """Request up to `most` paths once; the bytes of an answer. `WrongAnswerError` if an answer is wrong."""
    length = 0
    for path in address.paths[:most]:
        status, body, head = ask(address, path)
        if status != address.status or address.size not in (None, len(body)):
            wanted = f"{address.status}, {address.size} bytes"
            raise WrongAnswerError(f"{path.partition('?')[0]}: {status}, {len(body)} bytes, and not {wanted}")
        length = head + len(body)
    return length


def load(
    address: Address, *, pids: Mapping[str, int], connections: int, seconds: float, answer: int | None = None
) -> dict[str, float]:
    """Requests/s, latencies, and the CPU in ms a request of each process named in `pids`, under full load.

    Where all answers have one size, the bytes that came are counted, in answers of `answer` bytes (head included; those
    of a checked one if not given): so the part of an answer that the end cuts off counts, as its CPU does. Raises
    `WrongAnswerError` for any error.
    """
    expected = check(address, most=1) if answer is None else answer
    with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
        file.write("\n".join(address.paths))
        file.flush()
        headers = [word for name, value in address.headers.items() for word in ("-H", f"{name}: {value}")]
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout=60s", f"-s{SCRIPT}", *headers]
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        ran = subprocess.run(
            [*command, f"http://127.0.0.1:{address.port}/", "--", file.name],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 120,
        )
        used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    found = RESULT.search(ran.stdout)
    if not found:
        raise WrongAnswerError(f"wrk failed: {ran.stdout[-500:]}{ran.stderr[-500:]}")
    duration, complete, received, broken, refused, p50, p99 = map(int, found.groups())
    if broken or refused or not received:
        raise WrongAnswerError(f"{complete} answers, {refused} of them errors, and {broken} socket errors")
    requests = complete if address.size is None else received / expected
    figures = {"requests_per_s": requests / (duration / 1e6), "p50_ms": p50 / 1e3, "p99_ms": p99 / 1e3}
    return figures | {name: seconds / requests * 1e3 for name, seconds in used.items()}
