"""The database seen from the repositories: three verbs, transactions, and the one place for driver errors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, RowMapping, TextClause, bindparam, exc, text

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    PixyProxyException,
)
from pixyproxy.core.limits import DATABASE, DatabaseLimits
from pixyproxy.core.threads import Threads
from pixyproxy.data.conversions import column_to_time

T = TypeVar("T")
Row = RowMapping

# 1205 lock wait, 1213 deadlock, 1020 record changed: the transaction can be run again.
RETRYABLE = frozenset({1020, 1205, 1213})
# The server refuses the user, the password, the rights or the database. That is unavailable, not a fault: somebody else
# fixes a rotated password.
REFUSED = frozenset({1044, 1045, 1049, 1698})
# The server ended a statement that ran too long: MariaDB, MySQL.
TOO_SLOW = frozenset({1969, 3024})
# 1053 shutdown; 1290, 1792, 1836, 1874 read-only after a failover; 3032 offline; 1047 a Galera node outside of its
# cluster. The pooled connection must be replaced, which SQLAlchemy does not know.
DISCONNECTING = frozenset({1047, 1053, 1290, 1792, 1836, 1874, 3032})
# The server does not answer, or refuses work for now (server errors 1xxx to 4xxx, client errors 2xxx). Among them 1021
# and 1114: full; 1041: out of memory; 1226: a limit of the user.
UNAVAILABLE = (
    RETRYABLE
    | REFUSED
    | TOO_SLOW
    | DISCONNECTING
    | {
        *(1021, 1040, 1041, 1114, 1129, 1158, 1159, 1160, 1161, 1203, 1226, 1927),
        *(2002, 2003, 2006, 2013, 2014, 2045, 2055, 4031),
    }
)
DUPLICATE = frozenset({1062})
SQLITE_TOO_SLOW = "SQLITE_INTERRUPT"
SQLITE_UNAVAILABLE = tuple(
    f"SQLITE_{name}" for name in ("BUSY", "LOCKED", "CANTOPEN", "FULL", "IOERR", "NOTADB", "READONLY")
)
SQLITE_DUPLICATE = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")


def error_code(error: exc.DBAPIError) -> int | str:
    """The number of a MySQL error or the name of an SQLite error; 0 if the driver gives neither."""
    name: str | None = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        return name
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def domain_error(error: exc.SQLAlchemyError) -> PixyProxyException:
    """Our exception for an error of SQLAlchemy or of a driver."""
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailableError("Every database connection is busy.")
    if isinstance(error, exc.DBAPIError):
        code = error_code(error)
        if code in DUPLICATE or code in SQLITE_DUPLICATE:
            return ConflictError("A record with this name or key exists already.")
        if code in REFUSED:
            return DatabaseUnavailableError(f"The database refuses PixyProxy's user or password ({code}).")
        if code in TOO_SLOW or code == SQLITE_TOO_SLOW:
            return DatabaseUnavailableError(f"The database ended a statement that took too long ({code}).")
        if code in UNAVAILABLE or error.connection_invalidated:
            return DatabaseUnavailableError(f"The database does not answer ({code or type(error).__name__}).")
        if isinstance(code, str) and code.startswith(SQLITE_UNAVAILABLE):
            return DatabaseUnavailableError(f"The database file cannot be used now ({code}).")
    return DatabaseError()


def is_too_slow(error: PixyProxyException) -> bool:
    """Whether the database ended a statement because it ran longer than it may."""
    cause = error.__cause__
    code = error_code(cause) if isinstance(cause, exc.DBAPIError) else 0
    return code in TOO_SLOW or code == SQLITE_TOO_SLOW


@contextmanager
def driver_errors() -> Iterator[None]:
    """Every error that leaves the block is one of ours, chained to the driver's."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        raise domain_error(error) from error


@lru_cache(maxsize=1000)
def prepared(sql: str, lists: tuple[str, ...] = ()) -> TextClause:
    """The statement; `lists` are its parameters that stand for lists. To parse it again costs more than to run it."""
    return text(sql).bindparams(*(bindparam(name, expanding=True) for name in lists))


