"""Lists are JSON that was made without models: it is what FastAPI would make of the models that OpenAPI declares."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter

from pixyproxy.core.generations import Generation, GenerationState, Origin, RecordedRequest
from pixyproxy.core.images import Image
from pixyproxy.core.inputs import Input
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.core.money import Cost
from pixyproxy.service.queries import PageQuery
from pixyproxy.web.generations.details import GenerationDetails
from pixyproxy.web.generations.details import values_of as values_of_generation
from pixyproxy.web.http.pages import page_response
from pixyproxy.web.images.details import ImageDetails, values_of
from tests.stage import BASE_URL

pytestmark = pytest.mark.anyio

ONE, OTHER = UUID(int=1), UUID("7f3c2a52-5ad0-5b8e-9a75-1a6c1d5c2b11")
NAMES = {0: "PIXYPROXY_API_KEY", 7: 'laptop "é" 🗼'}
WHOLE, PART = datetime(2026, 12, 1, tzinfo=UTC), datetime(2026, 12, 1, 23, 59, 59, 120, tzinfo=UTC)
ELSEWHERE = datetime(2026, 2, 28, 1, 2, 3, 450000, tzinfo=timezone(timedelta(hours=5, minutes=30)))
PLAIN: dict[str, Any] = {
    "guid": OTHER,
    "filename": f"{OTHER}.png",
    "prompt": "a lighthouse at dawn",
    "content_type": "image/png",
    "size_bytes": 1_500_000,
    "width": 1024,
    "height": 1536,
    "sha256": "ab" * 32,
    "model": "gpt-image-2",
    "created_at": WHOLE,
    "updated_at": PART,
}
UPLOAD = Input(role="mask", sha256="cd" * 32, content_type="image/webp", size_bytes=1)
STORED = Input(role="image", sha256="ef" * 32, content_type="image/jpeg", size_bytes=2**40, guid=ONE)
IMAGES = [
    Image(**PLAIN),
    Image(**{**PLAIN, "prompt": '"\\/\b\f\n\r\t\x1f\x7f\u2028 <é🗼>', "model": ""}),
    Image(**PLAIN, thumbhash=b"\x00\xff\xfe"),
    Image(**PLAIN, thumbhash=b""),
    Image(**PLAIN, sources=(UPLOAD, STORED)),
    Image(**{**PLAIN, "created_at": ELSEWHERE, "updated_at": ELSEWHERE, "size_bytes": 2**53 + 1}),
]
NESTED: dict[str, Any] = {"a": [1, 1.0, 1e300, -0.0, True, None, {"b": "é"}], "": "", "n": 2**70, "inf": float("inf")}
ORIGINS = [
    Origin(ONE, 0, {}),
    Origin(ONE, 7, {"model": "gpt-image-2", "size": "1024x1024"}, Cost(nano=53_100_000, basis="usage")),
    Origin(OTHER, 9, NESTED, Cost(nano=0, basis="none")),
    Origin(OTHER, 7, {}, Cost(nano=1, basis="estimate")),
]
RUNNING: dict[str, Any] = {
    "guid": ONE,
    "api_key_id": 0,
    "request": RecordedRequest(values={"prompt": "a dot", "model": "m"}),
    "state": GenerationState.RUNNING,
    "created_at": WHOLE,
    "updated_at": PART,
}
FAILED: dict[str, Any] = {**RUNNING, "state": GenerationState.FAILED}
GENERATIONS = [
    Generation(**RUNNING),
    Generation(**{**RUNNING, "api_key_id": 7, "idempotency_key": "somebody else's"}, upstream_request_id="req_1"),
    Generation(**RUNNING, idempotency_key="mine"),
    Generation(**{**RUNNING, "request": RecordedRequest(values=NESTED | {"inputs": [STORED.model_dump(mode="json")]})}),
    Generation(**FAILED, error={}, cost=Cost(nano=0, basis="none")),
    Generation(**FAILED, error={"detail": "d", "status": 502, "type": "urn:x", "title": "t", "cost": "none"}),
    Generation(**FAILED, error={"zeta": NESTED, "detail": "another version's", "cost": None, "alpha": 1}),
    Generation(
        **{**RUNNING, "state": GenerationState.SUCCEEDED, "api_key_id": 9},
        images=tuple(IMAGES),
        usage=NESTED,
        answer={"revised_prompt": "a dot.", "size": "32x32"},
        cost=Cost(nano=2 * 10**9, basis="usage"),
        expected_images=6,
    ),
]


async def made_by_fastapi(model: type[BaseModel], entries: list[Any]) -> bytes:
    """The body of an endpoint that declares a list of the model and returns these."""
    api = FastAPI()

    @api.get("/", response_model=list[model])  # type: ignore[valid-type]
    async def get() -> Any:
        return entries

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(api), base_url=BASE_URL) as client:
        response = await client.get("/")
    assert response.status_code == 200
    return response.content


def prepared(entries: list[dict[str, Any]]) -> bytes:
    return bytes(page_response(entries, url=BASE_URL, query=PageQuery(), next_cursor=None).body)


async def test_a_list_of_images_is_what_fastapi_makes_of_the_details() -> None:
    shapes = [(image, origin) for image in IMAGES for origin in ORIGINS]
    made = prepared([values_of(image, base_url=BASE_URL, origin=origin, names=NAMES) for image, origin in shapes])
    details = [ImageDetails.of(image, base_url=BASE_URL, origin=origin, names=NAMES) for image, origin in shapes]
    assert made == TypeAdapter(list[ImageDetails]).dump_json(details)
    assert made == await made_by_fastapi(ImageDetails, details)
    assert TypeAdapter(list[ImageDetails]).dump_json(TypeAdapter(list[ImageDetails]).validate_json(made)) == made


async def test_a_list_of_generations_is_what_fastapi_makes_of_the_details() -> None:
    known: dict[str, Any] = {"base_url": BASE_URL, "viewer": CONFIGURED_CALLER, "names": NAMES}
    made = prepared([values_of_generation(each, **known) for each in GENERATIONS])
    details = [GenerationDetails.of(each, **known) for each in GENERATIONS]
    assert made == TypeAdapter(list[GenerationDetails]).dump_json(details)
    assert made == await made_by_fastapi(GenerationDetails, details)
    assert b"somebody else's" not in made
    TypeAdapter(list[GenerationDetails]).validate_json(made)


async def test_every_member_that_is_declared_is_there_in_its_order() -> None:
    (image,) = [values_of(IMAGES[4], base_url=BASE_URL, origin=ORIGINS[1], names=NAMES)]
    assert list(image) == list(ImageDetails.model_fields)
    generation = values_of_generation(GENERATIONS[0], base_url=BASE_URL, viewer=CONFIGURED_CALLER, names=NAMES)
    assert list(generation) == list(GenerationDetails.model_fields)


async def test_an_empty_list_is_one() -> None:
    assert prepared([]) == b"[]" == await made_by_fastapi(ImageDetails, [])
