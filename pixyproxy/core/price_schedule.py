"""How the prices of a model follow each other: at most one of the operator's, and one shipped, holds at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pixyproxy.core.exceptions import ConflictError
from pixyproxy.core.prices import Price, PriceTerms


@dataclass(frozen=True)
class Placement:
    """Where a new price comes: when it ends, and which recorded ones end earlier now, by their ids."""

    valid_to: datetime | None
    ends: dict[int, datetime] = field(default_factory=dict)
    same: Price | None = None
    """The recorded price that is this one already: there is nothing to record."""


def place(terms: PriceTerms, recorded: Sequence[Price], *, clip: bool = False) -> Placement:
    """The place of a new price among the recorded ones of its upstream and model, all the operator's or all shipped.

    The one that holds when it begins ends there; one that begins at the same moment never holds any more. Without an
    end it holds until the next one begins. `ConflictError` if its own end is later; `clip`: it ends there then too.
    """
    holding = [price for price in recorded if price.valid_to is None or price.valid_to > price.valid_from]
    later = [price.valid_from for price in holding if price.valid_from > terms.valid_from]
    valid_to, following = terms.valid_to, min(later, default=None)
    if following is not None and (valid_to is None or valid_to > following):
        if valid_to is not None and not clip:
            raise ConflictError(
                f"The price of {terms.model!r} overlaps with one that begins at {following:%Y-%m-%dT%H:%M:%SZ}."
            )
        valid_to = following
    ends = {}
    for price in holding:
        if price.valid_from == terms.valid_from and price.valid_to == valid_to and price.numbers() == terms.numbers():
            return Placement(valid_to, same=price)
        if price.valid_from <= terms.valid_from and (price.valid_to is None or price.valid_to > terms.valid_from):
            ends[price.id] = terms.valid_from
    return Placement(valid_to, ends)


def is_outdated(terms: PriceTerms, read_on: datetime, recorded: Sequence[Price]) -> bool:
    """Whether a newer version shipped another price for the same time: a later day of its source stands in its row."""
    return any(
        price.valid_from == terms.valid_from and price.valid_to != price.valid_from and price.recorded_at > read_on
        for price in recorded
    )
