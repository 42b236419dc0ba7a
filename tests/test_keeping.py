"""Put and Commit with unavailable storage and database: what was paid for is kept. Time is virtual here."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import pytest

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    GenerationInterruptedError,
    StorageError,
    StorageUnavailableError,
    TooManyGenerationsError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationRequest, GenerationState
from pixyproxy.core.images import Picture
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.core.protocols import ParkedFile
from pixyproxy.service.generating.pictures import examine
from pixyproxy.service.generating.store import Keeper, build_images, pauses
from tests import planted
from tests.examples import a_drawing, a_generation
from tests.fakes import tiny_picture
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)
REQUEST = GenerationRequest(prompt=planted.PROMPT)
PICTURE = tiny_picture(planted.PROMPT)
FOR_EVER = 1e9


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A loop whose seconds do not last."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def begun(stage: Stage) -> Generation:
    """A generation that is begun and not waited for."""
    answer = await stage.private.create(REQUEST, caller=CALLER, wait=0)
    return answer.generation


async def recorded(stage: Stage, generation: Generation) -> Generation:
    return await stage.private.generation(generation.guid, caller=CONFIGURED_CALLER)


def storage_fails(stage: Stage) -> None:
    """The storage answers probes and takes nothing."""
    stage.storage.put_failure = StorageUnavailableError("unavailable")


def database_fails_while_drawing(stage: Stage) -> None:
    async def fail() -> None:
        stage.generations.failure = DatabaseUnavailableError("unavailable")

    stage.generator.before = fail


async def assert_kept(stage: Stage, generation: Generation) -> None:
    known = await recorded(stage, generation)
    assert known.state is GenerationState.SUCCEEDED
    (image,) = known.images
    assert image.guid == generation.image_guid(0)
    assert stage.storage.objects == {image.filename: PICTURE}
    assert known.usage == {"total_tokens": 7}
    assert known.upstream_request_id == "req_fake"


async def test_a_storage_that_comes_back_gets_the_picture() -> None:
    stage = Stage()
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(30)
    assert stage.storage.puts > 2
    assert (await recorded(stage, generation)).state is GenerationState.RUNNING
    stage.storage.put_failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)
    assert len(stage.generator.requests) == 1


async def test_a_refusal_of_the_storage_is_no_reason_to_give_up_either() -> None:
    stage = Stage()
    stage.storage.put_failure = StorageError()
    generation = await begun(stage)
    await asyncio.sleep(30)
    stage.storage.put_failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)


async def test_a_request_that_waits_gets_its_generation_when_the_storage_is_back() -> None:
    stage = Stage()
    storage_fails(stage)
    waiting = asyncio.create_task(stage.private.create(REQUEST, caller=CALLER, wait=40))
    await asyncio.sleep(10)
    stage.storage.put_failure = None
    answer = await waiting
    assert answer.generation.images
    await assert_kept(stage, answer.generation)


async def test_a_picture_that_waits_for_its_storage_holds_no_place_that_others_need() -> None:
    stage = Stage(maximum=1)
    storage_fails(stage)
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    first = await begun(stage)
    with pytest.raises(TooManyGenerationsError):
        await begun(stage)
    drawing.set()
    await asyncio.sleep(5)
    second = await begun(stage)
    stage.storage.put_failure = None
    await asyncio.sleep(30)
    for generation in (first, second):
        assert (await recorded(stage, generation)).state is GenerationState.SUCCEEDED


async def test_after_the_patience_a_picture_is_parked_in_the_database_and_freed() -> None:
    stage = Stage(patience=0)
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(5)
    assert stage.generations.parked == {generation.guid: (PICTURE,)}
    known = await recorded(stage, generation)
    assert known.state is GenerationState.RUNNING
    assert (known.usage, known.upstream_request_id) == ({"total_tokens": 7}, "req_fake")
    assert [each.guid for each in (await stage.generations.expired(limit=9)).generations] == [generation.guid], (
        "its lease is over"
    )
    assert stage.runner.get(generation.guid) is None, "this process has nothing of it any more"
    stage.storage.put_failure = None
    await stage.replica().reconciler().settle()
    await assert_kept(stage, generation)
    assert stage.generations.parked == {}


async def test_what_was_parked_by_a_park_whose_answer_is_lost_goes_with_the_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(patience=0)
    storage_fails(stage)
    add = stage.parked.add

    async def add_and_lose_the_answer(generation: Generation, drawing: Drawing) -> None:
        await add(generation, drawing)
        stage.storage.put_failure = None
        raise DatabaseUnavailableError("unavailable")

    monkeypatch.setattr(stage.parked, "add", add_and_lose_the_answer)
    generation = await begun(stage)
    await asyncio.sleep(60)
    await assert_kept(stage, generation)
    assert stage.generations.parked == {}


async def test_what_waits_for_its_patience_is_not_parked_before() -> None:
    stage = Stage(patience=FOR_EVER)
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(3600)
    assert stage.generations.parked == {}
    assert stage.runner.get(generation.guid) is not None


async def test_a_database_that_is_unavailable_after_the_put_gets_the_record_when_it_is_back() -> None:
    stage = Stage()
    database_fails_while_drawing(stage)
    generation = await begun(stage)
    await asyncio.sleep(30)
    assert list(stage.storage.objects.values()) == [PICTURE]
    assert stage.images.images == {}
    stage.generations.failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)
    assert stage.storage.puts == 1, "the object waited, it was not put again"


async def test_what_is_put_is_tried_to_be_recorded_beyond_every_patience() -> None:
    stage = Stage(patience=0)
    database_fails_while_drawing(stage)
    generation = await begun(stage)
    await asyncio.sleep(24 * 3600)
    assert stage.runner.get(generation.guid) is not None
    assert stage.storage.puts == 1
    stage.generations.failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)


async def test_at_its_end_a_process_leaves_what_is_put_to_a_reconciler() -> None:
    stage = Stage()
    now = datetime.now(UTC)
    stage.generations.clock = lambda: now
    database_fails_while_drawing(stage)
    generation = await begun(stage)
    await asyncio.sleep(30)
    await stage.runner.drain()
    stage.generations.failure = None
    now += timedelta(seconds=stage.lease)
    await stage.replica().reconciler().settle()
    known = await recorded(stage, generation)
    assert known.state is GenerationState.SUCCEEDED
    assert [image.filename for image in known.images] == list(stage.storage.objects)


async def test_with_both_unavailable_a_picture_stays_in_memory_beyond_every_patience() -> None:
    stage = Stage(patience=0)
    storage_fails(stage)
    database_fails_while_drawing(stage)
    generation = await begun(stage)
    await asyncio.sleep(24 * 3600)
    assert stage.runner.get(generation.guid) is not None
    assert (stage.storage.objects, stage.generations.parked, stage.folder.files) == ({}, {}, {})
    stage.storage.put_failure = stage.generations.failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)


async def test_a_process_that_ends_parks_at_once() -> None:
    stage = Stage(patience=FOR_EVER)
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(120)
    started = asyncio.get_running_loop().time()
    await stage.runner.drain()
    assert asyncio.get_running_loop().time() - started < 1, "it does not sleep its pause out"
    assert stage.generations.parked == {generation.guid: (PICTURE,)}
    assert stage.folder.files == {}


async def test_a_process_that_ends_lets_what_is_only_drawn_be_kept() -> None:
    stage = Stage()
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    generation = await begun(stage)
    draining = asyncio.create_task(stage.runner.drain())
    await asyncio.sleep(60)
    assert not draining.done()
    drawing.set()
    await draining
    await assert_kept(stage, generation)


async def test_a_process_that_ends_with_both_unavailable_writes_a_file_and_logs_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(patience=FOR_EVER)
    storage_fails(stage)
    database_fails_while_drawing(stage)
    generation = await begun(stage)
    await asyncio.sleep(20)
    caplog.clear()
    await stage.runner.drain()
    assert stage.folder.files == {ParkedFile(generation.guid, 0, 1): PICTURE}
    (error,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "picture 1 of 1" in error.getMessage()
    assert str(generation.guid) in error.getMessage()


async def test_a_process_that_ends_with_an_unavailable_database_needs_no_file_for_what_is_put() -> None:
    stage = Stage(patience=FOR_EVER)
    database_fails_while_drawing(stage)
    await begun(stage)
    await asyncio.sleep(20)
    await stage.runner.drain()
    assert list(stage.storage.objects.values()) == [PICTURE]
    assert stage.folder.files == {}


class Keeping:
    """A keeper that keeps one picture in a task of its own."""

    def __init__(self, stage: Stage, *, ending: asyncio.Event | None = None) -> None:
        self.generation = a_generation()
        self.troubles = 0
        self.keeper = Keeper(stage.stores, ending=ending or asyncio.Event(), patience=FOR_EVER)

    async def keep(self) -> Generation:
        def on_failed_try() -> None:
            self.troubles += 1

        return await self.keeper.keep(
            self.generation,
            a_drawing(pictures=(PICTURE,)),
            images=build_images(self.generation, (examine(Picture.of(PICTURE)),)),
            on_failed_try=on_failed_try,
            on_patience_over=lambda: None,
        )


async def test_a_task_that_is_cancelled_writes_what_is_not_put_into_the_folder() -> None:
    stage = Stage()
    storage_fails(stage)
    keeping = Keeping(stage)
    await stage.generations.add(keeping.generation, lease=30)
    task = asyncio.create_task(keeping.keep())
    await asyncio.sleep(10)
    assert keeping.troubles > 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stage.folder.files == {ParkedFile(keeping.generation.guid, 0, 1): PICTURE}


async def test_a_task_that_is_cancelled_writes_nothing_when_all_is_put() -> None:
    stage = Stage()
    keeping = Keeping(stage)
    await stage.generations.add(keeping.generation, lease=30)
    stage.generations.failure = DatabaseUnavailableError("unavailable")
    task = asyncio.create_task(keeping.keep())
    await asyncio.sleep(10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(stage.storage.objects.values()) == [PICTURE]
    assert stage.folder.files == {}


async def test_without_failures_no_callback_is_called() -> None:
    stage = Stage()
    keeping = Keeping(stage)
    await stage.generations.add(keeping.generation, lease=30)
    kept = await keeping.keep()
    assert keeping.troubles == 0
    known = await stage.generations.get(keeping.generation.guid)
    assert (kept.state, kept.images, kept.usage) == (known.state, known.images, known.usage)
    assert kept.upstream_request_id == known.upstream_request_id == "req_1"


async def test_a_commit_whose_answer_is_lost_is_read_again_and_not_undone() -> None:
    stage = Stage()
    committed: list[UUID] = []

    def lose() -> None:
        committed.extend(stage.images.images)
        raise DatabaseUnavailableError("lost")

    stage.generations.after_succeed = lose
    answer = await stage.private.create(REQUEST, caller=CALLER)
    await assert_kept(stage, answer.generation)
    assert answer.generation == await recorded(stage, answer.generation)
    assert committed == [answer.generation.image_guid(0)], "one commit, one image"
    assert stage.storage.puts == 1


async def test_a_picture_is_kept_though_its_generation_was_given_up() -> None:
    stage = Stage()
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(5)
    await stage.generations.fail(generation, error=GenerationInterruptedError().document())
    stage.storage.put_failure = None
    await asyncio.sleep(30)
    await assert_kept(stage, generation)
    assert (await recorded(stage, generation)).error is None


async def test_a_picture_is_parked_though_its_generation_was_given_up() -> None:
    stage = Stage(patience=FOR_EVER)
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(5)
    await stage.generations.fail(generation, error=GenerationInterruptedError().document())
    await stage.runner.drain()
    assert stage.generations.parked == {generation.guid: (PICTURE,)}
    assert (await recorded(stage, generation)).state is GenerationState.RUNNING
    stage.storage.put_failure = None
    await stage.replica().reconciler().settle()
    await assert_kept(stage, generation)


async def test_a_generation_that_was_settled_elsewhere_is_not_parked() -> None:
    stage = Stage(patience=FOR_EVER)
    storage_fails(stage)
    generation = await begun(stage)
    await asyncio.sleep(5)
    images = build_images(generation, (examine(Picture.of(PICTURE)),))
    stage.storage.put_failure = None
    await stage.storage.put(images[0].filename, PICTURE, content_type="image/png")
    storage_fails(stage)
    await stage.generations.succeed(generation, images=images)
    await stage.runner.drain()
    assert (stage.generations.parked, stage.folder.files) == ({}, {})
    assert (await recorded(stage, generation)).images == images


def test_the_pauses_grow_and_end_growing() -> None:
    assert list(islice(pauses(), 8)) == [0.5, 1, 2, 4, 8, 15, 15, 15]


async def test_a_reconciler_knows_how_many_pictures_came_before_any_is_put() -> None:
    stage = Stage()
    storage_fails(stage)
    keeping = Keeping(stage)
    keeping.generation = a_generation(expected_images=3)
    await stage.generations.add(keeping.generation, lease=30)
    task = asyncio.create_task(keeping.keep())
    await asyncio.sleep(1)
    assert (await stage.generations.get(keeping.generation.guid)).expected_images == 1
    task.cancel()
