"""One contract for every storage: the fake, the folder, moto's server, and a real SeaweedFS."""

import asyncio
import os
import random
import stat
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import boto3
import pytest
import urllib3.exceptions
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
)
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from pixyproxy.core.exceptions import (
    ConfigurationError,
    ObjectNotFoundError,
    PixyProxyException,
    StorageError,
    StorageUnavailableError,
)
from pixyproxy.core.images import MAX_PICTURE_BYTES, ObjectFacts
from pixyproxy.core.limits import FOLDERS, FolderLimits
from pixyproxy.core.protocols import ImageStorage, ParkedFile, ParkingFolder
from pixyproxy.core.thumbnails import thumbnail_keys
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.storage.files import file_errors
from pixyproxy.storage.folder import MINIMUM_ROOM, FolderImageStorage
from pixyproxy.storage.parking import LocalParkingFolder
from pixyproxy.storage.s3.address import parse_url
from pixyproxy.storage.s3.client import open_s3_storage
from pixyproxy.storage.s3.errors import s3_errors
from pixyproxy.storage.s3.storage import PAGE, S3ImageStorage
from tests import planted
from tests.fakes import FakeParkingFolder, FakeStorage
from tests.s3_of_a_region import s3_of_a_region
from tests.servers import SeaweedFS, free_ports

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

GUID = "0f0e0d0c-0b0a-4908-8706-050403020100"
"""The same in every process that collects these tests."""
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("s3_credentials")]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The endpoint of a moto server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


OPEN: list[S3ImageStorage] = []
"""What the running test has opened."""


@pytest.fixture(autouse=True)
async def closed(anyio_backend: str) -> AsyncIterator[None]:
    """Every connection of a test is closed at its end."""
    yield
    while OPEN:
        await OPEN.pop().aclose()


def storage_at(url: str, endpoint: str) -> S3ImageStorage:
    """The storage of an `s3://` URL."""
    OPEN.append(open_s3_storage(url, endpoint_url=endpoint, region="us-east-1"))
    return OPEN[-1]


@cache
def client_of(endpoint: str) -> "S3Client":
    """A client that makes buckets. To make a client takes longer than most tests of this file."""
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name="us-east-1")


def bucket_at(endpoint: str, name: str) -> S3ImageStorage:
    """The storage of a fresh bucket, below a prefix."""
    client_of(endpoint).create_bucket(Bucket=name)
    return storage_at(f"s3://{name}/some/prefix", endpoint)


