"""What is kept in memory: pictures within a number of bytes, and records for a short while."""

import asyncio
import gc
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pixyproxy.core.exceptions import ImageNotFoundError, ObjectNotFoundError, StorageUnavailableError
from pixyproxy.core.images import Image
from pixyproxy.core.protocols import Chunk, StoredObject
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.storage.cached import CachedImageStorage, Reader
from tests.examples import an_image
from tests.fakes import FakeImageRepository, FakeObject, FakeStorage

pytestmark = pytest.mark.anyio

CAPACITY = 8_000_000
"""An object may have a million bytes."""


async def stored(storage: FakeStorage, size: int = 300_000) -> str:
    """The key of a new object."""
    key = f"{uuid4()}.png"
    await storage.put(key, random.Random(size).randbytes(size), content_type="image/png")
    return key


async def read(storage: CachedImageStorage, key: str, part: range | None = None) -> bytes:
    """The object, or a part of it, as a reader gets it."""
    return await taken(await storage.open(key, part=part))


async def taken(opened: StoredObject) -> bytes:
    """Everything of an opened object."""
    try:
        return b"".join([chunk async for chunk in opened])
    finally:
        await opened.aclose()


async def some(opened: StoredObject, count: int = 1) -> AsyncIterator[Chunk]:
    """The object after its first chunks were taken."""
    chunks = aiter(opened)
    for _ in range(count):
        await anext(chunks)
    return chunks


async def test_what_was_read_once_is_read_from_memory() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    assert await read(cached, key) == await read(cached, key) == storage.objects[key]
    assert await read(cached, key, range(5, 200_000)) == storage.objects[key][5:200_000]
    assert len(storage.opened) == 1
    assert storage.opened[0].closed


async def test_what_is_read_again_comes_in_one_piece() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    for expected in ([65_536] * 4 + [37_856], [300_000]):
        opened = await cached.open(key)
        assert [len(chunk) async for chunk in opened] == expected
        await opened.aclose()


async def test_many_readers_of_a_cold_object_make_one_request() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    storage.before_open = lambda _: asyncio.sleep(0.01)
    found = await asyncio.gather(*(read(cached, key) for _ in range(100)))
    assert set(found) == {storage.objects[key]}
    assert len(storage.opened) == 1


async def test_a_part_of_a_cold_object_is_asked_for_as_it_is() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    assert await read(cached, key, range(10)) == storage.objects[key][:10]
    assert await read(cached, key) == storage.objects[key]
    assert len(storage.opened) == 2


async def test_a_slow_reader_is_overtaken_and_keeps_its_place() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    slow = await cached.open(key)
    chunks = await some(slow)
    assert await read(cached, key) == storage.objects[key]
    rest = b"".join([chunk async for chunk in chunks])
    assert rest == storage.objects[key][-len(rest) :]
    assert len(rest) == 300_000 - 65_536
    await slow.aclose()
    assert len(storage.opened) == 1


async def test_a_reader_that_leaves_takes_nothing_from_the_others() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    leaving, staying = await cached.open(key), await cached.open(key)
    await some(leaving, 2)
    await leaving.aclose()
    await leaving.aclose()
    assert not storage.opened[0].closed
    assert await taken(staying) == storage.objects[key]
    assert len(storage.opened) == 1


async def test_the_last_reader_that_leaves_ends_the_reading() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    for opened in (await cached.open(key), await cached.open(key)):
        await some(opened)
        await opened.aclose()
    assert storage.opened[0].closed
    assert await read(cached, key) == storage.objects[key]
    assert len(storage.opened) == 2, "half an object is not kept"


async def test_objects_over_an_eighth_never_enter_and_their_readers_do_not_wait_for_each_other() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage, CAPACITY // 8 + 1)
    asked = 0
    all_here = asyncio.Event()

    async def together(_: str) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.sleep(0.01)  # the others wait for this one; then nine open at once
            return
        if asked == 10:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 5)

    storage.before_open = together
    found = await asyncio.gather(*(read(cached, key) for _ in range(10)))
    assert set(found) == {storage.objects[key]}
    await read(cached, key)
    assert len(storage.opened) == 11


async def test_the_least_recently_read_goes_first() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    keys = [await stored(storage, 1_000_000) for _ in range(9)]
    for key in keys[:8]:
        await read(cached, key)
    await read(cached, keys[0])
    await read(cached, keys[8])
    before = len(storage.opened)
    await read(cached, keys[0])
    assert len(storage.opened) == before
    await read(cached, keys[1])
    assert len(storage.opened) == before + 1


