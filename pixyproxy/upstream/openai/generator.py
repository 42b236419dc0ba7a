"""The upstream: one request, a total deadline, an answer that is checked."""

import json
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import httpx2
import openai

from pixyproxy.core.exceptions import (
    PixyProxyException,
    UpstreamAddressError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from pixyproxy.core.generations import Drawing, GenerationRequest
from pixyproxy.core.inputs import InputFile
from pixyproxy.core.protocols import PartialSink
from pixyproxy.upstream.openai.errors import MAX_REASON, MAX_RETRY_AFTER, connection_error, retry_after_of, safe_code
from pixyproxy.upstream.openai.parameters import parameters_of
from pixyproxy.upstream.openai.scanner import AnswerScanner

MAX_USAGE_BYTES = 8192
MAX_USAGE_LEVELS = 8


class OpenAIImageGenerator:
    """`ImageGenerator` over an OpenAI-compatible Images API. `deadline`: seconds that the upstream has, in all."""

    def __init__(self, client: openai.AsyncOpenAI, *, deadline: float) -> None:
        self._client = client
        self._deadline = deadline

    async def draw(
        self,
        request: GenerationRequest,
        *,
        turn: Callable[[], Awaitable[None]],
        inputs: Sequence[InputFile] = (),  # noqa: ARG002
        partials: PartialSink | None = None,  # noqa: ARG002
    ) -> Drawing:
        """Have the request drawn, or the inputs edited, once; see `ImageGenerator.draw`."""
        try:
            with anyio.fail_after(self._deadline) as clock:
                return await self._draw(request, turn=turn, clock=clock)
        except TimeoutError as error:
            raise UpstreamDeadlineError(
                f"The upstream did not answer within {self._deadline:g} seconds. It may have drawn and billed."
            ) from error
        except openai.APIStatusError as error:
            raise self._status_error(error) from error
        except openai.APIConnectionError as error:
            raise connection_error(error.__cause__ or error) from error
        except httpx2.HTTPError as error:  # from reading the body, which the SDK leaves to us
            raise connection_error(error) from error
        except openai.OpenAIError as error:
            raise UpstreamError("The upstream's client failed.") from error

    async def _draw(
        self, request: GenerationRequest, *, turn: Callable[[], Awaitable[None]], clock: anyio.CancelScope
    ) -> Drawing:
        scanner = AnswerScanner()
        async with self._client.images.with_streaming_response.generate(**parameters_of(request)) as response:
            left = clock.deadline - anyio.current_time()
            clock.deadline = math.inf  # it is the upstream's: a queue of ours loses no picture that was paid for
            await turn()
            clock.deadline = anyio.current_time() + left
            async for chunk in response.iter_bytes():
                scanner.feed(chunk)
            request_id = response.headers.get("x-request-id")
        pictures, usage = scanner.finish()
        return Drawing(
            pictures=pictures,
            usage=storable_usage(usage),
            upstream_request_id=None if request_id is None else re.sub(r"[^!-~]", "", request_id)[:128],
        )

    def _status_error(self, error: openai.APIStatusError) -> PixyProxyException:
        status, code = error.status_code, safe_code(error.code)
        known = {"upstream_status": status} | ({"upstream_code": code} if code else {})
        if status in (400, 422) or (status == 404 and code == "model_not_found"):
            return UpstreamRefusedError(f"The upstream refused the request: {self._reason(error)}", extra=known)
        if status in (401, 403):
            return UpstreamCredentialsError(
                "The upstream refused PixyProxy's own key (OPENAI_API_KEY), not yours: "
                "the operator of this service must fix it.",
                extra=known,
            )
        if status == 429 or (status == 503 and "retry-after" in error.response.headers):
            if code == "insufficient_quota":
                return UpstreamUnavailableError(
                    "The quota of PixyProxy's own upstream account is used up.", retry_after=MAX_RETRY_AFTER
                )
            return UpstreamUnavailableError(
                "The upstream asks to wait; nothing was drawn.",
                retry_after=retry_after_of(error.response.headers.get("retry-after")),
            )
        if status == 404 or 300 <= status < 400:
            return UpstreamAddressError(
                f"The upstream answered {status}: OPENAI_BASE_URL does not lead to an Images API.", extra=known
            )
        return UpstreamError(f"The upstream failed with status {status}.", extra=known)

    def _reason(self, error: openai.APIStatusError) -> str:
        body = error.body
        message = body.get("message") if isinstance(body, dict) else None
        if not isinstance(message, str) or not message.strip():
            return f"status {error.status_code}, without a reason."
        readable = message.encode("utf-8", "replace").decode().replace(self._client.api_key, "[key]")
        readable = "".join(character if character.isprintable() else " " for character in readable)
        return readable[:MAX_REASON]


def storable_usage(usage: Any) -> dict[str, Any] | None:
    """The usage if a JSON column takes it: a picture that was paid for is not lost for an odd figure beside it."""
    if not isinstance(usage, dict) or not is_shallow(usage, levels=MAX_USAGE_LEVELS):
        return None
    try:
        text = json.dumps(usage, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # a NaN, or a lone surrogate
        return None
    return usage if len(text) <= MAX_USAGE_BYTES else None


def is_shallow(value: Any, *, levels: int) -> bool:
    """Whether the JSON value is nested at most so deep; MariaDB refuses 32 levels."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(is_shallow(each, levels=levels - 1) for each in inner)
