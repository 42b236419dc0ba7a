"""The sums over generations: stored for days that are over, added up at each question for the newest ones.

A generation that succeeded, or failed in another way than as interrupted, never changes again in a way that counts
here. So a day that is over is stored as the sums of those generations, and as the ids of the others (`usage_open`),
which are read each time. Nothing stored is ever wrong later, whichever version of PixyProxy ends a generation, and the
path of a generation does nothing for it. Nothing needs a lock: processes that store a day at once find the same, or
another division between sums and ids, and one of them commits.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial

import anyio

from pixyproxy.core.exceptions import ConflictError, InvalidRequestError, UsageNotReadyError
from pixyproxy.core.usage import ONE_DAY, Dimension, Span, Sums, UnequalDay, total_of
from pixyproxy.data.conversions import column_to_time
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.usage_days import (
    OF_A_DAY,
    Groups,
    add_entries,
    forget_day,
    insert_day,
    missing,
    open_ids,
    stored_day,
    stored_days,
    stored_groups,
)
from pixyproxy.data.usage_rows import ROWS, Entry, Position, beginning_of, entries_of, entries_page

LATE = timedelta(hours=1)
"""A day is stored so long after its end. Until then a replica whose clock is slow may begin generations in it."""
FILL = 10.0
"""Seconds that a question adds up days for the first time; then the client must ask again."""
MAX_GROUPS = 20_000


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

        with suppress(ConflictError):  # another process was faster
            await self._database.transaction(partial(insert_day, day=day, groups=groups, unsettled=unsettled))

    async def days(self) -> tuple[date, ...]:
        """The days that are stored, oldest first."""
        return await self._database.search(stored_days)

    async def audit(self, day: date) -> UnequalDay | None:
        """Compare what is stored of a day with its generations; None if they agree.

        Those in no sum may end meanwhile, the others do not change. A day that is forgotten or stored anew meanwhile
        agrees.
        """
        read, recorded, found = partial(stored_day, day=day), Groups(), set[int]()
        known = await self._database.search(read)
        if known is None:
            return None
        stored, unsettled = known
        async for page in self._pages(Span(day, day + ONE_DAY)):
            add_entries(recorded, (each for each in page if each.id not in unsettled), by=OF_A_DAY)
            found |= {each.id for each in page} & unsettled
        if known == (recorded, found) or await self._database.search(read) != known:
            return None
        return UnequalDay(day, stored=total_of(stored.values()), recorded=total_of(recorded.values()))

    async def forget(self, day: date) -> None:
        """Remove what is stored of a day: it is added up anew."""
        await self._database.transaction(partial(forget_day, day=day))

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
