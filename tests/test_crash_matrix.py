"""A process is killed at every arrow of the life of a generation and of a deletion, on both stacks.

Then a new process runs, and the stores must agree, with every picture served that was not lost with a process's memory,
and none bought twice. The table in docs/reliability.md is written from what was seen.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import httpx2
import pytest

from pixyproxy.upstream.demo.drawing import draw_picture
from pixyproxy.upstream.demo.server import DemoUpstream
from tests import crashing, planted
from tests.command import Forked
from tests.listening import listening
from tests.servers import MariaDB, PixyProxy, SeaweedFS, clean_environment, free_ports, run_cli, wait_until

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- The table is written by tests/test_crash_matrix.py. -->", "<!-- The end of the table. -->"
KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
SIZE = 1024
STACKS = {"sqlite": "SQLite + folder", "mariadb": "MariaDB + SeaweedFS"}

SERVED = "served"
LOST = "lost with the memory; failed as interrupted"
UNDRAWN = "no picture yet; failed as interrupted"
NOTHING = "nothing was bought"
DELETED = "deleted"
KEPT = "not deleted"


@dataclass(frozen=True)
class Arrow:
    """Where a process is killed, by its name in tests/crashing.py; `takeover`: where the replica that takes over is.

    `requests`: the requests that the upstream receives before anything is tried again.
    """

    said: str
    name: str
    outcome: str
    requests: int = 1
    takeover: str | None = None
    deletes: bool = False


MATRIX = (
    Arrow("before Reserve", "before-reserve", NOTHING, requests=0),
    Arrow("after Reserve, before Draw", "reserved", UNDRAWN, requests=0),
    Arrow("while the upstream draws", "drawing", UNDRAWN),
    Arrow("after the upstream's last byte, before Put", "before-put", LOST),
    Arrow("in the middle of Put", "half-put", LOST),
    Arrow("after Put, before Commit", "put", SERVED),
    Arrow("in Commit", "in-commit", SERVED),
    Arrow("after Commit", "committed", SERVED),
    Arrow("before the 201 is sent", "before-answer", SERVED),
    Arrow("storage unavailable: before the picture is parked", "before-park", LOST),
    Arrow("storage unavailable: in the transaction that parks it", "in-park", LOST),
    Arrow("storage unavailable: after it is parked", "parked", SERVED),
    Arrow("parked; taken over, and that replica killed after its claim", "parked", SERVED, takeover="claimed"),
    Arrow("parked; taken over, killed after Put", "parked", SERVED, takeover="moved"),
    Arrow("parked; taken over, killed in Commit", "parked", SERVED, takeover="in-takeover"),
    Arrow("parked; taken over, killed after Commit", "parked", SERVED, takeover="taken-over"),
    Arrow("undrawn; taken over, killed before it is failed", "drawing", UNDRAWN, takeover="before-interrupt"),
    Arrow("undrawn; taken over, killed after it is failed", "drawing", UNDRAWN, takeover="interrupted"),
    Arrow("deletion: before the image is marked", "before-mark", KEPT, deletes=True),
    Arrow("deletion: after it is marked", "marked", DELETED, deletes=True),
    Arrow("deletion: after the object is removed", "object-deleted", DELETED, deletes=True),
    Arrow("deletion: after the row is removed", "row-deleted", DELETED, deletes=True),
)


@dataclass
class Seen:
    """What became of the generation of one arrow."""

    died: bool
    requests: int
    outcome: str = "-"
    retry: str = "-"
    requests_in_all: int = 0


@dataclass
class Stack:
    """One kind of database and storage, and the processes on it."""

    environment: dict[str, str]
    folder: Path
    log: Path
    upstream: DemoUpstream
    seen: dict[Arrow, Seen] = field(default_factory=dict)
    deleting: dict[Arrow, str] = field(default_factory=dict)
    check: str = ""

    def run(self) -> None:
        """Kill a process at every arrow; then start a new one, and look."""
        for arrow in sorted(MATRIX, key=lambda arrow: arrow.takeover is None):
            self.kill_at(arrow)
        with self.serving() as url:
            wait_until(lambda: nothing_runs(url), seconds=60, what="the reconciler")
            for arrow in MATRIX:
                self.look(arrow, url)
            wait_until(lambda: nothing_runs(url), seconds=60, what="the reconciler")
        checked = run_cli(self.folder, "check", environment=self.environment)
        self.check = checked.stdout + checked.stderr

    def kill_at(self, arrow: Arrow) -> None:
        """Have a process run into the arrow, and the replica that takes over into its own."""
        drawing = arrow.name == "drawing"
        self.upstream.delay = 20 if drawing else 0
        with self.dying(arrow.name) as (process, url), ThreadPoolExecutor() as killer:
            killed = killer.submit(self.kill_when_asked, arrow, process) if drawing else None
            with suppress(httpx2.TransportError):
                answer = httpx2.post(f"{url}/image", json=body(arrow), headers=headers(arrow), timeout=20)
                if arrow.deletes:
                    (self.deleting[arrow],) = (each["guid"] for each in generations_of(arrow, url))
                    httpx2.delete(f"{url}/image/{answer.json()['guid']}", headers=KEY, timeout=20)
            if killed is not None:
                killed.result()
            died = ended(process) in (-signal.SIGKILL, -signal.SIGXFSZ)
        self.upstream.delay = 0
        if arrow.takeover is not None:
            time.sleep(1.1)  # the lease of the dead process
            with self.dying(arrow.takeover) as (process, _):
                died = ended(process) == -signal.SIGKILL and died
            time.sleep(1.1)
            finished = run_cli(self.folder, "reconcile", "--apply", environment=self.environment)
            assert finished.returncode == 0, finished.stderr
        self.seen[arrow] = Seen(died=died, requests=self.requests(arrow))

    def kill_when_asked(self, arrow: Arrow, process: Forked) -> None:
        """Kill the process when the upstream has its request."""

        def asked() -> None:
            assert self.requests(arrow) == 1

        wait_until(asked, seconds=20, what="the request to the upstream")
        process.kill()

    def look(self, arrow: Arrow, url: str) -> None:
        """What the new process says of the arrow's generation, and what a retry under its key is answered."""
        seen = self.seen[arrow]
        seen.outcome = outcome_of(generations_of(arrow, url, guid=self.deleting.get(arrow)), deletes=arrow.deletes)
        retry = httpx2.post(f"{url}/image", json=body(arrow), headers=headers(arrow), timeout=20)
        seen.retry = str(retry.status_code) if retry.is_success else retry.json()["type"].rpartition(":")[2]
        seen.requests_in_all = self.requests(arrow)

    def requests(self, arrow: Arrow) -> int:
        """How often the upstream heard of the arrow's prompt."""
        return [json.loads(each["body"])["prompt"] for each in self.upstream.requests].count(arrow.said)

    @contextmanager
    def dying(self, arrow: str) -> Iterator[tuple[Forked, str]]:
        """A process that will be killed at the arrow."""
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        environment = clean_environment(self.environment)
        process = Forked(crashing.serve, arrow, port, environment, self.folder, self.log)

        def answers_or_is_dead() -> None:
            if process.poll() is None:
                httpx2.get(f"{url}/healthz")

        try:
            wait_until(answers_or_is_dead, seconds=20, what=arrow)
            yield process, url
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def serving(self) -> Iterator[str]:
        """The new process: the product itself."""
        server = PixyProxy(self.folder / "new", self.environment)
        server.process.log = self.log
        server.start()
        try:
            yield server.url
        finally:
            server.process.stop()


