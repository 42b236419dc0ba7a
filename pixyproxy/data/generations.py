"""The records of generations."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.budgets import Budget
from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    GenerationNotFoundError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationPage, GenerationState, Origin
from pixyproxy.core.images import Image
from pixyproxy.core.keys import NO_LIMITS, KeyLimits
from pixyproxy.core.money import Cost
from pixyproxy.core.protocols import ImageSearch
from pixyproxy.data import leases, ledger, settling
from pixyproxy.data.admission import require_limits
from pixyproxy.data.conversions import next_cursor, position_of
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.generation_rows import INSERT, SELECT, generation_to_row, row_to_origin, with_images
from pixyproxy.data.search import SqlImageSearch
from pixyproxy.data.settling import INTERRUPTED
from pixyproxy.data.windows import WindowMissingError, open_window

OPENINGS = 20
"""Tries of a reservation whose windows are to be opened first, of which there are 6 at most."""
BY_GUID = SELECT + "WHERE guid = :guid"
BY_IDEMPOTENCY_KEY = SELECT + "WHERE api_key_id = :api_key_id AND idempotency_key = :idempotency_key"
ORIGINS = """
    SELECT images.guid AS image_guid, generations.guid, generations.api_key_id, generations.request,
           cost_nano, cost_basis
    FROM images
    JOIN generations ON generations.id = images.generation_id
    WHERE images.guid IN :images
