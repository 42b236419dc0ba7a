"""The places of a process for generations: how many run at once, and how many of them one key may have."""

from uuid import UUID

from pixyproxy.core.exceptions import TooManyGenerationsError
from pixyproxy.core.exceptions.budgets import share_taken
from pixyproxy.core.keys import Caller


class Places:
    """So many places. A generation has one until it has ended, or waits for the storage."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._taken: dict[UUID, int] = {}

    def require(self, caller: Caller) -> None:
        """Return if there is a place for this caller; `TooManyGenerationsError` or `RateLimitedError` if not."""
        if len(self._taken) >= self.maximum:
            raise TooManyGenerationsError(f"{self.maximum} generations are running here; try again soon.")
        share = caller.limits.replica_share
        if share is None:
            return
        own = max(self.maximum * share // 100, 1)
        if sum(key == caller.api_key_id for key in self._taken.values()) >= own:
            raise share_taken(own)

    def take(self, generation: UUID, caller: Caller) -> None:
        """Give the generation a place."""
        self._taken[generation] = caller.api_key_id

    def free(self, generation: UUID) -> None:
        """Take its place back; nothing happens if it has none."""
        self._taken.pop(generation, None)