def ended(process: Forked) -> int | None:
    """The exit status of a process that should have been killed by now."""
    with suppress(TimeoutExpired):
        process.wait(20)
    return process.poll()


def body(arrow: Arrow) -> dict[str, str]:
    """The request of an arrow, which no other has."""
    return {"prompt": arrow.said, "size": f"{SIZE}x{SIZE}"}


def headers(arrow: Arrow) -> dict[str, str]:
    """Its headers, with a key of its own."""
    return {**KEY, "Idempotency-Key": f"{arrow.name} {arrow.takeover}"}


def generations_of(arrow: Arrow, url: str, *, guid: str | None = None) -> list[dict[str, Any]]:
    """The generations of the arrow's prompt. One whose image was deleted has lost its prompt, but not its guid."""
    listed = httpx2.get(f"{url}/generation?limit=500", headers=KEY).json()
    return [each for each in listed if each["request"]["prompt"] == arrow.said or each["guid"] == guid]


def nothing_runs(url: str) -> None:
    """Raise while a generation is running."""
    assert httpx2.get(f"{url}/generation?state=running", headers=KEY).json() == []


def outcome_of(generations: list[dict[str, Any]], *, deletes: bool) -> str:
    """What a client that knows nothing else sees of the generations with one prompt."""
    if not generations:
        return NOTHING
    (generation,) = generations
    if generation["state"] == "failed":
        error = generation["error"]
        assert isinstance(error, dict)
        assert error["type"] == "urn:pixyproxy:problem:generation-interrupted"
        return "failed as interrupted"
    images = generation["images"]
    assert isinstance(images, list)
    if not images:
        return DELETED
    served = httpx2.get(images[0]["url"])
    prompt = str(generation["request"]["prompt"])
    assert served.content == draw_picture(prompt, width=SIZE, height=SIZE)
    return KEPT if deletes else SERVED


