"""Retries are adopted: what one replica sees, and what two replicas see of each other. Time is virtual."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pixyproxy.core.exceptions import (
    ClientLeftError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    ShuttingDownError,
    UpstreamDeadlineError,
    UpstreamUnavailableError,
)
from pixyproxy.core.generations import GenerationRequest, PartialImage
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.core.limits import ANSWERED_WITHIN
from pixyproxy.service.generating.adopt import WITHIN
from pixyproxy.service.generating.client import Client
from pixyproxy.service.generating.created import Created
from tests import planted
from tests.fakes import tiny_picture
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)
DRAWING = 100.0
"""Seconds that the upstream draws."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A loop whose seconds do not last."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
async def stage() -> Stage:
    """A replica whose upstream takes its time."""
    began = datetime.now(UTC)
    stage = Stage()
    stage.generations.clock = lambda: began + timedelta(seconds=now())
    stage.generator.before = draw_slowly
    return stage


async def draw_slowly() -> None:
    await asyncio.sleep(DRAWING)


class Request:
    """A request below /v1 that is being served, and its client."""

    def __init__(self, stage: Stage, *, retry: bool = False, caller: Caller = CALLER, **values: Any) -> None:
        self.client = Client(retry=retry)
        asked = GenerationRequest(prompt=values.pop("prompt", planted.PROMPT))
        self.task = asyncio.create_task(
            stage.private.create(asked, caller=caller, wait=math.inf, client=self.client, **values)
        )
        self.task.add_done_callback(lambda done: done.exception())

    async def leaves(self, after: float = 1) -> "Request":
        """Its client leaves after so many seconds."""
        await asyncio.sleep(after)
        self.client.leave()
        await asyncio.sleep(0.5)
        return self

    async def answer(self) -> Created:
        """The answer, which the client takes."""
        try:
            return await self.task
        finally:
            self.client.serve()
            await asyncio.sleep(0.01)


@asynccontextmanager
async def alive(*stages: Stage) -> AsyncIterator[None]:
    """These replicas renew their leases and reconcile."""
    tasks = [asyncio.create_task(stage.runner.renew_leases()) for stage in stages]
    tasks += [asyncio.create_task(stage.reconciler().run(interval=30)) for stage in stages]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


async def kill(stage: Stage) -> None:
    """The replica dies: nothing of it runs on, and it records nothing."""
    tasks = set(stage.runner._tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def bought(stage: Stage) -> int:
    """How often the upstream was asked."""
    return len(stage.generator.requests)


# One replica


async def test_a_retry_joins_the_generation_that_its_client_left(stage: Stage) -> None:
    await Request(stage).leaves()
    answer = await Request(stage, retry=True).answer()
    assert (bought(stage), len(answer.generation.images), answer.replayed) == (1, 1, False)
    assert now() == pytest.approx(DRAWING, abs=1)


async def test_a_client_that_leaves_again_and_again_gets_the_picture_at_last(stage: Stage) -> None:
    await Request(stage).leaves()
    await Request(stage, retry=True).leaves()
    await asyncio.sleep(DRAWING)
    answer = await Request(stage, retry=True).answer()
    assert (bought(stage), len(answer.generation.images)) == (1, 1)
    assert now() == pytest.approx(DRAWING + 3, abs=1), "it had ended: nobody waited for it"


async def test_equal_requests_side_by_side_are_never_merged(stage: Stage) -> None:
    requests = [Request(stage, retry=number > 1) for number in range(4)]
    answers = [await request.answer() for request in requests]
    assert bought(stage) == 4
    assert len({answer.generation.guid for answer in answers}) == 4
    await Request(stage, retry=True).answer()
    assert bought(stage) == 5, "those that were answered are nobody's either"


async def test_each_of_two_retries_gets_a_generation_of_its_own(stage: Stage) -> None:
    left = [Request(stage), Request(stage)]
    for request in left:
        await request.leaves()
    retries = [Request(stage, retry=True) for _ in range(3)]
    answers = [await request.answer() for request in retries]
    assert bought(stage) == 3, "the third had nothing to adopt"
    assert len({answer.generation.guid for answer in answers}) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "another one"},
        {"caller": Caller(api_key_id=8, name="another", scopes=EVERYTHING)},
        {"idempotency_key": "of its own"},
        {"retry": False},
    ],
)
async def test_what_is_not_the_same_adopts_nothing(stage: Stage, other: dict[str, Any]) -> None:
    await Request(stage).leaves()
    await Request(stage, **{"retry": True, **other}).answer()
    assert bought(stage) == 2


