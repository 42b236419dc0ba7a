"""Conditional and range requests: the rules as tables, and against nginx and Starlette, which serve the same bytes."""

import http.client
import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from pixyproxy.core.exceptions import PreconditionFailedError, RangeNotSatisfiableError
from pixyproxy.web.http.conditions import Validators, conditions_of, not_modified, part_wanted
from tests.listening import listening
from tests.servers import Process, free_ports, missing, wait_until

DATA = bytes(range(256)) * 4 + b"the end"
MODIFIED = datetime(2026, 11, 22, 10, 15, 2, 123456, tzinfo=UTC)
OURS = Validators(etag='"0123abcd"', modified_at=MODIFIED)
HEADERS = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since", "If-Range", "Range")


def answered(method: str, *headers: tuple[str, str], validators: Validators = OURS) -> tuple[int, range | None]:
    """Status and part of our answer."""
    conditions = conditions_of([(name.lower().encode(), value.encode("latin-1")) for name, value in headers])
    try:
        if not_modified(conditions, validators):
            return 304, None
        part = part_wanted(conditions, validators, size_bytes=len(DATA)) if method == "GET" else None
    except PreconditionFailedError:
        return 412, None
    except RangeNotSatisfiableError as error:
        assert error.headers["Content-Range"] == f"bytes */{len(DATA)}"
        return 416, None
    return (200, None) if part is None else (206, part)


LAST = len(DATA) - 1
AT, BEFORE, AFTER = (format_datetime(MODIFIED + timedelta(seconds=seconds), usegmt=True) for seconds in (0, -1, 1))
RULES = {
    "nothing asked": ((), 200),
    "our tag": ((("If-None-Match", '"0123abcd"'),), 304),
    "another tag": ((("If-None-Match", '"0123"'),), 200),
    "our tag, weakly": ((("If-None-Match", 'W/"0123abcd"'),), 304),
    "any tag": ((("If-None-Match", " * "),), 304),
    "a list with ours": ((("If-None-Match", '"a", W/"b,c" ,"0123abcd"'),), 304),
    "a list over two lines": ((("If-None-Match", '"a"'), ("If-None-Match", '"0123abcd"')), 304),
    "a list without ours": ((("If-None-Match", '"a", "b"'),), 200),
    "an empty list": ((("If-None-Match", ""),), 200),
    "a tag without quotes": ((("If-None-Match", "0123abcd"),), 200),
    "a tag that is not closed": ((("If-None-Match", '"0123abcd'),), 200),
    "a small w": ((("If-None-Match", 'w/"0123abcd"'),), 200),
    "not modified since": ((("If-Modified-Since", AT),), 304),
    "not modified since later": ((("If-Modified-Since", AFTER),), 304),
    "modified since": ((("If-Modified-Since", BEFORE),), 200),
    "RFC 850": ((("If-Modified-Since", "Sunday, 22-Nov-26 10:15:02 GMT"),), 304),
    "asctime": ((("If-Modified-Since", "Sun Nov 22 10:15:02 2026"),), 304),
    "no date": ((("If-Modified-Since", "yesterday"),), 200),
    "an empty date": ((("If-Modified-Since", ""),), 200),
    "the tag wins over the time": ((("If-None-Match", '"x"'), ("If-Modified-Since", AFTER)), 200),
    "If-Match ours": ((("If-Match", '"0123abcd"'),), 200),
    "If-Match any": ((("If-Match", "*"),), 200),
    "If-Match another": ((("If-Match", '"x"'),), 412),
    "If-Match weakly": ((("If-Match", 'W/"0123abcd"'),), 412),
    "If-Match then If-None-Match": ((("If-Match", '"0123abcd"'), ("If-None-Match", '"0123abcd"')), 304),
    "unmodified since": ((("If-Unmodified-Since", AT),), 200),
    "not unmodified since": ((("If-Unmodified-Since", BEFORE),), 412),
    "unmodified since what is no date": ((("If-Unmodified-Since", "never"),), 200),
    "If-Match wins over the time": ((("If-Match", "*"), ("If-Unmodified-Since", BEFORE)), 200),
}
PARTS = {
    "bytes=0-0": range(1),
    "bytes=0-": range(len(DATA)),
    "bytes=5-9": range(5, 10),
    f"bytes={LAST}-": range(LAST, LAST + 1),
    f"bytes=1-{LAST + 1000}": range(1, LAST + 1),
    f"bytes=1-{'9' * 200}": range(1, LAST + 1),
    "bytes=-1": range(LAST, LAST + 1),
    "bytes=-9999999": range(len(DATA)),
    "BYTES=5-9": range(5, 10),
    " bytes = 5-9 ": range(5, 10),
    "bytes=,5-9 ,": range(5, 10),
    "bytes=0005-0009": range(5, 10),
    f"bytes={LAST + 1}-": 416,
    f"bytes={'9' * 200}-": 416,
    "bytes=-0": 416,
    "bytes=9-5": None,
    "bytes=1-2,4-5": None,
    "bytes=0-0,-1": None,
    "bytes=": None,
    "bytes=-": None,
    "bytes=a-b": None,
    "bytes=1-2x": None,
    "bytes=+1-2": None,
    "bytes=1--2": None,
    "bytes=\u00b2-": None,
    "bytes 1-2": None,
    "lines=1-2": None,
    "": None,
}


