"""The life of a generation, step by step, over fakes."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import anyio
import pytest

from pixyproxy.core.exceptions import (
    DatabaseError,
    DatabaseUnavailableError,
    InternalError,
    InvalidRequestError,
    ShuttingDownError,
    StorageError,
    StorageUnavailableError,
    TooManyGenerationsError,
    UpstreamAnswerError,
    UpstreamRefusedError,
)
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState
from pixyproxy.core.images import Image
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.service.keys import new_key
from pixyproxy.service.queries import ImageQuery
from tests import planted
from tests.fakes import FakeGenerationRepository, FakeImageRepository, FakeParkedImageRepository, tiny_picture
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)
REQUEST = GenerationRequest(prompt=planted.PROMPT)

in_virtual_time = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})], ids=["virtual time"]
)


def the_generation(stage: Stage) -> Generation:
    (generation,) = stage.generations.generations.values()
    return generation


async def create(stage: Stage, request: GenerationRequest = REQUEST) -> Image:
    answer = await stage.private.create(request, caller=CALLER)
    return answer.generation.images[0]


async def test_a_generation_ends_with_bytes_and_rows() -> None:
    stage = Stage()
    image = await create(stage)
    generation = the_generation(stage)
    assert stage.storage.objects[image.filename] == tiny_picture(planted.PROMPT)
    assert stage.images.images == {image.guid: image}
    assert generation.state is GenerationState.SUCCEEDED
    assert generation.usage == {"total_tokens": 7}
    assert generation.upstream_request_id == "req_fake"
    assert generation.api_key_id == 7
    assert image.guid == generation.image_guid(0)
    assert image.filename == f"{image.guid}.png"
    assert (image.width, image.height, image.content_type, image.model) == (32, 16, "image/png", "gpt-image-2")


async def test_what_is_left_open_is_filled_in_and_recorded() -> None:
    stage = Stage()
    await create(stage)
    (asked,) = stage.generator.requests
    assert (asked.model, asked.quality, asked.size) == ("gpt-image-2", "medium", None)
    assert the_generation(stage).request.values == asked.values()


async def test_what_is_given_is_kept() -> None:
    stage = Stage()
    image = await create(stage, REQUEST.model_copy(update={"model": "gpt-image-1.5", "quality": "low"}))
    assert image.model == "gpt-image-1.5"
    assert stage.generator.requests[0].quality == "low"


async def test_the_steps_happen_in_their_order() -> None:
    stage = Stage()
    seen: list[tuple[GenerationState, int, int]] = []

    async def look() -> None:
        seen.append((the_generation(stage).state, len(stage.storage.objects), len(stage.images.images)))

    stage.generator.before = look
    await create(stage)
    assert seen == [(GenerationState.RUNNING, 0, 0)]  # reserved before it is drawn, kept after it


async def test_an_unavailable_storage_costs_nothing() -> None:
    stage = Stage()
    stage.storage.failure = StorageUnavailableError("unavailable")
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    assert (stage.generator.requests, stage.generations.generations) == ([], {})


async def test_a_storage_that_fails_while_the_reservation_is_written_costs_nothing() -> None:
    now = [0.0]
    stage = Stage(clock=lambda: now[0])

    def six_seconds_pass() -> None:
        now[0] += 6
        stage.storage.failure = StorageUnavailableError("unavailable")

    stage.generations.after_add = six_seconds_pass
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    assert stage.generator.requests == []
    assert the_generation(stage).state is GenerationState.FAILED


async def test_an_unavailable_database_costs_nothing() -> None:
    stage = Stage()
    stage.generations.failure = DatabaseUnavailableError("unavailable")
    with pytest.raises(DatabaseUnavailableError):
        await create(stage)
    assert stage.generator.requests == []


async def test_an_upstream_that_refuses_is_recorded_as_failed() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamRefusedError("not this", extra={"upstream_code": "moderation_blocked"})
    with pytest.raises(UpstreamRefusedError):
        await create(stage)
    generation = the_generation(stage)
    assert generation.state is GenerationState.FAILED
    assert generation.error == {
        "type": "urn:pixyproxy:problem:upstream-refused",
        "title": "The upstream refused the request",
        "status": 422,
        "detail": "not this",
        "cost": "none",
        "upstream_code": "moderation_blocked",
    }
    assert (stage.storage.objects, stage.images.images) == ({}, {})


async def test_what_is_no_picture_is_recorded_as_failed_and_not_stored() -> None:
    stage = Stage()
    stage.generator.pictures = (b"<svg/>",)
    with pytest.raises(UpstreamAnswerError):
        await create(stage)
    assert the_generation(stage).state is GenerationState.FAILED
    assert stage.storage.objects == {}


async def test_a_failure_that_cannot_be_recorded_is_still_the_upstreams() -> None:
    stage = Stage()

    async def lose() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.before, stage.generator.failure = lose, UpstreamRefusedError("not this")
    with pytest.raises(UpstreamRefusedError):
        await create(stage)


async def test_every_picture_that_was_paid_for_is_kept() -> None:
    stage = Stage()
    stage.generator.pictures = (tiny_picture("one"), tiny_picture("two", output_format="webp"))
    first = await create(stage)
    generation = the_generation(stage)
    assert first.guid == generation.image_guid(0)
    assert set(stage.images.images) == {generation.image_guid(0), generation.image_guid(1)}
    assert {key.rpartition(".")[2] for key in stage.storage.objects} == {"png", "webp"}


async def test_one_more_than_the_maximum_is_refused_before_anything_is_spent() -> None:
    stage = Stage(maximum=2)
    release = anyio.Event()
    stage.generator.before = release.wait
    async with anyio.create_task_group() as running:
        for _ in range(2):
            running.start_soon(create, stage)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TooManyGenerationsError) as caught:
            await create(stage)
        assert caught.value.retry_after
        assert len(stage.generations.generations) == 2
        release.set()
    await create(stage)  # the places are free again, after success as after failure
    stage.generator.failure = UpstreamRefusedError("no")
    for _ in range(3):
        with pytest.raises(UpstreamRefusedError):
            await create(stage)


async def test_generations_share_one_probe_of_the_storage() -> None:
    stage = Stage()
    async with anyio.create_task_group() as running:
        for _ in range(20):
            running.start_soon(create, stage)
    assert stage.storage.probes == 1, "a probe holds for 5 s, and those who come together share it"


@pytest.mark.parametrize(
    "broken",
    [
        GenerationRequest.model_construct(prompt=""),
        GenerationRequest.model_construct(prompt="x" * 32_001),
        GenerationRequest.model_construct(prompt="nul \x00"),
        GenerationRequest.model_construct(prompt="fine", output_format=cast(Any, "svg")),
    ],
)
async def test_the_private_service_believes_no_model_that_it_did_not_validate(broken: GenerationRequest) -> None:
    stage = Stage()
    with pytest.raises(InvalidRequestError):
        await create(stage, broken)
    assert stage.generator.requests == []


async def test_the_services_believe_no_query_and_no_guid_either() -> None:
    stage = Stage()
    with pytest.raises(InvalidRequestError):
        await stage.private.list(
            ImageQuery.model_construct(limit=100_000, cursor=None, q=None), caller=CONFIGURED_CALLER
        )
    with pytest.raises(InvalidRequestError):
        await stage.public.get("not a guid")  # type: ignore[arg-type]


async def test_a_guid_is_derived_from_its_generation() -> None:
    stage = Stage()
    await create(stage)
    generation = the_generation(stage)
    assert generation.guid.version == 4
    assert generation.image_guid(0).version == 5
    assert generation.image_guid(0) != generation.image_guid(1)
    assert isinstance(generation.image_guid(0), UUID)


# The work outlives the connection


def slow(stage: Stage) -> asyncio.Event:
    """The upstream draws when the event is set."""
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    return drawing


async def settled(stage: Stage) -> Generation:
    """The generation, when it no longer runs."""
    with anyio.fail_after(10):
        while the_generation(stage).state is GenerationState.RUNNING:
            await asyncio.sleep(0.01)
    return await stage.generations.get(the_generation(stage).guid)


async def test_a_client_that_hangs_up_while_it_is_drawn_changes_nothing() -> None:
    stage = Stage()
    drawing = slow(stage)
    client = asyncio.create_task(create(stage))
    await anyio.wait_all_tasks_blocked()
    assert len(stage.generator.requests) == 1
    client.cancel()
    await anyio.wait_all_tasks_blocked()
    assert client.cancelled()
    drawing.set()
    generation = await settled(stage)
    assert generation.state is GenerationState.SUCCEEDED
    assert [image.filename for image in generation.images] == list(stage.storage.objects)


class SlowReservations(FakeGenerationRepository):
    """Records a generation when the event is set."""

    def __init__(self, images: FakeImageRepository) -> None:
        super().__init__(images)
        self.asked, self.answering = asyncio.Event(), asyncio.Event()

    async def add(self, generation: Generation, **options: Any) -> None:
        self.asked.set()
        await self.answering.wait()
        await super().add(generation, **options)


async def test_a_client_that_hangs_up_while_it_reserves_changes_nothing() -> None:
    stage = Stage()
    stage.generations = records = SlowReservations(stage.images)
    stage.start()
    client = asyncio.create_task(create(stage))
    await records.asked.wait()
    client.cancel()
    await anyio.wait_all_tasks_blocked()
    assert client.cancelled()
    records.answering.set()
    await anyio.wait_all_tasks_blocked()
    assert (await settled(stage)).state is GenerationState.SUCCEEDED
    assert len(stage.generator.requests) == len(stage.storage.objects) == 1


async def test_a_client_that_does_not_wait_is_informed_that_it_runs() -> None:
    stage = Stage()
    drawing = slow(stage)
    answer = await stage.private.create(REQUEST, caller=CALLER, wait=0)
    assert (answer.generation.state, answer.generation.images) == (GenerationState.RUNNING, ())
    assert await stage.private.generation(answer.generation.guid, caller=CONFIGURED_CALLER) == answer.generation
    drawing.set()
    assert (await settled(stage)).guid == answer.generation.guid


@in_virtual_time
@pytest.mark.parametrize(("sync_wait", "wait", "seconds"), [(50, None, 50), (50, 7, 7), (0, 7, 7), (50, 0, 0)])
async def test_a_client_waits_as_long_as_it_asked_for_or_the_setting_says(
    sync_wait: float, wait: float | None, seconds: float
) -> None:
    stage = Stage(sync_wait=sync_wait)
    slow(stage)
    answer = await stage.private.create(REQUEST, caller=CALLER, wait=wait)
    assert answer.generation.state is GenerationState.RUNNING
    assert asyncio.get_running_loop().time() == pytest.approx(seconds, abs=0.1)


@in_virtual_time
async def test_a_setting_of_0_waits_without_a_limit() -> None:
    stage = Stage(sync_wait=0)
    drawing = slow(stage)
    asyncio.get_running_loop().call_later(10_000, drawing.set)
    assert (await create(stage)).guid == the_generation(stage).image_guid(0)


async def test_a_fault_of_ours_is_reported_and_leaves_the_generation_to_a_reconciler() -> None:
    stage = Stage(maximum=1)
    stage.generator.failure = ZeroDivisionError()
    with pytest.raises(InternalError):
        await create(stage)
    assert the_generation(stage).state is GenerationState.RUNNING
    stage.generator.failure = None
    await create(stage)  # its place is free


async def test_a_failure_is_reported_before_it_is_recorded() -> None:
    stage = Stage(maximum=1)

    async def lose() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.before, stage.generator.failure = lose, UpstreamRefusedError("not this")
    with pytest.raises(UpstreamRefusedError):
        await create(stage)
    stage.generator.before = stage.generator.failure = stage.generations.failure = None
    await create(stage)  # nothing waits for the record but the record


@in_virtual_time
async def test_a_failure_is_recorded_when_the_database_is_back() -> None:
    stage = Stage()

    async def lose() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.before, stage.generator.failure = lose, UpstreamRefusedError("not this")
    with pytest.raises(UpstreamRefusedError):
        await create(stage)
    await asyncio.sleep(60)
    assert the_generation(stage).state is GenerationState.RUNNING
    stage.generations.failure = None
    await asyncio.sleep(20)
    assert (the_generation(stage).error or {})["detail"] == "not this"


# The end of a process


async def test_a_process_that_ends_finishes_what_runs_and_begins_nothing() -> None:
    stage = Stage()
    drawing = slow(stage)
    clients = [asyncio.create_task(create(stage)) for _ in range(3)]
    await anyio.wait_all_tasks_blocked()
    clients[0].cancel()  # what nobody waits for is finished too
    draining = asyncio.create_task(stage.runner.drain())
    await anyio.wait_all_tasks_blocked()
    assert not draining.done()
    with pytest.raises(ShuttingDownError):
        await create(stage)
    assert len(stage.generator.requests) == len(stage.generations.generations) == 3
    drawing.set()
    await draining
    states = {generation.state for generation in stage.generations.generations.values()}
    assert states == {GenerationState.SUCCEEDED}
    assert len(stage.storage.objects) == 3


async def test_a_process_in_which_nothing_runs_ends_at_once() -> None:
    stage = Stage()
    await stage.runner.drain()
    assert "process" in await stage.readiness.failures()


@in_virtual_time
async def test_a_process_that_ends_does_not_wait_for_a_database_to_record_a_failure() -> None:
    stage = Stage(patience=1e9)

    async def lose() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.before, stage.generator.failure = lose, UpstreamRefusedError("not this")
    with pytest.raises(UpstreamRefusedError):
        await create(stage)
    await stage.runner.drain()
    assert asyncio.get_running_loop().time() < 60


# Leases


class CountingRenewals(FakeGenerationRepository):
    """Remembers how many leases each renewal was for."""

    counts: tuple[int, ...] = ()

    async def renew(self, guids: Collection[UUID], *, lease: float) -> None:
        self.counts += (len(guids),)
        await super().renew(guids, lease=lease)


def in_loop_time(stage: Stage) -> CountingRenewals:
    """The records, with leases by the loop's time."""
    loop, epoch = asyncio.get_running_loop(), datetime(2026, 1, 1, tzinfo=UTC)
    stage.generations = records = CountingRenewals(stage.images)
    stage.generations.clock = lambda: epoch + timedelta(seconds=loop.time())
    stage.parked = FakeParkedImageRepository(stage.generations)
    stage.start()
    return records


