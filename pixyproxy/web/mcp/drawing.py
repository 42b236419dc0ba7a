"""The tools that draw: they wait for the end, and report the seconds so far."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import anyio
from mcp.types import CallToolResult

from pixyproxy.core.exceptions import InternalError, PixyProxyException, ShuttingDownError
from pixyproxy.core.generations import Generation, PartialImage
from pixyproxy.core.inputs import InputFiles
from pixyproxy.service.callers import own_name
from pixyproxy.service.generating.created import Created, Streamed
from pixyproxy.service.generating.wait import NO_INPUTS
from pixyproxy.web.costs import cost_fact
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.http.clients import client_of
from pixyproxy.web.images.sources import inputs_of
from pixyproxy.web.log.request_log import record_of
from pixyproxy.web.mcp.answers import about_generation, about_image, describe_state
from pixyproxy.web.mcp.arguments import EditImage, GenerateImage
from pixyproxy.web.mcp.call import Call, parse_arguments

REPORT_EVERY = 2.0
"""Seconds between two reports of progress. Clients give up 60 s after the last one."""
LEAST_STEP = 0.001
"""Progress must increase with each report."""


async def generate_image(call: Call, arguments: Mapping[str, Any]) -> CallToolResult:
    """Draw a prompt."""
    return await draw(call, parse_arguments(GenerateImage, arguments), NO_INPUTS)


async def edit_image(call: Call, arguments: Mapping[str, Any]) -> CallToolResult:
    """Edit stored images."""
    asked = parse_arguments(EditImage, arguments)
    key, recorded = asked.idempotency_key, call.services.private.recorded_inputs
    inputs = await inputs_of(
        asked,
        uploads=call.services.uploads,
        base_url=call.base_url,
        recall=None if key is None else partial(recorded, caller=call.caller, idempotency_key=key),
    )
    return await draw(call, asked, inputs)


async def draw(call: Call, asked: GenerateImage | EditImage, inputs: InputFiles) -> CallToolResult:
    """Have it drawn, and wait for the end. Closes the inputs."""
    with anyio.CancelScope(shield=True):  # a client that leaves now must not close inputs that are in use
        streamed = await call.services.private.stream(
            asked.to_request(),
            caller=call.caller,
            idempotency_key=asked.idempotency_key,
            inputs=inputs,
            partial_images=asked.partial_images or None,
            client=client_of(call.request),
        )
    guid = str(streamed.guid)
    record_of(call.request.scope).facts["generation"] = guid
    try:
        return await answer_of(call, streamed, preview=asked.inline_preview)
    except PixyProxyException as error:
        error.extra.setdefault("generation", guid)
        raise
    except Exception as error:
        raise InternalError(extra={"generation": guid}) from error


async def answer_of(call: Call, streamed: Streamed, *, preview: bool) -> CallToolResult:
    """The answer about a generation that has begun, when it ends."""
    try:
        created = await end_of(streamed.guid, streamed.events, progress=Progress(call))
    except ShuttingDownError:
        created = Created(await continued(call, streamed.guid), replayed=True)
    generation, names = created.generation, own_name(call.caller)
    record_of(call.request.scope).facts.update(cost_fact(generation, replayed=created.replayed))
    if not generation.images:
        return about_generation(call, generation, names=names)
    image = generation.images[0]
    record_of(call.request.scope).facts["guid"] = str(image.guid)
    return await about_image(
        call,
        image,
        text=describe_state(generation, base_url=call.base_url),
        document=GenerationDetails.of(generation, base_url=call.base_url, viewer=call.caller, names=names),
        preview=preview,
    )


async def continued(call: Call, guid: UUID) -> Generation:
    """A generation that continues in another replica. An error says that it may be billed."""
    try:
        return await call.services.private.begun(guid, caller=call.caller)
    except PixyProxyException as error:
        error.cost = "unknown"
        raise


async def end_of(guid: UUID, events: AsyncGenerator[PartialImage | Created, None], *, progress: "Progress") -> Created:
    """The generation at its end, or in its state when this process ends. Closes the events."""
    upcoming: asyncio.Future[PartialImage | Created] | None = None
    try:
        await progress.report(f"Generation {guid} has begun.")
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(events))
            await asyncio.wait({upcoming}, timeout=REPORT_EVERY)
            if not upcoming.done():
                await progress.report(f"Generation {guid} is being drawn.")
                continue
            moment, upcoming = upcoming.result(), None
            if isinstance(moment, Created):
                return moment
            await progress.report(f"Generation {guid} has an unfinished picture, number {moment.index + 1}.")
    finally:
        with anyio.CancelScope(shield=True):
            if upcoming is not None and not upcoming.done():
                upcoming.cancel()
                with suppress(asyncio.CancelledError):
                    await upcoming
            await events.aclose()


class Progress:
    """Reports the seconds since its creation, to a client that requested progress."""

    def __init__(self, call: Call) -> None:
        self._session = call.session
        self._began = anyio.current_time()
        self._last = -LEAST_STEP

    async def report(self, message: str) -> None:
        """Report."""
        self._last = max(anyio.current_time() - self._began, self._last + LEAST_STEP)
        await self._session.report_progress(round(self._last, 3), message=message)
