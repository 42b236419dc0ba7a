"""One contract for what generations weigh, and for budgets: the fake, SQLite, a real MySQL and a real MariaDB."""

import asyncio
import random
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event

from pixyproxy.core.budgets import EVERYBODY, Budget, Period, resets_at
from pixyproxy.core.exceptions import (
    BudgetExhaustedError,
    ConflictError,
    GenerationInterruptedError,
    NotFoundError,
    PriceUnknownError,
    RateLimitedError,
    UpstreamAnswerError,
    UpstreamRefusedError,
)
from pixyproxy.core.generations import Generation
from pixyproxy.core.keys import KeyLimits, KeyRights, Scope
from pixyproxy.core.ledger import Kind, Quote
from pixyproxy.core.limits import DatabaseLimits
from pixyproxy.core.money import Cost
from pixyproxy.core.protocols import (
    ApiKeyRepository,
    BudgetRepository,
    GenerationRepository,
    LedgerRepository,
    ParkedImageRepository,
)
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.budgets import SqlBudgetRepository, SqlLedgerRepository
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import migrate, open_database
from pixyproxy.data.parked import SqlParkedImageRepository
from tests.examples import a_drawing, a_generation, an_image
from tests.fakes import (
    FakeApiKeyRepository,
    FakeBudgetRepository,
    FakeGenerationRepository,
    FakeImageRepository,
    FakeLedgerRepository,
    FakeParkedImageRepository,
)
from tests.servers import SqlServer

pytestmark = pytest.mark.anyio

CLASS = "0" * 32
INTERRUPTED = GenerationInterruptedError().document()
REFUSED = UpstreamRefusedError("no").document()
NO_PICTURE = UpstreamAnswerError("no picture").document()
NOW = datetime.now(UTC).replace(microsecond=0)
PATIENT = DatabaseLimits(file_lock_wait=60, reserve_wait=60, read_wait=60, attempts=10)
"""These tests ask for more at once than any service would."""
CENT = 10_000_000
"""Nano-dollars."""
TABLES = ("images", "image_terms", "parked_images", "ledger", "budgets", "windows", "generations", "api_keys")


@dataclass
class Books:
    """One implementation of each repository that the ledger concerns."""

    generations: GenerationRepository
    parked: ParkedImageRepository
    budgets: BudgetRepository
    ledger: LedgerRepository
    keys: ApiKeyRepository
    database: SqlDatabase | None = None

    async def reserve(
        self, estimate: int | None = CENT, *, limits: KeyLimits | None = None, cost_class: str = CLASS, **values: object
    ) -> Generation:
        """A generation that runs and weighs its estimate."""
        quote = Quote(price_id=None if estimate is None else 1, cost_class=cost_class, estimate=estimate)
        generation = a_generation(**{"quote": quote, "created_at": NOW, "updated_at": NOW, **values})
        await self.generations.add(generation, lease=60, limits=limits or KeyLimits())
        return generation

    async def succeed(self, generation: Generation, nano: int | None, *, drawn: bool = True) -> Generation:
        """Its end with a picture that cost so much; as it is recorded."""
        cost = None if nano is None else Cost(nano=nano, basis="usage")
        drawing = a_drawing() if drawn else None
        await self.generations.succeed(generation, images=(an_image(generation),), drawing=drawing, cost=cost)
        return await self.generations.get(generation.guid)

    async def fail(self, generation: Generation, error: dict[str, object]) -> Generation:
        """Its end without a picture; as it is recorded."""
        await self.generations.fail(generation, error=error)
        return await self.generations.get(generation.guid)

    async def used(self, owner: int = 1, *, at: datetime = NOW) -> list[tuple[str, int]]:
        """The windows of an owner's budgets, and what they have."""
        return [(each.budget.period.word, each.used) for each in await self.budgets.spending([owner], at=at)]

    async def entries(self, guid: UUID) -> list[tuple[str, int]]:
        """What the ledger has of a generation."""
        if isinstance(self.generations, FakeGenerationRepository):
            return [(kind.value, delta) for kind, delta in self.generations.entries.get(guid, [])]
        assert self.database is not None
        rows = await self.database.all(
            """
            SELECT kind, delta_nano FROM ledger
            WHERE generation_id = (SELECT id FROM generations WHERE guid = :guid) ORDER BY sequence
            """,
            guid=str(guid),
        )
        return [(row["kind"], row["delta_nano"]) for row in rows]

    async def require_balance(self) -> None:
        """Entries, generations and windows agree."""
        assert (await self.ledger.audit(after=0, limit=10_000)).imbalances == ()
        assert await self.ledger.audit_windows() == ()