async def test_a_generation_with_an_idempotency_key_is_adopted_by_no_other_request(stage: Stage) -> None:
    await Request(stage, idempotency_key="of its own").leaves()
    await Request(stage, retry=True).answer()
    assert bought(stage) == 2


async def test_what_began_more_than_ten_minutes_ago_is_not_adopted(stage: Stage) -> None:
    await Request(stage).leaves()
    await asyncio.sleep(WITHIN)
    await Request(stage, retry=True).answer()
    assert bought(stage) == 2


async def test_a_failure_that_cost_nothing_is_bought_again(stage: Stage) -> None:
    stage.generator.failure = UpstreamUnavailableError("busy")
    await Request(stage).leaves()
    await asyncio.sleep(DRAWING)
    stage.generator.failure = None
    await Request(stage, retry=True).answer()
    assert bought(stage) == 2


async def test_a_failure_that_may_have_been_billed_is_answered_and_names_the_generation(stage: Stage) -> None:
    stage.generator.failure = UpstreamDeadlineError("late")
    await Request(stage).leaves()
    for _ in range(2):  # while it runs, and when it has ended
        retry = Request(stage, retry=True)
        with pytest.raises(UpstreamDeadlineError) as caught:
            await retry.task
        assert caught.value.extra["generation"] in {str(guid) for guid in stage.generations.generations}
        assert (caught.value.cost, caught.value.replayed) == ("unknown", False)
        retry.client.leave()
    assert bought(stage) == 1


async def test_a_failure_that_was_answered_is_adopted_by_nobody(stage: Stage) -> None:
    stage.generator.failure = UpstreamDeadlineError("late")
    for _ in range(2):
        with suppress(UpstreamDeadlineError):
            await Request(stage, retry=True).answer()
        await asyncio.sleep(ANSWERED_WITHIN + 1)
    assert bought(stage) == 2


async def test_a_picture_that_was_deleted_since_is_bought_again(stage: Stage) -> None:
    left = await Request(stage).leaves()
    await stage.private.delete((await left.task).generation.images[0].guid, caller=CONFIGURED_CALLER)
    await Request(stage, retry=True).answer()
    assert bought(stage) == 2


async def test_a_client_that_left_before_anything_was_spent_buys_nothing(stage: Stage) -> None:
    request = Request(stage)
    request.client.leave()
    with pytest.raises(ClientLeftError):
        await request.task
    assert (bought(stage), stage.generations.generations) == (0, {})


async def test_a_retry_gets_the_partial_images_that_are_still_to_come(stage: Stage) -> None:
    async def draw_after_the_retry() -> None:
        await asyncio.sleep(10)

    stage.generator.before = draw_after_the_retry
    stage.generator.partials = (tiny_picture("1"), tiny_picture("2"))
    asked = GenerationRequest(prompt=planted.PROMPT)
    client = Client()
    first = (await stage.private.stream(asked, caller=CALLER, partial_images=2, client=client)).events
    client.leave()
    retry = (await stage.private.stream(asked, caller=CALLER, partial_images=2, client=Client(retry=True))).events
    events = [event async for event in retry]
    assert [type(event) for event in events] == [PartialImage, PartialImage, Created]
    assert bought(stage) == 1
    await first.aclose()


async def test_what_could_not_be_recorded_at_once_is_recorded_later(stage: Stage) -> None:
    first = Request(stage)
    await asyncio.sleep(1)
    stage.adoption.failure = DatabaseUnavailableError()
    await first.leaves(0)
    retry = Request(stage, retry=True)
    with pytest.raises(DatabaseUnavailableError) as caught:
        await retry.task
    assert caught.value.cost == "none"
    stage.adoption.failure = None
    await Request(stage, retry=True).answer()
    assert bought(stage) == 1


# Two replicas


