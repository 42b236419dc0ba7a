"""Errors below /v1: the shape, the status, the code, and what a client may repeat."""

import json
import logging
import socket
from typing import Any

import httpx2
import openai
import pytest
from starlette.types import Receive, Scope, Send

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    GenerationInterruptedError,
    InternalError,
    PixyProxyException,
    StorageUnavailableError,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import GenerationState
from pixyproxy.service.keys import new_key
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.web.app import DIALECTS
from pixyproxy.web.log.request_log import RequestLog
from tests import planted
from tests.listening import listening
from tests.openai_stage import sdk
from tests.stage import Stage

pytestmark = pytest.mark.anyio
URL = "/v1/images/generations"
BODY = {"prompt": planted.PROMPT}


async def refused(stage: Stage, *, status: int, method: str = "POST", url: str = URL, **request: Any) -> Any:
    """The error of a request, and its answer."""
    key = request.pop("key", True)
    async with stage.client(key=key) as client:
        answer = await client.request(method, url, **request)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    assert set(answer.json()) == {"error"}
    assert set(answer.json()["error"]) == {"message", "type", "param", "code", "pixyproxy"}
    return answer.json()["error"], answer


RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no prompt": ({"prompt": None}, "prompt", "missing_required_parameter"),
    "an empty prompt": ({"prompt": " "}, "prompt", "invalid_value"),
    "a prompt of another type": ({"prompt": 1}, "prompt", "invalid_value"),
    "a prompt that is too long": ({"prompt": "x" * 32_001}, "prompt", "invalid_value"),
    "an unknown field": ({"colour": "red"}, "colour", "unknown_parameter"),
    "an odd unknown field": ({"a/b~c": 1}, "a/b~c", "unknown_parameter"),
    "n of 0": ({"n": 0}, "n", "invalid_value"),
    "n of 11": ({"n": 11}, "n", "invalid_value"),
    "n as text": ({"n": "2"}, "n", "invalid_value"),
    "a size that is no word": ({"size": "a b"}, "size", "invalid_value"),
    "a background of another name": ({"background": "red"}, "background", "invalid_value"),
    "gif": ({"output_format": "gif"}, "output_format", "unsupported_value"),
    "svg": ({"output_format": "svg"}, "output_format", "unsupported_value"),
    "frames": ({"frame_count": 4}, "frame_count", "unsupported_parameter"),
    "the time of frames": ({"frame_duration_ms": 40}, "frame_duration_ms", "unsupported_parameter"),
    "the author of svg": ({"svg": {"model": "x"}}, "svg", "unsupported_parameter"),
    "an output_compression of 101": ({"output_compression": 101}, "output_compression", "invalid_value"),
    "4 partial images": ({"partial_images": 4}, "partial_images", "invalid_value"),
    "stream as text": ({"stream": "true"}, "stream", "invalid_value"),
    "a stream of two": ({"stream": True, "n": 2}, "n", "invalid_value"),
    "another response_format": ({"response_format": "binary"}, "response_format", "invalid_value"),
    "another style": ({"style": "baroque"}, "style", "invalid_value"),
}


@pytest.mark.parametrize(("change", "param", "code"), RULES.values(), ids=RULES.keys())
async def test_a_broken_rule_is_a_400_that_names_the_parameter(change: dict[str, Any], param: str, code: str) -> None:
    stage = Stage()
    error, answer = await refused(stage, status=400, json={**BODY, **change})
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert param in error["message"]
    assert "x-should-retry" not in answer.headers
    assert stage.generations.generations == {}


