"""POST /image with `sources`: stored images are edited."""

import base64
import hashlib
import io
import random
from typing import Any

import pytest
from PIL import Image as Pillow

from pixyproxy.core import limits
from pixyproxy.core.exceptions import StorageUnavailableError, UpstreamRefusedError
from tests import planted
from tests.fakes import FakeUploadSpool, tiny_picture
from tests.stage import BASE_URL, Stage, public_part

pytestmark = pytest.mark.anyio

UNKNOWN = "0f0e0d0c-0b0a-4908-8706-050403020100"
PICTURE = tiny_picture(planted.PROMPT)
WEBP = tiny_picture(planted.PROMPT, output_format="webp")
EDIT = {"prompt": "the same at night"}


async def post(stage: Stage, headers: dict[str, str] | None = None, **body: Any) -> Any:
    """The answer to an edit, after which no file is left."""
    async with stage.client() as client:
        response = await client.post("/image", json={**EDIT, **body}, headers=headers)
    assert stage.spool.open_files == []
    return response


async def test_stored_images_are_edited_by_guid_and_by_each_of_their_urls() -> None:
    stage = Stage()
    png, webp = await stage.create(), await stage.create(output_format="webp")
    names = [
        png["guid"],
        png["url"],
        f"{BASE_URL}/image/{webp['guid']}.webp",
        f"{BASE_URL}/image/{webp['guid']}",
    ]
    response = await post(stage, sources=names, mask=png["guid"], input_fidelity="high")
    assert response.status_code == 201
    assert stage.generator.inputs[-1] == (PICTURE, PICTURE, WEBP, WEBP, PICTURE)
    asked = stage.generator.requests[-1]
    assert [each.role for each in asked.inputs] == ["image"] * 4 + ["mask"]
    assert (asked.prompt, asked.input_fidelity) == ("the same at night", "high")
    details = response.json()
    assert details["sources"] == [
        {"role": role, **{name: source[name] for name in ("guid", "url", "sha256", "content_type", "size_bytes")}}
        for role, source in (*(("image", each) for each in (png, png, webp, webp)), ("mask", png))
    ]
    async with stage.client(key=False) as client:
        public = (await client.get(f"/image/{details['guid']}")).json()
    assert [each.keys() for each in public["sources"]] == [{"role", "sha256", "content_type", "size_bytes"}] * 5
    assert {**public, "sources": details["sources"]} == public_part(details)
    assert not {"sources", "mask", "partial_images"} & asked.values().keys()


async def test_a_picture_that_is_sent_along_is_edited_and_not_kept() -> None:
    stage = Stage()
    url = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    details = (await post(stage, sources=[url])).json()
    (source,) = details["sources"]
    assert (source["guid"], source["url"], source["size_bytes"]) == (None, None, len(PICTURE))
    assert stage.generator.inputs == [(PICTURE,)]
    assert list(stage.storage.objects) == [details["filename"]]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"sources": [UNKNOWN]}, "#/sources/0"),
        ({"sources": ["{guid}", UNKNOWN]}, "#/sources/1"),
        ({"sources": ["{guid}", "https://elsewhere.example/a.png"]}, "#/sources/1"),
        ({"sources": ["file:///etc/passwd"]}, "#/sources/0"),
        ({"sources": ["{base}/image/{guid}.webp"]}, "#/sources/0"),
        ({"sources": ["{base}/generation/{guid}"]}, "#/sources/0"),
        ({"sources": ["{guid}"], "mask": UNKNOWN}, "#/mask"),
        ({"sources": ["{guid}"], "markup": "no guid"}, "#/markup"),
        ({"sources": []}, "#/sources"),
        ({"sources": ["{guid}"] * 17}, "#/sources"),
        ({"sources": "{guid}"}, "#/sources"),
        ({"sources": [""]}, "#/sources/0"),
        ({"mask": "{guid}"}, "#"),
        ({"markup": "{guid}"}, "#"),
        ({"input_fidelity": "high"}, "#"),
    ],
)
async def test_what_names_no_stored_image_is_refused_before_anything_is_bought(
    body: dict[str, Any], pointer: str
) -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.replace("{guid}", guid).replace("{base}", BASE_URL)

    response = await post(stage, **{name: filled(value) for name, value in body.items()})
    assert (response.status_code, response.json()["type"]) == (422, "urn:pixyproxy:problem:invalid-request")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert (len(stage.generator.requests), len(stage.generations.generations)) == (1, 1)


async def test_a_deleted_image_is_not_edited() -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    async with stage.client() as client:
        await client.delete(f"/image/{guid}")
    assert (await post(stage, sources=[guid])).status_code == 422


async def test_a_mask_that_is_no_png_is_an_unsupported_file() -> None:
    stage = Stage()
    guid = (await stage.create(output_format="webp"))["guid"]
    response = await post(stage, sources=[guid], mask=guid)
    assert (response.status_code, response.json()["type"]) == (415, "urn:pixyproxy:problem:unsupported-file")
    assert response.json()["errors"][0]["pointer"] == "#/mask"


