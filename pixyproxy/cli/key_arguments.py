"""The options of `pixyproxy keys`: what a key may do, how much, and until when."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pixyproxy.core.budgets import Period, parse_budget
from pixyproxy.core.keys import (
    EVERYTHING,
    KEY_NAME,
    MAX_NOTE,
    OF_A_NEW_KEY,
    KeyLimits,
    KeyRights,
    Scope,
    Scopes,
    in_order,
)
from pixyproxy.core.money import Nano
from pixyproxy.service.key_administration import LAST_YEAR, LONGEST_OVERLAP
from pixyproxy.service.keys import RESERVED_NAMES

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
NONE = "none"
"""The word that removes a limit, an expiry, a note."""


def add_rights(parser: argparse.ArgumentParser, *, changes: bool) -> None:
    """Add the options. `changes`: of a key that exists, so that the word `none` removes what it has."""
    words = ", ".join(scope.value for scope in Scope)
    usual = "" if changes else f" (default: {','.join(in_order(OF_A_NEW_KEY))})"
    remove = f"; '{NONE}': no limit" if changes else ""
    kind = removable if changes else limit
    parser.add_argument(
        "--scope",
        action="append",
        type=scopes,
        metavar="SCOPE",
        help=f"what it may do: {words}, or all; repeat it, or put commas between them{usual}",
    )
    parser.add_argument("--rate", type=kind(1_000_000), metavar="N", help=f"generations a minute{remove}")
    parser.add_argument("--running", type=kind(1_000_000), metavar="N", help=f"generations at once{remove}")
    parser.add_argument(
        "--share", type=kind(100), metavar="PERCENT", help=f"of the places of one replica, at most{remove}"
    )
    parser.add_argument(
        "--expires", type=expiry, metavar="WHEN", help=f"90d, 12h, 2027-12-31, or a time with its zone; or {NONE}"
    )
    parser.add_argument("--note", type=note, metavar="TEXT", help=f"for people; '{NONE}': no note")
    parser.add_argument(
        "--budget",
        action="append",
        type=removable_budget if changes else budget,
        default=[],
        metavar="USD/PERIOD",
        help="what it may spend: 1/day, 20/month, 100/total; may be repeated"
        + (f"; '{NONE}/day': no limit" if changes else ""),
    )


def changes_in(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of `KeyRights` and `KeyLimits` that the options name."""
    given = {
        "scopes": frozenset().union(*options.scope) if options.scope else None,
        "rate_per_minute": options.rate,
        "running_limit": options.running,
        "replica_share": options.share,
        "expires_at": options.expires,
        "note": options.note,
    }
    return {name: None if value == NONE else value for name, value in given.items() if value is not None}


def rights_in(options: argparse.Namespace) -> KeyRights:
    """The rights of a new key."""
    values = changes_in(options)
    limits = KeyLimits(**{name: values.pop(name) for name in KeyLimits.model_fields if name in values})
    return KeyRights(**values, limits=limits)


def budgets_in(options: argparse.Namespace) -> dict[Period, Nano | None]:
    """The budgets that the options name; None: none of this period."""
    return {period: limit for limit, period in options.budget}


def budget(text: str) -> tuple[Nano | None, Period]:
    """A limit and its period."""
    try:
        return parse_budget(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def removable_budget(text: str) -> tuple[Nano | None, Period]:
    """The same, or the word that removes the budget of a period."""
    word, slash, period = text.partition("/")
    if word != NONE or not slash:
        return budget(text)
    try:
        return None, Period.of(period)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def key_name(text: str) -> str:
    """A name that a key may have."""
    if not KEY_NAME.fullmatch(text) or text in RESERVED_NAMES:
        raise argparse.ArgumentTypeError("a name has 1 to 64 of A-Z a-z 0-9 . _ @ -, and is not reserved")
    return text


def scopes(text: str) -> Scopes:
    """Scopes with commas between them."""
    if text == "all":
        return EVERYTHING
    try:
        return frozenset(Scope(word.strip()) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"a scope is one of {', '.join(Scope)}, or all") from None


def limit(most: int) -> "type[int] | Any":
    """A whole number from 1 to `most`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most}")
        return int(text)

    return parse


def removable(most: int) -> Any:
    """The same, or the word that removes it."""
    return lambda text: text if text == NONE else limit(most)(text)


def duration(text: str) -> timedelta:
    """A time such as 90d, 24h, 30m, 0s."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("a time is a number and one of s, m, h, d, w, such as 24h")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def overlap(text: str) -> timedelta:
    """For how long a former secret stays valid."""
    value = duration(text)
    if value > LONGEST_OVERLAP:
        raise argparse.ArgumentTypeError(f"must be at most {LONGEST_OVERLAP.days}d")
    return value


def expiry(text: str) -> datetime | str:
    """A moment in the future: after a time, at the beginning of a day (UTC), or at a time with its zone."""
    if text == NONE:
        return NONE
    now = datetime.now(UTC)
    try:
        if DURATION.fullmatch(text):
            moment = now + duration(text)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if len(text) == len("2027-12-31") else moment
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("must be like 90d, 12h, 2027-12-31 or 2027-12-31T18:00:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError("must say its zone, such as 2027-12-31T18:00:00Z")
    if moment <= now:
        raise argparse.ArgumentTypeError("must be in the future")
    if moment.year > LAST_YEAR:
        raise argparse.ArgumentTypeError(f"must be before the year {LAST_YEAR + 1}")
    return moment


def note(text: str) -> str:
    """A note for people."""
    if len(text) > MAX_NOTE or "\x00" in text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be one line of at most {MAX_NOTE} printable characters")
    return text
