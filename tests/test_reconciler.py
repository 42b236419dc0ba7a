"""The reconciler over fakes: what it finishes, what it compares, and what it leaves alone. Time is virtual here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from pixyproxy.core.exceptions import (
    DatabaseError,
    DatabaseUnavailableError,
    GenerationInterruptedError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
    UpstreamRefusedError,
)
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState
from pixyproxy.core.images import DeletedImagePage, Image, ObjectFacts, Picture
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.core.protocols import ParkedFile
from pixyproxy.service.generating.pictures import examine
from pixyproxy.service.generating.store import build_images
from pixyproxy.service.recovering.compare import PAGE
from pixyproxy.service.recovering.findings import Finding, Found
from pixyproxy.service.recovering.reconciler import BATCH, Reconciler
from tests import planted
from tests.examples import a_drawing, a_generation, an_image
from tests.fakes import (
    FakeGenerationRepository,
    FakeImageRepository,
    FakeParkedImageRepository,
    FakeParkingFolder,
    FakeStorage,
    tiny_picture,
)
from tests.stage import Stage
from tests.virtual_time import VirtualTimeLoop

pytestmark = pytest.mark.anyio

PICTURE = tiny_picture(planted.PROMPT)
DAY = timedelta(days=1)
ALL = 1_000_000
CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """A loop whose seconds do not last."""
    return "asyncio", {"loop_factory": VirtualTimeLoop}


async def left_behind(stage: Stage, *, lease: float = 0, **values: Any) -> Generation:
    """A running generation whose process is gone."""
    generation = a_generation(**values)
    await stage.generations.add(generation, lease=lease)
    return generation


def picture_of(generation: Generation) -> Image:
    return build_images(generation, (examine(Picture.of(PICTURE)),))[0]


async def put(stage: Stage, generation: Generation, *, data: bytes = PICTURE) -> str:
    """The object of a generation, without its row."""
    key = picture_of(generation).filename
    await stage.storage.put(key, data, content_type="image/png")
    return key


async def orphan(stage: Stage, *, age: timedelta = DAY * 2) -> str:
    """An object that nothing knows of."""
    key = f"{uuid4()}.png"
    await stage.storage.put(key, PICTURE, content_type="image/png")
    stage.storage.written[key] -= age
    return key


async def state_of(stage: Stage, generation: Generation) -> GenerationState:
    return (await stage.generations.get(generation.guid)).state


async def settled(stage: Stage, *, apply: bool = True) -> Reconciler:
    reconciler = stage.reconciler(apply=apply)
    await reconciler.settle()
    return reconciler


async def compared(stage: Stage, *, apply: bool = True, grace: timedelta = DAY) -> Reconciler:
    reconciler = stage.reconciler(apply=apply)
    assert await reconciler.compare(grace=grace, most=ALL) is None
    return reconciler


async def assert_served(stage: Stage, generation: Generation) -> None:
    known = await stage.generations.get(generation.guid)
    assert known.state is GenerationState.SUCCEEDED
    (image,) = known.images
    assert image.guid == generation.image_guid(0)
    assert image.sha256 == picture_of(generation).sha256
    assert stage.storage.objects == {image.filename: PICTURE}
    assert (await stage.public.get(image.guid)) == image


# What processes left behind


async def test_a_generation_whose_object_is_there_is_completed() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation)
    reconciler = await settled(stage)
    await assert_served(stage, generation)
    assert reconciler.counts == reconciler.fixed == {Finding.COMPLETED: 1}


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
async def test_an_object_is_found_whatever_its_type(output_format: str) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    data = tiny_picture(output_format=output_format)
    (image,) = build_images(generation, (examine(Picture.of(data)),))
    await stage.storage.put(image.filename, data, content_type=image.content_type)
    await settled(stage)
    (known,) = (await stage.generations.get(generation.guid)).images
    assert (known.content_type, known.filename) == (f"image/{output_format}", image.filename)


async def test_every_picture_of_a_generation_is_completed() -> None:
    stage = Stage()
    generation = await left_behind(stage, expected_images=2)
    pictures = (PICTURE, tiny_picture("two", output_format="webp"))
    for image, data in zip(
        build_images(generation, tuple(examine(Picture.of(data)) for data in pictures)), pictures, strict=True
    ):
        await stage.storage.put(image.filename, data, content_type=image.content_type)
    await settled(stage)
    known = await stage.generations.get(generation.guid)
    assert [image.guid for image in known.images] == [generation.image_guid(0), generation.image_guid(1)]


async def test_a_generation_without_an_object_is_failed_as_interrupted() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    reconciler = await settled(stage)
    known = await stage.generations.get(generation.guid)
    assert known.state is GenerationState.FAILED
    assert known.error == GenerationInterruptedError().document()
    assert reconciler.counts == {Finding.INTERRUPTED: 1}


@pytest.mark.parametrize("data", [b"", b"<svg/>", PICTURE[:20]])
async def test_an_object_that_is_no_picture_completes_nothing(data: bytes) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation, data=data)
    await settled(stage)
    assert await state_of(stage, generation) is GenerationState.FAILED
    assert stage.images.images == {}


async def test_parked_pictures_are_moved_to_the_storage() -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    await stage.parked.add(generation, a_drawing(pictures=(PICTURE,)))
    reconciler = await settled(stage)
    await assert_served(stage, generation)
    assert stage.generations.parked == {}
    assert (await stage.generations.get(generation.guid)).usage == {"total_tokens": 3}, "as it was parked"
    assert reconciler.counts == {Finding.COMPLETED: 1}


@pytest.mark.parametrize("parked", [True, False])
async def test_while_the_storage_is_unavailable_nothing_is_failed(parked: bool) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    if parked:
        await stage.parked.add(generation, a_drawing(pictures=(PICTURE,)))
    else:
        await put(stage, generation)
    stage.storage.failure = StorageUnavailableError("unavailable")
    reconciler = await settled(stage)
    assert await state_of(stage, generation) is GenerationState.RUNNING
    assert (reconciler.counts, reconciler.fixed[Finding.WAITING]) == ({Finding.WAITING: 1}, 0)
    stage.storage.failure = None
    stage.generations.clock = lambda: datetime.now(UTC) + timedelta(seconds=stage.lease + 1)
    await settled(stage)
    await assert_served(stage, generation)


async def test_an_object_that_breaks_off_while_it_is_read_waits_for_the_next_time() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation)
    stage.storage.breaks_off = StorageUnavailableError("broke off")
    reconciler = await settled(stage)
    assert reconciler.counts == {Finding.WAITING: 1}
    assert await state_of(stage, generation) is GenerationState.RUNNING
    assert all(opened.closed for opened in stage.storage.opened)


async def test_a_generation_whose_lease_runs_is_left_alone() -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    await put(stage, generation)
    reconciler = await settled(stage)
    assert await state_of(stage, generation) is GenerationState.RUNNING
    assert reconciler.counts == {}


async def test_a_generation_that_another_replica_claimed_is_left_alone() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    assert await stage.generations.claim(generation.guid, lease=30)
    assert not await stage.generations.claim(generation.guid, lease=30)
    await settled(stage)
    assert await state_of(stage, generation) is GenerationState.RUNNING


async def test_more_than_a_batch_is_finished_at_once() -> None:
    stage = Stage()
    generations = [await left_behind(stage) for _ in range(250)]
    reconciler = await settled(stage)
    assert reconciler.counts == {Finding.INTERRUPTED: 250}
    assert {each.state for each in stage.generations.generations.values()} == {GenerationState.FAILED}
    assert len(generations) == len(stage.generations.generations)


@pytest.mark.parametrize("apply", [True, False])
async def test_a_batch_that_this_version_cannot_read_hides_none_behind_it(apply: bool) -> None:
    stage = Stage()
    stage.generations.unreadable = {(await left_behind(stage)).guid for _ in range(2 * BATCH)}
    generation = await left_behind(stage)
    await put(stage, generation)
    reconciler = await settled(stage, apply=apply)
    assert reconciler.counts == {Finding.COMPLETED: 1}
    assert (await state_of(stage, generation) is GenerationState.SUCCEEDED) is apply


@pytest.mark.parametrize("apply", [True, False])
async def test_all_that_were_interrupted_a_while_ago_are_looked_for_again(apply: bool) -> None:
    stage = Stage()
    late = await left_behind(stage)
    await settled(stage)
    for _ in range(2 * BATCH):
        await left_behind(stage)
    await settled(stage)
    await put(stage, late)
    reconciler = await settled(stage, apply=apply)
    assert reconciler.counts == {Finding.COMPLETED: 1}
    assert (await state_of(stage, late) is GenerationState.SUCCEEDED) is apply


async def test_a_dry_run_says_what_it_would_do_and_does_nothing() -> None:
    stage = Stage()
    with_object, without, parked = [await left_behind(stage) for _ in range(3)]
    await put(stage, with_object)
    await stage.parked.add(parked, a_drawing(pictures=(PICTURE,)))
    stage.folder.files[ParkedFile(uuid4(), 0, 1)] = PICTURE
    image = an_image()
    stage.images.deleted[image.guid] = image
    before = (dict(stage.generations.leases), dict(stage.storage.objects), dict(stage.folder.files))
    reconciler = await settled(stage, apply=False)
    assert reconciler.counts == {
        Finding.COMPLETED: 2,
        Finding.INTERRUPTED: 1,
        Finding.FILE: 1,
        Finding.DELETION: 1,
    }
    assert not any(reconciler.fixed.values())
    for generation in (with_object, without, parked):
        assert await state_of(stage, generation) is GenerationState.RUNNING
    assert (stage.generations.leases, stage.storage.objects, stage.folder.files) == before
    assert list(stage.images.deleted) == [image.guid]


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 5 * BATCH + 7])
async def test_a_dry_run_sees_more_than_a_batch(count: int) -> None:
    stage = Stage()
    for _ in range(count):
        await left_behind(stage)
        failed = await left_behind(stage)
        await stage.generations.fail(failed, error=GenerationInterruptedError().document())
        await put(stage, failed)
        image = an_image()
        stage.images.deleted[image.guid] = image
    reconciler = await settled(stage, apply=False)
    assert reconciler.counts == {Finding.INTERRUPTED: count, Finding.COMPLETED: count, Finding.DELETION: count}


async def test_every_finding_is_reported() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    heard: list[Found] = []
    await stage.reconciler(report=heard.append).settle()
    assert heard == [Found(Finding.INTERRUPTED, str(generation.guid), fixed=True)]
    assert str(heard[0]) == f"{generation.guid}  {Finding.INTERRUPTED}: failed as interrupted"


async def test_a_late_success_wins_over_an_interruption() -> None:
    stage = Stage()
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    request = GenerationRequest(prompt=planted.PROMPT)
    begun = (await stage.private.create(request, caller=CALLER, wait=0)).generation
    stage.generations.clock = lambda: datetime.now(UTC) + timedelta(minutes=1)
    await settled(stage.replica())
    assert await state_of(stage, begun) is GenerationState.FAILED
    drawing.set()
    await asyncio.sleep(1)
    await assert_served(stage, begun)
    assert (await stage.generations.get(begun.guid)).error is None


async def test_a_generation_that_settles_while_it_is_looked_at_is_left_as_it_is() -> None:
    class Slow(FakeStorage):
        """Its generation succeeds while the reconciler looks for the object."""

        async def open(self, key: str, *, part: range | None = None) -> Any:
            if stage.images.images == {}:
                await stage.generations.succeed(generation, images=(image,))
                self.objects[image.filename] = PICTURE
            return await super().open(f"{uuid4()}.png")

    stage = Stage(storage=Slow())
    generation = await left_behind(stage)
    image = picture_of(generation)
    await settled(stage)
    known = await stage.generations.get(generation.guid)
    assert (known.state, known.images, known.error) == (GenerationState.SUCCEEDED, (image,), None)


# Files


@pytest.mark.parametrize("meanwhile", ["running", "its lease is over", "interrupted"])
async def test_files_are_taken_up(meanwhile: str) -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30 if meanwhile == "running" else 0)
    if meanwhile == "interrupted":
        await settled(stage)
        assert await state_of(stage, generation) is GenerationState.FAILED
    stage.folder.files[ParkedFile(generation.guid, 0, 1)] = PICTURE
    reconciler = await settled(stage)
    await assert_served(stage, generation)
    assert stage.folder.files == {}
    assert reconciler.counts == reconciler.fixed == {Finding.FILE: 1}


async def test_the_files_of_one_generation_are_taken_up_together() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    two = tiny_picture("two")
    stage.folder.files = {
        ParkedFile(generation.guid, 1, 2): two,
        ParkedFile(generation.guid, 0, 2): PICTURE,
    }
    reconciler = await settled(stage)
    known = await stage.generations.get(generation.guid)
    assert [stage.storage.objects[image.filename] for image in known.images] == [PICTURE, two]
    assert stage.folder.files == {}
    assert reconciler.counts == {Finding.FILE: 1}


async def put_number(stage: Stage, generation: Generation, index: int) -> None:
    """The object of one of a generation's images, without its row."""
    key = f"{generation.image_guid(index)}.png"
    await stage.storage.put(key, tiny_picture(f"picture {index}"), content_type="image/png")


