"""The demo upstream: an OpenAI-compatible images server that draws with Pillow and says that it is a demo.

It answers `POST /v1/images/generations` as the OpenAI API reference describes it («Create image») and refuses what
that API refuses. `faults.py` makes it misbehave."""

import base64
import json
import time
from collections import deque
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from pixyproxy.upstream.demo.drawing import draw_picture
from pixyproxy.upstream.demo.faults import Fault, break_off, drip
from pixyproxy.upstream.demo.request import Refusal, check, error_body, pixels


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
