"""How the demo upstream misbehaves on request."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse

from pixyproxy.upstream.demo.answers import Event, written
from pixyproxy.upstream.demo.refusals import Refusal, error_body

NO_PICTURE = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()

Kind = Literal[
    # before any answer
    "status",  # `status`, `code`, `type` and `message` as an error
    "redirect",
    "html",
    "hang",
    # of answers and streams
    "drip",  # one byte after the other
    "truncated",  # half of the JSON, or of the last event, with a clean end
    "break",  # the same with a broken connection
    "magic",  # no finished picture is an image
    "url",  # a URL instead of base64
    "empty",  # no pictures: `data: []`, or a stream with partial images only
    "fewer",  # one picture less than n
    "more",  # one picture more than n
    "one-broken",  # the last of n pictures is no image
    # of streams
    "no-stream",  # JSON although a stream was asked for
    "break-after-partial",  # the connection breaks after the first partial image
    "hang-after-partial",  # nothing comes after the first partial image
    "error-first",  # an error event (moderation) before everything else
    "error-after-partial",  # and after the first partial image
    "bad-partial",  # no partial image is an image
    "noise",  # comments, ids, unknown events and CRLF: the format allows them all
]


@dataclass(frozen=True)
class Fault:
    """How the demo upstream misbehaves, for each request until this is changed."""

    kind: Kind
    status: int = 500
    code: str | None = None
    message: str = "The demo upstream was set to fail."
    type: str = "invalid_request_error"
    headers: dict[str, str] = field(default_factory=dict)


async def before_answering(fault: Fault, *, path: str, headers: dict[str, str]) -> Response | None:
    """The response of a fault without pictures; None for the other faults."""
    if fault.kind == "status":
        body = error_body(fault.message, code=fault.code, kind=fault.type)
        return JSONResponse(body, status_code=fault.status, headers=headers)
    if fault.kind == "redirect":
        return Response(status_code=307, headers=headers | {"location": path})
    if fault.kind == "html":
        return HTMLResponse("<!doctype html><title>Welcome</title>", headers=headers)
    if fault.kind == "hang":
        await anyio.sleep_forever()
    return None


def spoil_answer(fault: Fault, answer: dict[str, Any], *, headers: dict[str, str]) -> Response:
    """The JSON answer with its fault."""
    data = answer["data"]
    if fault.kind == "empty":
        data.clear()
    elif fault.kind == "url":
        data[:] = [{"url": "http://127.0.0.1/picture.png"} for _ in data]
    elif fault.kind == "magic":
        data[:] = [{"b64_json": NO_PICTURE} for _ in data]
    elif fault.kind == "fewer":
        data.pop()
    elif fault.kind == "more":
        data.append(data[-1])
    elif fault.kind == "one-broken":
        data[-1] = {"b64_json": NO_PICTURE}
    text = json.dumps(answer).encode()
    headers = headers | {"content-type": "application/json"}
    if fault.kind == "truncated":
        return Response(text[: len(text) // 2], headers=headers)
    if fault.kind == "drip":
        return StreamingResponse(_drip(text), headers=headers)
    if fault.kind == "break":
        return StreamingResponse(_break_off(text), headers=headers | {"content-length": str(len(text))})
    return Response(text, headers=headers)


async def spoil_stream(fault: Fault, events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """The stream's bytes with their fault."""
    kind = fault.kind
    if kind == "error-first":
        yield _error_event()
        return
    async for event in events:
        finished = event["type"].endswith(".completed")
        if kind == "noise":
            yield b': keep-alive\r\n\r\nevent: ping\r\ndata: {"type": "ping"}\r\n\r\nid: 7\r\n'
            yield written(event, newline="\r\n")
            continue
        if (kind == "empty" or kind == "fewer") and finished:
            return
        if finished and kind == "url":
            del event["b64_json"]
            event["url"] = "http://127.0.0.1/picture.png"
        if kind in ("magic", "one-broken") if finished else kind == "bad-partial":
            event["b64_json"] = NO_PICTURE
        text = written(event)
        if kind == "drip":
            async for byte in _drip(text):
                yield byte
            continue
        if kind in ("truncated", "break") and finished:
            yield text[: len(text) // 2]
            break
        yield text
        if kind == "more" and finished:
            yield text
        if kind == "error-after-partial":
            yield _error_event()
            return
        if kind in ("break-after-partial", "hang-after-partial"):
            break
    if kind == "hang-after-partial":
        await anyio.sleep_forever()
    if kind in ("break", "break-after-partial"):
        await anyio.sleep(0.05)  # let what was sent reach the client before the connection breaks
        raise ConnectionAbortedError("The demo upstream was set to break the connection.")


def _error_event() -> bytes:
    return written({"type": "error", **Refusal.of_moderation().body})


async def _drip(text: bytes) -> AsyncIterator[bytes]:
    """One byte at a time, fast enough for every timeout between two reads."""
    for position in range(len(text)):
        yield text[position : position + 1]
        await anyio.sleep(0.05)


async def _break_off(text: bytes) -> AsyncIterator[bytes]:
    """Half of the announced bytes."""
    yield text[: len(text) // 2]
