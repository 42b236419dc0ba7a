"""The records of generations."""

import logging
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import ConflictError, DatabaseError, GenerationNotFoundError
from pixyproxy.core.generations import Drawing, Generation, GenerationPage, GenerationState, RecordedRequest
from pixyproxy.core.images import Image
from pixyproxy.data import settling
from pixyproxy.data.conversions import (
    column_to_json,
    column_to_time,
    json_to_column,
    next_cursor,
    position_of,
    time_to_column,
)
from pixyproxy.data.database import Row, SqlDatabase, Transaction
from pixyproxy.data.images import images_by_generation
from pixyproxy.data.settling import INTERRUPTED

SELECT = """
    SELECT id, guid, api_key_id, idempotency_key, fingerprint, request, expected_images, state, error,
           upstream_request_id, `usage`, answer, lease_expires_at, abandoned_at, created_at, updated_at
    FROM generations
"""
BY_GUID = SELECT + "WHERE guid = :guid"
BY_IDEMPOTENCY_KEY = SELECT + "WHERE api_key_id = :api_key_id AND idempotency_key = :idempotency_key"
# The two statements of the list differ so that each has an index in its order.
PAGE = (
    SELECT
    + """
    WHERE created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
    ORDER BY created_at DESC, guid DESC
    LIMIT :rows
    """
)
PAGE_IN_STATE = (
    SELECT
    + """
    WHERE state = :state AND created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
    ORDER BY created_at DESC, guid DESC
    LIMIT :rows
    """
)
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
INSERT = """
    INSERT INTO generations
        (guid, api_key_id, idempotency_key, fingerprint, request, expected_images, state, error, upstream_request_id,
         `usage`, answer, lease_expires_at, created_at, updated_at)
    VALUES
        (:guid, :api_key_id, :idempotency_key, :fingerprint, :request, :expected_images, :state, :error,
         :upstream_request_id, :usage, :answer, :lease_expires_at, :created_at, :updated_at)
"""

FIRST_MOMENT, LAST_MOMENT = "1000-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999"
"""Before and after every time in a row."""

logger = logging.getLogger(__name__)


def generation_to_row(generation: Generation) -> dict[str, Any]:
    """The columns of a generation, but for its lease."""
    return {
        "guid": str(generation.guid),
        "api_key_id": generation.api_key_id,
        "idempotency_key": generation.idempotency_key,
        "fingerprint": generation.fingerprint,
        "request": json_to_column(generation.request.values),
        "expected_images": generation.expected_images,
        "state": generation.state.value,
        "error": json_to_column(generation.error),
        "upstream_request_id": generation.upstream_request_id,
        "usage": json_to_column(generation.usage),
        "answer": json_to_column(generation.answer),
        "created_at": time_to_column(generation.created_at),
        "updated_at": time_to_column(generation.updated_at),
    }


