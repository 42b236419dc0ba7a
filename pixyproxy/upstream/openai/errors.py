"""Translates errors of the upstream and of the connection to it: was anything billed?"""

import re
from collections.abc import Mapping
from typing import Any

import httpx2
import openai

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamError,
    UpstreamRefusedError,
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
REFUSALS = ("invalid_request_error", "image_generation_user_error")
"""The types of errors that blame the request."""
WORDS = {"type": r"[A-Za-z0-9_.-]{1,64}", "code": r"[A-Za-z0-9_.-]{1,64}", "param": r"[A-Za-z0-9_.\[\]-]{1,64}"}


def connection_error(cause: BaseException) -> PixyProxyException:
    """The exception for a broken connection. It depends on whether the request can have reached the upstream."""
    if isinstance(cause, NEVER_SENT):
        return UpstreamUnavailableError("The upstream cannot be reached; nothing was drawn.")
    if isinstance(cause, httpx2.DecodingError):
        return UpstreamAnswerError("The upstream's answer cannot be decoded.")
    return UpstreamUnknownOutcomeError(
        "The connection to the upstream broke before its answer was complete. It may have drawn and billed."
    )


def status_error(error: openai.APIStatusError, *, api_key: str) -> PixyProxyException:
    """The exception for an answer with another status than 200. `api_key`: our own, which no text may repeat."""
    status = error.status_code
    body = error.body if isinstance(error.body, dict) else {}
    named = request_named(error.response.headers.get("x-request-id"), api_key=api_key)
    known = {"upstream_status": status, **words_of(body, api_key=api_key), **named}
    code = known.get("upstream_code")
    if status in (400, 422) or (status == 404 and code == "model_not_found"):
        refused = refusal(body, status=status, api_key=api_key)
        refused.extra |= named
        return refused
    if status in (401, 403):
        return UpstreamCredentialsError(
            "The upstream refused PixyProxy's own key (OPENAI_API_KEY), not yours: "
            "the operator of this service must fix it.",
            extra=known,
        )
    if status == 429 or (status == 503 and "retry-after" in error.response.headers):
        if code == "insufficient_quota":
            return UpstreamUnavailableError(
                "The quota of PixyProxy's own upstream account is used up.", retry_after=MAX_RETRY_AFTER, extra=known
            )
        return UpstreamUnavailableError(
            "The upstream asks to wait; nothing was drawn.",
            retry_after=retry_after_of(error.response.headers.get("retry-after")),
            extra=known,
        )
    if status == 404 or 300 <= status < 400:
        return UpstreamAddressError(
            f"The upstream answered {status}: OPENAI_BASE_URL does not lead to an Images API.", extra=known
        )
    return UpstreamError(f"The upstream failed with status {status}.", extra=known)


def stream_error(error: Mapping[str, Any], *, drawn: bool, api_key: str) -> PixyProxyException:
    """The exception for an error inside an event stream. `drawn`: whether a partial image came before it.

    Such an error has no status. If it blames the request before anything is drawn, it is a refusal, like a 400. The
    cost of any other error is unknown.
    """
    known = words_of(error, api_key=api_key)
    blames_the_request = known.get("upstream_type") in REFUSALS or known.get("upstream_code") == "moderation_blocked"
    if blames_the_request and not drawn:
        return refusal(error, status=400, api_key=api_key)
    message = reason(error, api_key=api_key)
    return UpstreamError(
        "The upstream failed while it was drawing. It may have billed.",
        extra=known | ({"upstream_message": message} if message else {}),
    )


def refusal(error: Mapping[str, Any], *, status: int, api_key: str) -> UpstreamRefusedError:
    """A refusal with the upstream's own words, which our OpenAI dialect repeats."""
    message = reason(error, api_key=api_key)
    return UpstreamRefusedError(
        f"The upstream refused the request: {message or f'status {status}, without a reason.'}",
        extra={
            "upstream_status": status,
            **words_of(error, api_key=api_key),
            **({"upstream_message": message} if message else {}),
        },
    )


def words_of(error: Mapping[str, Any], *, api_key: str) -> dict[str, Any]:
    """The `type`, `code` and `param` of an OpenAI error, if they are words. Some gateways send a number as the code."""
    found = {name: str(error[name]) if type(error.get(name)) is int else error.get(name) for name in WORDS}
    return {
        f"upstream_{name}": value
        for name, value in found.items()
        if isinstance(value, str) and re.fullmatch(WORDS[name], value) and api_key not in value
    }


def request_named(value: str | None, *, api_key: str) -> dict[str, str]:
    """The upstream's name for the request, if it is a word."""
    found = value is not None and re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value) and api_key not in value
    return {"upstream_request_id": value} if found and value else {}


def reason(error: Mapping[str, Any], *, api_key: str) -> str | None:
    """The message of an OpenAI error, printable, of bounded length and without our key; None if it has none."""
    message = error.get("message")
    if not isinstance(message, str) or not message.strip():
        return None
    readable = message.encode("utf-8", "replace").decode().replace(api_key, "[key]")
    readable = "".join(character if character.isprintable() else " " for character in readable)
    return readable[:MAX_REASON]


def retry_after_of(value: str | None) -> int:
    """Seconds of a Retry-After header, within bounds; its date form is not used by the upstreams we know."""
    seconds = int(value) if value and re.fullmatch(r"[0-9]{1,6}", value) else DEFAULT_RETRY_AFTER
    return min(max(seconds, 1), MAX_RETRY_AFTER)
