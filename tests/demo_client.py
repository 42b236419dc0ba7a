"""The demo upstream on a real socket, the openai package as its client, and images to send to it."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
from PIL import Image

from pixyproxy.upstream.demo.faults import Fault
from pixyproxy.upstream.demo.server import DemoUpstream
from tests import planted
from tests.listening import listening

Upload = tuple[str, bytes, str]
RED, BLUE = (200, 30, 30), (30, 30, 200)


@contextmanager
def demo_upstream(fault: Fault | None = None, *, delay: float = 0) -> Iterator[tuple[DemoUpstream, openai.OpenAI]]:
    """The server and a client that validates each answer strictly and retries nothing."""
    demo = DemoUpstream(api_key=planted.UPSTREAM_KEY, keep=100, delay=delay)
    demo.fault = fault
    with listening(demo.app) as address:
        with openai.OpenAI(
            api_key=planted.UPSTREAM_KEY, base_url=f"{address}/v1", max_retries=0, _strict_response_validation=True
        ) as client:
            yield demo, client


def an_image(
    colour: tuple[int, int, int] = RED, *, size: tuple[int, int] = (96, 64), output_format: str = "PNG"
) -> bytes:
    """A file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, output_format)
    return file.getvalue()


def an_overlay(*, size: tuple[int, int] = (96, 64), alpha: int = 0) -> bytes:
    """A PNG whose left half is opaque and whose right half has this alpha."""
    picture = Image.new("RGBA", size, (0, 0, 0, 255))
    picture.paste((0, 0, 0, alpha), (size[0] // 2, 0, *size))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def png(data: bytes, name: str = "image.png") -> Upload:
    """A file part of a form."""
    return name, data, "image/png"


def post(client: openai.OpenAI, route: str, *, content_type: str | None = None, **request: Any) -> httpx2.Response:
    """A raw request with the key."""
    headers = {"authorization": f"Bearer {client.api_key}"} | ({"content-type": content_type} if content_type else {})
    return httpx2.post(f"{client.base_url}images/{route}", headers=headers, timeout=30, verify=False, **request)


def error_of(response: httpx2.Response) -> dict[str, Any]:
    """The error of a response that has one and the four keys of OpenAI's errors."""
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def asked(route: str, **values: Any) -> dict[str, Any]:
    """The body of a request, for either route."""
    values = {"prompt": "a fox", "size": "32x32", **values}
    if route == "generations":
        return {"json": values}
    return {
        "data": {
            name: json.dumps(value) if name in ("n", "stream", "partial_images") else value
            for name, value in values.items()
        },
        "files": [("image", png(an_image()))],
    }


@contextmanager
def stream(
    client: openai.OpenAI, route: str, *, partial_images: int = 2, timeout: float = 20
) -> Iterator[httpx2.Response]:
    """A stream of either route."""
    headers = {"authorization": f"Bearer {client.api_key}"}
    body = asked(route, stream=True, partial_images=partial_images)
    url = f"{client.base_url}images/{route}"
    with httpx2.stream("POST", url, headers=headers, timeout=timeout, verify=False, **body) as response:
        assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        yield response


def read(response: httpx2.Response) -> tuple[bytes, str]:
    """What came, and how it ended: "clean", "broken" or "silent"."""
    came = b""
    try:
        for chunk in response.iter_raw():
            came += chunk
    except httpx2.RemoteProtocolError:
        return came, "broken"
    except httpx2.ReadTimeout:
        return came, "silent"
    return came, "clean"


def events_in(came: bytes) -> list[tuple[str, Any]]:
    """Each event's kind without its route, and its data; data that is no JSON stays bytes."""
    events: list[tuple[str, Any]] = []
    for block in came.replace(b"\r\n", b"\n").split(b"\n\n"):
        lines = dict(line.split(b": ", 1) for line in block.split(b"\n") if line)
        if b"event" not in lines:
            continue
        data = lines[b"data"]
        events.append((lines[b"event"].decode().rpartition(".")[2], json.loads(data) if data.endswith(b"}") else data))
    return events
