"""What details say to whom: callers learn who asked for a picture and how, everybody else what the picture is."""

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import anyio
import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from pixyproxy.core.exceptions import ConfigurationError, DatabaseUnavailableError, UpstreamRefusedError
from pixyproxy.core.generations import GenerationRequest, RecordedRequest
from pixyproxy.core.keys import EVERYTHING, KeyRights
from pixyproxy.service.keys import new_key
from pixyproxy.web.app import create_api
from tests import planted
from tests.stage import BASE_URL, FOR_CALLERS, KEY, Stage, public_part

pytestmark = pytest.mark.anyio

BY_CALLER = "Authorization, Cookie"
"""What `Vary` names in answers that depend on the caller; JSON that is large enough to be compressed names more."""
OWN = "PIXYPROXY_API_KEY"
"""The name of the configured key."""


async def a_key(stage: Stage, name: str) -> dict[str, str]:
    """The header of a new key with this name, which may do everything."""
    return {"Authorization": f"Bearer {await stage.keys.create(name, KeyRights(scopes=EVERYTHING))}"}


async def post(stage: Stage, headers: dict[str, str] = KEY, **body: Any) -> dict[str, Any]:
    async with stage.client(key=False) as client:
        response = await client.post("/image", json={"prompt": "a dot", **body}, headers=headers)
    assert response.status_code == 201, response.text
    details: dict[str, Any] = response.json()
    return details


async def get(stage: Stage, path: str, headers: dict[str, str] = KEY) -> httpx2.Response:
    async with stage.client(key=False) as client:
        return await client.get(path, headers=headers)


# --- Images


async def test_a_caller_learns_who_asked_for_an_image_and_how_in_every_answer() -> None:
    stage = Stage()
    laptop = await a_key(stage, "laptop")
    made = await post(stage, laptop, size="32x16", output_format="webp", user="u-1", safety_identifier="s-1")
    parameters = {"model": "gpt-image-2", "quality": "medium", "size": "32x16", "output_format": "webp"}
    assert made["parameters"] == parameters, "without prompt, user and safety identifier"
    assert made["caller"] == "laptop"
    assert UUID(made["generation"]) in stage.generations.generations
    for path in (f"/image/{made['guid']}", "/image", f"/generation/{made['generation']}", "/generation"):
        answer = (await get(stage, path)).json()
        answer = answer[0] if isinstance(answer, list) else answer
        image = answer["images"][0] if "images" in answer else answer
        assert image == made, path


async def test_the_caller_of_an_image_is_that_of_its_generation() -> None:
    stage = Stage()
    one, other = await a_key(stage, "laptop"), await a_key(stage, "ci")
    made = {(await post(stage, key))["guid"]: name for key, name in ((one, "laptop"), (other, "ci"), (KEY, OWN))}
    assert {each["guid"]: each["caller"] for each in (await get(stage, "/image", one)).json()} == made
    generations = (await get(stage, "/generation", other)).json()
    assert {each["images"][0]["guid"]: each["caller"] for each in generations} == made


async def test_a_key_that_was_revoked_keeps_its_name_and_one_without_a_record_has_none() -> None:
    stage = Stage()
    gone = await post(stage, await a_key(stage, "removed by hand".replace(" ", "-")))
    made = await post(stage, await a_key(stage, "laptop"))
    await stage.keys.revoke("laptop")
    record = next(key for key in stage.key_records.keys.values() if key.name == "removed-by-hand")
    stage.key_records.keys = {sha: key for sha, key in stage.key_records.keys.items() if key is not record}
    later = stage.replica()
    assert (await get(later, f"/image/{made['guid']}")).json()["caller"] == "laptop"
    assert (await get(later, f"/image/{gone['guid']}")).json()["caller"] is None
    assert [each["caller"] for each in (await get(later, "/generation")).json()] == ["laptop", None]


async def test_origins_and_names_are_asked_for_together_and_each_of_them_once() -> None:
    stage = Stage()
    for name in ("laptop", "ci"):
        key = await a_key(stage, name)
        for _ in range(3):
            await post(stage, key)
    later = stage.replica()
    asked, origins = 0, stage.generations.origins

    async def counted(images: Any) -> Any:
        nonlocal asked
        asked += 1
        return await origins(images)

    stage.generations.origins = counted  # type: ignore[method-assign]
    for _ in range(3):
        assert len((await get(later, "/image")).json()) == 6
    assert asked == 1, "an origin never changes"
    fresh = await post(stage, KEY)
    assert (await get(later, "/image")).json()[0] == fresh
    assert (await get(later, f"/image/{fresh['guid']}")).json() == fresh
    assert asked == 2
    assert stage.key_records.asked_for_names == 1


