"""What an error of the upstream, or of the way to it, means: was anything billed?"""

import re

import httpx2

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAnswerError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)

MAX_REASON = 1000
DEFAULT_RETRY_AFTER = 20
MAX_RETRY_AFTER = 3600
NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.LocalProtocolError,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


def connection_error(cause: BaseException) -> PixyProxyException:
    """Whether the request can have reached the upstream decides what a broken connection means."""
    if isinstance(cause, NEVER_SENT):
        return UpstreamUnavailableError("The upstream cannot be reached; nothing was drawn.")
    if isinstance(cause, httpx2.DecodingError):
        return UpstreamAnswerError("The upstream's answer cannot be decoded.")
    return UpstreamUnknownOutcomeError(
        "The connection to the upstream broke before its answer was whole. It may have drawn and billed."
    )


def safe_code(code: str | None) -> str | None:
    """The upstream's error code, if it is one: a word, not a sentence."""
    return code if code and re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", code) else None


def retry_after_of(value: str | None) -> int:
    """Seconds of a Retry-After header, within bounds; its date form is not used by the upstreams we know."""
    seconds = int(value) if value and re.fullmatch(r"[0-9]{1,6}", value) else DEFAULT_RETRY_AFTER
    return min(max(seconds, 1), MAX_RETRY_AFTER)
