"""The demo upstream: an OpenAI-compatible images server that draws with Pillow and says that it is a demo.

It answers `POST /v1/images/generations` as the OpenAI API reference describes it («Create image»), refuses what
that API refuses, and can be told to misbehave.
"""

import base64
import json
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from pixyproxy.generation.drawing import draw_picture

REFUSE = "[refuse]"
"""A prompt with this in it is refused, as moderation would."""
QUALITIES = ("low", "medium", "high", "xhigh", "max", "auto")
PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "prompt": str,
    "model": str,
    "n": int,
    "size": str,
    "quality": str,
    "background": str,
    "output_format": str,
    "output_compression": int,
    "moderation": str,
    "safety_identifier": str,
}


@dataclass(frozen=True)
class Fault:
    """How the demo upstream misbehaves, for each request until it is told otherwise."""

    kind: Literal["status", "drip", "truncated", "html", "magic", "url", "empty", "hang", "break", "redirect"]
    status: int = 500
    code: str | None = None
    message: str = "The demo upstream was told to fail."
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 -- it is this server's answer, not an error of PixyProxy
    """A request that the API refuses with 400."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.body = error_body(message, param=param, code=code)


def error_body(message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error as the OpenAI API words it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def check(body: Any) -> dict[str, Any]:
    """The request, if the API would draw it."""
    if not isinstance(body, dict):
        raise Refusal("The request body must be a JSON object.")
    for name, value in body.items():
        if name not in PARAMETERS:
            raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
        if not isinstance(value, PARAMETERS[name]) or isinstance(value, bool):
            raise Refusal(f"Invalid type for '{name}'.", param=name, code="invalid_type")
    prompt = body.get("prompt", "")
    if not 1 <= len(prompt) <= 32_000:
        raise Refusal("The prompt must have 1 to 32000 characters.", param="prompt", code="invalid_value")
    if REFUSE in prompt:
        raise Refusal("Your request was rejected by the safety system.", code="moderation_blocked")
    if not 1 <= body.get("n", 1) <= 10:
        raise Refusal("'n' must be from 1 to 10.", param="n", code="invalid_value")
    one_of(body, "quality", QUALITIES)
    one_of(body, "background", ("transparent", "opaque", "auto"))
    one_of(body, "output_format", ("png", "webp", "jpeg"))
    one_of(body, "moderation", ("low", "auto"))
    output_format = body.get("output_format", "png")
    if "output_compression" in body and (output_format == "png" or not 0 <= body["output_compression"] <= 100):
        raise Refusal(
            "'output_compression' is 0 to 100, for webp and jpeg.", param="output_compression", code="invalid_value"
        )
    if body.get("background") == "transparent" and output_format == "jpeg":
        raise Refusal("A transparent background needs png or webp.", param="background", code="invalid_value")
    pixels(body.get("size", "auto"))
    return body


def one_of(body: dict[str, Any], name: str, values: tuple[str, ...]) -> None:
    """Refuse a value that is not on its parameter's list."""
    if body.get(name, values[0]) not in values:
        known = ", ".join(values)
        raise Refusal(f"Invalid value for '{name}': it must be one of {known}.", param=name, code="invalid_value")


def pixels(size: str) -> tuple[int, int]:
    """Width and height of a size that the 2.x models draw: multiples of 16, 1:3 to 3:1, at most 3840x2160 pixels."""
    if size == "auto":
        return 1024, 1024
    match = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", size)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    if not match or width % 16 or height % 16 or width * height > 3840 * 2160 or not 1 / 3 <= width / height <= 3:
        raise Refusal(
            "Invalid size: it must be 'auto' or WIDTHxHEIGHT in multiples of 16, from 1:3 to 3:1, up to 3840x2160.",
            param="size",
            code="invalid_size",
        )
    return width, height