async def test_a_source_whose_bytes_are_lost_or_unavailable_buys_nothing() -> None:
    stage = Stage()
    details = await stage.create()
    stage.storage.failure = StorageUnavailableError("It does not answer.")
    unavailable = await post(stage, sources=[details["guid"]])
    assert (unavailable.status_code, unavailable.json()["cost"]) == (503, "none")
    stage.storage.failure = None
    for stored in ({}, {details["filename"]: PICTURE + b"longer"}):
        stage.storage.objects = stored
        lost = await post(stage, sources=[details["guid"]])
        assert (lost.status_code, lost.json()["type"]) == (502, "urn:pixyproxy:problem:image-content-lost")
    assert len(stage.generator.requests) == 1


async def test_sources_that_have_no_room_are_refused_for_now() -> None:
    stage = Stage(spool=FakeUploadSpool(budget=len(PICTURE)))
    guid = (await stage.create())["guid"]
    response = await post(stage, sources=[guid, guid])
    assert (response.status_code, response.json()["type"]) == (503, "urn:pixyproxy:problem:uploads-full")
    assert (response.json()["cost"], "retry-after" in response.headers) == ("none", True)
    assert (await post(stage, sources=[guid])).status_code == 201


async def test_a_refused_edit_leaves_no_file_and_can_be_sent_again() -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    stage.generator.failure = UpstreamRefusedError("not this")
    assert (await post(stage, sources=[guid])).status_code == 422
    stage.generator.failure = None
    assert (await post(stage, sources=[guid])).status_code == 201


async def test_sources_are_part_of_what_an_idempotency_key_stands_for() -> None:
    stage = Stage()
    guids = [(await stage.create(output_format=form))["guid"] for form in ("png", "webp")]
    once = {"Idempotency-Key": "order-1"}
    first = await post(stage, once, sources=guids)
    again = await post(stage, once, sources=[guids[0], f"{BASE_URL}/image/{guids[1]}/content"])
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    for other in ({"sources": guids[::-1]}, {"sources": guids[:1]}, {}):
        response = await post(stage, once, **other)
        assert response.json()["type"] == "urn:pixyproxy:problem:idempotency-key-reused"
    assert len(stage.generator.requests) == 3


async def test_a_repeated_key_gives_the_recorded_edit_though_its_source_was_deleted() -> None:
    stage = Stage()
    guid, other = [(await stage.create(output_format=form))["guid"] for form in ("png", "webp")]
    once, url = {"Idempotency-Key": "order-1"}, f"{BASE_URL}/image/{guid}.png"
    first = await post(stage, once, sources=[url], mask=guid)
    async with stage.client() as client:
        assert (await client.delete(f"/image/{guid}")).status_code == 204
    again = await post(stage, once, sources=[url], mask=guid)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    # Without the key, for another request, or under another name it is gone.
    for headers, sources, status in (
        ({}, [guid], 422),
        (once, [guid, other], 422),
        (once, [f"{BASE_URL}/image/{guid}.webp"], 422),
        ({"Idempotency-Key": "order-2"}, [guid], 422),
    ):
        refused = await post(stage, headers, sources=sources)
        assert refused.status_code == status, refused.text
    assert len(stage.generator.requests) == 3


@pytest.mark.parametrize("how", ["lost", "others", "unavailable"])
async def test_a_repeated_key_gives_the_recorded_edit_though_the_bytes_of_its_source_cannot_be_read(how: str) -> None:
    stage = Stage()
    source = await stage.create()
    guid, once = source["guid"], {"Idempotency-Key": "order-1"}
    first = await post(stage, once, sources=[guid])
    if how == "lost":
        del stage.storage.objects[source["filename"]]
    elif how == "others":
        stage.storage.objects[source["filename"]] = tiny_picture("another")
    else:
        stage.storage.failure = StorageUnavailableError("down")
    again = await post(stage, once, sources=[guid])
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    kind = "storage-unavailable" if how == "unavailable" else "image-content-lost"
    for headers in ({}, {"Idempotency-Key": "order-2"}):
        refused = await post(stage, headers, sources=[guid])
        assert refused.json()["type"] == f"urn:pixyproxy:problem:{kind}"
    assert len(stage.generator.requests) == 2
    assert stage.spool.open_files == []


async def test_a_failed_edit_whose_source_cannot_be_read_is_tried_again_when_it_can() -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    once = {"Idempotency-Key": "order-1"}
    stage.generator.failure = UpstreamRefusedError("no")
    assert (await post(stage, once, sources=[guid])).status_code == 422
    stage.generator.failure = None
    stage.storage.failure = StorageUnavailableError("down")
    down = await post(stage, once, sources=[guid])
    assert (down.status_code, down.json()["type"]) == (503, "urn:pixyproxy:problem:storage-unavailable")
    stage.storage.failure = None
    assert (await post(stage, once, sources=[guid])).status_code == 201


