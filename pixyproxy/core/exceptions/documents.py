"""Recorded failures, raised again."""

from collections.abc import Mapping
from typing import Any

from pixyproxy.core.exceptions.parts import UnavailableError
from pixyproxy.core.exceptions.root import RETRY_AFTER, TYPE_PREFIX, PixyProxyException
from pixyproxy.core.exceptions.upstream import UpstreamError


def error_from_document(document: Mapping[str, Any], *, replayed: bool = False) -> PixyProxyException:
    """The exception that left this document: what `generations.error` holds, raised again."""
    name = str(document.get("type", "")).removeprefix(TYPE_PREFIX)
    kind = next((kind for kind in _descendants(PixyProxyException) if kind.name == name), UpstreamError)
    error = kind.__new__(kind)
    known = {"type", "title", "status", "detail", "cost"}
    extra = {member: value for member, value in document.items() if member not in known}
    retry_after = RETRY_AFTER if issubclass(kind, UnavailableError) else None
    PixyProxyException.__init__(error, str(document.get("detail", "")), retry_after=retry_after, extra=extra)
    error.replayed = replayed
    return error


def _descendants(kind: type[PixyProxyException]) -> list[type[PixyProxyException]]:
    return [each for child in kind.__subclasses__() for each in (child, *_descendants(child))]
