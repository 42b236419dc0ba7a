"""Retries of the openai SDK that reach another replica: one purchase, on a real stack with each SQL server."""

import signal
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest

from tests import planted
from tests.fakes import tiny_picture
from tests.real_stack import Stack, real_stack
from tests.servers import SeaweedFS, SqlServer, wait_until

SETTINGS = {"PIXYPROXY_LEASE": "3", "PIXYPROXY_RECONCILE_INTERVAL": "1"}


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    """Each of the SQL servers."""
    found: SqlServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def stack(
    server: SqlServer,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    logs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """Two replicas for this module."""
    folder = tmp_path_factory.mktemp("retries")
    with real_stack(
        server,
        seaweedfs,
        name=unique(),
        folder=folder,
        logs=logs,
        replicas=2,
        settings=SETTINGS,
        label="retries",
    ) as two_replicas:
        yield two_replicas


@pytest.fixture
def prompt(stack: Stack, unique: Callable[[], str]) -> Iterator[str]:
    """A new prompt; afterwards the parts work again."""
    yield f"{planted.PROMPT} {unique()}"
    stack.mend()


def generate(stack: Stack, prompt: str, **options: object) -> openai.types.ImagesResponse:
    """What the SDK returns, whose first try goes to the first replica and each retry to the next one."""

    def take_turns(request: httpx2.Request) -> None:
        turn = int(request.headers["x-stainless-retry-count"]) % len(stack.replicas)
        request.url = request.url.copy_with(port=stack.replicas[turn].port)

    with openai.OpenAI(
        api_key=planted.API_KEY,
        base_url=f"{stack.replicas[0].url}/v1",
        http_client=openai.DefaultHttpxClient(event_hooks={"request": [take_turns]}),
        **options,  # type: ignore[arg-type]
    ) as client:
        return client.images.generate(prompt=prompt, size="32x16")


def test_a_client_that_gives_up_after_a_second_gets_the_one_picture_from_a_retry_elsewhere(
    stack: Stack, prompt: str
) -> None:
    stack.upstream.delay = 3
    before = stack.upstream.received
    answer = generate(stack, prompt, timeout=1, max_retries=8)
    assert b64decode((answer.data or [])[0].b64_json or "") == tiny_picture(prompt)
    assert stack.upstream.received == before + 1


def test_a_client_whose_replica_is_killed_in_mid_draw_is_answered_which_generation_it_was(
    stack: Stack, server: SqlServer, prompt: str
) -> None:
    stack.upstream.delay = 4
    before = stack.upstream.received
    killed = stack.replicas[0]

    def is_drawn() -> None:
        assert stack.upstream.received == before + 1

    with ThreadPoolExecutor() as threads:
        generating = threads.submit(generate, stack, prompt)
        wait_until(is_drawn, seconds=20, what="the upstream")
        killed.process.stop(how=signal.SIGKILL)
        with pytest.raises(openai.APIStatusError) as error:
            generating.result(timeout=60)
    killed.start()
    assert (error.value.status_code, error.value.response.headers["x-should-retry"]) == (424, "false")
    ((guid,),) = server.query(
        "SELECT guid FROM generations WHERE state = 'failed' AND request LIKE %s",
        f"%{prompt}%",
        database=stack.database,
    )
    assert guid in error.value.message
    assert stack.upstream.received == before + 1


def test_equal_requests_side_by_side_at_both_replicas_are_each_drawn(stack: Stack, prompt: str) -> None:
    stack.upstream.delay = 1
    before = stack.upstream.received
    with ThreadPoolExecutor() as threads:
        answers = list(threads.map(lambda _: generate(stack, prompt), range(4)))
    guids = {(answer.data or [])[0].model_extra["pixyproxy"]["guid"] for answer in answers}  # type: ignore[index]
    assert (len(guids), stack.upstream.received) == (4, before + 4)


def test_each_attempt_is_recorded_as_answered_or_as_adopted(stack: Stack, server: SqlServer, prompt: str) -> None:
    stack.upstream.delay = 2
    generate(stack, prompt, timeout=1, max_retries=8)

    def is_recorded() -> None:
        rows = server.query(
            "SELECT abandoned_at, fingerprint IS NULL FROM generations WHERE request LIKE %s",
            f"%{prompt}%",
            database=stack.database,
        )
        assert rows == [(None, 0)]

    wait_until(is_recorded, seconds=10, what="the delivery")