async def test_an_image_that_is_removed_while_the_list_is_read_is_left_out() -> None:
    stage = Stage()
    made, gone = await post(stage), await post(stage)
    search = stage.images.search

    async def search_and_lose(**values: Any) -> Any:
        page = await search(**values)
        del stage.images.images[UUID(gone["guid"])]
        return page

    stage.images.search = search_and_lose  # type: ignore[method-assign]
    assert (await get(stage, "/image")).json() == [made]


async def test_a_thumbhash_is_base64_for_everybody() -> None:
    stage = Stage()
    made = await post(stage)
    assert made["thumbhash"] is None
    assert made["thumbnail_url"] == f"{BASE_URL}/image/{made['guid']}/thumbnail?size=400"
    guid = UUID(made["guid"])
    stage.images.images[guid] = stage.images.images[guid].model_copy(update={"thumbhash": b"\x00\xff\x10"})
    for headers in (KEY, {}):
        assert (await get(stage, f"/image/{guid}", headers)).json()["thumbhash"] == "AP8Q"


async def test_the_answer_to_a_bought_picture_asks_the_database_for_no_name() -> None:
    stage = Stage()
    key = await a_key(stage, "laptop")
    assert (await post(stage, key))["caller"] == "laptop"
    assert stage.key_records.asked_for_names == 0


# --- Callers and everybody at one URL


