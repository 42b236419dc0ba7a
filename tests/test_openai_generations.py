"""POST /v1/images/generations, asked by the openai SDK as its users ask OpenAI."""

import asyncio
import math
from base64 import b64decode
from collections.abc import MutableMapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai import AsyncOpenAI

from pixyproxy.core.generations import Drawing, GenerationRequest
from pixyproxy.core.keys import EVERYTHING, Caller
from pixyproxy.service.models import ModelCatalogue, safety_identifier_of
from pixyproxy.web.openai.answers import PIECE, answer_of, base64_of
from pixyproxy.web.openai.facts import complete_usage
from tests import planted
from tests.fakes import FakeGenerator, tiny_picture
from tests.openai_stage import sdk, total_usage
from tests.stage import BASE_URL, Stage

pytestmark = pytest.mark.anyio
ALIASES = ModelCatalogue("gpt-image-2", aliases={"dall-e-3": "gpt-image-2"})


def test_a_bare_request_gets_a_picture_in_base64() -> None:
    stage = Stage()
    with sdk(stage) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    (drawn,), (image,) = answer.data or [], stage.images.images.values()
    assert b64decode(drawn.b64_json or "") == tiny_picture(planted.PROMPT) == stage.storage.objects[image.filename]
    assert (drawn.url, drawn.revised_prompt) == (None, None)
    facts = (answer.size, answer.quality, answer.background, answer.output_format)
    assert facts == ("32x16", "low", "opaque", "png")
    assert answer.usage is not None
    assert answer.usage.to_dict() == total_usage(7)
    own = (drawn.model_extra or {})["pixyproxy"]
    assert (own["guid"], own["model"]) == (str(image.guid), "gpt-image-2")
    assert answer._request_id


def test_every_parameter_reaches_the_upstream_but_those_of_retired_models() -> None:
    stage = Stage()
    with sdk(stage) as client:
        client.images.generate(
            prompt=planted.PROMPT,
            model="gpt-image-2",
            n=1,
            size="1536x1024",
            quality="hd",
            background="opaque",
            output_format="webp",
            output_compression=70,
            moderation="low",
            complexity="high",
            user="their user",
            safety_identifier="their hash",
            style="vivid",
            response_format="b64_json",
            partial_images=2,
            stream=False,
        )
    (request,) = stage.generator.requests
    assert request.values() == {
        "prompt": planted.PROMPT,
        "model": "gpt-image-2",
        "n": 1,
        "size": "1536x1024",
        "quality": "medium",
        "background": "opaque",
        "output_format": "webp",
        "output_compression": 70,
        "moderation": "low",
        "complexity": "high",
        "user": "their user",
        "safety_identifier": "their hash",
    }


def test_null_is_absent_and_auto_is_passed_on() -> None:
    stage = Stage()
    nothing: Any = None
    absent = dict.fromkeys(
        ("model", "n", "size", "quality", "background", "output_format", "output_compression", "moderation", "user"),
        nothing,
    )
    with sdk(stage) as client:
        client.images.generate(prompt=planted.PROMPT, **absent, response_format=None, style=None, stream=None)
        client.images.generate(
            prompt=planted.PROMPT, size="auto", quality="auto", background="auto", moderation="auto", user=""
        )
    first, second = (request.values() for request in stage.generator.requests)
    default = {"prompt": planted.PROMPT, "model": "gpt-image-2"}
    assert first == {**default, "quality": "medium"}
    assert second == {**default, "size": "auto", "quality": "auto", "background": "auto", "moderation": "auto"}


class SilentGenerator(FakeGenerator):
    """An upstream that says nothing besides the picture."""

    async def draw(self, *args: Any, **options: Any) -> Drawing:
        drawing = await super().draw(*args, **options)
        return drawing.model_copy(update={"answer": None, "usage": None})


def test_what_the_upstream_does_not_say_is_never_auto() -> None:
    stage = Stage(generator=SilentGenerator())
    with sdk(stage) as client:
        answer = client.images.generate(prompt=planted.PROMPT, size="auto", quality="auto", background="auto")
        chosen = client.images.generate(prompt=planted.PROMPT, quality="high", output_format="jpeg")
    assert (answer.size, answer.quality, answer.background, answer.output_format) == ("32x16", None, None, "png")
    assert (chosen.quality, chosen.output_format) == ("high", "jpeg")
    assert answer.usage is not None
    assert answer.usage.to_dict() == total_usage(0)


