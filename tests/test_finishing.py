"""Finish slots: how many are finished at once, in which order, and that a slot always comes back. Time is virtual."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    StorageUnavailableError,
    UpstreamAnswerError,
    UpstreamRefusedError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import GenerationRequest, GenerationState
from pixyproxy.core.keys import EVERYTHING, Caller
from pixyproxy.service.generating.finish_slots import LONGEST_USE, LONGEST_WAIT, FinishSlot, FinishSlots
from tests.fakes import FakeStorage
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A loop whose seconds do not last."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


def now() -> float:
    return asyncio.get_running_loop().time()


class Finishing:
    """Watches the generations of a stage between their turn and their commit. Reading a picture takes a second."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.at_once = self.most_at_once = 0
        self.order: list[str] = []
        stage.generator.after_turn = self.read
        stage.generations.after_succeed = self.committed

    async def read(self) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        await asyncio.sleep(1)

    def committed(self) -> None:
        self.at_once -= 1


async def create(stage: Stage, prompt: str = "a dot") -> None:
    await stage.private.create(GenerationRequest(prompt=prompt), caller=CALLER, wait=3600)


async def test_no_more_than_the_slots_are_read_and_put_and_committed_at_once() -> None:
    stage = Stage(finish_slots=3)
    finishing = Finishing(stage)
    await asyncio.gather(*(create(stage) for _ in range(30)))
    assert finishing.most_at_once == 3
    assert finishing.at_once == 0
    assert now() == pytest.approx(10, abs=0.1), "three at once, and never fewer"


async def test_all_that_wait_were_drawn_already() -> None:
    stage = Stage(finish_slots=1)
    Finishing(stage)
    creating = [asyncio.create_task(create(stage)) for _ in range(20)]
    await asyncio.sleep(0.5)
    assert len(stage.generator.requests) == 20
    await asyncio.gather(*creating)


async def test_who_came_first_is_first() -> None:
    slots, order = FinishSlots(2), []

    async def use(number: int) -> None:
        slot = slots.slot()
        await slot.take()
        order.append(number)
        await asyncio.sleep(1)
        slot.give_back()

    users = []
    for number in range(20):
        users.append(asyncio.create_task(use(number)))
        await asyncio.sleep(0.001)
    await asyncio.gather(*users)
    assert order == list(range(20))


async def taken(slots: FinishSlots) -> FinishSlot:
    slot = slots.slot()
    await slot.take()
    return slot


async def free(slots: FinishSlots) -> int:
    """How many slots can be taken at once. They are taken."""
    began, count = now(), 0
    while True:
        await taken(slots)
        if now() > began:
            return count
        count += 1


async def test_a_slot_that_is_given_back_twice_is_given_back_once() -> None:
    slots = FinishSlots(2)
    slot = await taken(slots)
    slot.give_back()
    slot.give_back()
    assert await free(slots) == 2


async def test_a_slot_that_was_never_taken_gives_nothing_back() -> None:
    slots = FinishSlots(1)
    slots.slot().give_back()
    assert await free(slots) == 1


async def test_a_slot_that_is_used_for_long_is_lent_to_the_next_and_not_given_back_again() -> None:
    slots = FinishSlots(1)
    first = await taken(slots)
    second = await taken(slots)
    assert now() == pytest.approx(LONGEST_USE)
    first.give_back()
    third = asyncio.create_task(taken(slots))
    await asyncio.sleep(1)
    assert not third.done()
    second.give_back()
    await third
    assert now() == pytest.approx(LONGEST_USE + 1)


async def test_a_generation_that_has_waited_for_long_continues_without_a_slot() -> None:
    slots, moments = FinishSlots(1), []

    async def use() -> None:
        slot = await taken(slots)
        moments.append(round(now()))
        await asyncio.sleep(100)
        slot.give_back()

    users = [asyncio.create_task(use()) for _ in range(20)]
    await asyncio.gather(*users)
    assert moments[:6] == [0, 5, 10, 15, 20, 25]
    assert set(moments[6:]) == {LONGEST_WAIT}
    assert await free(slots) == 1, "who had none gave none back"


