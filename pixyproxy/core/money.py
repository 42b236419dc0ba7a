"""Money: whole nano-dollars, and their form in texts."""

import re
from functools import lru_cache
from typing import Any, Literal

from pixyproxy.core.model import Model

Nano = int
"""Nano-dollars: a billionth of a US dollar. Every published price of a token is a whole number of them."""
Basis = Literal["usage", "estimate", "none"]
"""How a cost is known: reckoned from the usage, estimated, or nothing was spent."""

DOLLAR: Nano = 1_000_000_000
DECIMALS = 9
MAX_NANO: Nano = 9_000_000_000_000_000_000
"""The largest amount: it fits into the BIGINT of every database."""
CURRENCY = "USD"

AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)
MILLION = 1_000_000


@lru_cache(maxsize=1024)
def amount_of(nano: Nano) -> str:
    """Dollars as a plain decimal: no exponent, no zeros at the end. `"0.0531"`, `"0"`, `"-1.5"`."""
    dollars, rest = divmod(abs(nano), DOLLAR)
    decimals = f"{rest:0{DECIMALS}}".rstrip("0")
    return f"{'-' if nano < 0 else ''}{dollars}{'.' if decimals else ''}{decimals}"


def nano_of(text: str) -> Nano:
    """The nano-dollars of an amount in dollars, such as `"0.0531"`.

    `ValueError` for whatever is no plain decimal (a sign, an exponent, NaN, spaces), has more than 9 decimals, or is
    more than 9 billion dollars. Its text ends a sentence that begins with what has this amount.
    """
    if text.startswith("-"):
        raise ValueError("must not be negative")
    found = AMOUNT.fullmatch(text)
    if found is None:
        raise ValueError("must be a plain decimal number of dollars, such as 0.0531")
    whole, decimals = found[1].lstrip("0"), found[2] or ""
    if len(decimals) > DECIMALS:
        raise ValueError(f"must have at most {DECIMALS} decimals")
    nano = (
        int(whole or "0") * DOLLAR + int(decimals.ljust(DECIMALS, "0")) if len(whole) <= DECIMALS + 1 else MAX_NANO + 1
    )
    if nano > MAX_NANO:
        raise ValueError(f"must be at most {amount_of(MAX_NANO)}")
    return nano


def per_token(text: str) -> Nano:
    """The nano-dollars of one token, from the dollars of a million tokens; `ValueError` as `nano_of`.

    A price that is no whole number of nano-dollars a token has more than 3 decimals: it is refused, not rounded.
    """
    nano, rest = divmod(nano_of(text), MILLION)
    if rest:
        raise ValueError("must have at most 3 decimals: a token costs a whole number of nano-dollars")
    return nano


def per_million(nano: Nano) -> str:
    """The dollars of a million tokens of which one costs `nano`."""
    return amount_of(nano * MILLION)


class Cost(Model):
    """What a generation cost. An unknown cost is None, never a `Cost` of 0."""

    nano: Nano
    basis: Basis

    def values(self) -> dict[str, Any]:
        """Its form in JSON: `{"amount": "0.0531", "currency": "USD", "basis": "usage"}`."""
        return {"amount": amount_of(self.nano), "currency": CURRENCY, "basis": self.basis}