BODIES: dict[str, tuple[bytes, str, int, str]] = {
    "broken": (b'{"prompt": ', "application/json", 400, "malformed_request"),
    "too deep": (b"[" * 100_000, "application/json", 400, "malformed_request"),
    "no object": (b"[]", "application/json", 400, "malformed_request"),
    "not UTF-8": (b'{"prompt": "\xff"}', "application/json", 400, "malformed_request"),
    "half a surrogate": (b'{"prompt": "\\ud800"}', "application/json", 400, "malformed_request"),
    "NaN": (b'{"prompt": "a dot", "n": NaN}', "application/json", 400, "malformed_request"),
    "nothing": (b"", "application/json", 400, "malformed_request"),
    "a form": (b"prompt=x", "application/x-www-form-urlencoded", 400, "unsupported_media_type"),
    "too large": (b"x" * (1024 * 1024 + 1), "application/json", 413, "payload_too_large"),
}


@pytest.mark.parametrize(("content", "media_type", "status", "code"), BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_cannot_be_read_is_refused(content: bytes, media_type: str, status: int, code: str) -> None:
    error, _ = await refused(Stage(), status=status, content=content, headers={"Content-Type": media_type})
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"])
async def test_json_is_known_by_its_media_type(media_type: str) -> None:
    async with Stage().client() as client:
        answer = await client.post(URL, content=b'{"prompt": "a dot"}', headers={"Content-Type": media_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("POST", "/v1/responses"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/responses"),
        ("GET", "/v1"),
        ("POST", "/v1/images/variations"),
        ("DELETE", "/v1/files/x"),
    ],
)
async def test_any_other_url_says_what_this_is(method: str, url: str) -> None:
    error, _ = await refused(Stage(), status=404, method=method, url=url, key=False)
    assert error["message"].startswith(f"Invalid URL ({method} {url}). This is PixyProxy")
    assert (error["type"], error["code"]) == ("invalid_request_error", "unknown_url")


async def test_another_method_is_a_405_that_names_the_methods() -> None:
    error, answer = await refused(Stage(), status=405, method="GET", url=URL)
    assert (error["code"], answer.headers["allow"]) == ("method_not_allowed", "POST")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-other"}, {"api-key": "sk-other"}])
async def test_a_wrong_key_is_a_401(headers: dict[str, str]) -> None:
    for method, url in (("POST", URL), ("GET", "/v1/models"), ("GET", "/v1/models/gpt-image-2")):
        error, answer = await refused(Stage(), status=401, method=method, url=url, key=False, headers=headers)
        assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_model_that_is_not_listed_is_a_404() -> None:
    stage = Stage(models=ModelCatalogue("gpt-image-2", others=["gpt-image-1.5"]))
    error, _ = await refused(stage, status=404, json={**BODY, "model": "dall-e-3"})
    assert (error["param"], error["code"], error["type"]) == ("model", "model_not_found", "invalid_request_error")
    assert "dall-e-3" in error["message"]
    async with stage.client() as client:
        assert (await client.post(URL, json={**BODY, "model": "gpt-image-1.5"})).status_code == 200


FREE: dict[str, tuple[PixyProxyException, int, str, str | None]] = {
    "storage": (StorageUnavailableError("no", retry_after=300), 503, "storage_unavailable", "60"),
    "upstream": (UpstreamUnavailableError("no", retry_after=20), 503, "upstream_unavailable", "20"),
    "rate limit": (
        UpstreamUnavailableError("no", retry_after=3600, extra={"upstream_status": 429}),
        429,
        "rate_limit_exceeded",
        "60",
    ),
    "credentials": (UpstreamCredentialsError("no"), 502, "upstream_credentials", None),
    "address": (UpstreamAddressError("no"), 502, "upstream_address", None),
}


@pytest.mark.parametrize(("failure", "status", "code", "retry_after"), FREE.values(), ids=FREE.keys())
async def test_what_cost_nothing_says_when_to_come_again(
    failure: PixyProxyException, status: int, code: str, retry_after: str | None
) -> None:
    stage = Stage()
    stage.generator.failure = failure
    error, answer = await refused(stage, status=status, json=BODY)
    assert (error["code"], error["pixyproxy"]["cost"]) == (code, "none")
    assert error["type"] == ("rate_limit_exceeded" if status == 429 else "server_error")
    assert answer.headers.get("retry-after") == retry_after
    assert answer.headers.get("x-should-retry") == ("false" if status == 502 else None)


PAID: dict[str, PixyProxyException] = {
    "deadline": UpstreamDeadlineError("late"),
    "answer": UpstreamAnswerError("no picture"),
    "failed": UpstreamError("failed"),
    "lost": UpstreamUnknownOutcomeError("lost"),
    "ours": InternalError("ours"),
}


@pytest.mark.parametrize("failure", PAID.values(), ids=PAID.keys())
async def test_what_may_have_been_billed_is_never_repeated_and_names_the_generation(
    failure: PixyProxyException,
) -> None:
    stage = Stage()
    stage.generator.failure = failure
    error, answer = await refused(stage, status=424, json=BODY)
    (generation,) = stage.generations.generations.values()
    assert (error["type"], error["code"]) == ("server_error", failure.name.replace("-", "_"))
    assert str(generation.guid) in error["message"]
    assert error["pixyproxy"] == {
        "problem": failure.name,
        "generation": str(generation.guid),
        "cost": failure.cost,
    }
    assert (answer.headers["x-should-retry"], answer.headers.get("retry-after")) == ("false", None)


async def test_a_replay_of_what_may_have_been_billed_is_not_repeated_either() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamDeadlineError("late")
    once = {"Idempotency-Key": "once"}
    await refused(stage, status=424, json=BODY, headers=once)
    error, answer = await refused(stage, status=424, json=BODY, headers=once)
    assert (error["code"], answer.headers["idempotent-replayed"]) == ("outcome_unknown", "true")
    (generation,) = stage.generations.generations.values()
    assert str(generation.guid) in error["message"]
    other, _ = await refused(stage, status=400, json={"prompt": "other"}, headers=once)
    assert other["code"] == "idempotency_key_reused"
    assert len(stage.generator.requests) == 1


async def test_an_interrupted_generation_is_named_at_its_replay() -> None:
    stage = Stage()
    once = {"Idempotency-Key": "once"}
    stage.generator.failure = UpstreamError("failed")
    await refused(stage, status=424, json=BODY, headers=once)
    (generation,) = stage.generations.generations.values()
    error = GenerationInterruptedError().document()
    stage.generations.generations[generation.guid] = generation.model_copy(
        update={"state": GenerationState.FAILED, "error": error}
    )
    replayed, _ = await refused(stage, status=424, json=BODY, headers=once)
    assert str(generation.guid) in replayed["message"]


async def test_the_deleted_picture_of_a_key_is_a_410() -> None:
    stage = Stage()
    once = {"Idempotency-Key": "once"}
    async with stage.client() as client:
        drawn = await client.post(URL, json=BODY, headers=once)
        guid = drawn.json()["data"][0]["pixyproxy"]["guid"]
        assert (await client.delete(f"/image/{guid}")).status_code == 204
    error, _ = await refused(stage, status=410, json=BODY, headers=once)
    assert (error["code"], error["type"]) == ("image_deleted", "invalid_request_error")


@pytest.mark.parametrize(
    ("extra", "status", "kind", "code", "param"),
    [
        (
            {
                "upstream_status": 400,
                "upstream_type": "image_generation_user_error",
                "upstream_code": "moderation_blocked",
                "upstream_message": "Your request was rejected by the safety system.",
            },
            400,
            "image_generation_user_error",
            "moderation_blocked",
            None,
        ),
        ({"upstream_status": 404, "upstream_code": "model_not_found"}, 404, None, "model_not_found", None),
        ({"upstream_status": 422, "upstream_param": "size", "upstream_code": "x"}, 422, None, "x", "size"),
        ({"upstream_status": 409}, 400, None, None, None),
        ({"upstream_status": 200}, 400, None, None, None),
        ({}, 400, None, None, None),
    ],
)
async def test_what_the_upstream_refuses_stays_its_own_error(
    extra: dict[str, Any], status: int, kind: str | None, code: str | None, param: str | None
) -> None:
    stage = Stage()
    stage.generator.failure = UpstreamRefusedError("The upstream refused: it is too large.", extra=extra)
    error, answer = await refused(stage, status=status, json=BODY)
    assert (error["type"], error["code"], error["param"]) == (kind or "invalid_request_error", code, param)
    assert error["message"].startswith(extra.get("upstream_message", "The upstream refused: it is too large."))
    assert "retry-after" not in answer.headers


async def test_what_fails_before_anything_is_spent_may_be_sent_again() -> None:
    stage = Stage()
    stage.readiness.announce_end()
    stage.readiness.ending.set()
    error, answer = await refused(stage, status=503, json=BODY)
    assert (error["code"], answer.headers["retry-after"]) == ("shutting_down", "5")
    full = Stage(maximum=0)
    error, _ = await refused(full, status=503, json=BODY)
    assert error["code"] == "too_many_generations"
    down = Stage()
    down.key_records.failure = DatabaseUnavailableError("down")
    headers = {"Authorization": f"Bearer {new_key()}"}
    error, _ = await refused(down, status=503, json=BODY, headers=headers)
    assert (error["code"], error["pixyproxy"]["cost"]) == ("database_unavailable", "none")


async def test_a_fault_of_ours_has_the_same_shape(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ModelCatalogue):
        @property
        def names(self) -> tuple[str, ...]:
            raise ZeroDivisionError

        @names.setter
        def names(self, value: tuple[str, ...]) -> None:
            pass

    with caplog.at_level(logging.CRITICAL):
        error, _ = await refused(Stage(models=Broken("x")), status=500, method="GET", url="/v1/models")
    assert (error["type"], error["code"]) == ("server_error", "internal_error")


async def test_what_leaves_the_application_has_the_shape_of_its_dialect(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    stage.app.app = broken
    with caplog.at_level(logging.CRITICAL):
        error, _ = await refused(stage, status=500, method="GET", url="/v1/models")
        paid, answer = await refused(stage, status=424, json=BODY)
        async with stage.client() as client:
            own = await client.get("/image")
    assert (error["code"], paid["code"], answer.headers["x-should-retry"]) == (
        "internal_error",
        "internal_error",
        "false",
    )
    assert (own.status_code, own.headers["content-type"]) == (500, "application/problem+json")


async def test_a_picture_that_was_drawn_and_cannot_be_read_back_is_paid_for() -> None:
    stage = Stage()

    async def fail(_: str) -> None:
        raise StorageUnavailableError("The storage does not answer.")

    stage.storage.before_open = fail
    error, answer = await refused(stage, status=424, json=BODY)
    (generation,) = stage.generations.generations.values()
    assert (error["code"], answer.headers["x-should-retry"]) == ("storage_unavailable", "false")
    assert str(generation.guid) in error["message"]
    async with stage.client() as client:
        assert (await client.post(URL, json={**BODY, "response_format": "url"})).status_code == 200


async def test_pictures_that_wait_for_the_storage_are_paid_for_and_no_empty_success() -> None:
    stage = Stage(patience=0)
    stage.storage.put_failure = StorageUnavailableError("down")
    error, answer = await refused(stage, status=424, json=BODY)
    (generation,) = stage.generations.generations.values()
    assert generation.state is GenerationState.RUNNING
    assert str(generation.guid) in error["message"]
    assert (error["pixyproxy"]["cost"], answer.headers["x-should-retry"]) == ("billed", "false")


async def test_with_an_idempotency_key_they_are_asked_for_again() -> None:
    stage = Stage(patience=0)
    stage.storage.put_failure = StorageUnavailableError("down")
    error, answer = await refused(stage, status=503, json=BODY, headers={"Idempotency-Key": "once"})
    assert (error["code"], answer.headers["retry-after"]) == ("generation_running", "2")
    assert "x-should-retry" not in answer.headers


def test_the_sdk_raises_the_exceptions_that_its_users_know() -> None:
    stage = Stage()
    refusal = {
        "upstream_status": 400,
        "upstream_type": "image_generation_user_error",
        "upstream_code": "moderation_blocked",
    }
    with sdk(stage) as client:

        def error_of(failure: Exception | None = None, **parameters: Any) -> openai.APIStatusError:
            stage.generator.failure = failure
            with pytest.raises(openai.APIStatusError) as caught:
                client.images.generate(prompt=planted.PROMPT, **parameters)
            assert caught.value.request_id
            return caught.value

        moderated = error_of(UpstreamRefusedError("blocked", extra=refusal))
        assert isinstance(moderated, openai.BadRequestError)
        assert (moderated.code, moderated.type) == ("moderation_blocked", "image_generation_user_error")
        many = error_of(n=11)
        assert isinstance(many, openai.BadRequestError)
        assert (many.code, many.param, many.type) == ("invalid_value", "n", "invalid_request_error")
        unknown = error_of(extra_body={"colour": "red"})
        assert (unknown.code, unknown.param) == ("unknown_parameter", "colour")
        assert isinstance(error_of(model="dall-e-3"), openai.NotFoundError)
        late = error_of(UpstreamDeadlineError("late"))
        assert (late.status_code, late.code) == (424, "upstream_deadline")
        assert isinstance(error_of(UpstreamUnavailableError("busy")), openai.InternalServerError)
        limited = error_of(UpstreamUnavailableError("busy", extra={"upstream_status": 429}))
        assert isinstance(limited, openai.RateLimitError)
        with pytest.raises(openai.AuthenticationError) as wrong:
            client.with_options(api_key="sk-other").images.generate(prompt=planted.PROMPT)
        assert wrong.value.code == "invalid_api_key"
        with pytest.raises(openai.NotFoundError):
            client.responses.create(model="gpt-5", input="hello")


# --- What the server itself refuses


def raw(address: str, sent: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and document of the answer to these bytes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(sent)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return (
        int(status.split()[1]),
        {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)},
        json.loads(body),
    )


MANY = b"".join(b"X-%d: y\r\n" % number for number in range(300))


@pytest.mark.parametrize("path", [b"/v1/images/generations", b"//v1//models", b"/v1/models?api-version=1"])
@pytest.mark.parametrize(
    ("rest", "status", "code"),
    [
        (b" HTTP/1.1\r\nHost: x\r\n" + MANY, 431, "header_too_large"),
        (b" HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b" HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400, "malformed_request"),
        (b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: br\r\n\r\n", 501, "not_implemented"),
    ],
)
def test_what_the_server_refuses_below_v1_has_openai_s_shape(path: bytes, rest: bytes, status: int, code: str) -> None:
    with listening(Stage().app) as address:
        found, headers, document = raw(address, b"POST " + path + rest)
    assert (found, document["error"]["code"]) == (status, code)
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert headers["x-request-id"]


@pytest.mark.parametrize("sent", [b"no HTTP\r\n\r\n", b"GET /image HTTP/1.1\r\n\r\n"])
def test_what_the_server_refuses_elsewhere_is_a_problem(sent: bytes) -> None:
    with listening(Stage().app) as address:
        status, headers, document = raw(address, sent)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert document["request_id"] == headers["x-request-id"]


async def test_the_last_resort_speaks_openai_s_shape_with_slashes_too_many() -> None:
    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    app = RequestLog(fails, dialects=DIALECTS)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("http://x//v1//models")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


@pytest.mark.parametrize("megabytes", [1, 20])
def test_a_client_that_sends_its_whole_upload_before_it_reads_still_gets_its_401(megabytes: int) -> None:
    body = bytes(megabytes * 1024 * 1024)
    head = b"POST /v1/images/edits HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with listening(Stage().app) as address:
        status, _, document = raw(address, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (status, document["error"]["code"]) == (401, "invalid_api_key")