async def test_what_is_being_read_counts_and_what_finds_no_room_is_passed_on() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    keys = [await stored(storage, 1_000_000) for _ in range(12)]
    slow = [await cached.open(key) for key in keys]
    readers = [await some(opened) for opened in slow]
    assert sum(isinstance(opened, FakeObject) for opened in slow) == 4, "the last four are not copied"
    for key, chunks, opened in zip(keys, readers, slow, strict=True):
        assert b"".join([chunk async for chunk in chunks]) == storage.objects[key][65_536:]
        await opened.aclose()
    assert cached._used_bytes == 0
    assert cached._kept.currsize == CAPACITY


@pytest.mark.parametrize("readers", [2, 5])
async def test_an_object_that_breaks_off_breaks_off_for_all_and_is_asked_for_anew(readers: int) -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    storage.breaks_off = StorageUnavailableError("It broke off.")
    opened = [await cached.open(key) for _ in range(readers)]
    failures = await asyncio.gather(*(taken(each) for each in opened[:-1]), return_exceptions=True)
    assert all(isinstance(failure, StorageUnavailableError) for failure in failures)
    storage.breaks_off = None
    assert await read(cached, key) == storage.objects[key], "although one reader still holds the broken copy"
    with pytest.raises(StorageUnavailableError):
        await taken(opened[-1])
    assert await read(cached, key) == storage.objects[key]
    assert len(storage.opened) == 2
    assert cached._used == {}
    assert cached._used_bytes == 0


async def test_an_object_that_ends_early_is_no_whole_one() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    opened = await cached.open(key)
    storage.opened[0]._data = storage.opened[0]._data[:100_000]
    with pytest.raises(StorageUnavailableError):
        await taken(opened)
    assert await read(cached, key) == storage.objects[key]


@pytest.mark.parametrize(
    "failure", [StorageUnavailableError("It is unavailable."), ObjectNotFoundError("There is none.")]
)
async def test_those_who_wait_for_an_opening_get_its_result(failure: Exception) -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    asked = 0

    async def fail(_: str) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise failure

    storage.before_open = fail
    found = await asyncio.gather(*(cached.open(key) for _ in range(20)), return_exceptions=True)
    assert all(type(each) is type(failure) for each in found)
    assert asked == 1
    storage.before_open = None
    assert await read(cached, key) == storage.objects[key]


async def test_an_opening_that_is_given_up_is_taken_over() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    hangs = asyncio.Event()

    async def hang(_: str) -> None:
        if not hangs.is_set():
            hangs.set()
            await asyncio.Event().wait()

    storage.before_open = hang
    first = asyncio.create_task(read(cached, key))
    await hangs.wait()
    second = asyncio.create_task(read(cached, key))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == storage.objects[key]
    with suppress(asyncio.CancelledError):
        await first


async def test_a_kept_picture_keeps_nothing_of_where_it_came_from() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key, empty = await stored(storage), await stored(storage, 0)
    await read(cached, key)
    assert await read(cached, empty) == b""
    assert all(opened.closed for opened in storage.opened)
    assert all(copy._source is None and copy._coming is None for copy in cached._kept.values())
    assert await read(cached, key) == storage.objects[key]


async def test_a_deletion_forgets_at_once_and_its_readers_finish() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key, data = await stored(storage), b""
    data = storage.objects[key]
    reading = await cached.open(key)
    chunks = await some(reading)
    await cached.delete(key)
    with pytest.raises(ObjectNotFoundError):
        await cached.open(key)
    assert b"".join([chunk async for chunk in chunks]) == data[65_536:]
    await reading.aclose()
    with pytest.raises(ObjectNotFoundError):
        await cached.open(key)
    assert cached._kept.currsize == cached._used_bytes == 0


async def test_a_deletion_that_fails_forgets_too() -> None:
    storage = FakeStorage()
    cached = CachedImageStorage(storage, capacity=CAPACITY)
    key = await stored(storage)
    await read(cached, key)
    storage.failure = StorageUnavailableError("It is unavailable.")
    with pytest.raises(StorageUnavailableError):
        await cached.delete(key)
    with pytest.raises(StorageUnavailableError):
        await cached.open(key)


