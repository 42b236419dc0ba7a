"""The schema: the same from every start, migrated once however many start at the same time."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from pixyproxy.core.exceptions import ConfigurationError, DatabaseError, DatabaseUnavailableError
from pixyproxy.data.init import MIGRATIONS, migrate, open_engine, require_current_schema
from tests.command import Forked
from tests.servers import MySQL, SqlServer, free_ports

VERSIONS = {"alembic_version", "schema_version"}
TABLES = {
    "api_keys", "budgets", "generations", "image_terms", "images", "instance", "ledger", "login_codes", "parked_images",
    "prices", "schema_compatibility", "sessions", "usage_days", "usage_open", "usage_sums", "windows",
} | VERSIONS  # fmt: skip
AT_ONCE = 10


@pytest.fixture(params=["sqlite", "mysql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/pixyproxy.db"
    server: SqlServer = request.getfixturevalue(request.param)
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
    processes = [Forked(migrate, url) for _ in range(AT_ONCE)]
    assert [process.wait(60) for process in processes] == [0] * AT_ONCE
    assert is_current(url)
    assert tables(url) == TABLES


def test_an_older_schema_is_not_current_and_is_brought_up(url: str) -> None:
    migrate(url)
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version_num = '0002'"))
        connection.execute(text("DROP TABLE images"))
    engine.dispose()
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
    assert tables(url) == TABLES


def test_tables_say_their_character_set_whatever_the_servers_is(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    name = unique()
    migrate(sql_server.create(name))
    rows = sql_server.query(
        "SELECT table_name, table_collation, engine FROM information_schema.tables "
        "WHERE table_schema = %s AND table_name NOT IN ('alembic_version', 'schema_version')",
        f"test_{name}",
    )
    assert {tuple(row) for row in rows} == {(table, "utf8mb4_unicode_520_ci", "InnoDB") for table in TABLES - VERSIONS}


def write_versions(url: str, *, revision: str, compatible_from: str) -> None:
    """The versions as a newer PixyProxy records them."""
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:
        connection.execute(text("UPDATE schema_version SET version_num = :revision"), {"revision": revision})
        connection.execute(
            text("UPDATE schema_compatibility SET compatible_from = :revision"), {"revision": compatible_from}
        )
    engine.dispose()


def read_revisions(url: str) -> dict[str, str]:
    """The revision in each of the two tables of versions."""
    engine = open_engine(url, use="writing")
    with engine.connect() as connection:
        found = {table: connection.execute(text(f"SELECT version_num FROM {table}")).scalar() for table in VERSIONS}
    engine.dispose()
    return {table: str(revision) for table, revision in found.items()}


def test_a_newer_schema_that_this_version_cannot_work_with_is_refused(url: str) -> None:
    migrate(url)
    write_versions(url, revision="9999", compatible_from="9998")
    for refused in (require_current_schema, migrate):
        with pytest.raises(ConfigurationError, match="newer version"):
            refused(url)


def test_a_newer_schema_that_is_compatible_is_a_warning_and_stays_as_it_is(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    migrate(url)
    write_versions(url, revision="9999", compatible_from="0008")
    for used in (require_current_schema, migrate):
        caplog.clear()
        used(url)
        (warning,) = caplog.records
        assert warning.levelname == "WARNING"
        assert "9999" in warning.getMessage()
    assert read_revisions(url)["schema_version"] == "9999"
    engine = open_engine(url, use="writing")
    with engine.connect() as connection:
        recorded = connection.execute(text("SELECT compatible_from FROM schema_compatibility")).scalar()
    engine.dispose()
    assert recorded == "0008", "it is the newer version's"


def test_a_schema_of_the_first_release_is_adopted_and_stays_usable_for_it(url: str) -> None:
    migrate(url)
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:  # as 0.1.0 left it
        for table in ("schema_version", "schema_compatibility"):
            connection.execute(text(f"DROP TABLE {table}"))
    engine.dispose()
    assert not is_current(url)
    migrate(url)
    assert is_current(url)
    assert tables(url) == TABLES
    assert read_revisions(url)["alembic_version"] == "0006", "0.1.0 reads this"


def test_a_migration_that_was_killed_before_it_was_noted_can_run_again(url: str) -> None:
    migrate(url)
    for noted in ("0000", "0001", "0002"):
        engine = open_engine(url, use="writing")
        with engine.begin() as connection:
            statement = (
                "UPDATE schema_version SET version_num = :noted" if noted > "0000" else "DELETE FROM schema_version"
            )
            connection.execute(text(statement), {"noted": noted} if noted > "0000" else {})
        engine.dispose()
        migrate(url)
        assert is_current(url)


def test_a_migration_that_was_killed_before_it_recorded_the_compatibility_records_it_when_it_runs_again(
    url: str,
) -> None:
    migrate(url)
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:  # as the upgrade leaves them
        connection.execute(text("DELETE FROM schema_compatibility"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert is_current(url)
    migrate(url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT compatible_from FROM schema_compatibility")).scalars().all() == ["0006"]
    engine.dispose()
    assert read_revisions(url)["alembic_version"] == "0006"


def test_a_database_keeps_its_id_when_its_migration_runs_again(url: str) -> None:
    found = []
    for _ in range(2):
        migrate(url)
        engine = open_engine(url, use="writing")
        with engine.begin() as connection:
            found.append(connection.execute(text("SELECT guid FROM instance")).scalars().all())
            connection.execute(text("UPDATE schema_version SET version_num = '0008'"))
        engine.dispose()
    assert found[0] == found[1]
    assert [str(UUID(guid)) for guid in found[0]] == found[0][:1]


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
        recorded = connection.execute(text("SELECT version_num FROM schema_version")).scalar()
        keys = connection.execute(text("SELECT COUNT(*) FROM api_keys WHERE id <> 0")).scalar()
    all_or_nothing = engine.dialect.name == "sqlite"
    engine.dispose()
    assert (recorded, keys) == ((head, 0) if all_or_nothing else ("9001", 1))


def test_connections_are_in_utc_read_committed_and_bounded_by_their_use(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    url = sql_server.create(unique())
    mysql = isinstance(sql_server, MySQL)
    isolation = "@@transaction_isolation" if mysql else "@@tx_isolation"
    statement_timeout = "@@max_execution_time / 1000" if mysql else "@@max_statement_time"
    seen = {}
    for use in ("reading", "searching", "writing", "migrating"):
        engine = open_engine(url, use=cast(Any, use))
        with engine.connect() as connection:
            seen[use] = connection.execute(
                text(f"SELECT @@time_zone, {isolation}, {statement_timeout}, @@innodb_lock_wait_timeout")
            ).one()
        engine.dispose()
    common = ("+00:00", "READ-COMMITTED")
    assert tuple(seen["reading"]) == tuple(seen["searching"]) == (*common, 4.0, 50)
    assert tuple(seen["writing"]) == (*common, 0.0, 2)
    assert tuple(seen["migrating"]) == (*common, 0.0, 50)


def test_what_is_wrong_with_a_url_is_said_at_the_first_contact(
    sql_server: SqlServer, unique: Callable[[], str], tmp_path: Path
) -> None:
    right = sql_server.create("contact_" + unique())
    (tmp_path / "garbage.db").write_bytes(b"not a database" * 100)
    wrong = {
        right.replace("planted-database-password", "planted-wrong-password"): "1045",
        sql_server.url("nowhere"): "1049|1044",
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
