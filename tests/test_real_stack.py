"""The real stack: two `pixyproxy serve` over an SQL server, SeaweedFS and the demo upstream over HTTP."""

import asyncio
import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests import planted
from tests.fakes import tiny_picture
from tests.real_stack import KEY, TIMEOUT, Stack, real_stack
from tests.servers import MySQL, PixyProxy, SeaweedFS, SqlServer, run_cli, wait_until
from tests.tcp_proxy import Mode


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    """Each of the SQL servers."""
    found: SqlServer = request.getfixturevalue(request.param)
    return found


ON_MYSQL = pytest.mark.parametrize("server", ["mysql"], indirect=True)
"""For tests that are not about the database: one server is enough."""


@pytest.fixture(scope="module")
def stack(
    server: SqlServer,
    seaweedfs: SeaweedFS,
    unique: Callable[[], str],
    logs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The stack, for this module. MySQL is reached with TLS, and its certificate is verified."""
    folder = tmp_path_factory.mktemp("stack")
    tls = {"ssl_ca": server.certificates / "ca.pem"} if isinstance(server, MySQL) else {}
    with real_stack(
        server, seaweedfs, name=unique(), folder=folder, logs=logs, replicas=2, settings={}, connecting=tls
    ) as two_replicas:
        yield two_replicas


def is_ready(stack: Stack) -> None:
    """Both replicas are ready."""
    for replica in range(2):
        response = stack.get("/readyz", replica)
        assert response.status_code == 200, response.text


@pytest.fixture(autouse=True)
def working(stack: Stack) -> Iterator[None]:
    """Whatever a test does to the parts ends with it, and the stack works again without a restart."""
    yield
    stack.mend()
    wait_until(lambda: is_ready(stack), seconds=30, what="the stack")
    assert all(replica.process.handle.poll() is None for replica in stack.replicas)


def test_what_one_replica_made_the_other_serves_and_both_stores_hold(
    stack: Stack, server: SqlServer, seaweedfs: SeaweedFS
) -> None:
    prompt = f"{planted.PROMPT}, 🗼 منارة"
    made = stack.post(0, prompt=prompt)
    assert made.status_code == 201
    details = made.json()
    picture = tiny_picture(prompt)  # what the demo upstream sent: it draws the same for the same request

    same_path = f"/image/{details['guid']}"
    elsewhere = stack.get(same_path, 1).json()
    own = f"{stack.replicas[1].url}{same_path}"
    assert elsewhere == {**details, "url": f"{own}/content", "thumbnail_url": f"{own}/thumbnail?size=400"}
    assert elsewhere in stack.get("/image?limit=500", 1).json()
    served = httpx2.get(elsewhere["url"])
    assert served.content == picture
    assert served.headers["content-type"] == "image/png"

    (row,) = server.query(
        "SELECT filename, guid, prompt, size_bytes, sha256, model, width, height, content_type "
        "FROM images WHERE guid = %s",
        details["guid"],
        database=stack.database,
    )
    digest = hashlib.sha256(picture).hexdigest()
    filename = f"{details['guid']}.png"
    assert row == (filename, details["guid"], prompt, len(picture), digest, "gpt-image-2.5-flare", 32, 16, "image/png")
    unique_indexes = server.query("SHOW INDEX FROM images WHERE Non_unique = 0", database=stack.database)
    assert {index[4] for index in unique_indexes} == {"id", "guid", "filename"}
    ((state, caller, usage),) = server.query(
        "SELECT state, generations.api_key_id, `usage` FROM generations JOIN images ON generations.id = generation_id "
        "WHERE images.guid = %s",
        details["guid"],
        database=stack.database,
    )
    assert (state, caller) == ("succeeded", 0)
    assert json.loads(usage)["total_tokens"] > 0

    stored = seaweedfs.client().get_object(Bucket=stack.bucket, Key=f"pictures/{filename}")
    assert (stored["Body"].read(), stored["ContentType"]) == (picture, "image/png")


def test_a_thumbnail_that_one_replica_made_the_other_serves_and_both_forget_with_its_image(
    stack: Stack, server: SqlServer, seaweedfs: SeaweedFS
) -> None:
    details = stack.post(size="1024x512").json()
    path = f"/image/{details['guid']}/thumbnail?size="
    made = {size: httpx2.get(f"{stack.replicas[0].url}{path}{size}", timeout=TIMEOUT) for size in (400, 800)}
    for size, answer in made.items():
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp"), answer.text
        elsewhere = httpx2.get(f"{stack.replicas[1].url}{path}{size}", timeout=TIMEOUT)
        assert elsewhere.content == answer.content
        assert elsewhere.headers["etag"] == answer.headers["etag"] == f'"{details["sha256"]}-{size}-1"'
        key = f"pictures/{details['guid']}.{size}.webp"
        stored = seaweedfs.client().get_object(Bucket=stack.bucket, Key=key)
        assert (stored["Body"].read(), stored["ContentType"]) == (answer.content, "image/webp")
    ((thumbhash,),) = server.query(
        "SELECT thumbhash FROM images WHERE guid = %s", details["guid"], database=stack.database
    )
    assert 5 < len(thumbhash) <= 25
    assert run_cli(stack.folder, "check", environment=stack.direct).stdout == "Database and storage agree.\n"
    assert httpx2.delete(f"{stack.replicas[1].url}/image/{details['guid']}", headers=KEY).status_code == 204
    listed = seaweedfs.client().list_objects_v2(Bucket=stack.bucket, Prefix=f"pictures/{details['guid']}")
    assert listed["KeyCount"] == 0
    wait_until(lambda: is_gone(stack, path), seconds=30, what="the end of the record in the other replica's memory")


def is_gone(stack: Stack, path: str) -> None:
    """No replica serves the thumbnails."""
    for replica in stack.replicas:
        for size in (400, 800):
            assert httpx2.get(f"{replica.url}{path}{size}").status_code == 404


@ON_MYSQL
def test_the_upstream_received_the_official_clients_request_once(stack: Stack) -> None:
    before = stack.upstream.received
    assert stack.post(size="64x32", output_format="webp").status_code == 201
    assert stack.upstream.received == before + 1
    received = stack.upstream.requests[-1]
    assert json.loads(received["body"]) == {
        "model": "gpt-image-2.5-flare",
        "prompt": planted.PROMPT,
        "n": 1,
        "size": "64x32",
        "quality": "medium",
        "output_format": "webp",
    }
    assert received["headers"]["user-agent"].startswith("AsyncOpenAI/Python")


@ON_MYSQL
def test_the_upstreams_own_refusal_comes_through(stack: Stack) -> None:
    refused = stack.post(size="1000x1000")
    assert refused.status_code == 422
    assert "multiples of 16" in refused.json()["detail"]


PARTS = {"database": "database-unavailable", "storage": "storage-unavailable"}
EACH_PART = pytest.mark.parametrize(
    ("server", "part"), [("mariadb", "database"), ("mysql", "database"), ("mysql", "storage")], indirect=["server"]
)


@pytest.mark.parametrize("mode", ["refuse", "silent"])
@EACH_PART
def test_an_unavailable_part_costs_nothing_and_is_named(stack: Stack, part: str, mode: Mode) -> None:
    details = stack.post().json()
    stack.proxies[part].mode = mode
    time.sleep(6)  # a probe may be 5 s old
    before = stack.upstream.received
    started = time.monotonic()
    refused = stack.post()
    assert time.monotonic() - started < 15
    assert refused.status_code == 503, refused.text
    assert refused.json()["type"] == f"urn:pixyproxy:problem:{PARTS[part]}"
    assert refused.headers["retry-after"]
    assert stack.upstream.received == before
    readiness = stack.get("/readyz")
    assert (readiness.status_code, readiness.json()["failed"]) == (503, [part])
    assert stack.get("/healthz").status_code == 200
    content = stack.get(f"/image/{details['guid']}/content")
    assert content.status_code == 503
    stack.proxies[part].mode = "pass"
    wait_until(lambda: is_ready(stack), seconds=30, what="the stack")
    assert stack.post().status_code == 201
    assert stack.get(f"/image/{details['guid']}/content").status_code == 200


@EACH_PART
def test_many_callers_of_a_silent_part_are_all_answered_within_fifteen_seconds(stack: Stack, part: str) -> None:
    stack.proxies[part].mode = "silent"
    time.sleep(6)
    before = stack.upstream.received

    async def burst() -> list[tuple[int, float]]:
        async with httpx2.AsyncClient(headers=KEY, timeout=TIMEOUT) as client:

            async def one() -> tuple[int, float]:
                started = time.monotonic()
                response = await client.post(f"{stack.replicas[0].url}/image", json={"prompt": planted.PROMPT})
                return response.status_code, time.monotonic() - started

            return list(await asyncio.gather(*(one() for _ in range(40))))

    answers = asyncio.run(burst())
    assert {status for status, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 15
    assert stack.upstream.received == before


@ON_MYSQL
def test_an_unavailable_upstream_is_reported_after_one_try(stack: Stack) -> None:
    stack.proxies["upstream"].mode = "refuse"
    before = stack.upstream.received
    lost = stack.post()
    assert lost.status_code == 502
    assert lost.json()["type"] == "urn:pixyproxy:problem:upstream-unknown-outcome"
    stack.proxies["upstream"].mode = "silent"
    started = time.monotonic()
    late = stack.post()
    assert (late.status_code, late.json()["type"]) == (504, "urn:pixyproxy:problem:upstream-deadline")
    assert 7 < time.monotonic() - started < 15
    assert stack.get("/readyz").status_code == 200, "images are served without the upstream"
    stack.proxies["upstream"].mode = "pass"
    assert stack.post().status_code == 201
    assert stack.upstream.received - before <= 2


def test_a_generation_holds_no_database_connection_while_it_is_drawn(stack: Stack, server: SqlServer) -> None:
    stack.upstream.delay = 3

    async def crowd() -> list[int]:
        async with httpx2.AsyncClient(headers=KEY, timeout=TIMEOUT) as client:

            async def generation() -> int:
                body = {"prompt": planted.PROMPT, "size": "32x16"}
                return (await client.post(f"{stack.replicas[0].url}/image", json=body)).status_code

            running = [asyncio.create_task(generation()) for _ in range(40)]
            await asyncio.sleep(1.5)
            started = time.monotonic()
            listed = await client.get(f"{stack.replicas[0].url}/image?limit=1")
            assert listed.status_code == 200
            assert time.monotonic() - started < 1.5, "40 running generations would hold all 10 connections"
            return list(await asyncio.gather(*running))

    assert asyncio.run(crowd()) == [201] * 40


def test_the_database_stopped_and_started_again_needs_no_restart(stack: Stack, server: SqlServer) -> None:
    assert stack.post().status_code == 201
    server.process.stop()
    refused = stack.post()
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:pixyproxy:problem:database-unavailable")
    server.start()
    wait_until(lambda: is_ready(stack), seconds=30, what="the stack")
    assert stack.post().status_code == 201


def test_killed_connections_and_a_read_only_server_need_no_restart(stack: Stack, server: SqlServer) -> None:
    assert stack.post().status_code == 201
    for (process,) in server.query("SELECT id FROM information_schema.processlist WHERE user = %s", server.user):
        server.query(f"KILL {int(process)}")
    assert stack.post().status_code == 201, "the pool notices before it hands a dead connection out"
    server.query("SET GLOBAL read_only = 1")
    try:
        refused = stack.post()
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:pixyproxy:problem:database-unavailable")
        assert stack.get("/image").status_code == 200
    finally:
        server.query("SET GLOBAL read_only = 0")
    assert stack.post().status_code == 201


@ON_MYSQL
def test_the_storage_paused_and_resumed_needs_no_restart(stack: Stack, seaweedfs: SeaweedFS) -> None:
    details = stack.post().json()
    seaweedfs.process.pause()
    try:
        time.sleep(6)
        before = stack.upstream.received
        started = time.monotonic()
        assert stack.post().json()["type"] == "urn:pixyproxy:problem:storage-unavailable"
        assert time.monotonic() - started < 15
        assert stack.upstream.received == before
    finally:
        seaweedfs.process.resume()
    wait_until(lambda: is_ready(stack), seconds=30, what="the stack")
    assert stack.get(f"/image/{details['guid']}/content").status_code == 200


@ON_MYSQL
def test_a_deletion_does_not_wait_for_a_silent_storage_and_is_finished_later(
    stack: Stack, server: SqlServer, seaweedfs: SeaweedFS
) -> None:
    details = stack.post().json()
    stack.proxies["storage"].mode = "silent"
    started = time.monotonic()
    url = f"{stack.replicas[0].url}/image/{details['guid']}"
    assert httpx2.delete(url, headers=KEY, timeout=TIMEOUT).status_code == 204
    assert time.monotonic() - started < 15  # the storage's own timeouts add up to a minute
    assert stack.get(f"/image/{details['guid']}").status_code == 404
    stack.mend()

    def is_removed() -> None:
        assert server.query("SELECT id FROM images WHERE guid = %s", details["guid"], database=stack.database) == []
        listed = seaweedfs.client().list_objects_v2(Bucket=stack.bucket, Prefix=f"pictures/{details['filename']}")
        assert listed["KeyCount"] == 0

    wait_until(is_removed, seconds=90, what="the deletion")


def resident_kilobytes(server: PixyProxy) -> int:
    """The process's resident memory."""
    status = Path(f"/proc/{server.process.handle.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1])


@ON_MYSQL
def test_a_thousand_in_turn_and_64_at_once_leave_rows_objects_and_no_growth(
    stack: Stack, server: SqlServer, seaweedfs: SeaweedFS
) -> None:
    def counts() -> tuple[int, int]:
        ((rows,),) = server.query("SELECT COUNT(*) FROM images", database=stack.database)
        pages = seaweedfs.client().get_paginator("list_objects_v2").paginate(Bucket=stack.bucket)
        return rows, sum(page["KeyCount"] for page in pages)

    def states() -> dict[str, int]:
        return dict(server.query("SELECT state, COUNT(*) FROM generations GROUP BY state", database=stack.database))

    rows_before, objects_before = counts()
    states_before = states()
    stack.upstream.requests = deque(maxlen=1)
    memory: list[int] = []
    with httpx2.Client(headers=KEY, timeout=TIMEOUT) as client:
        for number in range(1000):
            body = {"prompt": f"{planted.PROMPT} {number}", "size": "256x256"}
            response = client.post(f"{stack.replicas[number % 2].url}/image", json=body)
            assert response.status_code == 201, response.text
            if number in (499, 999):
                memory.append(sum(resident_kilobytes(replica) for replica in stack.replicas))

    async def at_once() -> list[int]:
        limits = httpx2.Limits(max_connections=64)
        async with httpx2.AsyncClient(headers=KEY, timeout=TIMEOUT, limits=limits) as client:
            body = {"prompt": planted.PROMPT, "size": "256x256"}
            url = f"{stack.replicas[0].url}/image"
            return [
                answer.status_code for answer in await asyncio.gather(*(client.post(url, json=body) for _ in range(64)))
            ]

    assert asyncio.run(at_once()) == [201] * 64
    rows, objects = counts()
    assert (rows - rows_before, objects - objects_before) == (1064, 1064)
    assert states() == states_before | {"succeeded": states_before.get("succeeded", 0) + 1064}
    growth = memory[1] - memory[0]
    assert growth < 8 * 1024, f"the second 500 generations made the two processes grow by {growth} KB"
