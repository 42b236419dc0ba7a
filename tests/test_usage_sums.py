"""Usage against a plain addition of every record, on SQLite, a real MySQL and a real MariaDB."""

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from pixyproxy.core.budgets import EVERYBODY, Budget, Period
from pixyproxy.core.exceptions import (
    GenerationInterruptedError,
    InvalidRequestError,
    PriceUnknownError,
    UpstreamAnswerError,
    UpstreamRefusedError,
    UsageNotReadyError,
)
from pixyproxy.core.generations import Generation, GenerationState, RecordedRequest
from pixyproxy.core.ledger import Quote, cost_of_success
from pixyproxy.core.limits import DatabaseLimits
from pixyproxy.core.usage import ONE_DAY, Dimension, Span, Sums, UnequalDay, total_of
from pixyproxy.data.budgets import SqlBudgetRepository
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.parked import SqlParkedImageRepository
from pixyproxy.data.usage import SqlUsageRepository
from tests.examples import a_drawing, a_generation, an_image, an_input
from tests.fakes import FakeGenerationRepository, FakeImageRepository, FakeUsageRepository
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio

PATIENT = DatabaseLimits(file_lock_wait=60, reserve_wait=60, read_wait=60, attempts=10, statement=60)
DAYS = tuple(
    date.fromisoformat(day)
    for day in ("2027-12-31", "2028-01-01", "2028-02-28", "2028-02-29", "2028-03-01", "2028-03-02")
)
"""The ends of a year and of a leap month. The last one is today."""
NOON = datetime(2028, 3, 2, 12, tzinfo=UTC)
ALL = Span(DAYS[0], DAYS[-1] + ONE_DAY)
EVER = Span(date(2000, 1, 1), date(2100, 1, 1))
MODELS = ("gpt-image-2", "gpt-image-1.5", "flux/schnell", None)
INTERRUPTED = GenerationInterruptedError().document()
ERRORS = (UpstreamRefusedError("no").document(), UpstreamAnswerError("no picture").document(), INTERRUPTED)
USAGES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"total_tokens": 3},
    {"input_tokens": 12, "output_tokens": 1056},
    {
        "input_tokens": 500,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 480, "cached_tokens": 100},
        "output_tokens": 300,
        "output_tokens_details": {"image_tokens": 290, "text_tokens": 10},
    },
    {
        "input_tokens": 500,
        "input_tokens_details": {
            "text_tokens": 20,
            "image_tokens": 480,
            "cached_tokens": 100,
            "cached_tokens_details": {"text_tokens": 10, "image_tokens": 90},
        },
        "output_tokens": 300,
    },
)
BYS: tuple[tuple[Dimension, ...], ...] = ((), *((each,) for each in Dimension), *combinations(reversed(Dimension), 2))
Found = dict[tuple[str | int, ...], Sums]