@pytest.fixture
def make_url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    unique: Callable[[], str],
    migrated: dict[str, str],
    migrated_file: Path,
) -> Callable[[str], str]:
    """Makes the URL of an empty database of a kind."""

    def make(kind: str) -> str:
        if kind == "sqlite":
            shutil.copyfile(migrated_file, tmp_path / "pixyproxy.db")
            return f"sqlite:///{tmp_path}/pixyproxy.db"
        server: SqlServer = request.getfixturevalue(kind)
        if kind not in migrated:
            migrated[kind] = server.create(unique())
            migrate(migrated[kind])
        for table in TABLES:
            server.query(f"DELETE FROM {table}", database=migrated[kind].rpartition("/")[2])
        return migrated[kind]

    return make


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def url(request: pytest.FixtureRequest, make_url: Callable[[str], str]) -> str:
    """The URL of an empty database."""
    return make_url(request.param)


def open_books(url: str) -> tuple[Books, Callable[[], None]]:
    """The repositories of one replica, and what closes them."""
    database, close = open_database(url, limits=PATIENT)
    books = Books(
        SqlGenerationRepository(database),
        SqlParkedImageRepository(database),
        SqlBudgetRepository(database),
        SqlLedgerRepository(database),
        SqlApiKeyRepository(database),
        database,
    )
    return books, close


@pytest.fixture(params=["fake", "sqlite", "mysql", "mariadb"])
def books(request: pytest.FixtureRequest, make_url: Callable[[str], str]) -> Iterator[Books]:
    """Empty books."""
    if request.param == "fake":
        generations = FakeGenerationRepository(FakeImageRepository())
        yield Books(
            generations,
            FakeParkedImageRepository(generations),
            FakeBudgetRepository(generations),
            FakeLedgerRepository(generations),
            FakeApiKeyRepository(),
        )
        return
    opened, close = open_books(make_url(request.param))
    yield opened
    close()


async def test_a_generation_weighs_its_estimate_and_then_its_cost(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=100 * CENT))
    generation = await books.reserve(3 * CENT)
    assert generation.cost is None
    assert await books.used() == [("day", 3 * CENT)]
    ended = await books.succeed(generation, 2 * CENT)
    assert ended.cost == Cost(nano=2 * CENT, basis="usage")
    assert ended.quote == generation.quote
    assert await books.used() == [("day", 2 * CENT)]
    assert await books.entries(generation.guid) == [("reserve", 3 * CENT), ("success", -CENT)]
    await books.require_balance()


@pytest.mark.parametrize(
    ("error", "cost"),
    [
        (REFUSED, Cost(nano=0, basis="none")),
        (NO_PICTURE, Cost(nano=3 * CENT, basis="estimate")),
        (INTERRUPTED, Cost(nano=3 * CENT, basis="estimate")),
    ],
    ids=["nothing spent", "billed", "unknown"],
)
async def test_a_failure_weighs_what_its_error_says_of_money(
    books: Books, error: dict[str, object], cost: Cost
) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.TOTAL, limit=100 * CENT))
    generation = await books.reserve(3 * CENT)
    assert (await books.fail(generation, error)).cost == cost
    assert await books.used() == [("total", cost.nano)]
    assert await books.entries(generation.guid) == [("reserve", 3 * CENT), ("failure", cost.nano - 3 * CENT)]
    await books.require_balance()


async def test_a_late_success_weighs_its_cost_instead_of_the_estimate(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.MONTH, limit=100 * CENT))
    generation = await books.reserve(3 * CENT)
    failed = await books.fail(generation, INTERRUPTED)
    ended = await books.succeed(failed, 5 * CENT)
    assert ended.cost == Cost(nano=5 * CENT, basis="usage")
    assert await books.used() == [("month", 5 * CENT)]
    assert await books.entries(generation.guid) == [("reserve", 3 * CENT), ("failure", 0), ("success", 2 * CENT)]
    await books.require_balance()


