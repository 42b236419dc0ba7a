"""The `Prefer` header (RFC 7240), as far as we support it."""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header
from starlette.requests import Request

PREFERENCE = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
"""The items between commas; commas in a quoted string do not count."""
MAX_WAIT = 3600
"""Seconds; a longer wait is ignored, as an unknown preference is."""


@dataclass(frozen=True)
class Preferences:
    """`wait`: seconds to wait for the end of a generation, None if nothing was said. `applied`: what was applied."""

    wait: float | None = None
    applied: str | None = None


def preferences_of(request: Request) -> Preferences:
    """The preferences of a request: `respond-async` (section 4.1) and `wait` (section 4.3), which bounds it.

    If a preference is given twice, the first counts (section 2). Invalid ones are ignored.
    """
    known: dict[str, str] = {}
    for preference in PREFERENCE.findall(",".join(request.headers.getlist("prefer"))):
        name, _, value = preference.partition(";")[0].partition("=")
        known.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = known.get("wait", "")
    seconds = int(wait) if re.fullmatch(r"[0-9]{1,6}", wait) and int(wait) <= MAX_WAIT else None
    applied = (["respond-async"] if "respond-async" in known else []) + (
        [f"wait={wait}"] if seconds is not None else []
    )
    if not applied:
        return Preferences()
    return Preferences(wait=0 if seconds is None else seconds, applied=", ".join(applied))


async def requested_preferences(
    request: Request,
    _: Annotated[
        str | None,
        Header(alias="Prefer", description="`respond-async` or `wait=SECONDS` (RFC 7240)."),
    ] = None,
) -> Preferences:
    """The dependency that reads the preferences of a request."""
    return preferences_of(request)
