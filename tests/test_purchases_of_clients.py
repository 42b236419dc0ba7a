"""Clients that nobody here wrote, with their default retries at two replicas: each picture is bought once.

The purchases are counted at the upstream. A client gets its picture, or an error that it does not repeat and that names
the generation.
"""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from pixyproxy.upstream.demo.faults import Fault
from tests import crashing, planted
from tests.command import Forked
from tests.fakes import tiny_picture
from tests.real_stack import Stack, real_stack
from tests.retrying import Client, Got
from tests.servers import MariaDB, SeaweedFS, clean_environment, free_ports, wait_until

CLIENTS = ("python", "python, async", "openai", "ai")
COUNTING = CLIENTS[:-1]
"""Those that count their tries in a header. The AI SDK sends an Idempotency-Key, and has no timeout of its own."""
SETTINGS = {"PIXYPROXY_LEASE": "3", "PIXYPROXY_RECONCILE_INTERVAL": "1"}
FAULTS = {
    "it draws and its connection breaks": Fault("break"),
    "it answers 500": Fault("status", status=500, type="server_error"),
    "it says nothing until the deadline": Fault("hang"),
}


@pytest.fixture(scope="module")
def stack(
    mariadb: MariaDB,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    logs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Two replicas for this module."""
    folder = tmp_path_factory.mktemp("purchases")
    with real_stack(
        mariadb,
        seaweedfs,
        name=unique(),
        folder=folder,
        logs=logs,
        replicas=2,
        settings=SETTINGS,
        label="purchases",
    ) as two_replicas:
        yield two_replicas


@pytest.fixture
def prompts(stack: Stack, unique: Callable[[], str]) -> Iterator[dict[str, str]]:
    """A prompt for each client that nobody has sent before; afterwards the parts behave again."""
    once = unique()
    yield {name: f"{planted.PROMPT} {once} {name}" for name in CLIENTS}
    stack.mend()


def addresses(stack: Stack) -> list[str]:
    """Those of both replicas."""
    return [replica.url for replica in stack.replicas]


@contextmanager
def drawing(
    replicas: Sequence[str], prompts: Mapping[str, str], *, timeout: float | None = None
) -> Iterator[dict[str, Got]]:
    """These clients begin with the block, all at once; behind it they have what they got."""
    found: dict[str, Got] = {}
    with ThreadPoolExecutor() as threads:
        running = {
            name: threads.submit(Client(name, replicas, timeout=timeout).draw, prompt)
            for name, prompt in prompts.items()
        }
        yield found
        found.update({name: each.result(timeout=90) for name, each in running.items()})


def purchases(stack: Stack, prompt: str) -> int:
    """How often the upstream was asked to draw this."""
    return [json.loads(each["body"])["prompt"] for each in stack.upstream.requests].count(prompt)


def generation_of(mariadb: MariaDB, stack: Stack, prompt: str) -> tuple[str, str]:
    """The guid of the one generation of this prompt, and its state, with the error of a failed one."""
    ((guid, state),) = mariadb.query(
        "SELECT guid, CONCAT_WS(' ', state, error) FROM generations WHERE JSON_VALUE(request, '$.prompt') = %s",
        prompt,
        database=stack.database,
    )
    return guid, state


def assert_told_which_one(mariadb: MariaDB, stack: Stack, prompts: Mapping[str, str], found: dict[str, Got]) -> None:
    """Each client has bought once, and got the error that names its own generation."""
    for name, prompt in prompts.items():
        guid, state = generation_of(mariadb, stack, prompt)
        assert state.startswith("failed"), (name, state)
        assert (found[name].status, purchases(stack, prompt)) == (424, 1), (name, found[name])
        assert guid in found[name].message, name


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_an_upstream_that_may_have_billed_is_asked_once(
    stack: Stack, mariadb: MariaDB, prompts: dict[str, str], fault: Fault
) -> None:
    stack.upstream.fault = fault
    with drawing(addresses(stack), prompts) as found:
        pass
    assert_told_which_one(mariadb, stack, prompts, found)


def test_clients_that_wait_for_a_second_get_a_slow_picture_that_was_bought_once(
    stack: Stack, prompts: dict[str, str]
) -> None:
    stack.upstream.delay = 2
    asked = {name: prompts[name] for name in COUNTING}
    with drawing(addresses(stack), asked, timeout=1) as found:
        pass
    for name, prompt in asked.items():
        assert found[name] == Got(picture=tiny_picture(prompt)), name
        assert purchases(stack, prompt) == 1, name


@contextmanager
def third_replica(stack: Stack, logs: Path, *, arrow: str) -> Iterator[tuple[Forked, str]]:
    """A third replica that waits long for the upstream and is to be killed at the arrow, and its address."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = clean_environment({**stack.environment, "PIXYPROXY_GENERATION_DEADLINE": "100"})
    log = logs / "purchases-killed.log"
    process = Forked(crashing.serve, arrow, port, environment, stack.folder, log)
    try:
        wait_until(lambda: httpx2.get(f"{url}/healthz"), seconds=60, what="the third replica")
        yield process, url
    finally:
        process.kill()
        process.wait()


def test_clients_that_give_up_for_good_have_bought_one_picture_which_is_kept(
    stack: Stack, mariadb: MariaDB, prompts: dict[str, str], logs: Path
) -> None:
    stack.proxies["upstream"].mode = "silent"
    asked = {name: prompts[name] for name in COUNTING}
    with third_replica(stack, logs, arrow="drawing") as (_, url):
        with drawing([url, stack.replicas[1].url], asked, timeout=1) as found:
            pass
        stack.proxies["upstream"].mode = "pass"
        for name, prompt in asked.items():
            assert (found[name].picture, found[name].status) == (None, None), name

            def is_kept(prompt: str = prompt) -> None:
                assert generation_of(mariadb, stack, prompt)[1] == "succeeded"

            wait_until(is_kept, seconds=20, what=name)
            guid, _ = generation_of(mariadb, stack, prompt)
            (image,) = stack.get(f"/generation/{guid}").json()["images"]
            assert stack.get(f"/image/{image['guid']}/content", replica=1).content == tiny_picture(prompt)
            assert purchases(stack, prompt) == 1, name


def test_clients_whose_replica_is_killed_in_mid_draw_are_told_at_the_other_one_which_generation_it_was(
    stack: Stack, mariadb: MariaDB, prompts: dict[str, str], logs: Path
) -> None:
    stack.upstream.fault = Fault("hang")
    with third_replica(stack, logs, arrow="drawing") as (process, url):
        with drawing([url, stack.replicas[1].url], prompts) as found:

            def are_asked_for() -> None:
                assert [purchases(stack, prompt) for prompt in prompts.values()] == [1] * len(prompts)

            wait_until(are_asked_for, seconds=60, what="the upstream")
            process.kill()
    assert_told_which_one(mariadb, stack, prompts, found)


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_whose_replica_is_killed_between_commit_and_answer_gets_the_picture_at_the_other_one(
    stack: Stack, mariadb: MariaDB, prompts: dict[str, str], logs: Path, name: str
) -> None:
    prompt = prompts[name]
    with third_replica(stack, logs, arrow="before-answer") as (process, url), ThreadPoolExecutor() as pool:
        waiting = pool.submit(Client(name, [url, stack.replicas[1].url]).draw, prompt)
        assert process.wait(60) == -signal.SIGKILL
        assert generation_of(mariadb, stack, prompt)[1] == "succeeded"
        # Half a minute later it is known that nobody has answered.
        mariadb.query(
            "UPDATE generations SET abandoned_at = abandoned_at - INTERVAL 1 MINUTE "
            "WHERE JSON_VALUE(request, '$.prompt') = %s",
            prompt,
            database=stack.database,
        )
        found = waiting.result(timeout=60)
    assert found == Got(picture=tiny_picture(prompt))
    assert purchases(stack, prompt) == 1