@pytest.fixture(scope="module")
def stacks(
    mariadb: MariaDB,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    logs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Stack]]:
    """Both stacks, after everything was killed on them."""
    folder = tmp_path_factory.mktemp("crashes")
    name = unique()
    common = {
        "PIXYPROXY_API_KEY": planted.API_KEY,
        "PIXYPROXY_LEASE": "1",
        "PIXYPROXY_RECONCILE_INTERVAL": "0.3",
        "PIXYPROXY_STORE_PATIENCE": "0",
        "OPENAI_API_KEY": planted.UPSTREAM_KEY,
        "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
    }
    parts = {
        "sqlite": {
            "PIXYPROXY_DATABASE_URL": f"sqlite:///{folder}/pixyproxy.db",
            "PIXYPROXY_STORAGE_URL": f"file:{folder}/images",
        },
        "mariadb": {
            "PIXYPROXY_DATABASE_URL": mariadb.create(name),
            "PIXYPROXY_STORAGE_URL": seaweedfs.create(name),
            "PIXYPROXY_S3_ENDPOINT_URL": seaweedfs.endpoint,
        },
    }
    upstreams = {stack: DemoUpstream(keep=1000) for stack in STACKS}
    with listening(upstreams["sqlite"].app) as first, listening(upstreams["mariadb"].app) as second:
        stacks = {
            stack: Stack(
                environment={**common, **parts[stack], "OPENAI_BASE_URL": f"{url}/v1"},
                folder=folder / stack,
                log=logs / f"crashes-{stack}.log",
                upstream=upstreams[stack],
            )
            for stack, url in zip(STACKS, (first, second), strict=True)
        }
        (folder / "images").mkdir()
        for stack in stacks.values():
            stack.folder.mkdir()
            migrated = run_cli(stack.folder, "migrate", environment=stack.environment)
            assert migrated.returncode == 0, migrated.stderr
        with ThreadPoolExecutor() as both:
            list(both.map(Stack.run, stacks.values()))
        yield stacks


EVERYWHERE = pytest.mark.parametrize("stack", STACKS)


@EVERYWHERE
@pytest.mark.parametrize("arrow", MATRIX, ids=lambda arrow: arrow.said.replace(" ", "-"))
def test_a_process_is_killed(stacks: dict[str, Stack], stack: str, arrow: Arrow) -> None:
    seen = stacks[stack].seen[arrow]
    assert seen.died
    assert seen.requests == arrow.requests
    assert arrow.outcome.endswith(seen.outcome)
    expected = {SERVED: "201", KEPT: "201", DELETED: "image-deleted", NOTHING: "201"}
    assert seen.retry == expected.get(arrow.outcome, "outcome-unknown")
    assert seen.requests_in_all <= 1, "the upstream was asked twice"


@EVERYWHERE
def test_afterwards_database_and_storage_agree(stacks: dict[str, Stack], stack: str) -> None:
    assert stacks[stack].check == "Database and storage agree.\n"


def test_the_table_in_the_document_is_what_was_seen(stacks: dict[str, Stack]) -> None:
    lines = [
        f"| killed | {' | '.join(STACKS.values())} | the same key again | upstream asked, in all |",
        "|---|---|---|---|---|",
    ]
    for arrow in MATRIX:
        cells = []
        for stack in stacks.values():
            seen = stack.seen[arrow]
            cells.append(arrow.outcome if arrow.outcome.endswith(seen.outcome) else f"**{seen.outcome}**")
        retries = sorted({stack.seen[arrow].retry for stack in stacks.values()})
        asked = sorted({str(stack.seen[arrow].requests_in_all) for stack in stacks.values()})
        said = ", ".join(f"`{retry}`" for retry in retries)
        lines.append(f"| {arrow.said} | {' | '.join(cells)} | {said} | {', '.join(asked)} |")
    text = DOCUMENT.read_text()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    written = f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}"
    DOCUMENT.write_text(written)
    assert written == text, "docs/reliability.md was not what was seen, and is written anew: look at it, and commit it"
