"""The schema: the same from every start, migrated once however many start at the same time."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from pixyproxy.core.exceptions import DatabaseUnavailableError
from pixyproxy.data.init import migrate, open_engine, schema_is_current
from tests.servers import MariaDB, free_ports

TABLES = {"alembic_version", "api_keys", "generations", "images"}
AT_ONCE = 10


@pytest.fixture(params=["sqlite", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pixyproxy.db"
    request.node.used_servers = ("mariadb",)
    server: MariaDB = request.getfixturevalue("mariadb")
    return server.create(unique())


def tables(url: str) -> set[str]:
    engine = open_engine(url)
    listing = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        if engine.dialect.name == "sqlite"
        else "SHOW TABLES"
    )
    with engine.connect() as connection:
        found = {row[0] for row in connection.execute(text(listing))}
    engine.dispose()
    return found


def is_current(url: str) -> bool:
    engine = open_engine(url)
    current = schema_is_current(engine)
    engine.dispose()
    return current


def test_an_empty_database_is_migrated_to_head_and_again_without_a_change(url: str) -> None:
    assert not is_current(url)
    for _ in range(2):
        migrate(url)
        assert is_current(url)
        assert tables(url) == TABLES


def test_ten_processes_may_migrate_at_once(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=migrate, args=(url,)) for _ in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * AT_ONCE
    assert is_current(url)
    assert tables(url) == TABLES


def test_an_older_schema_is_not_current_and_is_brought_up(url: str) -> None:
    migrate(url)
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
        connection.execute(text("DROP TABLE images"))
    engine.dispose()
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
    assert tables(url) == TABLES


def test_tables_on_mariadb_say_their_character_set_whatever_the_servers_is(
    mariadb: MariaDB, unique: Callable[[], str]
) -> None:
    name = unique()
    migrate(mariadb.create(name))
    rows = mariadb.query(
        "SELECT table_name, table_collation, engine FROM information_schema.tables "
        "WHERE table_schema = %s AND table_name <> 'alembic_version'",
        f"test_{name}",
    )
    assert {tuple(row) for row in rows} == {
        (table, "utf8mb4_unicode_520_ci", "InnoDB") for table in TABLES - {"alembic_version"}
    }


def test_connections_are_in_utc_read_committed_and_end_long_statements(
    mariadb: MariaDB, unique: Callable[[], str]
) -> None:
    engine = open_engine(mariadb.create(unique()))
    with engine.connect() as connection:
        row = connection.execute(text("SELECT @@time_zone, @@tx_isolation, @@max_statement_time")).one()
    engine.dispose()
    assert tuple(row) == ("+00:00", "READ-COMMITTED", 4.0)


def test_a_database_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DatabaseUnavailableError):
        migrate(f"mysql+pymysql://user:password@127.0.0.1:{port}/pixyproxy")
