"""What was recorded can be asked for again: a page repeats a generation from its details and its Idempotency-Key."""

import base64
import json
from typing import Any
from uuid import UUID

import pytest

from pixyproxy.core.exceptions import UpstreamUnavailableError
from pixyproxy.core.generations import DELETED_PROMPT, Generation, GenerationRequest
from pixyproxy.core.inputs import Input
from pixyproxy.core.keys import EVERYTHING, Caller
from pixyproxy.service.generating.begin import fingerprint_of
from pixyproxy.service.models import ModelCatalogue
from tests.fakes import tiny_picture
from tests.stage import Stage

pytestmark = pytest.mark.anyio

KEY = "order-66"
CALLER = Caller(api_key_id=0, name="PIXYPROXY_API_KEY", scopes=EVERYTHING)


def body_of(details: dict[str, Any]) -> dict[str, Any]:
    """The body of POST /image that asks for what a generation's details say was asked for."""
    body = {name: value for name, value in details["request"].items() if name not in ("n", "inputs")}
    for each in details["request"].get("inputs", []):
        if each["role"] == "image":
            body.setdefault("sources", []).append(each["guid"])
        else:
            body[each["role"]] = each["guid"]
    return body


async def newest(stage: Stage) -> dict[str, Any]:
    """The details of the newest generation."""
    async with stage.client() as client:
        (details,) = (await client.get("/generation?limit=1")).json()
    found: dict[str, Any] = details
    return found


async def post(stage: Stage, body: dict[str, Any], *, key: str = KEY) -> Any:
    async with stage.client() as client:
        return await client.post("/image", json=body, headers={"Idempotency-Key": key})


async def fails(stage: Stage, body: dict[str, Any]) -> dict[str, Any]:
    """The details of a generation with this body that failed and cost nothing."""
    stage.generator.failure = UpstreamUnavailableError("not now")
    assert (await post(stage, body)).json()["cost"] == "none"
    stage.generator.failure = None
    details = await newest(stage)
    assert (details["state"], details["idempotency_key"]) == ("failed", KEY)
    return details


async def test_a_failure_that_cost_nothing_is_repeated_from_its_details_and_bought_once() -> None:
    stage = Stage()
    failed = await fails(stage, {"prompt": "a dot"})
    again = await post(stage, body_of(failed), key=failed["idempotency_key"])
    assert again.status_code == 201
    assert "idempotent-replayed" not in again.headers
    for body in (body_of(failed), {"prompt": "a dot"}, body_of(await newest(stage))):
        replayed = await post(stage, body)
        assert (replayed.status_code, replayed.json()) == (201, again.json())
        assert replayed.headers["idempotent-replayed"] == "true"
    assert len(stage.generator.requests) == 2, "the failure and one picture"


async def test_the_first_client_may_still_repeat_what_it_sent_when_the_defaults_have_changed() -> None:
    stage = Stage()
    failed = await fails(stage, {"prompt": "a dot"})
    made = await post(stage, body_of(failed))
    later = stage.replica(model="gpt-image-3")
    assert (await post(later, {"prompt": "a dot"})).json() == made.json()
    assert (await post(later, body_of(failed))).json() == made.json()
    assert len(stage.generator.requests) == 2


async def test_details_that_are_no_longer_what_the_key_drew_are_another_request() -> None:
    stage = Stage()
    failed = await fails(stage, {"prompt": "a dot"})
    later = stage.replica(model="gpt-image-3")
    assert (await post(later, {"prompt": "a dot"})).json()["model"] == "gpt-image-3"
    assert (await post(later, body_of(failed))).json()["type"] == "urn:pixyproxy:problem:idempotency-key-reused"
    assert len(stage.generator.requests) == 2


FULL = {
    "prompt": "a dot",
    "model": "gpt-image-1.5",
    "size": "32x16",
    "quality": "low",
    "background": "opaque",
    "output_format": "webp",
    "output_compression": 50,
    "moderation": "low",
    "complexity": "high",
    "user": "u-1",
    "safety_identifier": "s-1",
}
CHANGES: list[dict[str, Any]] = [
    {"prompt": "a dot "},
    {"model": None},
    {"size": None},
    {"size": "16x32"},
    {"quality": "high"},
    {"quality": None},
    {"background": "auto"},
    {"output_format": None},
    {"output_compression": 51},
    {"moderation": "auto"},
    {"complexity": None},
    {"user": None},
    {"user": "u-2"},
    {"safety_identifier": None},
    {"safety_identifier": "s-2"},
]


def changed(body: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (body | change).items() if value is not None}


async def test_every_value_of_a_recorded_request_can_be_sent_again() -> None:
    stage = Stage(identify_callers=True)
    failed = await fails(stage, FULL)
    assert body_of(failed) == FULL
    assert (await post(stage, body_of(failed))).status_code == 201


@pytest.mark.parametrize("change", CHANGES, ids=json.dumps)
async def test_nothing_that_draws_something_else_is_the_same(change: dict[str, Any]) -> None:
    stage = Stage()
    failed = await fails(stage, FULL)
    other = await post(stage, changed(body_of(failed), change))
    same = change == {"prompt": "a dot "}  # trimmed before anything looks at it
    assert (other.status_code == 201) is same
    assert len(stage.generator.requests) == 1 + same


