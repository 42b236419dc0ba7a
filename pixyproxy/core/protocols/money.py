"""What costs are reckoned with."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from pixyproxy.core.prices import Price, PriceTerms


class PriceRepository(Protocol):
    """The prices. None is ever removed, and their numbers never change: a newer one ends an older one."""

    async def find(self, *, upstream: str, model: str, at: datetime) -> Price | None:
        """The price of a model at a moment; None if it is unknown. See `Price.rank` for which one of several."""

    async def get(self, price_id: int) -> Price:
        """The price with this id; `NotFoundError` if there is none. Its numbers are current, its end may be older."""

    async def list(self) -> tuple[Price, ...]:
        """All prices, by upstream and model; each model's in the order of their beginnings."""

    async def models_in_use(self) -> tuple[str, ...]:
        """The models of the newest images: at least of the newest 10,000."""

    async def add(self, prices: Sequence[PriceTerms], *, recorded_at: datetime) -> tuple[Price, ...]:
        """Record what the operator sets, all or nothing, in one transaction.

        The operator's price of the same model that holds when a new one begins ends there; one that begins at the same
        moment is replaced. `ConflictError` if one begins later, before the end of the new one.
        """

    async def load_shipped(self, prices: Sequence[tuple[PriceTerms, datetime]]) -> int:
        """Record the prices that came with this version and the days of their sources; how many were new.

        Those that are recorded already stay as they are, but for a later day and its source. The operator's are never
        touched, nor those that a newer version shipped. Processes may do it at once.
        """
