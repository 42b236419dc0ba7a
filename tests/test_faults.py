"""What was paid for survives every fault of every part, and is bought once.

Each part of a real stack stands behind a proxy. A lane is a replica with proxies and an upstream of its own; all
lanes share a database of MySQL and a bucket, as replicas do, so that the cases of the table run beside each other.
"""

import asyncio
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, Protocol

import httpx2
import pytest

from tests import planted
from tests.fakes import tiny_picture
from tests.real_stack import KEY, TIMEOUT, Stack, real_stack
from tests.servers import SeaweedFS, SqlServer, run_cli, wait_until
from tests.tcp_proxy import Cut, LoseAnswer, Mode, Slow

LANES = 4
MAX_GENERATIONS = 4
SETTINGS = {
    "PIXYPROXY_LEASE": "2",
    "PIXYPROXY_RECONCILE_INTERVAL": "0.5",
    "PIXYPROXY_GENERATION_DEADLINE": "8",
    "PIXYPROXY_SYNC_WAIT": "20",
    "PIXYPROXY_STORE_PATIENCE": "120",
    "PIXYPROXY_MAX_GENERATIONS": str(MAX_GENERATIONS),
}
IMPATIENT = {**SETTINGS, "PIXYPROXY_STORE_PATIENCE": "1"}
TYPE = "urn:pixyproxy:problem:"
RESERVE, COMMIT = b"INSERT INTO generations", b"INSERT INTO images"
"""What a COMMIT must follow: the driver sends one, too, when it connects."""


class Start(Protocol):
    """Starts a stack with the database and the bucket of this name."""

    def __call__(self, name: str, number: int, settings: dict[str, str], *, tls: bool) -> Stack: ...


@pytest.fixture(scope="module")
def start(
    mysql: SqlServer, seaweedfs: SeaweedFS, logs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Start]:
    """Starts a stack that lasts as long as this module."""
    with ExitStack() as stacks:

        def start(name: str, number: int, settings: dict[str, str], *, tls: bool) -> Stack:
            stack = real_stack(
                mysql,
                seaweedfs,
                name=name,
                folder=tmp_path_factory.mktemp(f"faults-{name}-{number}"),
                logs=logs,
                replicas=1,
                settings=settings,
                label=f"faults-{name}-{number}",
                connecting={} if tls else {"ssl_disabled": "true"},
            )
            return stacks.enter_context(stack)

        yield start


@pytest.fixture(scope="module")
def lanes(start: Start, unique: Callable[[], str]) -> list[Stack]:
    """Replicas of one service, each behind proxies of its own, which read SQL: without TLS."""
    name = unique()
    first = start(name, 0, SETTINGS, tls=False)
    with ThreadPoolExecutor() as pool:
        return [first, *pool.map(lambda number: start(name, number, SETTINGS, tls=False), range(1, LANES))]


@pytest.fixture(scope="module")
def alone(start: Start, unique: Callable[[], str]) -> Stack:
    """A service of one replica, which soon parks what it cannot put: no other process moves it."""
    return start(unique(), 0, IMPATIENT, tls=True)


