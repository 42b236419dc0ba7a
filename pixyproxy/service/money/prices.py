"""Prices for those who administer them: what is set, and what is missing or stale."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.keys import Caller, Scope
from pixyproxy.core.price_files import parse_prices, terms_of
from pixyproxy.core.prices import DEMO, Price, PriceTerms, best_price
from pixyproxy.core.protocols import PriceRepository
from pixyproxy.service.rights import require


@dataclass(frozen=True)
class PriceFinding:
    """What `check` found about a model, in words."""

    upstream: str
    model: str
    said: str

    def __str__(self) -> str:
        return f"{self.model} at {self.upstream}: {self.said}"


class PriceService:
    """The prices of a database."""

    def __init__(self, prices: PriceRepository, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._prices = prices
        self._clock = clock

    async def list(self, *, ended: bool = False) -> tuple[Price, ...]:
        """The prices that hold or are to come; `ended`: all that were ever recorded."""
        now = self._clock()
        return tuple(price for price in await self._prices.list() if ended or _lasts(price, now))

    async def list_for(self, caller: Caller) -> tuple[Price, ...]:
        """The prices that hold or are to come; `NotAllowedError` for a caller without `admin`."""
        require(caller, Scope.ADMIN)
        return await self.list()

    async def set(self, values: Mapping[str, Any]) -> Price:
        """Set the price with these values, as options have them.

        `ConfigurationError` names what is wrong; `ConflictError` if it overlaps with one that begins later.
        """
        now = self._clock()
        try:
            terms = terms_of(values, now=now)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        (price,) = await self._prices.add([terms], recorded_at=now)
        return price

    async def load(self, text: str) -> tuple[Sequence[Price], int]:
        """Set the prices of a file, all or none; those prices, and how many of them are new. Raises as `set`."""
        now = self._clock()
        terms: list[PriceTerms] = [each for each, _ in parse_prices(text, now=now)]
        known = {price.id for price in await self._prices.list()}
        prices = await self._prices.add(sorted(terms, key=lambda each: each.valid_from), recorded_at=now)
        return prices, sum(price.id not in known for price in prices)

    async def check(self, *, upstream: str, models: Iterable[str], older_than: timedelta) -> Sequence[PriceFinding]:
        """What an operator should look at: models without a price, and prices that nobody has looked up for long.

        `models`: those that are configured; those of the newest images come to them. The demo upstream's are left out.
        """
        now = self._clock()
        holding = [price for price in await self._prices.list() if price.valid_from <= now and _lasts(price, now)]
        used = [] if upstream == DEMO else sorted({*models, *await self._prices.models_in_use()})
        found = []
        for model in used:
            price = best_price(holding, upstream=upstream, model=model)
            if price is None:
                found.append(PriceFinding(upstream, model, "no price: what it costs is unknown"))
            elif price.reserve is None and price.per_image is None:
                said = "nothing to reserve: until one was drawn, a key with a budget is refused"
                found.append(PriceFinding(upstream, model, said))
        for price in holding:
            age = now - price.recorded_at
            hidden = price.shipped and any(
                (each.upstream, each.model, each.shipped) == (price.upstream, price.model, False) for each in holding
            )
            if age > older_than and price.upstream != DEMO and not hidden:
                said = f"its price is of {price.recorded_at:%Y-%m-%d}, {age.days} days old; source: {price.source}"
                found.append(PriceFinding(price.upstream, price.model, said))
        return found


def _lasts(price: Price, now: datetime) -> bool:
    return price.valid_to is None or (price.valid_to > now and price.valid_to > price.valid_from)