async def test_who_is_cancelled_while_waiting_takes_no_slot_with_it() -> None:
    slots = FinishSlots(1)
    first = await taken(slots)
    waiting = asyncio.create_task(taken(slots))
    await asyncio.sleep(1)
    waiting.cancel()
    first.give_back()
    await asyncio.sleep(0)
    assert await free(slots) == 1


# Every way in which a generation can go


def refused(stage: Stage) -> None:
    stage.generator.failure = UpstreamRefusedError("no")


def broken_while_read(stage: Stage) -> None:
    async def fail() -> None:
        raise UpstreamUnknownOutcomeError("broke")

    stage.generator.after_turn = fail


def nonsense(stage: Stage) -> None:
    async def fail() -> None:
        raise UpstreamAnswerError("nonsense")

    stage.generator.after_turn = fail


def no_picture(stage: Stage) -> None:
    stage.generator.pictures = (b"<svg/>",)


def a_fault_of_ours(stage: Stage) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    stage.generator.after_turn = fail


def storage_away(stage: Stage) -> None:
    stage.storage.put_failure = StorageUnavailableError("unavailable")


def database_away(stage: Stage) -> None:
    async def fail() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.after_turn = fail


def nothing(stage: Stage) -> None:
    pass


@pytest.mark.parametrize(
    "trouble",
    [nothing, refused, broken_while_read, nonsense, no_picture, a_fault_of_ours, storage_away, database_away],
)
async def test_a_slot_comes_back_exactly_once_whatever_happens(trouble: Callable[[Stage], None]) -> None:
    stage = Stage(finish_slots=1)
    trouble(stage)
    for number in range(2):
        running = await stage.runner.begin(GenerationRequest(prompt=f"{number}"), caller=CALLER)
        await asyncio.sleep(0.01)
        assert now() < 0.1, "a slot that did not come back would be waited for"
        assert running.outcome.done() or trouble in (storage_away, database_away)
        stage.generations.failure = None
    stage.generator.failure = stage.generator.pictures = stage.storage.put_failure = None
    finishing = Finishing(stage)
    began = now()
    stage.generations.after_succeed = None
    await asyncio.sleep(60)  # what was not kept is kept
    stage.generations.after_succeed = finishing.committed
    began = now()
    await asyncio.gather(*(create(stage) for _ in range(4)))
    assert finishing.most_at_once == 1
    assert now() - began == pytest.approx(4, abs=0.1)


class StorageThatHangs(FakeStorage):
    """Takes pictures when the event is set."""

    def __init__(self) -> None:
        super().__init__()
        self.taking = asyncio.Event()

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        await self.taking.wait()
        await super().put(key, data, content_type=content_type, sha256=sha256)


async def test_a_storage_that_hangs_holds_no_slot() -> None:
    storage = StorageThatHangs()
    stage = Stage(finish_slots=1, storage=storage)
    creating = [asyncio.create_task(create(stage)) for _ in range(20)]
    await asyncio.sleep(LONGEST_WAIT + 1)
    storage.taking.set()
    await asyncio.gather(*creating)
    assert now() == pytest.approx(LONGEST_WAIT + 1, abs=0.1)
    assert len(stage.storage.objects) == 20


async def test_a_process_that_ends_is_not_kept_by_its_slots() -> None:
    stage = Stage(finish_slots=1)
    finishing = Finishing(stage)
    creating = [asyncio.create_task(create(stage)) for _ in range(10)]
    await asyncio.sleep(0.5)
    await stage.runner.drain()
    assert finishing.most_at_once == 1
    assert now() == pytest.approx(10, abs=0.1)
    await asyncio.gather(*creating)
    states = {generation.state for generation in stage.generations.generations.values()}
    assert states == {GenerationState.SUCCEEDED}
