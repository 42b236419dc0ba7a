"""Strangers: requests with keys and guids that this process has never found take nothing from the others."""

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pymysql
import pytest
from pydantic import SecretStr

from pixyproxy.bootstrap.adapters import make_storage
from pixyproxy.bootstrap.app import build
from pixyproxy.core.exceptions import DatabaseUnavailableError, ImageNotFoundError, NotFoundError
from pixyproxy.core.images import Image
from pixyproxy.core.keys import ApiKey
from pixyproxy.core.threads import Gate
from pixyproxy.data.cached import UNSEEN_IMAGES, CachedImageRepository
from pixyproxy.data.cached_keys import KEY_TTL, UNSEEN_KEYS, CachedApiKeyRepository
from pixyproxy.data.init import migrate
from pixyproxy.data.lookups import ABSENT, Memory
from pixyproxy.service.keys import digest, new_key
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.public import PublicImageService
from pixyproxy.settings import Settings
from pixyproxy.web.app import create_app
from tests import planted
from tests.examples import an_image
from tests.fakes import FakeApiKeyRepository, FakeImageRepository
from tests.servers import MariaDB, wait_until
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class SlowKeys(FakeApiKeyRepository):
    """Counts its lookups, and does `before_answer` in those that find nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.before_answer: Callable[[], Awaitable[object]] | None = None

    async def get(self, *, sha256: str) -> ApiKey:
        self.lookups += 1
        if sha256 not in self.keys and self.before_answer is not None:
            await self.before_answer()
            raise NotFoundError("There is none.")  # whatever was added meanwhile
        return await super().get(sha256=sha256)


class SlowImages(FakeImageRepository):
    """Counts its lookups, and does `before_answer` in those that find nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lookups = 0
        self.before_answer: Callable[[], Awaitable[object]] | None = None

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        self.lookups += 1
        if guid not in self.images and self.before_answer is not None:
            await self.before_answer()
            raise ImageNotFoundError
        return await super().get(guid)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


async def add_key(keys: CachedApiKeyRepository | FakeApiKeyRepository, name: str) -> str:
    """The digest of a new key."""
    sha256 = digest(new_key())
    await keys.add(name=name, prefix="pxp_1234", sha256=sha256)
    return sha256


async def test_a_flood_of_unknown_keys_holds_few_lookups_and_known_keys_do_not_wait_for_it() -> None:
    records, clock = SlowKeys(), Clock()
    keys = CachedApiKeyRepository(records, clock=clock)
    known = await add_key(keys, "customer")
    await keys.get(sha256=known)
    answer = asyncio.Event()
    records.before_answer = answer.wait
    before = records.lookups
    flood = [asyncio.create_task(keys.get(sha256=digest(new_key()))) for _ in range(500)]
    await settle()
    assert records.lookups - before == UNSEEN_KEYS
    for _ in range(3):
        assert (await keys.get(sha256=known)).name == "customer"
        clock.now += 3600  # its record is no longer valid: it is read again, beside the flood
    answer.set()
    assert {type(each) for each in await asyncio.gather(*flood, return_exceptions=True)} == {NotFoundError}


async def test_a_flood_of_unknown_guids_holds_few_lookups_and_known_images_do_not_wait_for_it() -> None:
    records, clock = SlowImages(), Clock()
    read, listed = an_image(), an_image()
    records.images = {image.guid: image for image in (read, listed)}
    for ttl in (30, 0):
        images = CachedImageRepository(records, ttl=ttl, clock=clock)
        await images.get(read.guid)
        await images.search(limit=10)
        answer = asyncio.Event()
        records.before_answer = answer.wait
        before = records.lookups
        flood = [asyncio.create_task(images.get(uuid4())) for _ in range(500)]
        await settle()
        assert records.lookups - before == UNSEEN_IMAGES
        for _ in range(3):
            assert [await images.get(image.guid) for image in (read, listed)] == [read, listed]
            clock.now += 3600
        answer.set()
        assert {type(each) for each in await asyncio.gather(*flood, return_exceptions=True)} == {ImageNotFoundError}


async def test_a_valid_key_that_was_never_seen_has_its_turn_behind_the_flood() -> None:
    records = SlowKeys()
    keys = CachedApiKeyRepository(records)
    cold = await add_key(records, "made elsewhere")
    records.before_answer = settle
    flood = [asyncio.create_task(keys.get(sha256=digest(new_key()))) for _ in range(100)]
    await asyncio.sleep(0)
    assert (await keys.get(sha256=cold)).name == "made elsewhere"
    await asyncio.gather(*flood, return_exceptions=True)


async def test_a_lookup_that_waits_too_long_among_strangers_is_refused_and_can_be_repeated() -> None:
    records = SlowKeys()
    answer = asyncio.Event()
    records.before_answer = answer.wait
    cold = await add_key(records, "made elsewhere")
    memory: Memory[str, ApiKey] = Memory(
        lambda sha256: records.get(sha256=sha256),
        absent=lambda: NotFoundError("There is none."),
        gate=Gate(1, patience=0.01, busy=lambda: DatabaseUnavailableError("Too many.")),
        ttl=30,
        capacity=10,
        size_of=lambda _: 1,
    )
    stranger = asyncio.create_task(memory.get(digest(new_key())))
    await settle()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError, match=r"Too many\."):
            await memory.get(cold)
    answer.set()
    with pytest.raises(NotFoundError):
        await stranger
    assert (await memory.get(cold)).name == "made elsewhere"


