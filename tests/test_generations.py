"""The life of a generation, step by step, over fakes."""

from typing import Any, cast
from uuid import UUID

import anyio
import pytest

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    InvalidRequestError,
    StorageUnavailableError,
    TooManyGenerationsError,
    UpstreamAnswerError,
    UpstreamRefusedError,
)
from pixyproxy.core.models import Caller, Generation, GenerationRequest, GenerationState, Image
from pixyproxy.service.private import ImageQuery
from tests import planted
from tests.fakes import tiny_picture
from tests.stage import Stage

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop")
REQUEST = GenerationRequest(prompt=planted.PROMPT)


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
    assert the_generation(stage).request == asked


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


async def test_a_storage_that_is_away_costs_nothing() -> None:
    stage = Stage()
    stage.storage.failure = StorageUnavailableError("away")
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    assert (stage.generator.requests, stage.generations.generations) == ([], {})


async def test_a_storage_that_goes_away_while_the_reservation_is_written_costs_nothing() -> None:
    now = [0.0]
    stage = Stage(clock=lambda: now[0])

    def six_seconds_pass() -> None:
        now[0] += 6
        stage.storage.failure = StorageUnavailableError("away")

    stage.generations.after_add = six_seconds_pass
    with pytest.raises(StorageUnavailableError):
        await create(stage)
    assert stage.generator.requests == []
    assert the_generation(stage).state is GenerationState.FAILED


async def test_a_database_that_is_away_costs_nothing() -> None:
    stage = Stage()
    stage.generations.failure = DatabaseUnavailableError("away")
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
        stage.generations.failure = DatabaseUnavailableError("away")

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
        await stage.private.list(ImageQuery.model_construct(limit=100_000, cursor=None, q=None))
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
