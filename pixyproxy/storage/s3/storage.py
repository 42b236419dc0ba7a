"""The bytes in a bucket at AWS S3, MinIO, SeaweedFS or another S3-compatible server."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from botocore.exceptions import ClientError

from pixyproxy.core.exceptions import ObjectNotFoundError, PixyProxyException, StorageUnavailableError
from pixyproxy.core.images import ObjectFacts
from pixyproxy.core.limits import S3, S3Limits
from pixyproxy.core.threads import Threads
from pixyproxy.storage.instance import NAME, parse_instance
from pixyproxy.storage.keys import OBJECT_KEY, checked_object_key
from pixyproxy.storage.s3.address import BucketAddress
from pixyproxy.storage.s3.connections import Connections
from pixyproxy.storage.s3.creation import create_bucket
from pixyproxy.storage.s3.errors import s3_errors, wrong_region_error
from pixyproxy.storage.s3.reading import SIGNED_FOR, OpenS3Object, S3Reading
from pixyproxy.storage.s3.writing import S3Writing

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials
    from types_boto3_s3 import S3Client

T = TypeVar("T")
PROBED = ".pixyproxy-probe"
"""An object that does not exist: no image has such a key. It is below the prefix, where we have rights."""
SOME = "00000000-0000-4000-8000-000000000000.png"
"""A key, to see which URL it gets."""
PAGE = 1000
"""Keys per ListObjectsV2: the maximum of S3."""


@dataclass(frozen=True)
class Patience:
    """How long a client waits for the server's next bytes, in seconds, and how many attempts it makes."""

    read_timeout: float
    attempts: int


def busy() -> StorageUnavailableError:
    """The error of a request that found no free connection."""
    return StorageUnavailableError("Every connection to the storage is busy.")