async def test_the_owner_adds_the_usage_to_a_success_that_a_reconciler_recorded(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=100 * CENT))
    generation = await books.reserve(3 * CENT)
    estimated = Cost(nano=3 * CENT, basis="estimate")
    await books.generations.succeed(generation, images=(an_image(generation),), cost=estimated)
    known = await books.succeed(generation, 2 * CENT)
    assert known.cost == Cost(nano=2 * CENT, basis="usage")
    assert (known.usage, known.upstream_request_id) == ({"total_tokens": 3}, "req_1")
    assert len(known.images) == 1
    assert await books.used() == [("day", 2 * CENT)]
    assert await books.entries(generation.guid) == [("reserve", 3 * CENT), ("success", 0), ("correction", -CENT)]
    await books.succeed(generation, CENT)
    assert len(await books.entries(generation.guid)) == 3, "once"
    await books.require_balance()


async def test_parked_pictures_weigh_their_estimate_until_they_are_kept(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=100 * CENT))
    generation = await books.reserve(3 * CENT)
    failed = await books.fail(generation, INTERRUPTED)
    await books.parked.add(failed, a_drawing(pictures=(b"1",)))
    parked = await books.generations.get(generation.guid)
    assert parked.cost is None
    assert await books.used() == [("day", 3 * CENT)]
    await books.succeed(parked, CENT)
    assert await books.used() == [("day", CENT)]
    await books.require_balance()


async def test_a_success_that_is_recorded_twice_is_paid_once(books: Books) -> None:
    generation = await books.reserve(3 * CENT)
    await books.succeed(generation, 2 * CENT)
    await books.succeed(generation, 2 * CENT)
    assert len(await books.entries(generation.guid)) == 2
    with pytest.raises(ConflictError):
        await books.generations.fail(generation, error=INTERRUPTED)
    await books.require_balance()


async def test_an_unknown_price_is_no_cost_and_weighs_nothing(books: Books) -> None:
    generation = await books.reserve(None)
    assert (await books.succeed(generation, None)).cost is None
    assert await books.entries(generation.guid) == []
    refused = await books.fail(await books.reserve(None), REFUSED)
    assert refused.cost == Cost(nano=0, basis="none"), "it is known that nothing was spent"
    lost = await books.fail(await books.reserve(None), INTERRUPTED)
    assert lost.cost is None
    await books.require_balance()


async def test_a_cost_without_an_estimate_is_entered(books: Books) -> None:
    await books.budgets.set(Budget(owner=7, period=Period.DAY, limit=CENT))  # of another key
    generation = await books.reserve(None)
    assert (await books.succeed(generation, 2 * CENT)).cost == Cost(nano=2 * CENT, basis="usage")
    assert await books.entries(generation.guid) == [("success", 2 * CENT)]
    await books.require_balance()


async def test_a_budget_takes_up_to_its_limit_and_not_a_nano_more(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=10 * CENT))
    await books.reserve(6 * CENT)
    with pytest.raises(BudgetExhaustedError) as refused:
        await books.reserve(4 * CENT + 1)
    tomorrow = (NOW + timedelta(days=1)).date()
    assert refused.value.extra == {
        "period": "day",
        "limit": "0.1",
        "used": "0.06",
        "estimate": "0.040000001",
        "everybody": False,
        "resets_at": f"{tomorrow}T00:00:00Z",
    }
    assert refused.value.cost == "none"
    await books.reserve(4 * CENT)
    await books.reserve(4 * CENT, api_key_id=2)  # another key has no budget
    with pytest.raises(BudgetExhaustedError):
        await books.reserve(1)
    assert await books.used() == [("day", 10 * CENT)]
    assert len((await books.generations.list(limit=10)).generations) == 3, "a refused one leaves no record"
    await books.require_balance()


