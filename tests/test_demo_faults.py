"""The faults of the demo upstream, in the bytes of its answers and streams."""

import base64
import re
from pathlib import Path
from typing import Any, get_args

import httpx2
import openai
import pytest

from pixyproxy.upstream.demo.faults import Fault, Kind
from tests.demo_client import asked, demo_upstream, error_of, events_in, post, read, stream

PARTIAL, COMPLETED = "partial_image", "completed"
ROUTES = pytest.mark.parametrize("route", ["generations", "edits"])
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'/>"


def picture(item: dict[str, Any]) -> bytes:
    """The bytes of an answer's item or of an event."""
    return base64.b64decode(item["b64_json"])


@ROUTES
@pytest.mark.parametrize(
    ("kind", "kinds", "end"),
    [
        ("break-after-partial", [PARTIAL], "broken"),
        ("hang-after-partial", [PARTIAL], "silent"),
        ("empty", [PARTIAL, PARTIAL], "clean"),
        ("fewer", [PARTIAL, PARTIAL], "clean"),
        ("more", [PARTIAL, PARTIAL, COMPLETED, COMPLETED], "clean"),
        ("error-first", ["error"], "clean"),
        ("error-after-partial", [PARTIAL, "error"], "clean"),
        ("truncated", [PARTIAL, PARTIAL, COMPLETED], "clean"),
        ("break", [PARTIAL, PARTIAL, COMPLETED], "broken"),
        ("noise", ["ping", PARTIAL, "ping", PARTIAL, "ping", COMPLETED], "clean"),
    ],
)
def test_a_stream_with_a_fault(route: str, kind: Kind, kinds: list[str], end: str) -> None:
    with demo_upstream(Fault(kind)) as (demo, client):
        with stream(client, route, timeout=2 if end == "silent" else 20) as response:
            came, ended = read(response)
    events = events_in(came)
    assert ([name for name, _ in events], ended) == (kinds, end)
    for name, data in events:
        if name == "error":
            assert data["error"]["code"] == "moderation_blocked"
        elif name == COMPLETED:
            assert isinstance(data, bytes) is (kind in ("truncated", "break"))
    assert demo.received == 1


@ROUTES
@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [("bad-partial", [True, True, False]), ("magic", [False, False, True]), ("one-broken", [False, False, True])],
)
def test_a_stream_with_what_is_no_picture(route: str, kind: Kind, spoilt: list[bool]) -> None:
    with demo_upstream(Fault(kind)) as (_, client):
        with stream(client, route) as response:
            came, ended = read(response)
    assert [picture(data) == SVG for _, data in events_in(came)] == spoilt
    assert ended == "clean"


def test_a_stream_with_a_url_instead_of_base64() -> None:
    with demo_upstream(Fault("url")) as (_, client):
        with stream(client, "generations", partial_images=0) as response:
            ((name, data),) = events_in(read(response)[0])
    assert (name, data.get("b64_json"), data["url"]) == (COMPLETED, None, "http://127.0.0.1/picture.png")


@ROUTES
def test_a_stream_that_drips(route: str) -> None:
    with demo_upstream(Fault("drip")) as (_, client):
        with stream(client, route) as response:
            chunks = response.iter_raw()
            assert [next(chunks) for _ in range(8)] == [b"e", b"v", b"e", b"n", b"t", b":", b" ", b"i"]


@ROUTES
def test_json_although_a_stream_was_asked_for(route: str) -> None:
    with demo_upstream(Fault("no-stream")) as (_, client):
        response = post(client, route, **asked(route, stream=True, partial_images=2))
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert len(response.json()["data"]) == 1


@ROUTES
@pytest.mark.parametrize(
    ("kind", "spoilt"),
    [
        ("empty", []),
        ("fewer", [False, False]),
        ("more", [False, False, False, False]),
        ("one-broken", [False, False, True]),
        ("magic", [True, True, True]),
    ],
)
def test_an_answer_with_three_pictures_and_a_fault(route: str, kind: Kind, spoilt: list[bool]) -> None:
    with demo_upstream(Fault(kind)) as (_, client):
        response = post(client, route, **asked(route, n=3))
    assert [picture(item) == SVG for item in response.json()["data"]] == spoilt


@ROUTES
def test_an_answer_with_urls(route: str) -> None:
    with demo_upstream(Fault("url")) as (_, client):
        response = post(client, route, **asked(route, n=2))
    assert response.json()["data"] == [{"url": "http://127.0.0.1/picture.png"}] * 2


@ROUTES
@pytest.mark.parametrize("streaming", [False, True])
def test_an_error_instead_of_an_answer(route: str, *, streaming: bool) -> None:
    fault = Fault("status", status=503, type="server_error", code="overloaded", headers={"retry-after": "7"})
    with demo_upstream(fault) as (_, client):
        response = post(client, route, **asked(route, stream=streaming))
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert (error_of(response)["type"], error_of(response)["code"]) == ("server_error", "overloaded")


@ROUTES
def test_a_redirect_to_the_same_route(route: str) -> None:
    with demo_upstream(Fault("redirect")) as (_, client):
        response = post(client, route, **asked(route))
    assert (response.status_code, response.headers["location"]) == (307, f"/v1/images/{route}")


@ROUTES
def test_a_truncated_and_a_broken_answer(route: str) -> None:
    with demo_upstream(Fault("truncated")) as (demo, client):
        truncated = post(client, route, **asked(route))
        demo.fault = Fault("break")
        with pytest.raises(httpx2.RemoteProtocolError):
            post(client, route, **asked(route))
    with pytest.raises(ValueError):
        truncated.json()


def test_the_docs_name_every_fault() -> None:
    page = (Path(__file__).parent.parent / "docs/development.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(get_args(Kind)) <= set(re.findall("`([a-z-]+)`", "".join(rows)))


def test_the_demo_upstream_recovers_when_its_fault_is_taken_back() -> None:
    with demo_upstream(Fault("break-after-partial")) as (demo, client):
        with pytest.raises(openai.APIError):
            list(client.images.generate(prompt="a fox", size="32x32", stream=True, partial_images=1))
        demo.fault = None
        events = list(client.images.generate(prompt="a fox", size="32x32", stream=True, partial_images=1))
    assert [event.type.rpartition(".")[2] for event in events] == [PARTIAL, COMPLETED]