class S3ImageStorage:
    """`ImageStorage` in a bucket; `open_s3_storage` makes one. `client` makes a boto3 client with the given patience.

    Bytes are read and written on the event loop (see `S3Reading` and `S3Writing`); everything else is boto3's, in
    threads.
    """

    def __init__(
        self,
        client: "Callable[[Patience], S3Client]",
        credentials: "Callable[[], ReadOnlyCredentials]",
        *,
        address: BucketAddress,
        connections: Connections,
        limits: S3Limits = S3,
    ) -> None:
        self._limits = limits
        self._writer = client(Patience(read_timeout=limits.put, attempts=limits.put_attempts - 1))  # one is our own
        self._reader = client(Patience(read_timeout=limits.read, attempts=limits.read_attempts))
        self._prober = client(Patience(read_timeout=limits.probe, attempts=1))
        self._address = address
        self._connections = connections
        self._content = S3Reading(connections, self._signed, limits=limits)
        self._pictures = S3Writing(
            connections,
            lambda: self._run(credentials, self._writing),
            region=self._writer.meta.region_name,
            limits=limits,
        )
        self._start = ""
        # Separate threads: hanging readers must not delay puts, and neither may delay probes.
        self._reading, self._writing, self._probing = (
            Threads(size, patience=limits.read_wait, busy=busy) for size in (limits.connections, limits.connections, 2)
        )

    def _key(self, key: str) -> str:
        return self._address.prefix + checked_object_key(key)

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        """Store the bytes whole or not at all: a PutObject is atomic.

        The first attempt is our own, the others are boto3's, which follows a bucket to its region.
        """
        name = self._key(key)
        known = sha256 or hashlib.sha256(data).hexdigest()
        start = self._start or await self._url_start()
        if await self._pictures.put(start + key, data, content_type=content_type, sha256=known):
            return
        await self._run(
            lambda: self._writer.put_object(Bucket=self._address.bucket, Key=name, Body=data, ContentType=content_type),
            self._writing,
            patience=self._limits.put_wait,
        )

    async def open(self, key: str, *, part: range | None = None) -> OpenS3Object:
        """Open the object, or a part of it; `ObjectNotFoundError` if there is none, or none that has the part."""
        return await self._content.open(self._key(key), part=part)

    async def aclose(self) -> None:
        """Close the connections of readers and of puts."""
        await self._connections.aclose()

    async def _url_start(self) -> str:
        """What the URL of each object begins with, before its key."""
        url = await self._run(lambda: self._presign(self._writer, self._key(SOME), SIGNED_FOR), self._writing)
        self._start = url.partition("?")[0].removesuffix(SOME)
        return self._start

    async def _signed(self, name: str, seconds: int) -> str:
        """The signed URL of an object. Signed in a thread: the credentials of a role may have to be fetched."""
        return await self._run(lambda: self._presign(self._reader, name, seconds), self._reading)

    def _presign(self, client: "S3Client", name: str, seconds: int) -> str:
        return client.generate_presigned_url(
            "get_object", Params={"Bucket": self._address.bucket, "Key": name}, ExpiresIn=seconds
        )

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
        """Objects in the order of their keys, from behind `after`; objects that are not ours are skipped."""

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
                    if OBJECT_KEY.fullmatch(key):
                        facts = ObjectFacts(key=key, size_bytes=entry["Size"], modified_at=entry["LastModified"])
                        objects.append(facts)
                more = page["IsTruncated"] and bool(page.get("Contents"))
            return tuple(objects[:limit])

        return await self._run(found, self._reading)

    async def delete(self, key: str) -> None:
        """Remove the object; nothing happens if there is none."""
        name = self._key(key)
        await self._run(lambda: self._writer.delete_object(Bucket=self._address.bucket, Key=name), self._writing)

    async def get_instance(self) -> UUID | None:
        """The id of the database that the objects belong to; None if none is recorded yet."""
        name = self._address.prefix + NAME

        def read() -> bytes:
            return self._prober.get_object(Bucket=self._address.bucket, Key=name)["Body"].read()

        try:
            return parse_instance(await self._run(read, self._probing))
        except ObjectNotFoundError:
            return None

    async def add_instance(self, instance: UUID) -> None:
        """Record the id, unless there is one already."""
        wanted: dict[str, Any] = {
            "Bucket": self._address.bucket,
            "Key": self._address.prefix + NAME,
            "Body": f"{instance}\n".encode(),
        }

        def write() -> None:
            try:
                self._writer.put_object(**wanted, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] == "NotImplemented":  # a server without conditional writes
                    self._writer.put_object(**wanted)
                elif error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise

        if await self.get_instance() is None:
            await self._run(write, self._writing)

    async def probe(self) -> None:
        """Return if the bucket exists and its objects can be read: one HeadBucket and one signed GET, one attempt each.

        boto3 follows redirects to another region and our readers do not: only the GET shows that pictures can be read.
        """
        name = self._address.prefix + PROBED

        def head_bucket() -> tuple[str | None, str]:
            try:
                with s3_errors():
                    region = self._prober.head_bucket(Bucket=self._address.bucket).get("BucketRegion")
                    return region, self._presign(self._prober, name, SIGNED_FOR)
            except ObjectNotFoundError as error:
                raise StorageUnavailableError("The bucket does not exist.") from error

        region, url = await self._probing.run(head_bucket)
        try:
            await self._content.probe(url)
        except PixyProxyException as error:
            ours = self._prober.meta.region_name
            if region is None or region == ours:
                raise
            raise wrong_region_error(f"The storage cannot be read with region {ours}", region=region) from error

    async def create_bucket(self, *, region: str) -> bool:
        """Make the bucket unless it exists; whether it was made."""

        return await self._writing.run(lambda: create_bucket(self._prober, self._address.bucket, region=region))

    async def _run(self, work: Callable[[], T], threads: Threads, *, patience: float | None = None) -> T:
        def guarded() -> T:
            with s3_errors():
                return work()

        return await threads.run(guarded, patience=patience)
