"""A database and a storage that do not belong together: nothing is removed."""

from datetime import timedelta
from functools import partial
from itertools import count
from uuid import UUID, uuid4

import anyio
import pytest

from pixyproxy.core.exceptions import GenerationInterruptedError, StorageUnavailableError
from pixyproxy.service.recovering.compare import Orphans
from pixyproxy.service.recovering.instance import SAMPLE, find_mismatch, record_instance
from pixyproxy.storage.instance import parse_instance
from tests.examples import a_generation, an_image
from tests.fakes import FakeStorage
from tests.stage import Stage

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


async def fill(stage: Stage, *, recorded: int = 0, unknown: int = 0, age: timedelta = 2 * DAY) -> None:
    """Objects with and without a row."""
    for number in range(recorded + unknown):
        image = an_image()
        await stage.storage.put(image.filename, b"data", content_type="image/png")
        stage.storage.written[image.filename] -= age
        if number < recorded:
            stage.images.images[image.guid] = image


@pytest.mark.parametrize(("recorded", "unknown"), [(0, 0), (1, 0), (1, 20), (2 * SAMPLE, 0), (2 * SAMPLE, 10)])
async def test_a_storage_without_an_id_gets_the_one_of_the_database_whose_objects_it_has(
    recorded: int, unknown: int
) -> None:
    stage = Stage()
    await fill(stage, recorded=recorded, unknown=unknown)
    for _ in range(2):
        assert await find_mismatch(stage.stores) is None
        await record_instance(stage.stores)
        assert stage.storage.instance == stage.instance.guid


@pytest.mark.parametrize(("recorded", "unknown"), [(0, 1), (1, 21), (20, 20 * SAMPLE), (SAMPLE, SAMPLE)])
async def test_a_storage_without_an_id_and_with_the_objects_of_others_gets_none(recorded: int, unknown: int) -> None:
    stage = Stage()
    await fill(stage, recorded=recorded, unknown=unknown)
    await record_instance(stage.stores)
    assert stage.storage.instance is None
    assert "no instance id" in (await find_mismatch(stage.stores) or "")


async def test_a_storage_of_another_database_keeps_its_id() -> None:
    stage, theirs = Stage(), uuid4()
    await fill(stage, recorded=5)
    stage.storage.instance = theirs
    await record_instance(stage.stores)
    assert stage.storage.instance == theirs
    mismatch = await find_mismatch(stage.stores) or ""
    assert str(theirs) in mismatch
    assert str(stage.instance.guid) in mismatch


@pytest.mark.parametrize(
    ("count", "objects", "too_many"),
    [(0, 0, False), (20, 20, False), (21, 21, True), (21, 2100, False), (21, 2099, True), (1000, 100_000, False)],
)
def test_more_than_twenty_and_more_than_one_percent_are_too_many(count: int, objects: int, too_many: bool) -> None:
    assert Orphans(count, objects).too_many is too_many


async def test_what_a_run_would_remove_is_counted_and_nothing_else() -> None:
    stage = Stage()
    await fill(stage, recorded=1500, unknown=30)
    await fill(stage, unknown=7, age=timedelta(0))
    stage.images.images.update((image.guid, image) for image in [an_image() for _ in range(3000)])  # lost objects
    generation = a_generation()
    await stage.generations.add(generation, lease=30)
    key = f"{generation.image_guid(0)}.png"
    await stage.storage.put(key, b"data", content_type="image/png")
    stage.storage.written[key] -= 2 * DAY
    before = dict(stage.storage.objects)
    reconciler = stage.reconciler(apply=True)
    assert await reconciler.count_orphans(grace=DAY) == Orphans(30, len(before))
    assert stage.storage.objects == before
    assert reconciler.counts == {}
    assert await reconciler.compare(grace=DAY, most=1_000) is None
    assert len(stage.storage.objects) == len(before) - 30


