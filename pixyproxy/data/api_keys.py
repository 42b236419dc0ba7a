"""The records of API keys."""

from collections.abc import Collection
from datetime import UTC, datetime

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.keys import ApiKey
from pixyproxy.data.conversions import column_to_time, optional_time, time_to_column
from pixyproxy.data.database import Row, SqlDatabase


def row_to_api_key(row: Row) -> ApiKey:
    """The key of a row, without its digest."""
    return ApiKey(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        created_at=column_to_time(row["created_at"]),
        revoked_at=optional_time(row["revoked_at"]),
    )


class SqlApiKeyRepository:
    """`ApiKeyRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(self, *, name: str, prefix: str, sha256: str) -> ApiKey:
        """Record a key; `ConflictError` if any key, revoked or not, has this name or this digest."""
        await self._database.execute(
            """
            INSERT INTO api_keys (name, prefix, sha256, created_at)
            VALUES (:name, :prefix, :sha256, :created_at)
            """,
            name=name,
            prefix=prefix,
            sha256=sha256,
            created_at=time_to_column(datetime.now(UTC)),
        )
        return await self.get(sha256=sha256)

    async def get(self, *, sha256: str) -> ApiKey:
        """The key with this digest, revoked or not; `NotFoundError` if there is none."""
        row = await self._database.one(
            "SELECT id, name, prefix, created_at, revoked_at FROM api_keys WHERE sha256 = :sha256",
            sha256=sha256,
        )
        if row is None:
            raise NotFoundError("No API key has this digest.")
        return row_to_api_key(row)

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys, oldest first."""
        rows = await self._database.all("SELECT id, name, prefix, created_at, revoked_at FROM api_keys ORDER BY id")
        return tuple(row_to_api_key(row) for row in rows)

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """The names of the keys with these ids, revoked or not. Ids of no key are left out."""
        if not ids:
            return {}
        rows = await self._database.all("SELECT id, name FROM api_keys WHERE id IN :ids", ids=tuple(ids))
        return {row["id"]: row["name"] for row in rows}

    async def find(self, *, name: str) -> ApiKey:
        """The key with this name, revoked or not; `NotFoundError` if there is none."""
        row = await self._database.one(
            "SELECT id, name, prefix, created_at, revoked_at FROM api_keys WHERE name = :name", name=name
        )
        if row is None or row["name"] != name:  # a server ignores spaces at the end
            raise NotFoundError(f"No API key has the name {name!r}.")
        return row_to_api_key(row)

    async def revoke(self, *, name: str) -> None:
        """End the key with this name; `NotFoundError` if no unrevoked key has it."""
        found = await self._database.execute(
            "UPDATE api_keys SET revoked_at = :now WHERE name = :name AND revoked_at IS NULL",
            name=name,
            now=time_to_column(datetime.now(UTC)),
        )
        if not found:
            raise NotFoundError(f"No API key that is in force has the name {name!r}.")