async def test_all_budgets_that_apply_must_have_room(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=10 * CENT))
    await books.budgets.set(Budget(owner=1, period=Period.TOTAL, limit=20 * CENT))
    await books.budgets.set(Budget(owner=EVERYBODY, period=Period.MONTH, limit=5 * CENT))
    await books.reserve(4 * CENT)
    with pytest.raises(BudgetExhaustedError, match="all keys together") as refused:
        await books.reserve(2 * CENT)
    assert (refused.value.extra["period"], refused.value.extra["everybody"]) == ("month", True)
    assert await books.used() == [("day", 4 * CENT), ("total", 4 * CENT)], "nothing of a refused one is left"
    assert await books.used(EVERYBODY) == [("month", 4 * CENT)]
    with pytest.raises(BudgetExhaustedError):
        await books.reserve(2 * CENT, api_key_id=2)
    await books.reserve(CENT, api_key_id=2)
    assert await books.used(EVERYBODY) == [("month", 5 * CENT)]
    await books.require_balance()


async def test_a_key_with_a_budget_cannot_use_a_model_without_a_price(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=CENT))
    with pytest.raises(PriceUnknownError, match="gpt-image-2"):
        await books.reserve(None)
    await books.reserve(None, api_key_id=2)


async def test_a_budget_counts_what_was_spent_before_it_was_set(books: Books) -> None:
    await books.succeed(await books.reserve(3 * CENT), 2 * CENT)
    running = await books.reserve(3 * CENT)
    await books.reserve(7 * CENT, api_key_id=2)
    await books.reserve(7 * CENT, created_at=NOW - timedelta(days=40))
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=6 * CENT))
    await books.budgets.set(Budget(owner=1, period=Period.TOTAL, limit=100 * CENT))
    assert await books.used() == [("day", 5 * CENT), ("total", 12 * CENT)], "added up before a window is open"
    with pytest.raises(BudgetExhaustedError):
        await books.reserve(2 * CENT)
    await books.reserve(CENT)
    assert await books.used() == [("day", 6 * CENT), ("total", 13 * CENT)]
    await books.succeed(running, CENT)
    assert await books.used() == [("day", 4 * CENT), ("total", 11 * CENT)]
    await books.require_balance()


async def test_a_budget_below_what_is_used_refuses_until_it_is_raised(books: Books) -> None:
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=10 * CENT))
    generation = await books.reserve(6 * CENT)
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=CENT))
    with pytest.raises(BudgetExhaustedError, match=r"\$0.06 is used"):
        await books.reserve(1)
    await books.succeed(generation, 6 * CENT)
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=7 * CENT))
    await books.reserve(CENT)
    assert await books.budgets.remove(owner=1, period=Period.DAY)
    assert not await books.budgets.remove(owner=1, period=Period.DAY)
    await books.reserve(1000 * CENT)
    assert await books.used() == []
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=10_000 * CENT))
    assert await books.used() == [("day", 1007 * CENT)], "a removed budget forgets nothing"
    await books.require_balance()


