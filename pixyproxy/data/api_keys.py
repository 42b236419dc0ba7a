"""The records of API keys, and the secrets by which they are found."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from pixyproxy.core.budgets import NO_CHANGE, BudgetLimits
from pixyproxy.core.exceptions import DatabaseError, NotFoundError
from pixyproxy.core.keys import RIGHTS_OF_A_NEW_KEY, ApiKey, KeyRights
from pixyproxy.core.protocols import AllowChange, Change
from pixyproxy.data.budgets import change_budgets
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import SqlDatabase, Transaction
from pixyproxy.data.key_rows import SELECT, former_name, rights_to_row, row_to_api_key

BY_ID = SELECT + "WHERE id = :id"
BY_NAME = SELECT + "WHERE name = :name AND rotated_from IS NULL"
BY_SHA256 = SELECT + "WHERE sha256 = :sha256"
NAMES = "SELECT id, name FROM api_keys WHERE id IN :ids AND rotated_from IS NULL"
KEYS = SELECT + "WHERE id <> 0 AND rotated_from IS NULL"
EARLIER = "UPDATE api_keys SET expires_at = :until WHERE rotated_from = :id AND expires_at > :until"
REPLACE = "UPDATE api_keys SET prefix = :prefix, sha256 = :sha256 WHERE id = :id"
# Its former secrets too: an older version takes each for a key of its own.
REVOKE = "UPDATE api_keys SET revoked_at = :now WHERE (id = :id OR rotated_from = :id) AND revoked_at IS NULL"
END_NOW = "UPDATE api_keys SET revoked_at = :now WHERE rotated_from = :id AND expires_at <= :now AND revoked_at IS NULL"
FORMER = """
    SELECT rotated_from, MAX(expires_at) AS former_until
    FROM api_keys
    WHERE rotated_from IS NOT NULL
    GROUP BY rotated_from
"""
ADD = """
    INSERT INTO api_keys (
        name, prefix, sha256, created_at, scopes, expires_at, rotated_from, note, rate_per_minute, running_limit,
        replica_share
    ) VALUES (
        :name, :prefix, :sha256, :created_at, :scopes, :expires_at, :rotated_from, :note, :rate_per_minute,
        :running_limit, :replica_share
    )
"""
CHANGE = """
    UPDATE api_keys
    SET name = :name, scopes = :scopes, expires_at = :expires_at, note = :note, rate_per_minute = :rate_per_minute,
        running_limit = :running_limit, replica_share = :replica_share
    WHERE id = :id