@pytest.mark.parametrize(("headers", "status"), RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_condition_decides(method: str, headers: tuple[tuple[str, str], ...], status: int) -> None:
    assert answered(method, *headers) == (status, None)


@pytest.mark.parametrize(("value", "expected"), PARTS.items(), ids=PARTS.keys())
def test_a_range_is_a_part_of_the_whole_or_of_nothing(value: str, expected: range | int | None) -> None:
    if isinstance(expected, range):
        assert answered("GET", ("Range", value)) == (206, expected)
    else:
        assert answered("GET", ("Range", value)) == (expected or 200, None)
    assert answered("HEAD", ("Range", value)) == (200, None), "only GET has ranges (RFC 9110, section 14.2)"


@pytest.mark.parametrize(
    ("if_range", "status"),
    [
        ('"0123abcd"', 206),
        ('W/"0123abcd"', 200),
        ('"x"', 200),
        ("*", 200),
        ("", 200),
        (AT, 206),
        (BEFORE, 200),
        (AFTER, 200),
        ("Sun Nov 22 10:15:02 2026", 200),
    ],
)
def test_if_range_wants_exactly_what_we_have(if_range: str, status: int) -> None:
    assert answered("GET", ("Range", "bytes=0-1"), ("If-Range", if_range))[0] == status
    assert answered("GET", ("Range", "bytes=5000-"), ("If-Range", if_range))[0] == (416 if status == 206 else 200)


def test_conditions_come_before_ranges() -> None:
    assert answered("GET", ("Range", "bytes=0-1"), ("If-None-Match", "*")) == (304, None)
    assert answered("GET", ("Range", "bytes=9999-"), ("If-Modified-Since", AFTER)) == (304, None)
    assert answered("GET", ("Range", "bytes=0-1"), ("If-Match", '"x"')) == (412, None)
    assert answered("GET", ("Range", "bytes=0-1"), ("If-None-Match", '"x"')) == (206, range(2))


def test_what_has_no_time_is_distinguished_by_its_tag_alone() -> None:
    timeless = Validators(etag='"0123abcd"')
    assert answered("GET", ("If-Modified-Since", AFTER), validators=timeless) == (200, None)
    assert answered("GET", ("If-Unmodified-Since", BEFORE), validators=timeless) == (200, None)
    assert answered("GET", ("If-None-Match", '"0123abcd"'), validators=timeless) == (304, None)


@given(st.lists(st.tuples(st.sampled_from(HEADERS), st.text(st.characters(max_codepoint=255)))))
def test_whatever_a_client_sends_is_an_answer(headers: list[tuple[str, str]]) -> None:
    status, part = answered("GET", *headers)
    assert (status == 206) == (part is not None)
    assert status in (200, 206, 304, 412, 416)


# The oracles: nginx for all of it, Starlette's FileResponse for ranges. Each has validators of its own, so a request is
# made of what they stand for.

position = st.integers(0, len(DATA) + 5) | st.sampled_from([LAST, LAST + 1, 10**18])
ranges = st.one_of(
    st.builds("bytes={}-{}".format, position, position),
    st.builds("bytes={}-".format, position),
    st.builds("bytes=-{}".format, position),
)
tags = st.sampled_from(["{ours}", "W/{ours}", '"other"', 'W/"other"'])
tag_lists = st.just("*") | st.lists(tags, min_size=1, max_size=3).map(", ".join)
times = st.sampled_from([AT, BEFORE, AFTER, "{modified}"])
requests = st.fixed_dictionaries(
    {},
    optional={
        "If-Match": tag_lists,
        "If-Unmodified-Since": times,
        "If-None-Match": tag_lists,
        "If-Modified-Since": times,
        "If-Range": tags | times,
        "Range": ranges,
    },
)


def asked(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, bytes, str | None]:
    """Status, body and Content-Range of another server's answer."""
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
    except ConnectionError:  # it had closed the connection after the answer before
        connection.close()
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
    body = response.read()
    return response.status, body, response.headers["Content-Range"]


def filled_in(request: dict[str, str], *, etag: str) -> dict[str, str]:
    """The request as this server's client would make it."""
    return {name: value.format(ours=etag, modified=AT) for name, value in request.items()}


def ours(request: dict[str, str]) -> tuple[int, bytes | None, str | None]:
    """What we answer; the body where it is of the picture."""
    status, part = answered("GET", *filled_in(request, etag=OURS.etag).items())
    if status == 200:
        return 200, DATA, None
    if part is not None:
        return 206, DATA[part.start : part.stop], f"bytes {part.start}-{part.stop - 1}/{len(DATA)}"
    return status, None, f"bytes */{len(DATA)}" if status == 416 else None


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bytes as a file, last modified when ours were."""
    file = tmp_path_factory.mktemp("oracle") / "data.png"
    file.write_bytes(DATA)
    seconds = int(MODIFIED.timestamp())
    os.utime(file, (seconds, seconds))
    file.parent.chmod(0o755)
    return file


@pytest.fixture(scope="module")
def nginx(file: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to an nginx that serves the file."""
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        missing("nginx", "apt-get install nginx-light")
    (port,) = free_ports(1)
    configuration = file.parent / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {file.parent}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration.write_text(
        f"daemon off; master_process off; pid {file.parent}/pid; error_log {file.parent}/nginx.log;\n"
        f"events {{}}\nhttp {{ access_log off; if_modified_since before; keepalive_requests 1000000;\n{temporary}"
        f"server {{ listen 127.0.0.1:{port}; root {file.parent}; }} }}\n"
    )
    process = Process([binary, "-p", str(file.parent), "-c", str(configuration)], file.parent / "nginx.log")
    process.start()
    wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close(), seconds=20, what="nginx", process=process)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    yield connection
    connection.close()
    process.stop()