async def test_windows_begin_and_end_at_midnight_in_utc(books: Books) -> None:
    last = datetime(2028, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
    for period in Period:
        await books.budgets.set(Budget(owner=1, period=period, limit=100 * CENT))
    await books.reserve(CENT, created_at=datetime(2028, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    await books.reserve(2 * CENT, created_at=datetime(2028, 2, 1, tzinfo=UTC))
    await books.reserve(4 * CENT, created_at=last - timedelta(days=1))
    leap = await books.reserve(8 * CENT, created_at=last)
    await books.reserve(16 * CENT, created_at=last + timedelta(microseconds=1))
    seen = {at: [used // CENT for _, used in await books.used(at=at)] for at in (last, last + timedelta(seconds=1))}
    assert seen == {last: [8, 14, 31], last + timedelta(seconds=1): [16, 16, 31]}
    await books.succeed(leap, 9 * CENT)  # in the next month: it counts where it began
    assert [used // CENT for _, used in await books.used(at=last)] == [9, 15, 32]
    await books.require_balance()


@contextmanager
def counted(statements: list[str]) -> Iterator[None]:
    """While it is entered, the SELECTs of every database are noted."""

    def note(*arguments: object) -> None:
        statement = str(arguments[2])
        if statement.lstrip().startswith("SELECT"):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_the_budgets_of_many_keys_are_read_with_few_statements(books: Books) -> None:
    owners = [EVERYBODY, *range(1, 31)]
    for owner in owners:
        for period in Period:
            await books.budgets.set(Budget(owner=owner, period=period, limit=100 * CENT))
    await books.reserve(CENT, api_key_id=2)  # opens the windows of one key, and of everybody
    await books.reserve(2 * CENT, api_key_id=3, created_at=NOW - timedelta(days=1))
    statements: list[str] = []
    with counted(statements):
        known = await books.budgets.spending(owners, at=NOW)
    if books.database is not None:
        # Budgets, windows, and for each period the windows that were never used.
        assert len(statements) <= 2 + 2 * len(Period), statements
    used = {(each.budget.owner, each.budget.period.word): each.used // CENT for each in known if each.used}
    yesterday = {"month", "total"} if NOW.day > 1 else {"total"}
    assert used == {
        **dict.fromkeys([(2, "day"), (2, "month"), (2, "total"), (EVERYBODY, "day")], 1),
        **{(3, word): 2 for word in yesterday},
        **{(EVERYBODY, word): 3 if word in yesterday else 1 for word in ("month", "total")},
    }
    assert [each.budget for each in known] == [
        Budget(owner=owner, period=period, limit=100 * CENT) for period in Period for owner in owners
    ]
    assert await books.budgets.spending([99], at=NOW) == ()


def test_the_ends_of_windows() -> None:
    assert resets_at(Period.DAY, date(2028, 2, 28)) == datetime(2028, 2, 29, tzinfo=UTC)
    assert resets_at(Period.MONTH, date(2028, 12, 1)) == datetime(2029, 1, 1, tzinfo=UTC)
    assert resets_at(Period.MONTH, date(2028, 2, 1)) == datetime(2028, 3, 1, tzinfo=UTC)
    assert resets_at(Period.TOTAL, date(1970, 1, 1)) is None
    west = datetime(2028, 2, 29, 20, 0, tzinfo=UTC).astimezone()
    assert Period.DAY.starts_on(west) == date(2028, 2, 29)


async def test_the_dearest_image_of_a_class(books: Books) -> None:
    other = "1" * 32
    for nano, cost_class, days in ((5, CLASS, 0), (3, CLASS, 0), (9, other, 0), (7, CLASS, 40)):
        made = await books.reserve(CENT, cost_class=cost_class, created_at=NOW - timedelta(days=days))
        await books.succeed(made, nano * CENT)
    await books.fail(await books.reserve(50 * CENT), INTERRUPTED)  # an estimate teaches nothing
    since = NOW - timedelta(days=30)
    assert await books.ledger.dearest(CLASS, since=since) == 5 * CENT
    assert await books.ledger.dearest(other, since=since) == 9 * CENT
    assert await books.ledger.dearest("2" * 32, since=since) is None


async def test_a_key_runs_no_more_generations_than_it_may(books: Books) -> None:
    limits = KeyLimits(running_limit=2)
    first = await books.reserve(limits=limits)
    await books.reserve(limits=limits)
    with pytest.raises(RateLimitedError, match="2 generations") as refused:
        await books.reserve(limits=limits)
    assert refused.value.headers == {
        "Retry-After": "5",
        "RateLimit-Policy": '"running";q=2',
        "RateLimit": '"running";r=0;t=5',
    }
    await books.reserve(limits=limits, api_key_id=2)
    await books.fail(first, REFUSED)
    await books.reserve(limits=limits)


async def test_a_key_begins_no_more_generations_a_minute_than_it_may(books: Books) -> None:
    key = await books.keys.add(name="fast", prefix="pxp_0000", sha256="ab" * 32)
    limits = KeyLimits(rate_per_minute=3)
    for _ in range(3):
        await books.reserve(limits=limits, api_key_id=key.id)
    with pytest.raises(RateLimitedError, match="3 generations a minute") as refused:
        await books.reserve(limits=limits, api_key_id=key.id)
    assert 1 <= int(refused.value.headers["Retry-After"]) <= 20
    assert refused.value.headers["RateLimit-Policy"] == '"minute";q=3;w=60'
    await books.reserve(api_key_id=key.id)  # whoever raises the limit frees it at once


async def test_two_replicas_with_32_clients_spend_exactly_the_budget(url: str) -> None:
    replicas = [open_books(url), open_books(url)]
    await replicas[0][0].budgets.set(Budget(owner=1, period=Period.DAY, limit=50 * CENT))
    await replicas[0][0].budgets.set(Budget(owner=EVERYBODY, period=Period.TOTAL, limit=1000 * CENT))
    drawn, refused = list[Generation](), list[BudgetExhaustedError]()

    async def client(books: Books) -> None:
        for _ in range(2):
            try:
                generation = await books.reserve(CENT)
            except BudgetExhaustedError as error:
                refused.append(error)
            else:
                drawn.append(await books.succeed(generation, CENT))

    await asyncio.gather(*(client(replicas[number % 2][0]) for number in range(64)))
    assert (len(drawn), len(refused)) == (50, 78)
    assert await replicas[1][0].used() == [("day", 50 * CENT)]
    await replicas[1][0].require_balance()
    for _, close in replicas:
        close()


async def test_32_clients_at_midnight_open_a_window_once(url: str) -> None:
    books, close = open_books(url)
    await books.budgets.set(Budget(owner=1, period=Period.TOTAL, limit=100 * CENT))
    opened: list[str] = []

    def executed(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        if "INSERT INTO windows" in sql:
            opened.append(sql)

    event.listen(Engine, "after_cursor_execute", executed)
    try:
        await asyncio.gather(*(books.reserve(CENT) for _ in range(32)))
    finally:
        event.remove(Engine, "after_cursor_execute", executed)
    assert len(opened) == 1
    assert await books.used() == [("total", 32 * CENT)]
    await books.require_balance()
    close()


async def test_windows_are_exact_while_budgets_come_and_go(url: str) -> None:
    """Generations begin and end, budgets are set and removed, at two replicas at once: nothing is counted twice."""
    replicas = [open_books(url), open_books(url)]
    chance, ending = random.Random(12), asyncio.Event()

    async def client(books: Books) -> None:
        while not ending.is_set():
            generation = await books.reserve(chance.randrange(1, CENT))
            match chance.randrange(4):
                case 0:
                    await books.fail(generation, REFUSED)
                case 1:
                    await books.succeed(await books.fail(generation, INTERRUPTED), chance.randrange(CENT))
                case _:
                    await books.succeed(generation, chance.randrange(CENT))

    async def operator(books: Books) -> None:
        for round_ in range(12):
            for period, owner in ((Period.DAY, 1), (Period.MONTH, EVERYBODY), (Period.TOTAL, 1)):
                await books.budgets.set(Budget(owner=owner, period=period, limit=10_000 * CENT))
            await asyncio.sleep(0.03)
            assert await books.ledger.audit_windows() == ()
            if round_ % 2:
                await books.budgets.remove(owner=1, period=Period.DAY)
                await books.budgets.remove(owner=EVERYBODY, period=Period.MONTH)
        ending.set()

    clients = [client(replicas[number % 2][0]) for number in range(8)]
    await asyncio.gather(operator(replicas[0][0]), *clients)
    assert [word for word, used in await replicas[1][0].used() if used] == ["total"]
    await replicas[1][0].require_balance()
    for _, close in replicas:
        close()


async def test_the_audit_finds_what_was_changed_by_hand(url: str) -> None:
    books, close = open_books(url)
    assert books.database is not None
    await books.budgets.set(Budget(owner=1, period=Period.DAY, limit=100 * CENT))
    generation = await books.succeed(await books.reserve(3 * CENT), 2 * CENT)
    await books.require_balance()
    await books.database.execute("UPDATE ledger SET delta_nano = delta_nano + 1 WHERE kind = :kind", kind=Kind.SUCCESS)
    await books.database.execute("UPDATE windows SET used_nano = used_nano - 5")
    (found,) = (await books.ledger.audit(after=0, limit=10)).imbalances
    assert (found.name, found.has, found.expected) == (
        f"generation {generation.guid}",
        2 * CENT,
        2 * CENT + 1,
    )
    (window,) = await books.ledger.audit_windows()
    assert (window.name, window.has, window.expected) == (
        f"window of key 1: day from {NOW.date()}",
        2 * CENT - 5,
        2 * CENT,
    )
    close()


class KilledError(Exception):
    """The connection is gone, and with it the transaction."""


@contextmanager
def killed_after(statement: int) -> Iterator[list[str]]:
    """Every transaction that writes ends after so many of its statements. Yields the statements that ran."""
    ran: list[str] = []

    def executed(connection: Connection, cursor: Any, sql: str, *_: Any) -> None:
        if connection.get_execution_options().get("writes"):
            ran.append(" ".join(sql.split()))
            if len(ran) == statement:
                raise KilledError

    event.listen(Engine, "after_cursor_execute", executed)
    try:
        yield ran
    finally:
        event.remove(Engine, "after_cursor_execute", executed)


async def killed_everywhere(work: Callable[[], Awaitable[Any]], after_each: Callable[[], Awaitable[None]]) -> list[str]:
    """Run `work` killed after its first statement, after its second, and so on until it ends; what it ran then."""
    for statement in range(1, 100):
        with killed_after(statement) as ran:
            try:
                await work()
            except KilledError:
                pass
            else:
                return ran
        await after_each()
    raise AssertionError("it does not end")


async def test_whatever_is_killed_between_two_statements_leaves_the_books_balanced(url: str) -> None:
    books, close = open_books(url)
    for period, owner in ((Period.DAY, 1), (Period.MONTH, 1), (Period.TOTAL, EVERYBODY)):
        await books.budgets.set(Budget(owner=owner, period=period, limit=100 * CENT))
    generations: list[Generation] = []
    expected = [("day", 0), ("month", 0)]

    async def reserve() -> None:
        generations.append(await books.reserve(3 * CENT))

    async def still_the_same() -> None:
        assert await books.used() == expected
        await books.require_balance()

    first = await killed_everywhere(reserve, still_the_same)
    assert [each for each in first if "INSERT INTO windows" in each] == [], "its windows were opened by tries before"
    expected = [("day", 3 * CENT), ("month", 3 * CENT)]
    reserved = await killed_everywhere(reserve, still_the_same)
    for part in ("INSERT INTO generations", "INSERT INTO ledger", "UPDATE windows"):
        assert [each for each in reserved if part in each], reserved
    expected = [("day", 6 * CENT), ("month", 6 * CENT)]
    succeeded = await killed_everywhere(lambda: books.succeed(generations[0], 5 * CENT), still_the_same)
    for part in ("UPDATE generations", "INSERT INTO images", "INSERT INTO ledger", "UPDATE windows"):
        assert [each for each in succeeded if part in each], succeeded
    expected = [("day", 8 * CENT), ("month", 8 * CENT)]
    await killed_everywhere(lambda: books.fail(generations[1], REFUSED), still_the_same)
    assert await books.used() == [("day", 5 * CENT), ("month", 5 * CENT)]
    assert await books.used(EVERYBODY) == [("total", 5 * CENT)]
    await books.require_balance()
    close()


async def test_a_key_and_its_budgets_are_recorded_together_or_not_at_all(url: str) -> None:
    books, close = open_books(url)
    budgets = {Period.DAY: CENT, Period.TOTAL: 2 * CENT}

    async def make() -> None:
        await books.keys.add(name="shop", prefix="pxp_0000", sha256="ab" * 32, budgets=budgets)

    async def is_not_there() -> None:
        with pytest.raises(NotFoundError):
            await books.keys.find(name="shop")

    await killed_everywhere(make, is_not_there)
    key = await books.keys.find(name="shop")
    assert await books.used(key.id) == [("day", 0), ("total", 0)]

    async def narrow() -> None:
        narrowed = KeyRights(scopes=frozenset({Scope.READ}))
        await books.keys.change(
            name="shop", change=lambda known: known.changed(rights=narrowed), budgets={Period.DAY: None}
        )

    async def is_as_it_was() -> None:
        assert await books.keys.find(name="shop") == key
        assert len(await books.used(key.id)) == 2

    await killed_everywhere(narrow, is_as_it_was)
    assert (await books.keys.find(name="shop")).rights.scopes == {Scope.READ}
    assert await books.used(key.id) == [("total", 0)]
    close()
