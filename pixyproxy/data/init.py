"""Initialization of the database: engine and pool, and the schema, migrated to its newest version."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from pixyproxy.core.exceptions import ConfigurationError, DatabaseUnavailableError
from pixyproxy.data.database import DISCONNECTING, driver_errors, error_code

CONNECTIONS = 10
"""Pooled connections of one process, and threads that use them."""

# A database that accepts a connection and never answers costs one read timeout for the ping of a pooled
# connection and one for the handshake of its successor: the 503 comes within 2 * READ_TIMEOUT + 3 s.
CONNECT_TIMEOUT = 3
READ_TIMEOUT = 5
WRITE_TIMEOUT = 5
STATEMENT_TIMEOUT = 4
"""Seconds after which the server itself gives up a statement, so that no search outlives its reader."""

MIGRATION_LOCK = "pixyproxy-migrations"
MIGRATION_PATIENCE = 300
"""Seconds that a process waits while another one migrates."""

logger = logging.getLogger(__name__)


def parse_url(text: str) -> URL:
    """The URL of a database that we know how to use; `ConfigurationError` says what is wrong, without it."""
    try:
        url = make_url(text)
    except exc.ArgumentError:
        raise ConfigurationError("it is not a database URL") from None
    if url.drivername in ("mysql", "mariadb", "mariadb+pymysql"):
        url = url.set(drivername="mysql+pymysql")
    if url.drivername == "mysql+pymysql":
        if not url.host or not url.database:
            raise ConfigurationError(
                "it needs a host and a database: mysql+pymysql://user:password@host:3306/pixyproxy"
            )
        return url
    if url.drivername == "sqlite":
        if not url.database or url.database == ":memory:":
            raise ConfigurationError("SQLite needs a file: sqlite:////path/to/pixyproxy.db")
        return url
    raise ConfigurationError("only mysql+pymysql:// and sqlite:// are known")


def open_engine(url: str, *, connections: int = CONNECTIONS) -> Engine:
    """An engine with its pool. Nothing is connected yet. Parameters never reach a log or an error text."""
    parsed = parse_url(url)
    common: dict[str, Any] = {
        "pool_size": connections,
        "max_overflow": 0,
        "pool_timeout": 5,
        "pool_pre_ping": True,
        "hide_parameters": True,
    }
    if parsed.drivername == "sqlite":
        engine = create_engine(parsed, **common, connect_args={"timeout": 5})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    timeouts = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": READ_TIMEOUT, "write_timeout": WRITE_TIMEOUT}
    engine = create_engine(
        parsed,
        **common,
        pool_recycle=1500,
        isolation_level="READ COMMITTED",
        connect_args={name: seconds for name, seconds in timeouts.items() if name not in parsed.query},
    )
    event.listen(engine, "connect", _prepare_mysql)
    event.listen(engine, "handle_error", _notice_disconnect)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # sqlite3 then leaves BEGIN to us, see _begin_sqlite
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the write lock at its start, where busy_timeout applies: an upgrade from a read fails at once.
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare_mysql(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    mariadb = "mariadb" in connection.get_server_info().lower()
    cursor = connection.cursor()
    cursor.execute("SET time_zone = '+00:00'")
    if mariadb:
        cursor.execute("SET SESSION max_statement_time = %s", (STATEMENT_TIMEOUT,))
    else:
        cursor.execute("SET SESSION max_execution_time = %s", (STATEMENT_TIMEOUT * 1000,))
    cursor.close()


def _notice_disconnect(context: ExceptionContext) -> None:
    error = context.sqlalchemy_exception
    if isinstance(error, exc.DBAPIError) and error_code(error) in DISCONNECTING:
        context.is_disconnect = True


def _alembic() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config


def schema_is_current(engine: Engine) -> bool:
    """Whether the schema is the one that this version needs."""
    with driver_errors(), engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current == ScriptDirectory.from_config(_alembic()).get_current_head()


def migrate(url: str) -> None:
    """Bring the schema to its newest version. Processes that start together wait for each other."""
    parsed = parse_url(url)
    if parsed.drivername == "sqlite":
        Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
    else:
        # A change of a large table takes what it takes: the timeouts of the service are not for this.
        waiting = str(MIGRATION_PATIENCE * 100)
        parsed = parsed.update_query_dict({"read_timeout": waiting, "write_timeout": waiting})
    engine = open_engine(parsed.render_as_string(hide_password=False), connections=1)
    try:
        with driver_errors(), engine.connect() as connection, _migration_lock(connection):
            config = _alembic()
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


@contextmanager
def _migration_lock(connection: Connection) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        # The write lock is the migration lock; SQLite's DDL is transactional.
        connection.execution_options(writes=True)
        yield
        return
    connection.exec_driver_sql("SET SESSION " + _NO_STATEMENT_TIMEOUT[connection.dialect.is_mariadb])  # type: ignore[attr-defined]
    got = connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (MIGRATION_LOCK, MIGRATION_PATIENCE)).scalar()
    if got != 1:
        raise DatabaseUnavailableError("Another process has been migrating the database for minutes.")
    try:
        yield
    finally:
        connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (MIGRATION_LOCK,))


_NO_STATEMENT_TIMEOUT = {True: "max_statement_time = 0", False: "max_execution_time = 0"}