async def test_the_objects_of_interrupted_generations_count_as_what_would_be_removed() -> None:
    stage = Stage()
    await fill(stage, recorded=100)
    for number in range(30):
        generation = a_generation(expected_images=2)  # the other picture was lost with its process
        await stage.generations.add(generation, lease=30)
        if number < 25:
            await stage.generations.fail(generation, error=GenerationInterruptedError().document())
        key = f"{generation.image_guid(0)}.png"
        await stage.storage.put(key, b"data", content_type="image/png")
        stage.storage.written[key] -= 2 * DAY
    reconciler = stage.reconciler(apply=True)
    counted = await reconciler.count_orphans(grace=DAY)
    assert counted == Orphans(25, 130)
    assert counted.too_many
    assert await reconciler.compare(grace=DAY, most=1_000) is None
    assert len(stage.storage.objects) == 105


async def test_before_the_first_picture_is_drawn_a_storage_that_did_not_answer_at_start_is_asked_whose_it_is() -> None:
    stage, theirs = Stage(clock=count().__next__), uuid4()
    stage.storage.failure = StorageUnavailableError("unavailable")
    async with stage.client() as client:
        assert (await client.get("/readyz")).json()["failed"] == ["storage"]
        stage.storage.failure, stage.storage.instance = None, theirs
        refused = await client.post("/image", json={"prompt": "a dot"})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:pixyproxy:problem:storage-mismatch")
        assert refused.json()["cost"] == "none"
        ready = (await client.get("/readyz")).json()
        assert (ready["status"], ready["failed"]) == (503, ["instance"])
        assert "The storage belongs to another database" in ready["detail"]
        assert (stage.generator.requests, stage.generations.generations) == ([], {})
        stage.storage.instance = stage.instance.guid
        assert (await client.get("/readyz")).status_code == 200
        asked = stage.storage.asked_for_instance
        await stage.create()
        assert stage.storage.asked_for_instance == asked, "it is asked until it is known, and then no more"


async def test_a_damaged_mark_is_said_with_its_remedy_and_nothing_is_bought() -> None:
    class Damaged(FakeStorage):
        async def get_instance(self) -> UUID | None:
            return parse_instance(b"\xff") if self.instance is None else self.instance

    stage = Stage(storage=Damaged(), clock=count().__next__)
    async with stage.client() as client:
        refused = await client.post("/image", json={"prompt": "a dot"})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:pixyproxy:problem:storage-mismatch")
        assert refused.json()["cost"] == "none"
        assert ".pixyproxy-instance in the storage holds no instance id: remove it" in refused.json()["detail"]
        assert stage.generator.requests == []
        assert await find_mismatch(stage.stores) is not None
        stage.storage.instance = stage.instance.guid
        assert (await client.post("/image", json={"prompt": "a dot"})).status_code == 201


async def test_the_first_picture_marks_a_storage_that_did_not_answer_at_start() -> None:
    stage = Stage()
    await stage.create()
    assert stage.storage.instance == stage.instance.guid


async def test_the_reconciler_of_a_replica_does_nothing_while_the_storage_belongs_to_another_database(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    stage.storage.instance = uuid4()
    image = an_image()
    stage.images.deleted[image.guid] = image
    await stage.storage.put(image.filename, b"data", content_type="image/png")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(stage.reconciler().run, interval=0.01))
        await anyio.sleep(0.5)
        assert "storage-mismatch: The storage belongs to another database" in caplog.text
        assert (len(stage.storage.objects), len(stage.images.deleted)) == (1, 1)
        stage.storage.instance = stage.instance.guid
        with anyio.fail_after(30):
            while stage.images.deleted:
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert stage.storage.objects == {}


async def test_the_reconciler_of_a_replica_removes_no_object_without_a_row() -> None:
    stage = Stage()
    await fill(stage, unknown=3)
    await stage.reconciler(apply=True).settle()
    assert len(stage.storage.objects) == 3
