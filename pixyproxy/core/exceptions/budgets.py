"""Refusals for the sake of money and fairness: nothing was drawn, nothing was spent."""

from pixyproxy.core.exceptions.root import PixyProxyException


class BudgetExhaustedError(PixyProxyException):
    """A budget has less left than the generation is expected to cost.

    Members: `period`, `limit`, `used`, `estimate` (amounts in US dollars, as decimal strings), `everybody` (whether the
    budget is that of all keys together) and `resets_at` (null: never). `limit` and `used` of everybody's are null for a
    key that may not know what others spend.
    """

    status = 402
    name = "budget-exhausted"
    title = "The budget is exhausted"
    cost = "none"


class PriceUnknownError(PixyProxyException):
    """A key with a budget asks for a model of which nobody knows what it will cost.

    `priced`: it has a price, but one that reserves nothing, and no image of this kind was drawn yet.
    """

    status = 402
    name = "price-unknown"
    title = "The model's price is unknown"
    cost = "none"

    def __init__(self, model: str, *, priced: bool = False) -> None:
        unknown = (
            f"the price of the model '{model}' has nothing to reserve, and no image of this size and quality was drawn "
            "yet. An operator sets it with 'pixyproxy prices set … --reserve'"
            if priced
            else f"the price of the model '{model}' is unknown. An operator sets it with 'pixyproxy prices set'"
        )
        super().__init__(f"A budget applies to this key, and {unknown}.", extra={"model": model})


class RateLimitedError(PixyProxyException):
    """The key begins more generations a minute, or runs more at once, than it may.

    `limit`: the name of the limit; `policy` and `state`: the values of the headers `RateLimit-Policy` and `RateLimit`
    (draft-ietf-httpapi-ratelimit-headers-10).
    """

    status = 429
    name = "rate-limited"
    title = "The key is used too often"
    cost = "none"

    def __init__(self, detail: str, *, retry_after: int, policy: str, state: str) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.policy, self.state = policy, state

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a rate limit, besides Retry-After."""
        return {**super().headers, "RateLimit-Policy": self.policy, "RateLimit": self.state}


ASK_AGAIN = 5
"""Seconds after which one of the running generations may have ended."""


def share_taken(places: int) -> RateLimitedError:
    """The refusal of a key that has all the places of a process that it may have."""
    return RateLimitedError(
        f"{places} generations of this key run in this process, which is as many as it may have there.",
        retry_after=ASK_AGAIN,
        policy=f'"share";q={places}',
        state=f'"share";r=0;t={ASK_AGAIN}',
    )


def running_taken(limit: int) -> RateLimitedError:
    """The refusal of a key of which as many generations run as may, over all replicas."""
    return RateLimitedError(
        f"{limit} generations of this key run already, which is as many as it may have at once.",
        retry_after=ASK_AGAIN,
        policy=f'"running";q={limit}',
        state=f'"running";r=0;t={ASK_AGAIN}',
    )


def rate_exceeded(rate: int, *, seconds: int) -> RateLimitedError:
    """The refusal of a key that has begun a minute's generations. `seconds`: until it may begin the next."""
    many = "1 generation" if rate == 1 else f"{rate} generations"
    return RateLimitedError(
        f"This key may begin {many} a minute. The next one may begin in {seconds} s.",
        retry_after=seconds,
        policy=f'"minute";q={rate};w=60',
        state=f'"minute";r=0;t={seconds}',
    )