WRONG: dict[str, dict[str, str]] = {
    "none": {},
    "a wrong key": {"Authorization": "Bearer wrong"},
    "a key of nobody": {"Authorization": f"Bearer {new_key()}"},
    "another scheme": {"Authorization": "Basic eDp5"},
    "no key": {"Authorization": "Bearer"},
    "a cookie of something else": {"Cookie": "theme=dark"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG.keys())
async def test_without_valid_credentials_the_details_are_public(headers: dict[str, str]) -> None:
    stage = Stage()
    made = await post(stage)
    response = await get(stage, f"/image/{made['guid']}", headers)
    assert (response.status_code, response.json()) == (200, public_part(made))
    assert response.headers["cache-control"] == "public, max-age=60"
    assert response.headers["vary"] == BY_CALLER


async def test_callers_get_more_at_the_same_url_under_another_tag_that_only_their_client_keeps() -> None:
    stage = Stage()
    made = await post(stage)
    path = f"/image/{made['guid']}"
    public, private = await get(stage, path, {}), await get(stage, path)
    assert (private.json(), public.json()) == (made, public_part(made))
    assert private.headers["cache-control"] == "private, no-cache"
    assert public.headers["vary"] == private.headers["vary"].removesuffix(", Accept-Encoding") == BY_CALLER
    tag = private.headers["etag"]
    assert tag != public.headers["etag"]
    known = await get(stage, path, {**KEY, "If-None-Match": tag})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    assert known.headers["cache-control"] == "private, no-cache"
    assert known.headers["vary"].startswith(BY_CALLER)
    assert (await get(stage, path, {"If-None-Match": tag})).status_code == 200, "it is not the public answer's"
    assert (await get(stage, path, {**KEY, "If-Match": public.headers["etag"]})).status_code == 412
    async with stage.client() as client:
        head = await client.head(path)
    assert (head.content, head.headers["etag"]) == (b"", tag)


async def test_a_caller_is_not_silently_told_less_while_the_database_is_unavailable() -> None:
    stage = Stage()
    made = await post(stage)
    stage.generations.failure = DatabaseUnavailableError("unavailable")
    assert (await get(stage, f"/image/{made['guid']}")).status_code == 503
    assert (await get(stage, f"/image/{made['guid']}", {})).json() == public_part(made)


async def test_pictures_never_look_at_credentials() -> None:
    stage = Stage()
    made = await post(stage)
    stage.key_records.failure = DatabaseUnavailableError("unavailable")
    for suffix in ("/content", ".png"):
        response = await get(stage, f"/image/{made['guid']}{suffix}", {"Authorization": f"Bearer {new_key()}"})
        assert response.status_code == 200
        assert "vary" not in response.headers


def public_paths(stage: Stage, *, image: dict[str, Any], generation: str) -> Iterable[tuple[str, str]]:
    """Every method and path that is served without a key, with real values in the place of parameters."""
    values = {"guid": image["guid"], "extension": "png"}
    for context in iter_route_contexts(create_api(stage.services, version="test").routes):
        path = re.sub(r"{(\w+)(:path)?}", lambda found: values.get(found[1], generation), str(context.path))
        for method in sorted(context.methods or ()):
            yield method, path


async def test_no_route_tells_anyone_without_a_key_who_asked_for_a_picture_or_with_which_others() -> None:
    stage = Stage()
    laptop = await a_key(stage, "planted-name-of-a-key")
    image = await post(stage, laptop, size="1234x4321", user="planted-user", safety_identifier="planted-identity")
    generation = image["generation"]
    secrets = (generation, "planted-name-of-a-key", "1234x4321", "planted-user", "planted-identity", *FOR_CALLERS)
    served = []
    async with stage.client(key=False) as client:
        for method, path in public_paths(stage, image=image, generation=generation):
            body = {"prompt": "a dot"} if method == "POST" else None
            response = await client.request(method, path, json=body)
            if response.status_code in (401, 405):
                continue
            served.append((method, path))
            if path == "/" or path.startswith(("/docs", "/openapi", "/favicon", "/static")):
                continue  # the documents of the service, which are the same for every image
            said = response.text + str(response.headers)
            assert [each for each in secrets if each in said and each != path.rpartition("/")[2]] == [], (method, path)
    url = f"/image/{image['guid']}"
    assert {("GET", url), ("GET", f"{url}/content"), ("HEAD", f"{url}.png"), ("GET", "/readyz")} <= set(served)
    assert not any(path.startswith(("/generation", "/v1", "/mcp")) for _, path in served)


# --- Generations


async def test_an_idempotency_key_is_shown_to_the_caller_whose_key_sent_it() -> None:
    stage = Stage()
    laptop, ci = await a_key(stage, "laptop"), await a_key(stage, "ci")
    made = await post(stage, {**laptop, "Idempotency-Key": "order-66"})
    for path in ("/generation", f"/generation/{made['generation']}"):
        for viewer, shown in ((laptop, "order-66"), (ci, None), (KEY, None)):
            answer = (await get(stage, path, viewer)).json()
            answer = answer[0] if isinstance(answer, list) else answer
            assert (answer["caller"], answer["idempotency_key"]) == ("laptop", shown)
    events = await get(stage, f"/generation/{made['generation']}", {**ci, "Accept": "text/event-stream"})
    assert '"caller":"laptop"' in events.text
    assert "order-66" not in events.text


async def test_a_generation_lasts_from_its_beginning_to_its_end() -> None:
    stage = Stage(sync_wait=0.01)
    drawing = anyio.Event()
    stage.generator.before = drawing.wait
    async with stage.client() as client:
        running = (await client.post("/image", json={"prompt": "a dot"})).json()
        path = f"/generation/{running['guid']}"
        assert running["duration"] is None
        await anyio.sleep(0.1)
        assert (await client.get(path)).json()["duration"] is None
        drawing.set()
        await stage.runner.drain()
        ended = (await client.get(path)).json()
        assert 0.1 <= ended["duration"] < 5
        assert ended["duration"] == round(ended["duration"], 3)
        await client.delete(f"/image/{ended['images'][0]['guid']}")
        assert (await client.get(path)).json()["duration"] == ended["duration"], "a deletion is not its end"


async def test_a_failed_generation_has_a_duration_that_stays_when_its_key_is_used_again() -> None:
    stage = Stage()
    stage.generator.failure = UpstreamRefusedError("not this")
    async with stage.client() as client:
        await client.post("/image", json={"prompt": "a dot"}, headers={"Idempotency-Key": "order-66"})
        (failed,) = (await client.get("/generation")).json()
        assert (failed["state"], failed["idempotency_key"]) == ("failed", "order-66")
        assert failed["duration"] >= 0
        stage.generator.failure = None
        await client.post("/image", json={"prompt": "a dot"}, headers={"Idempotency-Key": "order-66"})
        again = (await client.get(f"/generation/{failed['guid']}")).json()
    assert again == failed | {"idempotency_key": None}


async def test_clocks_that_differ_make_no_duration_below_nothing() -> None:
    stage = Stage()
    made = await post(stage)
    generation = stage.generations.generations[UUID(made["generation"])]
    earlier = {"updated_at": generation.created_at.replace(year=2025)}
    stage.generations.generations[generation.guid] = generation.model_copy(update=earlier)
    assert (await get(stage, f"/generation/{made['generation']}")).json()["duration"] == 0


async def test_generations_are_polled_by_their_tag_and_nothing_but_a_change_changes_it() -> None:
    stage = Stage(sync_wait=0.01)
    drawing = anyio.Event()
    stage.generator.before = drawing.wait
    async with stage.client() as client:
        location = (await client.post("/image", json={"prompt": "a dot"})).headers["location"]
        tags = {}
        for path in (location, "/generation", "/generation?limit=1", "/generation?state=running"):
            first = await client.get(path)
            tags[path] = first.headers["etag"]
            await anyio.sleep(0.01)
            await stage.generations.renew([UUID(location.rpartition("/")[2])], lease=99)
            known = await client.get(path, headers={"If-None-Match": tags[path]})
            assert (known.status_code, known.content) == (304, b"")
            assert known.headers["vary"].startswith(BY_CALLER)
            for name in ("etag", "cache-control", "retry-after"):
                assert known.headers.get(name) == first.headers.get(name)
            assert first.headers["cache-control"] == "private, no-cache"
            assert (await client.get(path, headers={"If-Match": '"other"'})).status_code == 412
        assert (await client.get(location)).headers["retry-after"]
        drawing.set()
        await stage.runner.drain()
        for path, tag in tags.items():
            changed = await client.get(path, headers={"If-None-Match": tag})
            assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)
            assert "retry-after" not in changed.headers
        tag = changed.headers["etag"]
        assert (await client.head("/generation?state=running", headers={"If-None-Match": tag})).status_code == 304