class CacheMachine(RuleBasedStateMachine):
    """Readers come, take chunks and leave, objects are deleted: the bytes are right, and their sum stays in bounds."""

    KEYS = tuple(f"{number:08x}-0000-4000-8000-000000000000.png" for number in range(6))

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.storage = FakeStorage()
        self.cached = CachedImageStorage(self.storage, capacity=1_600_000)
        self.readers: list[tuple[StoredObject, AsyncIterator[Chunk], bytes]] = []
        for number, key in enumerate(self.KEYS):
            self.run(self.storage.put(key, random.Random(number).randbytes(200_000), content_type="image/png"))

    def run(self, work: Awaitable[Any]) -> Any:
        """The result of work on the machine's loop."""
        return self.loop.run_until_complete(work)

    @rule(key=st.sampled_from(KEYS), part=st.none() | st.tuples(st.integers(0, 150_000), st.integers(1, 50_000)))
    def open(self, key: str, part: tuple[int, int] | None) -> None:
        wanted = None if part is None else range(part[0], part[0] + part[1])
        data = self.storage.objects.get(key)
        if data is None:
            with pytest.raises(ObjectNotFoundError):
                self.run(self.cached.open(key, part=wanted))
            return
        opened = self.run(self.cached.open(key, part=wanted))
        assert opened.size_bytes == len(data)
        self.readers.append((opened, aiter(opened), data if wanted is None else data[wanted.start : wanted.stop]))

    @rule(number=st.integers(0, 20), chunks=st.integers(1, 5))
    def take(self, number: int, chunks: int) -> None:
        if not self.readers:
            return
        position = number % len(self.readers)
        opened, chunks_left, data = self.readers[position]
        for _ in range(chunks):
            chunk = self.run(anext(chunks_left, None))
            if chunk is None:
                assert data == b""
                self.run(opened.aclose())
                del self.readers[position]
                return
            assert data.startswith(bytes(chunk))
            data = data[len(chunk) :]
        self.readers[position] = (opened, chunks_left, data)

    @rule(number=st.integers(0, 20))
    def leave(self, number: int) -> None:
        if self.readers:
            opened, _, _ = self.readers.pop(number % len(self.readers))
            self.run(opened.aclose())

    @rule(key=st.sampled_from(KEYS))
    def delete(self, key: str) -> None:
        self.run(self.cached.delete(key))

    @rule(key=st.sampled_from(KEYS))
    def put(self, key: str) -> None:
        data = random.Random(key).randbytes(200_000)
        if self.storage.objects.get(key) is None:
            self.run(self.cached.put(key, data, content_type="image/png"))

    @invariant()
    def it_is_within_its_bound(self) -> None:
        read = (reader._copy for reader, _, _ in self.readers if isinstance(reader, Reader))
        copies = {*self.cached._used.values(), *read}
        held = sum(copy.size_bytes for copy in copies)
        assert held == self.cached._used_bytes
        assert held + self.cached._kept.currsize <= 1_600_000

    def teardown(self) -> None:
        for opened, _, _ in self.readers:
            self.run(opened.aclose())
        assert self.cached._used == {}
        assert self.cached._used_bytes == 0
        assert all(opened.closed for opened in self.storage.opened)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


# Records


