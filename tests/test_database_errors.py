"""What the errors of drivers mean: from the table, and from a real server that is made to raise them."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import exc

from pixyproxy.core.exceptions import ConflictError, DatabaseError, DatabaseUnavailableError, PixyProxyException
from pixyproxy.core.models import Generation
from pixyproxy.data.database import Database, Transaction, domain_error
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import migrate, open_database
from tests.examples import a_drawing, a_generation, an_image
from tests.servers import MariaDB

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
        for code in (1020, 1040, 1045, 1053, 1205, 1213, 1290, 1836, 1969, 2003, 2006, 2013, 3024)
    },
    "MySQL duplicate": (pymysql.err.IntegrityError(1062, "text"), ConflictError),
    "MySQL wrong column": (pymysql.err.OperationalError(1054, "text"), DatabaseError),
    "MySQL too long": (pymysql.err.DataError(1406, "text"), DatabaseError),
    "MySQL foreign key": (pymysql.err.IntegrityError(1452, "text"), DatabaseError),
    "MySQL check": (pymysql.err.OperationalError(4025, "text"), DatabaseError),
    "no number": (pymysql.err.InterfaceError("text"), DatabaseError),
    "SQLite busy": (sqlite_error("SQLITE_BUSY"), DatabaseUnavailableError),
    "SQLite snapshot": (sqlite_error("SQLITE_BUSY_SNAPSHOT"), DatabaseUnavailableError),
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


async def a_recorded_generation(database: Database) -> Generation:
    generation = a_generation()
    await SqlGenerationRepository(database).add(generation, lease=30)
    return generation


async def test_a_lock_wait_is_run_again_until_the_record_is_there(mariadb: MariaDB, unique: Callable[[], str]) -> None:
    url = mariadb.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    generation = await a_recorded_generation(database)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        connection = pymysql.connect(unix_socket=str(mariadb.folder / "socket"), user="root", database=f"test_{name}")
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT id FROM generations FOR UPDATE")
            held.set()
            release.wait(20)
            connection.rollback()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    threading.Timer(3.5, release.set).start()  # longer than one lock wait, shorter than all
    started = time.monotonic()
    image = an_image(generation)
    await SqlGenerationRepository(database).succeed(generation, images=(image,), drawing=a_drawing())
    assert time.monotonic() - started > 2
    assert await SqlImageRepository(database).get(image.guid) == image
    holder.join()
    close()


async def test_a_deadlock_is_run_again(mariadb: MariaDB, unique: Callable[[], str]) -> None:
    url = mariadb.create(name := unique())
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
    ((changed,),) = mariadb.query(
        "SELECT COUNT(*) FROM generations WHERE updated_at = '2026-11-22'", database=f"test_{name}"
    )
    assert changed == 2
    close()


async def test_slow_searches_keep_nothing_from_being_recorded(mariadb: MariaDB, unique: Callable[[], str]) -> None:
    url = mariadb.create(unique())
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
    mariadb: MariaDB, unique: Callable[[], str]
) -> None:
    url = mariadb.create(unique())
    migrate(url)
    database, close = open_database(url)
    started = time.monotonic()
    await database.all("SELECT COUNT(*) FROM seq_1_to_100")
    with pytest.raises(DatabaseUnavailableError, match="1969"):
        await database.all("SELECT COUNT(*) FROM seq_1_to_100000000 AS a, seq_1_to_1000 AS b")
    assert time.monotonic() - started < 6
    close()


async def test_sqlite_waits_for_a_lock_and_loses_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/pixyproxy.db"
    migrate(url)
    database, close = open_database(url)
    repository = SqlGenerationRepository(database)
    generations = [await a_recorded_generation(database) for _ in range(20)]
    other = sqlite3.connect(tmp_path / "pixyproxy.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # a backup, or another process
    threading.Timer(3.5, lambda: other.execute("ROLLBACK")).start()
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
    database, close = open_database(url)
    other = sqlite3.connect(tmp_path / "pixyproxy.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailableError, match="SQLITE_BUSY"):
        await a_recorded_generation(database)
    other.close()
    close()
