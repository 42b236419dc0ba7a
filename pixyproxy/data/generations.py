"""The records of generations."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pixyproxy.core.exceptions import ConflictError, NotFoundError
from pixyproxy.core.models import Drawing, Generation, GenerationRequest, GenerationState, Image
from pixyproxy.data.conversions import column_to_json, column_to_time, json_to_column, time_to_column
from pixyproxy.data.database import Database, Row, Transaction
from pixyproxy.data.images import insert_image

AFTER_DRAWING = 60.0
"""Seconds that the record of what was paid for waits for a connection."""


def generation_to_row(generation: Generation) -> dict[str, Any]:
    """The columns of a generation."""
    return {
        "guid": str(generation.guid),
        "api_key_id": generation.api_key_id,
        "request": json_to_column(generation.request.parameters()),
        "state": generation.state.value,
        "error": json_to_column(generation.error),
        "upstream_request_id": generation.upstream_request_id,
        "usage": json_to_column(generation.usage),
        "lease_expires_at": time_to_column(generation.lease_expires_at),
        "created_at": time_to_column(generation.created_at),
        "updated_at": time_to_column(generation.updated_at),
    }


def row_to_generation(row: Row) -> Generation:
    """The generation of a row."""
    return Generation(
        guid=UUID(row["guid"]),
        api_key_id=row["api_key_id"],
        request=GenerationRequest.model_validate(column_to_json(row["request"])),
        state=GenerationState(row["state"]),
        error=column_to_json(row["error"]),
        upstream_request_id=row["upstream_request_id"],
        usage=column_to_json(row["usage"]),
        lease_expires_at=column_to_time(row["lease_expires_at"]),
        created_at=column_to_time(row["created_at"]),
        updated_at=column_to_time(row["updated_at"]),
    )


class SqlGenerationRepository:
    """`GenerationRepository` over SQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, generation: Generation) -> None:
        """Record a generation, durably; `ConflictError` if its guid exists."""
        await self._database.execute(
            """
            INSERT INTO generations
                (guid, api_key_id, request, state, error, upstream_request_id, `usage`, lease_expires_at,
                 created_at, updated_at)
            VALUES
                (:guid, :api_key_id, :request, :state, :error, :upstream_request_id, :usage, :lease_expires_at,
                 :created_at, :updated_at)
            """,
            **generation_to_row(generation),
        )

    async def get(self, guid: UUID) -> Generation:
        """The generation with this guid; `NotFoundError` if there is none."""
        row = await self._database.one(
            """
            SELECT guid, api_key_id, request, state, error, upstream_request_id, `usage`, lease_expires_at,
                   created_at, updated_at
            FROM generations
            WHERE guid = :guid
            """,
            guid=str(guid),
        )
        if row is None:
            raise NotFoundError("No generation has this guid.")
        return row_to_generation(row)

    async def succeed(self, generation: Generation, *, images: tuple[Image, ...], drawing: Drawing) -> None:
        """Record the images and the success in one transaction; `ConflictError` if it no longer runs."""

        def complete(transaction: Transaction) -> None:
            found = transaction.execute(
                """
                UPDATE generations
                SET state = 'succeeded', upstream_request_id = :upstream_request_id, `usage` = :usage,
                    updated_at = :now
                WHERE guid = :guid AND state = 'running'
                """,
                guid=str(generation.guid),
                upstream_request_id=drawing.upstream_request_id,
                usage=json_to_column(drawing.usage),
                now=time_to_column(datetime.now(UTC)),
            )
            if not found:
                raise ConflictError("The generation no longer runs.")
            for image in images:
                insert_image(transaction, image, generation=generation)

        await self._database.transaction(complete, patience=AFTER_DRAWING)

    async def fail(self, generation: Generation, *, error: dict[str, Any]) -> None:
        """Record the failure; `ConflictError` if the generation no longer runs."""
        found = await self._database.execute(
            """
            UPDATE generations
            SET state = 'failed', error = :error, updated_at = :now
            WHERE guid = :guid AND state = 'running'
            """,
            guid=str(generation.guid),
            error=json_to_column(error),
            now=time_to_column(datetime.now(UTC)),
        )
        if not found:
            raise ConflictError("The generation no longer runs.")
