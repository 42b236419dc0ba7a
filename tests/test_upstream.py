"""The upstream over real HTTP: what it receives, and what each of its misdeeds becomes."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAddressError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import Drawing, GenerationRequest
from pixyproxy.core.images import Picture
from pixyproxy.service.generating.pictures import examine
from pixyproxy.upstream.demo.drawing import draw_picture
from pixyproxy.upstream.demo.faults import Fault
from pixyproxy.upstream.demo.server import DemoUpstream
from pixyproxy.upstream.openai.answer import storable_usage
from pixyproxy.upstream.openai.client import open_client
from pixyproxy.upstream.openai.generator import OpenAIImageGenerator
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.servers import free_ports

pytestmark = pytest.mark.anyio

REQUEST = GenerationRequest(prompt=planted.PROMPT, model="gpt-image-2", size="64x32")


@contextmanager
def upstream(fault: Fault | None = None, *, key: str | None = None) -> Iterator[tuple[DemoUpstream, str]]:
    """The demo upstream over HTTP, and its base URL."""
    demo = DemoUpstream(api_key=key or planted.UPSTREAM_KEY, keep=100)
    demo.fault = fault
    with listening(demo.app) as address:
        yield demo, f"{address}/v1"


async def at_once() -> None:
    """The turn of a generation without others before it."""


async def draw(base_url: str, *, request: GenerationRequest = REQUEST, deadline: float = 10) -> Drawing:
    """One drawing through a client of its own."""
    async with open_client(api_key=planted.UPSTREAM_KEY, base_url=base_url, connections=1) as client:
        return await OpenAIImageGenerator(client, deadline=deadline).draw(request, turn=at_once)


async def test_the_upstream_receives_exactly_what_was_asked() -> None:
    request = GenerationRequest(
        prompt="  two lines\nof 🗼  ",
        model="gpt-image-2.5-flare",
        size="64x32",
        quality="high",
        background="opaque",
        output_format="webp",
        output_compression=55,
        moderation="low",
    )
    with upstream() as (demo, base_url):
        await draw(base_url, request=request)
    (received,) = demo.requests
    assert json.loads(received["body"]) == {
        "prompt": "two lines\nof 🗼",
        "model": "gpt-image-2.5-flare",
        "size": "64x32",
        "quality": "high",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 55,
        "moderation": "low",
        "n": 1,
    }
    assert received["headers"]["authorization"] == f"Bearer {planted.UPSTREAM_KEY}"
    assert received["headers"]["content-type"] == "application/json"


async def test_what_was_left_open_is_not_sent() -> None:
    with upstream() as (demo, base_url):
        await draw(base_url, request=GenerationRequest(prompt="a dot", model="m"))
    (received,) = demo.requests
    assert json.loads(received["body"]) == {"prompt": "a dot", "model": "m", "n": 1}


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
async def test_the_picture_arrives_byte_for_byte_with_usage_and_request_id(output_format: str) -> None:
    request = REQUEST.model_copy(update={"output_format": output_format})
    with upstream() as (_, base_url):
        drawing = await draw(base_url, request=request)
    assert drawing.pictures == (
        Picture.of(draw_picture(planted.PROMPT, width=64, height=32, output_format=output_format)),
    )
    assert drawing.usage is not None
    assert drawing.usage["input_tokens"] == 5
    assert (drawing.upstream_request_id or "").startswith("req_")
    facts = examine(drawing.pictures[0])
    assert (facts.content_type, facts.width, facts.height) == (f"image/{output_format}", 64, 32)


async def test_n_pictures_are_drawn_by_one_request() -> None:
    with upstream() as (demo, base_url):
        drawing = await draw(base_url, request=REQUEST.model_copy(update={"n": 3}))
    assert demo.received == 1
    assert len({picture.sha256 for picture in drawing.pictures}) == 3
    assert [examine(picture).width for picture in drawing.pictures] == [64, 64, 64]


async def test_what_the_upstream_made_of_the_request_is_kept() -> None:
    with upstream() as (_, base_url):
        drawing = await draw(base_url, request=GenerationRequest(prompt="a dot", model="m"))
    assert drawing.answer == {
        "size": "1024x1024",
        "quality": "medium",
        "background": "opaque",
        "output_format": "png",
    }


FAULTS: dict[str, tuple[Fault, type[PixyProxyException], str]] = {
    "refused": (
        Fault("status", status=400, code="moderation_blocked", message="Rejected by the safety system."),
        UpstreamRefusedError,
        "Rejected by the safety system.",
    ),
    "bad parameter": (Fault("status", status=422, message="Invalid size."), UpstreamRefusedError, "Invalid size."),
    "no such model": (
        Fault("status", status=404, code="model_not_found", message="The model does not exist."),
        UpstreamRefusedError,
        "The model does not exist.",
    ),
    "wrong key": (Fault("status", status=401), UpstreamCredentialsError, "OPENAI_API_KEY"),
    "forbidden": (Fault("status", status=403), UpstreamCredentialsError, "OPENAI_API_KEY"),
    "wrong address": (Fault("status", status=404), UpstreamAddressError, "OPENAI_BASE_URL"),
    "rate limit": (Fault("status", status=429), UpstreamUnavailableError, "wait"),
    "no quota": (Fault("status", status=429, code="insufficient_quota"), UpstreamUnavailableError, "quota"),
    "asks to wait": (
        Fault("status", status=503, headers={"retry-after": "7"}),
        UpstreamUnavailableError,
        "wait",
    ),
    "overloaded": (Fault("status", status=503), UpstreamError, "503"),
    "conflict": (Fault("status", status=409), UpstreamError, "409"),
    "request timeout": (Fault("status", status=408), UpstreamError, "408"),
    "broken": (Fault("status", status=500), UpstreamError, "500"),
    "bad gateway": (Fault("status", status=502), UpstreamError, "502"),
    "redirect": (Fault("redirect"), UpstreamAddressError, "307"),
    "truncated JSON": (Fault("truncated"), UpstreamAnswerError, "base64"),
    "HTML": (Fault("html"), UpstreamAnswerError, "base64"),
    "url": (Fault("url"), UpstreamAnswerError, "base64"),
    "empty data": (Fault("empty"), UpstreamAnswerError, "base64"),
    "broken off": (Fault("break"), UpstreamUnknownOutcomeError, "broke"),
}


@pytest.mark.parametrize(("fault", "kind", "said"), FAULTS.values(), ids=FAULTS.keys())
async def test_a_misdeed_becomes_its_error_after_exactly_one_request(
    fault: Fault, kind: type[PixyProxyException], said: str
) -> None:
    with upstream(fault) as (demo, base_url), pytest.raises(PixyProxyException) as caught:
        await draw(base_url)
    assert type(caught.value) is kind
    assert said in caught.value.detail
    assert caught.value.__cause__ is not None
    assert demo.received == 1
    assert planted.UPSTREAM_KEY not in caught.value.detail + json.dumps(caught.value.extra)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({}, 20),
        ({"retry-after": "soon"}, 20),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "999999"}, 3600),
    ],
)
async def test_the_upstreams_retry_after_is_passed_on_within_bounds(headers: dict[str, str], seconds: int) -> None:
    with upstream(Fault("status", status=429, headers=headers)) as (_, base_url):
        with pytest.raises(UpstreamUnavailableError) as caught:
            await draw(base_url)
    assert caught.value.headers == {"Retry-After": str(seconds)}


@pytest.mark.parametrize("fault", [Fault("hang"), Fault("drip")], ids=["hang", "drip"])
async def test_the_deadline_is_total(fault: Fault) -> None:
    started = time.monotonic()
    with upstream(fault) as (demo, base_url):
        with pytest.raises(UpstreamDeadlineError):
            await draw(base_url, deadline=1)
        assert time.monotonic() - started < 4
        assert demo.received == 1


async def test_an_upstream_that_is_not_there_is_unavailable() -> None:
    (port,) = free_ports(1)
    with pytest.raises(UpstreamUnavailableError):
        await draw(f"http://127.0.0.1:{port}/v1")


async def test_a_request_that_cannot_be_written_was_never_sent() -> None:
    with upstream() as (demo, base_url):
        async with open_client(api_key="broken\n", base_url=base_url, connections=1) as client:
            with pytest.raises(UpstreamUnavailableError):
                await OpenAIImageGenerator(client, deadline=5).draw(REQUEST, turn=at_once)
    assert demo.received == 0


async def test_what_is_sent_as_a_picture_and_is_none_arrives_for_the_check() -> None:
    with upstream(Fault("magic")) as (_, base_url):
        drawing = await draw(base_url)
    with pytest.raises(UpstreamAnswerError, match="neither PNG"):
        examine(drawing.pictures[0])


async def test_a_wrong_key_is_said_to_be_ours_and_never_shown() -> None:
    with upstream(key="sk-another") as (demo, base_url), pytest.raises(UpstreamCredentialsError) as caught:
        await draw(base_url)
    assert demo.received == 1
    assert "sk-" not in caught.value.detail


async def test_a_reason_is_made_readable_and_holds_no_key() -> None:
    message = f"Bad\x1b[31m\r\nthing {planted.UPSTREAM_KEY} " + "x" * 5000
    with upstream(Fault("status", status=400, message=message)) as (_, base_url):
        with pytest.raises(UpstreamRefusedError) as caught:
            await draw(base_url)
    detail = caught.value.detail
    assert detail.isprintable()
    assert planted.UPSTREAM_KEY not in detail
    assert len(detail) < 1100


def test_a_usage_that_no_column_takes_is_left_out() -> None:
    assert storable_usage({"x": "\ud800"}) is None
    assert storable_usage({"x": "y" * 10_000}) is None
    assert storable_usage({"total_tokens": 3}) == {"total_tokens": 3}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"\x00" * 50,
        b"<!doctype html>",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
        b"\xff\xd8\xff" + b"\x00" * 100,
        b"RIFF\x00\x00\x00\x00WEBP" + b"\x00" * 100,
    ],
)
def test_what_is_no_picture_of_ours_is_refused(data: bytes) -> None:
    with pytest.raises(UpstreamAnswerError):
        examine(Picture.of(data))


@pytest.mark.parametrize(
    ("output_format", "content_type"), [("png", "image/png"), ("webp", "image/webp"), ("jpeg", "image/jpeg")]
)
def test_a_picture_is_known_by_its_bytes(output_format: str, content_type: str) -> None:
    data = tiny_picture(output_format=output_format)
    facts = examine(Picture.of(data))
    assert (facts.content_type, facts.width, facts.height, facts.size_bytes) == (content_type, 32, 16, len(data))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"size": "1000x1000"}, "multiples of 16"),
        ({"size": "64x1024"}, "1:3 to 3:1"),
        ({"output_format": "png", "output_compression": 50}, "output_compression"),
        ({"background": "transparent", "output_format": "jpeg"}, "transparent"),
        ({"quality": "superb"}, "quality"),
        ({"prompt": "draw this [refuse]"}, "safety system"),
    ],
)
async def test_the_demo_upstream_refuses_what_the_images_api_refuses(change: dict[str, object], said: str) -> None:
    with upstream() as (_, base_url), pytest.raises(UpstreamRefusedError, match=said):
        await draw(base_url, request=REQUEST.model_copy(update=change))


def test_the_demo_upstream_draws_the_same_for_the_same_prompt_and_another_for_another() -> None:
    assert tiny_picture("one") == tiny_picture("one") != tiny_picture("two")
