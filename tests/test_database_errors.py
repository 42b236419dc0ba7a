"""What the errors of drivers mean: from the table, and from a real server that is made to raise them."""

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pymysql
import pytest
from sqlalchemy import exc

from pixyproxy.core.exceptions import ConflictError, DatabaseError, DatabaseUnavailableError, PixyProxyException
from pixyproxy.core.generations import Generation, GenerationState
from pixyproxy.core.limits import DatabaseLimits
from pixyproxy.data.database import SqlDatabase, Transaction, domain_error
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from tests import planted
from tests.examples import a_drawing, a_generation, an_image
from tests.servers import SqlServer, wait_until

pytestmark = pytest.mark.anyio


def wrapped(original: Exception) -> exc.DBAPIError:
    """The error as SQLAlchemy hands it on."""
    return exc.OperationalError("SELECT 1", {}, original)


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorname = name
    return error


MEANINGS: dict[str, tuple[Exception, type[PixyProxyException]]] = {
    **{
        f"MySQL {code}": (pymysql.err.OperationalError(code, "text"), DatabaseUnavailableError)
        for code in (
            *(1020, 1021, 1040, 1041, 1045, 1047, 1053, 1114, 1205, 1213, 1226, 1290, 1792, 1836, 1874, 1969),
            *(2003, 2006, 2013, 3024, 3032),
        )
    },
    "MySQL duplicate": (pymysql.err.IntegrityError(1062, "text"), ConflictError),
    "MySQL wrong column": (pymysql.err.OperationalError(1054, "text"), DatabaseError),
    "MySQL too long": (pymysql.err.DataError(1406, "text"), DatabaseError),
    "MySQL foreign key": (pymysql.err.IntegrityError(1452, "text"), DatabaseError),
    "MySQL check": (pymysql.err.OperationalError(4025, "text"), DatabaseError),
    "no number": (pymysql.err.InterfaceError("text"), DatabaseError),
    "SQLite busy": (sqlite_error("SQLITE_BUSY"), DatabaseUnavailableError),
    "SQLite snapshot": (sqlite_error("SQLITE_BUSY_SNAPSHOT"), DatabaseUnavailableError),
    "SQLite too slow": (sqlite_error("SQLITE_INTERRUPT"), DatabaseUnavailableError),
    "SQLite full": (sqlite_error("SQLITE_FULL"), DatabaseUnavailableError),
    "SQLite read-only": (sqlite_error("SQLITE_READONLY"), DatabaseUnavailableError),
    "SQLite unique": (sqlite_error("SQLITE_CONSTRAINT_UNIQUE"), ConflictError),
    "SQLite not null": (sqlite_error("SQLITE_CONSTRAINT_NOTNULL"), DatabaseError),
    "SQLite other": (sqlite_error("SQLITE_ERROR"), DatabaseError),
}


@pytest.mark.parametrize(("original", "kind"), MEANINGS.values(), ids=MEANINGS.keys())
def test_a_drivers_error_means(original: Exception, kind: type[PixyProxyException]) -> None:
    assert type(domain_error(wrapped(original))) is kind


def test_errors_of_the_pool_and_of_sqlalchemy_mean() -> None:
    assert type(domain_error(exc.TimeoutError())) is DatabaseUnavailableError
    assert type(domain_error(exc.InvalidRequestError())) is DatabaseError


async def a_recorded_generation(database: SqlDatabase) -> Generation:
    generation = a_generation()
    await SqlGenerationRepository(database).add(generation, lease=30)
    return generation


async def test_a_lock_wait_is_run_again_until_the_record_is_there(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url, limits=DatabaseLimits(row_lock_wait=1))
    generation = await a_recorded_generation(database)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sql_server.connect(f"test_{name}")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM generations FOR UPDATE")
            held.set()
            release.wait(20)
            connection.rollback()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    threading.Timer(1.75, release.set).start()  # longer than one lock wait, shorter than all
    started = time.monotonic()
    image = an_image(generation)
    await SqlGenerationRepository(database).succeed(generation, images=(image,), drawing=a_drawing())
    assert time.monotonic() - started > 1
    assert await SqlImageRepository(database).get(image.guid) == image
    holder.join()
    close()


