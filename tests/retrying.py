"""Clients that nobody here wrote, with the retries that they make by default: each goes to the next replica."""

import asyncio
import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai

from tests import planted
from tests.test_node_clients import node

CODE = Path(__file__).parent / "clients" / "retries.mjs"


@dataclass(frozen=True)
class Got:
    """What a client got: a picture, or an error with its status, which is None if no answer came."""

    picture: bytes | None = None
    status: int | None = None
    message: str = ""


class Client:
    """A client of some replicas. `timeout`: seconds of each try; None: the client's own default."""

    def __init__(self, name: str, replicas: Sequence[str], *, timeout: float | None = None) -> None:
        self.name = name
        self._replicas = replicas
        self._timeout = timeout

    def draw(self, prompt: str) -> Got:
        """What it gets for the prompt."""
        if self.name in ("openai", "ai"):
            return self._with_node(prompt)
        try:
            return asyncio.run(self._async(prompt)) if self.name == "python, async" else self._sync(prompt)
        except openai.APIStatusError as error:
            return Got(status=error.status_code, message=error.message)
        except openai.APIConnectionError as error:
            return Got(message=error.message)

    def _options(self) -> dict[str, Any]:
        given = {} if self._timeout is None else {"timeout": self._timeout}
        return {"api_key": planted.API_KEY, "base_url": f"{self._replicas[0]}/v1", **given}

    def _turn(self, request: httpx2.Request) -> None:
        turn = int(request.headers["x-stainless-retry-count"]) % len(self._replicas)
        request.url = request.url.copy_with(port=httpx2.URL(self._replicas[turn]).port)

    def _sync(self, prompt: str) -> Got:
        http = openai.DefaultHttpxClient(event_hooks={"request": [self._turn]})
        with openai.OpenAI(http_client=http, **self._options()) as client:
            return got(client.images.generate(prompt=prompt, size="32x16"))

    async def _async(self, prompt: str) -> Got:
        async def turn(request: httpx2.Request) -> None:
            self._turn(request)

        http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [turn]})
        async with openai.AsyncOpenAI(http_client=http, **self._options()) as client:
            return got(await client.images.generate(prompt=prompt, size="32x16"))

    def _with_node(self, prompt: str) -> Got:
        given = {} if self._timeout is None else {"TIMEOUT": str(int(self._timeout * 1000))}
        replicas = json.dumps(list(self._replicas))
        found = node(CODE.read_text(), self._replicas[0], CLIENT=self.name, PROMPT=prompt, REPLICAS=replicas, **given)
        if "picture" in found:
            found["picture"] = b64decode(found["picture"])
        return Got(**found)


def got(answer: openai.types.ImagesResponse) -> Got:
    """The one picture of an answer."""
    (image,) = answer.data or []
    return Got(picture=b64decode(image.b64_json or ""))
