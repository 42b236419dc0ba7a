"""The schema: the same from every start, migrated once however many start at the same time."""

import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from pixyproxy.core.exceptions import ConfigurationError, DatabaseError, DatabaseUnavailableError
from pixyproxy.data.init import MIGRATIONS, migrate, open_engine, require_current_schema
from tests.servers import MariaDB, free_ports

TABLES = {"alembic_version", "api_keys", "generations", "images", "parked_images"}
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
    engine = open_engine(url, use="writing")
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
    try:
        require_current_schema(url)
    except ConfigurationError:
        return False
    return True


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
    engine = open_engine(url, use="writing")
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


def test_a_newer_schema_is_said_to_be_newer(url: str) -> None:
    migrate(url)
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for refused in (require_current_schema, migrate):
        with pytest.raises(ConfigurationError, match="newer version"):
            refused(url)


def test_a_migration_that_was_killed_before_it_was_noted_can_run_again(url: str) -> None:
    migrate(url)
    for noted in ("0000", "0001", "0002"):
        engine = open_engine(url, use="writing")
        with engine.begin() as connection:
            statement = (
                "UPDATE alembic_version SET version_num = :noted" if noted > "0000" else "DELETE FROM alembic_version"
            )
            connection.execute(text(statement), {"noted": noted} if noted > "0000" else {})
        engine.dispose()
        migrate(url)
        assert is_current(url)


LATER = """
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"


def upgrade() -> None:
    op.execute("{sql}")
"""


def test_a_failed_migration_leaves_those_before_it_recorded_or_on_sqlite_changes_nothing(
    url: str, tmp_path: Path
) -> None:
    migrate(url)
    scripts = tmp_path / "scripts"
    shutil.copytree(MIGRATIONS, scripts)
    head = ScriptDirectory(str(scripts)).get_current_head()
    for revision, down_revision, sql in (
        ("9001", head, "INSERT INTO api_keys (name, prefix, sha256, created_at) VALUES ('a', 'b', 'c', '2026-01-01')"),
        ("9002", "9001", "UPDATE no_such_table SET id = 1"),
    ):
        script = LATER.format(revision=revision, down_revision=down_revision, sql=sql)
        (scripts / "versions" / f"{revision}_later.py").write_text(script)
    with pytest.raises(DatabaseError):
        migrate(url, scripts=scripts)
    engine = open_engine(url, use="writing")
    with engine.connect() as connection:
        recorded = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        keys = connection.execute(text("SELECT COUNT(*) FROM api_keys")).scalar()
    all_or_nothing = engine.dialect.name == "sqlite"
    engine.dispose()
    assert (recorded, keys) == ((head, 0) if all_or_nothing else ("9001", 1))


def test_connections_are_in_utc_read_committed_and_bounded_by_their_use(
    mariadb: MariaDB, unique: Callable[[], str]
) -> None:
    url = mariadb.create(unique())
    seen = {}
    for use in ("reading", "searching", "writing", "migrating"):
        engine = open_engine(url, use=cast(Any, use))
        with engine.connect() as connection:
            seen[use] = connection.execute(
                text("SELECT @@time_zone, @@tx_isolation, @@max_statement_time, @@innodb_lock_wait_timeout")
            ).one()
        engine.dispose()
    common = ("+00:00", "READ-COMMITTED")
    assert tuple(seen["reading"]) == tuple(seen["searching"]) == (*common, 4.0, 50)
    assert tuple(seen["writing"]) == (*common, 0.0, 2)
    assert tuple(seen["migrating"]) == (*common, 0.0, 50)


def test_what_is_wrong_with_a_url_is_said_at_the_first_contact(mariadb: MariaDB, tmp_path: Path) -> None:
    right = mariadb.create("contact")
    (tmp_path / "garbage.db").write_bytes(b"not a database" * 100)
    wrong = {
        right.replace("planted-database-password", "planted-wrong-password"): "1045",
        mariadb.url("nowhere"): "1049|1044",
        f"{right}?foo=bar": "options",
        f"{right}?ssl_ca=/nonexistent.pem": "options",
        f"sqlite:///{tmp_path}/garbage.db": "not an SQLite database",
        f"sqlite:///{tmp_path}/no/such/folder.db": "four slashes",
    }
    for url, said in wrong.items():
        with pytest.raises(ConfigurationError, match=said) as caught:
            require_current_schema(url)
        assert "planted" not in caught.value.detail


def test_a_database_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(DatabaseUnavailableError):
        migrate(f"mysql+pymysql://user:password@127.0.0.1:{port}/pixyproxy")
