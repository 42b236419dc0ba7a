"""Probes and threads: what a part that hangs, fails or comes back does to those who ask."""

import asyncio
import threading
import time

import anyio
import pytest

from pixyproxy.core.exceptions import DatabaseUnavailableError, StorageUnavailableError, UnavailableError
from pixyproxy.core.threads import Threads
from pixyproxy.service.readiness import DEADLINE, FAILURE_AGE, SUCCESS_AGE, Probe
from tests.stage import Stage

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Part:
    """Something to ask."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self.hangs: anyio.Event | None = None

    async def ask(self) -> None:
        self.asked += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.failure is not None:
            raise self.failure


def probe_of(part: Part, clock: Clock) -> Probe:
    return Probe(part.ask, silent=lambda: StorageUnavailableError("silent"), clock=clock)


async def test_an_answer_holds_for_five_seconds_and_not_longer() -> None:
    part, clock = Part(), Clock()
    probe = probe_of(part, clock)
    for passed, asked in ((0, 1), (SUCCESS_AGE - 0.1, 1), (0.2, 2)):
        clock.now += passed
        await probe.check()
        assert part.asked == asked
    assert SUCCESS_AGE <= 5


async def test_a_failure_holds_for_a_second_and_then_the_part_may_be_back() -> None:
    part, clock = Part(), Clock()
    probe = probe_of(part, clock)
    part.failure = StorageUnavailableError("unavailable")
    for _ in range(3):
        with pytest.raises(StorageUnavailableError, match="unavailable"):
            await probe.check()
    assert part.asked == 1
    part.failure = None
    clock.now += FAILURE_AGE
    await probe.check()
    assert part.asked == 2


async def test_the_age_of_an_answer_counts_from_the_question() -> None:
    part, clock = Part(), Clock()
    probe = probe_of(part, clock)
    part.hangs = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(probe.check)
        await anyio.wait_all_tasks_blocked()
        clock.now += 4
        part.hangs.set()
    clock.now += 1.1
    await probe.check()
    assert part.asked == 2


async def test_concurrent_callers_share_a_probe() -> None:
    part = Part()
    probe = probe_of(part, Clock())
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(probe.check)
    assert part.asked == 1


async def test_a_part_that_hangs_is_silent_after_the_deadline_and_asked_once_only() -> None:
    part, clock = Part(), Clock()
    probe = probe_of(part, clock)
    part.hangs = anyio.Event()
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(StorageUnavailableError, match="silent"):
            await probe.check()
    assert time.monotonic() - started < 2 * DEADLINE + 3
    assert part.asked == 1
    part.hangs.set()
    await probe.check()
    assert part.asked == 1, "the answer came late, and counts"


async def test_a_cancelled_caller_does_not_end_the_probe_of_others() -> None:
    part = Part()
    probe = probe_of(part, Clock())
    part.hangs = anyio.Event()
    with anyio.move_on_after(0.05):
        await probe.check()
    part.hangs.set()
    await probe.check()
    assert part.asked == 1


async def test_readiness_asks_the_parts_at_the_same_time() -> None:
    stage = Stage()
    stage.database.failure = DatabaseUnavailableError("unavailable")
    failures = await stage.readiness.failures()
    assert set(failures) == {"database"}


def busy() -> UnavailableError:
    return UnavailableError("busy")


async def test_work_waits_for_a_thread_and_is_refused_after_its_patience() -> None:
    threads = Threads(1, patience=0.1, busy=busy)
    release = threading.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, release.wait)
        await anyio.sleep(0.05)
        with pytest.raises(UnavailableError, match="busy"):
            await threads.run(lambda: 1)
        patient: list[int] = []

        async def wait_longer() -> None:
            patient.append(await threads.run(lambda: 2, patience=10))

        tasks.start_soon(wait_longer)
        await anyio.sleep(0.3)
        release.set()
    assert patient == [2]


async def test_work_that_has_begun_is_finished_though_its_caller_is_cancelled_and_no_place_is_lost() -> None:
    threads = Threads(2, patience=1, busy=busy)
    finished: list[int] = []

    def work() -> None:
        time.sleep(0.1)
        finished.append(1)

    for _ in range(5):
        with anyio.move_on_after(0.02):
            await threads.run(work)
    assert len(finished) == 5
    with anyio.fail_after(2):
        assert await threads.run(lambda: "free") == "free"


async def test_what_was_opened_for_a_task_that_is_cancelled_is_in_its_hands_to_be_closed() -> None:
    threads = Threads(1, patience=1, busy=busy)
    began, goes_on, closed = threading.Event(), threading.Event(), []

    def opened() -> str:
        began.set()
        goes_on.wait(20)
        return "file"

    async def reading() -> None:
        file = await threads.run(opened)
        try:
            await anyio.sleep_forever()
        finally:
            closed.append(file)

    task = asyncio.create_task(reading())
    await anyio.to_thread.run_sync(began.wait)
    task.cancel()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(threads.run(lambda: 1, patience=60)), timeout=0.1)
    goes_on.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert closed == ["file"]
    assert await threads.run(lambda: "free") == "free"


async def test_an_error_of_the_work_gives_the_place_back() -> None:
    threads = Threads(1, patience=0.1, busy=busy)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)


async def test_what_a_request_adds_to_a_failure_is_in_no_other_request() -> None:
    part, clock = Part(), Clock()
    probe = probe_of(part, clock)
    part.failure = StorageUnavailableError("unavailable")
    failures = []
    for generation in ("one", "two"):
        with pytest.raises(StorageUnavailableError) as raised:
            await probe.check()
        raised.value.extra.setdefault("generation", generation)
        failures.append(raised.value.extra)
    assert failures == [{"generation": "one"}, {"generation": "two"}]
