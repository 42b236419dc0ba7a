"""/mcp over HTTP: keys, methods, bodies that no client of the SDK sends, the log, and the setting."""

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp.server.lowlevel import Server
from sse_starlette.sse import AppStatus
from starlette.types import Message

from pixyproxy.web.app import DIALECTS, MCP_DIALECT, create_app
from pixyproxy.web.log.format import TextFormatter
from pixyproxy.web.mcp.sending import EVENT, AnswerSender
from tests import planted
from tests.listening import listening
from tests.mcp_client import call, mcp_client, request
from tests.servers import wait_until
from tests.stage import BASE_URL, KEY, Stage

pytestmark = pytest.mark.anyio
BOTH = {"Accept": "application/json, text/event-stream"}
JSON = {"Content-Type": "application/json"}
NEW = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
"""What `_meta` of a request has since the revision of 2026."""


VERSIONS = (None, "2025-11-25", "2026-07-28", "1999-01-01")


async def post(stage: Stage, body: object, **headers: str) -> httpx2.Response:
    """The answer to a message."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with stage.client() as client:
        return await client.post("/mcp", content=content, headers={**BOTH, **JSON, **headers})


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer pxp_wrong"}, {"X-API-Key": "pxp_wrong"}, {**KEY, "Authorization": "Basic x"}],
)
async def test_nobody_gets_in_without_a_valid_key(headers: dict[str, str]) -> None:
    stage = Stage()
    async with stage.client(key=False) as client:
        answer = await client.post("/mcp", json=request("tools/list"), headers={**BOTH, **headers})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["data"]["type"] == "urn:pixyproxy:problem:unauthorized"
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("headers", [KEY, {"X-API-Key": planted.API_KEY}])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_the_key_may_come_in_either_header(headers: dict[str, str], path: str) -> None:
    async with Stage().client(key=False) as client:
        answer = await client.post(path, json=request("tools/list"), headers={**BOTH, **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert len(answer.json()["result"]["tools"]) == 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT"])
async def test_other_methods_are_refused_for_there_are_no_sessions(method: str) -> None:
    async with Stage().client() as client:
        answer = await client.request(method, "/mcp", headers=BOTH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_an_unknown_path_below_it_is_a_404_in_json_rpc() -> None:
    async with Stage().client() as client:
        answer = await client.get("/mcp/sse")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, -32600)


async def test_without_its_dialect_the_path_is_a_404() -> None:
    stage = Stage()
    others = tuple(each for each in DIALECTS if each is not MCP_DIALECT)
    app = create_app(stage.services, version="test", dialects=others)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE_URL, headers=KEY) as client:
        answer = await client.post("/mcp", json=request("tools/list"), headers=BOTH)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("public_url", "origins", "status"),
    [
        (None, [BASE_URL], 200),
        (None, [f"{BASE_URL}:80"], 200),
        (None, ["http://evil.example"], 403),
        (None, [BASE_URL.replace("http", "https")], 403),
        (None, [f"{BASE_URL}:8000"], 403),
        (None, [f"{BASE_URL}.evil.example"], 403),
        (None, ["null"], 403),
        (None, [""], 403),
        (None, ["http://[::1"], 403),
        (None, [f"{BASE_URL}:99999"], 403),
        (None, [BASE_URL, "http://evil.example"], 403),
        ("https://pictures.example/pixy", ["https://pictures.example"], 200),
        ("https://pictures.example/pixy", [BASE_URL], 403),
    ],
)
async def test_pages_of_other_origins_are_refused(public_url: str | None, origins: list[str], status: int) -> None:
    stage = Stage(public_url=public_url)
    headers = [*BOTH.items(), *(("Origin", origin) for origin in origins)]
    async with stage.client() as client:
        answer = await client.post("/mcp", json=call("generate_image", prompt="a dot"), headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert (answer.json()["id"], answer.json()["error"]["code"]) == (None, -32600)
        assert answer.json()["error"]["data"]["type"] == "urn:pixyproxy:problem:origin-not-allowed"
    assert len(stage.generator.requests) == (status == 200)


async def test_no_origin_gets_in_without_a_key() -> None:
    async with Stage().client(key=False) as client:
        answer = await client.post("/mcp", json=request("tools/list"), headers={**BOTH, "Origin": BASE_URL})
    assert answer.status_code == 401


def test_what_is_used_of_the_sdk_inside_is_declared_and_bounded() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", each)[0]: each for each in project["dependencies"]}  # type: ignore[index]
    assert "sse-starlette" in declared
    minor = ".".join(metadata.version("mcp").split(".")[:2])
    assert re.search(rf">={minor}\b", declared["mcp"])
    assert re.search(rf"<{minor.split('.')[0]}\.{int(minor.split('.')[1]) + 1}$", declared["mcp"])


async def test_the_internals_of_the_sdk_that_are_used_are_as_expected() -> None:
    assert [type(each).__name__ for each in Server("any").middleware] == ["OpenTelemetryMiddleware"]
    assert isinstance(AppStatus.enable_automatic_graceful_drain, bool)
    for protocol_version in ("2025-11-25", "2026-07-28"):
        message = call("generate_image", prompt="a dot")
        message["params"]["_meta"] = {**NEW, "progressToken": 1}
        headers = {"Mcp-Method": "tools/call", "Mcp-Name": "generate_image", "MCP-Protocol-Version": protocol_version}
        answer = await post(Stage(), message, **headers)
        events = [event for event in answer.content.split(b"\r\n\r\n") if event and not event.startswith(b":")]
        assert len(events) >= 2
        assert all(event.startswith(EVENT) for event in events), events


def test_the_sdk_is_not_loaded_before_somebody_asks() -> None:
    code = "import sys, pixyproxy.bootstrap.app; print([name for name in sys.modules if name.startswith('mcp')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "ping\xff"}',
    "a lone surrogate": rb'{"jsonrpc": "2.0", "id": 1, "method": "\ud800"}',
    "NaN": b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}',
    "a deep list": b"[" * 100_000,
    "deep parameters": b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": '
    + b'{"a":' * 50_000
    + b"1"
    + b"}" * 50_000,
    "a long number": b'{"jsonrpc": "2.0", "id": ' + b"9" * 100_000 + b', "method": 1}',
    "a text": b'"ping"',
    "null": b"null",
    "a batch": json.dumps([request("ping"), request("ping")]).encode(),
    "an empty batch": b"[]",
    "another version": b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
    "no version": b'{"id": 1, "method": "ping"}',
    "no method": b'{"jsonrpc": "2.0", "id": 1}',
    "a method of no text": b'{"jsonrpc": "2.0", "id": 1, "method": {}}',
    "an id of null": b'{"jsonrpc": "2.0", "id": null, "method": "ping"}',
    "an id that is a list": b'{"jsonrpc": "2.0", "id": [], "method": "ping"}',
    "an id that is true": b'{"jsonrpc": "2.0", "id": true, "method": "ping"}',
    "parameters in a list": b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": []}',
    "an answer": b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_is_no_message_is_a_400_that_quotes_nothing(body: bytes) -> None:
    stage = Stage()
    for version in VERSIONS:
        headers = {} if version is None else {"MCP-Protocol-Version": version}
        answer = await post(stage, body, **headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["data"]["type"] == "urn:pixyproxy:problem:malformed-request"
        assert len(answer.content) < 1000


STRANGE: dict[str, dict[str, Any]] = {
    "a call of nothing": request("tools/call"),
    "a call of a number": request("tools/call", name=5),
    "arguments in a list": request("tools/call", name="get_image", arguments=[]),
    "arguments of null": request("tools/call", name="get_image", arguments=None),
    "a token of a list": request("tools/call", name="get_image", arguments={}, _meta={"progressToken": []}),
    "meta of no object": request("tools/list", _meta=5),
    "an unknown method": request("tools/burn"),
    "a method with a line break": request("a\nREQUEST END"),
    "a number in the arguments": call("get_image", guid=10**30),
    "an empty introduction": request("initialize"),
    "a subscription": request("subscriptions/listen"),
    "a log level": request("logging/setLevel", level="debug"),
    "an unknown notification": {"jsonrpc": "2.0", "method": "notifications/burn"},
    "a cancellation of another": {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 1},
    },
    "a cancellation of nothing": {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": []}},
}


@pytest.mark.parametrize("message", STRANGE.values(), ids=STRANGE.keys())
async def test_a_strange_message_is_never_a_fault_of_ours(message: dict[str, Any]) -> None:
    stage, params = Stage(), message.get("params", {})
    for version in VERSIONS:
        headers = {} if version is None else {"MCP-Protocol-Version": version}
        for sent in (message, {**message, "params": {"_meta": NEW, **params}}):
            answer = await post(stage, sent, **headers)
            assert answer.status_code < 500, answer.text
            assert b"internal" not in answer.content.lower()


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/plain"}, 415), ({"Content-Type": ""}, 415), ({"Accept": "text/html"}, 406)],
)
async def test_other_types_are_refused(headers: dict[str, str], status: int) -> None:
    answer = await post(Stage(), request("ping"), **headers)
    assert answer.status_code == status


async def test_a_body_that_is_too_large_is_a_413() -> None:
    stage = Stage()
    answer = await post(stage, call("generate_image", prompt="x" * 1024 * 1024))
    assert (answer.status_code, answer.json()["error"]["data"]["status"]) == (413, 413)
    assert stage.generator.requests == []


async def test_a_client_that_takes_no_events_gets_its_picture_as_json() -> None:
    stage = Stage()
    answer = await post(stage, call("generate_image", prompt="a dot"), Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["structuredContent"]["state"] == "succeeded"


async def test_a_client_of_before_links_gets_none() -> None:
    stage = Stage()
    kinds = {}
    for version in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"):
        headers = {"MCP-Protocol-Version": version, "Accept": "application/json"}
        answer = await post(stage, call("generate_image", prompt=f"a dot of {version}"), **headers)
        kinds[version] = [block["type"] for block in answer.json()["result"]["content"]]
    assert kinds == {
        "2024-11-05": ["text"],
        "2025-03-26": ["text"],
        "2025-06-18": ["text", "resource_link"],
        "2025-11-25": ["text", "resource_link"],
    }


@contextmanager
def own_lines() -> Iterator[io.StringIO]:
    """What is logged while the block runs, as in production."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(TextFormatter())
    logging.getLogger().addHandler(handler)
    try:
        yield lines
    finally:
        logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_the_log_has_two_lines_with_tool_and_caller_and_no_prompt(version: str) -> None:
    stage = Stage()
    message = call("generate_image", prompt=planted.PROMPT, colour=planted.PROMPT)
    message["params"]["_meta"] = NEW
    headers = {"Mcp-Method": "tools/call", "Mcp-Name": "generate_image", "MCP-Protocol-Version": version}
    with own_lines() as lines:
        wrong = await post(stage, message, **headers)
        del message["params"]["arguments"]["colour"]
        right = await post(stage, message, **headers)
    assert (wrong.status_code, right.status_code) == (200, 200)
    logged = lines.getvalue()
    assert planted.PROMPT not in logged
    ends = [line for line in logged.splitlines() if "REQUEST END POST /mcp 200" in line]
    assert "caller=PIXYPROXY_API_KEY mcp=tools/call tool=generate_image problem=invalid-request" in ends[0]
    assert ends[1].endswith("caller=PIXYPROXY_API_KEY mcp=tools/call tool=generate_image")
    assert logged.count("REQUEST START POST /mcp") == len(ends) == 2
    assert right.headers["x-request-id"] in ends[1]


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_client_that_leaves_in_the_middle_finds_its_picture_and_its_next_call_joins_it(version: str) -> None:
    stage, released = Stage(), threading.Event()
    stage.generator.before = lambda: asyncio.to_thread(released.wait, 60)
    message = call("generate_image", prompt=planted.PROMPT)
    message["params"]["_meta"] = {**NEW, "progressToken": 1}
    headers = {"Mcp-Method": "tools/call", "Mcp-Name": "generate_image", "MCP-Protocol-Version": version}

    def is_marked() -> None:
        assert stage.generations.abandoned

    with listening(stage.app) as url, own_lines() as lines:
        async with httpx2.AsyncClient(headers={**KEY, **BOTH, **headers}, timeout=20) as client:
            async with client.stream("POST", f"{url}/mcp", json=message) as answer:
                assert b"has begun" in await anext(aiter(answer.aiter_bytes()))
            wait_until(is_marked, seconds=20, what="the mark that the client has left")
            released.set()
            again = await client.post(f"{url}/mcp", json=message, headers={"Accept": "application/json"})
        async with mcp_client(url) as client_of_sdk:
            listed = await client_of_sdk.call_tool("list_images", {"q": planted.PROMPT})
    assert len(stage.generator.requests) == len(stage.generations.generations) == 1
    (image,) = listed.structured_content["images"]
    assert again.json()["result"]["structuredContent"]["images"] == [image]
    logged = lines.getvalue()
    assert "ERROR" not in logged.replace("uvicorn.error", "")
    (left,) = [line for line in logged.splitlines() if "REQUEST END POST /mcp" in line and "aborted=yes" in line]
    assert "tool=generate_image" in left


