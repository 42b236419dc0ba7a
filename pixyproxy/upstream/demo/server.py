"""The demo upstream: an OpenAI-compatible images server that draws with Pillow and says that it is a demo.

It answers `POST /v1/images/generations` and `POST /v1/images/edits` as the OpenAI API reference describes them and
refuses what that API refuses. `faults.py` makes it misbehave."""

import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from pixyproxy.upstream.demo.answers import answer, events, written
from pixyproxy.upstream.demo.faults import Fault, before_answering, spoil_answer, spoil_stream
from pixyproxy.upstream.demo.forms import Files, facts_of, split_form, split_json
from pixyproxy.upstream.demo.inputs import MAX_IMAGES, read_inputs
from pixyproxy.upstream.demo.refusals import Refusal, error_body
from pixyproxy.upstream.demo.request import Asked, check

DRAWN_AT_ONCE, READ_AT_ONCE = 4, 2
"""This bounds the memory of pictures and inputs."""


class DemoUpstream:
    """The server's state: the requests it received, its delay, and its fault.

    `requests` keeps each request's path, headers and body; of a form it keeps `form`, the fields in order, with the
    name, type, size and SHA-256 of files instead of their bytes.
    """

    def __init__(self, *, delay: float = 0.0, api_key: str | None = None, keep: int = 0) -> None:
        self.delay = delay
        self.fault: Fault | None = None
        self.api_key = api_key
        self.received = 0
        self.requests: deque[dict[str, Any]] = deque(maxlen=keep)
        self._drawing = anyio.CapacityLimiter(DRAWN_AT_ONCE)
        self._reading = anyio.CapacityLimiter(READ_AT_ONCE)
        self.app: ASGIApp = Starlette(
            routes=[
                Route("/v1/images/generations", self._generate, methods=["POST"]),
                Route("/v1/images/edits", self._edit, methods=["POST"]),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    async def _generate(self, request: Request) -> Response:
        return await self._serve(request, self._read_generation)

    async def _edit(self, request: Request) -> Response:
        return await self._serve(request, self._read_edit)

    async def _serve(self, request: Request, read: Callable[[Request], Awaitable[Asked]]) -> Response:
        self.received += 1
        headers = {"x-request-id": f"req_{uuid4().hex}"}
        try:
            asked = await read(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except Refusal as refusal:
            return JSONResponse(refusal.body, status_code=refusal.status, headers=headers)
        except HTTPException as error:
            return JSONResponse(error_body(error.detail), status_code=400, headers=headers)
        except ValueError:
            return JSONResponse(error_body("The body is not JSON."), status_code=400, headers=headers)
        fault, streamed = self.fault, asked.stream
        if fault is not None:
            headers |= fault.headers
            streamed = streamed and fault.kind != "no-stream"
            await anyio.sleep(0 if streamed else self.delay)
            if (response := await before_answering(fault, path=request.url.path, headers=headers)) is not None:
                return response
        elif not streamed:
            await anyio.sleep(self.delay)
        if streamed:
            return StreamingResponse(self._stream(asked, fault), headers=headers, media_type="text/event-stream")
        whole = await answer(asked, limiter=self._drawing)
        return spoil_answer(fault, whole, headers=headers) if fault else JSONResponse(whole, headers=headers)

    async def _stream(self, asked: Asked, fault: Fault | None) -> AsyncIterator[bytes]:
        drawn = events(asked, delay=self.delay, limiter=self._drawing)
        if fault is None:
            async for event in drawn:
                yield written(event)
        else:
            async for text in spoil_stream(fault, drawn):
                yield text

    async def _read_generation(self, request: Request) -> Asked:
        text = await request.body()
        self._keep(request, body=text)
        self._authenticate(request)
        return check(json.loads(text))

    async def _read_edit(self, request: Request) -> Asked:
        if request.headers.get("content-type", "").startswith("application/json"):
            text = await request.body()
            self._keep(request, body=text)
            self._authenticate(request)
            values, files = split_json(text)
            return await self._with_inputs(values, files)
        async with request.form(max_files=4 * MAX_IMAGES, max_fields=100) as form:
            self._keep(request, form=await facts_of(form))
            self._authenticate(request)
            values, files = split_form(form)
            return await self._with_inputs(values, files)

    async def _with_inputs(self, values: dict[str, Any], files: Files) -> Asked:
        asked = check(values, edit=True)
        mask, markup = (next(iter(files[name]), None) for name in ("mask", "markup"))
        read = partial(read_inputs, files["image"], mask=mask, markup=markup)
        return asked.editing(await anyio.to_thread.run_sync(read, limiter=self._reading))

    def _keep(self, request: Request, **what: Any) -> None:
        self.requests.append({"path": request.url.path, "headers": dict(request.headers), **what})

    def _authenticate(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not key or (self.api_key is not None and key != self.api_key):
            raise Refusal(f"Incorrect API key provided: {key}.", code="invalid_api_key", status=401)


async def _no_route(request: Request, error: Exception) -> Response:
    """404 and 405 as the API words them."""
    status = error.status_code if isinstance(error, HTTPException) else 404
    message = f"Invalid URL ({request.method} {request.url.path})"
    return JSONResponse(error_body(message), status_code=status)