async def test_a_key_that_was_not_found_is_looked_up_once_a_second() -> None:
    records, clock = SlowKeys(), Clock()
    keys = CachedApiKeyRepository(records, clock=clock)
    wrong = digest(new_key())
    for seconds, lookups in ((0, 1), (0.9, 1), (0.1, 2), (0.9, 2)):
        clock.now += seconds
        with pytest.raises(NotFoundError):
            await keys.get(sha256=wrong)
        assert records.lookups == lookups
    await records.add(name="made elsewhere", prefix="pxp_1234", sha256=wrong)
    clock.now += 0.1
    assert (await keys.get(sha256=wrong)).name == "made elsewhere"


async def test_a_new_key_is_known_at_once_where_it_was_made_even_if_it_was_being_looked_up() -> None:
    records = SlowKeys()
    keys = CachedApiKeyRepository(records)
    asked_before, being_asked = digest(new_key()), digest(new_key())
    with pytest.raises(NotFoundError):
        await keys.get(sha256=asked_before)
    answer = asyncio.Event()
    records.before_answer = answer.wait
    early = asyncio.create_task(keys.get(sha256=being_asked))
    await settle()
    for name, sha256 in (("first", asked_before), ("second", being_asked)):
        await keys.add(name=name, prefix="pxp_1234", sha256=sha256)
        assert (await keys.get(sha256=sha256)).name == name
    answer.set()
    with pytest.raises(NotFoundError):
        await early
    assert (await keys.get(sha256=being_asked)).name == "second"


async def test_a_revoked_key_is_out_at_once_where_it_was_revoked_and_elsewhere_soon() -> None:
    records, clock = FakeApiKeyRepository(), Clock()
    here, there = (CachedApiKeyRepository(records, clock=clock) for _ in range(2))
    sha256 = await add_key(here, "laptop")
    for keys in (here, there):
        assert (await keys.get(sha256=sha256)).revoked_at is None
    await here.revoke(name="laptop")
    assert (await here.get(sha256=sha256)).revoked_at is not None
    clock.now += KEY_TTL
    assert (await there.get(sha256=sha256)).revoked_at is not None
    assert KEY_TTL <= 2


async def test_what_was_not_found_takes_a_bounded_number_of_bytes() -> None:
    keys = CachedApiKeyRepository(FakeApiKeyRepository())
    tracemalloc.start()
    try:
        for _ in range(2 * ABSENT):
            with pytest.raises(NotFoundError):
                await keys.get(sha256=digest(new_key()))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(keys._memory._absent) == ABSENT
    assert held < 6_000_000


async def test_an_image_that_was_requested_too_early_is_found_once_an_answer_names_it() -> None:
    stage = Stage()
    cached = CachedImageRepository(stage.images, ttl=30, clock=Clock())
    private = PrivateImageService(
        replace(stage.stores, images=cached),
        callers=stage.callers,
        runner=stage.runner,
        models=stage.services.models,
        quality=None,
        sync_wait=50,
        ending=stage.readiness.ending,
    )
    public = PublicImageService(images=cached, storage=stage.storage)
    stage.app = create_app(replace(stage.services, public=public, private=private), version="test")
    drawn = asyncio.Event()
    stage.generator.before = drawn.wait
    async with stage.client() as client:
        running = await client.post("/image", json={"prompt": "a dot"}, headers={"Prefer": "respond-async"})
        generation = stage.generations.generations[UUID(running.json()["guid"])]
        url = f"/image/{generation.image_guid(0)}"
        assert (await client.get(url)).status_code == 404
        drawn.set()
        await stage.runner.drain()
        assert (await client.get(url)).status_code == 404, "nobody was told of it yet"
        assert (await client.get(running.headers["Location"])).json()["state"] == "succeeded"
        assert (await client.get(url)).status_code == 200


async def test_keys_that_hang_in_the_database_refuse_neither_a_customer_nor_a_reader(
    mariadb: MariaDB, unique: Callable[[], str], tmp_path: Path
) -> None:
    url = mariadb.create(name := unique())
    migrate(url)
    settings = Settings(
        database_url=SecretStr(url),
        storage_url=f"file:{tmp_path}/images",
        data_dir=tmp_path,
        api_key=SecretStr(planted.API_KEY),
        demo=True,
    )
    parts = build(settings)
    await make_storage(parts.adapters)
    transport = httpx2.ASGITransport(app=create_app(parts.services, version="test"))
    async with parts.background(), httpx2.AsyncClient(transport=transport, base_url="http://pixy.test") as client:
        body = {"prompt": "a dot", "size": "32x16"}
        bought = await client.post("/image", json=body, headers=KEY)
        assert bought.status_code == 201
        with lock_table(mariadb, "api_keys", database=f"test_{name}"):
            strangers = [
                asyncio.create_task(client.get("/image", headers={"Authorization": f"Bearer {new_key()}"}))
                for _ in range(30)
            ]
            await asyncio.to_thread(
                wait_until, lambda: lookups_of_keys(mariadb), seconds=10, what="a lookup that waits for the lock"
            )
            answers = [
                await client.get("/image", headers=KEY),
                await client.get(f"/image/{uuid4()}"),
                await client.get(f"/image/{bought.json()['guid']}"),
                await client.post("/image", json=body, headers={**KEY, "Idempotency-Key": "one"}),
            ]
        assert [answer.status_code for answer in answers] == [200, 404, 200, 201]
        assert {(await stranger).status_code for stranger in strangers} <= {401, 503}


@contextmanager
def lock_table(mariadb: MariaDB, table: str, *, database: str) -> Iterator[None]:
    """No other connection reads the table until the block ends."""
    socket = str(mariadb.folder / "socket")
    with pymysql.connect(unix_socket=socket, user="root", database=database) as connection:
        connection.cursor().execute(f"LOCK TABLES {table} WRITE")
        yield


def lookups_of_keys(mariadb: MariaDB) -> None:
    """Raises unless one runs now."""
    assert mariadb.query("SELECT id FROM information_schema.processlist WHERE info LIKE %s", "SELECT%FROM api_keys%")
