"""One contract for every implementation of the repositories: the fake, SQLite, and a real MariaDB."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseError,
    ImageNotFoundError,
    InvalidRequestError,
    NotFoundError,
)
from pixyproxy.core.models import GenerationRequest, GenerationState, Image
from pixyproxy.core.protocols import ApiKeyRepository, GenerationRepository, ImageRepository
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.conversions import cursor_after
from pixyproxy.data.database import Database
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from tests.examples import MOMENT, a_drawing, a_generation, an_image
from tests.fakes import FakeApiKeyRepository, FakeGenerationRepository, FakeImageRepository
from tests.servers import MariaDB

pytestmark = pytest.mark.anyio


@dataclass
class Repositories:
    """One implementation of each."""

    images: ImageRepository
    generations: GenerationRepository
    keys: ApiKeyRepository
    database: Database | None = None

    async def an_image_in(self, **values: object) -> Image:
        """A recorded image."""
        generation = a_generation()
        image = an_image(generation, **values)
        await self.generations.add(generation, lease=30)
        await self.generations.succeed(generation, images=(image,), drawing=a_drawing())
        return image


@pytest.fixture(params=["fake", "sqlite", "mariadb"])
def repositories(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> Iterator[Repositories]:
    """Empty repositories."""
    if request.param == "fake":
        images = FakeImageRepository()
        yield Repositories(images, FakeGenerationRepository(images), FakeApiKeyRepository())
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
    else:
        request.node.used_servers = ("mariadb",)
        url = request.getfixturevalue("mariadb").create(unique())
    migrate(url)
    database, close = open_database(url)
    yield Repositories(
        SqlImageRepository(database), SqlGenerationRepository(database), SqlApiKeyRepository(database), database
    )
    close()


SQL = pytest.mark.parametrize("repositories", ["sqlite", "mariadb"], indirect=True)

LONGEST = "🗼" * 32_000

PROMPTS = {
    "plain": "a lighthouse at dawn",
    "emoji": "👩🏽‍🚀 in a 🛶, at 🌅",
    "right to left": "منارة عند الفجر — מגדלור בשחר",
    "quotes and wildcards": '50% of "it" isn\'t `_` or \\ or ; -- :name',
    "lines": "one\ntwo\r\n\tthree",
    "longest": LONGEST,
}


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
async def test_a_prompt_comes_back_as_it_went_in(repositories: Repositories, prompt: str) -> None:
    image = await repositories.an_image_in(prompt=prompt)
    assert (await repositories.images.get(image.guid)).prompt == prompt


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
async def test_a_request_comes_back_as_it_went_in(repositories: Repositories, prompt: str) -> None:
    generation = a_generation(request=GenerationRequest(prompt=prompt, size="16x16", output_compression=0))
    await repositories.generations.add(generation, lease=30)
    assert await repositories.generations.get(generation.guid) == generation


async def test_an_image_comes_back_whole_with_aware_times_in_utc(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    found = await repositories.images.get(image.guid)
    assert found == image
    assert found.created_at == MOMENT
    assert found.created_at.utcoffset() == timedelta(0)
    assert found.created_at.microsecond == MOMENT.microsecond


async def test_an_unknown_image_is_not_found(repositories: Repositories) -> None:
    await repositories.an_image_in()
    with pytest.raises(ImageNotFoundError):
        await repositories.images.get(uuid4())


async def test_a_generation_succeeds_once(repositories: Repositories) -> None:
    generation = a_generation()
    image = an_image(generation)
    await repositories.generations.add(generation, lease=30)
    await repositories.generations.succeed(generation, images=(image,), drawing=a_drawing())
    found = await repositories.generations.get(generation.guid)
    assert (found.state, found.usage, found.upstream_request_id) == (
        GenerationState.SUCCEEDED,
        {"total_tokens": 3},
        "req_1",
    )
    with pytest.raises(ConflictError):
        await repositories.generations.succeed(generation, images=(image,), drawing=a_drawing())
    with pytest.raises(ConflictError):
        await repositories.generations.fail(generation, error={})


async def test_a_generation_fails_once_and_leaves_no_image(repositories: Repositories) -> None:
    generation = a_generation()
    await repositories.generations.add(generation, lease=30)
    await repositories.generations.fail(generation, error={"status": 502, "detail": "«nonsense» 🙈"})
    found = await repositories.generations.get(generation.guid)
    assert (found.state, found.error) == (GenerationState.FAILED, {"status": 502, "detail": "«nonsense» 🙈"})
    with pytest.raises(ConflictError):
        await repositories.generations.succeed(generation, images=(an_image(generation),), drawing=a_drawing())
    with pytest.raises(ImageNotFoundError):
        await repositories.images.get(generation.image_guid(0))


async def test_several_images_of_a_generation_are_recorded_together(repositories: Repositories) -> None:
    generation = a_generation()
    images = tuple(an_image(generation, guid=generation.image_guid(index)) for index in range(3))
    await repositories.generations.add(generation, lease=30)
    await repositories.generations.succeed(generation, images=images, drawing=a_drawing())
    assert {image.guid for image in (await repositories.images.search(limit=10)).images} == {
        image.guid for image in images
    }


async def test_a_generation_is_added_once(repositories: Repositories) -> None:
    generation = a_generation()
    await repositories.generations.add(generation, lease=30)
    with pytest.raises(ConflictError):
        await repositories.generations.add(generation, lease=30)


async def test_an_unknown_generation_is_not_found(repositories: Repositories) -> None:
    with pytest.raises(NotFoundError):
        await repositories.generations.get(uuid4())


async def test_the_list_is_newest_first_and_its_pages_meet(repositories: Repositories) -> None:
    # Three of them share a moment: the guid decides, and no page skips or repeats one.
    moments = [MOMENT + timedelta(seconds=second) for second in (0, 1, 1, 1, 2, 3, 4)]
    images = [await repositories.an_image_in(created_at=moment) for moment in moments]
    expected = sorted(images, key=lambda image: (image.created_at, str(image.guid)), reverse=True)
    found: list[Image] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await repositories.images.search(limit=2, cursor=cursor)
        assert len(page.images) <= 2
        found, cursor, pages = [*found, *page.images], page.next_cursor, pages + 1
    assert found == expected
    assert pages == 4


async def test_a_full_last_page_has_no_cursor(repositories: Repositories) -> None:
    for _ in range(2):
        await repositories.an_image_in()
    assert (await repositories.images.search(limit=2)).next_cursor is None


async def test_an_empty_list_is_an_empty_page(repositories: Repositories) -> None:
    page = await repositories.images.search(limit=2)
    assert (page.images, page.next_cursor) == ((), None)


@pytest.mark.parametrize(
    ("q", "hit", "miss"),
    [
        ("LightHouse", "a lighthouse at dawn", "a light house"),
        ("50%", "about 50% grey", "about 500 greys"),
        ("a_b", "the a_b of it", "the aXb of it"),
        ("!", "look!", "look"),
        ("\\", "back\\slash", "backslash"),
        ("'; DROP TABLE images; --", "x'; DROP TABLE images; --", "x"),
    ],
)
async def test_a_search_finds_what_the_prompt_contains_literally(
    repositories: Repositories, q: str, hit: str, miss: str
) -> None:
    found = await repositories.an_image_in(prompt=hit)
    await repositories.an_image_in(prompt=miss)
    assert (await repositories.images.search(limit=10, q=q)).images == (found,)


@pytest.mark.parametrize("cursor", ["x", "", "====", "bm90IGEgY3Vyc29y", "MjAyNi0xMS0yMnwx", "é" * 10, "A" * 200])
async def test_a_forged_cursor_is_refused(repositories: Repositories, cursor: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await repositories.images.search(limit=2, cursor=cursor)
    assert caught.value.extra["errors"][0]["pointer"] == "?cursor"


async def test_a_key_is_found_by_its_digest_listed_and_revoked_once(repositories: Repositories) -> None:
    made = await repositories.keys.add(name="laptop", prefix="pxp_abcd", sha256="1" * 64)
    other = await repositories.keys.add(name="ci", prefix="pxp_efgh", sha256="2" * 64)
    assert await repositories.keys.get(sha256="1" * 64) == made
    assert await repositories.keys.list() == (made, other)
    assert (made.name, made.prefix, made.revoked_at) == ("laptop", "pxp_abcd", None)
    await repositories.keys.revoke(name="laptop")
    revoked = await repositories.keys.get(sha256="1" * 64)
    assert revoked.revoked_at is not None
    assert revoked.revoked_at.utcoffset() == timedelta(0)
    with pytest.raises(NotFoundError):
        await repositories.keys.revoke(name="laptop")


async def test_a_key_name_and_a_digest_are_used_once(repositories: Repositories) -> None:
    await repositories.keys.add(name="laptop", prefix="pxp_abcd", sha256="1" * 64)
    await repositories.keys.revoke(name="laptop")
    with pytest.raises(ConflictError):
        await repositories.keys.add(name="laptop", prefix="pxp_abcd", sha256="3" * 64)
    with pytest.raises(ConflictError):
        await repositories.keys.add(name="desk", prefix="pxp_abcd", sha256="1" * 64)


async def test_an_unknown_key_is_not_found(repositories: Repositories) -> None:
    with pytest.raises(NotFoundError):
        await repositories.keys.get(sha256="4" * 64)


@SQL
async def test_a_deleted_image_is_never_answered(repositories: Repositories) -> None:
    assert repositories.database is not None
    image = await repositories.an_image_in()
    await repositories.database.execute("UPDATE images SET deleted_at = '2026-11-22 10:00:00.000000'")
    with pytest.raises(ImageNotFoundError):
        await repositories.images.get(image.guid)
    assert (await repositories.images.search(limit=10)).images == ()


@SQL
async def test_images_of_an_unrecorded_success_leave_nothing(repositories: Repositories) -> None:
    generation = a_generation()
    await repositories.generations.add(generation, lease=30)
    image = an_image(generation)
    assert repositories.database is not None
    with pytest.raises(ConflictError):  # the second image has the first one's guid: both go
        await repositories.generations.succeed(generation, images=(image, image), drawing=a_drawing())
    assert (await repositories.generations.get(generation.guid)).state is GenerationState.RUNNING
    with pytest.raises(ImageNotFoundError):
        await repositories.images.get(image.guid)


@SQL
async def test_a_statement_that_the_database_refuses_is_a_fault_of_ours(repositories: Repositories) -> None:
    assert repositories.database is not None
    with pytest.raises(DatabaseError) as caught:
        await repositories.database.execute("INSERT INTO nowhere VALUES (:secret)", secret="s3")
    assert "s3" not in str(caught.value.__cause__)


async def test_a_late_page_reads_no_more_rows_than_the_first(mariadb: MariaDB, unique: Callable[[], str]) -> None:
    url = mariadb.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    await SqlGenerationRepository(database).add(a_generation(), lease=30)
    mariadb.query(
        "INSERT INTO images (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, "
        "model, created_at, updated_at) SELECT UUID(), 1, UUID(), 'a dot', 'image/png', 1, 1, 1, REPEAT('0', 64), 'm', "
        "'2026-01-01' + INTERVAL seq DIV 3 SECOND, '2026-01-01' FROM seq_1_to_20000",
        database=f"test_{name}",
    )
    mariadb.query("ANALYZE TABLE images", database=f"test_{name}")

    async def rows_read(cursor: str | None) -> tuple[int, str | None]:
        def count() -> int:
            return sum(int(value) for _, value in mariadb.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'"))

        noise = -count() + count()
        before = count()
        page = await SqlImageRepository(database).search(limit=50, cursor=cursor)
        assert len(page.images) == 50
        return count() - before - noise, page.next_cursor

    first, _ = await rows_read(None)
    last, _ = await rows_read(cursor_after(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), uuid4()))
    assert 50 <= first < 60
    assert 50 <= last < 65, "three images share a second: a few rows of the cursor's own second are read again"
    close()