@pytest.fixture(params=["fake", "folder", "moto", "seaweedfs", "cached folder", "cached seaweedfs"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, unique: Callable[[], str]) -> ImageStorage:
    """An empty storage."""
    cached, name = request.param.startswith("cached"), request.param.removeprefix("cached ")
    if name == "fake":
        return FakeStorage()
    if name == "folder":
        (tmp_path / "images").mkdir()
        inner: ImageStorage = FolderImageStorage(tmp_path / "images")
    elif name == "moto":
        inner = bucket_at(request.getfixturevalue("moto"), unique())
    else:
        request.node.used_servers = ("seaweedfs",)
        inner = bucket_at(request.getfixturevalue("seaweedfs").endpoint, unique())
    return CachedImageStorage(inner, capacity=64 * 1024 * 1024) if cached else inner


def a_key(suffix: str = "png") -> str:
    return f"{uuid4()}.{suffix}"


async def content(storage: ImageStorage, key: str) -> bytes:
    """The whole object."""
    return await part_of(storage, key, None)


async def part_of(storage: ImageStorage, key: str, part: range | None) -> bytes:
    """A part of an object."""
    stored = await storage.open(key, part=part)
    try:
        return b"".join([chunk async for chunk in stored])
    finally:
        await stored.aclose()


@pytest.mark.parametrize("size", [1, 5000, 3_000_000])
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
async def test_what_was_put_is_what_is_read(storage: ImageStorage, size: int, suffix: str) -> None:
    key, data = a_key(suffix), os.urandom(size)
    await storage.put(key, data, content_type="image/png")
    assert await content(storage, key) == data
    assert await storage.head(key) == size
    stored = await storage.open(key)
    assert stored.size_bytes == size
    await stored.aclose()
    await stored.aclose()


@pytest.mark.parametrize(
    "part", [range(1), range(1, 2), range(1000), range(299_999, 300_000), range(100_000, 300_000), range(300_000)]
)
async def test_a_part_is_what_is_read_of_it_and_the_size_is_the_wholes(storage: ImageStorage, part: range) -> None:
    key, data = a_key(), random.Random(1).randbytes(300_000)
    await storage.put(key, data, content_type="image/png")
    for _ in range(2):
        assert await part_of(storage, key, part) == data[part.start : part.stop]
        stored = await storage.open(key, part=part)
        assert stored.size_bytes == len(data)
        await stored.aclose()
        assert await content(storage, key) == data  # a copy may serve the next part


async def test_a_part_that_an_object_does_not_have_is_not_found(storage: ImageStorage) -> None:
    key = a_key()
    await storage.put(key, b"0123456789", content_type="image/png")
    for part in (range(10, 11), range(20, 30), range(5, 11)):
        with pytest.raises(ObjectNotFoundError):
            await storage.open(key, part=part)
    assert await content(storage, key) == b"0123456789"
    with pytest.raises(ObjectNotFoundError):
        await storage.open(a_key(), part=range(1))


async def test_the_same_put_again_changes_nothing_and_another_replaces(storage: ImageStorage) -> None:
    key = a_key()
    for data in (b"one", b"one", b"another"):
        await storage.put(key, data, content_type="image/png")
        assert await content(storage, key) == data


async def test_a_missing_object_is_known_before_its_first_byte(storage: ImageStorage) -> None:
    with pytest.raises(ObjectNotFoundError):
        await storage.open(a_key())
    with pytest.raises(ObjectNotFoundError):
        await storage.head(a_key())


async def test_delete_removes_and_deleting_nothing_is_no_error(storage: ImageStorage) -> None:
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")
    await storage.delete(key)
    await storage.delete(key)
    with pytest.raises(ObjectNotFoundError):
        await storage.head(key)


async def test_a_storage_that_works_answers_the_probe(storage: ImageStorage) -> None:
    await storage.probe()


async def test_a_storage_notes_the_first_instance_and_keeps_it(storage: ImageStorage) -> None:
    first, second = uuid4(), uuid4()
    assert await storage.get_instance() is None
    for instance in (first, first, second):
        await storage.add_instance(instance)
        assert await storage.get_instance() == first
    assert await storage.list(after="", limit=10) == (), "it is no image"


async def test_of_several_instances_at_once_one_is_noted(storage: ImageStorage) -> None:
    instances = [uuid4() for _ in range(6)]
    await asyncio.gather(*(storage.add_instance(instance) for instance in instances))
    assert await storage.get_instance() in instances


async def test_an_instance_that_cannot_be_read_is_a_fault_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / ".pixyproxy-instance").write_bytes(b"\xff garbage")
    with pytest.raises(StorageError, match="remove it"):
        await FolderImageStorage(tmp_path).get_instance()


async def test_a_folder_that_is_missing_has_no_instance_and_gets_none(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path / "not mounted")
    assert await storage.get_instance() is None
    with pytest.raises(StorageUnavailableError):
        await storage.add_instance(uuid4())
    assert not (tmp_path / "not mounted").exists()


async def test_a_server_without_conditional_writes_notes_an_instance_too() -> None:
    with s3_of_a_region("us-east-1", conditional=False) as server:
        storage = storage_at("s3://pictures/prefix", server.endpoint)
        first = uuid4()
        for instance in (first, uuid4()):
            await storage.add_instance(instance)
            assert await storage.get_instance() == first


