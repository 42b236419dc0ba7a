"""Thumbnails over HTTP and in the service: headers, what asks the storage, who waits, and what is remembered."""

import asyncio
import logging
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from PIL import Image as Pillow

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    ImageNotFoundError,
    ShuttingDownError,
    StorageUnavailableError,
    ThumbnailImpossibleError,
    TooManyThumbnailsError,
)
from pixyproxy.core.images import Image
from pixyproxy.core.keys import CONFIGURED_CALLER
from pixyproxy.core.thumbnails import is_thumbnail_key, thumbnail_key, thumbnail_keys
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.service.thumbnails.newest_first import NewestFirst
from pixyproxy.service.thumbnails.service import REMEMBERED, REMEMBERED_END
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.web.log import request_log
from tests.examples import an_image
from tests.fakes import FakeImageRepository, FakeShrinker, FakeStorage, tiny_picture
from tests.stage import Stage

pytestmark = pytest.mark.anyio

HARMLESS = {
    "content-type": "image/webp",
    "cache-control": "public, max-age=31536000, immutable",
    "x-accel-expires": "30",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "access-control-allow-origin": "*",
    "accept-ranges": "bytes",
}


def picture_of(width: int, height: int) -> bytes:
    file = BytesIO()
    Pillow.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return file.getvalue()


async def with_picture(stage: Stage, data: bytes | None = None, **values: Any) -> Image:
    """An image that is recorded and stored."""
    data = picture_of(1000, 500) if data is None else data
    image = an_image(size_bytes=len(data), **{"width": 1000, "height": 500, **values})
    stage.images.images[image.guid] = image
    await stage.storage.put(image.filename, data, content_type="image/png")
    return image


async def asked(stage: Stage, image: Image, query: str = "", method: str = "GET", **headers: str) -> httpx2.Response:
    """The answer to a stranger."""
    async with stage.client(key=False) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, f"/image/{image.guid}/thumbnail{query}", headers=named)


def etag_of(image: Image, size: int = 400) -> str:
    return f'"{image.sha256}-{size}-1"'


