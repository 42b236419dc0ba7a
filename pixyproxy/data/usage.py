"""The sums over generations: stored for days that are over, added up at each question for the newest ones.

A generation that succeeded, or failed in another way than as interrupted, never changes again in a way that counts
here. So a day that is over is stored as the sums of those generations, and as the ids of the others (`usage_open`),
which are read each time. Nothing stored is ever wrong later, whichever version of PixyProxy ends a generation, and the
path of a generation does nothing for it. Nothing needs a lock: processes that store a day at once find the same, or
another division between sums and ids, and one of them commits.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import anyio

from pixyproxy.core.exceptions import ConflictError, InvalidRequestError, UsageNotReadyError
from pixyproxy.core.usage import ONE_DAY, SUMMED, Dimension, Span, Sums
from pixyproxy.data.conversions import column_to_time
from pixyproxy.data.database import Row, SqlDatabase, Transaction
from pixyproxy.data.usage_rows import ROWS, Entry, Position, beginning_of, entries_of, entries_page

LATE = timedelta(hours=1)
"""A day is stored so long after its end. Until then a replica whose clock is slow may begin generations in it."""
FILL = 10.0
"""Seconds that a question adds up days for the first time; then the client must ask again."""
MAX_GROUPS = 20_000
COLUMN = {
    Dimension.DAY: "day",
    Dimension.MONTH: "SUBSTR(day, 1, 7)",
    Dimension.KEY: "api_key_id",
    Dimension.MODEL: "model",
    Dimension.STATE: "state",
}
STORED = """
    SELECT {columns}SUM(generations) AS generations, SUM(images) AS images, 0 AS running, 0 AS reserved,
           SUM(CASE WHEN state = 'failed' THEN generations ELSE 0 END) AS failed, SUM(unpriced) AS unpriced,
           SUM(text_in) AS text_in, SUM(image_in) AS image_in, SUM(output) AS output, SUM(cost_nano) AS cost,
           SUM(estimated_nano) AS estimated
    FROM usage_sums
    WHERE day >= :since AND day < :until{owner}
    {grouping}
    LIMIT :rows
"""
INSERT = """
    INSERT INTO usage_sums
        (day, api_key_id, model, state, generations, images, unpriced, text_in, image_in, output, cost_nano,
         estimated_nano)
    VALUES
        (:day, :api_key_id, :model, :state, :generations, :images, :unpriced, :text_in, :image_in, :output, :cost,
         :estimated)