async def test_a_deadlock_is_run_again(sql_server: SqlServer, unique: Callable[[], str]) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    first, second = [await a_recorded_generation(database) for _ in range(2)]
    both = threading.Barrier(2)
    attempts: list[int] = []

    def touch(one: str, other: str) -> None:
        def work(transaction: Transaction) -> None:
            attempts.append(1)
            statement = "UPDATE generations SET updated_at = '2026-11-22 00:00:00.000000' WHERE guid = :guid"
            transaction.execute(statement, guid=one)
            if len(attempts) <= 2:
                both.wait(5)
            transaction.execute(statement, guid=other)

        asyncio.run(database.transaction(work))

    guids = (str(first.guid), str(second.guid))
    threads = [threading.Thread(target=touch, args=order) for order in (guids, guids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, 30)
    assert len(attempts) == 3, "one of the two was chosen to try again, and did"
    ((changed,),) = sql_server.query(
        "SELECT COUNT(*) FROM generations WHERE updated_at = '2026-11-22'", database=f"test_{name}"
    )
    assert changed == 2
    close()


async def test_slow_searches_keep_nothing_from_being_recorded(sql_server: SqlServer, unique: Callable[[], str]) -> None:
    url = sql_server.create(unique())
    migrate(url)
    database, close = open_database(url)
    generation = await a_recorded_generation(database)
    searches = [asyncio.create_task(database.all("SELECT SLEEP(3)")) for _ in range(20)]
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await database.probe()
    image = an_image(generation)
    await SqlGenerationRepository(database).succeed(generation, images=(image,), drawing=a_drawing())
    assert time.monotonic() - started < 2.5
    await asyncio.gather(*searches, return_exceptions=True)
    close()


async def test_a_statement_that_runs_too_long_is_ended_by_the_server(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    url = sql_server.create(unique())
    migrate(url)
    database, close = open_database(url, limits=DatabaseLimits(statement=1))
    started = time.monotonic()
    await database.all("SELECT COUNT(*) FROM generations")
    numbers = "(SELECT 1 FROM information_schema.columns) AS"
    with pytest.raises(DatabaseUnavailableError, match=r"1969|3024"):
        await database.all(f"SELECT COUNT(*) FROM {numbers} a, {numbers} b, {numbers} c, {numbers} d")
    assert time.monotonic() - started < 3
    close()


async def test_sqlite_waits_for_a_lock_and_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pixyproxy.db"
    migrate(url)
    database, close = open_database(url, limits=DatabaseLimits(read_wait=0.3))
    repository = SqlGenerationRepository(database)
    generations = [await a_recorded_generation(database) for _ in range(20)]
    other = sqlite3.connect(tmp_path / "pixyproxy.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # a backup, or another process
    threading.Timer(0.8, lambda: other.execute("ROLLBACK")).start()
    await asyncio.gather(
        *(
            repository.succeed(generation, images=(an_image(generation),), drawing=a_drawing())
            for generation in generations
        )
    )
    other.close()
    close()


async def test_sqlite_that_stays_locked_is_unavailable(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pixyproxy.db"
    migrate(url)
    database, close = open_database(url, limits=DatabaseLimits(file_lock_wait=0.2))
    other = sqlite3.connect(tmp_path / "pixyproxy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailableError, match="SQLITE_BUSY"):
        await a_recorded_generation(database)
    other.close()
    close()


@dataclass(frozen=True)
class Opened:
    """A database of a server, its repositories, and a look at the other side."""

    server: SqlServer
    name: str
    database: SqlDatabase

    @property
    def generations(self) -> SqlGenerationRepository:
        return SqlGenerationRepository(self.database)

    def query(self, sql: str, *parameters: object) -> list[Any]:
        return self.server.query(sql, *parameters, database=self.name)

    @contextmanager
    def holding(self, *statements: str) -> "Iterator[pymysql.connections.Connection[Any]]":
        """Another transaction, which holds the locks of these statements until the block ends."""
        with self.server.connect(self.name) as connection:
            for statement in statements:
                connection.cursor().execute(statement)
            yield connection

    async def waits(self, statement: str) -> int:
        """The number of our connection, once it waits in this statement."""

        def waiting() -> list[Any]:
            found = self.query(
                "SELECT id FROM information_schema.processlist WHERE user = %s AND db = %s AND info LIKE %s",
                *(self.server.user, self.name, f"%{statement}%"),
            )
            assert found
            return found

        await asyncio.to_thread(wait_until, waiting, seconds=10, what=f"a connection in {statement}")
        return int(waiting()[0][0])

    async def assert_untouched(self, generation: Generation) -> None:
        """Nothing of `succeed` was written, not even by halves."""
        found = await self.generations.get(generation.guid)
        assert (found.state, found.images, found.usage) == (GenerationState.RUNNING, (), None)
        assert self.query("SELECT COUNT(*) FROM images") == [(0,)]

    async def assert_works(self, generation: Generation) -> None:
        """It succeeds now, with the same engine."""
        await succeed(self.generations, generation)
        assert (await self.generations.get(generation.guid)).state is GenerationState.SUCCEEDED
        assert self.query("SELECT COUNT(*) FROM images") == [(1,)]


@pytest.fixture
def opened(sql_server: SqlServer, unique: Callable[[], str]) -> Iterator[Opened]:
    """A database of a server, of this test alone."""
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    yield Opened(sql_server, f"test_{name}", database)
    close()


NO_NEW_IMAGE = "SELECT id FROM images FOR UPDATE"
"""Locks the gap where the next image would be: `succeed` waits at its second statement."""


async def succeed(generations: SqlGenerationRepository, generation: Generation) -> None:
    await generations.succeed(generation, images=(an_image(generation),), drawing=a_drawing())


async def test_a_connection_that_is_killed_in_the_middle_of_a_success_leaves_nothing_of_it(opened: Opened) -> None:
    generation = await a_recorded_generation(opened.database)
    with opened.holding(NO_NEW_IMAGE):
        success = asyncio.create_task(succeed(opened.generations, generation))
        opened.query(f"KILL {await opened.waits('INSERT INTO images')}")
        with pytest.raises(DatabaseUnavailableError):
            await success
    await opened.assert_untouched(generation)
    await opened.assert_works(generation)


async def test_a_server_that_dies_in_the_middle_of_a_success_leaves_nothing_of_it(opened: Opened) -> None:
    generation = await a_recorded_generation(opened.database)
    with pytest.raises(pymysql.err.Error), opened.holding(NO_NEW_IMAGE) as holder:
        success = asyncio.create_task(succeed(opened.generations, generation))
        await opened.waits("INSERT INTO images")
        opened.server.process.stop(how=signal.SIGKILL)
        try:
            with pytest.raises(DatabaseUnavailableError):
                await success
            with pytest.raises(DatabaseUnavailableError):
                await opened.generations.get(generation.guid)
            with pytest.raises(DatabaseUnavailableError):
                await a_recorded_generation(opened.database)
        finally:
            (opened.server.folder / "socket").unlink()  # a killed server leaves it, and `start` waits for a new one
            opened.server.start()
        holder.ping(reconnect=False)  # its locks died with the server
    await opened.assert_untouched(generation)
    await opened.assert_works(generation)


async def test_lock_waits_that_do_not_end_change_nothing(opened: Opened) -> None:
    finished, renewed, left = [await a_recorded_generation(opened.database) for _ in range(3)]
    await opened.generations.renew([left.guid], lease=0)
    url = opened.server.url(opened.name.removeprefix("test_"))
    impatient, close = open_database(url, limits=DatabaseLimits(row_lock_wait=1))
    generations = SqlGenerationRepository(impatient)
    leases = "SELECT guid, lease_expires_at FROM generations ORDER BY guid"
    before = opened.query(leases)
    locked = f"SELECT id FROM generations WHERE guid IN ('{renewed.guid}', '{left.guid}') FOR UPDATE"
    with opened.holding(NO_NEW_IMAGE, locked):
        failures = await asyncio.gather(
            succeed(generations, finished),
            generations.renew([renewed.guid], lease=60),
            generations.claim(left.guid, lease=60),
            return_exceptions=True,
        )
    close()
    assert [type(failure) for failure in failures] == [DatabaseUnavailableError] * 3
    assert all("1205" in str(failure) for failure in failures)
    assert opened.query(leases) == before
    await opened.assert_untouched(finished)
    await opened.generations.renew([renewed.guid], lease=60)
    assert await opened.generations.claim(left.guid, lease=60)
    assert [opened.query(leases) == before, len((await opened.generations.expired(limit=9)).generations)] == [False, 0]
    await opened.assert_works(finished)


def weigh_more(transaction: "pymysql.connections.Connection[Any]") -> None:
    """Make the transaction the one that a deadlock spares: the server ends the one that has changed less."""
    row = "(generation_guid, picture, part, data, created_at) VALUES (UUID(), 0, 0, '', UTC_TIMESTAMP(6))"
    for _ in range(20):
        transaction.cursor().execute(f"INSERT INTO parked_images {row}")


async def test_a_deadlock_in_a_success_is_run_again(opened: Opened) -> None:
    generation = await a_recorded_generation(opened.database)
    with opened.holding(NO_NEW_IMAGE) as other:
        weigh_more(other)
        success = asyncio.create_task(succeed(opened.generations, generation))
        await opened.waits("INSERT INTO images")
        other.cursor().execute("SELECT id FROM generations FOR UPDATE")  # ours holds it, and was ended for this
    await success
    assert (await opened.generations.get(generation.guid)).state is GenerationState.SUCCEEDED
    assert opened.query("SELECT COUNT(*) FROM images") == [(1,)]


async def test_a_deadlock_of_a_renewal_is_run_again(opened: Opened) -> None:
    first, second = (a_generation(guid=UUID(int=number)) for number in (1, 2))  # locked in this order
    for generation in (first, second):
        await opened.generations.add(generation, lease=0)
    with opened.holding(f"SELECT id FROM generations WHERE guid = '{second.guid}' FOR UPDATE") as other:
        weigh_more(other)
        renewal = asyncio.create_task(opened.generations.renew([first.guid, second.guid], lease=60))
        await opened.waits("UPDATE generations")
        other.cursor().execute("SELECT id FROM generations FOR UPDATE")
    await renewal
    assert (await opened.generations.expired(limit=9)).generations == ()


async def test_a_read_only_server_is_unavailable_to_writers_alone(opened: Opened) -> None:
    generation = await a_recorded_generation(opened.database)
    opened.query("SET GLOBAL read_only = 1")
    try:
        for write in (
            succeed(opened.generations, generation),
            opened.generations.renew([generation.guid], lease=60),
            opened.generations.claim(generation.guid, lease=60),
            a_recorded_generation(opened.database),
        ):
            with pytest.raises(DatabaseUnavailableError, match="1290"):
                await write
        await opened.assert_untouched(generation)
    finally:
        opened.query("SET GLOBAL read_only = 0")
    await opened.assert_works(generation)


async def test_a_server_that_was_read_only_for_new_sessions_is_written_to_by_the_same_pool_afterwards(
    opened: Opened,
) -> None:
    opened.query("SET GLOBAL TRANSACTION READ ONLY")
    try:
        with pytest.raises(DatabaseUnavailableError, match="1792") as refused:
            await a_recorded_generation(opened.database)
        assert refused.value.cost == "none", "nothing was drawn"
    finally:
        opened.query("SET GLOBAL TRANSACTION READ WRITE")
    await a_recorded_generation(opened.database)


async def test_a_user_over_its_limit_is_unavailable_and_has_spent_nothing(opened: Opened) -> None:
    user = f"'{opened.server.user}'@'127.0.0.1'"
    opened.query(f"ALTER USER {user} WITH MAX_UPDATES_PER_HOUR 1")
    try:
        with pytest.raises(DatabaseUnavailableError, match="1226") as refused:
            for _ in range(3):
                await a_recorded_generation(opened.database)
        assert refused.value.cost == "none"
    finally:
        opened.query(f"ALTER USER {user} WITH MAX_UPDATES_PER_HOUR 0")


async def test_a_server_with_too_many_connections_is_unavailable_until_there_are_fewer(opened: Opened) -> None:
    generation = await a_recorded_generation(opened.database)
    url = opened.server.url(opened.name.removeprefix("test_"))
    fresh, close = open_database(url)  # its pool is empty, as at a start
    ((maximum,),) = opened.query("SELECT @@max_connections")
    with ExitStack() as crowd:
        administrator = crowd.enter_context(opened.holding())
        for _ in range(12):
            connection = pymysql.connect(
                host="127.0.0.1", port=opened.server.port, user=opened.server.user, password=planted.DATABASE_PASSWORD
            )
            crowd.enter_context(connection)
        administrator.cursor().execute("SET GLOBAL max_connections = 10")
        try:
            with pytest.raises(DatabaseUnavailableError, match="1040"):
                await succeed(SqlGenerationRepository(fresh), generation)
            await opened.generations.renew([generation.guid], lease=60)  # who is connected works on
        finally:
            administrator.cursor().execute("SET GLOBAL max_connections = %s", [maximum])
    await opened.assert_untouched(generation)
    await succeed(SqlGenerationRepository(fresh), generation)
    assert (await opened.generations.get(generation.guid)).state is GenerationState.SUCCEEDED
    close()


async def test_a_locked_row_of_another_replica_delays_neither_renewals_nor_claims(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url, limits=DatabaseLimits(row_lock_wait=4))
    records = SqlGenerationRepository(database)
    schema = f"test_{name}"
    with sql_server.connect(schema) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO generations (guid, api_key_id, request, state, lease_expires_at, created_at, updated_at) "
            "VALUES (%s, 1, '{}', 'succeeded', '2026-01-01', '2026-01-01', '2026-01-01')",
            [(str(uuid4()),) for _ in range(5000)],
        )
        connection.commit()
    theirs, expired = a_generation(), a_generation()
    mine = [a_generation() for _ in range(64)]
    for generation in (theirs, *mine):
        await records.add(generation, lease=30)
    await records.add(expired, lease=0)
    sql_server.query("ANALYZE TABLE generations", database=schema)
    connection = sql_server.connect(schema)
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE generations SET lease_expires_at = '2026-01-01' WHERE guid = %s", (str(theirs.guid),))
        started = time.monotonic()
        for count in (1, 5, 40, 64):
            await records.renew([each.guid for each in mine[:count]], lease=30)
        assert await records.claim(expired.guid, lease=30) is not None
        await records.fail(expired, error={})
        await records.succeed(mine[0], images=(an_image(mine[0]),), drawing=a_drawing())
        assert time.monotonic() - started < database.limits.row_lock_wait
        connection.rollback()
    close()