def row_to_generation(row: Row, *, images: tuple[Image, ...] = ()) -> Generation:
    """The generation of a row, with these images. `ValueError` for a row that this version cannot read."""
    return Generation(
        guid=UUID(row["guid"]),
        api_key_id=row["api_key_id"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        request=RecordedRequest(values=column_to_json(row["request"]) or {}),
        expected_images=row["expected_images"],
        state=GenerationState(row["state"]),
        error=column_to_json(row["error"]),
        upstream_request_id=row["upstream_request_id"],
        usage=column_to_json(row["usage"]),
        answer=column_to_json(row["answer"]),
        images=images,
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


def readable(rows: Iterable[Row], *, images: dict[int, tuple[Image, ...]] | None = None) -> tuple[Generation, ...]:
    """The generations of the rows. A row that another version wrote and this one cannot read is logged and skipped."""
    generations = []
    for row in rows:
        try:
            generations.append(row_to_generation(row, images=(images or {}).get(row["id"], ())))
        except ValueError:
            logger.exception("generation %s: this version cannot read its record", row["guid"])
    return tuple(generations)


def keyset_page(rows: Sequence[Row], *, limit: int, column: str) -> GenerationPage:
    """The page of so many rows in the order of this column and the id, of which one more was read."""
    cursor = None
    if len(rows) > limit:
        last = rows[limit - 1]
        cursor = f"{time_to_column(column_to_time(last[column]))}|{last['id']}"
    return GenerationPage(generations=readable(rows[:limit]), next_cursor=cursor)


def keyset_position(cursor: str | None, *, first: str) -> dict[str, Any]:
    """The parameters `moment` and `id` behind the cursor of `keyset_page`; None: before every row."""
    moment, _, number = (cursor or f"{first}|0").partition("|")
    return {"moment": moment, "id": int(number)}


def with_images(transaction: Transaction, rows: Collection[Row]) -> tuple[Generation, ...]:
    """The generations of the rows, each with its images."""
    return readable(rows, images=images_by_generation(transaction, [row["id"] for row in rows]))


class SqlGenerationRepository:
    """`GenerationRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, generation: Generation, *, lease: float, instead_of: UUID | None = None) -> None:
        """Record a running generation, durably; `ConflictError` if its guid, or its Idempotency-Key, exists."""

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
            transaction.execute(
                INSERT,
                lease_expires_at=time_to_column(transaction.now() + timedelta(seconds=lease)),
                **generation_to_row(generation),
            )

        await self._database.transaction(insert, patience=self._database.limits.reserve_wait)

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
        self, *, limit: int, cursor: str | None = None, state: GenerationState | None = None
    ) -> GenerationPage:
        """A page of the list, by keyset. Records that this version cannot read are left out."""
        created_at, guid = position_of(cursor)
        position: dict[str, Any] = {"created_at": created_at, "guid": guid, "rows": limit + 1}

        def page(transaction: Transaction) -> GenerationPage:
            if state is None:
                rows = transaction.all(PAGE, **position)
            else:
                rows = transaction.all(PAGE_IN_STATE, state=state.value, **position)
            return GenerationPage(
                generations=with_images(transaction, rows[:limit]), next_cursor=next_cursor(rows, limit=limit)
            )

        return await self._database.search(page)

    async def succeed(
        self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing | None = None
    ) -> bool:
        """Record the images and the success, and remove what was parked, in one transaction. See `settling.succeed`."""
        return await self._database.transaction(
            lambda transaction: settling.succeed(transaction, generation, images=images, drawing=drawing),
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
        """Give those that run a lease of so many seconds from now, in one statement; 0 lets them go.

        That of a settled one means nothing. A condition on the state would have MariaDB walk the index of leases, and
        wait for rows of other replicas that are locked.
        """
        if not guids:
            return

        def renew(transaction: Transaction) -> None:
            transaction.execute(
                """
                UPDATE generations
                SET lease_expires_at = :lease_expires_at
                WHERE guid IN :guids
                """,
                lease_expires_at=time_to_column(transaction.now() + timedelta(seconds=lease)),
                guids=tuple(str(guid) for guid in guids),
            )

        await self._database.transaction(renew)

    async def expired(self, *, limit: int, cursor: str | None = None) -> GenerationPage:
        """Running generations whose lease has run out, the longest first, from `cursor` on, without their images.

        Records that this version cannot read are left out.
        """
        position = keyset_position(cursor, first=FIRST_MOMENT)

        def expired(transaction: Transaction) -> GenerationPage:
            rows = transaction.all(EXPIRED, now=time_to_column(transaction.now()), rows=limit + 1, **position)
            return keyset_page(rows, limit=limit, column="lease_expires_at")

        return await self._database.read(expired)

    async def interrupted(self, *, within: float, limit: int, cursor: str | None = None) -> GenerationPage:
        """Those that were failed as interrupted in the last `within` seconds, by the database's clock, newest first.

        From `cursor` on, without their images. Records that this version cannot read are left out.
        """
        position = keyset_position(cursor, first=LAST_MOMENT)

        def interrupted(transaction: Transaction) -> GenerationPage:
            since = time_to_column(transaction.now() - timedelta(seconds=within))
            rows = transaction.all(
                RECENTLY_INTERRUPTED, interrupted=INTERRUPTED, since=since, rows=limit + 1, **position
            )
            return keyset_page(rows, limit=limit, column="updated_at")

        return await self._database.read(interrupted)

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        """Take over a running generation whose lease has run out: the end of the new lease, None if it is another's.

        Its client lost its connection with the process that had it: the generation is abandoned from here on.
        """

        def claim(transaction: Transaction) -> datetime | None:
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

        return await self._database.transaction(claim)

    async def unsettled(self) -> dict[UUID, GenerationState]:
        """The states of all that run or were failed as interrupted: their objects may come to be recorded."""
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
