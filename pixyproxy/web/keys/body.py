"""The bodies of requests about keys. Unknown fields are refused."""

from typing import Annotated, Any

from pydantic import AwareDatetime, ConfigDict, Field

from pixyproxy.core.keys import OF_A_NEW_KEY, KeyLimits, KeyName, KeyRights, Note, Scope, in_order
from pixyproxy.core.model import Model
from pixyproxy.service.key_administration import LONGEST_OVERLAP, OVERLAP
from pixyproxy.web.keys.budgets import BUDGETS, BudgetLimits

ScopeList = Annotated[tuple[Scope, ...], Field(min_length=1, max_length=len(Scope))]
Rate = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Percent = Annotated[int, Field(strict=True, ge=1, le=100)]

RATE = "Generations that may begin in a minute, over all replicas; null: any number."
RUNNING = "Generations that may run at once, over all replicas; null: any number."
SHARE = "Percent of `PIXYPROXY_MAX_GENERATIONS` that may run at once in one replica; null: 100."
EXPIRES = "From when on the key is refused; null: it does not expire."


class CreateKeyBody(Model):
    """A new key. What is left out has no limit."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "shop"},
                {
                    "name": "intern",
                    "scopes": ["draw", "read"],
                    "expires_at": "2126-12-31T00:00:00Z",
                    "running_limit": 2,
                    "budgets": {"day": "1", "month": "20"},
                },
            ]
        }
    )

    name: KeyName = Field(description="Who will use it.")
    scopes: ScopeList = Field(default=in_order(OF_A_NEW_KEY), description="What it may do.")
    expires_at: AwareDatetime | None = Field(default=None, description=EXPIRES)
    note: Note | None = Field(default=None, description="For people.")
    rate_per_minute: Rate | None = Field(default=None, description=RATE)
    running_limit: Rate | None = Field(default=None, description=RUNNING)
    replica_share: Percent | None = Field(default=None, description=SHARE)
    budgets: BudgetLimits = Field(default={}, description=BUDGETS)

    def to_rights(self) -> KeyRights:
        """What the key may do."""
        return KeyRights(
            scopes=frozenset(self.scopes),
            expires_at=self.expires_at,
            note=self.note,
            limits=KeyLimits(**self.model_dump(include=set(KeyLimits.model_fields))),
        )


def _unset() -> Any:
    """Stands for a field that is left out, and is never read."""
    return None


class ChangeKeyBody(Model):
    """What to change. What is left out stays as it is; null removes a limit, a budget, a note, an expiry."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"scopes": ["read"], "note": "leaves in May"}]})

    name: KeyName = Field(default_factory=_unset, description="Another name; what it has drawn stays its own.")
    scopes: ScopeList = Field(default_factory=_unset, description="What it may do from now on.")
    expires_at: AwareDatetime | None = Field(default_factory=_unset, description=EXPIRES)
    note: Note | None = Field(default_factory=_unset, description="For people.")
    rate_per_minute: Rate | None = Field(default_factory=_unset, description=RATE)
    running_limit: Rate | None = Field(default_factory=_unset, description=RUNNING)
    replica_share: Percent | None = Field(default_factory=_unset, description=SHARE)
    budgets: BudgetLimits = Field(default={}, description=f"{BUDGETS} Periods that are left out stay as they are.")

    def changes(self) -> dict[str, Any]:
        """The fields that the body has, but for the budgets."""
        values = self.model_dump(exclude_unset=True, exclude={"budgets"})
        return values | ({"scopes": frozenset(self.scopes)} if "scopes" in values else {})


class RotateKeyBody(Model):
    """How a key is rotated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap": 3600}]})

    overlap: Annotated[int, Field(strict=True, ge=0, le=int(LONGEST_OVERLAP.total_seconds()))] = Field(
        default=int(OVERLAP.total_seconds()),
        description="Seconds for which the former secret stays valid; earlier ones no longer than that either.",
    )