async def test_a_failed_edit_whose_source_was_deleted_is_not_tried_again() -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    once = {"Idempotency-Key": "order-1"}
    stage.generator.failure = UpstreamRefusedError("no")
    assert (await post(stage, once, sources=[guid])).status_code == 422
    stage.generator.failure = None
    async with stage.client() as client:
        assert (await client.delete(f"/image/{guid}")).status_code == 204
    gone = await post(stage, once, sources=[guid])
    assert (gone.status_code, gone.json()["errors"][0]["pointer"]) == (422, "#/sources/0")
    assert len(stage.generator.requests) == 2


async def test_edited_images_can_be_edited_again_after_their_source_is_gone() -> None:
    stage = Stage()
    first = await stage.create()
    second = (await post(stage, sources=[first["guid"]])).json()
    async with stage.client() as client:
        assert (await client.delete(f"/image/{first['guid']}")).status_code == 204
        assert (await client.get(f"/image/{second['guid']}")).json() == second
        for source in second["sources"]:
            source_url = source.pop("url")
            del source["guid"]
        async with stage.client(key=False) as stranger:
            assert (await stranger.get(f"/image/{second['guid']}")).json() == public_part(second)
        assert (await client.get(source_url)).status_code == 404
    third = (await post(stage, sources=[second["guid"]])).json()
    assert third["sources"][0]["guid"] == second["guid"]


def noise(width: int, height: int) -> bytes:
    """A PNG that does not compress: four bytes a pixel."""
    file = io.BytesIO()
    Pillow.frombytes("RGBA", (width, height), random.Random(7).randbytes(4 * width * height)).save(file, "PNG")
    return file.getvalue()


LARGE = noise(1000, 1040)
"""A painted mask, as large as one can be."""


def data_url(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()


async def test_a_painted_mask_of_four_megabytes_is_accepted_and_its_facts_are_recorded() -> None:
    assert limits.MAX_MASK * 0.98 < len(LARGE) <= limits.MAX_MASK
    stage = Stage()
    source = await stage.create()
    response = await post(stage, sources=[source["guid"]], mask=data_url(LARGE))
    assert response.status_code == 201, response.text
    assert stage.generator.inputs[-1] == (PICTURE, LARGE)
    facts = {"sha256": hashlib.sha256(LARGE).hexdigest(), "content_type": "image/png", "size_bytes": len(LARGE)}
    assert response.json()["sources"][1] == {"role": "mask", "guid": None, "url": None, **facts}
    async with stage.client() as client:
        (generation,) = (await client.get("/generation?limit=1")).json()
    assert generation["request"]["inputs"][1] == {"role": "mask", **facts}
    assert len(stage.storage.objects) == 2, "the mask is not kept"


async def test_a_large_body_is_no_other_request_than_its_pictures_and_texts() -> None:
    stage = Stage()
    source = await stage.create()
    key = {"Idempotency-Key": "order-66"}
    made = await post(stage, key, sources=[data_url(LARGE), source["url"]], mask=source["guid"])
    assert made.status_code == 201
    assert stage.generator.inputs[-1] == (LARGE, PICTURE, PICTURE)
    async with stage.client() as client:
        await client.delete(f"/image/{source['guid']}")
    again = await post(stage, key, sources=[data_url(LARGE), source["url"]], mask=source["guid"])
    assert (again.json(), again.headers["idempotent-replayed"]) == (made.json(), "true")
    other = await post(stage, key, sources=[data_url(LARGE[:-1] + b"!"), source["url"]], mask=source["guid"])
    assert other.status_code in (415, 422)


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({"sources": ["{large}"], "mask": "{too large}"}, 422, "#/mask"),
        ({"sources": ["{large}"], "mask": "{no picture}"}, 415, "#"),
        ({"sources": ["{large}"], "prompt": "{large}"}, 422, "#"),
        ({"sources": ["{large}"], "prompt": "a" * 1_100_000}, 413, None),
        ({"sources": ["{large}"], "unknown": "{large}"}, 422, "#"),
        ({"mask": "{large}"}, 422, "#"),
        ({"sources": ["{large}"] * 17}, 422, "#/sources"),
    ],
)
async def test_a_large_body_that_breaks_a_rule_buys_nothing_and_leaves_no_file(
    body: dict[str, Any], status: int, pointer: str | None
) -> None:
    stage = Stage()
    pictures = {
        "{large}": data_url(LARGE),
        "{too large}": data_url(noise(1000, 1060)),
        "{no picture}": data_url(b"<svg/>"),
    }

    def filled(value: Any) -> Any:
        return [filled(each) for each in value] if isinstance(value, list) else pictures.get(value, value)

    response = await post(stage, **{name: filled(value) for name, value in body.items()})
    assert response.status_code == status, response.text
    if pointer is not None:
        assert response.json()["errors"][0]["pointer"] == pointer
    assert stage.generations.generations == {}


async def test_a_large_body_that_is_no_json_is_refused_at_once() -> None:
    stage = Stage()
    async with stage.client() as client:
        response = await client.post("/image", content=b"x" * 1_100_000, headers={"Content-Type": "text/plain"})
        broken = await client.post("/image", content=b"x" * 1_100_000, headers={"Content-Type": "application/json"})
    assert (response.status_code, broken.status_code) == (413, 413)
