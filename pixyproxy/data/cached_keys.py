"""Keeps records of API keys in memory for a moment: every private request has one."""

import time
from collections.abc import Callable, Collection
from datetime import datetime

from cachetools import TTLCache

from pixyproxy.core.budgets import NO_CHANGE, BudgetLimits
from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.keys import RIGHTS_OF_A_NEW_KEY, ApiKey, KeyRights
from pixyproxy.core.limits import DATABASE
from pixyproxy.core.protocols import AllowChange, ApiKeyRepository, Change
from pixyproxy.core.threads import Gate
from pixyproxy.data.cached import too_many
from pixyproxy.data.lookups import Memory

KEYS = 10_000
"""API keys whose records are remembered, at most: 10 MB."""
KEY_TTL = 1.0
"""Seconds for which the record of an API key is valid: the longest that another process still accepts a revoked one."""
NAME_TTL = 5.0
"""Seconds for which the name of a key is shown after another process has changed it."""
UNSEEN_KEYS = 2
"""Concurrent lookups of keys that this process has never found: see `UNSEEN_IMAGES`."""


class CachedApiKeyRepository:
    """An `ApiKeyRepository` in front of another one. A record is valid for `ttl` seconds after its read began.

    What is changed through this repository is known at once, and `changed` is called; what another process changes is
    known within `ttl` seconds, but a name within `NAME_TTL`. With a `ttl` of 0 a record is read for every request.
    Lookups of keys that were never found here wait only for each other: `DatabaseUnavailableError` after `wait`
    seconds.
    """

    def __init__(
        self,
        keys: ApiKeyRepository,
        *,
        ttl: float = KEY_TTL,
        wait: float = DATABASE.read_wait,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._keys = keys
        self._changed = changed
        self._memory: Memory[str, ApiKey] = Memory(
            lambda sha256: keys.get(sha256=sha256),
            absent=lambda: NotFoundError("No API key has this digest."),
            gate=Gate(UNSEEN_KEYS, patience=wait, busy=too_many("keys")),
            ttl=ttl,
            capacity=KEYS,
            size_of=lambda _: 1,
            clock=clock,
        )
        self._names: TTLCache[int, str] = TTLCache(KEYS, ttl=NAME_TTL, timer=clock)

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
        try:
            return await self._keys.add(name=name, prefix=prefix, sha256=sha256, rights=rights, budgets=budgets)
        finally:
            self._memory.forget(sha256)

    async def get(self, *, sha256: str) -> ApiKey:
        """The key that this digest opens, in force or not, with the end of a former secret; else `NotFoundError`."""
        key = await self._memory.get(sha256)
        self._names[key.id] = key.name
        return key

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys but that of PIXYPROXY_API_KEY, oldest first, as they are recorded now."""
        return await self._keys.list()

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        """The names of the keys with these ids, each of which is looked up once in `NAME_TTL` seconds."""
        known = {each: name for each in ids if (name := self._names.get(each)) is not None}
        missing = [each for each in ids if each not in known]
        if missing:
            found = await self._keys.names(missing)
            self._names.update(found)
            known |= found
        return known

    async def find(self, *, name: str) -> ApiKey:
        """The key with this name, as it is recorded now; `NotFoundError` if there is none."""
        return await self._keys.find(name=name)

    async def find_id(self, key_id: int) -> ApiKey:
        """The key with this id, as it is recorded now; `NotFoundError` if there is none."""
        return await self._keys.find_id(key_id)

    async def change(
        self, *, name: str, change: Change, allow: AllowChange | None = None, budgets: BudgetLimits = NO_CHANGE
    ) -> ApiKey:
        """Change name, rights and budgets of the key with this name, and return it."""
        try:
            return await self._keys.change(name=name, change=change, allow=allow, budgets=budgets)
        finally:
            self._forget()

    async def rotate(self, *, name: str, prefix: str, sha256: str, until: datetime) -> ApiKey:
        """Give the key with this name another secret. All former ones end at `until` at the latest."""
        try:
            return await self._keys.rotate(name=name, prefix=prefix, sha256=sha256, until=until)
        finally:
            self._forget()

    async def revoke(self, *, name: str, allow: AllowChange | None = None) -> None:
        """End the key with this name and all its secrets; `NotFoundError` if no unrevoked key has it."""
        try:
            await self._keys.revoke(name=name, allow=allow)
        finally:
            self._forget()

    def _forget(self) -> None:
        """Forget everything: the digests of a name are not known here."""
        self._memory.forget_all()
        self._names.clear()
        self._changed()
