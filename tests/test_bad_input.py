"""What bad input gets: a clear problem, never a 500, never an echo, always a request id and one line a log record."""

import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, cast
from uuid import uuid4

import pytest

from pixyproxy.upstream.demo.server import DemoUpstream
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator
from pixyproxy.web.log.format import TextFormatter
from tests import planted
from tests.listening import listening
from tests.stage import BASE_URL, Stage

GUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
"""Of nothing that exists; the same in every process that collects these tests."""
pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
MARK = "planted-input"
"""Stands in every bad input, and in no answer and no log line."""

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \S+ \[\d+\] \[[\w.]+:\d+\] [^\x00-\x1f\x7f]+")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """The log, as the process would write it, record by record."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("pixyproxy")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    assert all(LINE.fullmatch(line) for line in lines), lines
    assert MARK not in "".join(lines)


async def refused(
    stage: Stage,
    method: str,
    path: str,
    *,
    content: bytes | AsyncIterator[bytes] = b"",
    headers: dict[str, str] | None = None,
) -> dict[str, object]:
    """The problem of a request that must be refused."""
    async with stage.client() as client:
        response = await client.request(method, path, content=content, headers=JSON | (headers or {}))
    problem: dict[str, object] = response.json()
    assert 400 <= response.status_code < 500, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == problem["request_id"]
    assert problem["status"] == response.status_code
    assert MARK not in response.text
    assert planted.API_KEY not in response.text
    assert stage.generator.requests == []
    return problem


def errors_of(problem: dict[str, object]) -> list[dict[str, str]]:
    """The broken rules."""
    return cast(list[dict[str, str]], problem["errors"])


def body(**fields: object) -> bytes:
    return json.dumps({"prompt": MARK, **fields}).encode()


BODIES: dict[str, tuple[bytes, str, str]] = {
    # what is sent, where the problem points, what it says
    "missing": (json.dumps({"model": MARK}).encode(), "#/prompt", "required"),
    "null": (b'{"prompt": null}', "#/prompt", "string"),
    "a number": (b'{"prompt": 7}', "#/prompt", "string"),
    "empty": (b'{"prompt": ""}', "#/prompt", "at least 1 character"),
    "spaces": (b'{"prompt": " \\t\\n\\u00a0 "}', "#/prompt", "at least 1 character"),
    "too long": (body(prompt=MARK + "x" * (32_001 - len(MARK))), "#/prompt", "at most 32000 characters"),
    "NUL": (body(prompt=MARK + "\x00"), "#/prompt", "NUL"),
    "lone surrogate": (b'{"prompt": "planted-input \\ud800"}', "#/prompt", "surrogate"),
    "NaN": (b'{"prompt": NaN}', "#/prompt", "string"),
    "Infinity": (b'{"prompt": "planted-input", "output_compression": Infinity}', "#/output_compression", "integer"),
    "an array": (b'["planted-input"]', "#", "JSON object"),
    "a string": (b'"planted-input"', "#", "object"),
    "null alone": (b"null", "#", "JSON object"),
    "nothing": (b"", "#", "required"),
    "unknown field": (body(n=2), "#", "field that is not known"),
    "unknown format": (body(output_format="svg"), "#/output_format", "'png', 'webp' or 'jpeg'"),
    "gif": (body(output_format="gif"), "#/output_format", "'png', 'webp' or 'jpeg'"),
    "compression 101": (body(output_compression=101), "#/output_compression", "100"),
    "compression -1": (body(output_compression=-1), "#/output_compression", "0"),
    "compression as text": (body(output_compression="50"), "#/output_compression", "integer"),
    "model with a line break": (body(model="x\r\nplanted-input"), "#/model", "one word"),
    "model too long": (body(model="x" * 65), "#/model", "64"),
    "size with a space": (body(size="1024 x 1024"), "#/size", "one word"),
    "background": (body(background="planted-input"), "#/background", "'transparent'"),
    "moderation": (body(moderation="none"), "#/moderation", "'low'"),
}


@pytest.mark.parametrize(("sent", "pointer", "said"), BODIES.values(), ids=BODIES.keys())
async def test_a_body_that_breaks_a_rule_gets_422_that_names_it(
    log: list[str], sent: bytes, pointer: str, said: str
) -> None:
    problem = await refused(Stage(), "POST", "/image", content=sent)
    assert problem["status"] == 422
    assert problem["type"] == "urn:pixyproxy:problem:invalid-request"
    (error,) = errors_of(problem)
    assert error["pointer"] == pointer
    assert said in error["detail"]