"""


def key_by_digest(transaction: Transaction, sha256: str) -> ApiKey | None:
    """The key that this digest opens, in force or not: of a former secret the key whose secret it was."""
    row = transaction.one(BY_SHA256, sha256=sha256)
    if row is None or row["rotated_from"] is None:
        return None if row is None else row_to_api_key(row)
    owner = transaction.one(BY_ID, id=row["rotated_from"])
    if owner is None:  # it was removed by hand
        return None
    return row_to_api_key(owner).model_copy(update={"secret_expires_at": column_to_time(row["expires_at"])})


def key_by_id(transaction: Transaction, key_id: int) -> ApiKey | None:
    """The key with this id, in force or not."""
    row = transaction.one(BY_ID, id=key_id)
    return None if row is None else row_to_api_key(row)


def with_former(transaction: Transaction, key: ApiKey) -> ApiKey:
    """The key, and when the last of its former secrets ends."""
    row = transaction.one("SELECT MAX(expires_at) AS former_until FROM api_keys WHERE rotated_from = :id", id=key.id)
    return key if row is None else ended(key, {key.id: row["former_until"]})


def ended(key: ApiKey, former: Mapping[int, Any]) -> ApiKey:
    """The key, with the end of its former secrets among those of all keys, as columns have them."""
    until = former.get(key.id)
    return key if until is None else key.model_copy(update={"former_until": column_to_time(until)})


class SqlApiKeyRepository:
    """`ApiKeyRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add(
        self,
        *,
        name: str,
        prefix: str,
        sha256: str,
        rights: KeyRights = RIGHTS_OF_A_NEW_KEY,
        budgets: BudgetLimits = NO_CHANGE,
    ) -> ApiKey:
        """Record a key and its budgets; `ConflictError` if any key, revoked or not, has this name or this digest."""

        def record(transaction: Transaction) -> ApiKey:
            transaction.execute(
                ADD,
                name=name,
                prefix=prefix,
                sha256=sha256,
                created_at=time_to_column(datetime.now(UTC)),
                rotated_from=None,
                **rights_to_row(rights),
            )
            key = found(key_by_digest(transaction, sha256))
            change_budgets(transaction, key.id, budgets)
            return key

        return await self._database.transaction(record)

    async def get(self, *, sha256: str) -> ApiKey:
        """The key that this digest opens, in force or not; `NotFoundError` if there is none."""
        return found(await self._database.read(lambda transaction: key_by_digest(transaction, sha256)))

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys but that of PIXYPROXY_API_KEY, oldest first."""

        def read(transaction: Transaction) -> tuple[ApiKey, ...]:
            former = {row["rotated_from"]: row["former_until"] for row in transaction.all(FORMER)}
            return tuple(ended(row_to_api_key(row), former) for row in transaction.all(f"{KEYS} ORDER BY id"))

        return await self._database.read(read)

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """The names of the keys with these ids, revoked or not. Ids of no key are left out."""
        if not ids:
            return {}
        rows = await self._database.all(NAMES, ids=tuple(ids))
        return {row["id"]: row["name"] for row in rows}

    async def find(self, *, name: str) -> ApiKey:
        """The key with this name, in force or not; `NotFoundError` if there is none."""

        def read(transaction: Transaction) -> ApiKey:
            return with_former(transaction, named(transaction, name))

        return await self._database.read(read)

    async def find_id(self, key_id: int) -> ApiKey:
        """The key with this id, in force or not; `NotFoundError` if there is none."""

        def read(transaction: Transaction) -> ApiKey:
            return with_former(transaction, found(key_by_id(transaction, key_id)))

        return await self._database.read(read)

    async def change(
        self, *, name: str, change: Change, allow: AllowChange | None = None, budgets: BudgetLimits = NO_CHANGE
    ) -> ApiKey:
        """Change name, rights and budgets of the key with this name, and return it."""

        def update(transaction: Transaction) -> ApiKey:
            keys = locked(transaction)
            before = named(transaction, name)
            after = change(before)
            require_allowed(keys, after, allow=allow)
            transaction.execute(CHANGE, id=before.id, name=after.name, **rights_to_row(after.rights))
            change_budgets(transaction, before.id, budgets)
            return with_former(transaction, found(key_by_id(transaction, before.id)))

        return await self._database.transaction(update)

    async def rotate(self, *, name: str, prefix: str, sha256: str, until: datetime) -> ApiKey:
        """Give the key with this name another secret. All former ones end at `until` at the latest."""

        def replace(transaction: Transaction) -> ApiKey:
            locked(transaction)
            key = named(transaction, name)
            if key.revoked_at is not None:
                raise NotFoundError(f"No API key that is in force has the name {name!r}.")
            former = transaction.one("SELECT prefix, sha256 FROM api_keys WHERE id = :id", id=key.id)
            if former is None:
                raise DatabaseError
            transaction.execute(EARLIER, id=key.id, until=time_to_column(until))
            transaction.execute(REPLACE, id=key.id, prefix=prefix, sha256=sha256)
            transaction.execute(
                ADD,
                name=former_name(former["sha256"]),
                prefix=former["prefix"],
                sha256=former["sha256"],
                created_at=time_to_column(datetime.now(UTC)),
                rotated_from=key.id,
                **rights_to_row(KeyRights(scopes=frozenset(), expires_at=until)),
            )
            transaction.execute(END_NOW, id=key.id, now=time_to_column(datetime.now(UTC)))
            return with_former(transaction, found(key_by_id(transaction, key.id)))

        return await self._database.transaction(replace)

    async def revoke(self, *, name: str, allow: AllowChange | None = None) -> None:
        """End the key with this name and all its secrets; `NotFoundError` if no unrevoked key has it."""
        now = datetime.now(UTC)

        def end(transaction: Transaction) -> None:
            keys = locked(transaction)
            key = named(transaction, name)
            if key.revoked_at is not None:
                raise NotFoundError(f"No API key that is in force has the name {name!r}.")
            require_allowed(keys, key.model_copy(update={"revoked_at": now}), allow=allow)
            transaction.execute(REVOKE, id=key.id, now=time_to_column(now))

        await self._database.transaction(end)


def locked(transaction: Transaction) -> tuple[ApiKey, ...]:
    """All keys but that of PIXYPROXY_API_KEY, which no other transaction changes until this one ends."""
    return tuple(map(row_to_api_key, transaction.lock_all(f"{KEYS} ORDER BY id")))


def require_allowed(keys: tuple[ApiKey, ...], after: ApiKey, *, allow: AllowChange | None) -> None:
    """Raise what `allow` raises about one changed key among all."""
    if allow is not None:
        allow(keys, tuple(after if key.id == after.id else key for key in keys))


def found(key: ApiKey | None) -> ApiKey:
    """The key; `NotFoundError` if there is none."""
    if key is None:
        raise NotFoundError("There is no such API key.")
    return key


def named(transaction: Transaction, name: str) -> ApiKey:
    """The key with this name; `NotFoundError` if there is none."""
    row = transaction.one(BY_NAME, name=name)
    if row is None or row["name"] != name:  # a server ignores spaces at the end
        raise NotFoundError(f"No API key has the name {name!r}.")
    return row_to_api_key(row)
