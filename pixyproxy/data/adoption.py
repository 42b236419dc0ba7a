"""Which generations a retry may adopt: the column `abandoned_at`, by the database's clock.

NULL: its client waits for it. In the past: its client has left without the answer. In the future: it has ended, and its
client is being answered. If no delivery is recorded until then, the answering replica has died.
"""

from datetime import timedelta
from uuid import UUID

from pixyproxy.core.protocols import EqualGeneration
from pixyproxy.data.conversions import column_to_time, optional_time, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.generation_rows import SELECT, readable
from pixyproxy.data.image_rows import images_by_generation
from pixyproxy.data.settling import ANSWERED_WITHIN

LIMIT = 100
"""Equal generations that are looked at."""
EQUAL = (
    SELECT
    + """
    WHERE api_key_id = :api_key_id AND fingerprint = :fingerprint AND created_at > :since
      AND idempotency_key IS NULL AND (state = 'running' OR abandoned_at IS NOT NULL)
    ORDER BY created_at, id
    LIMIT :rows
    """
)


class SqlAdoptionRepository:
    """`AdoptionRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def equal(self, *, api_key_id: int, fingerprint: str, within: float) -> tuple[EqualGeneration, ...]:
        """Equal generations begun in the last `within` seconds without an Idempotency-Key, oldest first."""

        def equal(transaction: Transaction) -> tuple[EqualGeneration, ...]:
            now = transaction.now()
            rows = transaction.all(
                EQUAL,
                api_key_id=api_key_id,
                fingerprint=fingerprint,
                since=time_to_column(now - timedelta(seconds=within)),
                rows=LIMIT,
            )
            images = images_by_generation(transaction, [row["id"] for row in rows])
            found = []
            for row in rows:
                abandoned_at = optional_time(row["abandoned_at"])
                found += [
                    EqualGeneration(
                        generation,
                        abandoned=abandoned_at is not None and abandoned_at <= now,
                        lease_expires_at=column_to_time(row["lease_expires_at"]),
                    )
                    for generation in readable([row], images=images)
                ]
            return tuple(found)

        return await self._database.read(equal)

    async def abandon(self, guid: UUID) -> None:
        """Record that the client of the generation has left without its answer."""

        def abandon(transaction: Transaction) -> None:
            transaction.execute(
                "UPDATE generations SET abandoned_at = :now WHERE guid = :guid",
                guid=str(guid),
                now=time_to_column(transaction.now()),
            )

        await self._database.transaction(abandon)

    async def adopt(self, guid: UUID) -> bool:
        """Give an abandoned generation a new client.

        Of concurrent calls exactly one succeeds; whether it was this one.
        """

        def adopt(transaction: Transaction) -> bool:
            now = transaction.now()
            found = transaction.execute(
                """
                UPDATE generations
                SET abandoned_at = CASE WHEN state = 'running' THEN NULL ELSE :later END
                WHERE guid = :guid AND abandoned_at <= :now
                """,
                guid=str(guid),
                now=time_to_column(now),
                later=time_to_column(now + timedelta(seconds=ANSWERED_WITHIN)),
            )
            return bool(found)

        return await self._database.transaction(adopt)

    async def deliver(self, guid: UUID) -> None:
        """Record that the client of the generation has its answer."""
        await self._database.execute("UPDATE generations SET abandoned_at = NULL WHERE guid = :guid", guid=str(guid))
