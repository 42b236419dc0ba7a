"""What is kept of the upstream's own errors: its words, within bounds and without our key."""

import json
from typing import Any

import pytest

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAddressError,
    UpstreamCredentialsError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    error_from_document,
)
from tests.raw_upstream import Connection, drawing

pytestmark = pytest.mark.anyio

KEY = "sk-x"
"""The key of the client that draws."""
MODERATED = {
    "message": "Your request was rejected by the safety system.",
    "type": "image_generation_user_error",
    "param": None,
    "code": "moderation_blocked",
}


async def refused(error: Any, *, status: int = 400, headers: str = "") -> PixyProxyException:
    """What an answer with this status and this `error` becomes."""

    async def answers(connection: Connection, number: int) -> None:
        body = json.dumps({"error": error}).encode()
        await connection.send(
            f"HTTP/1.1 {status} No\r\nContent-Type: application/json\r\n{headers}".encode(),
            b"Content-Length: %d\r\n\r\n" % len(body),
            body,
        )

    async with drawing(answers) as (upstream, drawer):
        with pytest.raises(PixyProxyException) as caught:
            await drawer.draw()
    assert len(upstream.requests) == 1
    return caught.value


async def test_a_refusal_keeps_the_upstreams_own_words() -> None:
    error = await refused(MODERATED)
    assert type(error) is UpstreamRefusedError
    assert error.detail == f"The upstream refused the request: {MODERATED['message']}"
    assert error.extra == {
        "upstream_status": 400,
        "upstream_type": "image_generation_user_error",
        "upstream_code": "moderation_blocked",
        "upstream_message": MODERATED["message"],
    }


async def test_the_words_of_a_refusal_are_recorded_and_come_back() -> None:
    error = await refused({"message": "Bad size.", "type": "invalid_request_error", "param": "size", "code": None})
    assert error.extra["upstream_param"] == "size"
    assert error_from_document(error.document()).extra == error.extra


@pytest.mark.parametrize(
    "odd",
    [
        {"type": {"a": 1}, "code": 4.5, "param": ["size"]},
        {"type": "a sentence, not a word", "code": "x" * 65, "param": "a\nb"},
        {"type": KEY, "code": f"not.{KEY}", "param": f"{KEY}[0]"},
        {"type": "", "code": "", "param": ""},
    ],
)
async def test_what_is_no_word_is_left_out(odd: dict[str, Any]) -> None:
    error = await refused({"message": "No.", **odd})
    assert type(error) is UpstreamRefusedError
    assert error.extra == {"upstream_status": 400, "upstream_message": "No."}


async def test_the_number_that_some_gateways_send_as_a_code_is_kept_as_a_word() -> None:
    error = await refused({"message": "No.", "type": "None", "code": 400})
    assert (error.extra["upstream_code"], error.extra["upstream_type"]) == ("400", "None")


async def test_a_message_is_kept_readable_bounded_and_without_our_key() -> None:
    error = await refused({"message": f"Bad\x1b[31m\r\nthing {KEY} \ud800" + "x" * 5000})
    message = error.extra["upstream_message"]
    assert message.isprintable()
    assert message.startswith("Bad [31m  thing [key] ?xxx")
    assert len(message) == 1000


@pytest.mark.parametrize("error", [None, "no", [], {}, {"message": 7}, {"message": "  "}])
async def test_a_refusal_without_words_is_a_refusal_too(error: Any) -> None:
    caught = await refused(error, status=422)
    assert type(caught) is UpstreamRefusedError
    assert caught.detail == "The upstream refused the request: status 422, without a reason."
    assert caught.extra == {"upstream_status": 422}


LIMITED = {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded", "param": None}
WORDS = {"upstream_type": "requests", "upstream_code": "rate_limit_exceeded"}
OTHERS: dict[str, tuple[int, dict[str, Any], type[PixyProxyException]]] = {
    "rate limit": (429, LIMITED, UpstreamUnavailableError),
    "quota": (429, {**LIMITED, "code": "insufficient_quota"}, UpstreamUnavailableError),
    "failure": (500, LIMITED, UpstreamError),
    "wrong address": (404, LIMITED, UpstreamAddressError),
    "wrong key": (401, LIMITED, UpstreamCredentialsError),
}


@pytest.mark.parametrize(("status", "body", "kind"), OTHERS.values(), ids=OTHERS.keys())
async def test_other_errors_keep_the_words_but_not_the_message(
    status: int, body: dict[str, Any], kind: type[PixyProxyException]
) -> None:
    error = await refused(body, status=status)
    assert type(error) is kind
    assert error.extra == {"upstream_status": status, **WORDS, "upstream_code": body["code"]}
