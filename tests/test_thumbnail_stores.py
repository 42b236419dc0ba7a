"""Thumbnails on every storage: two replicas that make the same, and a deletion at any moment of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pixyproxy.core.exceptions import ImageNotFoundError, PixyProxyException
from pixyproxy.core.images import Image
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.core.protocols import ImageStorage
from pixyproxy.core.thumbnails import SIZES, thumbnail_keys
from pixyproxy.service.recovering.findings import Finding
from pixyproxy.service.thumbnails.process import WorkerProcess
from pixyproxy.service.thumbnails.service import Thumbnails
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.storage.folder import FolderImageStorage
from tests.examples import an_image
from tests.fakes import FakeImageRepository, tiny_picture
from tests.stage import Stage
from tests.test_storage import bucket_at, closed, moto, storage_at  # noqa: F401 -- fixtures among them

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("s3_credentials", "closed")]

PICTURE = tiny_picture()
ROUNDS = 25


@pytest.fixture(params=["folder", "moto", "seaweedfs"])
def storages(
    request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]
) -> tuple[ImageStorage, ImageStorage]:
    """The same storage as two replicas have it, each with a cache of its own."""
    if request.param == "folder":
        (tmp_path / "images").mkdir()
        inner: list[ImageStorage] = [FolderImageStorage(tmp_path / "images") for _ in range(2)]
    else:
        server = request.getfixturevalue(request.param)
        if request.param == "seaweedfs":
            request.node.used_servers = ("seaweedfs",)
            server = server.endpoint
        name = unique()
        inner = [bucket_at(server, name), storage_at(f"s3://{name}/some/prefix", server)]
    first, second = (CachedImageStorage(each, capacity=1024 * 1024) for each in inner)
    return first, second


@pytest.fixture
def replicas(storages: tuple[ImageStorage, ImageStorage]) -> tuple[Stage, Stage]:
    """Two replicas over the same records and the same storage."""
    first = Stage(storage=storages[0])  # type: ignore[arg-type]
    return first, first.replica(storage=storages[1])


async def stored_image(stage: Stage) -> Image:
    image = an_image(size_bytes=len(PICTURE), width=32, height=16)
    assert isinstance(stage.images, FakeImageRepository)
    stage.images.images[image.guid] = image
    await stage.storage.put(image.filename, PICTURE, content_type="image/png")
    return image


async def keys_in(storage: ImageStorage) -> set[str]:
    return {each.key for each in await storage.list(after="", limit=1000)}


async def test_two_replicas_make_the_same_and_serve_what_the_other_made(replicas: tuple[Stage, Stage]) -> None:
    image = await stored_image(replicas[0])
    made = await asyncio.gather(*(stage.thumbnails.get(image, size) for stage in replicas for size in SIZES))
    assert made[0] == made[2]
    assert made[1] == made[3]
    assert await keys_in(replicas[0].storage) == {image.filename, *thumbnail_keys(image.guid)}
    for stage in replicas:
        stage.shrinker.failure = AssertionError("it is there")
        assert [await stage.thumbnails.get(image, size) for size in SIZES] == made[:2]


async def test_whatever_the_moment_of_a_deletion_nothing_is_left_and_nothing_else_is_touched(
    replicas: tuple[Stage, Stage],
) -> None:
    first, second = replicas
    chance = random.Random(7)
    kept = await stored_image(first)
    await first.thumbnails.get(kept, 400)
    outcomes = set()

    async def look(stage: Stage, image: Image) -> str:
        await asyncio.sleep(chance.random() * 0.02)
        try:
            await stage.thumbnails.get(image, chance.choice(SIZES))
        except PixyProxyException as error:
            return error.name
        return "made"

    for number in range(ROUNDS):
        image = await stored_image(first)
        looks = [asyncio.create_task(look(stage, image)) for stage in (first, second, first, second)]
        if number % 4 == 0:
            await asyncio.wait(looks, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(chance.random() * 0.03)
        await second.private.delete(image.guid, caller=CONFIGURED_CALLER)
        outcomes.update(await asyncio.gather(*looks))
    assert "made" in outcomes
    assert outcomes <= {"made", ImageNotFoundError.name}
    assert await keys_in(first.storage) == {kept.filename, thumbnail_keys(kept.guid)[0]}
    reconciler = first.reconciler(apply=False)
    await reconciler.settle()
    assert reconciler.counts == {}


async def test_a_thumbnail_that_a_killed_process_left_is_found_and_removed(replicas: tuple[Stage, Stage]) -> None:
    first, _ = replicas
    image = an_image()
    for key in thumbnail_keys(image.guid):
        await first.storage.put(key, b"small", content_type="image/webp")
    kept = await stored_image(first)
    await first.thumbnails.get(kept, 800)
    reconciler = first.reconciler(apply=True)
    assert await reconciler.compare(grace=timedelta(days=1), most=100) is None
    assert reconciler.counts == reconciler.fixed == {Finding.THUMBNAIL: 2}
    assert await keys_in(first.storage) == {kept.filename, thumbnail_keys(kept.guid)[1]}


@pytest.fixture
async def shrinker() -> AsyncIterator[WorkerProcess]:
    process = WorkerProcess()
    yield process
    await process.aclose()


async def test_two_processes_make_the_same_bytes(replicas: tuple[Stage, Stage], shrinker: WorkerProcess) -> None:
    image = await stored_image(replicas[0])
    thumbnails = Thumbnails(
        images=replicas[0].images, storage=replicas[0].storage, originals=replicas[0].public, shrinker=shrinker
    )
    made = await thumbnails.get(image, 400)
    await replicas[0].storage.delete(thumbnail_keys(image.guid)[0])
    other = WorkerProcess()
    assert (await other.shrink(PICTURE, edge=400)).webp == made == await thumbnails.get(image, 400)
    await other.aclose()
    await thumbnails.aclose()