async def test_a_retry_at_another_replica_joins_too(stage: Stage) -> None:
    other = stage.replica()
    async with alive(stage, other):
        await Request(stage).leaves()
        answer = await Request(other, retry=True).answer()
    assert (bought(stage), len(answer.generation.images)) == (1, 1)
    assert now() == pytest.approx(DRAWING, abs=5)


async def test_of_retries_at_two_replicas_one_adopts(stage: Stage) -> None:
    other = stage.replica()
    async with alive(stage, other):
        await Request(stage).leaves()
        answers = await asyncio.gather(*(Request(each, retry=True).answer() for each in (stage, other)))
    assert bought(stage) == 2
    assert len({answer.generation.guid for answer in answers}) == 2


async def test_a_generation_of_a_replica_that_lives_is_not_taken_from_its_client(stage: Stage) -> None:
    other = stage.replica()
    async with alive(stage, other):
        first = Request(stage)
        await asyncio.sleep(1)
        retry = Request(other, retry=True)
        await asyncio.sleep(stage.lease / 2)
        assert bought(stage) == 2, "its lease was renewed: who draws it lives, and so its client is there"
        assert (await first.answer()).generation.guid != (await retry.answer()).generation.guid


async def test_a_retry_gets_the_picture_that_a_killed_replica_had_put(stage: Stage) -> None:
    other = stage.replica()
    async with alive(other):
        first = Request(stage)
        await asyncio.sleep(1)
        (generation,) = stage.generations.generations.values()
        await stage.storage.put(f"{generation.image_guid(0)}.png", tiny_picture(), content_type="image/png")
        await kill(stage)
        answer = await Request(other, retry=True).answer()
    assert (bought(stage), answer.generation.guid) == (1, generation.guid)
    assert now() < 2 * stage.lease + 30
    assert not first.client.left


async def test_a_retry_after_a_kill_in_mid_draw_buys_nothing_and_is_answered_which_one_it_was(stage: Stage) -> None:
    other = stage.replica()
    async with alive(other):
        Request(stage)
        await asyncio.sleep(1)
        (generation,) = stage.generations.generations.values()
        await kill(stage)
        retries = [Request(other, retry=True) for _ in range(2)]
        with pytest.raises(GenerationInterruptedError) as caught:
            await retries[0].answer()
    assert (caught.value.extra["generation"], caught.value.cost) == (str(generation.guid), "unknown")
    await retries[1].answer()
    assert bought(stage) == 2, "the other one was side by side with it"


async def test_a_retry_that_leaves_while_nobody_knows_buys_nothing(stage: Stage) -> None:
    other = stage.replica()
    async with alive(other):
        Request(stage)
        await asyncio.sleep(1)
        await kill(stage)
        retry = await Request(other, retry=True).leaves()
        with pytest.raises(ClientLeftError):
            await retry.task
    assert bought(stage) == 1


async def test_a_replica_that_dies_between_commit_and_answer_leaves_nothing_to_buy_again(stage: Stage) -> None:
    other = stage.replica()
    first = Request(stage)
    ended = (await first.task).generation  # nobody is told
    answer = await Request(other, retry=True).answer()
    assert (bought(stage), answer.generation.guid) == (1, ended.guid)
    assert now() == pytest.approx(DRAWING + ANSWERED_WITHIN, abs=3)


async def test_a_request_whose_answer_is_on_its_way_elsewhere_keeps_its_generation(stage: Stage) -> None:
    other = stage.replica()
    first = Request(stage)
    ended = (await first.task).generation
    retry = Request(other, retry=True)
    await asyncio.sleep(ANSWERED_WITHIN / 2)
    first.client.serve()
    assert (await retry.answer()).generation.guid != ended.guid
    assert bought(stage) == 2


async def test_a_process_that_ends_sends_the_retry_elsewhere(stage: Stage) -> None:
    other = stage.replica()
    async with alive(stage):
        await Request(stage).leaves()
        retry = Request(other, retry=True)
        await asyncio.sleep(1)
        other.readiness.ending.set()
        with pytest.raises(ShuttingDownError) as caught:
            await retry.answer()
        assert caught.value.cost == "none"
        await Request(stage, retry=True).answer()
    assert bought(stage) == 1
