"""One contract for every implementation of the repositories: the fake, SQLite, a real MySQL and a real MariaDB."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseError,
    GenerationInterruptedError,
    GenerationNotFoundError,
    ImageNotFoundError,
    InvalidRequestError,
    NotFoundError,
    UpstreamDeadlineError,
)
from pixyproxy.core.generations import (
    Generation,
    GenerationPage,
    GenerationRequest,
    GenerationState,
    Origin,
    RecordedRequest,
)
from pixyproxy.core.images import DeletedImage, Image
from pixyproxy.core.limits import ANSWERED_WITHIN
from pixyproxy.core.protocols import (
    AdoptionRepository,
    ApiKeyRepository,
    GenerationRepository,
    ImageRepository,
    ParkedImageRepository,
)
from pixyproxy.data import settling
from pixyproxy.data.adoption import SqlAdoptionRepository
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.data.cached_keys import CachedApiKeyRepository
from pixyproxy.data.conversions import column_to_time, cursor_after, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.instance import SqlInstanceRepository
from pixyproxy.data.parked import SqlParkedImageRepository
from pixyproxy.data.search import SqlImageSearch
from pixyproxy.data.settling import PART
from tests.examples import MOMENT, a_drawing, a_generation, an_image, an_input
from tests.fakes import (
    FakeAdoptionRepository,
    FakeApiKeyRepository,
    FakeGenerationRepository,
    FakeImageRepository,
    FakeParkedImageRepository,
)
from tests.servers import MySQL, SqlServer

pytestmark = pytest.mark.anyio


LONG = 1000
"""Seconds of a lease that does not run out while a test runs."""
REFUSED: dict[str, object] = {"type": "urn:pixyproxy:problem:upstream-refused", "cost": "none"}
INTERRUPTED = GenerationInterruptedError().document()


@dataclass
class Repositories:
    """One implementation of each."""

    images: ImageRepository
    generations: GenerationRepository
    parked: ParkedImageRepository
    adoption: AdoptionRepository
    keys: ApiKeyRepository
    database: SqlDatabase | None = None

    async def an_image_in(self, **values: object) -> Image:
        """A recorded image."""
        generation = a_generation()
        image = an_image(generation, **values)
        await self.generations.add(generation, lease=30)
        await self.generations.succeed(generation, images=(image,), drawing=a_drawing())
        return image

    async def a_generation_in(self, *, lease: float = LONG, **values: object) -> Generation:
        """A recorded generation that runs."""
        generation = a_generation(**values)
        await self.generations.add(generation, lease=lease)
        return generation

    async def a_failed_generation_in(
        self, *, error: dict[str, object] = REFUSED, lease: float = LONG, **values: object
    ) -> Generation:
        """A recorded generation that failed."""
        generation = await self.a_generation_in(lease=lease, **values)
        await self.generations.fail(generation, error=error)
        return generation

    async def state_of(self, generation: Generation) -> GenerationState:
        """The state as it is recorded."""
        return (await self.generations.get(generation.guid)).state

    async def expired(self) -> list[UUID]:
        """The guids of those whose lease has run out."""
        return [generation.guid for generation in (await self.generations.expired(limit=100)).generations]


@pytest.fixture(params=["fake", "cached", "sqlite", "mysql", "mariadb"])
def repositories(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique: Callable[[], str],
    migrated: dict[str, str],
    migrated_file: Path,
) -> Iterator[Repositories]:
    """Empty repositories."""
    if request.param in ("fake", "cached"):
        fake = FakeImageRepository()
        images = CachedImageRepository(fake, ttl=30) if request.param == "cached" else fake
        generations = FakeGenerationRepository(fake)
        keys = FakeApiKeyRepository()
        yield Repositories(
            images,
            generations,
            FakeParkedImageRepository(generations),
            FakeAdoptionRepository(generations),
            CachedApiKeyRepository(keys) if request.param == "cached" else keys,
        )
        return
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
        shutil.copyfile(migrated_file, tmp_path / "pixyproxy.db")
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        if request.param not in migrated:
            migrated[request.param] = server.create(unique())
            migrate(migrated[request.param])
        url = migrated[request.param]
        for table in ("images", "image_terms", "parked_images", "generations", "api_keys WHERE id <> 0"):
            server.query(f"DELETE FROM {table}", database=url.rpartition("/")[2])
    database, close = open_database(url)
    yield Repositories(
        SqlImageRepository(database),
        SqlGenerationRepository(database),
        SqlParkedImageRepository(database),
        SqlAdoptionRepository(database),
        SqlApiKeyRepository(database),
        database,
    )
    close()


SQL = pytest.mark.parametrize("repositories", ["sqlite", "mysql", "mariadb"], indirect=True)


@SQL
async def test_a_database_has_one_id(repositories: Repositories) -> None:
    database = repositories.database
    assert database is not None
    instance = await SqlInstanceRepository(database).get()
    assert await SqlInstanceRepository(database).get() == instance
    await database.execute("DELETE FROM instance")
    with pytest.raises(DatabaseError):
        await SqlInstanceRepository(database).get()


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
    request = GenerationRequest(prompt=prompt, size="16x16", output_compression=0)
    generation = a_generation(request=RecordedRequest(values=request.values()))
    await repositories.generations.add(generation, lease=30)
    assert await repositories.generations.get(generation.guid) == generation


async def test_an_image_comes_back_whole_with_aware_times_in_utc(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    found = await repositories.images.get(image.guid)
    assert found == image
    assert found.created_at == MOMENT
    assert found.created_at.utcoffset() == timedelta(0)
    assert found.created_at.microsecond == MOMENT.microsecond


async def test_an_image_comes_back_with_what_it_was_edited_from(repositories: Repositories) -> None:
    sources = (an_input(guid=uuid4()), an_input(role="mask", content_type="image/png"))
    image = await repositories.an_image_in(sources=sources)
    assert (await repositories.images.get(image.guid)).sources == sources
    assert (await repositories.images.search(limit=1)).images == (image,)


async def test_an_image_gets_one_thumbhash_and_keeps_it(repositories: Repositories) -> None:
    image, other = await repositories.an_image_in(), await repositories.an_image_in()
    assert image.thumbhash is None
    first = bytes(range(231, 256))
    for thumbhash in (first, b"\0second"):
        await repositories.images.add_thumbhash(image.guid, thumbhash)
        assert await repositories.images.get(image.guid) == image.model_copy(update={"thumbhash": first})
    assert await repositories.images.get(other.guid) == other
    found = {each.guid: each.thumbhash for each in (await repositories.images.search(limit=2)).images}
    assert found == {image.guid: first, other.guid: None}


async def test_an_image_that_is_gone_gets_no_thumbhash(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    await repositories.images.mark_deleted(image.guid)
    for gone in (image.guid, uuid4()):
        with pytest.raises(ImageNotFoundError):
            await repositories.images.add_thumbhash(gone, b"hash")
    assert (await repositories.images.list_deleted(limit=10)).images == (deleted(image),)


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
    assert not await repositories.generations.succeed(generation, images=(image,), drawing=a_drawing())
    assert await repositories.generations.get(generation.guid) == found
    with pytest.raises(ConflictError):
        await repositories.generations.fail(generation, error={})


def images_of(generation: Generation, number: int) -> tuple[Image, ...]:
    """So many images of a generation."""
    return tuple(an_image(generation, guid=generation.image_guid(index)) for index in range(number))


def deleted(image: Image) -> DeletedImage:
    """What is answered of an image that is marked as deleted."""
    return DeletedImage(guid=image.guid, filename=image.filename)


async def guids_of(repositories: Repositories, generation: Generation) -> list[UUID]:
    """The guids of the images that are recorded for a generation."""
    return [image.guid for image in (await repositories.generations.get(generation.guid)).images]


async def test_a_generation_is_completed_with_all_images_that_it_expects_or_not_at_all(
    repositories: Repositories,
) -> None:
    generation = await repositories.a_generation_in(expected_images=3)
    images = images_of(generation, 3)
    with pytest.raises(ConflictError):
        await repositories.generations.succeed(generation, images=images[:1])
    assert await repositories.state_of(generation) is GenerationState.RUNNING
    assert await guids_of(repositories, generation) == []
    assert await repositories.generations.succeed(generation, images=images)
    assert await guids_of(repositories, generation) == [image.guid for image in images]


async def test_an_upstream_that_sends_fewer_pictures_than_were_asked_for_is_believed(
    repositories: Repositories,
) -> None:
    generation = await repositories.a_generation_in(expected_images=3)
    images = images_of(generation, 2)
    drawing = a_drawing(pictures=(b"one", b"two"))
    assert await repositories.generations.succeed(generation, images=images, drawing=drawing)
    assert await guids_of(repositories, generation) == [image.guid for image in images]
    assert (await repositories.generations.get(generation.guid)).expected_images == 2


async def test_parking_records_how_many_pictures_there_are(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(expected_images=3)
    await repositories.parked.add(generation, a_drawing(pictures=(b"one", b"two")))
    assert (await repositories.generations.get(generation.guid)).expected_images == 2


async def test_a_second_success_changes_nothing_and_brings_no_deleted_image_back(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(expected_images=3)
    images = images_of(generation, 3)
    await repositories.generations.succeed(generation, images=images)
    assert not await repositories.generations.succeed(generation, images=images)
    assert await guids_of(repositories, generation) == [image.guid for image in images]
    for image in images:
        await repositories.images.mark_deleted(image.guid)
        await repositories.images.delete(image.guid)
        assert not await repositories.generations.succeed(generation, images=images)
        assert image.guid not in await guids_of(repositories, generation)
    assert await guids_of(repositories, generation) == []


async def test_the_prompt_goes_with_the_last_image_and_nothing_else_does(repositories: Repositories) -> None:
    request = RecordedRequest(values={"prompt": "a secret", "model": "gpt-image-2", "size": "16x16", "new": [1]})
    generation = await repositories.a_generation_in(
        request=request, expected_images=2, idempotency_key="order-1", fingerprint="ab" * 32
    )
    images = images_of(generation, 2)
    answer = {"size": "16x16", "revised_prompt": ["a secret in words of the upstream", None]}
    drawing = a_drawing(pictures=(b"", b""), answer=answer)
    await repositories.generations.succeed(generation, images=images, drawing=drawing)
    before = await repositories.generations.get(generation.guid)
    await repositories.images.mark_deleted(images[0].guid)
    left = await repositories.generations.get(generation.guid)
    assert (left.request, left.answer) == (request, answer)
    await repositories.images.mark_deleted(images[1].guid)
    after = await repositories.generations.get(generation.guid)
    assert after.request.values == {**request.values, "prompt": "[deleted]"}
    assert after.answer == {"size": "16x16"}
    assert after.model_copy(update={"request": request, "images": before.images, "answer": answer}) == before


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
    # Three of them share a moment: that recorded last comes first, and no page skips or repeats one.
    moments = [MOMENT + timedelta(seconds=second) for second in (0, 1, 1, 1, 2, 3, 4)]
    images = [await repositories.an_image_in(created_at=moment) for moment in moments]
    expected = [images[number] for number in (6, 5, 4, 3, 2, 1, 0)]
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
        ('"50%"', "about 50% grey", "about 50 greys"),
        ("a_b", "the a_b of it", "the aXb of it"),
        ('"a_b"', "the a_b of it", "the a b of it"),
        ('"!"', "look!", "look"),
        ('"\\"', "back\\slash", "backslash"),
        ("'; DROP TABLE images; --", "x'; DROP TABLE images; --", "x"),
    ],
)
async def test_a_search_finds_words_and_what_is_quoted_literally(
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


async def test_the_names_of_keys_are_found_by_their_ids_and_the_other_way_round(repositories: Repositories) -> None:
    keys = repositories.keys
    laptop = await keys.add(name="laptop", prefix="pxp_abcd", sha256="1" * 64)
    ci = await keys.add(name="ci", prefix="pxp_efgh", sha256="2" * 64)
    await keys.revoke(name="laptop")
    for _ in range(2):
        assert await keys.names([laptop.id, ci.id, 987_654]) == {laptop.id: "laptop", ci.id: "ci"}
        assert await keys.names([987_654]) == await keys.names([]) == {}
    assert await keys.find(name="ci") == ci
    assert (await keys.find(name="laptop")).id == laptop.id
    for name in ("Laptop", "laptop ", "", "nobody"):
        with pytest.raises(NotFoundError):
            await keys.find(name=name)


KEY = "order-66/A"


async def test_an_idempotency_key_is_used_once_by_a_caller(repositories: Repositories) -> None:
    first = await repositories.a_generation_in(api_key_id=1, idempotency_key=KEY, fingerprint="f" * 64)
    with pytest.raises(ConflictError):
        await repositories.a_generation_in(api_key_id=1, idempotency_key=KEY)
    other = await repositories.a_generation_in(api_key_id=2, idempotency_key=KEY)
    shouted = await repositories.a_generation_in(api_key_id=1, idempotency_key=KEY.lower())
    assert await repositories.generations.find(api_key_id=1, idempotency_key=KEY) == first
    assert await repositories.generations.find(api_key_id=2, idempotency_key=KEY) == other
    assert await repositories.generations.find(api_key_id=1, idempotency_key=KEY.lower()) == shouted
    assert await repositories.generations.find(api_key_id=1, idempotency_key="never") is None
    assert await repositories.generations.find(api_key_id=3, idempotency_key=KEY) is None


async def test_any_printable_key_of_255_characters_is_found_again(repositories: Repositories) -> None:
    for key in ("".join(map(chr, range(0x20, 0x7F))), "%_'\\;--:name " + "x" * 240):
        generation = await repositories.a_generation_in(idempotency_key=key)
        assert await repositories.generations.find(api_key_id=1, idempotency_key=key) == generation


async def test_a_settled_generation_keeps_its_key(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(idempotency_key=KEY)
    await repositories.generations.succeed(generation, images=(an_image(generation),))
    with pytest.raises(ConflictError):
        await repositories.a_generation_in(idempotency_key=KEY)


async def test_generations_without_a_key_never_collide(repositories: Repositories) -> None:
    first, second = await repositories.a_generation_in(), await repositories.a_generation_in()
    assert await repositories.generations.get(first.guid) == first
    assert await repositories.generations.get(second.guid) == second


async def test_of_many_requests_with_one_key_at_once_one_is_recorded(repositories: Repositories) -> None:
    outcomes = await asyncio.gather(
        *(repositories.a_generation_in(idempotency_key=KEY) for _ in range(10)), return_exceptions=True
    )
    recorded = [outcome for outcome in outcomes if isinstance(outcome, Generation)]
    assert [type(outcome) for outcome in outcomes if outcome not in recorded] == [ConflictError] * 9
    assert await repositories.generations.find(api_key_id=1, idempotency_key=KEY) == recorded[0]


async def test_a_failed_generation_hands_its_key_over_once(repositories: Repositories) -> None:
    failed = await repositories.a_failed_generation_in(idempotency_key=KEY)
    second = a_generation(idempotency_key=KEY)
    await repositories.generations.add(second, lease=LONG, instead_of=failed.guid)
    assert await repositories.generations.find(api_key_id=1, idempotency_key=KEY) == second
    assert (await repositories.generations.get(failed.guid)).idempotency_key is None
    third = a_generation(idempotency_key=KEY)
    with pytest.raises(ConflictError):
        await repositories.generations.add(third, lease=LONG, instead_of=failed.guid)
    with pytest.raises(GenerationNotFoundError):
        await repositories.generations.get(third.guid)


async def test_of_many_retries_of_a_failed_generation_one_is_recorded(repositories: Repositories) -> None:
    failed = await repositories.a_failed_generation_in(idempotency_key=KEY)
    many = [a_generation(idempotency_key=KEY) for _ in range(10)]
    outcomes = await asyncio.gather(
        *(repositories.generations.add(each, lease=LONG, instead_of=failed.guid) for each in many),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError"] * 9 + ["NoneType"]
    winner = many[outcomes.index(None)]
    assert await repositories.generations.find(api_key_id=1, idempotency_key=KEY) == winner


async def test_only_a_failed_generation_hands_its_key_over(repositories: Repositories) -> None:
    running = await repositories.a_generation_in(idempotency_key="running")
    succeeded = await repositories.a_generation_in(idempotency_key="succeeded")
    await repositories.generations.succeed(succeeded, images=(an_image(succeeded),))
    failed = await repositories.a_failed_generation_in(idempotency_key="failed")
    for guid, key in (
        (running.guid, "running"),
        (succeeded.guid, "succeeded"),
        (failed.guid, "another"),
        (uuid4(), "nobody"),
    ):
        with pytest.raises(ConflictError):
            await repositories.generations.add(a_generation(idempotency_key=key), lease=LONG, instead_of=guid)
    assert (await repositories.generations.get(failed.guid)).idempotency_key == "failed"


async def test_a_key_that_is_not_taken_over_stays_where_it_was(repositories: Repositories) -> None:
    failed = await repositories.a_failed_generation_in(idempotency_key=KEY)
    known = await repositories.a_generation_in()
    with pytest.raises(ConflictError):  # its guid exists: the key comes back with the transaction
        await repositories.generations.add(
            known.model_copy(update={"idempotency_key": KEY}), lease=LONG, instead_of=failed.guid
        )
    found = await repositories.generations.find(api_key_id=1, idempotency_key=KEY)
    assert found is not None
    assert found.guid == failed.guid


async def test_a_generation_has_its_images_in_their_order_and_no_deleted_one(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(idempotency_key=KEY)
    images = tuple(an_image(generation, guid=generation.image_guid(index)) for index in range(10))
    await repositories.generations.succeed(generation, images=images)
    await repositories.an_image_in()
    assert (await repositories.generations.get(generation.guid)).images == images
    await repositories.images.mark_deleted(images[3].guid)
    left = (*images[:3], *images[4:])
    assert (await repositories.generations.get(generation.guid)).images == left
    found = await repositories.generations.find(api_key_id=1, idempotency_key=KEY)
    assert found is not None
    assert found.images == left
    (listed,) = [
        each for each in (await repositories.generations.list(limit=9)).generations if each.guid == generation.guid
    ]
    assert listed.images == left


async def test_generations_are_listed_newest_first_and_their_pages_meet(repositories: Repositories) -> None:
    moments = [MOMENT + timedelta(seconds=second) for second in (2, 1, 1, 1, 0, 4, 3)]
    made = [await repositories.a_generation_in(created_at=moment) for moment in moments]
    expected = sorted(made, key=lambda each: (each.created_at, str(each.guid)), reverse=True)
    found: list[Generation] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await repositories.generations.list(limit=2, cursor=cursor)
        assert len(page.generations) <= 2
        found, cursor, pages = [*found, *page.generations], page.next_cursor, pages + 1
    assert found == expected
    assert pages == 4


async def test_generations_are_listed_by_their_state_page_by_page(repositories: Repositories) -> None:
    running = await repositories.a_generation_in()
    failed = [
        await repositories.a_failed_generation_in(created_at=MOMENT + timedelta(seconds=second)) for second in (1, 2)
    ]
    succeeded = await repositories.a_generation_in()
    await repositories.generations.succeed(succeeded, images=(an_image(succeeded),))

    async def guids(state: GenerationState) -> list[UUID]:
        page = await repositories.generations.list(limit=10, state=state)
        return [generation.guid for generation in page.generations]

    assert await guids(GenerationState.RUNNING) == [running.guid]
    assert await guids(GenerationState.SUCCEEDED) == [succeeded.guid]
    assert await guids(GenerationState.FAILED) == [failed[1].guid, failed[0].guid]
    first = await repositories.generations.list(limit=1, state=GenerationState.FAILED)
    rest = await repositories.generations.list(limit=1, state=GenerationState.FAILED, cursor=first.next_cursor)
    assert [each.guid for each in (*first.generations, *rest.generations)] == [failed[1].guid, failed[0].guid]
    assert rest.next_cursor is None


@pytest.mark.parametrize("state", [None, GenerationState.FAILED])
async def test_generations_are_listed_by_their_caller_page_by_page(
    repositories: Repositories, state: GenerationState | None
) -> None:
    made: list[Generation] = []
    for second in (2, 1, 1, 1, 0, 3):
        for api_key_id in (0, 1, 2):
            values: dict[str, Any] = {"created_at": MOMENT + timedelta(seconds=second), "api_key_id": api_key_id}
            await repositories.a_generation_in(**values)
            made.append(await repositories.a_failed_generation_in(**values))
    if state is None:
        made = list((await repositories.generations.list(limit=100)).generations)
    for api_key_id in (0, 2, 3):
        own = [each for each in made if each.api_key_id == api_key_id]
        expected = sorted(own, key=lambda each: (each.created_at, str(each.guid)), reverse=True)
        found: list[Generation] = []
        cursor, pages = None, 0
        while pages == 0 or cursor is not None:
            page = await repositories.generations.list(limit=2, cursor=cursor, state=state, api_key_id=api_key_id)
            found, cursor, pages = [*found, *page.generations], page.next_cursor, pages + 1
        assert [each.guid for each in found] == [each.guid for each in expected]
        assert pages == max(len(own) // 2, 1)


async def test_images_know_where_they_come_from(repositories: Repositories) -> None:
    one, other = await repositories.a_generation_in(api_key_id=7), await repositories.a_generation_in(api_key_id=0)
    pair = (an_image(one), an_image(one, guid=one.image_guid(1)))
    await repositories.generations.succeed(one, images=pair, drawing=a_drawing())
    single = an_image(other)
    await repositories.generations.succeed(other, images=(single,), drawing=a_drawing())
    images = {pair[0].guid: one, pair[1].guid: one, single.guid: other}
    expected = {guid: Origin.of(generation) for guid, generation in images.items()}
    assert await repositories.generations.origins([*images, uuid4()]) == expected
    assert await repositories.generations.origins([]) == {}
    await repositories.images.mark_deleted(single.guid)
    left = await repositories.generations.origins([single.guid])
    assert left[single.guid].generation == other.guid, "as long as it is recorded"
    assert left == {single.guid: expected[single.guid]}, "whatever was removed from its request"
    await repositories.images.delete(single.guid)
    assert await repositories.generations.origins([single.guid]) == {}


async def test_what_happens_after_its_end_does_not_change_how_long_a_generation_took(
    repositories: Repositories,
) -> None:
    failed = await repositories.a_failed_generation_in(idempotency_key=KEY)
    duration = (await repositories.generations.get(failed.guid)).duration
    assert duration is not None
    made = a_generation(idempotency_key=KEY)
    await repositories.generations.add(made, lease=LONG, instead_of=failed.guid)
    assert (await repositories.generations.get(failed.guid)).duration == duration
    assert (await repositories.generations.get(made.guid)).duration is None
    image = an_image(made)
    await repositories.generations.succeed(made, images=(image,), drawing=a_drawing())
    succeeded = await repositories.generations.get(made.guid)
    assert succeeded.duration == round((succeeded.updated_at - MOMENT).total_seconds(), 3)
    await repositories.images.mark_deleted(image.guid)
    await repositories.images.delete(image.guid)
    assert (await repositories.generations.get(made.guid)).duration == succeeded.duration


@pytest.mark.parametrize("cursor", ["x", "", "MjAyNi0xMS0yMnwx"])
@pytest.mark.parametrize("state", [None, GenerationState.FAILED])
async def test_a_forged_cursor_of_generations_is_refused(
    repositories: Repositories, cursor: str, state: GenerationState | None
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await repositories.generations.list(limit=2, cursor=cursor, state=state)
    assert caught.value.extra["errors"][0]["pointer"] == "?cursor"


async def test_what_was_failed_as_interrupted_may_succeed_late(repositories: Repositories) -> None:
    generation = await repositories.a_failed_generation_in(error=INTERRUPTED)
    image = an_image(generation)
    await repositories.generations.succeed(generation, images=(image,), drawing=a_drawing())
    found = await repositories.generations.get(generation.guid)
    assert (found.state, found.error, found.images) == (GenerationState.SUCCEEDED, None, (image,))
    assert await repositories.images.get(image.guid) == image
    assert await repositories.generations.unsettled() == {}


async def test_what_nobody_recorded_does_not_succeed(repositories: Repositories) -> None:
    generation = a_generation()
    with pytest.raises(ConflictError):
        await repositories.generations.succeed(generation, images=(an_image(generation),))
    with pytest.raises(ConflictError):
        await repositories.generations.fail(generation, error=REFUSED)
    with pytest.raises(ConflictError):
        await repositories.parked.add(generation, a_drawing(pictures=(b"x",)))


async def test_usage_and_request_id_that_are_recorded_are_kept_by_a_success_that_knows_none(
    repositories: Repositories,
) -> None:
    for drawing in (None, a_drawing(usage=None, upstream_request_id=None, answer=None)):
        generation = await repositories.a_generation_in()
        await repositories.parked.add(generation, a_drawing(pictures=(b"x",)))
        await repositories.generations.succeed(generation, images=(an_image(generation),), drawing=drawing)
        found = await repositories.generations.get(generation.guid)
        assert (found.usage, found.upstream_request_id) == ({"total_tokens": 3}, "req_1")
        assert found.answer == {"size": "32x16", "quality": "low"}


async def test_a_generation_fails_only_once_and_the_first_word_counts(repositories: Repositories) -> None:
    generation = await repositories.a_failed_generation_in(error=REFUSED)
    with pytest.raises(ConflictError):
        await repositories.generations.fail(generation, error=INTERRUPTED)
    assert (await repositories.generations.get(generation.guid)).error == REFUSED


async def test_of_many_that_settle_a_generation_at_once_one_does(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in()
    image = an_image(generation)
    outcomes = await asyncio.gather(
        *(repositories.generations.succeed(generation, images=(image,)) for _ in range(5)),
        *(repositories.generations.fail(generation, error=REFUSED) for _ in range(5)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError"] * 9 + ["NoneType"] or (
        outcomes[:5].count(True) == 1
        and outcomes[:5].count(False) == 4
        and all(isinstance(outcome, ConflictError) for outcome in outcomes[5:])
    )
    found = await repositories.generations.get(generation.guid)
    assert (found.state is GenerationState.SUCCEEDED) is (found.images == (image,))
    assert (found.state is GenerationState.SUCCEEDED) is (True in outcomes)


async def test_a_lease_runs_out_and_no_sooner(repositories: Repositories) -> None:
    await repositories.a_generation_in(lease=LONG)
    over = await repositories.a_generation_in(lease=0)
    assert await repositories.expired() == [over.guid]


async def test_those_whose_lease_ran_out_come_the_longest_first_and_at_most_so_many(
    repositories: Repositories,
) -> None:
    late, early, middle = [await repositories.a_generation_in(lease=lease) for lease in (0.9, 0.1, 0.5)]
    with anyio.fail_after(30):
        while len(found := await repositories.expired()) < 3:
            assert found == [early.guid, middle.guid][: len(found)]
            await anyio.sleep(0.05)
    assert found == [early.guid, middle.guid, late.guid]
    assert (await repositories.generations.expired(limit=2)).generations == (early, middle)


async def test_settled_generations_have_no_lease(repositories: Repositories) -> None:
    failed = await repositories.a_failed_generation_in(lease=0)
    succeeded = await repositories.a_generation_in(lease=0)
    await repositories.generations.succeed(succeeded, images=(an_image(succeeded),))
    assert await repositories.expired() == []
    await repositories.generations.renew([failed.guid, succeeded.guid], lease=0)
    assert await repositories.expired() == []
    for settled in (failed, succeeded):
        assert not await repositories.generations.claim(settled.guid, lease=LONG)


async def test_leases_are_renewed_together_and_ended(repositories: Repositories) -> None:
    one, two, other = [await repositories.a_generation_in(lease=0) for _ in range(3)]
    await repositories.generations.renew([one.guid, two.guid, uuid4()], lease=LONG)
    assert await repositories.expired() == [other.guid]
    await repositories.generations.renew([], lease=LONG)
    assert await repositories.expired() == [other.guid]
    await repositories.generations.renew([one.guid], lease=0)
    assert set(await repositories.expired()) == {one.guid, other.guid}


async def test_renewing_changes_nothing_but_the_lease(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in()
    await repositories.generations.renew([generation.guid], lease=LONG)
    assert await repositories.generations.get(generation.guid) == generation


async def test_exactly_one_of_many_concurrent_claims_wins(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(lease=0)
    won = await asyncio.gather(*(repositories.generations.claim(generation.guid, lease=LONG) for _ in range(10)))
    assert len([until for until in won if until is not None]) == 1
    assert await repositories.expired() == []
    assert await repositories.state_of(generation) is GenerationState.RUNNING


async def test_a_claim_that_its_owner_has_renewed_does_not_let_it_fail(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(lease=0)
    claimed = await repositories.generations.claim(generation.guid, lease=LONG)
    assert claimed is not None
    await repositories.generations.renew([generation.guid], lease=LONG + 1)
    with pytest.raises(ConflictError):
        await repositories.generations.fail(generation, error={}, claimed=claimed)
    assert await repositories.state_of(generation) is GenerationState.RUNNING


async def test_whoever_has_claimed_a_generation_may_let_it_fail(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(lease=0)
    claimed = await repositories.generations.claim(generation.guid, lease=LONG)
    await repositories.generations.fail(generation, error={}, claimed=claimed)
    assert await repositories.state_of(generation) is GenerationState.FAILED


async def test_what_was_interrupted_of_late_is_found_newest_first(repositories: Repositories) -> None:
    interrupted = GenerationInterruptedError().document()
    first, second, other = [await repositories.a_generation_in() for _ in range(3)]
    for generation, error in ((first, interrupted), (other, UpstreamDeadlineError("late").document())):
        await repositories.generations.fail(generation, error=error)
    await asyncio.sleep(0.01)
    await repositories.generations.fail(second, error=interrupted)
    found = (await repositories.generations.interrupted(within=60, limit=10)).generations
    assert [generation.guid for generation in found] == [second.guid, first.guid]
    assert len((await repositories.generations.interrupted(within=60, limit=1)).generations) == 1
    assert (await repositories.generations.interrupted(within=-60, limit=10)).generations == ()


async def test_a_live_lease_is_not_claimed_and_a_claim_that_ran_out_is_claimed_again(
    repositories: Repositories,
) -> None:
    generation = await repositories.a_generation_in(lease=LONG)
    assert not await repositories.generations.claim(generation.guid, lease=0)
    assert not await repositories.generations.claim(uuid4(), lease=0)
    assert await repositories.expired() == []
    await repositories.generations.renew([generation.guid], lease=0)
    assert await repositories.generations.claim(generation.guid, lease=0)
    assert await repositories.generations.claim(generation.guid, lease=LONG)
    assert not await repositories.generations.claim(generation.guid, lease=LONG)


async def test_unsettled_are_those_that_run_or_were_failed_as_interrupted(repositories: Repositories) -> None:
    assert await repositories.generations.unsettled() == {}
    running = await repositories.a_generation_in(lease=LONG)
    left = await repositories.a_generation_in(lease=0)
    interrupted = await repositories.a_failed_generation_in(error=INTERRUPTED)
    await repositories.a_failed_generation_in(error=REFUSED)
    await repositories.an_image_in()
    assert await repositories.generations.unsettled() == {
        running.guid: GenerationState.RUNNING,
        left.guid: GenerationState.RUNNING,
        interrupted.guid: GenerationState.FAILED,
    }


async def pages_of(ask: Callable[..., Awaitable[GenerationPage]]) -> list[list[UUID]]:
    """The guids on all pages of two."""
    pages: list[list[UUID]] = []
    cursor = None
    while not pages or cursor is not None:
        page = await ask(limit=2, cursor=cursor)
        pages.append([generation.guid for generation in page.generations])
        cursor = page.next_cursor
    return pages


async def test_the_pages_of_what_was_left_behind_meet(repositories: Repositories) -> None:
    left = [await repositories.a_generation_in(lease=lease) for lease in (-50, -40, -30, -20)]
    await repositories.generations.renew([each.guid for each in left[1:3]], lease=-35)  # two of one moment
    pages = await pages_of(repositories.generations.expired)
    assert [len(page) for page in pages] == [2, 2]
    found = [guid for page in pages for guid in page]
    assert (found[0], set(found[1:3]), found[3]) == (left[0].guid, {left[1].guid, left[2].guid}, left[3].guid)


async def test_the_pages_of_what_was_interrupted_meet(repositories: Repositories) -> None:
    failed = [await repositories.a_failed_generation_in(error=INTERRUPTED) for _ in range(5)]
    pages = await pages_of(partial(repositories.generations.interrupted, within=60))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert {guid for page in pages for guid in page} == {each.guid for each in failed}


@SQL
async def test_pages_of_records_that_cannot_be_read_hide_none_behind_them(repositories: Repositories) -> None:
    assert repositories.database is not None
    for _ in range(5):
        await repositories.a_generation_in(lease=-60)
    await repositories.database.execute("UPDATE generations SET request = '[1]'")
    behind = await repositories.a_generation_in(lease=-30)
    assert await pages_of(repositories.generations.expired) == [[], [], [behind.guid]]


async def test_leases_are_by_the_clock_of_the_database(sql_server: SqlServer, unique: Callable[[], str]) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    sql_server.query("SET GLOBAL init_connect = 'SET timestamp = 2000000000'")  # in 2033; it stands still
    try:
        database, close = open_database(url)
        generations = SqlGenerationRepository(database)
        running, left = a_generation(), a_generation()
        await generations.add(running, lease=30)
        await generations.add(left, lease=0)
        assert (await generations.expired(limit=10)).generations == (left,)
        assert await generations.claim(left.guid, lease=60)
        assert (await generations.expired(limit=10)).generations == ()
        leases = sql_server.query("SELECT lease_expires_at FROM generations ORDER BY id", database=f"test_{name}")
        close()
    finally:
        sql_server.query("SET GLOBAL init_connect = ''")
    moment = datetime(2033, 5, 18, 3, 33, 20)  # noqa: DTZ001 -- the columns are naive UTC
    assert [lease for (lease,) in leases] == [moment + timedelta(seconds=30), moment + timedelta(seconds=60)]


EVERY_BYTE = bytes(range(256))


async def test_parked_pictures_come_back_byte_for_byte_in_their_order(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in()
    large = EVERY_BYTE + os.urandom(3 * PART + 1000)
    pictures = (large, EVERY_BYTE * 2, large[:PART], b"\0")
    await repositories.parked.add(generation, a_drawing(pictures=pictures))
    assert await repositories.parked.get(generation.guid) == pictures
    assert await repositories.parked.get(uuid4()) == ()


async def test_parking_records_what_was_paid_and_lets_the_generation_go(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in(lease=LONG)
    await repositories.parked.add(generation, a_drawing(pictures=(b"x",)))
    found = await repositories.generations.get(generation.guid)
    assert found.state is GenerationState.RUNNING
    assert (found.usage, found.upstream_request_id) == ({"total_tokens": 3}, "req_1")
    assert await repositories.expired() == [generation.guid]
    assert await repositories.generations.claim(generation.guid, lease=LONG)


async def test_pictures_that_are_parked_again_are_replaced(repositories: Repositories) -> None:
    generation, other = await repositories.a_generation_in(), await repositories.a_generation_in()
    await repositories.parked.add(generation, a_drawing(pictures=(b"a" * (PART + 1), b"b")))
    await repositories.parked.add(other, a_drawing(pictures=(b"other",)))
    await repositories.parked.add(generation, a_drawing(pictures=(b"c",)))
    assert await repositories.parked.get(generation.guid) == (b"c",)
    assert await repositories.parked.get(other.guid) == (b"other",)


async def test_nothing_is_parked_for_a_settled_generation(repositories: Repositories) -> None:
    succeeded = await repositories.a_generation_in()
    await repositories.generations.succeed(succeeded, images=(an_image(succeeded),))
    failed = await repositories.a_failed_generation_in(error=REFUSED)
    for settled in (succeeded, failed):
        before = await repositories.generations.get(settled.guid)
        with pytest.raises(ConflictError):
            await repositories.parked.add(settled, a_drawing(pictures=(b"x",)))
        assert await repositories.parked.get(settled.guid) == ()
        assert await repositories.generations.get(settled.guid) == before


async def test_what_was_failed_as_interrupted_runs_again_when_its_pictures_are_parked(
    repositories: Repositories,
) -> None:
    generation = await repositories.a_failed_generation_in(error=INTERRUPTED)
    await repositories.parked.add(generation, a_drawing(pictures=(b"x",)))
    found = await repositories.generations.get(generation.guid)
    assert (found.state, found.error) == (GenerationState.RUNNING, None)
    assert await repositories.expired() == [generation.guid]


async def test_a_success_removes_what_was_parked_for_it_alone(repositories: Repositories) -> None:
    generation, other = await repositories.a_generation_in(), await repositories.a_generation_in()
    for each in (generation, other):
        await repositories.parked.add(each, a_drawing(pictures=(b"x" * (PART + 1),)))
    await repositories.generations.succeed(generation, images=(an_image(generation),))
    assert await repositories.parked.get(generation.guid) == ()
    assert await repositories.parked.get(other.guid) == (b"x" * (PART + 1),)


async def test_an_image_that_is_marked_as_deleted_is_never_answered(repositories: Repositories) -> None:
    image, other = await repositories.an_image_in(), await repositories.an_image_in()
    assert await repositories.images.mark_deleted(image.guid) == deleted(image)
    with pytest.raises(ImageNotFoundError):
        await repositories.images.get(image.guid)
    assert (await repositories.images.search(limit=10)).images == (other,)
    assert (await repositories.images.search(limit=10, q="lighthouse")).images == (other,)
    for nothing in (image.guid, uuid4()):
        with pytest.raises(ImageNotFoundError):
            await repositories.images.mark_deleted(nothing)
    assert await repositories.images.get(other.guid) == other


async def test_of_many_that_mark_an_image_at_once_one_does(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    outcomes = await asyncio.gather(
        *(repositories.images.mark_deleted(image.guid) for _ in range(10)), return_exceptions=True
    )
    assert [outcome for outcome in outcomes if not isinstance(outcome, ImageNotFoundError)] == [deleted(image)]


async def test_marked_images_are_listed_until_their_record_is_deleted(repositories: Repositories) -> None:
    images = [await repositories.an_image_in() for _ in range(3)]
    assert (await repositories.images.list_deleted(limit=10)).images == ()
    for image in images[:2]:
        await repositories.images.mark_deleted(image.guid)
    assert set((await repositories.images.list_deleted(limit=10)).images) == set(map(deleted, images[:2]))
    assert len((await repositories.images.list_deleted(limit=1)).images) == 1
    for _ in range(2):  # the second time there is none
        await repositories.images.delete(images[0].guid)
    assert (await repositories.images.list_deleted(limit=10)).images == (deleted(images[1]),)
    assert not await repositories.images.has(images[0].filename)


async def test_pages_of_marked_images_have_each_once_though_others_are_removed_meanwhile(
    repositories: Repositories,
) -> None:
    images = [await repositories.an_image_in() for _ in range(5)]
    for image in images:
        await repositories.images.mark_deleted(image.guid)
    first = await repositories.images.list_deleted(limit=2)
    for marked in first.images:
        await repositories.images.delete(marked.guid)
    second = await repositories.images.list_deleted(limit=2, cursor=first.next_cursor)
    third = await repositories.images.list_deleted(limit=2, cursor=second.next_cursor)
    assert [len(page.images) for page in (first, second, third)] == [2, 2, 1]
    assert {*first.images, *second.images, *third.images} == set(map(deleted, images))
    assert third.next_cursor is None


async def test_only_a_marked_image_is_removed_from_the_records(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    await repositories.images.delete(image.guid)
    await repositories.images.delete(uuid4())
    assert await repositories.images.get(image.guid) == image
    assert await repositories.images.has(image.filename)


async def test_the_keys_of_all_images_come_in_their_order_the_marked_ones_included(
    repositories: Repositories,
) -> None:
    assert await repositories.images.sizes(after="", limit=10) == {}
    guids = [UUID(f"{first}aaaaaaa-0000-4000-8000-000000000000") for first in "90fab1"]
    for guid in guids:
        await repositories.an_image_in(guid=guid, filename=f"{guid}.{'jpg' if guid == guids[0] else 'png'}")
    await repositories.images.mark_deleted(guids[2])
    expected = tuple(sorted(f"{guid}.{'jpg' if guid == guids[0] else 'png'}" for guid in guids))
    assert tuple(await repositories.images.sizes(after="", limit=10)) == expected
    assert tuple(await repositories.images.sizes(after="", limit=2)) == expected[:2]
    assert tuple(await repositories.images.sizes(after=expected[1], limit=10)) == expected[2:]
    assert tuple(await repositories.images.sizes(after="5", limit=2)) == expected[2:4]
    assert await repositories.images.sizes(after=expected[-1], limit=2) == {}


async def test_a_key_is_known_whether_its_image_is_marked_or_not(repositories: Repositories) -> None:
    image = await repositories.an_image_in()
    assert await repositories.images.has(image.filename)
    assert await repositories.images.has(image.filename, marked=False)
    await repositories.images.mark_deleted(image.guid)
    assert await repositories.images.has(image.filename)
    assert not await repositories.images.has(image.filename, marked=False)
    assert not await repositories.images.has(image.filename.removesuffix("png") + "jpg")


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


async def test_a_late_page_reads_no_more_rows_than_the_first(sql_server: SqlServer, unique: Callable[[], str]) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    await SqlGenerationRepository(database).add(a_generation(), lease=30)
    depth = "cte_max_recursion_depth" if isinstance(sql_server, MySQL) else "max_recursive_iterations"
    with sql_server.connect(f"test_{name}") as connection, connection.cursor() as statements:
        statements.execute(f"SET SESSION {depth} = 20000")
        statements.execute(
            """
            INSERT INTO images (guid, generation_id, api_key_id, filename, prompt, content_type, size_bytes, width,
                                height, sha256, model, created_at, updated_at)
            WITH RECURSIVE numbers (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < 20000)
            SELECT UUID(), 1, seq % 3, UUID(), 'a dot', 'image/png', 1, 1, 1, REPEAT('0', 64), 'm',
                   '2026-01-01' + INTERVAL seq DIV 3 SECOND, '2026-01-01'
            FROM numbers
            """
        )
        statements.execute(
            "INSERT INTO image_terms (term, created_at, image_id) SELECT 'dot', created_at, id FROM images"
        )
        connection.commit()
    sql_server.query("ANALYZE TABLE images, image_terms", database=f"test_{name}")

    async def rows_read(cursor: str | None, **asked: Any) -> int:
        def count() -> int:
            return sum(int(value) for _, value in sql_server.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'"))

        noise = -count() + count()
        before = count()
        page = await SqlImageRepository(database).search(limit=50, cursor=cursor, **asked)
        assert len(page.images) == 50
        return count() - before - noise

    late = cursor_after(datetime(2026, 1, 1, 0, 1, tzinfo=UTC), uuid4())
    assert 50 <= await rows_read(None) < 60
    assert 50 <= await rows_read(late) < 65, "a few rows of the cursor's own second are read again"
    for cursor in (None, late):
        assert 50 <= await rows_read(cursor, api_key_id=1) < 65, "one in three images is of that key"
        assert 100 <= await rows_read(cursor, q="dot") < 170, "rows of the word, then the images themselves"
    close()


# Rows of other versions


@SQL
async def test_a_row_of_an_older_version_expects_one_image(repositories: Repositories) -> None:
    assert repositories.database is not None
    guid = uuid4()
    await repositories.database.execute(
        """
        INSERT INTO generations (guid, api_key_id, request, state, lease_expires_at, created_at, updated_at)
        VALUES (:guid, 1, '{"prompt": "a dot"}', 'running', :now, :now, :now)
        """,
        guid=str(guid),
        now="2026-11-22 10:15:02.123456",
    )
    assert (await repositories.generations.get(guid)).expected_images == 1


@SQL
async def test_names_and_values_that_this_version_does_not_know_are_read(repositories: Repositories) -> None:
    assert repositories.database is not None
    generation = await repositories.a_generation_in()
    values = {"prompt": " " * 40_000, "quality": "beyond all words", "output_compression": 999, "layers": [{"a": 1}]}
    await repositories.database.execute(
        "UPDATE generations SET request = :request WHERE guid = :guid",
        request=json.dumps(values),
        guid=str(generation.guid),
    )
    assert (await repositories.generations.get(generation.guid)).request.values == values
    assert (await repositories.generations.list(limit=10)).generations[0].request.values == values


@SQL
async def test_a_generation_that_cannot_be_read_is_skipped_and_hides_no_neighbour(
    repositories: Repositories, caplog: pytest.LogCaptureFixture
) -> None:
    assert repositories.database is not None
    moments = [MOMENT + timedelta(seconds=number) for number in range(3)]
    generations = [await repositories.a_generation_in(created_at=moment, lease=0) for moment in moments]
    unreadable = str(generations[1].guid)
    await repositories.database.execute(
        "UPDATE generations SET request = :request WHERE guid = :guid", request="[1]", guid=unreadable
    )
    page = await repositories.generations.list(limit=2)
    assert page.generations == (generations[2],)
    rest = await repositories.generations.list(limit=2, cursor=page.next_cursor)
    assert (rest.generations, rest.next_cursor) == ((generations[0],), None)
    assert set(await repositories.expired()) == {generations[0].guid, generations[2].guid}
    assert unreadable in caplog.text
    with pytest.raises(DatabaseError, match=unreadable):
        await repositories.generations.get(generations[1].guid)


@SQL
async def test_a_state_that_this_version_does_not_know_is_skipped(repositories: Repositories) -> None:
    assert repositories.database is not None
    generation = await repositories.a_generation_in()
    await repositories.database.execute(
        "UPDATE generations SET state = 'cancelled' WHERE guid = :guid", guid=str(generation.guid)
    )
    assert (await repositories.generations.list(limit=10)).generations == ()


@SQL
@pytest.mark.parametrize("request_of_another_version", ["[1]", '"x"', "null"])
async def test_an_image_whose_request_cannot_be_read_still_says_where_it_comes_from(
    repositories: Repositories, request_of_another_version: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert repositories.database is not None
    generation = await repositories.a_generation_in(api_key_id=7)
    image = an_image(generation)
    await repositories.generations.succeed(generation, images=(image,), drawing=a_drawing())
    await repositories.database.execute("UPDATE generations SET request = :request", request=request_of_another_version)
    found = await repositories.generations.origins([image.guid])
    assert found == {image.guid: Origin(generation.guid, 7, {})}
    assert str(generation.guid) in caplog.text


@SQL
async def test_a_source_that_this_version_cannot_read_is_left_out(repositories: Repositories) -> None:
    assert repositories.database is not None
    image = await repositories.an_image_in(sources=(an_input(),))
    known = an_input().model_dump(mode="json")
    written = [{**known, "width": 7}, {**known, "content_type": "image/jxl"}, {"role": "image"}, "a word", None]
    for column, found in ((json.dumps(written), (an_input(),)), (None, ())):
        await repositories.database.execute(
            "UPDATE images SET sources = :sources WHERE guid = :guid", sources=column, guid=str(image.guid)
        )
        assert (await repositories.images.get(image.guid)).sources == found


@SQL
async def test_an_image_that_cannot_be_read_is_skipped_and_hides_no_neighbour(
    repositories: Repositories, caplog: pytest.LogCaptureFixture
) -> None:
    assert repositories.database is not None
    images = [await repositories.an_image_in(created_at=MOMENT + timedelta(seconds=number)) for number in range(3)]
    unreadable = str(images[1].guid)
    await repositories.database.execute(
        "UPDATE images SET content_type = 'image/jxl' WHERE guid = :guid", guid=unreadable
    )
    page = await repositories.images.search(limit=2)
    assert page.images == (images[2],)
    rest = await repositories.images.search(limit=2, cursor=page.next_cursor)
    assert (rest.images, rest.next_cursor) == ((images[0],), None)
    assert unreadable in caplog.text
    with pytest.raises(DatabaseError, match=unreadable):
        await repositories.images.get(images[1].guid)
    assert await repositories.images.has(images[1].filename, marked=False)


@SQL
@pytest.mark.parametrize("request_text", ['[{"prompt": "a secret"}]', '"a secret"', "null", "3"])
async def test_an_image_is_deleted_though_this_version_can_read_neither_its_record_nor_its_request(
    repositories: Repositories, request_text: str
) -> None:
    database = repositories.database
    assert database is not None
    image = await repositories.an_image_in()
    await database.execute("UPDATE images SET content_type = 'image/jxl' WHERE guid = :guid", guid=str(image.guid))
    await database.execute("UPDATE generations SET request = :request", request=request_text)
    assert await repositories.images.mark_deleted(image.guid) == deleted(image)
    row = await database.one("SELECT request FROM generations")
    assert row is not None
    assert json.loads(row["request"]) == {"prompt": "[deleted]"}
    assert (await repositories.images.list_deleted(limit=10)).images == (deleted(image),)
    await repositories.images.delete(image.guid)
    assert (await repositories.images.list_deleted(limit=10)).images == ()


async def test_a_running_generation_expects_what_was_drawn(repositories: Repositories) -> None:
    generation = await repositories.a_generation_in()
    await repositories.generations.expect(generation.guid, images=3)
    assert (await repositories.generations.get(generation.guid)).expected_images == 3
    await repositories.generations.fail(generation, error=INTERRUPTED)
    await repositories.generations.expect(generation.guid, images=2)
    assert (await repositories.generations.get(generation.guid)).expected_images == 3


# Adoption


ASKED = "ab" * 32
"""The fingerprint of what was asked."""


async def an_askable_generation_in(repositories: Repositories, *, lease: float = LONG, **values: object) -> Generation:
    """A recorded generation whose fingerprint is known."""
    known: dict[str, object] = {"fingerprint": ASKED, "created_at": datetime.now(UTC)}
    return await repositories.a_generation_in(lease=lease, **{**known, **values})


async def equal_ones(repositories: Repositories, **values: object) -> list[tuple[UUID, bool]]:
    """The guids of the equal generations, and whether each is abandoned."""
    known: dict[str, object] = {"api_key_id": 1, "fingerprint": ASKED, "within": 600}
    found = await repositories.adoption.equal(**{**known, **values})  # type: ignore[arg-type]
    return [(each.generation.guid, each.abandoned) for each in found]


async def end(repositories: Repositories, generation: Generation) -> None:
    """The generation succeeds with an image."""
    await repositories.generations.succeed(generation, images=(an_image(generation),), drawing=a_drawing())


async def test_equal_are_those_of_the_caller_asked_for_in_the_same_words_of_late(repositories: Repositories) -> None:
    now = datetime.now(UTC)
    second, first = [
        await an_askable_generation_in(repositories, created_at=now - timedelta(seconds=seconds)) for seconds in (1, 2)
    ]
    await an_askable_generation_in(repositories, created_at=now - timedelta(seconds=700))
    await an_askable_generation_in(repositories, fingerprint="cd" * 32)
    await an_askable_generation_in(repositories, api_key_id=2)
    await an_askable_generation_in(repositories, idempotency_key="has one")
    await an_askable_generation_in(repositories, fingerprint=None)
    assert await equal_ones(repositories) == [(first.guid, False), (second.guid, False)]


async def test_of_many_that_adopt_an_abandoned_generation_one_gets_it(repositories: Repositories) -> None:
    generation = await an_askable_generation_in(repositories)
    assert not await repositories.adoption.adopt(generation.guid), "its client waits for it"
    await repositories.adoption.abandon(generation.guid)
    assert await equal_ones(repositories) == [(generation.guid, True)]
    adopted = await asyncio.gather(*(repositories.adoption.adopt(generation.guid) for _ in range(4)))
    assert sorted(adopted) == [False, False, False, True]
    assert await equal_ones(repositories) == [(generation.guid, False)]
    await repositories.adoption.abandon(generation.guid)
    assert await repositories.adoption.adopt(generation.guid), "the one who adopted it has left too"


async def test_what_ended_is_equal_until_its_answer_is_delivered(repositories: Repositories) -> None:
    succeeded, failed = [await an_askable_generation_in(repositories) for _ in range(2)]
    await end(repositories, succeeded)
    await repositories.generations.fail(failed, error=INTERRUPTED)
    assert sorted(await equal_ones(repositories)) == sorted([(succeeded.guid, False), (failed.guid, False)])
    assert not await repositories.adoption.adopt(succeeded.guid), "its client is being answered"
    for generation in (succeeded, failed):
        await repositories.adoption.deliver(generation.guid)
    assert await equal_ones(repositories) == []
    await repositories.adoption.abandon(succeeded.guid)
    (found,) = await repositories.adoption.equal(api_key_id=1, fingerprint=ASKED, within=600)
    assert [image.guid for image in found.generation.images] == [succeeded.image_guid(0)]


@SQL
async def test_an_answer_that_nobody_recorded_in_time_leaves_the_generation_abandoned(
    repositories: Repositories,
) -> None:
    assert repositories.database is not None
    generation = await an_askable_generation_in(repositories)
    await end(repositories, generation)
    (row,) = await repositories.database.all("SELECT abandoned_at FROM generations")
    due = (column_to_time(row["abandoned_at"]) - datetime.now(UTC)).total_seconds()
    assert due == pytest.approx(ANSWERED_WITHIN, abs=10)
    await repositories.database.execute(
        "UPDATE generations SET abandoned_at = :then", then=time_to_column(datetime.now(UTC) - timedelta(seconds=1))
    )
    assert await equal_ones(repositories) == [(generation.guid, True)]
    assert await repositories.adoption.adopt(generation.guid)
    assert not await repositories.adoption.adopt(generation.guid)
    assert await equal_ones(repositories) == [(generation.guid, False)]


async def test_who_left_before_the_end_stays_gone_at_the_end(repositories: Repositories) -> None:
    generation = await an_askable_generation_in(repositories)
    await repositories.adoption.abandon(generation.guid)
    await end(repositories, generation)
    assert await equal_ones(repositories) == [(generation.guid, True)]


@pytest.mark.parametrize("values", [{"idempotency_key": "a key"}, {"fingerprint": None}])
async def test_an_end_that_no_retry_may_adopt_waits_for_no_delivery(
    repositories: Repositories, values: dict[str, Any]
) -> None:
    generation = await an_askable_generation_in(repositories, **values)
    await end(repositories, generation)
    if repositories.database is not None:
        assert await repositories.database.all("SELECT id FROM generations WHERE abandoned_at IS NOT NULL") == []
    assert await equal_ones(repositories) == []


async def test_what_a_reconciler_claimed_is_abandoned(repositories: Repositories) -> None:
    generation = await an_askable_generation_in(repositories, lease=0)
    assert await repositories.generations.claim(generation.guid, lease=LONG) is not None
    assert await equal_ones(repositories) == [(generation.guid, True)]


async def test_the_lease_of_an_owner_that_lives_is_seen_to_move(repositories: Repositories) -> None:
    generation = await an_askable_generation_in(repositories)
    leases = []
    for _ in range(2):
        (found,) = await repositories.adoption.equal(api_key_id=1, fingerprint=ASKED, within=600)
        leases.append(found.lease_expires_at)
        await repositories.generations.renew([generation.guid], lease=LONG + 10)
    assert leases[0] < leases[1]


# Settling composes


@SQL
async def test_another_record_shares_the_commit_that_settles(repositories: Repositories) -> None:
    database = repositories.database
    assert database is not None
    generation = await repositories.a_generation_in()
    image = an_image(generation)

    def settle_and_break(transaction: Transaction) -> None:
        settling.succeed(transaction, generation, images=(image,), drawing=a_drawing(), search=SqlImageSearch(database))
        transaction.execute("UPDATE api_keys SET name = name")
        raise ConflictError("The other record cannot be written.")

    with pytest.raises(ConflictError):
        await database.transaction(settle_and_break)
    assert await repositories.state_of(generation) is GenerationState.RUNNING

    def settle(transaction: Transaction) -> bool:
        transaction.execute(
            "INSERT INTO api_keys (name, prefix, sha256, created_at) VALUES ('cost', 'pxp_', :sha256, :now)",
            sha256="ab" * 32,
            now="2026-11-22 10:15:02",
        )
        return settling.succeed(
            transaction, generation, images=(image,), drawing=a_drawing(), search=SqlImageSearch(database)
        )

    assert await database.transaction(settle)
    assert await guids_of(repositories, generation) == [image.guid]
    assert [key.name for key in await repositories.keys.list()] == ["cost"]
