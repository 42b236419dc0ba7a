"""Values between Python and SQL: times, JSON, and cursors, the same for MySQL, MariaDB and SQLite."""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from pixyproxy.core.exceptions import InvalidRequestError

FIRST_PAGE = ("9999-12-31 23:59:59.999999", "~")
"""A position before every row: the lists are in descending order."""


def time_to_column(value: datetime) -> str:
    """Naive UTC with microseconds, as all the databases read it. The drivers drop offsets silently."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def column_to_time(value: datetime | str) -> datetime:
    """Aware UTC from a DATETIME(6): PyMySQL gives a naive `datetime`, sqlite3 the text."""
    naive = datetime.fromisoformat(value) if isinstance(value, str) else value
    return naive.replace(tzinfo=UTC)


def optional_time(value: datetime | str | None) -> datetime | None:
    """`column_to_time` for a column that may be NULL."""
    return None if value is None else column_to_time(value)


def column_to_day(value: date | str) -> date:
    """The day of a DATE: PyMySQL gives a `date`, sqlite3 the text."""
    return date.fromisoformat(value) if isinstance(value, str) else value


def json_to_column(value: dict[str, Any] | None) -> str | None:
    """JSON text, or NULL."""
    return None if value is None else json.dumps(value, ensure_ascii=False)


def column_to_json(value: str | None) -> dict[str, Any] | None:
    """The object behind JSON text, or None."""
    result: dict[str, Any] | None = None if value is None else json.loads(value)
    return result


def cursor_after(moment: datetime, guid: UUID) -> str:
    """The opaque position after a row of a list by a moment, such as `created_at`, and `guid`."""
    position = f"{time_to_column(moment)}|{guid}"
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def next_cursor(rows: Sequence[RowMapping], *, limit: int, column: str = "created_at") -> str | None:
    """The position after `limit` rows of a list by the `column` and `guid`; None if there are no more rows."""
    if len(rows) <= limit:
        return None
    last = rows[limit - 1]
    return cursor_after(column_to_time(last[column]), UUID(last["guid"]))


def position_of(cursor: str | None) -> tuple[str, str]:
    """The (moment, guid) behind a cursor; `InvalidRequestError` for a cursor that `cursor_after` did not make."""
    if cursor is None:
        return FIRST_PAGE
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, guid = position.split("|")
        return time_to_column(column_to_time(datetime.fromisoformat(moment))), str(UUID(guid))
    except (binascii.Error, ValueError):
        detail = "is not a cursor of this service; take the URL of 'next' in the Link header as it is"
        raise InvalidRequestError([{"detail": detail, "pointer": "?cursor"}]) from None
