"""Slow searches: they are ended, they say so, and nothing but other searches and lists waits for them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pixyproxy.core.exceptions import DatabaseUnavailableError, ImageNotFoundError, NotFoundError, SearchTooSlowError
from pixyproxy.core.images import Image, ImagePage
from pixyproxy.core.limits import DatabaseLimits
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from tests.examples import a_drawing, a_generation, an_image
from tests.fakes import FakeImageRepository
from tests.servers import SqlServer
from tests.stage import Stage

pytestmark = pytest.mark.anyio

COLUMNS = """
    id, guid, generation_id, api_key_id, filename, prompt, content_type, size_bytes, width, height, sha256, model,
    sources, thumbhash, created_at, updated_at, {deleted_at} AS deleted_at
"""
LIMITS = DatabaseLimits(statement=2, read_wait=1)
"""A search may take longer than others wait for a thread: one that waits behind searches is refused."""
SLOW = {
    "mariadb": "IF(SLEEP(6) = 0, {0}, {0})",
    "mysql": "IF(BENCHMARK(1000000000, SHA2('a', 512)) = 0, {0}, {0})",  # its SLEEP ends early, without an error
    "sqlite": """{0} || (
        WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers LIMIT 1000000000000)
        SELECT SUBSTR('', MAX(number)) FROM numbers)""",
}
"""A column, which takes longer to read than a search may take."""


@dataclass(frozen=True)
class Opened:
    """A database with one image, and a way to run SQL past PixyProxy."""

    database: SqlDatabase
    image: Image
    run: Callable[[str], object]
    kind: str

    def slow_down(self) -> None:
        """From now on each look at an image of a list, or at a word of a prompt, takes seconds."""
        slow_deleted_at, slow_term = (SLOW[self.kind].format(column) for column in ("deleted_at", "term"))
        self.run("ALTER TABLE images RENAME TO fast_images")
        self.run(f"CREATE VIEW images AS SELECT {COLUMNS.format(deleted_at=slow_deleted_at)} FROM fast_images")
        self.run("ALTER TABLE image_terms RENAME TO fast_terms")
        self.run(f"CREATE VIEW image_terms AS SELECT {slow_term} AS term, created_at, image_id FROM fast_terms")

    def speed_up(self) -> None:
        """As it was."""
        for view, table in (("images", "fast_images"), ("image_terms", "fast_terms")):
            self.run(f"DROP VIEW {view}")
            self.run(f"ALTER TABLE {table} RENAME TO {view}")

    def search(self, q: str | None) -> "asyncio.Task[ImagePage]":
        """A search that runs."""
        return asyncio.create_task(SqlImageRepository(self.database).search(limit=5, q=q))


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
async def opened(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> AsyncIterator[Opened]:
    """A database of this test alone."""
    name = unique()
    if request.param == "sqlite":
        file = tmp_path / "pixyproxy.db"
        url = f"sqlite:///{file}"

        def run(sql: str) -> object:
            with sqlite3.connect(file) as connection:
                return connection.execute(sql)
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        url = server.create(name)

        def run(sql: str) -> object:
            return server.query(sql, database=f"test_{name}")

    migrate(url)
    database, close = open_database(url, limits=LIMITS)
    generation = a_generation()
    image = an_image(generation)
    generations = SqlGenerationRepository(database)
    await generations.add(generation, lease=30)
    await generations.succeed(generation, images=(image,), drawing=a_drawing())
    yield Opened(database, image, run, request.param)
    close()


async def test_a_search_that_takes_too_long_is_ended_and_says_so_and_the_next_one_works(opened: Opened) -> None:
    opened.slow_down()
    searches = [opened.search("x"), opened.search(None)]
    with pytest.raises(SearchTooSlowError):
        await searches[0]
    with pytest.raises(DatabaseUnavailableError):  # a list without q cannot be narrowed: the database is too slow
        await searches[1]
    opened.speed_up()
    for _ in range(2 * LIMITS.searchers):
        assert (await opened.search(opened.image.prompt)).images == (opened.image,)


async def test_ten_slow_searches_refuse_no_key_no_picture_and_no_generation(opened: Opened) -> None:
    opened.slow_down()
    searches = [opened.search("x") for _ in range(10)]
    await asyncio.sleep(0.3)
    keys, generations = SqlApiKeyRepository(opened.database), SqlGenerationRepository(opened.database)
    for _ in range(20):
        with pytest.raises(NotFoundError):
            await keys.get(sha256="ab" * 32)
        with pytest.raises(ImageNotFoundError):
            await SqlImageRepository(opened.database).get(a_generation().guid)
    assert await generations.find(api_key_id=1, idempotency_key="none") is None
    await generations.add(a_generation(), lease=30)
    await opened.database.probe()
    failures = await asyncio.gather(*searches, return_exceptions=True)
    assert {type(failure) for failure in failures} <= {SearchTooSlowError, DatabaseUnavailableError}


async def test_a_search_that_is_too_slow_is_a_problem_of_its_own_and_does_not_say_try_again() -> None:
    class Slow(FakeImageRepository):
        async def search(
            self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
        ) -> ImagePage:
            raise SearchTooSlowError

    async with Stage(images=Slow()).client() as client:
        response = await client.get("/image?q=lighthouse")
    problem = response.json()
    assert (response.status_code, problem["type"]) == (422, "urn:pixyproxy:problem:search-too-slow")
    assert "retry-after" not in response.headers
    assert "limit" in problem["detail"]
    assert "again" not in problem["detail"]
