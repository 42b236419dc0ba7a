"""The bytes in a bucket at AWS S3, MinIO, SeaweedFS or another S3-compatible server."""

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import boto3
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from pixyproxy.core.exceptions import (
    ConfigurationError,
    ObjectNotFoundError,
    StorageError,
    StorageUnavailableError,
)
from pixyproxy.core.models import ObjectFacts
from pixyproxy.core.threads import Threads
from pixyproxy.storage.keys import KEY, checked

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

T = TypeVar("T")

CONNECTIONS = 32
"""Pooled connections of one process for readers, and as many for writers, and threads that use them."""
PATIENCE = 3.0
"""Seconds that a reader waits for a free thread."""
AFTER_DRAWING = 100.0
"""Seconds that a picture that was paid for waits for one: a round of puts that use up all of `WRITING`."""
CONNECT_TIMEOUT = 3
CHUNK = 256 * 1024
PAGE = 1000
"""Keys of one ListObjectsV2: the most that S3 gives."""


@dataclass(frozen=True)
class Patience:
    """How long a client waits for the server's next bytes, in seconds, and how often it asks."""

    read_timeout: int
    attempts: int


WRITING = Patience(read_timeout=20, attempts=3)
"""A picture that was paid for is worth waiting for."""
READING = Patience(read_timeout=6, attempts=2)
"""A reader hears of a storage that hangs within some 15 s."""
PROBING = Patience(read_timeout=3, attempts=1)

# What the server says when it, or our right to use it, is away for now. Everything else is a fault.
UNAVAILABLE = frozenset(
    {
        *("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout", "RequestTimeTooSkewed"),
        *("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded", "OperationAborted"),
        # A HEAD has no body: the status stands for the code. 400 is what an expired token gets.
        *("NoSuchBucket", "400", "403", "429", "500", "502", "503", "504"),
    }
)
MISSING = frozenset({"NoSuchKey", "404"})


@dataclass(frozen=True)
class BucketAddress:
    """A bucket, and the prefix of the keys in it ('' or 'some/prefix/')."""

    bucket: str
    prefix: str


def parse_url(url: str) -> BucketAddress:
    """The bucket of `s3://bucket` or `s3://bucket/prefix`; `ConfigurationError` says what is wrong."""
    parts = urlsplit(url)
    if parts.scheme != "s3" or parts.query or parts.fragment or parts.netloc != parts.hostname:
        raise ConfigurationError("it must be s3://bucket, s3://bucket/prefix or file:/folder")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
        raise ConfigurationError("a bucket's name has 3 to 63 characters of a-z, 0-9, '.' and '-'")
    prefix = parts.path.strip("/")
    return BucketAddress(bucket=parts.netloc, prefix=f"{prefix}/" if prefix else "")