class DemoUpstream:
    """The server's state: what it was asked, how long it takes, and how it misbehaves."""

    def __init__(self, *, delay: float = 0.0, api_key: str | None = None, keep: int = 0) -> None:
        self.delay = delay
        self.fault: Fault | None = None
        self.api_key = api_key
        self.received = 0
        self.requests: deque[dict[str, Any]] = deque(maxlen=keep)
        self.app: ASGIApp = Starlette(routes=[Route("/v1/images/generations", self._generate, methods=["POST"])])

    async def _generate(self, request: Request) -> Response:
        self.received += 1
        headers = {"x-request-id": f"req_{uuid4().hex}"}
        try:
            text = await request.body()
        except ClientDisconnect:
            return Response(status_code=400)
        self.requests.append({"headers": dict(request.headers), "body": text})
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or (self.api_key is not None and key != self.api_key):
            body = error_body(f"Incorrect API key provided: {key}.", code="invalid_api_key")
            return JSONResponse(body, status_code=401, headers=headers)
        try:
            asked = check(json.loads(text))
        except Refusal as refusal:
            return JSONResponse(refusal.body, status_code=400, headers=headers)
        except ValueError:
            return JSONResponse(error_body("The body is not JSON."), status_code=400, headers=headers)
        await anyio.sleep(self.delay)
        if self.fault is not None:
            return await self._misbehave(self.fault, asked, headers)
        return JSONResponse(await self._answer(asked), headers=headers)

    async def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        width, height = pixels(asked.get("size", "auto"))
        output_format = asked.get("output_format", "png")
        background = "transparent" if asked.get("background") == "transparent" else "opaque"

        def draw(index: int) -> str:
            picture = draw_picture(
                asked["prompt"],
                width=width,
                height=height,
                output_format=output_format,
                compression=asked.get("output_compression", 100),
                transparent=background == "transparent",
                number=index,
            )
            return base64.b64encode(picture).decode()

        drawn = [await anyio.to_thread.run_sync(draw, index) for index in range(asked.get("n", 1))]
        words = len(asked["prompt"].split())
        return {
            "created": int(time.time()),
            "background": background,
            "output_format": output_format,
            "quality": asked.get("quality", "medium"),
            "size": f"{width}x{height}",
            "data": [{"b64_json": text} for text in drawn],
            "usage": {
                "input_tokens": words,
                "input_tokens_details": {"image_tokens": 0, "text_tokens": words},
                "output_tokens": len(drawn),
                "total_tokens": words + len(drawn),
            },
        }

    async def _misbehave(self, fault: Fault, asked: dict[str, Any], headers: dict[str, str]) -> Response:
        headers = headers | fault.headers
        if fault.kind == "status":
            body = error_body(fault.message, code=fault.code)
            return JSONResponse(body, status_code=fault.status, headers=headers)
        if fault.kind == "redirect":
            return Response(status_code=307, headers=headers | {"location": "/v1/images/generations"})
        if fault.kind == "html":
            return HTMLResponse("<!doctype html><title>Welcome</title>", headers=headers)
        if fault.kind == "hang":
            await anyio.sleep_forever()
        answer = await self._answer(asked)
        if fault.kind == "empty":
            answer["data"] = []
        elif fault.kind == "url":
            answer["data"] = [{"url": "http://127.0.0.1/picture.png"}]
        elif fault.kind == "magic":
            answer["data"] = [{"b64_json": base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()}]
        text = json.dumps(answer).encode()
        headers["content-type"] = "application/json"
        if fault.kind == "truncated":
            return Response(text[: len(text) // 2], headers=headers)
        if fault.kind == "drip":
            return StreamingResponse(drip(text), headers=headers)
        if fault.kind == "break":
            return StreamingResponse(break_off(text), headers=headers | {"content-length": str(len(text))})
        return Response(text, headers=headers)


async def drip(text: bytes) -> Any:
    """One byte after the other, fast enough for every timeout that counts from read to read."""
    for position in range(len(text)):
        yield text[position : position + 1]
        await anyio.sleep(0.05)


async def break_off(text: bytes) -> Any:
    """Half of what was announced."""
    yield text[: len(text) // 2]