class CountingImages(FakeImageRepository):
    """Counts reads of records, and can wait before its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.before: Callable[[], Awaitable[object]] | None = None

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        self.asked += 1
        image = await super().get(guid)
        if self.before is not None:
            await self.before()
        return image


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def images() -> CountingImages:
    """The records behind the cache, with one image."""
    images = CountingImages()
    image = an_image()
    images.images[image.guid] = image
    return images


@pytest.fixture
def image(images: CountingImages) -> Image:
    """The image."""
    return next(iter(images.images.values()))


async def test_a_record_is_valid_for_so_long_and_no_longer(images: CountingImages, image: Image) -> None:
    clock = Clock()
    cached = CachedImageRepository(images, ttl=30, clock=clock)
    for seconds, asked in ((0, 1), (29.9, 1), (0.1, 2), (29.9, 2), (100, 3)):
        clock.now += seconds
        assert await cached.get(image.guid) == image
        assert images.asked == asked


async def test_the_time_counts_from_before_the_record_was_read(images: CountingImages, image: Image) -> None:
    clock = Clock()

    async def slowly() -> None:
        clock.now += 20

    images.before = slowly
    cached = CachedImageRepository(images, ttl=30, clock=clock)
    await cached.get(image.guid)
    clock.now += 9
    await cached.get(image.guid)
    assert images.asked == 1
    clock.now += 1
    await cached.get(image.guid)
    assert images.asked == 2


async def test_what_was_deleted_elsewhere_is_gone_when_its_time_is_over(images: CountingImages, image: Image) -> None:
    clock = Clock()
    here, there = (CachedImageRepository(images, ttl=30, clock=clock) for _ in range(2))
    await here.get(image.guid)
    await there.get(image.guid)
    await there.mark_deleted(image.guid)
    with pytest.raises(ImageNotFoundError):
        await there.get(image.guid)
    assert await here.get(image.guid) == image
    clock.now += 30
    with pytest.raises(ImageNotFoundError):
        await here.get(image.guid)


async def test_a_record_that_is_not_found_any_more_leaves_the_memory(images: CountingImages, image: Image) -> None:
    clock = Clock()
    images.images[image.guid] = image.model_copy()
    held = weakref.ref(images.images[image.guid])
    cached = CachedImageRepository(images, ttl=30, clock=clock)
    await cached.get(image.guid)
    del images.images[image.guid]
    clock.now += 30
    with pytest.raises(ImageNotFoundError):
        await cached.get(image.guid)
    await asyncio.sleep(0)  # the event loop forgets the lookup
    gc.collect()
    assert held() is None, "its prompt is in it"


async def test_a_record_that_was_being_read_when_it_was_deleted_is_not_kept(
    images: CountingImages, image: Image
) -> None:
    cached = CachedImageRepository(images, ttl=30)
    deleted = asyncio.Event()
    images.before = deleted.wait
    reading = asyncio.create_task(cached.get(image.guid))
    await asyncio.sleep(0.01)
    images.before = None
    await cached.mark_deleted(image.guid)
    deleted.set()
    assert await reading == image, "it was asked for before"
    with pytest.raises(ImageNotFoundError):
        await cached.get(image.guid)


async def test_what_is_asked_for_fresh_is_read_anew_and_remembered(images: CountingImages, image: Image) -> None:
    cached = CachedImageRepository(images, ttl=30)
    await cached.get(image.guid)
    changed = image.model_copy(update={"prompt": "another"})
    images.images[image.guid] = changed
    assert await cached.get(image.guid) == image
    assert await cached.get(image.guid, fresh=True) == changed
    assert await cached.get(image.guid) == changed
    assert images.asked == 2


async def test_the_records_are_bounded_by_their_bytes_and_not_by_their_number(
    images: CountingImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pixyproxy.data.cached.SIZE", 500_000)
    cached = CachedImageRepository(images, ttl=30)
    for _ in range(30):
        long = an_image(prompt="x" * 32_000)
        images.images[long.guid] = long
        await cached.get(long.guid)
    assert len(cached._memory._found) == 3
    assert cached._memory._found.currsize <= 500_000


async def test_readers_at_the_same_time_ask_once_and_that_there_is_none_is_remembered_for_a_second(
    images: CountingImages, image: Image
) -> None:
    clock = Clock()
    cached = CachedImageRepository(images, ttl=30, clock=clock)
    assert await asyncio.gather(*(cached.get(image.guid) for _ in range(50))) == [image] * 50
    assert images.asked == 1
    later = an_image()
    found = await asyncio.gather(*(cached.get(later.guid) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, ImageNotFoundError) for each in found)
    assert images.asked == 2
    images.images[later.guid] = later
    clock.now += 1
    assert await cached.get(later.guid) == later


async def test_without_a_time_to_live_every_reader_asks(images: CountingImages, image: Image) -> None:
    cached = CachedImageRepository(images, ttl=0)
    await asyncio.gather(*(cached.get(image.guid) for _ in range(5)))
    later = an_image()
    with pytest.raises(ImageNotFoundError):
        await cached.get(later.guid)
    images.images[later.guid] = later
    assert await cached.get(later.guid) == later
    assert images.asked == 7


async def test_a_reader_that_leaves_takes_no_record_from_the_others(images: CountingImages, image: Image) -> None:
    cached = CachedImageRepository(images, ttl=30)
    answered = asyncio.Event()
    images.before = answered.wait
    first, second = (asyncio.create_task(cached.get(image.guid)) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    answered.set()
    assert await second == image
    assert images.asked == 1
