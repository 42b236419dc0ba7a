"""The upstream: one request, a total deadline, an answer that is checked."""

import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import httpx2
import openai

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAnswerError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import Drawing, GenerationRequest
from pixyproxy.core.inputs import InputFile
from pixyproxy.core.protocols import PartialSink
from pixyproxy.upstream.openai.answer import Answer, AnswerScanner
from pixyproxy.upstream.openai.errors import connection_error, status_error, stream_error
from pixyproxy.upstream.openai.events import EventScanner
from pixyproxy.upstream.openai.models import model_names
from pixyproxy.upstream.openai.parameters import parameters_of, uploads_of

Turn = Callable[[], Awaitable[None]]

logger = logging.getLogger(__name__)


class OpenAIImageGenerator:
    """`ImageGenerator` over an OpenAI-compatible Images API. `deadline`: seconds that the upstream has, in all."""

    def __init__(self, client: openai.AsyncOpenAI, *, deadline: float) -> None:
        self._client = client
        self._deadline = deadline

    async def models(self, *, deadline: float) -> list[str] | None:
        """The names of the upstream's models; see `ImageGenerator.models`."""
        return await model_names(self._client, deadline=deadline)

    async def draw(
        self,
        request: GenerationRequest,
        *,
        turn: Turn,
        inputs: Sequence[InputFile] = (),
        partials: PartialSink | None = None,
    ) -> Drawing:
        """Have the request drawn, or the inputs edited, once; see `ImageGenerator.draw`.

        Every picture was paid for: if an answer breaks off, or comes too late, its complete pictures are kept.
        """
        scanner = AnswerScanner(images=request.n or 1)
        try:
            with anyio.fail_after(self._deadline) as clock:

                async def untimed_turn() -> None:
                    left = clock.deadline - anyio.current_time()
                    clock.deadline = math.inf  # our own queue must not lose a picture that was paid for
                    await turn()
                    clock.deadline = anyio.current_time() + left

                async with self._send(request, inputs=inputs, partials=partials) as response:
                    request_id = response.headers.get("x-request-id")
                    if is_event_stream(response.headers):
                        answer = await self._read_events(response, turn=untimed_turn, partials=partials)
                    else:
                        await untimed_turn()
                        answer = await read_json(response, scanner)
        except TimeoutError as error:
            late = UpstreamDeadlineError(
                f"The upstream did not answer within {self._deadline:g} seconds. It may have drawn and billed."
            )
            answer = keep_arrived(scanner, late, cause=error)
        except openai.APIStatusError as error:
            raise status_error(error, api_key=self._client.api_key) from error
        except openai.APIConnectionError as error:
            raise connection_error(error.__cause__ or error) from error
        except httpx2.HTTPError as error:  # while we read the body ourselves, without the SDK
            raise connection_error(error) from error
        except openai.OpenAIError as error:
            raise UpstreamError("The upstream's client failed.") from error
        return Drawing(
            pictures=answer.pictures,
            usage=answer.usage,
            upstream_request_id=None if request_id is None else re.sub(r"[^!-~]", "", request_id)[:128],
            answer=answer.answer,
        )

    def _send(
        self, request: GenerationRequest, *, inputs: Sequence[InputFile], partials: PartialSink | None
    ) -> AbstractAsyncContextManager[Any]:
        parameters = parameters_of(request, partials=None if partials is None else partials.wanted)
        images = self._client.images.with_streaming_response
        return images.edit(**parameters, **uploads_of(inputs)) if inputs else images.generate(**parameters)

    async def _read_events(self, response: Any, *, turn: Turn, partials: PartialSink | None) -> Answer:
        """The picture of an event stream.

        The headers of a stream come before anything is drawn: a finish slot that was taken then would be idle while the
        upstream draws. Partial images are small, few, and not kept; they need no slot. The wait for a slot begins with
        the first chunk that has base64 of the picture itself. During the wait nothing is read, as with JSON.
        """
        events = (
            EventScanner(wanted=partials.wanted, publish=partials.publish) if partials is not None else EventScanner()
        )
        has_turn = False
        try:
            async for chunk in response.iter_bytes():
                events.feed(chunk)
                if events.has_begun_the_picture and not has_turn:
                    has_turn = True
                    await turn()
                if events.completed is not None or events.error is not None:
                    break  # what an upstream sends after it is ignored
            else:
                events.finish()
        except httpx2.HTTPError:
            events.finish()  # the connection may have broken after the picture
            if events.completed is None and events.error is None:
                raise
        if events.error is not None:
            raise stream_error(events.error, drawn=events.has_drawn, api_key=self._client.api_key)
        if events.completed is None:
            raise UpstreamUnknownOutcomeError(
                "The upstream's stream ended before its picture came. It may have drawn and billed."
            )
        return events.completed


def is_event_stream(headers: httpx2.Headers) -> bool:
    """Whether the upstream streams. One that does not support streams answers with JSON."""
    content_type: str = headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == "text/event-stream"


async def read_json(response: Any, scanner: AnswerScanner) -> Answer:
    """The pictures of an ImagesResponse."""
    try:
        async for chunk in response.iter_bytes():
            scanner.feed(chunk)
        return scanner.finish()
    except httpx2.HTTPError as error:
        return keep_arrived(scanner, connection_error(error), cause=error)
    except UpstreamAnswerError as error:
        return keep_arrived(scanner, error, cause=error.__cause__)


def keep_arrived(scanner: AnswerScanner, failure: PixyProxyException, *, cause: BaseException | None) -> Answer:
    """The complete pictures of an answer that failed; raises the failure if there are none."""
    answer = scanner.arrived()
    if answer is None:
        raise failure from cause
    logger.warning("the upstream's answer is incomplete; %d pictures are kept: %s", len(answer.pictures), failure.name)
    return answer
