"""Conditional and range requests (RFC 9110, sections 13 and 14): how a GET or HEAD of known bytes is answered."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache

from pixyproxy.core.exceptions import PreconditionFailedError, RangeNotSatisfiableError

ENTITY_TAG = re.compile(r'[ \t,]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
ONE_RANGE = re.compile(
    r"[ \t]*bytes[ \t]*=[ \t,]*(?:([0-9]{1,300})-([0-9]{0,300})|-([0-9]{1,300}))[ \t,]*", re.IGNORECASE
)
NAMES = {
    name.encode(): name
    for name in ("if-match", "if-unmodified-since", "if-none-match", "if-modified-since", "if-range", "range")
}


@dataclass(frozen=True)
class Validators:
    """The validators of a resource: a strong entity tag, quoted, and a time (None: unknown)."""

    etag: str
    modified_at: datetime | None = None

    @property
    def last_modified(self) -> str | None:
        """The value of the Last-Modified header."""
        return None if self.modified_at is None else date_of(self.modified_at)


@lru_cache(maxsize=1024)
def date_of(moment: datetime) -> str:
    """The HTTP-date of a time in UTC."""
    return format_datetime(moment, usegmt=True)


def conditions_of(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """The conditions and ranges among the headers, by their names in small letters; several lines as one list."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name = NAMES.get(raw_name)
        if name is not None:
            value = raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def not_modified(conditions: Mapping[str, str], validators: Validators) -> bool:
    """Whether the answer to a GET or HEAD is 304; `PreconditionFailedError` if it is 412.

    The order is that of RFC 9110, section 13.2.2. Invalid dates are ignored; an invalid entity-tag list matches
    nothing.
    """
    if not conditions:
        return False
    if "if-match" in conditions:
        if not matches(conditions["if-match"], validators.etag, weak=False):
            raise PreconditionFailedError
    elif changed_since(conditions.get("if-unmodified-since"), validators, unknown=False):
        raise PreconditionFailedError
    if "if-none-match" in conditions:
        return matches(conditions["if-none-match"], validators.etag, weak=True)
    return not changed_since(conditions.get("if-modified-since"), validators, unknown=True)


def part_wanted(conditions: Mapping[str, str], validators: Validators, *, size_bytes: int) -> range | None:
    """The part for the answer to a GET (206); None: the complete resource (200).

    `RangeNotSatisfiableError` (416) if the part begins after the end. Invalid ranges and several ranges at once are
    ignored (RFC 9110, section 14.2).
    """
    found = ONE_RANGE.fullmatch(conditions.get("range", ""))
    if found is None or not still_the_same(conditions.get("if-range"), validators):
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, stop = max(size_bytes - int(suffix), 0), size_bytes
    else:
        start, stop = int(first), min(int(last) + 1 if last else size_bytes, size_bytes)
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise RangeNotSatisfiableError(size_bytes)
    return range(start, stop)


def matches(value: str, etag: str, *, weak: bool) -> bool:
    """Whether the list of entity tags, or `*`, matches this tag. `weak`: whether weak tags match too."""
    if value == etag:
        return True
    return value.strip() == "*" or any(tag == etag and (weak or not is_weak) for tag, is_weak in entity_tags(value))


def entity_tags(value: str) -> Iterator[tuple[str, bool]]:
    """The entity tags of a list, each with whether it is weak. An invalid one ends the list."""
    found = ENTITY_TAG.match(value)
    while found is not None:
        yield found[2], found[1] is not None
        found = ENTITY_TAG.match(value, found.end())


def changed_since(value: str | None, validators: Validators, *, unknown: bool) -> bool:
    """Whether it changed after the time that a header gives; `unknown` if the header gives none."""
    moment = None if value is None else http_date(value)
    if moment is None or validators.modified_at is None:
        return unknown
    return validators.modified_at.replace(microsecond=0) > moment


def http_date(value: str) -> datetime | None:
    """The time of an HTTP-date in any of its three forms (RFC 9110, section 5.6.7); None if it is invalid."""
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def still_the_same(if_range: str | None, validators: Validators) -> bool:
    """Whether If-Range allows a part: it is absent, or exactly our tag, or exactly our time."""
    if if_range is None:
        return True
    value = if_range.strip()
    return value in (validators.etag, validators.last_modified)
