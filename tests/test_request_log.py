"""The request log: two lines a request, one request-id, no secrets, as text and as JSON."""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import anyio
import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.web.log.format import JsonFormatter, TextFormatter, describe, log_config, one_line
from pixyproxy.web.log.request_ids import RequestIds
from pixyproxy.web.log.request_log import RequestLog, address_of, canonical_address
from tests import planted
from tests.stage import Stage

pytestmark = pytest.mark.anyio

Lines = Callable[[logging.Formatter], list[str]]


@pytest.fixture
def log() -> Iterator[Lines]:
    """Collects the log in the form that it is asked for first."""
    handlers: list[logging.Handler] = []
    logger = logging.getLogger("pixyproxy")

    def collect(formatter: logging.Formatter) -> list[str]:
        lines: list[str] = []

        class Collector(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(self.format(record))

        handlers.append(Collector())
        handlers[-1].setFormatter(formatter)
        logger.addHandler(handlers[-1])
        return lines

    yield collect
    for handler in handlers:
        logger.removeHandler(handler)


async def test_the_two_lines_have_the_form_of_the_design(log: Lines) -> None:
    lines = log(TextFormatter())
    stage = Stage()
    await stage.keys.create("laptop")
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": planted.PROMPT})
    start, drawn, end = lines
    head = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO (\S+) \[(\d+)\] "
    first = re.fullmatch(head + r"\[web\.log\.request_log:\d+\] REQUEST START POST /image", start)
    last = re.fullmatch(
        head + r"\[web\.log\.request_log:\d+\] REQUEST END POST /image 201 \d+\.\dms (\d+)B address=127\.0\.0\.1 "
        r"caller=PIXYPROXY_API_KEY",
        end,
    )
    assert first
    assert last
    assert first[1] == last[1] == response.headers["x-request-id"]
    assert int(first[2]) == threading.get_native_id()
    assert int(last[3]) == len(response.content)
    assert f" {first[1]} [" in drawn, "a line of another module carries the request-id too"
    moment = datetime.strptime(start[:23], "%Y-%m-%d %H:%M:%S,%f").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


async def test_json_lines_hold_the_same_facts(log: Lines) -> None:
    lines = log(JsonFormatter())
    stage = Stage()
    details = await stage.create()
    async with stage.client(key=False) as client:
        response = await client.get(details["url"], headers={"X-Request-ID": "theirs"})
    start, end = (json.loads(line) for line in lines[-2:])
    assert start["client_request_id"] == "theirs"
    assert end["request_id"] == start["request_id"] == response.headers["x-request-id"]
    assert (end["level"], end["module"], end["thread"]) == ("INFO", "web.log.request_log", threading.get_native_id())
    assert (end["method"], end["status"], end["bytes"]) == ("GET", 200, details["size_bytes"])
    assert end["duration_ms"] > 0
    assert (end["route"], end["guid"]) == ("/image/{guid}/content", details["guid"])
    assert end["path"] == f"/image/{details['guid']}/content"
    assert end["message"].startswith("REQUEST END GET")
    assert datetime.fromisoformat(end["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/image", 405),
        ("POST", "/image", 415),
        ("GET", "/image/0f0e0d0c-0b0a-4908-8706-050403020100", 404),
        ("GET", "/", 200),
        ("GET", "/docs", 200),
        ("HEAD", "/healthz", 200),
    ],
)
async def test_every_request_writes_two_lines(log: Lines, method: str, path: str, status: int) -> None:
    lines = log(TextFormatter())
    async with Stage().client() as client:
        await client.request(method, path, content=b"unreadable" if method == "POST" else b"")
    assert len(lines) == 2
    assert f"REQUEST START {method} {path}" in lines[0]
    assert f"REQUEST END {method} {path} {status} " in lines[1]


async def test_the_query_is_not_logged(log: Lines) -> None:
    lines = log(TextFormatter())
    async with Stage().client() as client:
        await client.get("/image", params={"q": planted.PROMPT})
    assert len(lines) == 2
    assert "lighthouse" not in "".join(lines)


async def test_a_problem_is_named_and_an_unavailable_part_is_a_warning(log: Lines) -> None:
    lines = log(TextFormatter())
    stage = Stage()
    stage.storage.failure = StorageUnavailableError("The storage does not answer.")
    async with stage.client() as client:
        await client.post("/image", json={"prompt": planted.PROMPT})
    assert " WARNING " in lines[1]
    assert lines[1].endswith("storage-unavailable: The storage does not answer.")
    assert lines[2].endswith(" problem=storage-unavailable")


async def test_a_bug_is_one_line_with_its_place_and_without_its_words(log: Lines) -> None:
    lines = log(TextFormatter())
    stage = Stage()
    stage.generator.failure = ValueError(f"cannot digest\n{planted.PROMPT}")
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": planted.PROMPT})
    assert response.status_code == 500
    assert len(lines) == 4, "one where it happened, one where the request ends"
    for line in lines[1:3]:
        assert " ERROR " in line
        assert "ValueError at fakes.py:" in line
    assert "digest" not in "".join(lines)
    assert not re.search(r"[\x00-\x1f]", "".join(lines))


