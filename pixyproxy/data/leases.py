"""Leases of generations: renew, find what has run out, claim. Functions on a `Transaction`, by the database's clock."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pixyproxy.core.generations import GenerationPage
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Row, Transaction
from pixyproxy.data.generation_rows import SELECT, readable
from pixyproxy.data.settling import INTERRUPTED

EXPIRED = (
    SELECT
    + """
    WHERE state = 'running' AND lease_expires_at <= :now
      AND lease_expires_at >= :moment AND (lease_expires_at > :moment OR id > :id)
    ORDER BY lease_expires_at, id
    LIMIT :rows
    """
)
RECENTLY_INTERRUPTED = (
    SELECT
    + """
    WHERE error_name = :interrupted AND updated_at > :since
      AND updated_at <= :moment AND (updated_at < :moment OR id < :id)
    ORDER BY updated_at DESC, id DESC
    LIMIT :rows
    """
)
FIRST_MOMENT, LAST_MOMENT = "1000-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"
"""Before and after every time in a row."""


def renew(transaction: Transaction, guids: Collection[UUID], *, lease: float) -> None:
    """Give these, at least one, a lease of so many seconds from now. Rows are locked in the order of their ids.

    A settled one gets a lease too, which means nothing. With a condition on the state MariaDB would walk the index of
    leases, and wait for locked rows of other replicas.
    """
    rows = transaction.all("SELECT id FROM generations WHERE guid IN :guids", guids=tuple(map(str, guids)))
    if rows:
        transaction.execute(
            "UPDATE generations SET lease_expires_at = :lease_expires_at WHERE id IN :ids",
            lease_expires_at=time_to_column(transaction.now() + timedelta(seconds=lease)),
            ids=tuple(sorted(row["id"] for row in rows)),
        )


def expired(transaction: Transaction, *, limit: int, cursor: str | None) -> GenerationPage:
    """A page of running generations whose lease has run out, oldest lease first."""
    position = keyset_position(cursor, first=FIRST_MOMENT)
    rows = transaction.all(EXPIRED, now=time_to_column(transaction.now()), rows=limit + 1, **position)
    return keyset_page(rows, limit=limit, column="lease_expires_at")


def interrupted(transaction: Transaction, *, within: float, limit: int, cursor: str | None) -> GenerationPage:
    """A page of those that were failed as interrupted in the last `within` seconds, newest first."""
    position = keyset_position(cursor, first=LAST_MOMENT)
    since = time_to_column(transaction.now() - timedelta(seconds=within))
    rows = transaction.all(RECENTLY_INTERRUPTED, interrupted=INTERRUPTED, since=since, rows=limit + 1, **position)
    return keyset_page(rows, limit=limit, column="updated_at")


def claim(transaction: Transaction, guid: UUID, *, lease: float) -> datetime | None:
    """Take over a running generation whose lease has run out: the end of the new lease, or None.

    The client lost its connection when the former owner died, so the generation counts as abandoned.
    """
    now = transaction.now()
    until = now + timedelta(seconds=lease)
    row = transaction.one("SELECT id FROM generations WHERE guid = :guid", guid=str(guid))
    found = row and transaction.execute(
        """
        UPDATE generations
        SET lease_expires_at = :lease_expires_at, abandoned_at = COALESCE(abandoned_at, :now)
        WHERE id = :id AND state = 'running' AND lease_expires_at <= :now
        """,
        id=row["id"],
        lease_expires_at=time_to_column(until),
        now=time_to_column(now),
    )
    return until if found else None


def keyset_page(rows: Sequence[Row], *, limit: int, column: str) -> GenerationPage:
    """The first `limit` of these rows as a page; one more row was read. They are ordered by `column` and the id."""
    cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        cursor = f"{time_to_column(column_to_time(last[column]))}|{last['id']}"
    return GenerationPage(generations=readable(rows[:limit]), next_cursor=cursor)


def keyset_position(cursor: str | None, *, first: str) -> dict[str, Any]:
    """The parameters `moment` and `id` behind the cursor of `keyset_page`; None: before every row."""
    moment, _, number = (cursor or f"{first}|0").partition("|")
    return {"moment": moment, "id": int(number)}
