"""Which generations have lost their client, so that a retry may adopt them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from pixyproxy.core.generations import Generation


@dataclass(frozen=True)
class EqualGeneration:
    """A generation with an equal request. `abandoned`: its client has left without its answer.

    Compare `lease_expires_at` only with an earlier reading of it: an owner that is alive renews it.
    """

    generation: Generation
    abandoned: bool
    lease_expires_at: datetime


class AdoptionRepository(Protocol):
    """Which generations have lost their client, by the database's clock.

    A generation with a fingerprint and no Idempotency-Key that has ended counts as abandoned if its answer was not
    delivered within `limits.ANSWERED_WITHIN` seconds, and one that a reconciler claimed is abandoned at once.
    """

    async def equal(self, *, api_key_id: int, fingerprint: str, within: float) -> tuple[EqualGeneration, ...]:
        """Equal generations of this caller, begun in the last `within` seconds, oldest first.

        Those with an Idempotency-Key, and those that have ended and were answered, are left out.
        """

    async def abandon(self, guid: UUID) -> None:
        """Record that the client of the generation has left without its answer."""

    async def adopt(self, guid: UUID) -> bool:
        """Give an abandoned generation a new client.

        Of concurrent calls exactly one succeeds; whether it was this one.
        """

    async def deliver(self, guid: UUID) -> None:
        """Record that the client of the generation has its answer."""
