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
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import pytest

from pixyproxy.core.images import image_guid
from pixyproxy.upstream.demo.drawing import draw_picture
from pixyproxy.upstream.demo.faults import Fault
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

PRICES = """
[[price]]
upstream = "{upstream}"
model = "*"
valid_from = 2026-01-01
text_in = 5
image_in = 8
image_out = 30
reserve = {{ "*" = {{ "*" = 0.04 }} }}
source = "a test"
"""

SERVED = "served"
LOST = "lost with the memory; failed as interrupted"
UNDRAWN = "no picture yet; failed as interrupted"
NOTHING = "nothing was bought"
DELETED = "deleted"
KEPT = "not deleted"


@dataclass(frozen=True)
class Arrow:
    """Where a process is killed, by its name in tests/crashing.py; `takeover`: where the replica that takes over is.

    `requests`: the requests that the upstream receives before anything is tried again. `way`: what is asked for, one
    picture in our own dialect, three below /v1, or a stream there. `litter`: an object is left that belongs to nobody.
    """

    said: str
    name: str
    outcome: str
    requests: int = 1
    takeover: str | None = None
    deletes: bool = False
    way: Literal["one", "three", "stream"] = "one"
    litter: bool = False


MATRIX = (
    Arrow("before Reserve", "before-reserve", NOTHING, requests=0),
    Arrow("in Reserve", "in-reserve", NOTHING, requests=0),
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
    Arrow("three pictures: after the first Put", "put", LOST, way="three", litter=True),
    Arrow("three pictures: after the last Put, before Commit", "third-put", SERVED, way="three"),
    Arrow("three pictures: in Commit", "in-commit", SERVED, way="three"),
    Arrow(
        "three pictures: parked; taken over, killed after the first Put",
        "parked",
        SERVED,
        takeover="moved",
        way="three",
    ),
    Arrow("a stream: after a partial image", "drawing", UNDRAWN, way="stream"),
    Arrow("a stream: after Commit, before its last event is sent", "before-answer", SERVED, way="stream"),
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
    litter: str = ""
    check: str = ""
    check_after: str = ""

    def run(self) -> None:
        """Kill a process at every arrow; then start a new one, and look."""
        for arrow in sorted(MATRIX, key=lambda arrow: arrow.takeover is None):
            self.kill_at(arrow)
        with self.serving() as url:
            wait_until(lambda: nothing_runs(url), seconds=60, what="the reconciler")
            for arrow in MATRIX:
                self.look(arrow, url)
            wait_until(lambda: nothing_runs(url), seconds=60, what="the reconciler")
        self.check = self.said("check")
        self.said("reconcile", "--apply", PIXYPROXY_ORPHAN_GRACE="0")
        self.check_after = self.said("check")

    def said(self, *arguments: str, **settings: str) -> str:
        """What a command says."""
        ran = run_cli(self.folder, *arguments, environment={**self.environment, **settings})
        return ran.stdout + ran.stderr

    def set_price(self) -> None:
        """Give the upstream's pictures a price, so that the ledger has something to add up."""
        file = self.folder / "prices.toml"
        file.write_text(PRICES.format(upstream=urlsplit(self.environment["OPENAI_BASE_URL"]).netloc))
        assert self.said("prices", "import", str(file))

    def kill_at(self, arrow: Arrow) -> None:
        """Have a process run into the arrow, and the replica that takes over into its own."""
        drawing = arrow.name == "drawing" and arrow.way == "one"
        self.upstream.delay = 20 if drawing else 0
        self.upstream.fault = Fault("hang-after-partial") if arrow.name == "drawing" and not drawing else None
        with self.dying(arrow.name) as (process, url), ThreadPoolExecutor() as killer:
            killed = killer.submit(self.kill_when_asked, arrow, process) if drawing else None
            with suppress(httpx2.TransportError):
                answer = ask(arrow, url, on_partial=process.kill)
                if arrow.deletes:
                    (self.deleting[arrow],) = (each["guid"] for each in generations_of(arrow, url))
                    httpx2.delete(f"{url}/image/{answer.json()['guid']}", headers=KEY, timeout=20)
            if killed is not None:
                killed.result()
            died = ended(process) in (-signal.SIGKILL, -signal.SIGXFSZ)
        self.upstream.delay, self.upstream.fault = 0, None
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
        generations = generations_of(arrow, url, guid=self.deleting.get(arrow))
        seen.outcome = outcome_of(generations, arrow)
        query = {"q": f'{arrow.said} "{arrow.said}"', "limit": "500"}
        found = httpx2.get(f"{url}/image", params=query, headers=KEY).json()
        assert {each["guid"] for each in found if each["prompt"] == arrow.said} == {
            image["guid"] for generation in generations for image in generation["images"]
        }, "an image and its words are committed together"
        if arrow.litter:
            self.litter = f"{image_guid(UUID(generations[0]['guid']), 0)}.png"
        seen.retry = said_to_a_retry(ask(arrow, url))
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


def ask(arrow: Arrow, url: str, *, on_partial: Callable[[], None] | None = None) -> httpx2.Response:
    """The answer to the arrow's request, which no other has; under an Idempotency-Key of its own.

    `on_partial` is called when a stream has begun, if it begins with a partial image.
    """
    body: dict[str, Any] = {"prompt": arrow.said, "size": f"{SIZE}x{SIZE}"}
    body |= {"one": {}, "three": {"n": 3}, "stream": {"stream": True, "partial_images": 1}}[arrow.way]
    path = "/image" if arrow.way == "one" else "/v1/images/generations"
    headers = {**KEY, "Idempotency-Key": f"{arrow.name} {arrow.takeover} {arrow.way}"}
    with httpx2.stream("POST", url + path, json=body, headers=headers, timeout=20) as answer:
        if on_partial is not None and arrow.way == "stream" and arrow.name == "drawing":
            assert next(answer.iter_bytes()).startswith(b"event: image_generation.partial_image")
            on_partial()
            raise httpx2.ReadError("killed")
        answer.read()
    return answer


def ended(process: Forked) -> int | None:
    """The exit status of a process that should have been killed by now."""
    with suppress(TimeoutExpired):
        process.wait(20)
    return process.poll()


def body(arrow: Arrow) -> dict[str, str]:
    """The request of an arrow, which no other has."""
    return {"prompt": arrow.said, "size": f"{SIZE}x{SIZE}"}


def said_to_a_retry(answer: httpx2.Response) -> str:
    """The status of a success, or the name of the problem."""
    if not answer.is_success:
        found = answer.json()
        return str(found["error"]["pixyproxy"]["problem"] if "error" in found else found["type"].rpartition(":")[2])
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.count("event: image_generation.completed") == 1, answer.text[:500]
    return str(answer.status_code)


def generations_of(arrow: Arrow, url: str, *, guid: str | None = None) -> list[dict[str, Any]]:
    """The generations of the arrow's prompt. One whose image was deleted has lost its prompt, but not its guid."""
    listed = httpx2.get(f"{url}/generation?limit=500", headers=KEY).json()
    return [each for each in listed if each["request"]["prompt"] == arrow.said or each["guid"] == guid]


def nothing_runs(url: str) -> None:
    """Raise while a generation is running."""
    assert httpx2.get(f"{url}/generation?state=running", headers=KEY).json() == []


def outcome_of(generations: list[dict[str, Any]], arrow: Arrow) -> str:
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
    prompt = str(generation["request"]["prompt"])
    assert len(images) == (3 if arrow.way == "three" else 1)
    for number, image in enumerate(images):
        assert httpx2.get(image["url"]).content == draw_picture(prompt, width=SIZE, height=SIZE, number=number)
    return KEPT if arrow.deletes else SERVED


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
            stack.set_price()
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
    success = "201" if arrow.way == "one" else "200"
    expected = {SERVED: success, KEPT: success, DELETED: "image-deleted", NOTHING: success}
    assert seen.retry == expected.get(arrow.outcome, "outcome-unknown")
    assert seen.requests_in_all <= 1, "the upstream was asked twice"


@EVERYWHERE
def test_afterwards_database_and_storage_agree_but_for_one_of_three_pictures(
    stacks: dict[str, Stack], stack: str
) -> None:
    found = stacks[stack]
    assert found.check == f"{found.litter}  object without a row\nobject without a row: 1\n"
    assert found.check_after == "Database and storage agree.\n"


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