@pytest.fixture(autouse=True)
def working(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does to the parts ends with it, and each stack that it had works again."""
    yield
    had = request.node.funcargs
    for stack in (*had.get("lanes", ()), *([had["alone"]] if "alone" in had else [])):
        stack.mend()
        if stack.replicas[0].process.handle.poll() is not None:
            stack.replicas[0].start()
        wait_until(partial(is_ready, stack), seconds=30, what="the stack")


def is_ready(stack: Stack) -> None:
    """The replica is ready."""
    response = stack.get("/readyz")
    assert response.status_code == 200, response.text


def eventually(holds: Callable[[], object], *, what: str, seconds: float = 30) -> None:
    """Return when it holds."""

    def asked() -> None:
        assert holds(), what

    wait_until(asked, seconds=seconds, what=what)


@dataclass(frozen=True)
class Look:
    """A look at the other side: what the database says of the generations of a prompt."""

    mysql: SqlServer
    stack: Stack

    def generations(self, prompt: str) -> list[dict[str, Any]]:
        """Each generation of the prompt, with the number of its images."""
        rows = self.mysql.query(
            "SELECT generations.guid, state, error, COUNT(images.id) FROM generations "
            "LEFT JOIN images ON generations.id = generation_id WHERE JSON_VALUE(request, '$.prompt') = %s "
            "GROUP BY generations.id ORDER BY generations.id",
            prompt,
            database=self.stack.database,
        )
        return [
            {"guid": guid, "state": state, "cost": json.loads(error or "{}").get("cost"), "images": images}
            for guid, state, error, images in rows
        ]

    def state(self, prompt: str) -> str | None:
        """The state of the newest one."""
        return next((each["state"] for each in reversed(self.generations(prompt))), None)

    def parked(self) -> int:
        """How many pictures, or parts of them, wait in the database."""
        return int(self.mysql.query("SELECT COUNT(*) FROM parked_images", database=self.stack.database)[0][0])


def post(stack: Stack, prompt: str, *, wait: int = 15, key: str | None = None) -> httpx2.Response:
    """A POST whose client waits for so many seconds, under an Idempotency-Key."""
    named = {} if key is None else {"Idempotency-Key": key}
    return stack.post(prompt=prompt, headers={"Prefer": f"wait={wait}", **named})


def assert_kept(stack: Stack, look: Look, prompt: str) -> str:
    """The one generation of the prompt succeeded, and its one picture is served byte for byte; its image's guid."""
    (generation,) = look.generations(prompt)
    assert (generation["state"], generation["images"]) == ("succeeded", 1)
    (image,) = stack.get(f"/generation/{generation['guid']}").json()["images"]
    assert httpx2.get(image["url"]).content == tiny_picture(prompt)
    return str(image["guid"])


def assert_agreement(stack: Stack) -> None:
    """`pixyproxy check` finds nothing."""
    checked = run_cli(stack.folder, "check", environment=stack.direct)
    assert checked.returncode == 0, checked.stdout + checked.stderr


# --- A storage that hangs for longer than anybody waits: begun here, looked at in the last test -----------------------


@dataclass
class BlackHole:
    """A stack whose storage takes everything and says nothing, from before its generation was drawn."""

    stack: Stack
    prompt: str
    answer: httpx2.Response


@pytest.fixture(scope="module")
def black_hole(start: Start, unique: Callable[[], str]) -> BlackHole:
    """Begun early: a put fails after a minute, and all other tests run meanwhile."""
    stack = start(unique(), 0, IMPATIENT, tls=True)
    stack.upstream.delay = 1
    prompt = f"{planted.PROMPT} in a black hole"
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(post, stack, prompt, wait=3)
        eventually(lambda: stack.upstream.received == 1, what="the request to the upstream")
        stack.proxies["storage"].mode = "silent"
        return BlackHole(stack, prompt, answer.result())


def test_while_the_storage_hangs_the_client_gets_202_and_an_address_to_ask(black_hole: BlackHole) -> None:
    answer = black_hole.answer
    assert answer.status_code == 202
    assert answer.headers["retry-after"]
    generation = black_hole.stack.get(answer.headers["location"]).json()
    assert (generation["state"], generation["images"]) == ("running", [])


# --- The table --------------------------------------------------------------------------------------------------------

Part = Literal["database", "storage", "upstream"]
Moment = Literal["before Reserve", "in Reserve", "while drawn", "in Draw", "in Put", "in Commit"]


@dataclass(frozen=True)
class Outcome:
    """What a POST may answer, how often the upstream was asked, and what the same Idempotency-Key brings then."""

    statuses: tuple[int, ...]
    type: str | None
    cost: str | None
    requests: int
    again: int


KEPT = Outcome(statuses=(201,), type=None, cost=None, requests=1, again=201)
KEPT_LATER = replace(KEPT, statuses=(201, 202))


def nothing_spent(kind: str) -> Outcome:
    """Refused before the upstream could know of it: the same key may try again."""
    return Outcome(statuses=(503,), type=TYPE + kind, cost="none", requests=0, again=201)


def unknown(status: int, kind: str, *, requests: int = 1) -> Outcome:
    """It may have been billed: the same key buys nothing more."""
    return Outcome(statuses=(status,), type=TYPE + kind, cost="unknown", requests=requests, again=409)


NO_DATABASE = nothing_spent("database-unavailable")
NO_STORAGE = nothing_spent("storage-unavailable")
NO_UPSTREAM = nothing_spent("upstream-unavailable")
LOST = unknown(502, "upstream-unknown-outcome")
NEVER_ARRIVED = unknown(502, "upstream-unknown-outcome", requests=0)
LATE = unknown(504, "upstream-deadline")

DELAY, DRIP = Slow(0.05), Slow(0.002, size=16)
TABLE: list[tuple[Part, Moment, Mode, Outcome]] = [
    ("database", "before Reserve", "closed", NO_DATABASE),
    ("database", "before Reserve", "refuse", NO_DATABASE),
    ("database", "before Reserve", "reset", NO_DATABASE),
    ("database", "before Reserve", "silent", NO_DATABASE),
    ("database", "before Reserve", DELAY, KEPT),
    ("database", "before Reserve", DRIP, KEPT),
    ("database", "in Reserve", Cut(400, "there"), NO_DATABASE),
    ("database", "in Reserve", LoseAnswer((RESERVE,)), NO_DATABASE),
    ("database", "in Reserve", LoseAnswer((RESERVE, b"\x03COMMIT")), NO_DATABASE),
    ("database", "while drawn", "closed", KEPT),
    ("database", "while drawn", "refuse", KEPT),
    ("database", "while drawn", "reset", KEPT),
    ("database", "while drawn", "silent", KEPT_LATER),
    ("database", "while drawn", DELAY, KEPT),
    ("database", "while drawn", DRIP, KEPT),
    ("database", "in Commit", Cut(400, "there"), KEPT),
    ("database", "in Commit", Cut(40, "back"), KEPT),
    ("database", "in Commit", LoseAnswer((COMMIT,)), KEPT),
    ("database", "in Commit", LoseAnswer((COMMIT, b"\x03COMMIT")), KEPT),
    ("storage", "before Reserve", "closed", NO_STORAGE),
    ("storage", "before Reserve", "reset", NO_STORAGE),
    ("storage", "before Reserve", "silent", NO_STORAGE),
    ("storage", "before Reserve", DELAY, KEPT),
    ("storage", "while drawn", "closed", KEPT),
    ("storage", "while drawn", "refuse", KEPT),
    ("storage", "while drawn", "reset", KEPT),
    ("storage", "while drawn", "silent", KEPT_LATER),
    ("storage", "in Put", Cut(300, "there"), KEPT),
    ("storage", "in Put", Cut(10, "back"), KEPT),
    ("storage", "in Put", LoseAnswer((b"IEND",)), KEPT),
    ("storage", "in Put", DELAY, KEPT),
    ("storage", "in Put", DRIP, KEPT),
    ("upstream", "before Reserve", "closed", NO_UPSTREAM),
    ("upstream", "before Reserve", "refuse", NEVER_ARRIVED),
    ("upstream", "in Draw", Cut(1, "there"), NEVER_ARRIVED),
    ("upstream", "before Reserve", DELAY, KEPT),
    ("upstream", "in Draw", LoseAnswer((b'"prompt"',)), LOST),
    ("upstream", "while drawn", "reset", LOST),
    ("upstream", "while drawn", "closed", LOST),
    ("upstream", "while drawn", Cut(200, "back"), LOST),
    ("upstream", "while drawn", "silent", LATE),
    ("upstream", "while drawn", Slow(0.2, size=2), LATE),
    ("upstream", "while drawn", DRIP, KEPT),
]


def name_of(part: Part, moment: Moment, fault: Mode) -> str:
    """A case's name."""
    return f"{part}, {moment}, {fault}"


CASES = {name_of(part, moment, fault): (part, moment, fault, outcome) for part, moment, fault, outcome in TABLE}


@dataclass(frozen=True)
class Seen:
    """What came of a case: the answer, how often the upstream was asked, the records, and the same for a retry."""

    lane: Stack
    prompt: str
    answer: httpx2.Response
    met: bool
    requests: int
    generations: list[dict[str, Any]]
    again: httpx2.Response
    requests_again: int


def run_case(case: str, lane: Stack, mysql: SqlServer) -> Seen:
    """Cause the fault, repair the part, wait until all has settled, and try the same key again."""
    part, moment, fault, expected = CASES[case]
    number = list(CASES).index(case)  # the name may hold what a proxy looks for
    key = f"case-{number}"
    look, prompt = Look(mysql, lane), f"{planted.PROMPT}, case {number}"
    proxy, asked = lane.proxies[part], lane.upstream.received
    trouble = len(troubles(lane))
    try:
        if moment in ("before Reserve", "in Reserve", "in Draw"):
            proxy.mode = fault
            if expected is NO_STORAGE:  # what a probe said before stands for some seconds
                eventually(lambda: lane.get("/readyz").status_code == 503, what="a probe that fails")
            answer = post(lane, prompt, key=key)
        else:
            lane.upstream.delay = 1
            with ThreadPoolExecutor() as pool:
                waiting = pool.submit(post, lane, prompt, key=key)
                eventually(lambda: lane.upstream.received > asked, what="the request to the upstream")
                proxy.mode = fault
                if fault == "silent" and part == "storage":
                    time.sleep(3)  # nothing is said of a put that waits
                elif part != "upstream":
                    eventually(lambda: waiting.done() or len(troubles(lane)) > trouble, what="trouble")
                if part != "upstream":
                    proxy.mode = "pass"
                answer = waiting.result()
    finally:
        lane.mend()
    wanted = "succeeded" if expected.cost is None else "failed"
    eventually(lambda: look.state(prompt) in (wanted, None), what=f"the end of {case}")
    requests, generations = lane.upstream.received - asked, look.generations(prompt)
    again = retried(lane, prompt, key=key)
    wait_until(partial(is_ready, lane), seconds=30, what="the stack")
    met = len(troubles(lane)) > trouble
    return Seen(lane, prompt, answer, met, requests, generations, again, lane.upstream.received - asked)


def troubles(stack: Stack) -> list[str]:
    """What the replica's log says of pictures that it could not keep at once."""
    return re.findall("its pictures are not kept yet: (.*)", stack.replicas[0].process.output())


def retried(stack: Stack, prompt: str, *, key: str) -> httpx2.Response:
    """The final answer to a client that repeats its request as long as the answer asks for that."""
    for _ in range(60):
        again = post(stack, prompt, key=key)
        if again.status_code != 503 and again.json().get("type") != f"{TYPE}generation-running":
            break
        time.sleep(0.5)
    return again


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, lanes: list[Stack], mysql: SqlServer) -> dict[str, Seen | Exception]:
    """All cases that were chosen, run on the lanes beside each other."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    chosen = [str(item.callspec.params["case"]) for item in items if "outcomes" in item.fixturenames]
    chosen.sort(key=lambda case: "silent" not in case)  # those that take long are begun first
    free: SimpleQueue[Stack] = SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def run(case: str) -> Seen | Exception:
        lane = free.get()
        try:
            return run_case(case, lane, mysql)
        except Exception as failure:  # raised by the test of this case
            return failure
        finally:
            free.put(lane)

    with ThreadPoolExecutor(LANES) as pool:
        return dict(zip(chosen, pool.map(run, chosen), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_what_was_paid_for_is_kept_and_bought_once(
    case: str, outcomes: dict[str, Seen | Exception], mysql: SqlServer
) -> None:
    part, moment, fault, expected = CASES[case]
    seen = outcomes[case]
    if isinstance(seen, Exception):
        raise seen
    look = Look(mysql, seen.lane)
    body = seen.answer.json()
    assert seen.answer.status_code in expected.statuses, body
    assert (body.get("type"), body.get("cost")) == (expected.type, expected.cost)
    assert seen.requests == expected.requests
    assert seen.again.status_code == expected.again, seen.again.text
    if moment in ("while drawn", "in Put", "in Commit") and part != "upstream" and not isinstance(fault, Slow):
        assert seen.met or (part, fault) == ("storage", "silent"), "the fault came too late to be met"
    if expected.cost is None:
        kept = assert_kept(seen.lane, look, seen.prompt)
        assert (seen.again.json()["guid"], seen.again.headers["idempotent-replayed"]) == (kept, "true")
        assert seen.requests_again == 1
        return
    assert seen.answer.status_code != 503 or seen.answer.headers["retry-after"]
    if expected.cost == "unknown":
        assert [(each["state"], each["cost"], each["images"]) for each in seen.generations] == [
            ("failed", "unknown", 0)
        ]
        assert seen.again.json()["type"] == f"{TYPE}outcome-unknown"
        assert seen.requests_again == expected.requests
        return
    assert {(each["state"], each["cost"], each["images"]) for each in seen.generations} <= {("failed", "none", 0)}
    assert seen.generations or fault != LoseAnswer((RESERVE, b"\x03COMMIT")), "the COMMIT was lost, not its answer"
    assert seen.requests_again == 1, "the retry alone was bought"
    assert httpx2.get(seen.again.json()["url"]).content == tiny_picture(seen.prompt)


def test_after_all_of_the_faults_both_stores_agree(lanes: list[Stack]) -> None:
    assert_agreement(lanes[0])


# --- Clients, signals, replicas ---------------------------------------------------------------------------------------


def test_a_client_that_hangs_up_changes_nothing(lanes: list[Stack], mysql: SqlServer) -> None:
    lane, prompt = lanes[0], f"{planted.PROMPT} for nobody"
    asked, lane.upstream.delay = lane.upstream.received, 1.5
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{lane.replicas[0].url}/image", json={"prompt": prompt, "size": "32x16"}, headers=KEY, timeout=0.3)
    look = Look(mysql, lane)
    eventually(lambda: look.state(prompt) == "succeeded", what="the generation's end")
    assert_kept(lane, look, prompt)
    assert lane.upstream.received == asked + 1


def refuses(url: str) -> bool:
    """Whether a new connection is refused."""
    try:
        httpx2.get(url, timeout=TIMEOUT)
    except httpx2.ConnectError:
        return True
    return False


def test_a_process_that_gets_sigterm_finishes_what_it_draws_and_begins_nothing(lanes: list[Stack]) -> None:
    lane, prompt = lanes[1], f"{planted.PROMPT} at the end"
    asked, lane.upstream.delay = lane.upstream.received, 2
    process = lane.replicas[0].process.handle
    url = lane.replicas[0].url
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        kept = [stack.enter_context(httpx2.Client(headers=KEY, timeout=TIMEOUT)) for _ in range(2)]
        for client in kept:
            client.get(f"{url}/healthz")
        running = pool.submit(post, lane, prompt)
        eventually(lambda: lane.upstream.received == asked + 1, what="the request to the upstream")
        process.send_signal(signal.SIGTERM)
        eventually(lambda: refuses(url), what="the end of listening")
        ready = kept[0].get(f"{url}/readyz")
        assert (ready.status_code, ready.json()["failed"]) == (503, ["process"])
        refused = kept[1].post(f"{url}/image", json={"prompt": prompt})
        assert (refused.status_code, refused.json()["type"]) == (503, f"{TYPE}shutting-down")
        assert refused.headers["retry-after"]
        made = running.result()
    assert made.status_code == 201
    process.wait(20)
    assert lane.upstream.received == asked + 1
    elsewhere = lanes[0].get(f"/image/{made.json()['guid']}/content")
    assert elsewhere.content == tiny_picture(prompt)


def test_what_a_killed_replica_drew_is_marked_by_another_and_not_bought_again(
    lanes: list[Stack], mysql: SqlServer
) -> None:
    killed, other = lanes[0], lanes[1]
    prompt, key = f"{planted.PROMPT} by the dead", "killed"
    asked, killed.upstream.delay = killed.upstream.received, 5
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(post, killed, prompt, key=key)
        eventually(lambda: killed.upstream.received == asked + 1, what="the request to the upstream")
        killed.replicas[0].process.stop(how=signal.SIGKILL)
        with pytest.raises(httpx2.HTTPError):
            waiting.result()
    look = Look(mysql, other)
    eventually(lambda: look.state(prompt) == "failed", what="the mark", seconds=20)
    again = post(other, prompt, key=key)
    assert (again.status_code, again.json()["type"]) == (409, f"{TYPE}outcome-unknown")
    assert again.json()["cause"] == f"{TYPE}generation-interrupted"
    assert (killed.upstream.received, len(look.generations(prompt))) == (asked + 1, 1)


def test_200_requests_with_one_key_to_two_processes_get_one_image(lanes: list[Stack], mysql: SqlServer) -> None:
    prompt = f"{planted.PROMPT} for all"
    two = lanes[:2]
    asked = sum(lane.upstream.received for lane in two)
    for lane in two:
        lane.upstream.delay = 2

    async def all_of_them() -> list[httpx2.Response]:
        limits = httpx2.Limits(max_connections=200)
        headers = {**KEY, "Idempotency-Key": "for-all"}
        async with httpx2.AsyncClient(headers=headers, timeout=TIMEOUT, limits=limits) as client:

            async def one(number: int) -> httpx2.Response:
                joining = {"Prefer": "wait=20"} if number % 4 < 2 else {}
                while True:
                    answer = await client.post(
                        f"{two[number % 2].replicas[0].url}/image",
                        json={"prompt": prompt, "size": "32x16"},
                        headers=joining,
                    )
                    if answer.status_code != 409:
                        return answer
                    assert answer.headers["retry-after"]
                    await asyncio.sleep(0.5)

            return await asyncio.gather(*(one(number) for number in range(200)))

    answers = asyncio.run(all_of_them())
    assert {answer.status_code for answer in answers} == {201}, {answer.text for answer in answers}
    guid = assert_kept(two[0], Look(mysql, two[0]), prompt)
    assert {answer.json()["guid"] for answer in answers} == {guid}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert sum(lane.upstream.received for lane in two) == asked + 1


def test_more_than_may_run_at_once_are_refused_before_anything_is_spent(lanes: list[Stack]) -> None:
    lane = lanes[0]
    asked, lane.upstream.delay = lane.upstream.received, 3
    with ThreadPoolExecutor(MAX_GENERATIONS + 3) as pool:
        admitted = [pool.submit(post, lane, f"{planted.PROMPT} {number}") for number in range(MAX_GENERATIONS)]
        eventually(lambda: lane.upstream.received == asked + MAX_GENERATIONS, what="the requests to the upstream")
        for refused in pool.map(lambda _: post(lane, planted.PROMPT), range(3)):
            assert (refused.status_code, refused.json()["type"]) == (503, f"{TYPE}too-many-generations")
            assert refused.headers["retry-after"]
        assert [each.result().status_code for each in admitted] == [201] * MAX_GENERATIONS
    assert lane.upstream.received == asked + MAX_GENERATIONS
    lane.upstream.delay = 0
    assert post(lane, planted.PROMPT).status_code == 201


# --- Pictures that wait -----------------------------------------------------------------------------------------------


def drawn_without(stack: Stack, prompt: str, *parts: Part) -> None:
    """A generation whose parts become unavailable after it was drawn."""
    asked, stack.upstream.delay = stack.upstream.received, 1
    answer = post(stack, prompt, wait=0)
    assert answer.status_code == 202
    eventually(lambda: stack.upstream.received == asked + 1, what="the request to the upstream")
    for part in parts:
        stack.proxies[part].mode = "closed"
    trouble = len(troubles(stack))
    eventually(lambda: len(troubles(stack)) > trouble, what="trouble")


def test_while_the_storage_stays_unavailable_the_picture_is_parked_in_the_database(
    alone: Stack, mysql: SqlServer
) -> None:
    look, prompt = Look(mysql, alone), f"{planted.PROMPT}, parked"
    drawn_without(alone, prompt, "storage")
    eventually(look.parked, what="a parked picture")
    assert look.state(prompt) == "running"
    alone.mend()
    eventually(lambda: look.state(prompt) == "succeeded", what="the move")
    assert_kept(alone, look, prompt)
    assert look.parked() == 0


def test_storage_and_database_unavailable_after_the_drawing_and_back_again(alone: Stack, mysql: SqlServer) -> None:
    look, prompt = Look(mysql, alone), f"{planted.PROMPT}, nowhere to go"
    drawn_without(alone, prompt, "storage", "database")
    time.sleep(3)  # longer than the storage's patience and than the lease
    assert look.state(prompt) == "running"
    assert look.parked() == 0
    alone.mend()
    eventually(lambda: look.state(prompt) == "succeeded", what="the generation's end")
    assert_kept(alone, look, prompt)
    assert look.parked() == 0


def test_an_ending_process_parks_its_picture_in_the_database(alone: Stack, mysql: SqlServer) -> None:
    look, prompt = Look(mysql, alone), f"{planted.PROMPT}, parked at the end"
    drawn_without(alone, prompt, "storage")
    alone.replicas[0].process.stop()
    assert look.parked() > 0
    assert look.state(prompt) == "running"
    alone.mend()
    alone.replicas[0].start()
    eventually(lambda: look.state(prompt) == "succeeded", what="the move")
    assert_kept(alone, look, prompt)
    assert look.parked() == 0


def test_an_ending_process_without_storage_and_database_leaves_a_file_for_the_next(
    alone: Stack, mysql: SqlServer
) -> None:
    look, prompt = Look(mysql, alone), f"{planted.PROMPT}, in a file"
    drawn_without(alone, prompt, "storage", "database")
    replica = alone.replicas[0]
    assert replica.process.folder is not None
    replica.process.stop()
    parked = replica.process.folder / "pixyproxy-data" / "parked"
    (file,) = (path for path in parked.iterdir() if path.name != ".reserve")
    assert file.read_bytes() == tiny_picture(prompt)
    (said,) = [line for line in replica.process.output().splitlines() if file.name in line]
    assert " ERROR " in said
    assert look.state(prompt) == "running"
    alone.mend()
    replica.start()
    eventually(lambda: look.state(prompt) == "succeeded", what="the taking up")
    assert_kept(alone, look, prompt)
    eventually(lambda: not file.exists(), what="the end of the file")
    assert_agreement(alone)


def test_a_storage_that_hangs_for_longer_than_the_patience_gets_its_picture_later(
    black_hole: BlackHole, mysql: SqlServer
) -> None:
    stack = black_hole.stack
    look = Look(mysql, stack)
    eventually(look.parked, what="a parked picture", seconds=120)
    assert look.state(black_hole.prompt) == "running"
    stack.mend()
    eventually(lambda: look.state(black_hole.prompt) == "succeeded", what="the move")
    assert_kept(stack, look, black_hole.prompt)
    assert look.parked() == 0
    assert stack.upstream.received == 1
    assert_agreement(stack)
