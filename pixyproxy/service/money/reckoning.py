"""What a generation that succeeded cost, by the price that its quote names."""

import logging
from collections.abc import Mapping
from typing import Any

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.generations import Generation
from pixyproxy.core.ledger import cost_of_success
from pixyproxy.core.money import Cost
from pixyproxy.core.prices import cost_of
from pixyproxy.core.protocols import PriceRepository

logger = logging.getLogger(__name__)


async def reckon(
    prices: PriceRepository,
    generation: Generation,
    *,
    usage: Mapping[str, Any] | None,
    answer: Mapping[str, Any] | None,
    images: int,
) -> Cost | None:
    """The cost of so many images with this usage; None: unknown. Raises what the database raises."""
    quote = generation.quote
    if quote is None or quote.price_id is None:
        return None
    try:
        price = await prices.get(quote.price_id)
    except NotFoundError:
        logger.error("generation %s: price %d was removed: its cost is estimated", generation.guid, quote.price_id)
        return cost_of_success(quote, reckoned=None)
    reckoned = cost_of(price, usage=usage, answer=answer, values=generation.request.values, images=images)
    return cost_of_success(quote, reckoned=reckoned)