async def test_equal_calls_side_by_side_buy_a_picture_each() -> None:
    stage = Stage()
    with listening(stage.app) as url:
        async with mcp_client(url) as client:
            calls = [client.call_tool("generate_image", {"prompt": planted.PROMPT}) for _ in range(4)]
            results = await asyncio.gather(*calls)
    assert len({each.structured_content["guid"] for each in results}) == len(stage.generator.requests) == 4


def event(message: object) -> dict[str, Any]:
    """A chunk of a stream, as the SDK sends it."""
    data = b"event: message\r\ndata: " + json.dumps(message).encode() + b"\r\n\r\n"
    return {"type": "http.response.body", "body": data, "more_body": True}


async def test_the_answer_is_the_last_of_a_stream_because_clients_leave_with_it() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    progress = event({"jsonrpc": "2.0", "method": "notifications/progress", "params": {}})
    answer = event({"jsonrpc": "2.0", "id": 1, "result": {}})
    ping = {"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True}
    end = {"type": "http.response.body", "body": b"", "more_body": False}
    sender = AnswerSender({"type": "http"}, send, patience=1, answering=anyio.CancelScope())
    for message in (ping, progress, answer, ping, end):
        await sender.send(message)
    assert sent == [ping, progress, {**answer, "more_body": False}]


@pytest.mark.parametrize("failure", [TimeoutError, ConnectionResetError])
async def test_a_client_that_cannot_be_sent_to_ends_the_answering_and_the_sdk_sees_no_error(
    failure: type[Exception],
) -> None:
    async def send(_: Message) -> None:
        raise failure

    with anyio.CancelScope() as answering:
        sender = AnswerSender({"type": "http"}, send, patience=1, answering=answering)
        await sender.send({"type": "http.response.body", "body": b": ping\r\n\r\n", "more_body": True})
        pytest.fail("it returns")
    assert answering.cancelled_caught
