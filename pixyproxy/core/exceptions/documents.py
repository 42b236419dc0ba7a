"""Recorded failures, raised again."""

from collections.abc import Mapping
from typing import Any

from pixyproxy.core.exceptions.root import TYPE_PREFIX, PixyProxyException
from pixyproxy.core.exceptions.upstream import UpstreamError

KNOWN_MEMBERS = {"type", "title", "status", "detail", "cost"}


def error_from_document(document: Mapping[str, Any], *, replayed: bool = False) -> PixyProxyException:
    """The exception that a generation ended with, from its document in `generations.error`.

    A type that this version does not know is an `UpstreamError`.
    """
    name = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    kind = next((kind for kind in descendants(PixyProxyException) if kind.name == name and kind.cost), UpstreamError)
    extra = {member: value for member, value in document.items() if member not in KNOWN_MEMBERS}
    error = kind(str(document.get("detail", "")), extra=extra)
    if document.get("cost") in ("none", "billed", "unknown"):
        error.cost = document["cost"]
    error.replayed = replayed
    return error


def descendants(kind: type[PixyProxyException]) -> list[type[PixyProxyException]]:
    """All kinds below this one."""
    return [each for child in kind.__subclasses__() for each in (child, *descendants(child))]