def test_three_images_are_one_generation() -> None:
    stage = Stage()
    with sdk(stage) as client:
        answer = client.images.generate(prompt=planted.PROMPT, n=3)
    pictures = [b64decode(each.b64_json or "") for each in answer.data or []]
    assert sorted(pictures) == sorted(stage.storage.objects.values())
    assert (len(set(pictures)), len(stage.generator.requests)) == (3, 1)


@pytest.mark.parametrize("count", [1, 3])
def test_a_url_comes_alone_and_ends_in_the_name_of_the_file(count: int) -> None:
    stage = Stage(public_url="https://pictures.example/base")
    with sdk(stage) as client:
        answer = client.images.generate(prompt=planted.PROMPT, n=count, response_format="url", output_format="jpeg")
    assert len(answer.data or []) == count
    for drawn in answer.data or []:
        assert drawn.b64_json is None
        path = PurePosixPath(urlsplit(drawn.url or "").path)
        assert path.parent == PurePosixPath("/base/image")
        assert path.name in stage.storage.objects
        assert path.suffix == ".jpg"
        assert (drawn.model_extra or {})["pixyproxy"]["url"] == drawn.url


def test_an_alias_says_which_model_drew_and_a_dall_e_name_gets_a_url() -> None:
    stage = Stage(models=ALIASES)
    with sdk(stage) as client:
        answer = client.images.generate(prompt=planted.PROMPT, model="dall-e-3")
        asked = client.images.generate(prompt=planted.PROMPT, model="dall-e-3", response_format="b64_json")
    (drawn,), (other,) = answer.data or [], asked.data or []
    assert (drawn.b64_json, other.url) == (None, None)
    assert (drawn.model_extra or {})["pixyproxy"]["model"] == "gpt-image-2"
    assert {request.model for request in stage.generator.requests} == {"gpt-image-2"}
    assert {each.request.model for each in stage.generations.generations.values()} == {"gpt-image-2"}


@pytest.mark.parametrize("revised", ["a grey dot", ["a grey dot"]])
def test_the_revised_prompt_is_passed_on(revised: object) -> None:
    class Revising(FakeGenerator):
        async def draw(self, *args: Any, **options: Any) -> Drawing:
            drawing = await super().draw(*args, **options)
            return drawing.model_copy(update={"answer": {**(drawing.answer or {}), "revised_prompt": revised}})

    with sdk(Stage(generator=Revising())) as client:
        answer = client.images.generate(prompt=planted.PROMPT)
    assert [each.revised_prompt for each in answer.data or []] == ["a grey dot"]


async def test_the_request_is_held_until_the_end_however_long_it_takes() -> None:
    stage = Stage(sync_wait=0.01)
    stage.generator.before = lambda: asyncio.sleep(0.1)
    async with stage.client() as client:
        response = await client.post("/v1/images/generations", json={"prompt": planted.PROMPT})
    assert (response.status_code, len(response.json()["data"])) == (200, 1)


async def test_a_repeated_idempotency_key_waits_for_the_generation_that_runs() -> None:
    stage = Stage()
    drawn = asyncio.Event()
    stage.generator.before = drawn.wait
    other = stage.replica()
    headers = {"Idempotency-Key": "once"}
    body = {"prompt": planted.PROMPT, "response_format": "url"}
    async with stage.client() as client, other.client() as second:
        first = asyncio.create_task(client.post("/v1/images/generations", json=body, headers=headers))
        while not stage.generations.generations:
            await asyncio.sleep(0)
        again = asyncio.create_task(second.post("/v1/images/generations", json=body, headers=headers))
        await asyncio.sleep(0.05)
        assert not again.done()
        drawn.set()
        answers = [await first, await again]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    assert len(stage.generator.requests) == 1