@pytest.mark.parametrize("key", ["", "../etc/passwd", "x.png", f"{GUID}.svg", f"a/{GUID}.png", f"{GUID}.png\n"])
async def test_only_our_own_keys_are_touched(storage: ImageStorage, key: str) -> None:
    for refused in (
        lambda: storage.put(key, b"data", content_type="image/png"),
        lambda: storage.open(key),
        lambda: storage.head(key),
        lambda: storage.delete(key),
    ):
        with pytest.raises(StorageError):
            await refused()


def keys_of(objects: tuple[ObjectFacts, ...]) -> list[str]:
    return [each.key for each in objects]


async def test_an_empty_storage_lists_nothing(storage: ImageStorage) -> None:
    assert await storage.list(after="", limit=10) == ()
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")
    await storage.delete(key)
    assert await storage.list(after="", limit=10) == ()


async def test_objects_are_listed_in_the_order_of_their_keys_from_behind_one_and_at_most_so_many(
    storage: ImageStorage,
) -> None:
    # Some share the first two and four characters, by which the folder spreads them, and two the whole guid.
    guids = [f"{first}aa-0000-4000-8000-000000000000" for first in ("ffffff", "0a0b0c", "0a0b0d", "0a0c00", "900000")]
    keys = [*(f"{guid}.png" for guid in guids), f"{guids[1]}.jpg", f"{guids[1]}.webp"]
    for key in keys:
        await storage.put(key, b"data", content_type="image/png")
    expected = sorted(keys)
    assert keys_of(await storage.list(after="", limit=10)) == expected
    assert keys_of(await storage.list(after="", limit=7)) == expected
    assert keys_of(await storage.list(after="", limit=3)) == expected[:3]
    for index, key in enumerate(expected):
        assert keys_of(await storage.list(after=key, limit=10)) == expected[index + 1 :]
    assert keys_of(await storage.list(after=expected[2][:-1], limit=1)) == [expected[2]]
    assert keys_of(await storage.list(after="0a0b", limit=10)) == expected
    assert keys_of(await storage.list(after="0a0c", limit=10)) == expected[4:]
    assert keys_of(await storage.list(after="a", limit=10)) == expected[-1:]


async def test_thumbnails_are_objects_of_their_own_before_the_one_of_their_image(storage: ImageStorage) -> None:
    guid, other = UUID(GUID), uuid4()
    keys = [*thumbnail_keys(guid), f"{guid}.png"]
    for key in reversed(keys):
        await storage.put(key, key.encode(), content_type="image/webp")
    assert [await content(storage, key) for key in keys] == [key.encode() for key in keys]
    assert keys_of(await storage.list(after="", limit=10)) == keys
    assert keys_of(await storage.list(after=keys[0][:-1], limit=1)) == keys[:1]
    assert keys_of(await storage.list(after=keys[0], limit=1)) == keys[1:2]
    await storage.delete(keys[0])
    assert keys_of(await storage.list(after="", limit=10)) == keys[1:]
    for size in ("40", "401", "4000", "1024"):
        with pytest.raises(StorageError):
            await storage.put(f"{other}.{size}.webp", b"data", content_type="image/webp")
    with pytest.raises(StorageError):
        await storage.put(f"{other}.400.png", b"data", content_type="image/png")


async def test_a_listed_object_has_its_size_and_the_time_of_its_last_writing(storage: ImageStorage) -> None:
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")
    (first,) = await storage.list(after="", limit=10)
    assert (first.key, first.size_bytes) == (key, 4)
    assert first.modified_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - first.modified_at) < timedelta(minutes=1)
    await storage.put(key, b"other data", content_type="image/png")
    (second,) = await storage.list(after="", limit=10)
    assert second.size_bytes == 10
    assert second.modified_at >= first.modified_at


FOREIGN = (
    "README.txt",
    "0000/notes.png",
    "aa/bb/cc.png",
    "11111111-1111-4111-8111-111111111111.svg",
    "11111111-1111-4111-8111-11111111111.png",
    "AAAAAAAA-1111-4111-8111-111111111111.png",
    "11111111-1111-4111-8111-111111111111.png.bak",
    "deeper/11111111-1111-4111-8111-111111111111.png",
    "11111111-1111-4111-8111-111111111111.png/below",
)


