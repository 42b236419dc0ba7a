"""Connections of the pools to the servers: what is lost, what is left open, and what is tested before its use."""

import re
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Engine, text

from pixyproxy.data import init
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Transaction
from pixyproxy.data.init import open_database, open_engine
from tests.servers import SqlServer


@pytest.fixture
def url(sql_server: SqlServer, unique: Callable[[], str]) -> str:
    """Of an empty database."""
    return sql_server.create(unique())


def id_of(engine: Engine) -> int:
    """The server's number of the connection that the pool gives out."""
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT CONNECTION_ID()")).scalar_one())


def test_a_transaction_that_was_left_open_is_rolled_back(url: str) -> None:
    engine = open_engine(url, use="writing")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE things (id INTEGER)"))
    with closing(engine.raw_connection()) as raw:  # nothing of SQLAlchemy ends its transaction
        raw.cursor().execute("INSERT INTO things VALUES (1)")
    with engine.begin() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM things")).scalar_one() == 0
    engine.dispose()


@pytest.mark.parametrize(("use", "ends"), [("writing", ["COMMIT"]), ("reading", [])])
def test_after_a_commit_and_after_a_read_nothing_is_rolled_back(
    use: Literal["reading", "writing"], ends: list[str], url: str
) -> None:
    engine = open_engine(url, use=use)
    sent: list[Any] = []
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        send = raw._execute_command

        def note(command: int, sql: Any) -> None:
            sent.append(sql)
            send(command, sql)

        raw._execute_command = note
        with connection.begin() if use == "writing" else nullcontext():
            connection.execute(text("SELECT 1"))
    assert [each for each in sent if each in ("BEGIN", "COMMIT", "ROLLBACK")] == ends
    engine.dispose()


@pytest.mark.anyio
async def test_a_reader_whose_connection_was_just_lost_gets_another_one(
    url: str, sql_server: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init, "IDLE", 3600)
    database, close = open_database(url)
    try:
        row = await database.one("SELECT CONNECTION_ID() AS id")
        assert row is not None
        sql_server.query(f"KILL {row['id']}")
        again = await database.one("SELECT CONNECTION_ID() AS id")
        assert again is not None
        assert again["id"] != row["id"]
    finally:
        close()


def test_a_connection_that_was_idle_is_tested_and_one_in_use_is_not(
    url: str, sql_server: SqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(url, use="writing")
    pings: list[int] = []
    ping = engine.dialect.do_ping

    def note(connection: Any) -> bool:
        pings.append(1)
        return ping(connection)

    monkeypatch.setattr(engine.dialect, "do_ping", note)
    first = id_of(engine)
    assert id_of(engine) == first
    assert pings == []
    monkeypatch.setattr(init, "IDLE", 0)
    assert id_of(engine) == first
    assert pings == [1]
    sql_server.query(f"KILL {first}")
    assert id_of(engine) != first
    engine.dispose()


def test_times_that_sqlite_reckons_compare_with_ours(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/times.db", use="writing")
    with engine.connect() as connection:
        transaction = Transaction(connection)
        before = transaction.now()
        row = transaction.one(f"SELECT {transaction.later('seconds')} AS at", seconds=1.5)
        assert row is not None
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["at"])
        assert row["at"] == time_to_column(column_to_time(row["at"]))
        assert timedelta(seconds=1.5) <= column_to_time(row["at"]) - before < timedelta(seconds=60)
    engine.dispose()
