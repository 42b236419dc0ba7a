"""The records of generations."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import (
    TYPE_PREFIX,
    ConflictError,
    GenerationInterruptedError,
    GenerationNotFoundError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationPage, GenerationRequest, GenerationState
from pixyproxy.core.images import Image
from pixyproxy.data.conversions import (
    column_to_json,
    column_to_time,
    cursor_after,
    json_to_column,
    position_of,
    time_to_column,
)
from pixyproxy.data.database import Row, SqlDatabase, Transaction
from pixyproxy.data.images import group_images, insert_image

BEFORE_DRAWING = 5.0
"""Seconds that a reservation waits for a connection: a thousand that come at once have one each in less."""
AFTER_DRAWING = 60.0
"""Seconds that the record of what was paid for waits for a connection."""
INTERRUPTED = GenerationInterruptedError.name


def generation_to_row(generation: Generation) -> dict[str, Any]:
    """The columns of a generation, but for its lease."""
    return {
        "guid": str(generation.guid),
        "api_key_id": generation.api_key_id,
        "idempotency_key": generation.idempotency_key,
        "fingerprint": generation.fingerprint,
        "request": json_to_column(generation.request.parameters()),
        "state": generation.state.value,
        "error": json_to_column(generation.error),
        "upstream_request_id": generation.upstream_request_id,
        "usage": json_to_column(generation.usage),
        "created_at": time_to_column(generation.created_at),
        "updated_at": time_to_column(generation.updated_at),
    }


def row_to_generation(row: Row, *, images: tuple[Image, ...] = ()) -> Generation:
    """The generation of a row, with these images."""
    return Generation(
        guid=UUID(row["guid"]),
        api_key_id=row["api_key_id"],
        idempotency_key=row["idempotency_key"],
        fingerprint=row["fingerprint"],
        request=GenerationRequest.model_validate(column_to_json(row["request"])),
        state=GenerationState(row["state"]),
        error=column_to_json(row["error"]),
        upstream_request_id=row["upstream_request_id"],
        usage=column_to_json(row["usage"]),
        images=images,
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


def with_images(transaction: Transaction, rows: Collection[Row]) -> tuple[Generation, ...]:
    """The generations of the rows, each with its images."""
    if not rows:
        return ()
    images = group_images(
        transaction.all(
            """
            SELECT generations.guid AS generation_guid, images.guid, filename, prompt, content_type, size_bytes, width,
                   height, sha256, model, images.created_at, images.updated_at
            FROM images JOIN generations ON generations.id = images.generation_id
            WHERE generations.guid IN :guids AND deleted_at IS NULL
            ORDER BY images.id
            """,
            guids=tuple(row["guid"] for row in rows),
        )
    )
    return tuple(row_to_generation(row, images=images.get(UUID(row["guid"]), ())) for row in rows)


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
                    raise ConflictError("The failed generation has given its Idempotency-Key away.")
            transaction.execute(
                """
                INSERT INTO generations
                    (guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                     `usage`, lease_expires_at, created_at, updated_at)
                VALUES
                    (:guid, :api_key_id, :idempotency_key, :fingerprint, :request, :state, :error,
                     :upstream_request_id, :usage, :lease_expires_at, :created_at, :updated_at)
                """,
                lease_expires_at=time_to_column(transaction.now() + timedelta(seconds=lease)),
                **generation_to_row(generation),
            )

        await self._database.transaction(insert, patience=BEFORE_DRAWING)

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid, and its images; `GenerationNotFoundError` if there is none."""

        def get(transaction: Transaction) -> tuple[Generation, ...]:
            row = transaction.one(
                """
                SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                       `usage`, created_at, updated_at
                FROM generations
                WHERE guid = :guid
                """,
                guid=str(guid),
            )
            return with_images(transaction, () if row is None else (row,))

        found = await self._database.read(get)
        if not found:
            raise GenerationNotFoundError
        return found[0]

    async def find(self, *, api_key_id: int, idempotency_key: str) -> Generation | None:
        """The generation that this caller asked for with this key, and its images."""

        def find(transaction: Transaction) -> tuple[Generation, ...]:
            row = transaction.one(
                """
                SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                       `usage`, created_at, updated_at
                FROM generations
                WHERE api_key_id = :api_key_id AND idempotency_key = :idempotency_key
                """,
                api_key_id=api_key_id,
                idempotency_key=idempotency_key,
            )
            return with_images(transaction, () if row is None else (row,))

        return next(iter(await self._database.read(find)), None)

    async def list(
        self, *, limit: int, cursor: str | None = None, state: GenerationState | None = None
    ) -> GenerationPage:
        """A page of the list, by keyset. The two statements differ so that each has an index in its order."""
        created_at, guid = position_of(cursor)

        def page(transaction: Transaction) -> tuple[Generation, ...]:
            if state is None:
                rows = transaction.all(
                    """
                    SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                           `usage`, created_at, updated_at
                    FROM generations
                    WHERE created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
                    ORDER BY created_at DESC, guid DESC
                    LIMIT :rows
                    """,
                    created_at=created_at,
                    guid=guid,
                    rows=limit + 1,
                )
            else:
                rows = transaction.all(
                    """
                    SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                           `usage`, created_at, updated_at
                    FROM generations
                    WHERE state = :state AND created_at <= :created_at AND (created_at < :created_at OR guid < :guid)
                    ORDER BY created_at DESC, guid DESC
                    LIMIT :rows
                    """,
                    state=state.value,
                    created_at=created_at,
                    guid=guid,
                    rows=limit + 1,
                )
            return with_images(transaction, rows)

        found = await self._database.search(page)
        last = found[limit - 1] if len(found) > limit else None
        return GenerationPage(
            generations=found[:limit], next_cursor=cursor_after(last.created_at, last.guid) if last else None
        )

    async def succeed(
        self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing | None = None
    ) -> None:
        """Record the images and the success, and remove what was parked, in one transaction.

        `drawing` has the usage and the upstream's request id, where they are known and not yet recorded.
        `ConflictError` unless it runs or was failed as interrupted: the pictures of one that was given up count still.
        """

        def complete(transaction: Transaction) -> None:
            found = transaction.execute(
                """
                UPDATE generations
                SET state = 'succeeded', error = NULL, error_name = NULL, `usage` = COALESCE(:usage, `usage`),
                    upstream_request_id = COALESCE(:upstream_request_id, upstream_request_id), updated_at = :now
                WHERE guid = :guid AND (state = 'running' OR (state = 'failed' AND error_name = :interrupted))
                """,
                guid=str(generation.guid),
                upstream_request_id=drawing.upstream_request_id if drawing else None,
                usage=json_to_column(drawing.usage) if drawing else None,
                interrupted=INTERRUPTED,
                now=time_to_column(datetime.now(UTC)),
            )
            if not found:
                raise ConflictError("The generation no longer runs.")
            for image in images:
                insert_image(transaction, image, generation=generation)
            transaction.execute("DELETE FROM parked_images WHERE generation_guid = :guid", guid=str(generation.guid))

        await self._database.transaction(complete, patience=AFTER_DRAWING)

    async def fail(self, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs, or its lease is not the claimed one."""

        def fail(transaction: Transaction) -> int:
            return transaction.execute(
                """
                UPDATE generations
                SET state = 'failed', error = :error, error_name = :error_name, updated_at = :now
                WHERE guid = :guid AND state = 'running' AND (:claimed IS NULL OR lease_expires_at = :claimed)
                """,
                guid=str(generation.guid),
                claimed=None if claimed is None else time_to_column(claimed),
                error=json_to_column(error),
                error_name=str(error.get("type", "")).removeprefix(TYPE_PREFIX),
                now=time_to_column(transaction.now()),
            )

        if not await self._database.transaction(fail):
            raise ConflictError("The generation no longer runs.")

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

    async def expired(self, *, limit: int) -> tuple[Generation, ...]:
        """Running generations whose lease has run out, the longest first."""

        def expired(transaction: Transaction) -> tuple[Generation, ...]:
            rows = transaction.all(
                """
                SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                       `usage`, created_at, updated_at
                FROM generations
                WHERE state = 'running' AND lease_expires_at <= :now
                ORDER BY lease_expires_at
                LIMIT :rows
                """,
                now=time_to_column(transaction.now()),
                rows=limit,
            )
            return tuple(row_to_generation(row) for row in rows)

        return await self._database.read(expired)

    async def interrupted(self, *, within: float, limit: int) -> tuple[Generation, ...]:
        """Those that were failed as interrupted in the last `within` seconds, by the database's clock, newest first."""

        def interrupted(transaction: Transaction) -> tuple[Generation, ...]:
            rows = transaction.all(
                """
                SELECT guid, api_key_id, idempotency_key, fingerprint, request, state, error, upstream_request_id,
                       `usage`, created_at, updated_at
                FROM generations
                WHERE error_name = :interrupted AND updated_at > :since
                ORDER BY updated_at DESC
                LIMIT :rows
                """,
                interrupted=INTERRUPTED,
                since=time_to_column(transaction.now() - timedelta(seconds=within)),
                rows=limit,
            )
            return tuple(row_to_generation(row) for row in rows)

        return await self._database.read(interrupted)

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        """Take over a running generation whose lease has run out: the end of the new lease, None if it is another's."""

        def claim(transaction: Transaction) -> datetime | None:
            now = transaction.now()
            until = now + timedelta(seconds=lease)
            row = transaction.one("SELECT id FROM generations WHERE guid = :guid", guid=str(guid))
            found = row and transaction.execute(
                """
                UPDATE generations
                SET lease_expires_at = :lease_expires_at
                WHERE id = :id AND state = 'running' AND lease_expires_at <= :now
                """,
                id=row["id"],
                lease_expires_at=time_to_column(until),
                now=time_to_column(now),
            )
            return until if found else None

        return await self._database.transaction(claim)

    async def unsettled(self) -> frozenset[UUID]:
        """The guids of all that run or were failed as interrupted: their objects may come to be recorded."""
        rows = await self._database.all(
            """
            SELECT guid FROM generations WHERE state = 'running'
            UNION
            SELECT guid FROM generations WHERE error_name = :interrupted
            """,
            interrupted=INTERRUPTED,
        )
        return frozenset(UUID(row["guid"]) for row in rows)
