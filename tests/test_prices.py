"""One contract for the prices, over the fake, SQLite, MySQL and MariaDB; and what `migrate` makes of shipped ones."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from pixyproxy.core.exceptions import ConflictError, DatabaseError, NotFoundError
from pixyproxy.core.prices import Price, PriceTerms, upstream_of
from pixyproxy.core.protocols import PriceRepository
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.prices import PriceRows, SqlPriceRepository, shipped_prices
from tests.command import Forked
from tests.examples import MOMENT, a_drawing, a_generation, a_price, an_image
from tests.fakes import FakePriceRepository
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio


def day(number: int, month: int = 6) -> datetime:
    """A day of 2026, at midnight."""
    return datetime(2026, month, number, tzinfo=UTC)


@dataclass
class Stage:
    """An implementation, and its database if it has one."""

    prices: PriceRepository
    database: SqlDatabase | None = None

    async def set(self, **values: Any) -> Price:
        (price,) = await self.prices.add([a_price(**{"valid_from": day(1), **values})], recorded_at=MOMENT)
        return price

    async def at(self, moment: datetime, *, model: str = "gpt-image-2", upstream: str = "openai") -> Price | None:
        return await self.prices.find(upstream=upstream, model=model, at=moment)

    async def spans(self) -> list[tuple[datetime, datetime | None]]:
        """When the prices hold that ever do, in their order."""
        return [
            (price.valid_from, price.valid_to)
            for price in await self.prices.list()
            if price.valid_to is None or price.valid_to > price.valid_from
        ]


@pytest.fixture(scope="module")
def urls() -> dict[str, str]:
    """The migrated database of each server."""
    return {}


@pytest.fixture(params=["fake", "sqlite", "mysql", "mariadb"])
def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique: Callable[[], str],
    urls: dict[str, str],
    migrated_file: Path,
) -> Iterator[Stage]:
    """No prices at all."""
    if request.param == "fake":
        yield Stage(FakePriceRepository())
        return
    if request.param == "sqlite":
        shutil.copyfile(migrated_file, tmp_path / "pixyproxy.db")
        url = f"sqlite:///{tmp_path}/pixyproxy.db"
    else:
        server: SqlServer = request.getfixturevalue(request.param)
        if request.param not in urls:
            urls[request.param] = server.create(unique())
            migrate(urls[request.param])
        url = urls[request.param]
    database, close = open_database(url)
    anyio.run(database.execute, "DELETE FROM prices")
    yield Stage(SqlPriceRepository(database), database)
    close()


async def test_a_price_comes_back_as_it_was_set(stage: Stage) -> None:
    terms = a_price(
        valid_to=datetime(2027, 1, 1, 12, 30, 0, 123456, tzinfo=UTC),
        text_out=0,
        cached_text_in=None,
        image_out=9_000_000_000_000_000_000,
        reserve={"low": {"1024x1024": 6_000_000}, "*": {"*": 1}},
        source="günstig – 50% of it \\ ' 🛶",
    )
    (price,) = await stage.prices.add([terms], recorded_at=MOMENT)
    assert PriceTerms(**price.model_dump(exclude={"id", "recorded_at", "shipped"})) == terms
    assert (price.recorded_at, price.shipped) == (MOMENT, False)
    assert await stage.prices.get(price.id) == price
    assert await stage.prices.list() == (price,)
    by_image = await stage.set(model="dall-e-3", per_image={"hd": {"1024x1024": 80_000_000}})
    assert (await stage.prices.get(by_image.id)).per_image == {"hd": {"1024x1024": 80_000_000}}


async def test_a_price_that_is_not_there_is_not_found(stage: Stage) -> None:
    assert await stage.at(day(1)) is None
    with pytest.raises(NotFoundError):
        await stage.prices.get(12345)
    await stage.set()
    for upstream, model in (("demo", "gpt-image-2"), ("openai", "GPT-image-2"), ("openai", "gpt-image-2.5")):
        assert await stage.at(day(2), upstream=upstream, model=model) is None


async def test_a_price_holds_from_its_beginning_until_its_end(stage: Stage) -> None:
    price = await stage.set(valid_from=day(10), valid_to=day(20))
    for moment, found in (
        (day(10) - timedelta(microseconds=1), None),
        (day(10), price),
        (day(20) - timedelta(microseconds=1), price),
        (day(20), None),
    ):
        assert await stage.at(moment) == found


async def test_the_models_own_price_comes_before_a_pattern_and_the_longest_pattern_before_others(stage: Stage) -> None:
    prices = {
        model: await stage.set(model=model) for model in ("*", "gpt-*", "gpt-image-2*", "gpt-image-2", "gpt-image-20*")
    }
    for model, pattern in (
        ("gpt-image-2", "gpt-image-2"),
        ("gpt-image-2.5-flare", "gpt-image-2*"),
        ("gpt-image-20", "gpt-image-20*"),
        ("gpt-image-1", "gpt-*"),
        ("gpt-", "gpt-*"),
        ("flux", "*"),
        ("gpt%image_2", "*"),
    ):
        assert await stage.at(day(2), model=model) == prices[pattern], model


async def test_what_the_operator_sets_comes_before_every_shipped_price(stage: Stage) -> None:
    assert await stage.prices.load_shipped([(a_price(valid_from=day(1)), day(2))]) == 1
    shipped = await stage.at(day(3))
    assert shipped is not None and shipped.shipped and shipped.recorded_at == day(2)
    own = await stage.set(model="gpt-*", valid_from=day(10), valid_to=day(20))
    assert await stage.at(day(9)) == shipped
    assert await stage.at(day(10)) == own
    assert await stage.at(day(20)) == shipped, "the operator's ended"


async def test_a_newer_price_ends_the_older_one_and_its_numbers_stay(stage: Stage) -> None:
    older = await stage.set(valid_from=day(1), image_out=30_000)
    newer = await stage.set(valid_from=day(10), image_out=25_000)
    found = await stage.at(day(9))
    assert found is not None and (found.id, found.image_out) == (older.id, 30_000)
    assert await stage.at(day(10)) == newer
    assert await stage.spans() == [(day(1), day(10)), (day(10), None)]
    assert (await stage.prices.get(older.id)).image_out == 30_000


async def test_a_price_from_the_same_moment_on_replaces_the_one_there_which_stays_recorded(stage: Stage) -> None:
    prices = [await stage.set(image_out=image_out) for image_out in (1, 2, 3)]
    assert await stage.at(day(1)) == prices[-1]
    assert await stage.spans() == [(day(1), None)]
    assert [price.image_out for price in await stage.prices.list()] == [1, 2, 3]
    assert [(await stage.prices.get(price.id)).image_out for price in prices] == [1, 2, 3]


async def test_a_price_without_an_end_holds_until_the_next_one_begins(stage: Stage) -> None:
    await stage.set(valid_from=day(20))
    await stage.set(valid_from=day(10))
    assert await stage.spans() == [(day(10), day(20)), (day(20), None)]


async def test_a_price_that_reaches_into_a_later_one_is_refused_and_nothing_is_set(stage: Stage) -> None:
    await stage.set(valid_from=day(20))
    before = await stage.prices.list()
    first = a_price(model="another", valid_from=day(1))
    for valid_to in (day(20) + timedelta(microseconds=1), day(30)):
        overlapping = a_price(valid_from=day(10), valid_to=valid_to)
        with pytest.raises(ConflictError, match="overlaps with one that begins at 2026-06-20"):
            await stage.prices.add([first, overlapping], recorded_at=MOMENT)
    assert await stage.prices.list() == before
    await stage.prices.add([first, a_price(valid_from=day(10), valid_to=day(20))], recorded_at=MOMENT)
    assert len(await stage.prices.list()) == 3


async def test_to_set_a_price_again_changes_nothing(stage: Stage) -> None:
    several = [a_price(valid_from=day(1)), a_price(valid_from=day(10), image_out=1), a_price(valid_from=day(20))]
    prices = await stage.prices.add(several, recorded_at=MOMENT)
    before = await stage.prices.list()
    again = await stage.prices.add(several, recorded_at=MOMENT + timedelta(days=1))
    assert [price.id for price in again] == [price.id for price in prices]
    assert await stage.prices.list() == before


async def test_prices_of_other_models_and_upstreams_are_left_alone(stage: Stage) -> None:
    await stage.set()
    await stage.set(model="gpt-image-2*")
    await stage.set(upstream="images.example:8443")
    assert await stage.spans() == [(day(1), None)] * 3
    found = await stage.at(day(2), upstream="images.example:8443")
    assert found is not None and found.upstream == "images.example:8443"


async def test_shipped_prices_are_loaded_once_and_a_later_day_of_their_source_is_noted(stage: Stage) -> None:
    shipped = [(a_price(valid_from=day(1)), day(2)), (a_price(valid_from=day(10), image_out=1), day(11))]
    assert await stage.prices.load_shipped(shipped) == 2
    before = await stage.prices.list()
    assert await stage.prices.load_shipped(shipped) == 0
    assert await stage.prices.list() == before
    looked_up = [(a_price(valid_from=day(10), image_out=1, source="again"), day(20))]
    assert await stage.prices.load_shipped(looked_up) == 0
    newest = (await stage.prices.list())[-1]
    assert (newest.source, newest.recorded_at) == ("again", day(20))
    assert await stage.prices.load_shipped(shipped) == 0
    assert (await stage.prices.list())[-1] == newest, "an older version knows no better"


async def test_a_shipped_price_that_was_wrong_is_replaced_but_not_by_that_of_an_older_version(stage: Stage) -> None:
    wrong, right = (a_price(valid_from=day(1), image_out=1), day(2)), (a_price(valid_from=day(1), image_out=2), day(3))
    for shipped, new in ((wrong, 1), (right, 1), (wrong, 0), (right, 0)):
        assert await stage.prices.load_shipped([shipped]) == new
    found = await stage.at(day(4))
    assert found is not None and found.image_out == 2
    assert [price.image_out for price in await stage.prices.list()] == [1, 2]


async def test_a_shipped_price_never_touches_what_the_operator_set(stage: Stage) -> None:
    own = await stage.set(image_out=1)
    for image_out in (2, 3):
        await stage.prices.load_shipped([(a_price(valid_from=day(1), image_out=image_out), day(2))])
        await stage.prices.load_shipped([(a_price(valid_from=day(5), image_out=image_out), day(6))])
    assert await stage.prices.get(own.id) == own
    assert await stage.at(day(7)) == own


async def test_our_own_list_can_be_loaded_and_says_what_every_model_costs(stage: Stage) -> None:
    shipped = shipped_prices()
    assert await stage.prices.load_shipped(shipped) == len(shipped)
    assert await stage.prices.load_shipped(shipped) == 0
    for terms, _ in shipped:
        found = await stage.at(day(1, month=12), upstream=terms.upstream, model=terms.model)
        assert found is not None and found.numbers() == terms.numbers()


SQL = pytest.mark.parametrize("stage", ["sqlite", "mysql", "mariadb"], indirect=True)


@SQL
async def test_inside_a_transaction_a_price_that_was_read_once_is_kept(stage: Stage) -> None:
    price = await stage.set()
    rows, database = PriceRows(), stage.database
    assert database is not None
    assert await database.transaction(lambda commit: rows.get(commit, price.id)) == price
    await database.execute("UPDATE prices SET image_out = 1")  # which nobody does
    assert await database.transaction(lambda commit: rows.get(commit, price.id)) == price
    found = await database.read(lambda commit: rows.find(commit, upstream="openai", model="gpt-image-2", at=day(2)))
    assert found == price
    with pytest.raises(NotFoundError):
        await database.read(lambda commit: rows.get(commit, price.id + 1))


@SQL
async def test_a_price_that_was_read_once_needs_no_database(stage: Stage) -> None:
    price, database = await stage.set(), stage.database
    assert database is not None
    found, asked = SqlPriceRepository(database), SqlPriceRepository(database)
    assert await found.find(upstream="openai", model="gpt-image-2", at=day(2)) == await asked.get(price.id) == price
    await database.execute("DELETE FROM prices")  # which nobody does
    assert await found.get(price.id) == await asked.get(price.id) == price
    with pytest.raises(NotFoundError):
        await SqlPriceRepository(database).get(price.id)


ODD = ("{", "[]", "3", '{"low": 3}', '{"low": {"1x1": -1}}', '{"low": {"1x1": 0.5}}', "{}")
"""What another version may write into a column of JSON."""


@SQL
@pytest.mark.parametrize("odd", ODD)
async def test_a_price_that_this_version_cannot_read_is_left_out(stage: Stage, odd: str) -> None:
    price, other = await stage.set(model="*"), await stage.set()
    assert stage.database is not None
    await stage.database.execute("UPDATE prices SET reserve = :odd WHERE id = :id", odd=odd, id=other.id)
    prices = SqlPriceRepository(stage.database)
    assert await prices.list() == (price,)
    assert await prices.find(upstream="openai", model="gpt-image-2", at=day(2)) == price
    with pytest.raises(DatabaseError, match=f"price {other.id}"):
        await prices.get(other.id)
    with pytest.raises(DatabaseError, match=f"price {other.id}"):
        await stage.set(valid_from=day(5))


@SQL
async def test_of_prices_that_are_set_at_once_one_holds(stage: Stage) -> None:
    done = []

    async def set_one(number: int) -> None:
        with suppress(ConflictError):
            done.append(await stage.set(image_out=number))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(set_one, number)
    assert done
    assert await stage.spans() == [(day(1), None)]


@SQL
async def test_the_models_in_use_are_those_of_the_newest_images(stage: Stage) -> None:
    assert stage.database is not None
    await stage.database.execute("DELETE FROM images")
    assert await stage.prices.models_in_use() == ()
    generations = SqlGenerationRepository(stage.database)
    for model in ("gpt-image-2", "flux", "flux"):
        generation = a_generation()
        await generations.add(generation, lease=30)
        image = an_image(generation, model=model)
        await generations.succeed(generation, images=(image,), drawing=a_drawing())
    assert await stage.prices.models_in_use() == ("flux", "gpt-image-2")


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    server: SqlServer = request.getfixturevalue(request.param)
    return server.create(unique())


async def test_processes_that_migrate_at_once_load_the_list_once(empty_url: str) -> None:
    processes = [Forked(migrate, empty_url) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    database, close = open_database(empty_url)
    prices = SqlPriceRepository(database)
    first = await prices.list()
    assert sorted((price.upstream, price.model) for price in first) == sorted(
        (terms.upstream, terms.model) for terms, _ in shipped_prices()
    )
    assert all(price.shipped for price in first)
    own = (await prices.add([a_price(valid_from=day(1))], recorded_at=MOMENT))[0]
    migrate(empty_url)
    assert sorted(await prices.list(), key=lambda price: price.id) == [*sorted(first, key=lambda price: price.id), own]
    close()


UPSTREAMS = {
    None: "openai",
    "https://api.openai.com/v1": "openai",
    "https://API.openai.com:443/v1": "openai",
    "https://eu.api.openai.com/v1": "eu.api.openai.com",
    "http://localhost:8001/v1": "localhost:8001",
    "https://team.openai.azure.com/openai/v1": "team.openai.azure.com",
    "https://user:secret@images.example/v1": "images.example",
    "http://[::1]:8001/v1": "[::1]:8001",
}


@pytest.mark.parametrize(("base_url", "name"), UPSTREAMS.items())
def test_an_upstream_is_named_by_its_host(base_url: str | None, name: str) -> None:
    assert upstream_of(base_url, demo=False) == name
    assert upstream_of(base_url, demo=True) == "demo"
    assert a_price(upstream=name).upstream == name