async def test_a_page_that_gets_a_next_one_is_another_page() -> None:
    stage = Stage()
    await post(stage)
    before = await get(stage, "/generation?limit=1")
    older = next(iter(stage.generations.generations.values()))
    moment = older.created_at.replace(year=2025)
    values: dict[str, Any] = {"guid": UUID(int=1), "created_at": moment, "request": RecordedRequest(values={})}
    stage.generations.generations[UUID(int=1)] = older.model_copy(update=values)
    after = await get(stage, "/generation?limit=1", {**KEY, "If-None-Match": before.headers["etag"]})
    assert (after.status_code, after.json()) == (200, before.json())
    assert "next" in after.links


async def test_each_caller_has_tags_of_its_own_where_answers_differ() -> None:
    stage = Stage()
    laptop = await a_key(stage, "laptop")
    await post(stage, {**laptop, "Idempotency-Key": "order-66"})
    tag = (await get(stage, "/generation", laptop)).headers["etag"]
    assert (await get(stage, "/generation", {**KEY, "If-None-Match": tag})).status_code == 200


async def test_generations_are_listed_by_caller_and_state() -> None:
    stage = Stage()
    laptop, ci = await a_key(stage, "laptop"), await a_key(stage, "ci")
    made = [(await post(stage, key))["generation"] for key in (laptop, ci, laptop, KEY)]
    stage.generator.failure = UpstreamRefusedError("not this")
    async with stage.client(key=False) as client:
        await client.post("/image", json={"prompt": "a dot"}, headers=laptop)

        async def guids(query: str) -> list[str]:
            response = await client.get(f"/generation?{query}", headers=ci)
            assert response.status_code == 200, response.text
            return [each["guid"] for each in response.json()]

        failed = (await guids("state=failed"))[0]
        assert await guids("caller=laptop") == [failed, made[2], made[0]]
        assert await guids("caller=laptop&state=succeeded") == [made[2], made[0]]
        assert await guids("caller=laptop&state=failed") == [failed]
        assert await guids("caller=ci&state=failed") == []
        assert await guids("caller=ci") == [made[1]]
        assert await guids(f"caller={OWN}") == [made[3]]
        assert await guids("caller=nobody") == await guids("caller=Laptop") == []
        await stage.keys.revoke("laptop")
        assert len(await guids("caller=laptop")) == 3
        first = await client.get("/generation?caller=laptop&state=succeeded&limit=1", headers=ci)
        assert "caller=laptop" in first.links["next"]["url"]
        second = await client.get(first.links["next"]["url"], headers=ci)
        assert [each["guid"] for each in first.json() + second.json()] == [made[2], made[0]]


@pytest.mark.parametrize("caller", ["", "a" * 65, "two words", "na%C3%AFve", "a%00"])
async def test_a_caller_that_can_be_no_key_is_refused(caller: str) -> None:
    response = await get(Stage(), f"/generation?caller={caller}")
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["?caller"]


async def test_no_key_may_have_the_name_of_the_configured_one() -> None:
    with pytest.raises(ConfigurationError):
        await Stage().keys.create(OWN)


async def test_every_image_of_a_generation_has_its_facts() -> None:
    stage = Stage()
    async with stage.client() as client:
        drawn = await client.post("/v1/images/generations", json={"prompt": planted.PROMPT, "n": 2, "size": "auto"})
        own = [each["pixyproxy"] for each in drawn.json()["data"]]
        images = (await client.get("/image")).json()
    assert {each["generation"] for each in own} == {each["generation"] for each in images}
    assert {each["thumbnail_url"] for each in own} == {each["thumbnail_url"] for each in images}
    parameters = {"model": "gpt-image-2", "quality": "medium", "size": "auto", "n": 2}
    assert [each["parameters"] for each in images] == [parameters] * 2
    assert RecordedRequest(values=GenerationRequest(prompt="a dot", n=2).values()).parameters == {"n": 2}