async def images_in(stage: Stage, generation: Generation) -> int:
    return len((await stage.generations.get(generation.guid)).images)


async def test_a_generation_of_which_only_some_objects_are_there_is_not_completed_with_them() -> None:
    stage = Stage()
    generation = await left_behind(stage, expected_images=3)
    await put_number(stage, generation, 0)
    await settled(stage)
    assert await state_of(stage, generation) is GenerationState.FAILED
    assert await images_in(stage, generation) == 0
    for index in (1, 2):  # an owner that was only cut off from the database puts the others
        await put_number(stage, generation, index)
    await settled(stage)
    assert await state_of(stage, generation) is GenerationState.SUCCEEDED
    assert await images_in(stage, generation) == 3


async def test_the_owner_that_was_cut_off_between_two_puts_records_all_its_images() -> None:
    stage = Stage()
    pictures = tuple(tiny_picture(f"picture {index}") for index in range(3))
    stage.generator.pictures = pictures
    request = GenerationRequest(prompt=planted.PROMPT, n=3)
    stage.storage.put_failure, stage.storage.puts_before_failure = StorageUnavailableError("cut off"), 1
    generation = (await stage.runner.begin(request, caller=CALLER)).generation
    await asyncio.sleep(5)
    assert len(stage.storage.objects) == 1
    stage.generations.leases[generation.guid] = stage.generations.clock()  # it could not renew its lease
    await settled(stage.replica())
    assert await images_in(stage, generation) == 0
    stage.storage.put_failure = None
    await asyncio.sleep(60)
    assert await state_of(stage, generation) is GenerationState.SUCCEEDED
    assert await images_in(stage, generation) == 3