"""


PAGE = (
    SELECT
    + """
    WHERE {conditions}created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
    ORDER BY {order}created_at DESC, guid DESC
    LIMIT :rows
    """
)


def page_where(transaction: Transaction, *columns: str) -> str:
    """The statement of the list where these columns have given values. Each has an index in its order."""
    return PAGE.format(
        conditions="".join(f"{transaction.same(column)} AND " for column in columns),
        order="".join(f"{column} DESC, " for column in columns),
    )


class SqlGenerationRepository:
    """`GenerationRepository` over SQL. `search`: what shares the commit of new images."""

    def __init__(self, database: SqlDatabase, *, search: ImageSearch[Transaction] | None = None) -> None:
        self._database = database
        self._search = search or SqlImageSearch(database)

    async def add(
        self,
        generation: Generation,
        *,
        lease: float,
        instead_of: UUID | None = None,
        limits: KeyLimits = NO_LIMITS,
    ) -> None:
        """Record a running generation, durably; `ConflictError` if its guid, or its Idempotency-Key, exists.

        `BudgetExhaustedError`, `PriceUnknownError` and `RateLimitedError` if its key may not begin it: see `admission`.
        """

        def insert(transaction: Transaction) -> None:
            if instead_of is not None:
                found = transaction.execute(
                    """
                    UPDATE generations
                    SET idempotency_key = NULL
                    WHERE guid = :guid AND state = 'failed' AND idempotency_key = :idempotency_key
                    """,
                    guid=str(instead_of),
                    idempotency_key=generation.idempotency_key,
                )
                if not found:
                    raise ConflictError("The failed generation no longer has its Idempotency-Key.")
            id_ = transaction.insert(
                INSERT.format(lease_expires_at=transaction.later("lease")), lease=lease, **generation_to_row(generation)
            )
            require_limits(transaction, generation, limits)
            ledger.reserve(transaction, generation, id_=id_)

        for _ in range(OPENINGS):
            try:
                await self._database.transaction(insert, patience=self._database.limits.reserve_wait)
            except WindowMissingError as missing:
                await self._open_window(missing.budget, missing.starts_on)
            else:
                return
        raise DatabaseUnavailableError("The windows of the budgets are removed again and again.")

    async def _open_window(self, budget: Budget, starts_on: date) -> None:
        await self._database.transaction(
            lambda transaction: open_window(transaction, budget, starts_on=starts_on),
            patience=self._database.limits.reserve_wait,
        )

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid, and its images; `GenerationNotFoundError` if there is none.

        `DatabaseError` if this version cannot read its record.
        """
        found = await self._one(BY_GUID, guid=str(guid))
        if found is None:
            raise GenerationNotFoundError
        return found

    async def find(self, *, api_key_id: int, idempotency_key: str) -> Generation | None:
        """The generation that this caller asked for with this key, and its images.

        `DatabaseError` if this version cannot read its record.
        """
        return await self._one(BY_IDEMPOTENCY_KEY, api_key_id=api_key_id, idempotency_key=idempotency_key)

    async def _one(self, sql: str, **parameters: Any) -> Generation | None:
        def read(transaction: Transaction) -> Generation | None:
            row = transaction.one(sql, **parameters)
            if row is None:
                return None
            found = with_images(transaction, [row])
            if not found:
                raise DatabaseError(f"This version cannot read the record of generation {row['guid']}.")
            return found[0]

        return await self._database.read(read)

    async def list(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: GenerationState | None = None,
        api_key_id: int | None = None,
    ) -> GenerationPage:
        """A page of the list, by keyset. Records that this version cannot read are left out."""
        created_at, guid = position_of(cursor)
        wanted = {"api_key_id": api_key_id, "state": None if state is None else state.value}
        filters: dict[str, Any] = {column: value for column, value in wanted.items() if value is not None}

        def page(transaction: Transaction) -> GenerationPage:
            statement = page_where(transaction, *filters)
            rows = transaction.all(statement, created_at=created_at, guid=guid, rows=limit + 1, **filters)
            return GenerationPage(
                generations=with_images(transaction, rows[:limit]), next_cursor=next_cursor(rows, limit=limit)
            )

        return await self._database.search(page)

    async def origins(self, images: Collection[UUID]) -> dict[UUID, Origin]:
        """Where these images come from, by their guids. An image that is no longer recorded is left out.

        A request that this version cannot read has no parameters.
        """
        if not images:
            return {}
        rows = await self._database.all(ORIGINS, images=tuple(map(str, images)))
        return {UUID(row["image_guid"]): row_to_origin(row) for row in rows}

    async def succeed(
        self,
        generation: Generation,
        *,
        images: tuple[Image, ...],
        drawing: Drawing | None = None,
        cost: Cost | None = None,
        parked: bool = True,
    ) -> bool:
        """Record the images and the success, and remove what was parked, in one transaction. See `settling.succeed`."""
        return await self._database.transaction(
            lambda transaction: settling.succeed(
                transaction, generation, images=images, drawing=drawing, cost=cost, parked=parked, search=self._search
            ),
            patience=self._database.limits.record_wait,
        )

    async def expect(self, guid: UUID, *, images: int) -> None:
        """Record how many images a running generation expects; nothing happens if it is settled."""
        await self._database.execute(
            "UPDATE generations SET expected_images = :images WHERE guid = :guid AND state = 'running'",
            images=images,
            guid=str(guid),
        )

    async def fail(self, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs, or its lease is not the claimed one."""
        await self._database.transaction(
            lambda transaction: settling.fail(transaction, generation, error=error, claimed=claimed)
        )

    async def renew(self, guids: Collection[UUID], *, lease: float) -> None:
        """Give those that run a lease of so many seconds from now, in one statement; 0 ends the leases."""
        if guids:
            await self._database.transaction(lambda transaction: leases.renew(transaction, guids, lease=lease))

    async def expired(self, *, limit: int, cursor: str | None = None) -> GenerationPage:
        """Running generations whose lease has run out, oldest lease first, from `cursor` on, without their images.

        Records that this version cannot read are left out.
        """
        return await self._database.read(lambda transaction: leases.expired(transaction, limit=limit, cursor=cursor))

    async def interrupted(self, *, within: float, limit: int, cursor: str | None = None) -> GenerationPage:
        """Those that were failed as interrupted in the last `within` seconds, by the database's clock, newest first.

        From `cursor` on, without their images. Records that this version cannot read are left out.
        """
        return await self._database.read(
            lambda transaction: leases.interrupted(transaction, within=within, limit=limit, cursor=cursor)
        )

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        """Take over a running generation whose lease has run out: the end of the new lease, or None."""
        return await self._database.transaction(lambda transaction: leases.claim(transaction, guid, lease=lease))

    async def unsettled(self) -> dict[UUID, GenerationState]:
        """The states of all that run or were failed as interrupted: their objects may still be recorded."""
        rows = await self._database.all(
            """
            SELECT guid, state FROM generations WHERE state = 'running'
            UNION
            SELECT guid, state FROM generations WHERE error_name = :interrupted
            """,
            interrupted=INTERRUPTED,
        )
        return {
            UUID(row["guid"]): GenerationState.RUNNING if row["state"] == "running" else GenerationState.FAILED
            for row in rows
        }