async def test_every_broken_rule_is_named_at_once(log: list[str]) -> None:
    problem = await refused(Stage(), "POST", "/image", content=b'{"prompt": "", "n": 1, "output_compression": 101}')
    assert {error["pointer"] for error in errors_of(problem)} == {"#/prompt", "#", "#/output_compression"}


async def test_the_name_of_an_unknown_field_is_not_repeated_and_thousands_are_not_listed(log: list[str]) -> None:
    fields = {f"{MARK}\x1b[31m{number}": 1 for number in range(3000)}
    problem = await refused(Stage(), "POST", "/image", content=json.dumps({"prompt": "x", **fields}).encode())
    assert len(errors_of(problem)) == 20


@pytest.mark.parametrize(
    "sent",
    [
        b'{"prompt": "planted-input"',
        b"planted-input",
        b"{'prompt': 'planted-input'}",
        b'{"prompt": "planted-input\xff"}',
        b'\xff\xfe{\x00"\x00',
        b"[" * 100_000,
        b'{"prompt": ' + b"9" * 10_000 + b"}",
    ],
    ids=["cut off", "no JSON", "single quotes", "no UTF-8", "UTF-16", "deep", "a huge number"],
)
async def test_a_body_that_is_no_json_gets_400(log: list[str], sent: bytes) -> None:
    problem = await refused(Stage(), "POST", "/image", content=sent)
    assert (problem["status"], problem["type"]) == (400, "urn:pixyproxy:problem:malformed-request")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_that_is_not_said_to_be_json_gets_415(log: list[str], content_type: str) -> None:
    problem = await refused(Stage(), "POST", "/image", content=body(), headers={"Content-Type": content_type})
    assert (problem["status"], problem["type"]) == (415, "urn:pixyproxy:problem:unsupported-media-type")
    assert "application/json" in str(problem["detail"])


async def test_a_prompt_of_32000_emoji_escaped_as_json_is_welcome(log: list[str]) -> None:
    stage = Stage()
    sent = json.dumps({"prompt": "🗼" * 32_000}).encode()
    assert len(sent) > 380_000
    async with stage.client() as client:
        assert (await client.post("/image", content=sent, headers=JSON)).status_code == 201


async def a_stream(chunks: int) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        yield b"x" * 65_536


async def test_a_body_over_the_limit_gets_413_with_and_without_content_length(log: list[str]) -> None:
    stage = Stage()
    announced = await refused(stage, "POST", "/image", content=b"x" * (1024 * 1024 + 1))
    chunked = await refused(stage, "POST", "/image", content=a_stream(17))
    for problem in (announced, chunked):
        assert (problem["status"], problem["type"]) == (413, "urn:pixyproxy:problem:payload-too-large")
    at_the_limit = await refused(stage, "POST", "/image", content=a_stream(16))
    assert at_the_limit["status"] == 400


async def test_a_size_that_breaks_the_upstreams_rules_gets_the_upstreams_reason() -> None:
    demo = DemoUpstream().app
    async with open_client(
        api_key=planted.UPSTREAM_KEY, base_url="http://demo/v1", connections=1, asgi_app=demo
    ) as client:
        stage = Stage(generator=cast(Any, OpenAIImageGenerator(client, deadline=5)))
        async with stage.client() as http:
            response = await http.post("/image", json={"prompt": "x", "size": "1000x1000"})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:pixyproxy:problem:upstream-refused"
    assert "multiples of 16" in response.json()["detail"]
    assert response.json()["upstream_code"] == "invalid_size"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=501", "?limit"),
        ("limit=abc", "?limit"),
        ("limit=-1", "?limit"),
        ("limit=99999999999999999999", "?limit"),
        ("limit=", "?limit"),
        ("q=", "?q"),
        ("q=" + "x" * 501, "?q"),
        ("q=%00planted-input", "?q"),
        ("cursor=" + "x" * 201, "?cursor"),
        ("cursor=planted-input", "?cursor"),
        ("planted-input=10", "?"),
    ],
)
async def test_a_query_that_breaks_a_rule_gets_422_that_names_it(log: list[str], query: str, pointer: str) -> None:
    problem = await refused(Stage(), "GET", f"/image?{query}")
    assert problem["status"] == 422
    assert [error["pointer"] for error in errors_of(problem)] == [pointer]