async def test_files_and_objects_complete_a_generation_together() -> None:
    stage = Stage()
    generation = await left_behind(stage, expected_images=3)
    await put_number(stage, generation, 1)
    for index in (0, 2):
        stage.folder.files[ParkedFile(generation.guid, index, 3)] = tiny_picture(f"picture {index}")
    await settled(stage)
    known = await stage.generations.get(generation.guid)
    drawn = [tiny_picture(f"picture {index}") for index in range(3)]
    assert [stage.storage.objects[image.filename] for image in known.images] == drawn
    assert stage.folder.files == {}


class SlowFolder(FakeParkingFolder):
    """Calls `meanwhile` before it looks for a picture."""

    meanwhile: Callable[[], Awaitable[object]]

    async def get(self, file: ParkedFile) -> bytes:
        await self.meanwhile()
        return await super().get(file)


async def test_a_file_that_another_replica_took_up_meanwhile_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    stage.folder.files = {ParkedFile(generation.guid, index, 2): tiny_picture(str(index)) for index in (0, 1)}
    folder = SlowFolder()
    folder.files, folder.meanwhile = stage.folder.files, lambda: settled(stage)
    reconciler = await settled(stage.replica(folder=folder))
    assert folder.files == {}
    assert (await state_of(stage, generation), await images_in(stage, generation)) == (GenerationState.SUCCEEDED, 2)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    assert reconciler.counts == reconciler.fixed


