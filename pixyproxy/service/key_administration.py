"""The administration of API keys: for callers with the scope `admin`, and for the command line."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter

from pixyproxy.core.budgets import NO_CHANGE, BudgetLimits
from pixyproxy.core.exceptions import ConflictError, InvalidRequestError, KeyNotFoundError, NotFoundError
from pixyproxy.core.keys import CONFIGURED_ID, CONFIGURED_NAME, KEY_NAME, ApiKey, Caller, KeyName, KeyRights, Scope
from pixyproxy.core.model import Model
from pixyproxy.core.protocols import ApiKeyRepository
from pixyproxy.service.keys import PREFIX_LENGTH, RESERVED_NAMES, KeyService, digest, name_is_taken, new_key
from pixyproxy.service.rights import require
from pixyproxy.service.validation import revalidated

OVERLAP = timedelta(hours=24)
"""For which a former secret stays valid, unless the rotation says otherwise."""
LONGEST_OVERLAP = timedelta(days=90)
LAST_YEAR = 9000
"""The databases end in 9999; an expiry near that is a mistake."""
CONFIGURED = (
    f"{CONFIGURED_NAME} is set where the service is configured: it has all scopes, no expiry and no limits, and is "
    "changed and removed there."
)
LAST_WAY_IN = (
    "No key would be left that has the scope 'admin' and stays valid. Make another one first. The command line can do "
    "this all the same."
)


class NamedRights(Model):
    """A key as it is to be."""

    name: KeyName
    rights: KeyRights


class KeyAdministration:
    """Makes, shows, changes, rotates and revokes keys. Budgets of keys have their own service.

    The methods raise `NotAllowedError` for a caller without `admin`, and `KeyNotFoundError` for a name that no key has.
    Through the web the last way in is kept: a change after which no valid key has `admin` is a `ConflictError`.
    `keep_last_way_in` False: the command line, which is itself a way in.
    """

    def __init__(
        self,
        repository: ApiKeyRepository,
        *,
        keys: KeyService,
        keep_last_way_in: bool = True,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repository = repository
        self._keys = keys
        self._keeps = keep_last_way_in
        self._clock = clock

    async def list(self, *, caller: Caller) -> tuple[ApiKey, ...]:
        """All keys, oldest first; that of PIXYPROXY_API_KEY, if it is set, before them."""
        require(caller, Scope.ADMIN)
        listed = await self._repository.list()
        return (await self._repository.find_id(CONFIGURED_ID), *listed) if self._keys.is_configured else listed

    async def get(self, name: str, *, caller: Caller) -> ApiKey:
        """The key with this name, in force or not."""
        require(caller, Scope.ADMIN)
        try:
            return await self._repository.find(name=existing_name(name))
        except NotFoundError:
            raise unknown(name) from None

    async def own(self, caller: Caller) -> ApiKey:
        """The key of the caller, whatever it may do."""
        try:
            return await self._repository.find_id(caller.api_key_id)
        except NotFoundError:  # it was removed by hand a moment ago
            raise KeyNotFoundError from None

    async def create(
        self, name: str, rights: KeyRights, *, caller: Caller, budgets: BudgetLimits = NO_CHANGE
    ) -> tuple[str, ApiKey]:
        """A new key, which only this call returns, and its record. `ConflictError` if the name is taken.

        `InvalidRequestError` for a name that no key may have, no scope, and an expiry that is past.
        """
        require(caller, Scope.ADMIN)
        asked = revalidated(_NAMED, NamedRights(name=name, rights=rights))
        self._require_possible(asked)
        key = new_key()
        return key, await self._keys.add(asked.name, key=key, rights=asked.rights, budgets=budgets)

    async def change(
        self, name: str, values: dict[str, Any], *, caller: Caller, budgets: BudgetLimits = NO_CHANGE
    ) -> ApiKey:
        """Change budgets, and what `values` has: a `name`, and fields of `KeyRights` and `KeyLimits`. Returns the key.

        Raises what `create` does.
        """
        require(caller, Scope.ADMIN)

        def change(key: ApiKey) -> ApiKey:
            limits = key.rights.limits.model_dump()
            rights: dict[str, Any] = {
                **dict(key.rights),
                **{field: value for field, value in values.items() if field in KeyRights.model_fields},
                "limits": limits | {field: value for field, value in values.items() if field in limits},
            }
            asked = revalidated(_NAMED, {"name": values.get("name", key.name), "rights": rights})
            self._require_possible(asked, before=key)
            return key.changed(name=asked.name, rights=asked.rights)

        known = changeable_name(name)
        try:
            return await self._repository.change(name=known, change=change, allow=self._allow, budgets=budgets)
        except NotFoundError:
            raise unknown(name) from None
        except ConflictError as error:
            raise error if error.detail == LAST_WAY_IN else name_is_taken(str(values.get("name"))) from None

    async def rotate(self, name: str, *, caller: Caller, overlap: timedelta = OVERLAP) -> tuple[str, ApiKey]:
        """A new secret of the key, which only this call returns, and its record.

        The former secret, and earlier ones, are valid for `overlap` at the longest: 0 to `LONGEST_OVERLAP`, else
        `InvalidRequestError`. `ConflictError` for a key that is no longer in force.
        """
        require(caller, Scope.ADMIN)
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise broken("#/overlap", f"must be 0 to {int(LONGEST_OVERLAP.total_seconds())} seconds")
        known = await self.get(changeable_name(name), caller=caller)
        if not known.in_force(self._clock()):
            raise ConflictError("The key is revoked or has expired: a new secret would open nothing.")
        key = new_key()
        try:
            rotated = await self._repository.rotate(
                name=name, prefix=key[:PREFIX_LENGTH], sha256=digest(key), until=self._clock() + overlap
            )
        except NotFoundError:
            raise unknown(name) from None
        return key, rotated

    async def revoke(self, name: str, *, caller: Caller) -> None:
        """End a key and all its secrets; `KeyNotFoundError` if no key that is not yet revoked has the name."""
        require(caller, Scope.ADMIN)
        known = changeable_name(name)
        try:
            await self._repository.revoke(name=known, allow=self._allow)
        except NotFoundError:
            raise KeyNotFoundError(f"No API key that is not revoked yet has the name {name!r}.") from None

    def now(self) -> datetime:
        """The moment by which this service says whether a key is in force."""
        return self._clock()

    async def has_way_in(self) -> bool:
        """Whether a key is left that may administer."""
        return self._keys.is_configured or bool(ways_in(await self._repository.list(), now=self._clock()))

    def _allow(self, before: Sequence[ApiKey], after: Sequence[ApiKey]) -> None:
        """`ConflictError` if the last way in would be lost, or the last one that does not expire."""
        if self._keys.is_configured or not self._keeps:
            return
        now = self._clock()
        for lasting in (False, True):
            if ways_in(before, now=now, lasting=lasting) and not ways_in(after, now=now, lasting=lasting):
                raise ConflictError(LAST_WAY_IN)

    def _require_possible(self, asked: NamedRights, *, before: ApiKey | None = None) -> None:
        """`InvalidRequestError` for what no key may be, unless it is so already."""
        if asked.name in RESERVED_NAMES and (before is None or before.name != asked.name):
            raise broken("#/name", "is reserved")
        if not asked.rights.scopes:
            raise broken("#/scopes", "must have a scope: a key without one is to be revoked")
        ends = asked.rights.expires_at
        if ends is None or (before is not None and ends == before.rights.expires_at):
            return
        if ends <= self._clock():
            raise broken("#/expires_at", "must be in the future")
        if ends.year > LAST_YEAR:
            raise broken("#/expires_at", f"must be before the year {LAST_YEAR + 1}")


def ways_in(keys: Sequence[ApiKey], *, now: datetime, lasting: bool = False) -> list[ApiKey]:
    """The keys in force that may administer; `lasting`: only those that do not expire."""
    return [
        key
        for key in keys
        if key.in_force(now) and Scope.ADMIN in key.rights.scopes and not (lasting and key.rights.expires_at)
    ]


def existing_name(name: str) -> str:
    """The name; `KeyNotFoundError` for a text that is none, which is not repeated."""
    if not KEY_NAME.fullmatch(name):
        raise KeyNotFoundError
    return name


def unknown(name: str) -> KeyNotFoundError:
    """The error for a name that no key has."""
    return KeyNotFoundError(f"No API key has the name {name!r}.")


def changeable_name(name: str) -> str:
    """The name of a key that can be changed here; `ConflictError` for that of the setting."""
    if name == CONFIGURED_NAME:
        raise ConflictError(CONFIGURED)
    return existing_name(name)


def broken(pointer: str, detail: str) -> InvalidRequestError:
    """The error for one rule."""
    return InvalidRequestError([{"detail": detail, "pointer": pointer}])


_NAMED: TypeAdapter[NamedRights] = TypeAdapter(NamedRights)
