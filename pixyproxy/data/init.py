"""Initialization of the database: engine and pool, and the schema, migrated to its newest version."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import alembic.command
import alembic.config
from pymysql.constants import SERVER_STATUS
from sqlalchemy import Connection, Dialect, Engine, create_engine, event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from pixyproxy.core.exceptions import ConfigurationError, DatabaseUnavailableError
from pixyproxy.core.limits import DATABASE, DatabaseLimits
from pixyproxy.data import schema_version
from pixyproxy.data.database import DISCONNECTING, Pool, SqlDatabase, Transaction, driver_errors, error_code
from pixyproxy.data.prices import load_shipped, shipped_prices
from pixyproxy.data.tls import connect
from pixyproxy.data.urls import first_contact, parse_url

IDLE = 1.0
"""Seconds without use after which a connection is tested before it is used."""
LAST_USE = "pixyproxy_last_use"
SQLITE_STEPS = 10_000
"""Instructions of SQLite's virtual machine between two checks of the clock: well under a millisecond."""

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATION_LOCK = "pixyproxy-migrations"


Use = Literal["reading", "searching", "writing", "migrating"]


def open_database(url: str, *, limits: DatabaseLimits = DATABASE) -> tuple[SqlDatabase, Callable[[], None]]:
    """The database of the repositories, and what closes it. Nothing is connected yet.

    Raises `ConfigurationError` for a URL that cannot be used.
    """

    def open_pool(use: Use, size: int) -> Pool:
        return Pool(open_engine(url, use=use, connections=size, limits=limits), size)

    with first_contact():
        reader, searcher = open_pool("reading", limits.readers), open_pool("searching", limits.searchers)
        writer = open_pool("writing", limits.writers)

    def close() -> None:
        for pool in (reader, searcher, writer):
            pool.engine.dispose()

    return SqlDatabase(reader=reader, searcher=searcher, writer=writer, limits=limits), close


