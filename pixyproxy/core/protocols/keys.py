"""The records of API keys."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from pixyproxy.core.budgets import BudgetLimits
from pixyproxy.core.keys import ApiKey, KeyRights

Change = Callable[[ApiKey], ApiKey]
"""A key as it is to be, from how it is: another name, other rights. May raise, and then nothing changes."""
AllowChange = Callable[[Sequence[ApiKey], Sequence[ApiKey]], None]
"""Raises if a change may not be: called with all keys as they are and as they would be, while nobody changes any."""


class ApiKeyRepository(Protocol):
    """The records of API keys, found by the SHA-256 of the key."""

    async def add(
        self, *, name: str, prefix: str, sha256: str, rights: KeyRights = ..., budgets: BudgetLimits = ...
    ) -> ApiKey:
        """Record a key and its budgets; `ConflictError` if any key, revoked or not, has this name or this digest."""

    async def get(self, *, sha256: str) -> ApiKey:
        """The key that this digest opens, in force or not, with the end of a former secret; else `NotFoundError`."""

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys but that of PIXYPROXY_API_KEY, oldest first."""

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """The names of the keys with these ids, revoked or not. Ids of no key are left out."""

    async def find(self, *, name: str) -> ApiKey:
        """The key with this name, in force or not; `NotFoundError` if there is none."""

    async def find_id(self, key_id: int) -> ApiKey:
        """The key with this id, in force or not; `NotFoundError` if there is none."""

    async def change(
        self, *, name: str, change: Change, allow: AllowChange | None = None, budgets: BudgetLimits = ...
    ) -> ApiKey:
        """Change name, rights and budgets of the key with this name, all or nothing, and return it.

        `NotFoundError` if there is none; `ConflictError` if any key has the new name; what `change` and `allow` raise.
        """

    async def rotate(self, *, name: str, prefix: str, sha256: str, until: datetime) -> ApiKey:
        """Give the key with this name another secret. All former ones end at `until` at the latest.

        `NotFoundError` if no unrevoked key has the name.
        """

    async def revoke(self, *, name: str, allow: AllowChange | None = None) -> None:
        """End the key with this name and all its secrets; `NotFoundError` if no unrevoked key has it."""
