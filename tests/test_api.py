"""The HTTP contract, over fakes."""

import hashlib
import socket
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import anyio
import httpx2
import pytest
from openapi_spec_validator import validate

from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    PixyProxyException,
    StorageError,
    StorageUnavailableError,
    UpstreamAnswerError,
    UpstreamCredentialsError,
    UpstreamDeadlineError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
)
from pixyproxy.web.app import create_api
from tests import planted
from tests.fakes import tiny_picture
from tests.listening import listening
from tests.servers import wait_until
from tests.stage import BASE_URL, KEY, Stage

pytestmark = pytest.mark.anyio

CONTENT_HEADERS = {
    "cache-control": "public, max-age=31536000, immutable",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
}


async def test_post_answers_201_with_location_and_details() -> None:
    stage = Stage()
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": f"  {planted.PROMPT}\n"})
    details = response.json()
    data = tiny_picture(planted.PROMPT)
    assert response.status_code == 201
    assert response.headers["location"] == f"/image/{details['guid']}"
    assert response.headers["cache-control"] == "no-store"
    assert details == {
        "guid": str(UUID(details["guid"])),
        "prompt": planted.PROMPT,
        "filename": f"{details['guid']}.png",
        "url": f"{BASE_URL}/image/{details['guid']}/content",
        "content_type": "image/png",
        "size_bytes": len(data),
        "width": 32,
        "height": 16,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model": "gpt-image-2",
        "created_at": details["created_at"],
        "updated_at": details["created_at"],
    }
    assert details["created_at"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(details["created_at"])).total_seconds()) < 60


async def test_details_are_public_and_the_same_as_the_posts() -> None:
    stage = Stage()
    details = await stage.create()
    async with stage.client(key=False) as client:
        for guid in (details["guid"], details["guid"].upper()):
            response = await client.get(f"/image/{guid}")
            assert (response.status_code, response.json()) == (200, details)


async def test_urls_begin_with_the_public_url_if_there_is_one() -> None:
    stage = Stage(public_url="https://pictures.example/base")
    details = await stage.create()
    assert details["url"] == f"https://pictures.example/base/image/{details['guid']}/content"
    await stage.create()
    async with stage.client() as client:
        response = await client.get("/image?limit=1")
    assert response.headers["link"].startswith("<https://pictures.example/base/image?limit=1&cursor=")


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
async def test_content_is_the_picture_with_its_headers(output_format: str) -> None:
    stage = Stage()
    details = await stage.create(output_format=output_format)
    async with stage.client(key=False) as client:
        got = await client.get(details["url"])
        head = await client.head(details["url"])
    assert got.content == tiny_picture(planted.PROMPT, output_format=output_format)
    assert hashlib.sha256(got.content).hexdigest() == details["sha256"]
    expected = {
        **CONTENT_HEADERS,
        "content-type": details["content_type"],
        "content-length": str(len(got.content)),
        "content-disposition": f'inline; filename="{details["filename"]}"',
        "etag": f'"{details["sha256"]}"',
    }
    for response in (got, head):
        assert response.status_code == 200
        assert {name: response.headers[name] for name in expected} == expected
    assert head.content == b""
    assert len(stage.storage.opened) == 1, "HEAD touches no storage"
    assert stage.storage.opened[0].closed


async def test_a_missing_object_behind_a_row_is_a_problem_of_its_own() -> None:
    stage = Stage()
    details = await stage.create()
    for objects in ({}, {details["filename"]: b"another size"}):
        stage.storage.objects = objects
        async with stage.client(key=False) as client:
            response = await client.get(details["url"])
        assert response.status_code == 502
        assert response.json()["type"] == "urn:pixyproxy:problem:image-content-lost"
        assert all(opened.closed for opened in stage.storage.opened)


async def test_content_that_breaks_off_ends_the_connection() -> None:
    stage = Stage()
    details = await stage.create()
    stage.storage.breaks_off = StorageUnavailableError("The bytes broke off.")
    with listening(stage.app) as address:
        with pytest.raises(httpx2.RemoteProtocolError):
            httpx2.get(f"{address}/image/{details['guid']}/content")
        assert httpx2.get(f"{address}/healthz").status_code == 200
    assert stage.storage.opened[0].closed