async def test_the_async_client_draws_side_by_side() -> None:
    stage = Stage()
    async with stage.client() as http:
        client = AsyncOpenAI(base_url=f"{BASE_URL}/v1", api_key=planted.API_KEY, http_client=http)
        answers = await asyncio.gather(*(client.images.generate(prompt=f"dot {number}") for number in range(5)))
    assert len({(answer.data or [])[0].b64_json for answer in answers}) == 5
    assert len(stage.generator.requests) == 5


async def test_equal_requests_side_by_side_are_not_merged() -> None:
    stage = Stage()
    body = {"prompt": planted.PROMPT, "response_format": "url"}
    async with stage.client() as client:
        answers = await asyncio.gather(*(client.post("/v1/images/generations", json=body) for _ in range(2)))
    assert len({answer.json()["data"][0]["url"] for answer in answers}) == 2


async def test_a_key_can_stand_for_the_end_user() -> None:
    stage = Stage(identify_callers=True)
    async with stage.client() as client:
        for body in ({}, {"user": "theirs"}, {"safety_identifier": "theirs"}):
            await client.post("/v1/images/generations", json={"prompt": planted.PROMPT, **body})
    caller = Caller(
        api_key_id=next(iter(stage.generations.generations.values())).api_key_id, name="any", scopes=EVERYTHING
    )
    ours = safety_identifier_of(caller)
    assert [each.safety_identifier for each in stage.generator.requests] == [ours, None, "theirs"]
    assert 32 <= len(ours) <= 64
    assert planted.API_KEY not in ours


async def test_the_announced_length_is_that_of_the_body() -> None:
    stage = Stage()
    for size in (1, 2, 3, PIECE, PIECE + 1):
        picture = tiny_picture()
        stage.generator.pictures = (picture + b"\0" * size, picture)
        async with stage.client() as client:
            response = await client.post("/v1/images/generations", json={"prompt": planted.PROMPT, "n": 2})
        assert int(response.headers["content-length"]) == len(response.content)
        assert [b64decode(each["b64_json"]) for each in response.json()["data"]] == list(stage.generator.pictures)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 3, 4), (PIECE * 2 + 1, 1), (0, 5), ()])
async def test_chunks_of_any_size_are_encoded_as_one(sizes: tuple[int, ...]) -> None:
    data = bytes(range(256)) * 1000

    async def chunks() -> Any:
        start = 0
        for size in sizes:
            yield memoryview(data)[start : start + size]
            start += size

    text = b"".join([piece async for piece in base64_of(chunks())])
    assert b64decode(text, validate=True) == data[: sum(sizes)]


def test_usage_is_what_the_upstream_gave_and_0_for_the_rest() -> None:
    given: dict[str, Any] = {"input_tokens": 5, "output_tokens": 7, "input_tokens_details": {"text_tokens": 5, "x": 1}}
    usage = complete_usage({**given, "odd": True})
    assert (usage["total_tokens"], usage["odd"]) == (12, True)
    assert usage["input_tokens_details"] == {"text_tokens": 5, "image_tokens": 0, "x": 1}
    assert usage["output_tokens_details"] == {"text_tokens": 0, "image_tokens": 0}
    for odd in (None, {}, {"input_tokens": "5", "input_tokens_details": 3, "output_tokens": True}):
        assert complete_usage(odd)["total_tokens"] == 0


async def test_a_large_answer_is_never_held_whole() -> None:
    stage = Stage()
    picture = tiny_picture() + b"\0" * (8 * 1024 * 1024)
    stage.generator.pictures = (picture,) * 3
    caller = await stage.keys.authenticate(planted.API_KEY)
    request = GenerationRequest(prompt=planted.PROMPT, n=3)
    created = await stage.private.create(request, caller=caller, wait=math.inf)
    answer = await answer_of(
        created.generation,
        response_format="b64_json",
        base_url=BASE_URL,
        public=stage.public,
        headers={},
        patience=60,
    )
    sizes: list[int] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sizes.append(len(message.get("body", b"")))

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    await answer({}, receive, send)
    assert sum(sizes) > 4 * len(picture)
    assert max(sizes) <= 2 * PIECE
    assert sum(1 for content in stage.storage.opened if not content.closed) == 0