@pytest.mark.parametrize("server", ["moto", "seaweedfs"])
@pytest.mark.parametrize("prefix", ["", "/some/prefix"])
async def test_an_object_that_is_not_ours_is_passed_over(
    request: pytest.FixtureRequest, unique: Callable[[], str], server: str, prefix: str
) -> None:
    found = request.getfixturevalue(server)
    if server == "seaweedfs":
        request.node.used_servers = ("seaweedfs",)
        found = found.endpoint
    name = unique()
    client = boto3.session.Session().client("s3", endpoint_url=found, region_name="us-east-1")
    client.create_bucket(Bucket=name)
    storage = storage_at(f"s3://{name}{prefix}", found)
    keys = sorted(a_key() for _ in range(3))
    for key in keys:
        await storage.put(key, b"data", content_type="image/png")
    below = prefix.removeprefix("/") + "/" if prefix else ""
    for foreign in FOREIGN:
        client.put_object(Bucket=name, Key=below + foreign, Body=b"foreign")
    client.put_object(Bucket=name, Key=f"another/prefix/{a_key()}", Body=b"foreign")
    assert keys_of(await storage.list(after="", limit=10)) == keys
    assert keys_of(await storage.list(after="", limit=2)) == keys[:2]
    assert keys_of(await storage.list(after=keys[1], limit=2)) == keys[2:]


async def test_a_file_that_is_no_object_of_ours_is_passed_over(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path)
    key = "88888888-1111-4111-8111-111111111111.png"
    await storage.put(key, b"data", content_type="image/png")
    elsewhere = a_key()
    for foreign in (
        *(each for each in FOREIGN if not each.endswith("below")),
        f"88/{key}",
        f"88/88/.{key}.0123456789abcdef",  # what a killed process left beside its place
        f"88/88/{key}.bak",
        f"88/88/{elsewhere}",
        f"backup/2026/{elsewhere}",
        f"00/00/{key}",
    ):
        (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / foreign).write_bytes(b"foreign")
    (tmp_path / "99/99/99999999-1111-4111-8111-111111111111.png").mkdir(parents=True)
    assert keys_of(await storage.list(after="", limit=10)) == [key]
    assert keys_of(await storage.list(after="", limit=1)) == [key]


async def test_a_bucket_of_several_pages_is_listed_to_its_end(moto: str, unique: Callable[[], str]) -> None:
    name = unique()
    storage = bucket_at(moto, name)
    keys = sorted(a_key() for _ in range(PAGE + 5))
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]  # by HTTP it would take seconds
    for key in keys:
        bucket.put_object(name, f"some/prefix/{key}", b"data")
    for number in range(PAGE):  # more than a page that has none of ours
        bucket.put_object(name, f"some/prefix/0 foreign {number:04}", b"data")
    assert keys_of(await storage.list(after="", limit=2 * PAGE)) == keys
    assert keys_of(await storage.list(after="", limit=PAGE)) == keys[:PAGE]
    assert keys_of(await storage.list(after=keys[PAGE - 1], limit=PAGE)) == keys[PAGE:]


async def test_many_at_once_do_not_disturb_each_other(storage: ImageStorage) -> None:
    objects = {a_key(): os.urandom(20_000) for _ in range(60)}

    async def there_and_back(key: str, data: bytes) -> None:
        await storage.put(key, data, content_type="image/png")
        assert await content(storage, key) == data

    await asyncio.gather(*(there_and_back(key, data) for key, data in objects.items()))


async def test_a_bucket_holds_the_object_under_prefix_and_key_with_its_type(
    seaweedfs: SeaweedFS, unique: Callable[[], str]
) -> None:
    name = unique()
    storage = bucket_at(seaweedfs.endpoint, name)
    key = a_key("webp")
    await storage.put(key, b"data", content_type="image/webp")
    found = seaweedfs.client().get_object(Bucket=name, Key=f"some/prefix/{key}")
    assert (found["Body"].read(), found["ContentType"]) == (b"data", "image/webp")


