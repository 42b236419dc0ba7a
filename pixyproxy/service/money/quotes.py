"""Quotes: what a generation is expected to cost, before anything is spent.

Expected is the dearest image of its class of the last 30 days, and a tenth more; before there is one, what the price
reserves. A class has the generations with the same model, size, quality and kind, and as many partial images: their
costs differ little.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import anyio
from cachetools import TTLCache

from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.ledger import Quote
from pixyproxy.core.money import MAX_NANO, Nano
from pixyproxy.core.prices import Price, reserve_of
from pixyproxy.core.protocols import LedgerRepository, PriceRepository

LOOK_BACK = timedelta(days=30)
PRICE_SECONDS, CLASS_SECONDS = 10.0, 300.0
"""How long a price and the dearest image of a class are remembered: a new price counts everywhere after the first."""
REMEMBERED = 1_000


class Quotes:
    """Quotes by the prices of one upstream, by its name in them."""

    def __init__(self, prices: PriceRepository, ledger: LedgerRepository, *, upstream: str) -> None:
        self._prices = prices
        self._ledger = ledger
        self._upstream = upstream
        self._known: TTLCache[str, Price | None] = TTLCache(REMEMBERED, PRICE_SECONDS, timer=anyio.current_time)
        self._without: TTLCache[str, None] = TTLCache(REMEMBERED, PRICE_SECONDS, timer=anyio.current_time)
        self._dearest: TTLCache[str, Nano] = TTLCache(REMEMBERED, CLASS_SECONDS, timer=anyio.current_time)

    async def quote(self, request: GenerationRequest, *, partials: int = 0) -> Quote:
        """What the generation of this request is expected to cost, with so many partial images asked for.

        `DatabaseUnavailableError`.

        A model without a price has a quote without an estimate. So has a price that reserves nothing, until an image of
        the class was drawn.
        """
        now, model = datetime.now(UTC), request.model or ""
        cost_class = class_of(self._upstream, request, partials=partials)
        price = self._known.get(model)
        if model not in self._known or (price is not None and price.valid_to is not None and price.valid_to <= now):
            price = await self._prices.find(upstream=self._upstream, model=model, at=now)
            self._known[model] = price
        if price is None:
            return Quote(cost_class=cost_class)
        estimate = await self._estimate(price, request, cost_class, partials=partials)
        return Quote(price_id=price.id, cost_class=cost_class, estimate=estimate)

    async def _estimate(
        self, price: Price, request: GenerationRequest, cost_class: str, *, partials: int
    ) -> Nano | None:
        images = request.n or 1
        dearest = self._dearest.get(cost_class)
        if dearest is None and cost_class not in self._without:
            dearest = await self._ledger.dearest(cost_class, since=datetime.now(UTC) - LOOK_BACK)
            if dearest is None:  # the first one counts soon
                self._without[cost_class] = None
            else:
                self._dearest[cost_class] = dearest
        if dearest is not None:
            return min(-(-dearest * images * 11 // 10), MAX_NANO)
        size, quality, edits = request.size, request.quality, len(request.inputs)
        return reserve_of(price, size=size, quality=quality, images=images, edits=edits, partials=partials)


def class_of(upstream: str, request: GenerationRequest, *, partials: int = 0) -> str:
    """The class of a request for so many partial images, as a digest: its parts have no common bound."""
    inputs = (request.input_fidelity, len(request.inputs))
    parts = (upstream, request.model, request.size, request.quality, *inputs, partials)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
