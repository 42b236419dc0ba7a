"""Keys that may not do everything, at every door: our own dialect, /v1, MCP, and the public routes."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any
from uuid import UUID

import httpx2
import openai
import pytest

from pixyproxy.core.exceptions import GenerationNotFoundError, ImageNotFoundError, NotAllowedError
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.keys import EVERYTHING, Caller, KeyRights, Scope, Scopes
from pixyproxy.service.queries import GenerationQuery, ImageQuery
from tests import planted
from tests.fakes import tiny_picture
from tests.mcp_client import mcp_client, text_of
from tests.openai_stage import sdk
from tests.stage import BASE_URL, FOR_CALLERS, KEY, Stage

pytestmark = pytest.mark.anyio

READ, DRAW = frozenset({Scope.READ}), frozenset({Scope.DRAW})


async def a_key(stage: Stage, *scopes: Scope, name: str = "narrow") -> dict[str, str]:
    """The header of a new key with these scopes."""
    made = await stage.keys.create(name, KeyRights(scopes=frozenset(scopes)))
    return {"Authorization": f"Bearer {made}"}


async def get(stage: Stage, path: str, headers: dict[str, str]) -> httpx2.Response:
    async with stage.client(key=False) as client:
        return await client.get(path, headers=headers)


# --- The service itself, whoever calls it


def a_caller(scopes: Scopes, *, api_key_id: int = 7) -> Caller:
    return Caller(api_key_id=api_key_id, name="laptop", scopes=scopes)


@pytest.mark.parametrize("missing", list(Scope))
async def test_the_service_asks_for_the_scope_whichever_door_a_request_came_through(missing: Scope) -> None:
    stage = Stage()
    image = (await stage.private.create(GenerationRequest(prompt="a dot"), caller=a_caller(EVERYTHING))).generation
    caller = a_caller(EVERYTHING - {missing, *[each for each in Scope if each == f"{missing}-all"]})
    works: dict[Scope, Coroutine[Any, Any, Any]] = {
        Scope.DRAW: stage.private.create(GenerationRequest(prompt="a dot"), caller=caller),
        Scope.READ: stage.private.list(ImageQuery(), caller=caller),
        Scope.ADMIN: stage.administration.list(caller=caller),
        Scope.DELETE: stage.private.delete(image.images[0].guid, caller=caller),
    }
    for scope, work in works.items():
        if scope is missing:
            with pytest.raises(NotAllowedError) as refused:
                await work
            assert (refused.value.extra, refused.value.cost) == ({"scope": missing.value}, "none")
        else:
            await work


async def test_each_part_of_the_private_face_asks() -> None:
    stage = Stage()
    drawn = (await stage.private.create(GenerationRequest(prompt="a dot"), caller=a_caller(EVERYTHING))).generation
    nobody = a_caller(frozenset())
    for work in (
        stage.private.create(GenerationRequest(prompt="a dot"), caller=nobody),
        stage.private.stream(GenerationRequest(prompt="a dot"), caller=nobody),
        stage.private.list(ImageQuery(), caller=nobody),
        stage.private.generations(GenerationQuery(), caller=nobody),
        stage.private.generation(drawn.guid, caller=nobody),
        stage.private.delete(drawn.images[0].guid, caller=nobody),
        stage.administration.list(caller=nobody),
        stage.administration.get("x", caller=nobody),
        stage.administration.create("x", KeyRights(), caller=nobody),
        stage.administration.change("x", {}, caller=nobody),
        stage.administration.rotate("x", caller=nobody),
        stage.administration.revoke("x", caller=nobody),
    ):
        with pytest.raises(NotAllowedError):
            await work
    assert len(stage.generator.requests) == 1
    assert drawn.images[0].guid in stage.images.images


async def test_somebody_elses_things_do_not_exist_and_one_that_was_begun_is_known_without_read() -> None:
    stage = Stage()
    drawn = (await stage.private.create(GenerationRequest(prompt="a dot"), caller=a_caller(DRAW))).generation
    other = a_caller(frozenset({Scope.READ, Scope.DELETE}), api_key_id=8)
    with pytest.raises(GenerationNotFoundError):
        await stage.private.generation(drawn.guid, caller=other)
    with pytest.raises(GenerationNotFoundError):
        await stage.private.begun(drawn.guid, caller=other)
    with pytest.raises(ImageNotFoundError):
        await stage.private.delete(drawn.images[0].guid, caller=other)
    begun = await stage.private.begun(drawn.guid, caller=a_caller(DRAW))
    assert (begun.guid, begun.images) == (drawn.guid, drawn.images)


# --- Lists


async def test_the_pages_of_ones_own_images_have_all_of_them_and_no_other() -> None:
    stage = Stage()
    own = await a_key(stage, Scope.DRAW, Scope.READ)
    expected = []
    async with stage.client(key=False) as client:
        for number in range(7):
            for headers in (own, KEY):
                answer = await client.post("/image", json={"prompt": f"a dot {number}"}, headers=headers)
                expected += [answer.json()["guid"]] if headers == own else []
        for path in ("/image", "/image?q=dot"):
            seen, url = [], f"{path}{'&' if '?' in path else '?'}limit=3"
            while url:
                page = await client.get(url, headers=own)
                seen += [each["guid"] for each in page.json()]
                assert {each["caller"] for each in page.json()} == {"narrow"}
                url = page.links["next"]["url"] if "next" in page.links else ""
            assert seen == expected[::-1], path
    everything = await a_key(stage, Scope.READ_ALL, name="all")
    assert len((await get(stage, "/image", everything)).json()) == 14


async def test_the_filter_by_somebody_else_is_as_empty_as_one_by_nobody() -> None:
    stage = Stage()
    await stage.create()
    own = await a_key(stage, Scope.READ)
    for path in ("/image", "/generation"):
        answers = [await get(stage, f"{path}?caller={name}", own) for name in ("PIXYPROXY_API_KEY", "nobody")]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, [])] * 2


# --- The public routes


async def test_a_caller_learns_of_somebody_elses_image_what_everybody_may_know() -> None:
    stage = Stage()
    source = await stage.create()
    made = await stage.create(sources=[source["guid"]])
    path = f"/image/{made['guid']}"
    public = await get(stage, path, {})
    for number, scopes in enumerate(({Scope.READ}, {Scope.ADMIN, Scope.DRAW, Scope.DELETE_ALL})):
        answer = await get(stage, path, await a_key(stage, *scopes, name=f"narrow-{number}"))
        assert answer.json() == public.json()
        assert not set(FOR_CALLERS) & set(answer.json())
        assert "private" in answer.headers["cache-control"]
    full = await get(stage, path, await a_key(stage, Scope.READ_ALL, name="all"))
    assert set(FOR_CALLERS) <= set(full.json())
    assert full.json()["sources"][0]["guid"] == source["guid"]


async def test_a_stored_image_of_somebody_else_may_be_edited_because_it_is_public() -> None:
    stage = Stage()
    source = await stage.create()
    own = await a_key(stage, Scope.DRAW)
    async with stage.client(key=False) as client:
        body = {"prompt": "a dot", "sources": [source["guid"]]}
        answer = await client.post("/image", json=body, headers=own)
    assert (answer.status_code, answer.json()["caller"]) == (201, "narrow")


# --- Before the body is read


class Unread:
    """A body of 4 MiB that counts how much of it is asked for."""

    def __init__(self) -> None:
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(64):
            self.read += 1
            yield b"x" * 65_536


@pytest.mark.parametrize("path", ["/image", "/v1/images/generations", "/v1/images/edits"])
async def test_a_key_that_may_not_draw_is_refused_whatever_it_sends(path: str) -> None:
    stage = Stage()
    own = await a_key(stage, Scope.READ)
    async with stage.client(key=False) as client:
        for kind in ("application/json", "multipart/form-data; boundary=x", "text/plain"):
            body = Unread()
            answer = await client.post(path, content=body, headers={**own, "Content-Type": kind})
            assert (answer.status_code, body.read) == (403, 0), kind
    assert not stage.spool.files


# --- /v1


async def test_clients_of_openai_are_denied_and_do_not_try_again() -> None:
    stage = Stage()
    key = (await a_key(stage, Scope.READ))["Authorization"].removeprefix("Bearer ")
    with sdk(stage, api_key=key, max_retries=2) as client:
        for edits in (False, True):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                if edits:
                    client.images.edit(prompt="a dot", image=("dot.png", tiny_picture(), "image/png"))
                else:
                    client.images.generate(prompt="a dot")
            body: Any = refused.value.body
            assert "'draw'" in body["message"]
            assert (body["type"], body["code"], body["param"]) == ("invalid_request_error", "not_allowed", None)
            assert body["pixyproxy"] == {"problem": "not-allowed", "cost": "none"}
        assert [model.id for model in client.models.list()] == ["gpt-image-2"]
    assert not stage.generator.requests


# --- MCP


async def test_a_tool_that_the_key_may_not_use_says_which_scope_it_needs() -> None:
    stage = Stage()
    made = await stage.create()
    headers = await a_key(stage, Scope.READ)
    transport = httpx2.ASGITransport(app=stage.app)
    async with mcp_client(BASE_URL, headers=headers, transport=transport) as client:
        assert len((await client.list_tools()).tools) == 5
        refused = await client.call_tool("generate_image", {"prompt": planted.PROMPT})
        assert refused.is_error
        assert "'draw'" in text_of(refused)
        assert "Nothing was billed." in text_of(refused)
        listed = await client.call_tool("list_images", {})
        assert (listed.structured_content or {})["images"] == []
        missing = await client.call_tool("get_generation", {"guid": made["generation"]})
        assert missing.is_error
        seen = await client.call_tool("get_image", {"guid": made["guid"]})
        content = seen.structured_content or {}
        assert not seen.is_error
        assert (content["guid"], content["generation"], content["caller"]) == (made["guid"], None, None)
    assert len(stage.generator.requests) == 1


async def test_a_tool_that_draws_needs_no_other_scope() -> None:
    stage = Stage()
    headers = await a_key(stage, Scope.DRAW)
    transport = httpx2.ASGITransport(app=stage.app)
    async with mcp_client(BASE_URL, headers=headers, transport=transport) as client:
        drawn = await client.call_tool("generate_image", {"prompt": planted.PROMPT})
        assert not drawn.is_error, text_of(drawn)
        listed = await client.call_tool("list_images", {})
        assert listed.is_error
        assert "'read'" in text_of(listed)
    ((guid, generation),) = stage.generations.generations.items()
    assert (generation.api_key_id, guid) == (1, UUID((drawn.structured_content or {})["guid"]))