@in_virtual_time
async def test_the_leases_of_all_that_runs_are_renewed_together_and_of_nothing_else() -> None:
    stage = Stage(lease=30)
    records = in_loop_time(stage)
    await create(stage)
    drawing = slow(stage)
    for _ in range(3):
        await stage.private.create(REQUEST, caller=CALLER, wait=0)
    renewing = asyncio.create_task(stage.runner.renew_leases())
    for _ in range(20):
        await asyncio.sleep(15)
        assert (await records.expired(limit=9)).generations == ()
    assert set(records.counts) == {3}
    assert len(records.counts) <= 31, "three times in the life of a lease"
    drawing.set()
    await asyncio.sleep(30)
    assert records.counts[-1] == 0
    renewing.cancel()


@in_virtual_time
async def test_a_lease_that_nobody_renews_runs_out() -> None:
    stage = Stage(lease=30)
    records = in_loop_time(stage)
    slow(stage)
    await stage.private.create(REQUEST, caller=CALLER, wait=0)
    await asyncio.sleep(29)
    assert (await records.expired(limit=9)).generations == ()
    await asyncio.sleep(2)
    assert (await records.expired(limit=9)).generations == (the_generation(stage),)


@in_virtual_time
async def test_renewals_go_on_when_the_database_is_back() -> None:
    stage = Stage(lease=30)
    records = in_loop_time(stage)
    slow(stage)
    await stage.private.create(REQUEST, caller=CALLER, wait=0)
    renewing = asyncio.create_task(stage.runner.renew_leases())
    records.failure = DatabaseUnavailableError("unavailable")
    await asyncio.sleep(100)
    records.failure = None
    assert len((await records.expired(limit=9)).generations) == 1
    await asyncio.sleep(11)
    assert (await records.expired(limit=9)).generations == ()
    renewing.cancel()


