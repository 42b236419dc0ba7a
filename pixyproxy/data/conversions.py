"""Values between Python and SQL: times, and JSON, the same for MySQL, MariaDB and SQLite."""

import json
from datetime import UTC, datetime
from typing import Any


def time_to_column(value: datetime) -> str:
    """Naive UTC with microseconds, as every one of the databases reads it. The drivers drop offsets silently."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def column_to_time(value: datetime | str) -> datetime:
    """Aware UTC from a DATETIME(6): PyMySQL gives a naive `datetime`, sqlite3 the text."""
    naive = datetime.fromisoformat(value) if isinstance(value, str) else value
    return naive.replace(tzinfo=UTC)


def optional_time(value: datetime | str | None) -> datetime | None:
    """`column_to_time` for a column that may be NULL."""
    return None if value is None else column_to_time(value)


def json_to_column(value: dict[str, Any] | None) -> str | None:
    """JSON text, or NULL."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def column_to_json(value: str | None) -> dict[str, Any] | None:
    """The object behind JSON text, or None."""
    result: dict[str, Any] | None = None if value is None else json.loads(value)
    return result