@contextmanager
def s3_errors() -> Iterator[None]:
    """Exactly two answers of a server have a meaning of their own: no such object, and unavailable."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in MISSING:
            raise ObjectNotFoundError("The bucket holds no such object.") from error
        if code in UNAVAILABLE or status == 429 or status >= 500:
            raise StorageUnavailableError(f"The storage refused the request ({code}).") from error
        raise StorageError from error
    except ParamValidationError as error:  # a bug of ours: nothing was asked
        raise StorageError from error
    except (BotoCoreError, urllib3.exceptions.HTTPError, OSError) as error:
        raise StorageUnavailableError("The storage does not answer.") from error


class OpenS3Object:
    """The body of a GetObject on its way; the `StoredObject` of S3."""

    def __init__(self, body: "StreamingBody", *, size_bytes: int, threads: Threads) -> None:
        self._body = body
        self._size_bytes = size_bytes
        self._threads = threads

    @property
    def size_bytes(self) -> int:
        """The object's size in bytes."""
        return self._size_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The bytes, in chunks; `StorageUnavailableError` if they break off."""

        def read() -> bytes:
            with s3_errors():
                chunk: bytes = self._body.read(CHUNK)
                return chunk

        while chunk := await self._threads.run(read):
            yield chunk

    async def aclose(self) -> None:
        """Give the connection back, or close it if the body was not read to its end."""
        self._body.close()


def busy() -> StorageUnavailableError:
    """What a request hears that found no free connection."""
    return StorageUnavailableError("Every connection to the storage is busy.")


class S3ImageStorage:
    """`ImageStorage` in a bucket; `open_storage` makes one. `client` makes a client with the patience it is given."""

    def __init__(self, client: "Callable[[Patience], S3Client]", *, address: BucketAddress) -> None:
        self._writer, self._reader, self._prober = client(WRITING), client(READING), client(PROBING)
        self._address = address
        # Readers that hang keep no picture from being stored, and neither keeps a probe from asking.
        self._reading, self._writing, self._probing = (
            Threads(size, patience=PATIENCE, busy=busy) for size in (CONNECTIONS, CONNECTIONS, 2)
        )

    def _key(self, key: str) -> str:
        return self._address.prefix + checked(key)

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Store the bytes whole or not at all: a PutObject is atomic."""
        name = self._key(key)
        await self._run(
            lambda: self._writer.put_object(Bucket=self._address.bucket, Key=name, Body=data, ContentType=content_type),
            self._writing,
            patience=AFTER_DRAWING,
        )

    async def open(self, key: str) -> OpenS3Object:
        """Open the object; `ObjectNotFoundError` if there is none."""
        name = self._key(key)
        answer = await self._run(lambda: self._reader.get_object(Bucket=self._address.bucket, Key=name), self._reading)
        return OpenS3Object(answer["Body"], size_bytes=answer["ContentLength"], threads=self._reading)

    async def head(self, key: str) -> int:
        """The object's size in bytes; `ObjectNotFoundError` if there is none."""
        name = self._key(key)
        try:
            answer = await self._run(
                lambda: self._reader.head_object(Bucket=self._address.bucket, Key=name), self._reading
            )
        except ObjectNotFoundError:
            await self.probe()  # the 404 of a HEAD does not say whether it is the object or the bucket
            raise
        return answer["ContentLength"]

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        """Objects in the order of their keys, from behind `after`; an object that is not ours is passed over."""

        def found() -> tuple[ObjectFacts, ...]:
            objects: list[ObjectFacts] = []
            start, more = self._address.prefix + after, True
            while more and len(objects) < limit:
                page = self._reader.list_objects_v2(
                    Bucket=self._address.bucket, Prefix=self._address.prefix, StartAfter=start, MaxKeys=PAGE
                )
                for entry in page.get("Contents", []):
                    start = entry["Key"]
                    key = start.removeprefix(self._address.prefix)
                    if KEY.fullmatch(key):
                        facts = ObjectFacts(key=key, size_bytes=entry["Size"], modified_at=entry["LastModified"])
                        objects.append(facts)
                more = page["IsTruncated"] and bool(page.get("Contents"))
            return tuple(objects[:limit])

        return await self._run(found, self._reading)

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        name = self._key(key)
        await self._run(lambda: self._writer.delete_object(Bucket=self._address.bucket, Key=name), self._writing)

    async def probe(self) -> None:
        """Return if the bucket exists and may be used by us: one HeadBucket, one attempt."""

        def head_bucket() -> None:
            try:
                with s3_errors():
                    self._prober.head_bucket(Bucket=self._address.bucket)
            except ObjectNotFoundError as error:
                raise StorageUnavailableError("The bucket does not exist.") from error

        await self._probing.run(head_bucket)

    async def create_bucket(self, *, region: str) -> bool:
        """Make the bucket unless it exists; whether it was made."""

        def create() -> bool:
            try:
                with s3_errors():
                    self._prober.head_bucket(Bucket=self._address.bucket)
            except ObjectNotFoundError:
                with s3_errors():
                    return self._create(region)
            return False

        return await self._writing.run(create)

    def _create(self, region: str) -> bool:
        try:
            if region == "us-east-1":  # the one region that must not be named
                self._writer.create_bucket(Bucket=self._address.bucket)
            else:
                self._writer.create_bucket(
                    Bucket=self._address.bucket,
                    CreateBucketConfiguration={"LocationConstraint": region},  # type: ignore[typeddict-item]
                )
        except ClientError as error:
            if error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou":  # another one was faster
                return False
            raise
        return True

    async def _run(self, work: Callable[[], T], threads: Threads, *, patience: float | None = None) -> T:
        def guarded() -> T:
            with s3_errors():
                return work()

        return await threads.run(guarded, patience=patience)


def open_storage(url: str, *, endpoint_url: str | None, region: str) -> S3ImageStorage:
    """The storage of an `s3://` URL, with credentials from boto3's own chain.

    Raises `ConfigurationError` if the URL is wrong or the chain finds no credentials.
    """
    address = parse_url(url)
    try:
        session = boto3.Session(region_name=region)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise ConfigurationError(f"the AWS credentials cannot be used: {type(error).__name__}") from error
    if credentials is None:
        raise ConfigurationError(
            "no AWS credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give an instance role"
        )

    def client(patience: Patience) -> "S3Client":
        config = Config(
            signature_version="s3v4",  # for a custom endpoint boto3 would presign with SigV2
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=patience.read_timeout,
            retries={"mode": "standard", "total_max_attempts": patience.attempts},
            max_pool_connections=CONNECTIONS,
        )
        return session.client("s3", endpoint_url=endpoint_url, config=config)

    try:
        return S3ImageStorage(client, address=address)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"its endpoint or region cannot be used: {type(error).__name__}") from error
