"""API keys and the callers who hold them: who they are, what they may do, and how much of it."""

import re
from collections.abc import Set
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from pixyproxy.core.model import Model, without_nul

KEY_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
KeyName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._@-]+$", min_length=1, max_length=64)]
"""The name of a key, as a query has it."""
MAX_NOTE = 500
Note = Annotated[str, StringConstraints(max_length=MAX_NOTE), AfterValidator(without_nul)]
CONFIGURED_ID = 0
"""The id of the record that stands for the key of PIXYPROXY_API_KEY."""
CONFIGURED_NAME = "PIXYPROXY_API_KEY"


class Scope(StrEnum):
    """What a key may do. `read-all` includes `read`, and `delete-all` includes `delete`; `admin` includes no other."""

    DRAW = "draw"
    READ = "read"
    READ_ALL = "read-all"
    DELETE = "delete"
    DELETE_ALL = "delete-all"
    ADMIN = "admin"


Scopes = frozenset[Scope]
EVERYTHING: Scopes = frozenset(Scope)
OF_A_NEW_KEY: Scopes = frozenset({Scope.DRAW, Scope.READ, Scope.DELETE})
WIDER = {Scope.READ: Scope.READ_ALL, Scope.DELETE: Scope.DELETE_ALL}
"""Scopes that another one includes."""


def in_order(scopes: Set[Scope]) -> tuple[Scope, ...]:
    """Scopes in the order in which they are always written."""
    return tuple(scope for scope in Scope if scope in scopes)


class KeyLimits(Model):
    """How much a key may draw, besides its budgets; None: as much as there is room for."""

    rate_per_minute: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    """Generations that may begin in a minute, over all replicas."""
    running_limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None
    """Generations that may run at once, over all replicas."""
    replica_share: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """Percent of the generations that one replica runs at once (`PIXYPROXY_MAX_GENERATIONS`)."""


NO_LIMITS = KeyLimits()


class KeyRights(Model):
    """What a key may do, how much, and until when. The default is that of a new key."""

    scopes: Scopes = OF_A_NEW_KEY
    expires_at: AwareDatetime | None = None
    limits: KeyLimits = KeyLimits()
    note: Note | None = None


RIGHTS_OF_A_NEW_KEY = KeyRights()


class Caller(Model):
    """Who makes a private request: an API key, by its record's id and its name, and what it may do."""

    api_key_id: int
    name: str
    scopes: Scopes
    limits: KeyLimits = KeyLimits()

    def may(self, scope: Scope) -> bool:
        """Whether the caller has this scope, or one that includes it."""
        return scope in self.scopes or WIDER.get(scope) in self.scopes

    def may_read(self, api_key_id: int) -> bool:
        """Whether the caller may know what this key has drawn, and how."""
        return self.may(Scope.READ_ALL) or (self.may(Scope.READ) and api_key_id == self.api_key_id)

    def may_delete(self, api_key_id: int) -> bool:
        """Whether the caller may delete what this key has drawn."""
        return self.may(Scope.DELETE_ALL) or (self.may(Scope.DELETE) and api_key_id == self.api_key_id)


class ApiKey(Model):
    """A key's record. The key itself is known only to whoever it was shown to.

    When a key is rotated its record stays, and gets another secret: what it has drawn, its budgets and its limits stay
    its own. The former secret is valid until a time of its own.
    """

    id: int
    name: str
    prefix: str
    created_at: AwareDatetime
    revoked_at: AwareDatetime | None = None
    rights: KeyRights = RIGHTS_OF_A_NEW_KEY
    secret_expires_at: AwareDatetime | None = None
    """Of a key that was found by a former secret: when that one ends."""
    former_until: AwareDatetime | None = None
    """When the last of its former secrets ends, or ended; None: it has none, or they were not asked for."""

    def in_force(self, now: datetime) -> bool:
        """Whether the key opens anything at this moment."""
        ends = (self.rights.expires_at, self.secret_expires_at)
        return self.revoked_at is None and all(end is None or end > now for end in ends)

    def caller(self) -> Caller:
        """Who comes with this key."""
        return Caller(api_key_id=self.id, name=self.name, scopes=self.rights.scopes, limits=self.rights.limits)

    def changed(self, *, name: str | None = None, rights: KeyRights | None = None) -> Self:
        """The record with another name, or other rights."""
        return self.model_copy(update={"name": name or self.name, "rights": rights or self.rights})


CONFIGURED_CALLER = Caller(api_key_id=CONFIGURED_ID, name=CONFIGURED_NAME, scopes=EVERYTHING)
"""The caller with the key of PIXYPROXY_API_KEY: its record has neither digest nor limits."""