class Transaction:
    """Statements on one connection, inside one transaction. A tuple stands for a list: `guid IN :guids`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        lists = tuple(name for name, value in parameters.items() if isinstance(value, tuple))
        return self._connection.execute(prepared(sql, lists), parameters)

    def now(self) -> datetime:
        """The database's own time, the one clock that all replicas share."""
        sqlite = self._connection.dialect.name == "sqlite"
        (row,) = self.all("SELECT strftime('%Y-%m-%d %H:%M:%f') AS now" if sqlite else "SELECT UTC_TIMESTAMP(6) AS now")
        return column_to_time(row["now"])

    def later(self, seconds: str) -> str:
        """SQL for the database's own time, so many seconds from now; `seconds` names a parameter.

        It saves the round trip of `now` where nothing here needs the time.
        """
        if self._connection.dialect.name == "sqlite":
            return f"strftime('%Y-%m-%d %H:%M:%f', 'now', :{seconds} || ' seconds') || '000'"
        return f"UTC_TIMESTAMP(6) + INTERVAL :{seconds} SECOND"

    def same(self, column: str) -> str:
        """The condition that a column has the value of its name, for a list by an index that begins with the column.

        The list must be ordered by the column too. MariaDB reads an index from the end of an equal value on, past all
        rows before the cursor; between two bounds it begins at the cursor. MySQL and SQLite need the equality.
        """
        mariadb = getattr(self._connection.dialect, "is_mariadb", False)
        return f"{column} >= :{column} AND {column} <= :{column}" if mariadb else f"{column} = :{column}"

    def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        return self._run(sql, parameters).mappings().first()

    def all(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """All rows."""
        return self._run(sql, parameters).mappings().all()

    def lock_all(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """All rows, locked until this transaction ends. It waits for rows that others insert or change just now."""
        sqlite = self._connection.dialect.name == "sqlite"  # there a writer is alone anyway
        return self.all(sql if sqlite else f"{sql} FOR UPDATE", **parameters)

    def execute(self, sql: str, **parameters: Any) -> int:
        """The number of rows that the statement found."""
        return self._run(sql, parameters).rowcount

    def insert(self, sql: str, **parameters: Any) -> int:
        """The id that the database gave to the row that the statement inserts; `DatabaseError` if it inserts none."""
        result = self._run(sql, parameters)
        if result.rowcount != 1:
            raise DatabaseError
        return int(result.lastrowid)

    def execute_many(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run an INSERT or a REPLACE with the values of each row; PyMySQL sends as many as it can at once."""
        if rows:
            self._connection.execute(prepared(sql), rows)


@dataclass(frozen=True)
class Pool:
    """An engine, and how many connections it has."""

    engine: Engine
    size: int


class SqlDatabase:
    """The three verbs and transactions, for async callers; each runs in a thread with a pooled connection.

    Readers, searchers and writers have pools and threads of their own: many readers cannot keep a paid picture from
    being recorded, and slow searches delay no read by guid or key. Raises `DatabaseUnavailableError`, `ConflictError`
    for a duplicate, `DatabaseError` for everything else.
    """

    def __init__(self, *, reader: Pool, searcher: Pool, writer: Pool, limits: DatabaseLimits = DATABASE) -> None:
        def busy() -> DatabaseUnavailableError:
            return DatabaseUnavailableError("Every database connection for this kind of request is busy.")

        self.limits = limits
        self._reader, self._searcher, self._writer = reader.engine, searcher.engine, writer.engine
        self._reading, self._searching, self._writing = (
            Threads(pool.size, patience=limits.read_wait, busy=busy) for pool in (reader, searcher, writer)
        )

    async def one(self, sql: str, **parameters: Any) -> Row | None:
        """The first row, or None."""
        return await self.read(lambda transaction: transaction.one(sql, **parameters))

    async def all(self, sql: str, **parameters: Any) -> Sequence[Row]:
        """All rows."""
        return await self.read(lambda transaction: transaction.all(sql, **parameters))

    async def execute(self, sql: str, *, patience: float | None = None, **parameters: Any) -> int:
        """Commit the statement; the number of rows that it found."""
        return await self.transaction(lambda transaction: transaction.execute(sql, **parameters), patience=patience)

    async def transaction(self, work: Callable[[Transaction], T], *, patience: float | None = None) -> T:
        """Commit all that `work` does, or nothing. After a deadlock or a lock wait `work` runs again.

        `patience`: seconds to wait for a free connection; None: `limits.read_wait`.
        """

        def attempt() -> T:
            with self._writer.connect() as connection:
                writing = connection.execution_options(writes=True)
                with writing.begin():
                    return work(Transaction(writing))

        def attempts() -> T:
            for remaining in reversed(range(self.limits.attempts)):
                try:
                    return attempt()
                except exc.DBAPIError as error:
                    if error_code(error) not in RETRYABLE or not remaining:
                        raise
            raise AssertionError("unreachable")

        return await self._writing.run(lambda: guarded(attempts), patience=patience)

    async def probe(self) -> None:
        """Return if the database answers now: on a writer's connection, which no search keeps busy."""
        await self._writing.run(lambda: guarded(self._ping))

    def _ping(self) -> None:
        with self._writer.connect() as connection:
            Transaction(connection).one("SELECT 1")

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which changes nothing, on one connection."""
        return await self._reading.run(lambda: guarded(lambda: _read(self._reader, work)))

    async def search(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which changes nothing and may take seconds, on one connection.

        `DatabaseUnavailableError` if it takes too long; `is_too_slow` recognizes that error.
        """
        return await self._searching.run(lambda: guarded(lambda: _read(self._searcher, work)))


def _read(engine: Engine, work: Callable[[Transaction], T]) -> T:
    """Run it once more on another connection if the first one was lost: it was in use less than a second before."""
    try:
        with engine.connect() as connection:
            return work(Transaction(connection))
    except exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
    with engine.connect() as connection:
        return work(Transaction(connection))


def guarded(work: Callable[[], T]) -> T:
    """The result of `work`; its errors become ours."""
    with driver_errors():
        return work()
