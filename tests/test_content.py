"""The content and the details of an image over HTTP: headers, parts, conditions, and what breaks."""

import asyncio
import hashlib
import itertools
import logging
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.routing import APIRoute

from pixyproxy.core.exceptions import StorageUnavailableError
from pixyproxy.core.images import Image
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.service.public import PublicImageService
from pixyproxy.web.app import create_api, create_app
from pixyproxy.web.http.compression import Gzip
from pixyproxy.web.http.content import CONNECTION, ContentResponse, HeadResponse, raw_headers_of
from pixyproxy.web.http.content_paths import is_content
from pixyproxy.web.http.cors import PublicCors
from pixyproxy.web.images.details import content_url
from pixyproxy.web.log.request_log import RequestLog
from pixyproxy.web.server.protocol import HttpProtocol
from tests import planted
from tests.fakes import FakeObject, tiny_picture
from tests.listening import listening
from tests.stage import BASE_URL, KEY, Stage, public_part

pytestmark = pytest.mark.anyio

HARMLESS = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-accel-expires": "30",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "accept-ranges": "bytes",
}
PICTURE = tiny_picture(planted.PROMPT)
SIZE = len(PICTURE)
ETAG = f'"{hashlib.sha256(PICTURE).hexdigest()}"'


def both_urls(details: dict[str, Any]) -> tuple[str, str]:
    """The URLs of the picture: the one of its details, and the one that ends in its file's name."""
    return details["url"], f"{BASE_URL}/image/{details['filename']}"


async def asked(stage: Stage, method: str, url: str, **headers: str) -> httpx2.Response:
    """The answer to a stranger."""
    async with stage.client(key=False) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, url, headers=named)


async def test_every_answer_that_carries_bytes_has_the_whole_set_of_headers() -> None:
    stage = Stage()
    details = await stage.create()
    api = create_api(stage.services, version="test")
    of_bytes = [
        route
        for route in api.routes
        if isinstance(route, APIRoute) and "image/png" in str(route.responses.get(200, {}).get("content", {}))
    ]
    assert {(route.path, *sorted(route.methods or ())) for route in of_bytes} == {
        ("/image/{guid}/content", "GET"),
        ("/image/{guid}/content", "HEAD"),
        ("/image/{guid}.{extension}", "GET"),
        ("/image/{guid}.{extension}", "HEAD"),
    }
    whole = {"content-length": str(SIZE)}
    answers: list[tuple[str, str, dict[str, str], int, dict[str, str]]] = [
        ("GET", "", {}, 200, whole),
        ("HEAD", "", {}, 200, whole),
        ("HEAD", "", {"range": "bytes=0-1"}, 200, whole),
        ("GET", "", {"range": "bytes=0-1,3-4"}, 200, whole),
        ("GET", "", {"range": "bytes=2-5"}, 206, {"content-length": "4", "content-range": f"bytes 2-5/{SIZE}"}),
        ("GET", "?download=1", {"range": "bytes=-1"}, 206, {"content-range": f"bytes {SIZE - 1}-{SIZE - 1}/{SIZE}"}),
        ("GET", "?download=1", {}, 200, whole),
        ("HEAD", "?download=1", {}, 200, whole),
    ]
    for (method, query, headers, status, expected), url in itertools.product(answers, both_urls(details)):
        response = await asked(stage, method, url + query, **headers)
        disposition = "attachment" if query else "inline"
        expected = {
            **HARMLESS,
            "content-type": "image/png",
            "etag": ETAG,
            "content-disposition": f'{disposition}; filename="{details["filename"]}"',
            **expected,
        }
        assert response.status_code == status
        assert {name: response.headers[name] for name in expected} == expected
        assert response.headers["last-modified"].endswith(" GMT")
        assert "transfer-encoding" not in response.headers


@pytest.mark.parametrize("first", range(0, SIZE, 17))
async def test_a_part_is_the_bytes_that_were_asked_for(first: int) -> None:
    stage = Stage()
    details = await stage.create()
    response = await asked(stage, "GET", details["url"], range=f"bytes={first}-{first + 29}")
    assert response.status_code == 206
    assert response.content == PICTURE[first : first + 30]


