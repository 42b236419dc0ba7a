"""A key's details, as answers show them. The key itself is shown once, when it is made."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field

from pixyproxy.core.budgets import Spending
from pixyproxy.core.keys import CONFIGURED_ID, ApiKey, Scope, in_order
from pixyproxy.web.keys.body import EXPIRES, RATE, RUNNING, SHARE
from pixyproxy.web.keys.budgets import BUDGETS, BudgetDetails

State = Literal["in-force", "expired", "revoked"]


class KeyDetails(BaseModel):
    """A key's details. Times are RFC 3339, in UTC."""

    name: str
    prefix: str = Field(description="The first characters of the key; empty for that of `PIXYPROXY_API_KEY`.")
    scopes: tuple[Scope, ...] = Field(description="What it may do.")
    state: State
    configured: bool = Field(description="Whether it is that of `PIXYPROXY_API_KEY`, which is changed there only.")
    note: str | None
    rate_per_minute: int | None = Field(description=RATE)
    running_limit: int | None = Field(description=RUNNING)
    replica_share: int | None = Field(description=SHARE)
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = Field(description=EXPIRES)
    revoked_at: AwareDatetime | None
    former_until: AwareDatetime | None = Field(
        description="Until when a former secret of the key is valid too; null: none is."
    )
    budgets: list[BudgetDetails] = Field(description=BUDGETS)

    @classmethod
    def of(cls, key: ApiKey, *, now: datetime, budgets: Sequence[Spending]) -> Self:
        """The details at this moment; `budgets`: of this key."""
        return cls(**details_of(key, now=now, budgets=budgets))


class NewKey(KeyDetails):
    """A key that was just made or rotated: the only answer that has it."""

    key: str = Field(description="The key. It is recorded nowhere: keep it now.")

    @classmethod
    def made(cls, secret: str, key: ApiKey, *, now: datetime, budgets: Sequence[Spending]) -> Self:
        """The details and the key."""
        return cls(**details_of(key, now=now, budgets=budgets), key=secret)


def details_of(key: ApiKey, *, now: datetime, budgets: Sequence[Spending]) -> dict[str, Any]:
    """The values of the details of a key."""
    valid_former = key.former_until is not None and key.former_until > now and key.revoked_at is None
    return {
        "name": key.name,
        "prefix": key.prefix,
        "scopes": in_order(key.rights.scopes),
        "state": state_of(key, now=now),
        "configured": key.id == CONFIGURED_ID,
        "note": key.rights.note,
        **key.rights.limits.model_dump(),
        "created_at": key.created_at,
        "expires_at": key.rights.expires_at,
        "revoked_at": key.revoked_at,
        "former_until": key.former_until if valid_former else None,
        "budgets": [BudgetDetails.of(each) for each in budgets],
    }


def state_of(key: ApiKey, *, now: datetime) -> State:
    """Whether the key is valid, and if not, why."""
    if key.revoked_at is not None:
        return "revoked"
    return "in-force" if key.in_force(now) else "expired"
