"""A bucket in another region than the setting says, and where the bucket's name stands in the URLs."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from pixyproxy.core.exceptions import PixyProxyException, StorageUnavailableError
from pixyproxy.core.protocols import ImageStorage
from pixyproxy.storage.s3.client import Addressing, open_s3_storage
from pixyproxy.storage.s3.storage import PROBED, S3ImageStorage
from tests.s3_of_a_region import s3_of_a_region
from tests.servers import SeaweedFS

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("s3_credentials")]


@asynccontextmanager
async def bucket_at(
    endpoint: str | None, *, region: str = "us-east-1", name: str = "pictures", addressing: Addressing = "auto"
) -> AsyncIterator[S3ImageStorage]:
    """The storage of a bucket, below a prefix, closed at the end."""
    storage = open_s3_storage(f"s3://{name}/some/prefix", endpoint_url=endpoint, region=region, addressing=addressing)
    try:
        yield storage
    finally:
        await storage.aclose()


async def content(storage: ImageStorage, key: str) -> bytes:
    """The whole object."""
    stored = await storage.open(key)
    try:
        return b"".join([chunk async for chunk in stored])
    finally:
        await stored.aclose()


@pytest.mark.parametrize(
    "code", ["AuthorizationQueryParametersError", "AuthorizationHeaderMalformed", "PermanentRedirect"]
)
async def test_a_bucket_of_another_region_is_not_ready_and_the_setting_is_named(code: str) -> None:
    with s3_of_a_region("eu-central-1", says=code) as server:
        async with bucket_at(server.endpoint) as storage:
            key = f"{uuid4()}.png"
            await storage.put(key, b"data", content_type="image/png")  # boto3 follows the bucket
            for refused in (storage.probe, lambda: storage.open(key)):
                with pytest.raises(PixyProxyException) as caught:
                    await refused()
                assert type(caught.value) is StorageUnavailableError
                assert "PIXYPROXY_S3_REGION" in caught.value.detail
                assert "eu-central-1" in caught.value.detail


async def test_a_refusal_that_does_not_say_the_cause_is_explained_by_the_buckets_region() -> None:
    with s3_of_a_region("eu-central-1", says="AccessDenied") as server:
        async with bucket_at(server.endpoint) as storage:
            with pytest.raises(StorageUnavailableError, match=r"PIXYPROXY_S3_REGION to eu-central-1"):
                await storage.probe()


async def test_with_the_buckets_own_region_the_probe_reads_as_pictures_are_read() -> None:
    with s3_of_a_region("eu-central-1") as server:
        async with bucket_at(server.endpoint, region="eu-central-1") as storage:
            await storage.probe()
            assert [(method, path) for method, _, path in server.requests] == [
                ("HEAD", "/pictures"),
                ("GET", f"/pictures/some/prefix/{PROBED}"),
            ]
            key = f"{uuid4()}.png"
            await storage.put(key, b"data", content_type="image/png")
            assert await content(storage, key) == b"data"


async def test_a_region_that_the_server_does_not_mind_is_healthy(
    seaweedfs: SeaweedFS, unique: Callable[[], str]
) -> None:
    name = unique()
    seaweedfs.create(name)
    async with bucket_at(seaweedfs.endpoint, region="eu-central-1", name=name) as storage:
        await storage.probe()
        key = f"{uuid4()}.png"
        await storage.put(key, b"data", content_type="image/png")
        assert await content(storage, key) == b"data"


@pytest.mark.parametrize(
    ("endpoint", "addressing", "start"),
    [
        (None, "auto", "https://pictures.s3.amazonaws.com/a.png"),
        (None, "virtual", "https://pictures.s3.amazonaws.com/a.png"),
        (None, "path", "https://s3.amazonaws.com/pictures/a.png"),
        ("https://s3.example:9000", "auto", "https://s3.example:9000/pictures/a.png"),
        ("https://s3.example:9000", "path", "https://s3.example:9000/pictures/a.png"),
        ("https://s3.example:9000", "virtual", "https://pictures.s3.example:9000/a.png"),
    ],
)
async def test_the_buckets_name_stands_where_the_setting_says(
    endpoint: str | None, addressing: Addressing, start: str
) -> None:
    async with bucket_at(endpoint, addressing=addressing) as storage:
        assert (await storage._signed("a.png", 900)).startswith(f"{start}?X-Amz-Algorithm=AWS4-HMAC-SHA256&")


async def test_a_bucket_with_a_host_of_its_own_is_written_and_read_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_of_a_region("us-east-1") as server:
        monkeypatch.setenv("HTTP_PROXY", server.endpoint)  # so that no resolver has to know the names
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with bucket_at("http://s3.example", addressing="virtual") as storage:
            await storage.probe()
            key = f"{uuid4()}.png"
            await storage.put(key, b"data", content_type="image/png")
            assert await content(storage, key) == b"data"
        assert {host for _, host, _ in server.requests} == {"pictures.s3.example"}
        assert ("GET", "pictures.s3.example", f"/some/prefix/{key}") in server.requests