@pytest.mark.parametrize(("query", "size"), [("", 400), ("?size=400", 400), ("?size=800", 800), ("?other=1", 400)])
async def test_a_thumbnail_is_a_small_webp_with_the_headers_of_content(query: str, size: int) -> None:
    stage = Stage()
    image = await with_picture(stage)
    answers = [await asked(stage, image, query) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 200
        assert answer.headers.items() >= HARMLESS.items()
        assert answer.headers["etag"] == etag_of(image, size)
        assert answer.headers["last-modified"] == "Sun, 22 Nov 2026 10:15:02 GMT"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers["content-disposition"] == f'inline; filename="{image.guid}.{size}.webp"'
        picture = Pillow.open(BytesIO(answer.content))
        assert (picture.format, picture.size) == ("WEBP", (size, size // 2))
    assert answers[0].content == answers[1].content
    assert stage.shrinker.edges == [size], "it is made once"
    assert stage.storage.objects[f"{image.guid}.{size}.webp"] == answers[0].content


@pytest.mark.parametrize(
    "query", ["?size=", "?size=0", "?size=401", "?size=0400", "?size=%20400", "?size=400&size=800", "?size=x", "?size"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_no_other_size_exists(query: str, method: str) -> None:
    stage = Stage()
    image = await with_picture(stage)
    answer = await asked(stage, image, query, method)
    assert (answer.status_code, stage.shrinker.edges) == (422, [])
    assert answer.headers["cache-control"] == "no-store"
    if method == "GET":
        assert answer.json()["type"] == "urn:pixyproxy:problem:invalid-request"
        assert answer.json()["errors"] == [{"detail": "must be 400 or 800", "pointer": "?size"}]


async def test_an_unknown_and_a_deleted_image_have_none() -> None:
    stage = Stage()
    image = await with_picture(stage)
    assert (await asked(stage, image)).status_code == 200
    await stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
    for gone in (image, an_image()):
        for method in ("GET", "HEAD"):
            answer = await asked(stage, gone, method=method, if_none_match=etag_of(gone))
            assert answer.status_code == 404
    assert (await asked(stage, an_image())).json()["type"] == "urn:pixyproxy:problem:image-not-found"
    async with stage.client(key=False) as client:
        assert (await client.get(f"/image/{str(image.guid).upper()}/thumbnail")).status_code == 404
        assert (await client.post(f"/image/{image.guid}/thumbnail")).status_code == 405


async def test_a_304_and_head_ask_neither_the_storage_nor_a_worker() -> None:
    stage = Stage()
    image = await with_picture(stage)
    stage.storage.failure = stage.shrinker.failure = StorageUnavailableError("unavailable")
    for method in ("GET", "HEAD"):
        for conditions in ({"if_none_match": etag_of(image)}, {"if_modified_since": "Sun, 22 Nov 2026 10:15:02 GMT"}):
            answer = await asked(stage, image, method=method, **conditions)
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == etag_of(image)
            assert answer.headers["cache-control"] == HARMLESS["cache-control"]
        assert (await asked(stage, image, method=method, if_match='"other"')).status_code == 412
    head = await asked(stage, image, "?size=800", "HEAD", range="bytes=0-1")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers.items() >= HARMLESS.items()
    assert head.headers["etag"] == etag_of(image, 800)
    assert "content-length" not in head.headers, "it is not known before the thumbnail is made"
    assert stage.storage.opened == []
    assert (await asked(stage, image)).status_code == 503
    other_size = await asked(stage, image, "?size=800", "HEAD", if_none_match=etag_of(image))
    assert other_size.status_code == 200


async def test_a_part_is_a_206_and_one_behind_the_end_a_416() -> None:
    stage = Stage()
    image = await with_picture(stage)
    whole = (await asked(stage, image)).content
    for asked_for, first, last in (("bytes=0-9", 0, 9), ("bytes=10-", 10, len(whole) - 1), ("bytes=-5", -5, None)):
        answer = await asked(stage, image, range=asked_for)
        assert answer.status_code == 206
        assert answer.content == (whole[-5:] if last is None else whole[first : last + 1])
        assert answer.headers["content-range"].endswith(f"/{len(whole)}")
        assert answer.headers["content-length"] == str(len(answer.content))
        assert answer.headers.items() >= HARMLESS.items()
    assert (await asked(stage, image, range="bytes=0-9", if_range=etag_of(image))).status_code == 206
    assert (await asked(stage, image, range="bytes=0-9", if_range=etag_of(image, 800))).content == whole
    behind = await asked(stage, image, range=f"bytes={len(whole)}-")
    assert (behind.status_code, behind.headers["content-range"]) == (416, f"bytes */{len(whole)}")


async def test_credentials_change_nothing() -> None:
    stage = Stage()
    image = await with_picture(stage)
    plain = await asked(stage, image)
    for headers in ({"authorization": "Bearer wrong"}, {"cookie": "pixyproxy=wrong"}):
        answer = await asked(stage, image, **headers)
        assert (answer.status_code, answer.content) == (200, plain.content)
        assert "vary" not in answer.headers


async def test_a_script_of_another_origin_may_ask_for_one_with_conditions() -> None:
    stage = Stage()
    answer = await asked(
        stage, an_image(), method="OPTIONS", origin="https://page.example", access_control_request_method="GET"
    )
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.parametrize("data", [b"no picture", tiny_picture()[:100]])
async def test_what_cannot_be_made_is_not_tried_for_each_request(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    now = 1000.0
    stage = Stage(clock=lambda: now)
    image = await with_picture(stage, data)
    stage.shrinker.failure = ThumbnailImpossibleError("This picture cannot be decoded.")
    for _ in range(3):
        answer = await asked(stage, image)
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:pixyproxy:problem:thumbnail-impossible")
        assert answer.headers["cache-control"] == "no-store"
        assert "etag" not in answer.headers
    assert (await asked(stage, image, method="HEAD")).status_code == 422, "it is known"
    assert stage.shrinker.edges == [400]
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"image {image.guid}: no thumbnail of 400 pixels: This picture cannot be decoded."
    ]
    assert (await asked(stage, image, "?size=800")).status_code == 422, "which may differ"
    assert stage.shrinker.edges == [400, 800]
    now += REMEMBERED - 1
    stage.shrinker.failure = None
    assert (await asked(stage, image)).status_code == 422
    now += 2
    assert (await asked(stage, image, method="HEAD")).status_code == 200


async def test_a_decoder_that_was_ended_is_tried_again_soon() -> None:
    now = 1000.0
    stage = Stage(clock=lambda: now)
    image = await with_picture(stage)
    stage.shrinker.failure = ThumbnailImpossibleError("The decoder crashed at this picture.", refused=False)
    assert [(await asked(stage, image)).status_code for _ in range(3)] == [422] * 3
    assert stage.shrinker.edges == [400]
    stage.shrinker.failure = None
    now += REMEMBERED_END - 1
    assert (await asked(stage, image)).status_code == 422
    now += 2
    assert (await asked(stage, image)).status_code == 200
    assert stage.shrinker.edges == [400, 400]


async def test_too_many_pixels_are_refused_before_a_byte_is_read() -> None:
    stage = Stage()
    image = await with_picture(stage, width=8000, height=5001)
    answers = [await asked(stage, image, method=method) for method in ("GET", "HEAD")]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert "40 megapixels" in answers[0].json()["detail"]
    assert stage.storage.opened == []


@pytest.mark.parametrize("remove", [True, False])
async def test_a_lost_picture_is_a_502_unless_its_thumbnail_is_there(remove: bool) -> None:
    stage = Stage()
    image = await with_picture(stage)
    if not remove:
        await asked(stage, image)
    await stage.storage.delete(image.filename)
    answer = await asked(stage, image)
    assert answer.status_code == (502 if remove else 200)
    if remove:
        assert answer.json()["type"] == "urn:pixyproxy:problem:image-content-lost"


async def test_a_storage_that_takes_no_thumbnail_is_a_503_and_not_remembered() -> None:
    stage = Stage()
    image = await with_picture(stage)
    stage.storage.put_failure = StorageUnavailableError("unavailable")
    answer = await asked(stage, image)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    stage.storage.put_failure = None
    assert (await asked(stage, image)).status_code == 200


async def test_a_fault_of_ours_is_a_500_and_frees_the_queue(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    image = await with_picture(stage)
    stage.shrinker.failure = RuntimeError("a fault")
    for _ in range(5):
        assert (await asked(stage, image)).status_code == 500
    stage.shrinker.failure = None
    assert (await asked(stage, image)).status_code == 200
    assert "RuntimeError" in caplog.text


# The placeholder


async def test_the_first_making_records_the_thumbhash_and_no_later_one_changes_it() -> None:
    stage = Stage()
    image = await with_picture(stage)
    assert image.thumbhash is None
    await asked(stage, image)
    recorded = (await stage.images.get(image.guid)).thumbhash
    assert recorded is not None
    assert 5 < len(recorded) <= 25
    stage.images.images[image.guid] = image.model_copy(update={"thumbhash": b"known"})
    await asked(stage, image, "?size=800")
    assert (await stage.images.get(image.guid)).thumbhash == b"known"
    assert (await stage.images.get(image.guid)).updated_at == image.updated_at


async def test_this_process_knows_the_thumbhash_at_once() -> None:
    records = FakeImageRepository()
    stage = Stage(images=CachedImageRepository(records, ttl=60))  # type: ignore[arg-type]
    image = an_image(width=32, height=16, size_bytes=len(tiny_picture()))
    records.images[image.guid] = image
    await stage.storage.put(image.filename, tiny_picture(), content_type="image/png")
    assert (await stage.images.get(image.guid)).thumbhash is None
    assert (await asked(stage, image)).status_code == 200
    assert (await stage.images.get(image.guid)).thumbhash is not None


# Deletion


@pytest.mark.parametrize("moment", ["while it is made", "after its put"])
@pytest.mark.parametrize("known", [None, b"known"])
async def test_a_making_that_loses_against_a_deletion_leaves_nothing(moment: str, known: bytes | None) -> None:
    class Putting(FakeStorage):
        """Something happens when a thumbnail was put."""

        async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
            await super().put(key, data, content_type=content_type, sha256=sha256)
            if is_thumbnail_key(key) and moment == "after its put":
                await stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
                assert key not in self.objects
                await super().put(key, data, content_type=content_type, sha256=sha256)  # the slower of two replicas

    stage = Stage(storage=Putting())
    image = await with_picture(stage, thumbhash=known)
    if moment == "while it is made":
        stage.shrinker.before = lambda: stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
    assert (await asked(stage, image)).status_code == 404
    assert (stage.storage.objects, stage.images.images, stage.images.deleted) == ({}, {}, {})


async def test_a_thumbnail_whose_row_cannot_be_looked_at_is_not_kept() -> None:
    class Records(FakeImageRepository):
        async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
            raise DatabaseUnavailableError("unavailable")

    stage = Stage(images=Records())
    image = await with_picture(stage)
    assert (await asked(stage, image)).status_code == 503
    assert list(stage.storage.objects) == [image.filename], "its image may be deleted by now"


async def test_a_deletion_removes_both_sizes_and_their_copies_in_memory() -> None:
    inner = FakeStorage()
    stage = Stage(storage=CachedImageStorage(inner, capacity=1024 * 1024))  # type: ignore[arg-type]
    image = await with_picture(stage)
    for query in ("", "?size=800"):
        await asked(stage, image, query)
        await asked(stage, image, query)
    assert set(inner.objects) == {image.filename, *thumbnail_keys(image.guid)}
    await stage.private.delete(image.guid, caller=CONFIGURED_CALLER)
    assert inner.objects == {}


# Who waits


class Gates(FakeShrinker):
    """Makes each small picture when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.release = asyncio.Semaphore(0)
        self.before = self._wait

    async def _wait(self) -> None:
        await self.release.acquire()


async def test_many_requests_for_one_thumbnail_make_it_once_and_those_that_leave_cancel_nothing() -> None:
    shrinker = Gates()
    stage = Stage(shrinker=shrinker)
    image = await with_picture(stage)
    requests = [asyncio.create_task(stage.thumbnails.get(image, 400)) for _ in range(10)]
    await until(lambda: shrinker.edges == [400])
    for request in requests[:5]:
        request.cancel()
    shrinker.release.release()
    found = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(each) for each in found] == [asyncio.CancelledError] * 5 + [bytes] * 5
    assert len(set(found[5:])) == 1
    assert shrinker.edges == [400]


async def test_a_thumbnail_is_made_though_everybody_left() -> None:
    shrinker = Gates()
    stage = Stage(shrinker=shrinker)
    image = await with_picture(stage)
    request = asyncio.create_task(stage.thumbnails.get(image, 400))
    await until(lambda: shrinker.edges == [400])
    request.cancel()
    shrinker.release.release()
    await until(lambda: thumbnail_key(image.guid, 400) in stage.storage.objects)
    assert stage.images.images[image.guid].thumbhash is not None


async def until(done: Any) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.001)


class Works:
    """Pieces of work that note when they begin, and end when the test lets them."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    def ask(self, queue: NewestFirst[str], key: str) -> "asyncio.Task[str]":
        async def work() -> str:
            self.begun.append(key)
            await self.gates.setdefault(key, asyncio.Event()).wait()
            return key.upper()

        return asyncio.create_task(queue.run(key, work))

    def release(self, *keys: str) -> None:
        for key in keys:
            self.gates.setdefault(key, asyncio.Event()).set()


async def test_the_newest_request_is_first_and_one_that_is_repeated_is_the_newest() -> None:
    queue: NewestFirst[str] = NewestFirst(at_once=1)
    works = Works()
    requests = [works.ask(queue, key) for key in "abcd"]
    await asyncio.sleep(0.01)
    requests.append(works.ask(queue, "b"))
    await asyncio.sleep(0.01)
    works.release(*"abcd")
    assert await asyncio.gather(*requests) == ["A", "B", "C", "D", "B"]
    assert works.begun == ["a", "b", "d", "c"]


async def test_beyond_the_bound_the_oldest_that_waits_is_refused() -> None:
    queue: NewestFirst[str] = NewestFirst(at_once=2, most_waiting=3)
    works = Works()
    requests = [works.ask(queue, key) for key in "abcdefg"]
    await asyncio.sleep(0.01)
    works.release(*"abcdefg")
    found = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(each) for each in found] == [str, str, TooManyThumbnailsError, TooManyThumbnailsError, str, str, str]
    assert works.begun == ["a", "b", "g", "f", "e"]
    again = works.ask(queue, "c")
    assert await again == "C", "it may be asked for again"


async def test_the_64th_that_waits_is_served_and_one_more_is_a_503_with_a_pause() -> None:
    shrinker = Gates()
    stage = Stage(shrinker=shrinker)
    images = [await with_picture(stage, tiny_picture(), width=32, height=16) for _ in range(3 + 64 + 1)]
    requests = []
    for image in images:
        requests.append(asyncio.create_task(asked(stage, image)))
        await asyncio.sleep(0.002)
    refused = await requests[3]
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:pixyproxy:problem:too-many-thumbnails"
    assert "cost" not in refused.json()
    assert refused.headers["retry-after"] == "5"
    for _ in images:
        shrinker.release.release()
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers].count(200) == 67


async def test_at_the_end_what_waits_is_refused_and_what_runs_has_its_end() -> None:
    queue: NewestFirst[str] = NewestFirst(at_once=1)
    works = Works()
    running, waiting = works.ask(queue, "a"), works.ask(queue, "b")
    await asyncio.sleep(0.01)
    queue.stop()
    with pytest.raises(ShuttingDownError):
        await waiting
    with pytest.raises(ShuttingDownError):
        await works.ask(queue, "c")
    works.release("a")
    assert await running == "A"
    await queue.aclose()


async def test_work_that_does_not_end_does_not_hold_up_the_end() -> None:
    queue: NewestFirst[str] = NewestFirst(at_once=1)
    hanging = Works().ask(queue, "a")
    await asyncio.sleep(0.01)
    async with asyncio.timeout(8):
        await queue.aclose()
    with pytest.raises(ShuttingDownError):
        await hanging


async def test_each_caller_gets_an_error_of_its_own() -> None:
    queue: NewestFirst[str] = NewestFirst(at_once=1)

    async def fail() -> str:
        raise ImageNotFoundError

    found = await asyncio.gather(*(queue.run("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in found] == [ImageNotFoundError] * 3
    assert len({id(each) for each in found}) == 3


async def test_a_making_is_logged_under_the_request_that_asked_first() -> None:
    shrinker = Gates()
    stage = Stage(shrinker=shrinker)
    made_for: list[str] = []

    async def note() -> None:
        await shrinker.release.acquire()
        record = request_log.current.get()
        assert record is not None
        made_for.append(record.request_id)

    shrinker.before = note
    images = [await with_picture(stage, tiny_picture(), width=32, height=16) for _ in range(5)]
    requests = []
    for image in images:
        requests.append(asyncio.create_task(asked(stage, image)))
        await asyncio.sleep(0.002)
    for _ in images:
        shrinker.release.release()
    answers = await asyncio.gather(*requests)
    assert sorted(made_for) == sorted(answer.headers["x-request-id"] for answer in answers)
    assert len(set(made_for)) == 5


def test_keys_of_thumbnails_stand_before_their_image() -> None:
    guid = uuid4()
    keys = [*thumbnail_keys(guid), *(f"{guid}.{suffix}" for suffix in ("jpg", "png", "webp"))]
    assert sorted(keys) == keys
    assert [is_thumbnail_key(key) for key in keys] == [True, True, False, False, False]