async def test_an_identity_that_was_filled_in_may_be_sent_or_left_out() -> None:
    stage = Stage(identify_callers=True)
    failed = await fails(stage, {"prompt": "a dot"})
    filled = failed["request"]["safety_identifier"]
    made = await post(stage, body_of(failed))
    without = changed(body_of(failed), {"safety_identifier": None})
    assert (await post(stage, without)).json() == made.json()
    assert (await post(stage.replica(identify_callers=False), body_of(failed))).json() == made.json()
    # Without it this replica would send none to the upstream.
    assert (await post(stage.replica(identify_callers=False), without)).status_code == 422
    assert [each.safety_identifier for each in stage.generator.requests] == [filled, filled]


async def test_the_model_of_an_alias_is_the_same_and_an_alias_that_moved_is_not() -> None:
    aliases = ModelCatalogue("gpt-image-2", aliases={"draw": "gpt-image-1.5"}, closed=True)
    stage = Stage(models=aliases)
    failed = await fails(stage, {"prompt": "a dot", "model": "draw"})
    assert failed["request"]["model"] == "gpt-image-1.5", "which the list does not offer itself"
    made = await post(stage, body_of(failed))
    assert made.status_code == 201
    assert (await post(stage, {"prompt": "a dot", "model": "draw"})).json() == made.json()
    moved = stage.replica(models=ModelCatalogue("gpt-image-2", aliases={"draw": "gpt-image-3"}))
    assert (await post(moved, changed(body_of(failed), {"model": "draw", "quality": "medium"}))).status_code == 422
    assert len(stage.generator.requests) == 2
    async with stage.client() as client:
        unlisted = await client.post("/image", json={"prompt": "a dot", "model": "gpt-image-9"})
    assert unlisted.json()["type"] == "urn:pixyproxy:problem:model-not-found"


@pytest.mark.parametrize(("n", "same"), [(None, True), (1, True), (2, False)])
async def test_one_image_is_the_same_as_no_number_and_several_are_not(n: int | None, same: bool) -> None:
    stage = Stage()
    await stage.private.create(GenerationRequest(prompt="a dot", n=n), caller=CALLER, idempotency_key=KEY)
    again = await post(stage, body_of(await newest(stage)))
    assert again.status_code == (201 if same else 422)
    assert len(stage.generator.requests) == 1


async def test_an_edit_is_repeated_with_the_guids_of_its_inputs() -> None:
    stage = Stage()
    one, other = await stage.create(), await stage.create(prompt="another dot")
    drawn = len(stage.generator.requests)
    edit = {"prompt": "a dot", "sources": [one["url"], other["guid"]], "mask": one["url"], "input_fidelity": "high"}
    failed = await fails(stage, edit)
    body = body_of(failed)
    assert (body["sources"], body["mask"]) == ([one["guid"], other["guid"]], one["guid"])
    for wrong in (
        {"sources": [other["guid"], one["guid"]]},
        {"sources": [one["guid"]]},
        {"mask": None},
        {"markup": one["guid"]},
        {"input_fidelity": "low"},
    ):
        assert (await post(stage, changed(body, wrong))).status_code == 422
    made = await post(stage, body)
    assert made.status_code == 201
    assert [each.get("guid") for each in made.json()["sources"]] == [one["guid"], other["guid"], one["guid"]]
    async with stage.client() as client:
        await client.delete(f"/image/{other['guid']}")
    assert (await post(stage, body)).json() == made.json(), "although a source was deleted since"
    assert len(stage.generator.requests) == drawn + 2


async def test_other_bytes_under_the_same_key_are_another_request() -> None:
    stage = Stage()

    def sent(picture: bytes) -> dict[str, Any]:
        url = "data:image/png;base64," + base64.b64encode(picture).decode()
        return {"prompt": "a dot", "model": "gpt-image-2", "quality": "medium", "sources": [url]}

    made = await post(stage, changed(sent(tiny_picture("one")), {"model": None}))
    assert (await post(stage, sent(tiny_picture("one")))).json() == made.json()
    assert (await post(stage, sent(tiny_picture("two")))).status_code == 422


async def test_what_stands_for_a_deleted_prompt_is_not_the_prompt_of_that_generation() -> None:
    stage = Stage()
    made = await post(stage, {"prompt": "a dot"})
    async with stage.client() as client:
        await client.delete(made.headers["location"])
    assert (await post(stage, {"prompt": "a dot"})).status_code == 410
    details = await newest(stage)
    assert details["request"]["prompt"] == DELETED_PROMPT
    assert (await post(stage, body_of(details))).status_code == 422


async def test_a_value_that_this_version_does_not_know_is_a_difference() -> None:
    stage = Stage()
    failed = await fails(stage, {"prompt": "a dot"})
    generation = stage.generations.generations[UUID(failed["guid"])]
    request = generation.request.model_copy(update={"values": {**generation.request.values, "seed": 7}})
    change: dict[str, Any] = {"request": request, "fingerprint": fingerprint_of(GenerationRequest(prompt="other"))}
    stage.generations.generations[generation.guid] = Generation.model_copy(generation, update=change)
    assert (await post(stage, body_of(failed))).status_code == 422


def test_inputs_are_facts_and_their_order_counts() -> None:
    facts = {"sha256": "1" * 64, "content_type": "image/png", "size_bytes": 1}
    one, other = Input(role="image", guid=UUID(int=1), **facts), Input(role="image", guid=UUID(int=2), **facts)
    asked = [GenerationRequest(prompt="a dot", inputs=each) for each in ((one, other), (other, one), (one,))]
    assert len({fingerprint_of(each) for each in asked}) == 3