def test_conditions_and_ranges_are_those_of_nginx(nginx: http.client.HTTPConnection) -> None:
    nginx.request("HEAD", "/data.png")
    known = nginx.getresponse()
    known.read()
    etag = known.headers["ETag"]
    assert known.headers["Last-Modified"] == AT == OURS.last_modified

    @settings(max_examples=1500, deadline=None)
    @given(requests)
    def same(request: dict[str, str]) -> None:
        if {"If-Match", "If-Unmodified-Since"} <= request.keys() or {
            "If-None-Match",
            "If-Modified-Since",
        } <= request.keys():
            return  # nginx wants both to hold; for RFC 9110, section 13.2.2, the tag decides: see the table above
        status, body, content_range = asked(nginx, "/data.png", filled_in(request, etag=etag))
        expected_status, expected_body, expected_range = ours(request)
        if reversed_range(request.get("Range")) and status == 416:
            return  # nginx cannot satisfy what is no range at all; for RFC 9110, section 14.1.1, it is to be ignored
        if weak_if_range(request) and status == 206:
            return  # nginx compares If-Range as any text; for RFC 9110, section 13.1.5, a weak tag never matches
        assert (status, content_range) == (expected_status, expected_range)
        if expected_body is not None:
            assert body == expected_body

    same()


def test_ranges_are_those_of_starlette(file: Path) -> None:
    async def serve(_: Request) -> FileResponse:
        return FileResponse(file)

    with listening(Starlette(routes=[Route("/data.png", serve)])) as address:
        parts = urlsplit(address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
        connection.request("HEAD", "/data.png")
        known = connection.getresponse()
        known.read()
        etag = known.headers["ETag"]

        @settings(max_examples=400, deadline=None)
        @given(st.fixed_dictionaries({"Range": ranges}, optional={"If-Range": tags | times}))
        def same(request: dict[str, str]) -> None:
            if reversed_range(request["Range"]) or weak_if_range(request):
                return  # see above
            status, body, content_range = asked(connection, "/data.png", filled_in(request, etag=etag))
            expected_status, expected_body, expected_range = ours(request)
            assert status == expected_status
            if expected_body is not None:
                assert (body, content_range) == (expected_body, expected_range)

        same()
        connection.close()


def reversed_range(value: str | None) -> bool:
    """Whether the last position is before the first."""
    first, _, last = (value or "").removeprefix("bytes=").partition("-")
    return bool(first) and bool(last) and int(last) < int(first)


def weak_if_range(request: dict[str, str]) -> bool:
    """Whether If-Range has a weak tag."""
    return request.get("If-Range", "").startswith("W/")
