"""Whether a key may begin another generation: its rate, and how many of its generations run. On a `Transaction`.

The rate is a leaky bucket as a meter, kept as the theoretical arrival time of the next generation (ITU-T I.371, the
generic cell rate algorithm): one column, no counters, nothing to reset. A key may begin a minute's generations at once.
"""

import math
from datetime import datetime, timedelta

from pixyproxy.core.exceptions.budgets import rate_exceeded, running_taken
from pixyproxy.core.generations import Generation
from pixyproxy.core.keys import KeyLimits
from pixyproxy.data.conversions import optional_time, time_to_column
from pixyproxy.data.database import Transaction

MINUTE = 60.0


def require_limits(transaction: Transaction, generation: Generation, limits: KeyLimits) -> None:
    """Return if the key may begin this generation, whose row is inserted; `RateLimitedError` if not."""
    if limits.rate_per_minute is None and limits.running_limit is None:
        return
    key = generation.api_key_id
    rows = transaction.lock_all("SELECT next_at FROM api_keys WHERE id = :id", id=key)
    if limits.running_limit is not None:
        require_running(transaction, key, limit=limits.running_limit)
    if limits.rate_per_minute is not None and rows:
        next_at = after(optional_time(rows[0]["next_at"]), rate=limits.rate_per_minute, now=transaction.now())
        transaction.execute(
            "UPDATE api_keys SET next_at = :next_at WHERE id = :id", next_at=time_to_column(next_at), id=key
        )


def require_running(transaction: Transaction, key: int, *, limit: int) -> None:
    """Return if no more of the key's generations run than may; the new one is among them."""
    (row,) = transaction.all(
        "SELECT COUNT(*) AS running FROM generations WHERE api_key_id = :id AND state = 'running'", id=key
    )
    if row["running"] > limit:
        raise running_taken(limit)


def after(next_at: datetime | None, *, rate: int, now: datetime) -> datetime:
    """The arrival time after one more generation; `RateLimitedError` if it is too far ahead."""
    each = timedelta(seconds=MINUTE / rate)
    arrival = max(next_at or now, now) + each
    wait = (arrival - now).total_seconds() - MINUTE
    if wait > 0.000_001 * rate:  # a column has microseconds
        raise rate_exceeded(rate, seconds=max(math.ceil(wait), 1))
    return arrival