def test_a_reader_that_stalls_is_let_go_and_its_object_closed() -> None:
    stage = Stage(client_patience=0.3)
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(lambda: closed(stage), seconds=10, what="the object")
            connection.settimeout(5)
            with suppress(ConnectionResetError):  # it was ended at once, and not after all that was on its way
                while connection.recv(1_000_000):
                    pass


def test_a_reader_that_stalls_does_not_keep_the_server_from_ending() -> None:
    stage = Stage(client_patience=1)
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with socket.socket() as connection:
        with listening(stage.app, patient=True) as address:
            details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
            host, port = address.removeprefix("http://").split(":")
            connection.connect((host, int(port)))
            connection.sendall(f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            connection.recv(1000)
        assert stage.storage.opened[0].closed


def closed(stage: Stage) -> None:
    """Every object that was opened is closed again."""
    assert stage.storage.opened
    assert all(opened.closed for opened in stage.storage.opened)


def test_a_reader_that_leaves_is_logged_as_gone_and_its_object_closed(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.generator.pictures = (tiny_picture() + b"\0" * 30_000_000,)
    with listening(stage.app) as address:
        details = httpx2.post(f"{address}/image", json={"prompt": "a dot"}, headers=KEY).json()
        host, port = address.removeprefix("http://").split(":")
        for pipelined in (1, 20):
            with socket.create_connection((host, int(port))) as connection:
                request = f"GET /image/{details['guid']}/content HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                connection.sendall(request * pipelined)
                connection.recv(1000)
            wait_until(lambda: closed(stage), seconds=10, what="the object")
            wait_until(lambda: aborted(caplog), seconds=10, what="the log")
    assert "internal-error" not in caplog.text


def aborted(caplog: pytest.LogCaptureFixture) -> None:
    """The log says that a client left."""
    assert "aborted=yes" in caplog.text


def test_a_client_that_hangs_up_changes_nothing_for_its_generation() -> None:
    stage = Stage()

    async def slowly() -> None:
        await anyio.sleep(0.5)

    stage.generator.before = slowly
    with listening(stage.app) as address:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{address}/image", json={"prompt": planted.PROMPT}, headers=KEY, timeout=0.2)
        wait_until(lambda: kept(stage), seconds=10, what="the image")


def kept(stage: Stage) -> None:
    """An image is there, in both stores."""
    assert len(stage.images.images) == len(stage.storage.objects) == 1


async def test_the_list_is_newest_first_in_pages_that_link_to_the_next() -> None:
    stage = Stage()
    made = [await stage.create(prompt=f"{planted.PROMPT} number {number}") for number in range(5)]
    async with stage.client() as client:
        found: list[dict[str, object]] = []
        url, pages = "/image?limit=2", 0
        while url:
            response = await client.get(url)
            assert response.status_code == 200
            assert response.headers["cache-control"] == "no-store"
            found += response.json()
            url, pages = response.links.get("next", {}).get("url", ""), pages + 1
    assert found == made[::-1]
    assert pages == 3


async def test_a_search_is_kept_in_the_next_link() -> None:
    stage = Stage()
    for prompt in ("a 50% grey fox", "a 50% grey cat", "a red fox"):
        await stage.create(prompt=prompt)
    async with stage.client() as client:
        first = await client.get("/image", params={"limit": 1, "q": "50% grey"})
        second = await client.get(first.links["next"]["url"])
    assert [image["prompt"] for image in first.json() + second.json()] == ["a 50% grey cat", "a 50% grey fox"]
    assert "next" not in second.links


async def test_an_empty_list_is_an_empty_array() -> None:
    async with Stage().client() as client:
        response = await client.get("/image")
    assert (response.status_code, response.json(), response.links) == (200, [], {})


async def test_both_spellings_of_the_collection_answer_without_a_redirect() -> None:
    async with Stage().client() as client:
        assert (await client.post("/image/", json={"prompt": "a dot"})).status_code == 201
        assert (await client.get("/image/")).json() == (await client.get("/image")).json()


PROBLEMS = {
    "refused": (UpstreamRefusedError("not this", extra={"upstream_code": "moderation_blocked"}), 422, None),
    "our key": (UpstreamCredentialsError("our key"), 502, None),
    "nonsense": (UpstreamAnswerError("nonsense"), 502, None),
    "deadline": (UpstreamDeadlineError("late"), 504, None),
    "busy": (UpstreamUnavailableError("wait", retry_after=9), 503, "9"),
    "a bug": (RuntimeError("a bug that quotes " + planted.PROMPT), 500, None),
}


@pytest.mark.parametrize(("failure", "status", "retry_after"), PROBLEMS.values(), ids=PROBLEMS.keys())
async def test_a_failure_is_a_problem(failure: Exception, status: int, retry_after: str | None) -> None:
    stage = Stage()
    stage.generator.failure = failure
    async with stage.client() as client:
        response = await client.post("/image", json={"prompt": planted.PROMPT})
    problem = response.json()
    request_id = response.headers["x-request-id"]
    expected = failure if isinstance(failure, PixyProxyException) else None
    assert response.status_code == problem["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers.get("retry-after") == retry_after
    assert problem["request_id"] == request_id
    assert problem["instance"] == f"urn:pixyproxy:request:{request_id}"
    assert problem["type"] == (expected.type if expected else "urn:pixyproxy:problem:internal-error")
    assert problem["title"] == (expected.title if expected else "Internal error")
    assert planted.PROMPT not in response.text
    assert problem.get("upstream_code") == (expected.extra.get("upstream_code") if expected else None)


async def test_storage_faults_of_content_are_problems() -> None:
    stage = Stage()
    details = await stage.create()
    for failure, status in ((StorageUnavailableError("away"), 503), (StorageError("broken"), 500)):
        stage.storage.failure = failure
        async with stage.client(key=False) as client:
            assert (await client.get(details["url"])).status_code == status


async def test_health_and_readiness() -> None:
    stage = Stage()
    async with stage.client(key=False) as client:
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status_code == 200
            assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("parts", [["database"], ["storage"], ["database", "storage"]])
async def test_readiness_names_the_part_that_does_not_answer(parts: list[str]) -> None:
    stage = Stage()
    if "database" in parts:
        stage.database.failure = DatabaseUnavailableError("away")
    if "storage" in parts:
        stage.storage.failure = StorageUnavailableError("away")
    async with stage.client(key=False) as client:
        response = await client.get("/readyz")
        assert (await client.get("/healthz")).status_code == 200
    assert response.status_code == 503
    assert response.json()["failed"] == parts
    assert response.json()["type"] == "urn:pixyproxy:problem:not-ready"
    assert response.headers["retry-after"]


async def test_every_answer_carries_its_own_request_id() -> None:
    stage = Stage()
    details = await stage.create()
    seen = set()
    async with stage.client() as client:
        for method, path in (
            ("GET", "/image"),
            ("GET", details["url"]),
            ("HEAD", details["url"]),
            ("GET", "/docs"),
            ("GET", "/openapi.json"),
            ("GET", "/nowhere"),
            ("PUT", "/image"),
            ("GET", f"/image/{uuid4()}"),
            ("POST", "/image"),
        ):
            response = await client.request(method, path)
            (request_id,) = response.headers.get_list("x-request-id")
            seen.add(request_id)
    assert len(seen) == 9


PRIVATE = {
    ("/image", "get"),
    ("/image", "post"),
    ("/image/{guid}", "delete"),
    ("/generation", "get"),
    ("/generation/{guid}", "get"),
}


def test_the_openapi_document_is_valid_and_describes_auth_and_every_error() -> None:
    stage = Stage()
    api = create_api(
        stage.app.app.state.services,  # type: ignore[attr-defined]
        version="test",
    )
    document = api.openapi()
    validate(document)
    paths = document["paths"]
    assert set(paths) == {
        *("/image", "/image/{guid}", "/image/{guid}/content"),
        *("/generation", "/generation/{guid}", "/healthz", "/readyz"),
    }
    for path, operations in paths.items():
        for method, operation in operations.items():
            private = (path, method) in PRIVATE
            assert bool(operation.get("security")) is private
            assert ("401" in operation["responses"]) is private
            for status, response in operation["responses"].items():
                if status[0] in "45":
                    (schema,) = response["content"].values()
                    assert schema == {"schema": {"$ref": "#/components/schemas/Problem"}}
    assert set(paths["/image"]["post"]["responses"]) == {
        *("201", "202", "400", "401", "408", "409", "410", "413", "415", "422", "500", "502", "503", "504")
    }
    assert paths["/image"]["post"]["requestBody"]["required"] is True