@in_virtual_time
async def test_while_puts_are_refused_no_more_than_two_are_bought_and_one_success_ends_that() -> None:
    stage = Stage()
    stage.storage.put_failure = StorageUnavailableError("the disk is full")
    tries = [await stage.runner.begin(REQUEST, caller=CALLER) for _ in range(2)]
    await asyncio.sleep(0.1)
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    assert len(stage.generator.requests) == 2
    stage.storage.put_failure = None
    for running in tries:
        await running.outcome
    await create(stage)
    assert len(stage.storage.objects) == 3


async def test_a_process_that_is_to_end_while_the_parts_are_probed_begins_nothing() -> None:
    stage = Stage()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        asked.set()
        await answer.wait()

    stage.database.before = hang
    post = asyncio.create_task(create(stage))
    await asked.wait()
    await stage.runner.drain()
    answer.set()
    with pytest.raises(ShuttingDownError):
        await post
    assert (stage.generations.generations, stage.generator.requests) == ({}, [])


@pytest.mark.parametrize("part", ["keys", "find", "reserve", "probe", "probe before draw"])
async def test_what_fails_before_draw_cost_nothing_whatever_it_is(part: str) -> None:
    stage = Stage()
    headers = {"Idempotency-Key": "order-1"}
    if part in ("find", "reserve"):
        stage.generations.failure = DatabaseError()
    elif part == "probe":
        stage.storage.failure = StorageError()
    elif part == "probe before draw":

        def storage_breaks() -> None:
            stage.storage.failure = StorageError()
            stage.readiness._probes["storage"]._fresh_until = -1.0

        stage.generations.after_add = storage_breaks
    if part == "reserve":
        headers = {}
    if part == "keys":
        stage.key_records.failure = DatabaseError()
        headers["Authorization"] = f"Bearer {new_key()}"
    async with stage.client() as client:
        answer = await client.post("/image", json={"prompt": "a dot"}, headers=headers)
    assert (answer.status_code, answer.json()["cost"]) == (500, "none")
    assert stage.generator.requests == []
    for generation in stage.generations.generations.values():
        assert (generation.error or {}).get("cost") == "none"


async def test_pictures_that_are_paid_for_are_kept_though_another_one_is_no_picture() -> None:
    stage = Stage()
    stage.generator.pictures = (tiny_picture("one"), b"<svg xmlns='http://www.w3.org/2000/svg'/>", tiny_picture("two"))
    request = REQUEST.model_copy(update={"n": 3})
    generation = await (await stage.runner.begin(request, caller=CALLER)).outcome
    assert [stage.storage.objects[image.filename] for image in generation.images] == [
        tiny_picture("one"),
        tiny_picture("two"),
    ]
    known = await stage.generations.get(generation.guid)
    assert (known.state, known.expected_images, len(known.images)) == (GenerationState.SUCCEEDED, 2, 2)


async def test_what_holds_no_picture_at_all_is_an_error_that_was_billed() -> None:
    stage = Stage()
    stage.generator.pictures = (b"<svg/>", b"no")
    with pytest.raises(UpstreamAnswerError) as raised:
        await (await stage.runner.begin(REQUEST, caller=CALLER)).outcome
    assert raised.value.cost == "billed"