@pytest.mark.parametrize("suffix", ["", "/content", ".png"])
@pytest.mark.parametrize(
    "guid",
    ["no-guid", "1", GUID[:-1], "%00", "..%2f..%2fetc", "'; DROP TABLE images; --", "%F0%9F"],
)
async def test_a_guid_that_is_none_gets_404(log: list[str], guid: str, suffix: str) -> None:
    problem = await refused(Stage(), "GET", f"/image/{guid}{suffix}")
    assert problem["status"] == 404


@pytest.mark.parametrize("suffix", ["", "/content", ".png"])
async def test_an_unknown_guid_gets_404_of_its_own_type(log: list[str], suffix: str) -> None:
    for guid in (str(uuid4()), str(uuid4()).upper()):
        problem = await refused(Stage(), "GET", f"/image/{guid}{suffix}")
        assert problem["type"] == "urn:pixyproxy:problem:image-not-found"


@pytest.mark.parametrize(
    "path",
    [
        "/index.html",
        "/static",
        "/images",
        "/image/a/b/c",
        "/planted-input",
        "/%0d%0aplanted-input",
        "/.env",
        f"{BASE_URL}//image",
    ],
)
async def test_an_unknown_url_gets_404(path: str) -> None:
    problem = await refused(Stage(), "GET", path)
    assert (problem["status"], problem["type"]) == (404, "urn:pixyproxy:problem:not-found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/image", "GET, HEAD, POST"),
        ("DELETE", "/image/", "GET, HEAD, POST"),
        ("POST", f"/image/{GUID}", "GET, HEAD, DELETE"),
        ("DELETE", f"/generation/{GUID}", "GET, HEAD"),
        ("POST", "/generation", "GET, HEAD"),
        ("POST", f"/image/{GUID}/content", "GET, HEAD"),
        ("OPTIONS", "/image", "GET, HEAD, POST"),
        ("TRACE", "/healthz", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_gets_405_with_every_right_one(log: list[str], method: str, path: str, allow: str) -> None:
    async with Stage().client() as client:
        response = await client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allow)
    assert response.json()["type"] == "urn:pixyproxy:problem:method-not-allowed"


