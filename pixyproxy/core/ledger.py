"""The ledger's one rule: what a generation weighs, from its quote to its cost.

A generation weighs `counted` nano-dollars in the windows of its creation: its estimate while it runs, then its cost.
Every transition enters the difference. Before a transition to an end it always weighs its estimate: a failure that cost
nothing is never completed later.
"""

from enum import StrEnum

from pixyproxy.core.exceptions import Cost as Outcome
from pixyproxy.core.model import Model
from pixyproxy.core.money import Cost, Nano


class Kind(StrEnum):
    """What an entry of the ledger records."""

    RESERVE = "reserve"
    SUCCESS = "success"
    FAILURE = "failure"
    CORRECTION = "correction"


class Quote(Model):
    """What a generation is expected to cost, as it was when it began.

    `price_id`: the price that its cost is reckoned with, whatever is changed later; None: its price is unknown.
    `estimate`: what it weighs until its cost is known; None: unknown, it weighs nothing. `cost_class`: generations of
    one class cost about the same an image.
    """

    price_id: int | None = None
    cost_class: str
    estimate: Nano | None = None


def cost_of_success(quote: Quote | None, *, reckoned: Nano | None) -> Cost | None:
    """The cost of a generation that succeeded. `reckoned`: by its price; None: that is not possible.

    None: its cost is unknown.
    """
    if reckoned is not None:
        return Cost(nano=reckoned, basis="usage")
    return estimated(quote)


def cost_of_failure(quote: Quote | None, *, outcome: Outcome | None) -> Cost | None:
    """The cost of a generation that failed; None: it is unknown. `outcome`: what the error says of it."""
    if outcome == "none":
        return Cost(nano=0, basis="none")
    return estimated(quote)


def estimated(quote: Quote | None) -> Cost | None:
    """The estimate as a cost; None if there is none."""
    if quote is None or quote.estimate is None:
        return None
    return Cost(nano=quote.estimate, basis="estimate")


def difference(quote: Quote | None, cost: Cost | None) -> Nano:
    """What the end of a generation with this cost adds to what it weighs."""
    weighed = 0 if quote is None or quote.estimate is None else quote.estimate
    return (0 if cost is None else cost.nano) - weighed


class Imbalance(Model):
    """Two sums that should be equal: what `name` has, and what it should have."""

    name: str
    has: Nano
    expected: Nano


class AuditPage(Model):
    """How many generations were compared, and those that do not add up.

    `next_after`: the position of the next page; None: this is the last.
    """

    compared: int
    imbalances: tuple[Imbalance, ...]
    next_after: int | None