"""
OPEN = "SELECT generation_id FROM usage_open WHERE day >= :since AND day < :until ORDER BY day, generation_id"
OF_A_DAY = (Dimension.KEY, Dimension.MODEL, Dimension.STATE)

Groups = dict[tuple[str | int, ...], Sums]


@dataclass(frozen=True)
class Parts:
    """A span in two: `stored` days, which are over, and those that are not stored yet or never. Either may be empty."""

    stored: Span
    live: Span


class SqlUsageRepository:
    """`UsageRepository` over SQL.

    `fill`: seconds that a question adds up days for the first time. `most`: groups of an answer. `now`: instead of the
    database's time.
    """

    def __init__(
        self, database: SqlDatabase, *, fill: float = FILL, most: int = MAX_GROUPS, now: datetime | None = None
    ) -> None:
        self._database = database
        self._fill = fill
        self._most = most
        self._now = now
        self._filling = asyncio.Lock()

    async def sums(
        self, span: Span, *, by: Sequence[Dimension], api_key_id: int | None = None
    ) -> Mapping[tuple[str | int, ...], Sums]:
        """The sums of each group that has a generation, of this API key or of all.

        `InvalidRequestError` for too many groups, `UsageNotReadyError` if days are left to be added up.
        """
        dimensions, parts = tuple(by), await self._database.read(lambda each: self._parts(each, span))
        if left := await self._store(parts.stored, seconds=self._fill):
            raise UsageNotReadyError(f"{left} days are left to be added up for the first time; ask again.")

        groups = await self._database.search(
            lambda each: stored_groups(each, parts.stored, by=dimensions, api_key_id=api_key_id, rows=self._most + 1)
        )
        self._require_few(groups)
        unsettled = await self._database.search(lambda each: open_ids(each, parts.stored))
        for first in range(0, len(unsettled), ROWS):
            ids = unsettled[first : first + ROWS]
            entries = await self._database.search(partial(entries_of, ids=ids))
            add_entries(groups, (each for each in entries if api_key_id in (None, each.api_key_id)), by=dimensions)
        async for page in self._pages(parts.live, api_key_id=api_key_id):
            add_entries(groups, page, by=dimensions)
            self._require_few(groups)
        return groups

    async def _pages(self, span: Span, *, api_key_id: int | None = None) -> AsyncIterator[list[Entry]]:
        """What the generations of a span add, each once. A search for each page: none takes long."""
        position: Position | None = beginning_of(span.since)
        while position is not None and span.since < span.until:
            page = partial(entries_page, after=position, until=span.until, api_key_id=api_key_id)
            entries, position = await self._database.search(page)
            yield entries

    async def store(self, *, seconds: float) -> int:
        """Add up days that are over for so many seconds, oldest first; how many are left."""
        parts = await self._database.read(lambda each: self._parts(each, Span(date.min, date.max)))
        return await self._store(parts.stored, seconds=seconds)

    async def _store(self, span: Span, *, seconds: float) -> int:
        """Store the days of a span that is over. How many are left after so many seconds; at least one is stored."""
        until = anyio.current_time() + seconds
        if not await self._database.read(lambda transaction: missing(transaction, span)):
            return 0
        async with self._filling:  # the next one finds them stored
            days = await self._database.read(lambda transaction: missing(transaction, span))
            for number, day in enumerate(days, 1):
                await self._store_day(day)
                if anyio.current_time() >= until:
                    return len(days) - number
        return 0

    async def _store_day(self, day: date) -> None:
        groups: Groups = {}
        unsettled: list[int] = []

        async for page in self._pages(Span(day, day + ONE_DAY)):
            add_entries(groups, (each for each in page if each.final), by=OF_A_DAY)
            unsettled += [each.id for each in page if not each.final]

        def write(transaction: Transaction) -> None:
            transaction.execute("INSERT INTO usage_days (day) VALUES (:day)", day=day.isoformat())
            rows = [{"day": day.isoformat(), **group_to_row(values, sums)} for values, sums in groups.items()]
            transaction.execute_many(INSERT, rows)
            transaction.execute_many(
                "INSERT INTO usage_open (day, generation_id) VALUES (:day, :generation_id)",
                [{"day": day.isoformat(), "generation_id": each} for each in unsettled],
            )

        with suppress(ConflictError):  # another process was faster
            await self._database.transaction(write)

    def _require_few(self, groups: Groups) -> None:
        if len(groups) > self._most:
            detail = f"has more than {self._most} groups in this span: ask for a shorter one, or by less"
            raise InvalidRequestError([{"detail": detail, "pointer": "?by"}])

    def _parts(self, transaction: Transaction, span: Span) -> Parts:
        """The span without the days before the first generation, in two."""
        first = transaction.one("SELECT created_at FROM generations ORDER BY created_at, guid LIMIT 1")
        now = self._now or transaction.now()
        since = span.since if first is None else max(span.since, column_to_time(first["created_at"]).date())
        until = max(span.until, since)
        over = since if first is None else min(max((now - LATE).date(), since), until)
        return Parts(Span(since, over), Span(over, until))


def missing(transaction: Transaction, span: Span) -> list[date]:
    """The days of a span that are not stored, oldest first."""
    known = {
        day_of(row["day"])
        for row in transaction.all("SELECT day FROM usage_days WHERE day >= :since AND day < :until", **bounds(span))
    }
    days = (span.since + timedelta(days=number) for number in range((span.until - span.since).days))
    return [day for day in days if day not in known]


def stored_groups(
    transaction: Transaction, span: Span, *, by: tuple[Dimension, ...], api_key_id: int | None, rows: int
) -> Groups:
    """The sums of stored days."""
    found = transaction.all(
        STORED.format(
            columns="".join(f"{COLUMN[each]} AS g_{each.value}, " for each in by),
            owner="" if api_key_id is None else " AND api_key_id = :api_key_id",
            grouping="GROUP BY " + ", ".join(COLUMN[each] for each in by) if by else "",
        ),
        rows=rows,
        **({} if api_key_id is None else {"api_key_id": api_key_id}),
        **bounds(span),
    )
    groups: Groups = {}
    for row in found:
        if row["generations"] is not None:
            groups[values_of(row, by)] = Sums(**{name: int(row[name]) for name in SUMMED})
    return groups


def open_ids(transaction: Transaction, span: Span) -> list[int]:
    """The generations of stored days that are in no sum."""
    return [row["generation_id"] for row in transaction.all(OPEN, **bounds(span))]


def values_of(row: Row, by: tuple[Dimension, ...]) -> tuple[str | int, ...]:
    """The values by which a group is named."""
    return tuple(
        day_of(row[f"g_{each.value}"]).isoformat() if each is Dimension.DAY else row[f"g_{each.value}"] for each in by
    )


def add_entries(groups: Groups, entries: Iterable[Entry], *, by: tuple[Dimension, ...]) -> None:
    """Add entries to their groups."""
    for entry in entries:
        values = entry.values(by)
        known = groups.get(values)
        if known is None:
            groups[values] = entry.sums
        else:
            known.add(entry.sums)


def group_to_row(values: tuple[str | int, ...], sums: Sums) -> dict[str, Any]:
    """The columns of a group of a day."""
    names = tuple(each for each in SUMMED if each not in ("running", "failed", "reserved"))
    key, model, state = values
    return {"api_key_id": key, "model": model, "state": state, **{name: getattr(sums, name) for name in names}}


def bounds(span: Span) -> dict[str, Any]:
    """The days of a span as parameters."""
    return {"since": span.since.isoformat(), "until": span.until.isoformat()}


def day_of(value: date | str) -> date:
    """The day of a column: SQLite gives the text."""
    return date.fromisoformat(value) if isinstance(value, str) else value