@dataclass
class Books:
    """The repositories of one replica, and what is on in them."""

    database: SqlDatabase
    close: Callable[[], None]

    def __post_init__(self) -> None:
        self.generations = SqlGenerationRepository(self.database)
        self.parked = SqlParkedImageRepository(self.database)
        self.budgets = SqlBudgetRepository(self.database)
        self.usage = SqlUsageRepository(self.database, now=NOON)

    async def begin(self, chance: random.Random, *, day: date | None = None) -> Generation:
        """A generation of a random key, model and moment."""
        seconds = chance.choice((0.0, 86_399.999999, chance.uniform(0, 86_399)))
        at = datetime.combine(day or chance.choice(DAYS), datetime.min.time(), UTC) + timedelta(seconds=seconds)
        values: dict[str, Any] = {"prompt": 'a "dot"', "n": chance.randint(1, 3)}
        if (model := chance.choice(MODELS)) is not None:
            values["model"] = model
        if chance.random() < 0.3:
            values["inputs"] = [an_input().model_dump(mode="json")]
        quote = Quote(price_id=1, cost_class="0" * 32, estimate=chance.randint(0, 10**9))
        generation = a_generation(
            api_key_id=chance.randint(0, 2),
            request=RecordedRequest(values=values),
            quote=chance.choice((quote, quote, quote.model_copy(update={"estimate": None, "price_id": None}), None)),
            created_at=at,
            updated_at=at,
        )
        await self.generations.add(generation, lease=60)
        return generation

    async def end(self, chance: random.Random, generation: Generation) -> Generation:
        """Its end, or another one if it counts as interrupted; it may be parked first."""
        if chance.random() < 0.2:
            drawing = a_drawing(pictures=(b"1",), usage=chance.choice(USAGES))
            await self.parked.add(generation, drawing)
            return await self.generations.get(generation.guid)
        if generation.state is GenerationState.RUNNING and chance.random() < 0.4:
            await self.generations.fail(generation, error=chance.choice(ERRORS))
            return await self.generations.get(generation.guid)
        images = tuple(
            an_image(generation, guid=generation.image_guid(number)) for number in range(chance.randint(1, 3))
        )
        reckoned = chance.choice((None, chance.randint(0, 10**12)))
        await self.generations.succeed(
            generation,
            images=images,
            drawing=a_drawing(pictures=(b"1",) * len(images), usage=chance.choice(USAGES)),
            cost=cost_of_success(generation.quote, reckoned=reckoned),
        )
        return await self.generations.get(generation.guid)

    async def records(self) -> FakeUsageRepository:
        """All records, as `GET /generation` lists them, for the same questions."""
        everything = FakeGenerationRepository(FakeImageRepository())
        cursor = None
        while True:
            page = await self.generations.list(limit=100, cursor=cursor)
            everything.generations |= {each.guid: each for each in page.generations}
            if (cursor := page.next_cursor) is None:
                return FakeUsageRepository(everything)

    async def plainly(self, span: Span, *, by: Sequence[Dimension]) -> Found:
        """The same sums from all records."""
        return await (await self.records()).sums(span, by=by)

    async def require_right_sums(self) -> None:
        """By everything, of everybody and of one key, it is what the records say, and what the windows have."""
        await self.require_sums_of_records()
        by_day = await self.usage.sums(EVER, by=[Dimension.DAY])
        for day in DAYS:
            (window,) = await self.budgets.spending([EVERYBODY], at=datetime.combine(day, datetime.min.time(), UTC))
            sums = by_day.get((f"{day}",), Sums())
            assert window.used == sums.cost + sums.reserved, day

    async def require_sums_of_records(self) -> None:
        """By everything, of everybody and of one key, it is what the records say."""
        records = await self.records()
        for by in BYS:
            for key in (None, 1):
                found = await self.usage.sums(ALL, by=by, api_key_id=key)
                assert found == await records.sums(ALL, by=by, api_key_id=key), (by, key)
        by_day = await self.usage.sums(EVER, by=[Dimension.DAY])
        for by in BYS[1:]:
            assert total_of((await self.usage.sums(EVER, by=by)).values()) == total_of(by_day.values())

    async def stored(self) -> list[str]:
        """The days that are stored."""
        return [str(row["day"]) for row in await self.database.all("SELECT day FROM usage_days ORDER BY day")]

    async def unequal(self) -> list[UnequalDay]:
        """The stored days that are not what their generations say."""
        audited = [await self.usage.audit(day) for day in await self.usage.days()]
        return [each for each in audited if each is not None]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URLs of migrated databases that hold nothing yet."""
    file = tmp_path_factory.mktemp("migrated") / "pixyproxy.db"
    migrate(f"sqlite:///{file}")
    return {"sqlite": str(file)}


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str], migrated: dict[str, str]) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        shutil.copyfile(migrated["sqlite"], tmp_path / "pixyproxy.db")
        return f"sqlite:///{tmp_path}/pixyproxy.db"
    server: SqlServer = request.getfixturevalue(request.param)
    if request.param not in migrated:
        migrated[request.param] = server.create(unique())
        migrate(migrated[request.param])
    name = migrated[request.param].rpartition("/")[2]
    for table in (
        *("images", "image_terms", "parked_images", "ledger", "budgets", "windows", "generations"),
        *("usage_days", "usage_sums", "usage_open"),
    ):
        server.query(f"DELETE FROM {table}", database=name)
    return migrated[request.param]


@pytest.fixture
def books(url: str) -> Iterator[Books]:
    """Empty books."""
    opened = Books(*open_database(url, limits=PATIENT))
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_sums_are_those_of_all_records_whatever_happens_to_stored_days(books: Books, seed: int) -> None:
    chance = random.Random(seed)
    begun = [await books.begin(chance) for _ in range(40)]
    await books.budgets.set(Budget(owner=EVERYBODY, period=Period.DAY, limit=10**15))
    for _ in range(20):
        with suppress(PriceUnknownError):
            begun.append(await books.begin(chance))
    await books.require_right_sums()
    for _ in range(4):
        for number, generation in enumerate(begun):
            if (generation.state is GenerationState.RUNNING or is_interrupted(generation)) and chance.random() < 0.5:
                begun[number] = await books.end(chance, generation)
        await books.require_right_sums()
        assert await books.unequal() == []
    first, *others = await books.stored()
    assert others == [f"{day}" for day in days_between(first, DAYS[-1])]
    for table in ("usage_days", "usage_sums", "usage_open"):
        await books.database.execute(f"DELETE FROM {table}")
    await books.require_right_sums()


def days_between(first: str, last: date) -> list[date]:
    """The days after the first one, before the last one."""
    begin = date.fromisoformat(first)
    return [begin + timedelta(days=number) for number in range(1, (last - begin).days)]


async def test_a_day_is_stored_an_hour_after_its_end_and_then_read_from_there(books: Books) -> None:
    chance = random.Random(3)
    running = [await books.begin(chance, day=DAYS[3]) for _ in range(5)]
    ended = [await books.end(random.Random(0), each) for each in running[:4]]
    assert GenerationState.SUCCEEDED in {each.state for each in ended}
    span = Span(DAYS[3], DAYS[4])
    early = SqlUsageRepository(books.database, now=datetime(2028, 3, 1, 0, 59, 59, tzinfo=UTC))
    expected = await books.plainly(span, by=[Dimension.DAY])
    assert await early.sums(span, by=[Dimension.DAY]) == expected
    assert await books.stored() == []
    late = SqlUsageRepository(books.database, now=datetime(2028, 3, 1, 1, tzinfo=UTC))
    assert await late.sums(span, by=[Dimension.DAY]) == expected
    assert await books.stored() == ["2028-02-29"]
    await books.database.execute("UPDATE usage_sums SET images = images + 1000")
    assert (await late.sums(span, by=[]))[()].images > 1000
    await books.end(random.Random(0), running[4])
    assert (await late.sums(span, by=[]))[()].running == sum(
        each.state is GenerationState.RUNNING for each in (await books.generations.list(limit=10)).generations
    )


async def test_a_question_that_cannot_add_up_all_days_says_so_and_the_next_one_goes_on(books: Books) -> None:
    for day in DAYS[2:5]:
        await books.begin(random.Random(4), day=day)
    hasty = SqlUsageRepository(books.database, fill=0, now=NOON)
    for left in (2, 1):
        with pytest.raises(UsageNotReadyError, match=f"{left} days"):
            await hasty.sums(EVER, by=[Dimension.KEY])
    assert await hasty.sums(EVER, by=[Dimension.KEY]) == await books.plainly(EVER, by=[Dimension.KEY])


async def test_the_reconciler_stores_days_before_anybody_asks(books: Books) -> None:
    assert await books.usage.store(seconds=0) == 0
    for day in DAYS[3:]:
        await books.begin(random.Random(4), day=day)
    assert await books.usage.store(seconds=0) == 1
    assert await books.usage.store(seconds=60) == 0
    assert await books.stored() == ["2028-02-29", "2028-03-01"]
    await books.require_sums_of_records()


async def test_too_many_groups_are_refused(books: Books) -> None:
    for day in (*DAYS, DAYS[-1]):
        await books.begin(random.Random(5), day=day)
    for most, refused in ((len(DAYS), False), (len(DAYS) - 1, True), (3, True)):
        few = SqlUsageRepository(books.database, most=most, now=NOON)
        if refused:
            with pytest.raises(InvalidRequestError):
                await few.sums(EVER, by=[Dimension.DAY])
        else:
            assert len(await few.sums(EVER, by=[Dimension.DAY])) == most


async def test_nothing_was_drawn(books: Books) -> None:
    assert await books.usage.sums(EVER, by=[]) == {}
    assert await books.usage.sums(EVER, by=[Dimension.DAY, Dimension.KEY]) == {}
    assert await books.stored() == []


async def test_a_record_that_cannot_be_read_counts_as_a_generation(books: Books) -> None:
    generation = await books.begin(random.Random(6), day=DAYS[3])
    await books.database.execute(
        "UPDATE generations SET request = :request, `usage` = :usage, state = 'unheard-of' WHERE guid = :guid",
        request='{"model": ["a"]}',
        usage='["a"]',
        guid=str(generation.guid),
    )
    found = await books.usage.sums(EVER, by=[Dimension.MODEL, Dimension.STATE])
    assert {group: sums.generations for group, sums in found.items()} == {("", "unheard-of"): 1}


async def test_replicas_that_ask_while_generations_end_never_count_one_twice_or_not_at_all(url: str) -> None:
    replicas = [Books(*open_database(url, limits=PATIENT)) for _ in range(2)]
    try:
        begun = [await replicas[0].begin(random.Random(number), day=DAYS[2 + number % 4]) for number in range(60)]

        async def end(number: int) -> None:
            chance = random.Random(number)
            generation = begun[number]
            for _ in range(3):
                if generation.state is GenerationState.RUNNING or is_interrupted(generation):
                    generation = await replicas[number % 2].end(chance, generation)

        async def ask(number: int) -> None:
            for by in ([Dimension.DAY], [Dimension.KEY, Dimension.STATE], [Dimension.MODEL]):
                found = await replicas[number % 2].usage.sums(EVER, by=by)
                assert total_of(found.values()).generations == len(begun)
                assert await replicas[number % 2].unequal() == []

        await asyncio.gather(*map(end, range(60)), *map(ask, range(10)))
        for replica in replicas:
            await replica.require_sums_of_records()
    finally:
        for replica in replicas:
            replica.close()


CHANGES = {
    "more was spent": "UPDATE usage_sums SET cost_nano = cost_nano + 1 WHERE day = :day",
    "another model": "UPDATE usage_sums SET model = 'another' WHERE day = :day",
    "no sums": "DELETE FROM usage_sums WHERE day = :day",
    "one runs that is not named": "DELETE FROM usage_open WHERE day = :day",
    "one is named that is of another day": "INSERT INTO usage_open VALUES (:day, 1234567)",
    "the day, and not its sums": "DELETE FROM usage_days WHERE day = :day",
}
"""What somebody may do by hand."""
HARMLESS = "the day, and not its sums"


@pytest.mark.parametrize("change", CHANGES)
async def test_the_audit_finds_a_day_that_was_changed_by_hand_and_it_is_added_up_anew(
    books: Books, change: str
) -> None:
    for day in DAYS[2:5]:
        running, ended = await books.begin(random.Random(4), day=day), await books.begin(random.Random(5), day=day)
        assert running.state is GenerationState.RUNNING
        await books.generations.fail(ended, error=ERRORS[1])
    assert await books.usage.store(seconds=60) == 0
    assert await books.unequal() == []
    await books.database.execute(CHANGES[change], day=f"{DAYS[3]}")
    found = [(each.day, each.recorded.running) for each in await books.unequal()]
    assert found == ([] if change == HARMLESS else [(DAYS[3], int(change == "one runs that is not named"))])
    await books.usage.forget(DAYS[3])
    assert DAYS[3] not in await books.usage.days()
    await books.require_sums_of_records()
    assert await books.usage.days() == DAYS[2:5]
    assert await books.unequal() == []


async def test_a_day_that_is_forgotten_before_the_audit_reads_it_is_none_that_differs(books: Books) -> None:
    for day in DAYS[2:5]:
        ended = await books.begin(random.Random(5), day=day)
        await books.generations.fail(ended, error=ERRORS[1])
    await books.usage.store(seconds=60)
    listed = await books.usage.days()
    await books.usage.forget(DAYS[3])
    assert DAYS[3] in listed
    assert [await books.usage.audit(day) for day in listed] == [None] * len(listed)
    await books.database.execute("UPDATE usage_sums SET images = images + 1")
    assert [each.day for each in await books.unequal()] == [DAYS[2], DAYS[4]], "the others are still compared"


async def test_the_audit_finds_a_generation_that_began_in_a_day_that_was_stored(books: Books) -> None:
    await books.begin(random.Random(4), day=DAYS[3])
    await books.usage.store(seconds=60)
    late = await books.begin(random.Random(4), day=DAYS[4])
    await books.database.execute(
        "UPDATE generations SET created_at = :at WHERE guid = :guid",
        at=f"{DAYS[3]} 12:00:00.000000",
        guid=str(late.guid),
    )
    (unequal,) = await books.unequal()
    assert (unequal.day, unequal.stored.generations, unequal.recorded.generations) == (DAYS[3], 0, 1)


def is_interrupted(generation: Generation) -> bool:
    """Whether it may still succeed late."""
    return generation.error is not None and generation.error["type"] == INTERRUPTED["type"]