async def test_a_file_that_is_gone_and_was_not_taken_up_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    folder = SlowFolder()
    folder.files = {ParkedFile(generation.guid, 0, 1): PICTURE}

    async def lose() -> None:
        folder.files.clear()

    folder.meanwhile = lose
    reconciler = await settled(stage.replica(folder=folder))
    assert (reconciler.counts, reconciler.fixed[Finding.FILE]) == ({Finding.FILE: 1}, 0)
    assert [str(generation.guid) in record.getMessage() for record in caplog.records if record.levelno > 20] == [True]


async def test_a_file_of_an_older_version_is_taken_up() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    stage.folder.files[ParkedFile(generation.guid, 0, None)] = PICTURE
    await settled(stage)
    await assert_served(stage, generation)
    assert stage.folder.files == {}


async def test_files_of_which_the_first_is_missing_are_not_taken_for_it(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    stage.folder.files[ParkedFile(generation.guid, 1, 2)] = PICTURE
    await settled(stage)
    assert (stage.storage.objects, len(stage.folder.files)) == ({}, 1)
    assert str(generation.guid) in caplog.text


async def test_a_file_of_an_unknown_generation_is_kept_and_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    guid = uuid4()
    stage.folder.files[ParkedFile(guid, 0, 1)] = PICTURE
    other = await left_behind(stage)
    stage.folder.files[ParkedFile(other.guid, 0, 1)] = PICTURE
    reconciler = await settled(stage)
    assert list(stage.folder.files) == [ParkedFile(guid, 0, 1)]
    assert (reconciler.counts[Finding.FILE], reconciler.fixed[Finding.FILE]) == (2, 1)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(guid) in error for error in errors] == [True]
    await assert_served(stage, other)


async def test_a_file_of_what_succeeded_meanwhile_is_removed() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation)
    await settled(stage)
    stage.folder.files[ParkedFile(generation.guid, 0, 1)] = PICTURE
    await settled(stage)
    await assert_served(stage, generation)
    assert stage.folder.files == {}


async def test_a_file_brings_no_deleted_image_back() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation)
    await settled(stage)
    await stage.private.delete(generation.image_guid(0), caller=CONFIGURED_CALLER)
    stage.folder.files[ParkedFile(generation.guid, 0, 1)] = PICTURE
    await settled(stage)
    assert (stage.images.images, stage.storage.objects, stage.folder.files) == ({}, {}, {})


async def test_a_file_of_a_generation_that_another_process_failed_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    stage.folder.files[ParkedFile(generation.guid, 0, 1)] = PICTURE
    await stage.generations.fail(generation, error=UpstreamRefusedError("no").document())
    reconciler = await settled(stage)
    assert list(stage.folder.files) == [ParkedFile(generation.guid, 0, 1)]
    assert (reconciler.counts, reconciler.fixed[Finding.FILE]) == ({Finding.FILE: 1}, 0)
    assert "its files are kept" in caplog.text


class FasterFailure(FakeGenerationRepository):
    """Another process fails a generation just before this one completes it."""

    async def succeed(self, generation: Generation, **found: Any) -> bool:
        await self.fail(generation, error=UpstreamRefusedError("no").document())
        return await super().succeed(generation, **found)


async def test_what_another_process_failed_meanwhile_is_not_reported_as_completed() -> None:
    stage = Stage()
    stage.generations = FasterFailure(stage.images)
    stage.parked = FakeParkedImageRepository(stage.generations)
    generation = await left_behind(stage)
    await stage.parked.add(generation, a_drawing(pictures=(PICTURE,)))
    reconciler = await settled(stage)
    assert await state_of(stage, generation) is GenerationState.FAILED
    assert (reconciler.counts, reconciler.fixed[Finding.COMPLETED]) == ({Finding.COMPLETED: 1}, 0)


async def test_a_file_whose_generation_another_replica_completes_meanwhile_is_removed() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    folder = SlowFolder()

    async def complete_elsewhere() -> None:
        await stage.generations.succeed(generation, images=(picture_of(generation),))

    folder.files, folder.meanwhile = {ParkedFile(generation.guid, 0, 1): PICTURE}, complete_elsewhere
    reconciler = await settled(stage.replica(folder=folder))
    assert folder.files == {}
    assert reconciler.counts == reconciler.fixed == {Finding.FILE: 1}


async def test_a_file_waits_for_its_storage() -> None:
    stage = Stage()
    generation = await left_behind(stage, lease=30)
    stage.folder.files[ParkedFile(generation.guid, 0, 1)] = PICTURE
    stage.storage.failure = StorageUnavailableError("unavailable")
    reconciler = await settled(stage)
    assert len(stage.folder.files) == 1
    assert (reconciler.counts, reconciler.fixed[Finding.FILE]) == ({Finding.FILE: 1}, 0)
    stage.storage.failure = None
    await settled(stage)
    await assert_served(stage, generation)
    assert stage.folder.files == {}


# Deletions