async def test_a_bucket_is_made_once(seaweedfs: SeaweedFS, unique: Callable[[], str]) -> None:
    storage = storage_at(f"s3://{unique()}", seaweedfs.endpoint)
    assert await storage.create_bucket(region="us-east-1") is True
    assert await storage.create_bucket(region="us-east-1") is False
    await storage.probe()


@pytest.mark.parametrize(
    ("name", "value"),
    [("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "planted-wrong-secret")],
)
async def test_wrong_credentials_make_the_storage_unavailable(
    seaweedfs: SeaweedFS, unique: Callable[[], str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    bucket = unique()
    right = bucket_at(seaweedfs.endpoint, bucket)
    key = a_key()
    await right.put(key, b"data", content_type="image/png")
    monkeypatch.setenv(name, value)
    wrong = storage_at(f"s3://{bucket}/some/prefix", seaweedfs.endpoint)
    for refused in (
        lambda: wrong.put(a_key(), b"data", content_type="image/png"),
        lambda: wrong.open(key),
        lambda: wrong.head(key),
        lambda: wrong.delete(key),
        lambda: wrong.list(after="", limit=10),
        wrong.probe,
    ):
        with pytest.raises(StorageUnavailableError) as caught:
            await refused()
        assert planted.S3_SECRET not in str(caught.value)
    assert await content(right, key) == b"data"


async def test_a_missing_bucket_is_a_storage_that_is_away_not_a_missing_image(seaweedfs: SeaweedFS) -> None:
    storage = storage_at("s3://never-made", seaweedfs.endpoint)
    for refused in (
        lambda: storage.open(a_key()),
        lambda: storage.head(a_key()),
        lambda: storage.put(a_key(), b"data", content_type="image/png"),
        lambda: storage.delete(a_key()),
        lambda: storage.list(after="", limit=10),
        storage.probe,
    ):
        with pytest.raises(StorageUnavailableError):
            await refused()


async def test_a_storage_that_refuses_connections_is_unavailable() -> None:
    (port,) = free_ports(1)
    storage = storage_at("s3://bucket", f"http://127.0.0.1:{port}")
    with pytest.raises(StorageUnavailableError):
        await storage.probe()
    with pytest.raises(StorageUnavailableError):
        await storage.open(a_key())
    with pytest.raises(StorageUnavailableError):
        await storage.list(after="", limit=10)


async def test_a_folder_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    storage = FolderImageStorage(tmp_path / "file")
    with pytest.raises(StorageUnavailableError):
        await storage.probe()
    with pytest.raises(StorageUnavailableError):
        await storage.put(a_key(), b"data", content_type="image/png")


async def test_a_failed_write_leaves_no_file_behind(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path / "images")
    key = a_key()
    storage.path(key).mkdir(parents=True)  # a rename onto a folder fails
    with pytest.raises(StorageUnavailableError):
        await storage.put(key, b"data", content_type="image/png")
    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == []


async def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path)
    key = a_key()
    await storage.put(key, bytes(1_000_000), content_type="image/png")
    opened = await storage.open(key)
    chunks = aiter(opened)
    await anext(chunks)
    os.truncate(storage.path(key), 300_000)
    with pytest.raises(StorageUnavailableError):
        async for _ in chunks:
            pass
    await opened.aclose()


async def test_a_folder_spreads_its_files(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path)
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")
    assert (tmp_path / key[:2] / key[2:4] / key).read_bytes() == b"data"


def test_a_storage_url_is_a_bucket_and_a_prefix() -> None:
    assert (parse_url("s3://bucket").bucket, parse_url("s3://bucket").prefix) == ("bucket", "")
    assert parse_url("s3://bucket/").prefix == ""
    assert parse_url("s3://bucket/a/b/").prefix == "a/b/"


@pytest.mark.parametrize(
    "url", ["s3://", "s3://UPPER", "s3://a", "s3://user:pw@bucket", "s3://bucket?x=1", "https://bucket"]
)
def test_a_wrong_storage_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_url(url)
    assert "pw" not in caught.value.detail


def test_credentials_that_are_half_there_or_missing_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigurationError, match="PartialCredentials"):
        open_s3_storage("s3://bucket", endpoint_url=None, region="us-east-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        open_s3_storage("s3://bucket", endpoint_url=None, region="us-east-1")


ANSWERS: dict[str, tuple[str, int, type[Exception]]] = {
    "NoSuchKey": ("NoSuchKey", 404, ObjectNotFoundError),
    "HEAD of nothing": ("404", 404, ObjectNotFoundError),
    "NoSuchBucket": ("NoSuchBucket", 404, StorageUnavailableError),
    "AccessDenied": ("AccessDenied", 403, StorageUnavailableError),
    "HEAD forbidden": ("403", 403, StorageUnavailableError),
    "HEAD with an expired token": ("400", 400, StorageUnavailableError),
    "SlowDown": ("SlowDown", 503, StorageUnavailableError),
    "TooManyRequests": ("TooManyRequests", 429, StorageUnavailableError),
    "unknown 429": ("Whatever", 429, StorageUnavailableError),
    "unknown 500": ("Whatever", 500, StorageUnavailableError),
    "another region": ("PermanentRedirect", 301, StorageUnavailableError),
    "signed for another region": ("AuthorizationHeaderMalformed", 400, StorageUnavailableError),
    "a URL signed for another region": ("AuthorizationQueryParametersError", 400, StorageUnavailableError),
    "InvalidArgument": ("InvalidArgument", 400, StorageError),
    "EntityTooLarge": ("EntityTooLarge", 400, StorageError),
    "NotImplemented": ("NotImplemented", 400, StorageError),
}


@pytest.mark.parametrize(("code", "status", "kind"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_of_the_server_means(code: str, status: int, kind: type[Exception]) -> None:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(PixyProxyException) as caught, s3_errors():
        raise ClientError(answer, "GetObject")
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, ClientError)


def test_what_no_server_said_means() -> None:
    for error, kind in (
        (EndpointConnectionError(endpoint_url="http://x"), StorageUnavailableError),
        (ReadTimeoutError(endpoint_url="http://x"), StorageUnavailableError),
        (IncompleteReadError(actual_bytes=1, expected_bytes=2), StorageUnavailableError),
        (urllib3.exceptions.ProtocolError("broke"), StorageUnavailableError),
        (ConnectionResetError("broke"), StorageUnavailableError),
        (ParamValidationError(report="a bug"), StorageError),
    ):
        with pytest.raises(PixyProxyException) as caught, s3_errors():
            raise error
        assert type(caught.value) is kind


async def test_several_may_make_the_bucket_at_once(seaweedfs: SeaweedFS, unique: Callable[[], str]) -> None:
    name = unique()
    storages = [storage_at(f"s3://{name}", seaweedfs.endpoint) for _ in range(6)]
    made = await asyncio.gather(*(storage.create_bucket(region="us-east-1") for storage in storages))
    assert any(made)
    await storages[0].probe()


async def test_readers_that_hang_keep_no_picture_from_being_stored(
    seaweedfs: SeaweedFS, unique: Callable[[], str]
) -> None:
    name = unique()
    storage = bucket_at(seaweedfs.endpoint, name)
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")
    release = threading.Event()
    hanging = [asyncio.create_task(storage._reading.run(release.wait, patience=60)) for _ in range(64)]
    await asyncio.sleep(0.1)
    started = time.monotonic()
    await storage.put(a_key(), b"data", content_type="image/png")
    await storage.probe()
    assert time.monotonic() - started < 3
    with pytest.raises(StorageUnavailableError, match="busy"):
        await storage.open(key)
    release.set()
    await asyncio.gather(*hanging)
    assert await content(storage, key) == b"data"


async def test_more_pictures_than_threads_are_all_stored_however_slow(tmp_path: Path) -> None:
    storage = FolderImageStorage(tmp_path)
    slow = [asyncio.create_task(storage._writing.run(lambda: time.sleep(4), patience=60)) for _ in range(16)]
    await asyncio.sleep(0.1)
    key = a_key()
    await storage.put(key, b"data", content_type="image/png")  # waits longer than a reader would
    assert await content(storage, key) == b"data"
    await asyncio.gather(*slow)


def test_a_full_disk_is_noticed_before_anything_is_spent(tmp_path: Path) -> None:
    # /dev/full takes no byte: the same ENOSPC that a full disk gives.
    with pytest.raises(StorageUnavailableError):
        with file_errors():
            with Path("/dev/full").open("wb", buffering=0) as file:
                file.write(b"x")
    assert MINIMUM_ROOM >= MAX_PICTURE_BYTES


@pytest.fixture(params=["fake", "folder"])
def parking(request: pytest.FixtureRequest, tmp_path: Path) -> ParkingFolder:
    """An empty parking folder."""
    return FakeParkingFolder() if request.param == "fake" else LocalParkingFolder(tmp_path / "data" / "parked")


async def test_parked_pictures_are_listed_and_come_back_as_they_were(parking: ParkingFolder) -> None:
    one, other = uuid4(), uuid4()
    pictures = {
        ParkedFile(one, 0, 10): bytes(range(256)) * 5000,
        ParkedFile(one, 9, 10): b"ten",
        ParkedFile(other, 0, 1): b"other",
        ParkedFile(uuid4(), 3, None): b"by an older version",
    }
    assert await parking.list() == ()
    for file, data in pictures.items():
        assert str(file.generation) in await parking.add(file, data)
    assert set(await parking.list()) == set(pictures)
    for file, data in pictures.items():
        assert await parking.get(file) == data


async def test_a_picture_that_is_parked_again_is_replaced(parking: ParkingFolder) -> None:
    generation = uuid4()
    for data in (b"one", b"one", b"another"):
        await parking.add(ParkedFile(generation, 0, 4), data)
        assert await parking.get(ParkedFile(generation, 0, 4)) == data
    assert await parking.list() == (ParkedFile(generation, 0, 4),)


async def test_a_parked_picture_is_removed_and_removing_nothing_is_no_error(parking: ParkingFolder) -> None:
    generation = uuid4()
    await parking.delete(ParkedFile(generation, 0, 4))  # before there is a folder
    for index in (0, 1):
        await parking.add(ParkedFile(generation, index, 4), b"data")
    for _ in range(2):
        await parking.delete(ParkedFile(generation, 0, 4))
    assert await parking.list() == (ParkedFile(generation, 1, 4),)


async def test_a_picture_that_is_not_parked_is_not_found(parking: ParkingFolder) -> None:
    generation = uuid4()
    with pytest.raises(ObjectNotFoundError):
        await parking.get(ParkedFile(generation, 0, 4))
    await parking.add(ParkedFile(generation, 0, 4), b"data")
    with pytest.raises(ObjectNotFoundError):
        await parking.get(ParkedFile(generation, 1, 4))


async def test_a_parking_folder_is_for_nobody_elses_eyes_and_made_when_it_is_needed(tmp_path: Path) -> None:
    parking = LocalParkingFolder(tmp_path / "data" / "parked")
    generation = uuid4()
    assert await parking.list() == ()
    with pytest.raises(ObjectNotFoundError):
        await parking.get(ParkedFile(generation, 0, 4))
    folder, file = tmp_path / "data" / "parked", tmp_path / "data" / "parked" / f"{generation}.4-of-4"
    assert not folder.parent.exists(), "a look makes nothing"
    assert await parking.add(ParkedFile(generation, 3, 4), b"data") == str(file)
    assert file.read_bytes() == b"data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [file.name]


async def test_a_file_that_is_no_parked_picture_is_passed_over(tmp_path: Path) -> None:
    parking = LocalParkingFolder(tmp_path)
    generation = UUID("11111111-1111-4111-8111-111111111111")
    await parking.add(ParkedFile(generation, 0, 4), b"data")
    for foreign in (
        "README.txt",
        f"{generation}",
        f"{generation}.10",
        f"{generation}.0-of-4",
        f"{generation}.4-of-11",
        f"{generation}.x",
        f"{generation}.1.bak",
        f".{generation}.2-of-4.0123456789abcdef",  # what a killed process left beside its place
    ):
        (tmp_path / foreign).write_bytes(b"foreign")
    assert await parking.list() == (ParkedFile(generation, 0, 4),)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own, which only root can mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here: it needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


async def test_a_full_disk_still_has_room_for_parked_pictures(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parking = LocalParkingFolder(small_disk / "parked", limits=FolderLimits(reserve=2 * 1024 * 1024))
    await parking.probe()
    await parking.probe()  # as at the next start
    with suppress(OSError), (small_disk / "other data").open("wb") as other:
        while True:
            other.write(bytes(65_536))
            other.flush()
    picture = bytes(range(256)) * 4 * 1024  # 1 MiB
    first, second = ParkedFile(uuid4(), 0, 1), ParkedFile(uuid4(), 0, 1)
    await parking.add(first, picture)
    assert await parking.get(first) == picture
    assert "bytes free:" in caplog.text
    assert await parking.list() == (first,)
    with pytest.raises(StorageUnavailableError, match=r"no room for a picture of 1048576 bytes: \d+ bytes are free"):
        for _ in range(3):
            await parking.add(second, picture)
            second = ParkedFile(uuid4(), 0, 1)
    with pytest.raises(StorageUnavailableError):
        await parking.probe()


async def test_a_parking_folder_on_a_disk_with_little_room_takes_pictures_and_reserves_nothing(tmp_path: Path) -> None:
    room = os.statvfs(tmp_path)
    parking = LocalParkingFolder(tmp_path / "parked", limits=FolderLimits(reserve=(room.f_blocks + 1) * room.f_frsize))
    assert not await parking.probe()
    file = ParkedFile(uuid4(), 0, 1)
    await parking.add(file, b"data")
    assert (await parking.get(file), len(list((tmp_path / "parked").iterdir()))) == (b"data", 1)


async def test_processes_that_start_at_once_on_one_folder_reserve_room_once(tmp_path: Path) -> None:
    folder = tmp_path / "parked"
    for _ in range(50):
        processes = [LocalParkingFolder(folder, limits=FolderLimits(reserve=4096)) for _ in range(4)]
        assert await asyncio.gather(*(each.probe() for each in processes)) == [True] * 4
        (reserve,) = folder.iterdir()
        reserve.unlink()


async def test_a_parking_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    parking = LocalParkingFolder(tmp_path / "file" / "parked")
    with pytest.raises(StorageUnavailableError):
        await parking.add(ParkedFile(uuid4(), 0, 1), b"data")
    assert await parking.list() == ()


async def test_a_folder_that_is_not_there_is_away_and_not_empty(tmp_path: Path) -> None:
    storage, key = FolderImageStorage(tmp_path / "not mounted"), f"{uuid4()}.png"
    for work in (storage.put(key, b"", content_type="image/png"), storage.open(key), storage.head(key)):
        with pytest.raises(StorageUnavailableError):
            await work
    for other in (storage.delete(key), storage.probe()):
        with pytest.raises(StorageUnavailableError):
            await other
    assert not (tmp_path / "not mounted").exists()
    await storage.make()
    await storage.probe()


async def test_a_parking_folder_that_cannot_be_made_is_known_by_its_probe(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailableError):
        await LocalParkingFolder(tmp_path / "file" / "parked").probe()
    assert await LocalParkingFolder(tmp_path / "parked").probe()
    (reserve,) = (tmp_path / "parked").iterdir()
    assert (reserve.name, reserve.stat().st_size) == (".reserve", FOLDERS.reserve)