async def test_what_escapes_even_the_exception_handler_is_answered_and_logged(log: Lines) -> None:
    lines = log(TextFormatter())

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("outside everything")

    transport = httpx2.ASGITransport(app=RequestLog(broken))
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as client:
        response = await client.get("/")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == response.json()["request_id"]
    assert [line.split()[2] for line in lines] == ["INFO", "ERROR", "INFO"]
    assert "outside" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "level"),
    [("the handler is closed", "INFO"), ("Response content shorter than Content-Length", "ERROR")],
)
async def test_only_a_client_that_left_is_no_fault_of_ours(log: Lines, words: str, level: str) -> None:
    lines = log(TextFormatter())

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise RuntimeError(words)

    scope = {"type": "http", "method": "GET", "path": "/healthz", "query_string": b"", "headers": []}
    await Stage().app(scope, receive_nothing, send)
    assert level in {line.split()[2] for line in lines}
    assert ("aborted=yes" in lines[-1]) is (level == "INFO")
    assert ("problem=internal-error" in lines[-1]) is (level == "ERROR")


async def receive_nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize(
    ("host", "logged"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("0000:0000:0000:0000:0000:ffff:255.255.255.255", "::ffff:255.255.255.255"),
        ("::1%eth0 caller=admin 200", "invalid"),
        ("fe80::1%eth0", "invalid"),
        ("::1%" + "x" * 60_000, "invalid"),
        ("1" * 60_000, "invalid"),
        ("203.0.113.7 caller=admin", "invalid"),
        ("", "invalid"),
    ],
)
def test_an_address_in_the_log_is_an_ip_address_or_invalid(host: str, logged: str) -> None:
    before = canonical_address.cache_info().currsize
    assert address_of(host) in (logged, "::ffff:ffff:ffff" if "255" in host else logged)
    assert len(host) < 46 or canonical_address.cache_info().currsize == before, "a long value is not kept"


async def test_concurrent_requests_keep_their_own_ids(log: Lines) -> None:
    lines = log(TextFormatter())
    stage = Stage()
    stage.generator.before = anyio.lowlevel.checkpoint
    async with anyio.create_task_group() as running:
        for _ in range(30):
            running.start_soon(stage.create)
    by_id: dict[str, list[str]] = {}
    for line in lines:
        by_id.setdefault(line.split()[3], []).append(line)
    assert len(by_id) == 30
    for mine in by_id.values():
        assert [re.findall(r"REQUEST START|generation|REQUEST END", line)[0] for line in mine] == [
            "REQUEST START",
            "generation",
            "REQUEST END",
        ]


async def test_a_formatter_of_the_standard_library_reads_the_lines_of_requests(log: Lines) -> None:
    lines = log(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(filename)s:%(lineno)d %(process)s %(message)s"))
    async with Stage().client() as client:
        await client.get("/healthz")
    assert len(lines) == 2
    for line in lines:
        assert re.search(
            r" INFO pixyproxy\.web\.log\.request_log request_log\.py:\d+ \S+ REQUEST (START|END) GET /h", line
        )
    assert len({line.split("request_log.py:")[1].split()[0] for line in lines}) == 2, (
        "each has its own place in the code"
    )


def test_request_ids_are_host_datetime_and_thread_and_never_repeat() -> None:
    ids = RequestIds("web 1.example")
    made = [ids.new() for _ in range(5000)]
    assert len(set(made)) == 5000
    assert all(re.fullmatch(rf"web_1\.example-\d{{8}}T\d{{12}}-{threading.get_native_id()}", each) for each in made)


def test_a_record_is_one_line_of_harmless_characters() -> None:
    assert one_line("a\nb\r\x1b[31m\x85\u2028\x9b\x00\ud800é🗼") == (r"a\nb\r\x1b[31m\x85\u2028\x9b\x00\ud800é🗼")


def test_an_exception_is_logged_with_its_causes_and_numbers_without_foreign_words() -> None:
    try:
        try:
            raise OSError(2, planted.PROMPT)
        except OSError as error:
            raise StorageUnavailableError("The storage does not answer.") from error
    except StorageUnavailableError as error:
        told = describe(error)
    assert "StorageUnavailableError: The storage does not answer. at test_request_log.py:" in told
    assert " <- FileNotFoundError 2 at test_request_log.py:" in told
    assert planted.PROMPT not in told


def test_the_libraries_log_nothing_below_warning_at_any_level() -> None:
    config = log_config(form="json", level="DEBUG")
    assert config["root"]["level"] == "WARNING"
    assert config["loggers"]["pixyproxy"]["level"] == "DEBUG"