async def test_what_is_known_already_and_what_there_is_not_ask_no_storage() -> None:
    stage = Stage()
    details = await stage.create()
    modified = (await asked(stage, "HEAD", details["url"])).headers["last-modified"]
    for method, url in itertools.product(("GET", "HEAD"), both_urls(details)):
        for headers in ({"if_none_match": ETAG}, {"if_modified_since": modified}):
            response = await asked(stage, method, url, **headers)
            assert (response.status_code, response.content) == (304, b"")
            assert {"etag", "last-modified", "cache-control"} <= response.headers.keys()
            assert "content-length" not in response.headers
    refused = await asked(stage, "GET", details["url"], range=f"bytes={SIZE}-")
    assert (refused.status_code, refused.headers["content-range"]) == (416, f"bytes */{SIZE}")
    assert refused.json()["type"] == "urn:pixyproxy:problem:range-not-satisfiable"
    assert refused.headers["cache-control"] == "no-store"
    changed = await asked(stage, "GET", details["url"], if_match='"another"')
    assert (changed.status_code, changed.json()["type"]) == (412, "urn:pixyproxy:problem:precondition-failed")
    assert stage.storage.opened == []


EXTENSIONS = {"png": "png", "webp": "webp", "jpeg": "jpg"}


@pytest.mark.parametrize("output_format", EXTENSIONS)
async def test_a_picture_has_a_second_url_with_its_own_extension_and_no_other(output_format: str) -> None:
    stage = Stage()
    details = await stage.create(output_format=output_format)
    base = f"{BASE_URL}/image/{details['guid']}"
    urls = (f"{base}/content", f"{base}.{EXTENSIONS[output_format]}")
    first, second = [await asked(stage, "GET", url) for url in urls]
    assert second.content == first.content == tiny_picture(planted.PROMPT, output_format=output_format)
    for response in (first, second):
        del response.headers["x-request-id"]
    assert first.headers == second.headers
    image = stage.images.images[UUID(details["guid"])]
    assert content_url(image, base_url=BASE_URL) == str(second.url)
    others = {"png", "webp", "jpg", "jpeg", "PNG", "gif", "svg", "content"} - {EXTENSIONS[output_format]}
    for extension, method in itertools.product(sorted(others), ("GET", "HEAD")):
        refused = await asked(stage, method, f"{base}.{extension}")
        assert refused.status_code == 404, extension
        if method == "GET":
            assert refused.json()["type"] == "urn:pixyproxy:problem:image-not-found"
            assert EXTENSIONS[output_format] in refused.json()["detail"]


@pytest.mark.parametrize(
    "name",
    ["{guid}.png.png", "{guid}..png", ".png", "{upper}.png", "{guid}.png/content", "x.png", "{guid}."],
)
async def test_what_only_looks_like_the_name_of_a_picture_is_not_found(name: str) -> None:
    stage = Stage()
    guid = (await stage.create())["guid"]
    for method in ("GET", "HEAD"):
        response = await asked(stage, method, f"{BASE_URL}/image/{name.format(guid=guid, upper=guid.upper())}")
        assert response.status_code == 404


async def test_the_url_with_an_extension_asks_the_storage_only_for_bytes_and_ends_with_the_image() -> None:
    stage = Stage()
    details = await stage.create()
    _, url = both_urls(details)
    assert (await asked(stage, "HEAD", url)).headers["content-length"] == str(SIZE)
    assert stage.storage.opened == []
    assert (await asked(stage, "GET", url, range="bytes=3-7")).content == PICTURE[3:8]
    async with stage.client() as client:
        assert (await client.delete(f"/image/{details['guid']}")).status_code == 204
    assert (await asked(stage, "GET", url)).status_code == 404


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/image/x/content", True),
        *((f"/image/x.{extension}", True) for extension in ("png", "webp", "jpg")),
        *((f"/image/x.{extension}", False) for extension in ("jpeg", "gif", "PNG")),
        *((path, False) for path in ("/image", "/image/x", "/x.png", "/image/x.png/y", "/image/.png", "/generation/x")),
    ],
)
def test_a_path_says_whether_it_leads_to_a_picture(path: str, expected: bool) -> None:
    assert is_content(path) is expected


@pytest.mark.parametrize("query", ["?download=yes", "?download=", "?download=1&download=2"])
async def test_a_download_that_is_neither_0_nor_1_is_refused(query: str) -> None:
    stage = Stage()
    details = await stage.create()
    response = await asked(stage, "GET", details["url"] + query)
    assert response.status_code == 422
    assert response.json()["errors"] == [{"detail": "must be 0 or 1", "pointer": "?download"}]


async def test_other_queries_change_nothing() -> None:
    stage = Stage()
    details = await stage.create()
    for query in ("?download=0", "?v=2"):
        response = await asked(stage, "GET", details["url"] + query)
        assert response.headers["content-disposition"].startswith("inline")


