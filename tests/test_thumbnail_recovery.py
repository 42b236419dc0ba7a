"""Thumbnails in `check`, `reconcile` and unfinished deletions: disposable, and never taken for an image."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.generations import GenerationState
from pixyproxy.core.images import Image
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.core.thumbnails import thumbnail_key, thumbnail_keys
from pixyproxy.service.recovering.compare import BEING_MADE, PAGE, Orphans
from pixyproxy.service.recovering.findings import Finding, Found
from pixyproxy.service.recovering.instance import SAMPLE, find_mismatch, record_instance
from pixyproxy.service.recovering.reconciler import Reconciler
from tests.examples import a_generation, an_image
from tests.fakes import FakeStorage, tiny_picture
from tests.stage import Stage

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
ALL = 1_000_000


async def put_thumbnails(stage: Stage, guid: UUID, *, age: timedelta = HOUR) -> set[str]:
    """Both thumbnails of an image, made so long ago."""
    for key in thumbnail_keys(guid):
        await stage.storage.put(key, b"small", content_type="image/webp")
        stage.storage.written[key] -= age
    return set(thumbnail_keys(guid))


async def an_image_with(stage: Stage) -> Image:
    image = an_image(size_bytes=4)
    stage.images.images[image.guid] = image
    await stage.storage.put(image.filename, b"data", content_type="image/png")
    await put_thumbnails(stage, image.guid)
    return image


async def compared(stage: Stage, *, apply: bool, grace: timedelta = DAY) -> Reconciler:
    reconciler = stage.reconciler(apply=apply)
    assert await reconciler.compare(grace=grace, most=ALL) is None
    return reconciler


@pytest.mark.parametrize("apply", [True, False])
async def test_a_thumbnail_is_no_finding_while_its_image_exists(apply: bool) -> None:
    stage = Stage()
    for _ in range(5):
        await an_image_with(stage)
    objects = dict(stage.storage.objects)
    assert len(objects) == 15
    reconciler = await compared(stage, apply=apply, grace=timedelta(0))
    assert (reconciler.counts, stage.storage.objects) == ({}, objects)
    assert await reconciler.count_orphans(grace=timedelta(0)) == Orphans(0, 5)


@pytest.mark.parametrize("apply", [True, False])
async def test_one_whose_image_is_on_the_next_page_is_none_either(apply: bool) -> None:
    stage = Stage()
    for _ in range(PAGE // 3 + 50):  # each page of objects ends within an image's
        await an_image_with(stage)
    objects = dict(stage.storage.objects)
    reconciler = await compared(stage, apply=apply, grace=timedelta(0))
    assert (reconciler.counts, stage.storage.objects) == ({}, objects)


async def test_one_without_a_row_is_removed_however_young_and_its_neighbours_are_not() -> None:
    stage = Stage()
    image = await an_image_with(stage)
    gone = await put_thumbnails(stage, uuid4(), age=timedelta(0))
    reconciler = await compared(stage, apply=True)
    assert reconciler.counts == reconciler.fixed == {Finding.THUMBNAIL: 2}
    assert set(stage.storage.objects) == {image.filename, *thumbnail_keys(image.guid)}
    assert not gone & set(stage.storage.objects)


async def test_without_apply_it_is_reported_unless_its_process_may_be_about_to_remove_it() -> None:
    stage = Stage()
    young = await put_thumbnails(stage, uuid4(), age=BEING_MADE / 2)
    old = await put_thumbnails(stage, uuid4(), age=BEING_MADE * 2)
    found: list[Found] = []
    reconciler = stage.reconciler(apply=False, report=found.append)
    await reconciler.compare(grace=timedelta(0), most=ALL)
    assert {(each.finding, each.name, each.fixed) for each in found} == {(Finding.THUMBNAIL, key, False) for key in old}
    assert set(stage.storage.objects) == young | old


async def test_they_are_no_more_than_so_many_a_run_and_the_next_continues() -> None:
    stage = Stage()
    for _ in range(4):
        await put_thumbnails(stage, uuid4())
    keys = sorted(stage.storage.objects)
    after = await stage.reconciler().compare(grace=DAY, most=3)
    assert (after, sorted(stage.storage.objects)) == (keys[2], keys[3:])
    assert await stage.reconciler().compare(after=keys[2], grace=DAY, most=100) is None
    assert stage.storage.objects == {}


async def test_one_that_was_deleted_since_it_was_listed_is_no_finding() -> None:
    class Removing(FakeStorage):
        async def head(self, key: str) -> int:
            self.objects.pop(key, None)
            return await super().head(key)

    stage = Stage(storage=Removing())
    await put_thumbnails(stage, uuid4())
    assert (await compared(stage, apply=True)).counts == {}


async def test_one_of_an_image_that_is_marked_as_deleted_goes_with_its_deletion() -> None:
    stage = Stage()
    image = await an_image_with(stage)
    await stage.images.mark_deleted(image.guid)
    assert (await compared(stage, apply=True, grace=timedelta(0))).counts == {}
    assert len(stage.storage.objects) == 3
    reconciler = stage.reconciler()
    await reconciler.settle()
    assert reconciler.fixed == {Finding.DELETION: 1}
    assert (stage.storage.objects, stage.images.deleted) == ({}, {})


@pytest.mark.parametrize("removed", range(4))
async def test_a_deletion_that_ended_between_two_objects_is_finished(removed: int) -> None:
    class Failing(FakeStorage):
        left = removed

        async def delete(self, key: str) -> None:
            self.left -= 1
            if self.left < 0:
                raise StorageUnavailableError("unavailable")
            await super().delete(key)

    storage = Failing()
    stage = Stage(storage=storage)
    image = await an_image_with(stage)
    await stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
    assert len(storage.objects) == 3 - removed
    assert list(stage.images.deleted) == ([] if removed == 3 else [image.guid])
    storage.left = 100
    await stage.reconciler().settle()
    assert (storage.objects, stage.images.deleted) == ({}, {})


async def test_a_thumbnail_completes_no_generation() -> None:
    stage = Stage()
    generation = a_generation()
    await stage.generations.add(generation, lease=0)
    key = thumbnail_key(generation.image_guid(0), 400)
    await stage.storage.put(key, tiny_picture(output_format="webp"), content_type="image/webp")
    await stage.reconciler().settle()
    assert (await stage.generations.get(generation.guid)).state is GenerationState.FAILED
    await compared(stage, apply=True)
    assert (stage.images.images, stage.storage.objects) == ({}, {})


async def test_they_hide_no_wrong_database() -> None:
    stage = Stage()
    for _ in range(21):
        await stage.storage.put(an_image().filename, b"data", content_type="image/png")
        stage.storage.written = {key: moment - 2 * DAY for key, moment in stage.storage.written.items()}
    for _ in range(1000):
        await put_thumbnails(stage, uuid4())
    assert (await stage.reconciler().count_orphans(grace=DAY)).too_many


async def test_a_storage_is_recognized_by_its_images_alone() -> None:
    first = "00000000-0000-4000-8000-"
    ours, theirs, empty = Stage(), Stage(), Stage()
    for stage in (ours, theirs, empty):
        for number in range(SAMPLE):
            await put_thumbnails(stage, UUID(f"{first}{number:012}"))
    image = await an_image_with(ours)
    await theirs.storage.put(image.filename, b"data", content_type="image/png")
    for stage in (ours, theirs, empty):
        await record_instance(stage.stores)
    assert await find_mismatch(ours.stores) is None
    assert await find_mismatch(empty.stores) is None, "nobody needs what is in it"
    assert "its objects are not those of this database" in (await find_mismatch(theirs.stores) or "")
    assert theirs.storage.instance is None