def exchange(address: str, request: bytes) -> str:
    """The answer to raw bytes."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):
            while chunk := connection.recv(65_536):
                answer += chunk
    return answer.decode("latin-1")


@pytest.mark.parametrize(
    "request_line",
    [
        b"planted-input\r\n\r\n",
        b"GET /\x00planted-input HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: planted-input\r\n\r\n",
        b"POST /image HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["no HTTP", "NUL in the path", "no header", "no length", "smuggling", "TLS"],
)
def test_bytes_that_are_no_http_request_get_400_with_a_request_id(log: list[str], request_line: bytes) -> None:
    with listening(Stage().app) as address:
        head, _, text = exchange(address, request_line).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 400 ")
    problem = json.loads(text)
    assert f"x-request-id: {problem['request_id']}" in head
    assert "content-type: application/problem+json" in head
    assert MARK not in text
    assert [line.rpartition("] ")[2].split()[:2] for line in log] == [["REQUEST", "START"], ["REQUEST", "END"]]


def test_a_head_over_the_limit_gets_431_with_a_request_id(log: list[str]) -> None:
    with listening(Stage().app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")
            answer = b""
            try:
                for _ in range(64):  # 4 MiB of a header that does not end
                    connection.sendall(b"x" * 65_536)
            except OSError:
                pass
            with suppress(OSError):
                answer = connection.recv(65_536)
        at_once = exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70_000 + b"\r\n\r\n")
        fine = exchange(
            address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: " + b"x" * 30_000 + b"\r\n\r\n"
        )
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")  # the reset may overtake the answer
    assert " 431 " in log[1]
    assert "problem=header-too-large" in log[1]
    assert at_once.startswith("HTTP/1.1 431 ")
    assert fine.startswith("HTTP/1.1 200 ")


def test_trailers_are_part_of_the_head_and_end_the_connection(log: list[str]) -> None:
    head = (
        f"POST /image HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {planted.API_KEY}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    ).encode()
    with listening(Stage().app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            with suppress(OSError):
                connection.sendall(head)
                for number in range(2000):
                    connection.sendall(b"X-%d: " % number + b"x" * 1000 + b"\r\n")
            answer = b""
            with suppress(OSError):
                while chunk := connection.recv(65_536):  # until the server closes it
                    answer += chunk
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") <= 1


def test_connect_is_refused_like_anything_that_is_no_request_of_ours(log: list[str]) -> None:
    with listening(Stage().app) as address:
        answer = exchange(address, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 200_000)
    assert answer.startswith("HTTP/1.1 400 ") or answer == ""  # the reset may overtake it: there is unread data
    assert ["REQUEST START" in log[0], "REQUEST END - - 400" in log[1], len(log)] == [True, True, 2]


@pytest.mark.parametrize(
    ("line", "connection"), [("GET /healthz HTTP/1.0", "Upgrade"), ("GET /healthz HTTP/1.1", "close, Upgrade")]
)
def test_an_upgrade_that_is_ignored_changes_nothing_else(line: str, connection: str) -> None:
    with listening(Stage().app) as address:
        answer = exchange(address, f"{line}\r\nHost: x\r\nConnection: {connection}\r\nUpgrade: h2c\r\n\r\n".encode())
    assert answer.endswith('{"status":"alive"}'), "the connection was closed after the answer"


def test_a_request_that_asks_for_an_upgrade_is_served_as_it_is(log: list[str]) -> None:
    body = json.dumps({"prompt": "a dot"}).encode()
    head = (
        f"POST /image HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {planted.API_KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAA\r\n\r\n"
    ).encode()
    with listening(Stage().app) as address:
        host, port = address.removeprefix("http://").split(":")
        for pieces in ([head + body], [head, body], [head[:40], head[40:] + body[:3], body[3:]]):
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(0.05)
                assert connection.recv(65_536).startswith(b"HTTP/1.1 201 ")
    assert [line for line in log if "WARNING" in line] == []


def test_a_body_that_stalls_gets_408(log: list[str]) -> None:
    request = (
        f"POST /image HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {planted.API_KEY}\r\n"
        "Content-Type: application/json\r\nContent-Length: 50\r\nConnection: close\r\n\r\n{"
    )
    with listening(Stage(client_patience=0.3).app) as address:
        answer = exchange(address, request.encode())
    assert answer.startswith("HTTP/1.1 408 ")
    assert "urn:pixyproxy:problem:request-timeout" in answer


INJECTIONS = {
    "path": b"GET /image/x%0d%0aX-Evil:%20planted-evil HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "ANSI in the path": b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "user agent": b"GET /healthz HTTP/1.1\r\nHost: x\r\nUser-Agent: a\x1b[31mplanted-evil\r\nConnection: close\r\n\r\n",
    "request id": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\x1b[31mevil\r\nConnection: close\r\n\r\n",
    "long request id": b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: "
    + b"x" * 65
    + b"\r\nConnection: close\r\n\r\n",
    "host": b"GET /healthz HTTP/1.1\r\nHost: planted-evil/\x1b\r\nConnection: close\r\n\r\n",
    "method": b"PLANTEDEVIL /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("request_bytes", INJECTIONS.values(), ids=INJECTIONS.keys())
def test_injections_reach_neither_log_nor_headers(log: list[str], request_bytes: bytes) -> None:
    with listening(Stage().app) as address:
        answer = exchange(address, request_bytes)
    head = answer.partition("\r\n\r\n")[0]
    assert answer.startswith("HTTP/1.1 ")
    assert not answer.startswith("HTTP/1.1 500")
    assert "x-evil" not in head.lower()
    assert "\x1b" not in answer
    assert head.lower().count("\r\nx-request-id:") == 1
    assert len(log) == 2


async def test_a_prompt_cannot_write_into_the_log(log: list[str]) -> None:
    stage = Stage()
    prompt = f"{MARK}\r\n2026-11-22 00:00:00,000 INFO forged [1] [x:1] \x1b[31mREQUEST END"
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": prompt})
    assert response.status_code == 201
    assert response.json()["prompt"] == prompt
    assert not any("forged" in line for line in log)


async def test_a_clients_own_request_id_is_logged_as_the_clients_and_ours_stays_ours(log: list[str]) -> None:
    async with Stage().client() as client:
        response = await client.get("/healthz", headers={"X-Request-ID": "their-id.1"})
    assert response.headers["x-request-id"] != "their-id.1"
    assert log[0].endswith("REQUEST START GET /healthz client=their-id.1")