def open_engine(url: str, *, use: Use, connections: int = 1, limits: DatabaseLimits = DATABASE) -> Engine:
    """An engine with its pool. Nothing is connected yet. Parameters never reach a log or an error text."""
    parsed = parse_url(url)
    common: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": 5,
        "hide_parameters": True,
    }
    if parsed.drivername == "sqlite":
        lock_wait = limits.migration_wait if use == "migrating" else limits.file_lock_wait
        engine = create_engine(parsed, **common, connect_args={"timeout": lock_wait})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        if use == "searching":
            event.listen(engine, "begin", partial(_limit_sqlite, seconds=limits.statement))
        return engine
    timeouts = {"connect_timeout": limits.connect, "read_timeout": limits.read, "write_timeout": limits.write}
    engine = create_engine(
        parsed,
        **common,
        pool_recycle=1500,
        # A read of one statement is a transaction of its own, and those of several have no snapshot either way.
        isolation_level="AUTOCOMMIT" if use in ("reading", "searching") else "READ COMMITTED",
        skip_autocommit_rollback=True,
        pool_reset_on_return=None,  # `_end_transaction`
        connect_args={name: seconds for name, seconds in timeouts.items() if name not in parsed.query},
    )
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", partial(_prepare_mysql, use=use, limits=limits))
    event.listen(engine, "reset", _end_transaction)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_ping_if_idle, engine.dialect))
    event.listen(engine, "handle_error", _notice_disconnect)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # so sqlite3 does not begin transactions: _begin_sqlite does
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the write lock at its start, where busy_timeout applies: an upgrade from a read fails at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _limit_sqlite(connection: Connection, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    driver_connection = cast(sqlite3.Connection, connection.connection.dbapi_connection)
    driver_connection.set_progress_handler(lambda: time.monotonic() > until, SQLITE_STEPS)


def _end_transaction(connection: DBAPIConnection, _: ConnectionPoolEntry, state: PoolResetState) -> None:
    """Roll back what is open. The server says with each answer whether something is: a COMMIT needs no ROLLBACK."""
    if not state.terminate_only and connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
        connection.rollback()


def _note_use(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[LAST_USE] = time.monotonic()


def _ping_if_idle(dialect: Dialect, connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    """Replace all connections if one that was idle is lost. SQLAlchemy's `pool_pre_ping` asks at every use."""
    used = record.info.get(LAST_USE)
    if used is not None and time.monotonic() - used > IDLE:
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise exc.InvalidatePoolError from error


def _prepare_mysql(connection: DBAPIConnection, _: ConnectionPoolEntry, *, use: Use, limits: DatabaseLimits) -> None:
    statements = ["SET time_zone = '+00:00'", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"]
    if use in ("reading", "searching") and "mariadb" in connection.get_server_info().lower():
        statements.append(f"SET SESSION max_statement_time = {limits.statement}")
    elif use in ("reading", "searching"):
        statements.append(f"SET SESSION max_execution_time = {limits.statement * 1000}")
    elif use == "writing":
        statements.append(f"SET SESSION innodb_lock_wait_timeout = {limits.row_lock_wait}")
    cursor = connection.cursor()
    for statement in statements:
        cursor.execute(statement)
    cursor.close()


def _notice_disconnect(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, exc.DBAPIError) and error_code(error) in DISCONNECTING:
        context.is_disconnect = True


def alembic_config(scripts: Path = MIGRATIONS) -> alembic.config.Config:
    """The configuration of the migrations in this folder."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(scripts))
    return config


def require_current_schema(url: str) -> None:
    """Return if this version can work with the schema. `ConfigurationError` for another schema or a wrong URL."""
    with first_contact():
        engine = open_engine(url, use="writing")
        try:
            with engine.connect() as connection:
                usable = schema_version.is_usable(connection, alembic_config())
        finally:
            engine.dispose()
    if not usable:
        raise ConfigurationError(schema_version.OLDER)


def migrate(url: str, *, scripts: Path = MIGRATIONS, limits: DatabaseLimits = DATABASE) -> None:
    """Bring the schema, and the shipped prices, to this version. Processes that start together wait for each other.

    A newer schema that is compatible stays as it is; `ConfigurationError` for one that is not. If a migration fails,
    those before it stay on MySQL and MariaDB. On SQLite nothing changes.
    """
    parsed = parse_url(url)
    with first_contact():
        if parsed.drivername == "sqlite":
            Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
        else:
            # Changing a large table may take hours: the timeouts of the service do not apply.
            waiting = str(limits.migration_wait * 100)
            parsed = parsed.update_query_dict({"read_timeout": waiting, "write_timeout": waiting})
        engine = open_engine(parsed.render_as_string(hide_password=False), use="migrating", limits=limits)
        try:
            connection = engine.connect()
        except BaseException:
            engine.dispose()
            raise
    try:
        with driver_errors(), connection, _migration_lock(connection, wait=limits.migration_wait):
            config = alembic_config(scripts)
            config.attributes["connection"] = connection
            if not schema_version.is_usable(connection, config):
                schema_version.adopt_first_release(connection)
                if connection.dialect.name != "sqlite":
                    connection.commit()  # inside an open transaction Alembic commits no migration
                alembic.command.upgrade(config, "head")
            if schema_version.is_current(connection, config):  # also if an earlier migration was killed just before
                schema_version.record_compatibility(connection)
                if scripts == MIGRATIONS:
                    load_shipped(Transaction(connection), shipped_prices())
            connection.commit()
    finally:
        engine.dispose()


@contextmanager
def _migration_lock(connection: Connection, *, wait: int) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        # One transaction around all: SQLite's DDL is transactional, and its write lock is the migration lock.
        connection.execution_options(writes=True)
        connection.begin()
        yield
        return
    got = connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (MIGRATION_LOCK, wait)).scalar()
    if got != 1:
        raise DatabaseUnavailableError("Another process has been migrating the database for minutes.")
    try:
        yield
    finally:
        with suppress(exc.SQLAlchemyError):  # a lost connection has lost its lock too
            connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (MIGRATION_LOCK,))
