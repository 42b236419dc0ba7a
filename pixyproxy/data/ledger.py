"""The ledger: what each generation weighs in the windows of budgets. Functions on a `Transaction`.

Every transition of a generation that changes what it weighs writes the difference to `generations.counted_nano`, to the
windows of the generation's creation, and as an entry to `ledger`, in the transaction of the transition.

A window is a row of `windows` that exists from its first use on (`windows.open_window`). Transitions change the windows
that exist: without a budget there are none.
"""

from datetime import datetime

from pixyproxy.core.budgets import EVERYBODY, Period
from pixyproxy.core.generations import Generation
from pixyproxy.core.ledger import Kind, difference
from pixyproxy.core.money import Cost, Nano
from pixyproxy.data.conversions import time_to_column
from pixyproxy.data.database import Transaction
from pixyproxy.data.windows import require_budgets

BEGIN = "INSERT INTO ledger (generation_id, sequence, kind, delta_nano, at) VALUES (:id, 1, :kind, :delta, {at})"
ENTER = """
    INSERT INTO ledger (generation_id, sequence, kind, delta_nano, at)
    SELECT generations.id,
           (SELECT COUNT(*) FROM ledger AS earlier WHERE earlier.generation_id = generations.id) + 1,
           :kind, :delta, :at
    FROM generations
    WHERE guid = :guid
"""
WEIGH = """
    UPDATE windows
    SET used_nano = used_nano + :delta
    WHERE owner IN (:everybody, :key) AND (
        (period = :day AND starts_on = :day_starts_on) OR (period = :month AND starts_on = :month_starts_on)
        OR (period = :total AND starts_on = :total_starts_on))
"""


def reserve(transaction: Transaction, generation: Generation, *, id_: int) -> None:
    """Let a generation that was just recorded weigh its estimate, if all budgets of its key have room for it.

    See `windows.require_budgets` for what is raised if not.
    """
    require_budgets(transaction, generation)
    if generation.quote is not None and generation.quote.estimate is not None:
        transaction.execute(
            BEGIN.format(at=transaction.later("wait")),
            id=id_,
            kind=Kind.RESERVE.value,
            delta=generation.quote.estimate,
            wait=0,
        )


def settle(transaction: Transaction, generation: Generation, kind: Kind, cost: Cost | None, *, now: datetime) -> None:
    """Let a generation that has just ended weigh its cost. Its row is locked by this transaction."""
    has_quote = generation.quote is not None and generation.quote.estimate is not None
    if cost is None and not has_quote:
        return
    delta = difference(generation.quote, cost)
    transaction.execute(ENTER, guid=str(generation.guid), kind=kind.value, delta=delta, at=time_to_column(now))
    if delta:
        weigh(transaction, generation, delta)


def weigh(transaction: Transaction, generation: Generation, delta: Nano) -> None:
    """Add to all windows of the generation's creation that exist."""
    starts = {period.word: period for period in Period}
    transaction.execute(
        WEIGH,
        delta=delta,
        everybody=EVERYBODY,
        key=generation.api_key_id,
        **{word: period.value for word, period in starts.items()},
        **{f"{word}_starts_on": period.starts_on(generation.created_at).isoformat() for word, period in starts.items()},
    )