async def test_an_image_is_hidden_before_its_object_goes() -> None:
    class Watching(FakeStorage):
        """Remembers what readers are served while an object goes."""

        served: tuple[int, ...] = ()

        async def delete(self, key: str) -> None:
            self.served += (len(stage.images.images),)
            await super().delete(key)

    storage = Watching()
    stage = Stage(storage=storage)
    details = await stage.create()
    await stage.private.delete(UUID(details["guid"]), caller=CONFIGURED_CALLER)
    assert storage.served == (0, 0, 0), "the object, and two thumbnails"
    assert (storage.objects, stage.images.images, stage.images.deleted) == ({}, {}, {})


class SlowDeletions(FakeStorage):
    """Removes an object when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Event()

    async def delete(self, key: str) -> None:
        await self.release.wait()
        await super().delete(key)


async def test_a_deletion_does_not_wait_for_a_storage_that_hangs() -> None:
    storage = SlowDeletions()
    stage = Stage(storage=storage)
    details = await stage.create()
    async with stage.client() as client:
        began = asyncio.get_running_loop().time()
        deletion = client.delete(f"/image/{details['guid']}")
        response = await asyncio.wait_for(deletion, 3)
        assert 2 <= asyncio.get_running_loop().time() - began <= 3
        assert response.status_code == 204
        assert (await client.get(f"/image/{details['guid']}")).status_code == 404
    assert (list(storage.objects), list(stage.images.deleted)) == ([details["filename"]], [UUID(details["guid"])])
    storage.release.set()  # what has begun continues without the request
    await asyncio.sleep(1)
    assert (storage.objects, stage.images.deleted) == ({}, {})


async def test_a_deletion_that_hangs_is_finished_by_a_reconciler() -> None:
    storage = SlowDeletions()
    stage = Stage(storage=storage)
    details = await stage.create()
    await asyncio.wait_for(stage.private.delete(UUID(details["guid"]), caller=CONFIGURED_CALLER), 3)
    working = FakeStorage()
    working.objects, working.written = storage.objects, storage.written
    await settled(stage.replica(storage=working))
    assert (storage.objects, stage.images.deleted) == ({}, {})
    storage.release.set()


async def test_a_deletion_whose_storage_is_unavailable_is_finished_later() -> None:
    stage = Stage()
    details = await stage.create()
    stage.storage.failure = StorageUnavailableError("unavailable")
    await stage.private.delete(UUID(details["guid"]), caller=CONFIGURED_CALLER)
    assert stage.images.images == {}
    stage.storage.failure = None
    assert (await settled(stage)).fixed == {Finding.DELETION: 1}
    assert (stage.storage.objects, stage.images.deleted) == ({}, {})


class FailingDeletions(FakeImageRepository):
    """Removes no row."""

    async def delete(self, guid: UUID) -> None:
        raise DatabaseUnavailableError("unavailable")


@pytest.mark.parametrize("crash", ["before the object went", "before the row went"])
async def test_a_deletion_that_was_left_half_done_is_finished(crash: str) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await put(stage, generation)
    await settled(stage)
    image = await stage.images.mark_deleted(generation.image_guid(0))
    if crash == "before the row went":
        await stage.storage.delete(image.filename)
    reconciler = await settled(stage)
    assert (stage.storage.objects, stage.images.images, stage.images.deleted) == ({}, {}, {})
    assert reconciler.counts == reconciler.fixed == {Finding.DELETION: 1}
    assert (await settled(stage)).counts == {}


async def test_a_deletion_waits_for_its_storage() -> None:
    stage = Stage()
    image = an_image()
    stage.images.deleted[image.guid] = image
    stage.storage.failure = StorageUnavailableError("unavailable")
    reconciler = await settled(stage)
    assert (reconciler.counts, reconciler.fixed[Finding.DELETION]) == ({Finding.DELETION: 1}, 0)
    assert list(stage.images.deleted) == [image.guid]


async def test_a_row_stays_when_only_its_object_could_be_removed() -> None:
    stage = Stage(images=FailingDeletions())
    image = an_image()
    stage.images.deleted[image.guid] = image
    with pytest.raises(DatabaseUnavailableError):
        await settled(stage)
    assert list(stage.images.deleted) == [image.guid]


async def test_more_than_a_batch_of_deletions_is_finished() -> None:
    stage = Stage()
    for _ in range(250):
        image = an_image()
        stage.images.deleted[image.guid] = image
    assert (await settled(stage)).fixed == {Finding.DELETION: 250}
    assert stage.images.deleted == {}


async def test_deletions_that_the_storage_refuses_for_good_keep_no_other_waiting() -> None:
    refused: set[str] = set()

    class Refusing(FakeStorage):
        async def delete(self, key: str) -> None:
            if key in refused:
                raise StorageError("This object is locked.")
            await super().delete(key)

    stage = Stage(storage=Refusing())
    for number in range(250):
        image = an_image()
        stage.images.deleted[image.guid] = image
        if number < 240:
            refused.add(image.filename)
    reconciler = await settled(stage)
    assert (reconciler.counts, reconciler.fixed) == ({Finding.DELETION: 250}, {Finding.DELETION: 10})
    refused.clear()
    assert (await settled(stage)).fixed == {Finding.DELETION: 240}


async def test_each_run_tries_a_refused_deletion_once_and_says_so_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(FakeStorage):
        """Removes nothing, for good."""

        tried: tuple[str, ...] = ()

        async def delete(self, key: str) -> None:
            self.tried += (key,)
            raise StorageError("Every object is locked.")

    class Counting(FakeImageRepository):
        """Remembers how many deletions were listed."""

        listed: tuple[int, ...] = ()

        async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
            page = await super().list_deleted(limit=limit, cursor=cursor)
            self.listed += (len(page.images),)
            return page

    storage, images = Refusing(), Counting()
    stage = Stage(storage=storage, images=images)
    for _ in range(350):
        image = an_image()
        images.deleted[image.guid] = image
    caplog.set_level(logging.INFO)
    reconciler = await settled(stage)
    assert (reconciler.counts, reconciler.fixed[Finding.DELETION]) == ({Finding.DELETION: 350}, 0)
    assert sorted(storage.tried) == sorted(image.filename for image in images.deleted.values())
    assert images.listed == (100, 100, 100, 50)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("350 deletions cannot be finished: ")


# The comparison


async def test_two_stores_that_agree_have_no_finding() -> None:
    stage = Stage()
    await stage.create()
    reconciler = await compared(stage, grace=timedelta(0))
    assert reconciler.counts == {}
    assert len(stage.storage.objects) == 1


@pytest.mark.parametrize("apply", [True, False])
async def test_an_orphan_is_removed_only_with_apply(apply: bool) -> None:
    stage = Stage()
    await stage.create()
    key = await orphan(stage)
    reconciler = await compared(stage, apply=apply)
    assert reconciler.counts == {Finding.ORPHAN: 1}
    assert reconciler.fixed[Finding.ORPHAN] == (1 if apply else 0)
    assert (key in stage.storage.objects) is not apply
    assert len(stage.storage.objects) == (1 if apply else 2)


async def test_a_young_object_is_kept() -> None:
    stage = Stage()
    young = await orphan(stage, age=timedelta(hours=23))
    old = await orphan(stage, age=timedelta(hours=25))
    reconciler = await compared(stage, grace=DAY)
    assert list(stage.storage.objects) == [young]
    assert reconciler.counts == {Finding.YOUNG: 1, Finding.ORPHAN: 1}
    assert old not in stage.storage.objects


async def test_not_more_than_asked_for_are_removed_and_the_next_run_continues_there() -> None:
    stage = Stage()
    keys = sorted([await orphan(stage) for _ in range(7)])
    first = stage.reconciler()
    after = await first.compare(grace=DAY, most=3)
    assert after == keys[2]
    assert sorted(stage.storage.objects) == keys[3:]
    assert first.fixed == {Finding.ORPHAN: 3}
    after = await stage.reconciler().compare(after=after, grace=DAY, most=3)
    assert after == keys[5]
    assert await stage.reconciler().compare(after=after, grace=DAY, most=3) is None
    assert stage.storage.objects == {}


async def test_as_many_as_asked_for_leave_nothing_to_go_on_with() -> None:
    stage = Stage()
    for _ in range(3):
        await orphan(stage)
    assert await stage.reconciler().compare(grace=DAY, most=3) is None


async def test_a_dry_run_counts_beyond_what_may_be_removed_at_once() -> None:
    stage = Stage()
    for _ in range(7):
        await orphan(stage)
    reconciler = stage.reconciler(apply=False)
    assert await reconciler.compare(grace=DAY, most=3) is None
    assert reconciler.counts == {Finding.ORPHAN: 7}


async def test_the_object_of_a_generation_that_runs_is_never_touched() -> None:
    stage = Stage()
    key = await put(stage, await left_behind(stage, lease=30))
    stage.storage.written[key] -= DAY * 365
    reconciler = await compared(stage, grace=timedelta(0))
    assert list(stage.storage.objects) == [key]
    assert reconciler.counts == {}


@pytest.mark.parametrize("apply", [True, False])
async def test_the_object_of_an_interrupted_generation_completes_it(apply: bool) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await settled(stage)
    key = await put(stage, generation)
    stage.storage.written[key] -= DAY * 365
    reconciler = await compared(stage, apply=apply)
    assert list(stage.storage.objects) == [key]
    assert reconciler.counts == {Finding.COMPLETED: 1}
    assert (await state_of(stage, generation) is GenerationState.SUCCEEDED) is apply


async def test_the_object_of_a_generation_that_failed_otherwise_is_litter() -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await stage.generations.fail(generation, error=UpstreamRefusedError("no").document())
    key = await put(stage, generation)
    stage.storage.written[key] -= DAY * 2
    assert (await compared(stage)).fixed == {Finding.ORPHAN: 1}
    assert stage.storage.objects == {}


@pytest.mark.parametrize("apply", [True, False])
async def test_a_row_without_an_object_is_reported_and_nothing_else(apply: bool) -> None:
    stage = Stage()
    details = await stage.create()
    stage.storage.objects.clear()
    reconciler = await compared(stage, apply=apply)
    assert (reconciler.counts, reconciler.fixed[Finding.LOST]) == ({Finding.LOST: 1}, 0)
    assert [str(guid) for guid in stage.images.images] == [details["guid"]]


class UnreadableImages(FakeImageRepository):
    """Another version wrote the rows."""

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        raise DatabaseError(f"This version cannot read the record of image {guid}.")


async def test_a_row_without_an_object_is_reported_whether_this_version_can_read_it_or_not() -> None:
    stage = Stage(images=UnreadableImages())
    image = an_image()
    stage.images.images[image.guid] = image
    assert (await compared(stage)).counts == {Finding.LOST: 1}


@pytest.mark.parametrize("apply", [True, False])
async def test_the_object_of_a_generation_that_this_version_cannot_read_is_kept_and_stops_no_comparison(
    apply: bool,
) -> None:
    stage = Stage()
    generation = await left_behind(stage)
    await settled(stage)
    kept, litter = await put(stage, generation), await orphan(stage)
    stage.storage.written[kept] -= DAY * 2
    stage.generations.unreadable = {generation.guid}
    found: list[Found] = []
    reconciler = stage.reconciler(apply=apply, report=found.append)
    assert await reconciler.compare(grace=DAY, most=ALL) is None
    assert {(each.finding, each.name) for each in found} == {(Finding.UNREADABLE, kept), (Finding.ORPHAN, litter)}
    assert set(stage.storage.objects) == ({kept} if apply else {kept, litter})


async def test_a_row_that_is_marked_as_deleted_has_lost_nothing_and_keeps_its_object_out_of_it() -> None:
    stage = Stage()
    without, with_object = an_image(size_bytes=len(PICTURE)), an_image(size_bytes=len(PICTURE))
    for image in (without, with_object):
        stage.images.deleted[image.guid] = image
    await stage.storage.put(with_object.filename, PICTURE, content_type="image/png")
    stage.storage.written[with_object.filename] -= DAY * 2
    reconciler = await compared(stage)
    assert reconciler.counts == {}
    assert list(stage.storage.objects) == [with_object.filename]


class ActingStorage(FakeStorage):
    """Something happens after one of its lists."""

    def __init__(self) -> None:
        super().__init__()
        self.lists = 0
        self.acts: dict[int, Callable[[], None]] = {}

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        found = await super().list(after=after, limit=limit)
        self.lists += 1
        self.acts.get(self.lists, lambda: None)()
        return found


async def test_an_object_that_is_written_again_after_it_was_listed_is_kept() -> None:
    storage = ActingStorage()
    stage = Stage(storage=storage)
    key = await orphan(stage)

    def write_again() -> None:
        storage.written[key] = datetime.now(UTC)

    storage.acts = {1: write_again}
    await compared(stage)
    assert list(storage.objects) == [key]
    storage.acts = {}
    storage.written[key] -= DAY * 2
    await compared(stage)
    assert storage.objects == {}, "nothing but the writing has kept it"


@pytest.mark.parametrize(("after_list", "apply"), [(1, True), (2, True), (1, False)])
async def test_an_object_whose_row_is_committed_after_it_was_listed_is_kept(after_list: int, apply: bool) -> None:
    class Rows(FakeImageRepository):
        """A page of rows that is older than the commit."""

        async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
            return {} if limit == PAGE else await super().sizes(after=after, limit=limit)

    storage = ActingStorage()
    stage = Stage(storage=storage, images=Rows())
    key = await orphan(stage)

    def commit() -> None:
        image = an_image(guid=UUID(key[:36]))
        stage.images.images[image.guid] = image

    storage.acts = {after_list: commit}
    reconciler = await compared(stage, apply=apply)
    assert list(storage.objects) == [key]
    assert reconciler.counts == {}
    assert storage.lists >= after_list


async def test_an_image_that_is_kept_after_the_objects_were_listed_is_not_lost() -> None:
    storage = ActingStorage()
    stage = Stage(storage=storage)

    def keep() -> None:
        image = an_image()
        storage.objects[image.filename] = PICTURE
        storage.written[image.filename] = datetime.now(UTC)
        stage.images.images[image.guid] = image

    storage.acts = {1: keep}
    assert (await compared(stage)).counts == {}
    assert len(stage.images.images) == 1


async def test_an_image_that_is_deleted_after_the_objects_were_listed_is_not_lost() -> None:
    class Rows(FakeImageRepository):
        """A page of rows that is older than the deletion."""

        async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
            return {image.filename: image.size_bytes}

    image = an_image()
    assert (await compared(Stage(images=Rows()))).counts == {}


def many(stage: Stage, count: int, *, without_object: set[int], without_row: set[int]) -> list[str]:
    """Images in the order of their keys; at some places one half is missing."""
    images = sorted((an_image(size_bytes=len(PICTURE)) for _ in range(count)), key=lambda image: image.filename)
    for place, image in enumerate(images):
        if place not in without_object:
            stage.storage.objects[image.filename] = PICTURE
            stage.storage.written[image.filename] = datetime.now(UTC) - DAY * 2
        if place not in without_row:
            stage.images.images[image.guid] = image
    return [image.filename for image in images]


@pytest.mark.parametrize(
    ("without_object", "without_row"),
    [
        ({0, 999, 1001, 2000, 2499}, {1, 998, 1000, 1999, 2498}),
        ({1, 998, 1000, 1999, 2498}, {0, 999, 1001, 2000, 2499}),
        (set(range(1200)), set(range(1300, 1310))),
        (set(range(990, 1010)), set(range(1990, 2010))),
        (set(range(1500, 2500)), set()),
    ],
)
async def test_thousands_of_keys_are_compared_without_a_gap(without_object: set[int], without_row: set[int]) -> None:
    stage = Stage()
    keys = many(stage, 2500, without_object=without_object, without_row=without_row)
    found: set[tuple[Finding, str]] = set()
    reconciler = stage.reconciler(report=lambda each: found.add((each.finding, each.name)))
    seen: list[int] = []
    after = await reconciler.compare(grace=DAY, most=ALL, progress=lambda count, _: seen.append(count))
    assert after is None
    assert found == {(Finding.LOST, keys[place]) for place in without_object} | {
        (Finding.ORPHAN, keys[place]) for place in without_row
    }
    assert reconciler.counts.total() == len(without_object) + len(without_row), "nothing is found twice"
    assert set(stage.storage.objects) == set(keys) - {keys[place] for place in without_object | without_row}
    assert seen == sorted(seen)
    assert seen[-1] == 2500


@pytest.mark.parametrize("missing", ["objects", "rows"])
async def test_thousands_of_keys_on_one_side_alone_are_all_found(missing: str) -> None:
    stage = Stage()
    everywhere = set(range(2 * PAGE))
    without_object, without_row = (everywhere, set()) if missing == "objects" else (set(), everywhere)
    many(stage, 2 * PAGE, without_object=without_object, without_row=without_row)
    finding = Finding.LOST if missing == "objects" else Finding.ORPHAN
    assert (await compared(stage, apply=False)).counts == {finding: 2 * PAGE}


# The background task


@pytest.fixture
def running() -> Iterator[Callable[[Stage], None]]:
    """Runs the reconciler of a stage in the background, by the time of the loop."""
    tasks: list[asyncio.Task[None]] = []

    def run(stage: Stage) -> None:
        loop, start = asyncio.get_running_loop(), datetime.now(UTC)
        begun = loop.time()
        stage.generations.clock = lambda: start + timedelta(seconds=loop.time() - begun)
        tasks.append(asyncio.create_task(stage.reconciler().run(interval=30)))

    yield run
    for task in tasks:
        task.cancel()


async def test_it_runs_again_and_again(running: Callable[[Stage], None]) -> None:
    stage = Stage()
    running(stage)
    for _ in range(3):
        generation = await left_behind(stage)
        await asyncio.sleep(31 + stage.lease / 2)
        assert await state_of(stage, generation) is GenerationState.FAILED


async def test_it_continues_after_a_fault_of_ours(
    running: Callable[[Stage], None], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    stage.generations.failure = RuntimeError("a fault")
    running(stage)
    await asyncio.sleep(1)
    assert "a fault" in caplog.text
    stage.generations.failure = None
    generation = await left_behind(stage)
    await asyncio.sleep(31 + stage.lease / 2)
    assert await state_of(stage, generation) is GenerationState.FAILED


async def test_an_owner_that_turns_out_to_live_keeps_its_generation(running: Callable[[Stage], None]) -> None:
    stage = Stage(lease=30)
    running(stage)
    alive, dead = await left_behind(stage), await left_behind(stage)
    stage.generations.failure = DatabaseUnavailableError("unavailable")
    await asyncio.sleep(45)  # two of its turns fail
    stage.generations.failure = None
    await asyncio.sleep(16)
    assert await state_of(stage, dead) is GenerationState.RUNNING, "claimed, and given a second chance"
    await stage.generations.renew((alive.guid,), lease=stage.lease + 1)
    await asyncio.sleep(stage.lease / 2)
    assert await state_of(stage, dead) is GenerationState.FAILED
    assert await state_of(stage, alive) is GenerationState.RUNNING


async def test_more_than_a_batch_left_behind_with_an_unavailable_storage_is_left_for_the_next_run() -> None:
    stage = Stage(lease=0)
    for _ in range(BATCH + 20):
        await left_behind(stage)
    stage.storage.failure = StorageUnavailableError("unavailable")
    reconciler = stage.reconciler()
    with anyio.fail_after(60):
        await reconciler.settle()
    assert reconciler.counts == {Finding.WAITING: 1}


async def test_many_without_a_picture_are_failed_in_rounds_that_their_claims_outlive() -> None:
    stage = Stage()
    start = datetime.now(UTC)
    stage.generations.clock = lambda: start + timedelta(seconds=anyio.current_time())
    generations = [await left_behind(stage) for _ in range(6)]
    left: list[timedelta] = []

    def note(claimed: datetime | None) -> None:
        assert claimed is not None
        left.append(claimed - stage.generations.clock())

    async def slow(key: str) -> None:
        await asyncio.sleep(stage.lease / 30)  # and three keys for each: six take more than half a lease
        raise ObjectNotFoundError("There is none.")

    stage.generations.before_fail, stage.storage.before_open = note, slow
    await stage.reconciler().settle()
    assert len(left) == 6
    assert min(left) > timedelta(0)
    assert {await state_of(stage, generation) for generation in generations} == {GenerationState.FAILED}


async def test_an_object_of_another_size_than_its_row_says_is_reported_and_left_alone() -> None:
    stage = Stage()
    image = an_image(size_bytes=len(PICTURE) + 1)
    stage.images.images[image.guid] = image
    await stage.storage.put(image.filename, PICTURE, content_type="image/png")
    reconciler = await compared(stage)
    assert (reconciler.counts, reconciler.fixed[Finding.BROKEN]) == ({Finding.BROKEN: 1}, 0)
    assert (len(stage.images.images), len(stage.storage.objects)) == (1, 1)


async def test_its_turns_begin_an_interval_apart_however_long_one_takes(running: Callable[[Stage], None]) -> None:
    stage = Stage()
    await left_behind(stage)
    running(stage)
    await asyncio.sleep(20)  # the first turn has waited half a lease for an owner
    late = await left_behind(stage)
    await asyncio.sleep(10 + stage.lease / 2 + 1)
    assert await state_of(stage, late) is GenerationState.FAILED