async def test_details_may_be_kept_for_a_minute_and_are_known_by_their_tag() -> None:
    stage = Stage()
    details = await stage.create()
    path = f"{BASE_URL}/image/{details['guid']}"
    first = await asked(stage, "GET", path)
    assert first.json() == public_part(details)
    assert first.headers["cache-control"] == "public, max-age=60"
    again = await asked(stage, "GET", path, if_none_match=first.headers["etag"])
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert again.headers["cache-control"] == "public, max-age=60"
    elsewhere = await asked(stage, "GET", path, host="other.example")
    assert elsewhere.headers["etag"] != first.headers["etag"], "its url is another"


async def test_private_answers_are_cached_nowhere_or_by_the_callers_client_alone() -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client() as client:
        generation = (await client.get("/generation")).json()[0]["guid"]
        for method, path in (
            ("GET", "/image"),
            ("GET", "/generation"),
            ("GET", f"/generation/{generation}"),
            ("POST", "/image"),
            ("DELETE", f"/image/{details['guid']}"),
        ):
            response = await client.request(method, path, json={"prompt": "a dot"} if method == "POST" else None)
            assert response.is_success
            polled = method == "GET" and path != "/image"
            known = "private, no-cache" if polled else "no-store"
            assert response.headers.get("cache-control") == known or response.status_code == 204, path


@pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-1"}])
async def test_an_object_that_is_gone_or_another_is_a_problem_before_any_byte(
    headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    details = await stage.create()
    for stored in (None, b"shorter than it was", PICTURE + b"longer", b""):
        caplog.clear()
        stage.storage.objects.pop(details["filename"], None)
        if stored is not None:
            stage.storage.objects[details["filename"]] = stored
        response = await asked(stage, "GET", details["url"], **headers)
        assert (response.status_code, response.json()["type"]) == (502, "urn:pixyproxy:problem:image-content-lost")
        assert "etag" not in response.headers
        assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1
    assert all(opened.closed for opened in stage.storage.opened)


@pytest.mark.parametrize("left", [None, b"a piece of it"])
async def test_what_another_replica_deleted_is_not_found_and_no_loss(
    left: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage()
    details = await stage.create()
    cached = CachedImageRepository(stage.images, ttl=30)
    stage.public = PublicImageService(images=cached, storage=stage.storage)
    stage.app = create_app(replace(stage.services, public=stage.public), version="test")
    assert (await asked(stage, "HEAD", details["url"])).status_code == 200
    await stage.images.mark_deleted(UUID(details["guid"]))
    del stage.storage.objects[details["filename"]]
    if left is not None:
        stage.storage.objects[details["filename"]] = left
    for _ in range(2):
        response = await asked(stage, "GET", details["url"])
        assert (response.status_code, response.json()["type"]) == (404, "urn:pixyproxy:problem:image-not-found")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_picture_that_breaks_off_does_not_wait_for_a_client_that_stalls() -> None:
    class Hasty(HttpProtocol):
        """Gives a client little time to take what it was sent."""

        flush_patience = 0.3

    class Breaking(FakeObject):
        """Fills every buffer on the way, and breaks off."""

        async def __aiter__(self) -> Any:
            yield bytes(16_000_000)
            raise StorageUnavailableError("It broke off.")

    stage = Stage()
    with listening(stage.app, protocol=Hasty) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        image = stage.images.images[UUID(details["guid"])]
        stage.images.images[image.guid] = image.model_copy(update={"size_bytes": 32_000_000})
        breaking = Breaking(b"")
        breaking.size_bytes = 32_000_000

        async def open_breaking(key: str, *, part: range | None = None) -> FakeObject:
            return breaking

        stage.storage.open = open_breaking  # type: ignore[method-assign]
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET /image/{image.guid}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            time.sleep(1.5)
            connection.settimeout(5)
            taken = 0
            with suppress(ConnectionResetError):  # it was ended, and not after all that was on its way
                while got := len(connection.recv(1_000_000)):
                    taken += got
            assert taken < 16_000_000


async def test_every_object_that_is_opened_is_closed() -> None:
    stage = Stage()
    details = await stage.create()
    for headers in ({}, {"range": "bytes=5-"}):
        await asked(stage, "GET", details["url"], **headers)
    stage.storage.breaks_off = StorageUnavailableError("It broke off.")
    with pytest.raises(AssertionError):  # the client's own: an answer that has no end
        await asked(stage, "GET", details["url"])
    assert [opened.closed for opened in stage.storage.opened] == [True, True, True]


def test_a_reader_that_leaves_ends_the_reading_of_the_object() -> None:
    class Endless(FakeObject):
        """Has many more chunks than anybody waits for."""

        taken = 0

        async def __aiter__(self) -> Any:
            while self.taken < 100_000:
                self.taken += 1
                yield bytes(65_536)

    stage = Stage()
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        endless = Endless(stage.storage.objects[details["filename"]])

        async def open_endless(key: str, *, part: range | None = None) -> FakeObject:
            return endless

        stage.storage.open = open_endless  # type: ignore[method-assign]
        image = stage.images.images[next(iter(stage.images.images))]
        endless.size_bytes = 100_000 * 65_536
        stage.images.images[image.guid] = image.model_copy(update={"size_bytes": endless.size_bytes})
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as connection:
            connection.sendall(f"GET /image/{image.guid}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert connection.recv(1024).startswith(b"HTTP/1.1 200 OK\r\n")
    assert endless.closed
    assert endless.taken < 1000, "what a reader does not take is not fetched"


@pytest.mark.parametrize("path", ["", "/content", ".png"])
async def test_a_plain_route_is_the_same_through_the_whole_application(path: str) -> None:
    stage = Stage()
    details = await stage.create()
    url = f"{BASE_URL}/image/{details['guid']}{path}"
    api = create_api(stage.services, version="test")
    assert api.user_middleware == [], "a plain route goes past it: what stands around all requests is in create_app"
    through = RequestLog(PublicCors(Gzip(api), origins=("*",)))
    for headers in ({}, {"range": "bytes=0-1"}, {"if-none-match": "*"}, {"if-match": '"x"'}):
        found = []
        for app in (stage.app, through):
            async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app)) as client:
                response = await client.get(url, headers=headers)
            kept = {name: value for name, value in response.headers.items() if name != "x-request-id"}
            found.append((response.status_code, kept, response.content if response.is_success else b""))
        assert found[0] == found[1]


async def test_what_a_plain_route_does_not_expect_is_the_problem_of_every_other_route() -> None:
    stage = Stage()
    details = await stage.create()

    async def fail(guid: UUID, *, fresh: bool = False) -> Image:
        raise ZeroDivisionError

    stage.images.get = fail  # type: ignore[method-assign]
    response = await asked(stage, "GET", details["url"])
    assert (response.status_code, response.json()["type"]) == (500, "urn:pixyproxy:problem:internal-error")
    assert response.headers["x-request-id"] == response.json()["request_id"]


async def test_openapi_says_what_the_public_routes_read_and_answer() -> None:
    paths = create_api(Stage().services, version="test").openapi()["paths"]
    get = paths["/image/{guid}/content"]["get"]
    names = {parameter["name"] for parameter in get["parameters"]}
    assert names == {
        *("guid", "download", "Range", "If-Range"),
        *("If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since"),
    }
    assert set(get["responses"]) == {"200", "206", "304", "404", "412", "416", "422", "500", "502", "503"}
    second = paths["/image/{guid}.{extension}"]["get"]
    assert {parameter["name"] for parameter in second["parameters"]} == names | {"extension"}
    assert second["responses"] == get["responses"]
    assert "#/components/schemas/PublicImageDetails" in str(paths["/image/{guid}"]["get"]["responses"]["200"])


def test_headers_are_bytes_in_small_letters() -> None:
    assert raw_headers_of({"ETag": '"x"'}) == [(b"etag", b'"x"')]
    assert HeadResponse(304, {"ETag": '"x"'}).headers["etag"] == '"x"'


@pytest.mark.parametrize("stalls", [False, True])
async def test_an_answer_ends_only_when_the_server_knows_that_the_client_is_gone(stalls: bool) -> None:
    class Leaving:
        """A connection whose client leaves after the first chunk, or takes nothing from then on."""

        unsent = 1000
        ended: tuple[str, ...] = ()

        @property
        def left(self) -> bool:
            return not stalls and sent > 1

        @property
        def slow(self) -> bool:
            return stalls and sent > 1

        async def taken(self) -> None:
            await asyncio.Event().wait()

        async def gone(self) -> None:
            self.ended += ("gone",)

        def end(self) -> None:
            self.ended += ("end",)

        def abort(self) -> None:
            self.ended += ("abort",)

    sent = 0

    async def send(message: Any) -> None:
        nonlocal sent
        sent += 1

    content, connection = FakeObject(bytes(200_000)), Leaving()
    response = ContentResponse(content, status=200, headers={}, patience=0.01)
    await response({"type": "http", CONNECTION: connection}, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert connection.ended == (("abort", "gone") if stalls else ("gone",))
    assert content.closed
    assert sent == 2
