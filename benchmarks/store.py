"""A database and a bucket with images that were planted: rows and objects as generations would have left them."""

import hashlib
import subprocess
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pictures import png
from pixyproxy.core.thumbnails import CONTENT_TYPE, thumbnail_keys
from pixyproxy.settings import Settings
from pixyproxy.storage.instance import NAME as INSTANCE
from tests import planted
from tests.servers import BIN, WITHOUT_DELAY, MariaDB, PixyProxy, SeaweedFS, clean_environment

PREFIX = "pictures/"
QUIET = {"PIXYPROXY_RECONCILE_INTERVAL": "3600"}
"""Keeps the reconciler out of the measurements."""


@dataclass(frozen=True)
class Planted:
    """An image of a store."""

    guid: str
    filename: str
    sha256: str
    size_bytes: int

    @property
    def path(self) -> str:
        """Of its content, below PixyProxy's address."""
        return f"/image/{self.guid}/content"


def known(settings: Mapping[str, str]) -> dict[str, str]:
    """Those of the settings that the installed PixyProxy knows; it refuses every other one."""
    names = {f"PIXYPROXY_{name.upper()}" for name in Settings.model_fields}
    return {name: value for name, value in settings.items() if name in names or not name.startswith("PIXYPROXY_")}


class Store:
    """A database and a bucket of one name, and the environment of a PixyProxy over them."""

    def __init__(self, mariadb: MariaDB, seaweedfs: SeaweedFS, *, name: str, folder: Path) -> None:
        self.mariadb, self.seaweedfs, self.name = mariadb, seaweedfs, name
        self.database = f"test_{name}"
        self.environment = {
            "PIXYPROXY_DATABASE_URL": mariadb.create(name),
            "PIXYPROXY_STORAGE_URL": f"s3://{name}/{PREFIX}",
            "PIXYPROXY_S3_ENDPOINT_URL": seaweedfs.endpoint,
            "PIXYPROXY_API_KEY": planted.API_KEY,
            "PIXYPROXY_SYNC_WAIT": "0",
            "OPENAI_API_KEY": planted.UPSTREAM_KEY,
            "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
        }
        self.folder = folder
        folder.mkdir(parents=True)
        subprocess.run(
            [str(BIN / "pixyproxy"), "migrate", "--create-bucket"],
            env=clean_environment(self.environment),
            cwd=folder,
            check=True,
            capture_output=True,
        )
        self._client = seaweedfs.client()

    def serve(self, name: str, **settings: str) -> PixyProxy:
        """A PixyProxy over the store; settings without their prefix."""
        return self.start(name, settings)

    def start(self, name: str, settings: Mapping[str, str], *, workers: int = 1) -> PixyProxy:
        """Like `serve`, with so many workers."""
        arguments = ("serve",) if workers == 1 else ("serve", "--workers", str(workers))
        wanted = {**QUIET, **{f"PIXYPROXY_{each}": value for each, value in settings.items()}}
        environment = {**self.environment, **known(wanted)}
        return PixyProxy(
            self.folder / name, environment, arguments=arguments, defaults=known(WITHOUT_DELAY), installed=True
        ).start()

    def plant(self, count: int, *, size_bytes: int, first: int = 0) -> list[Planted]:
        """So many images of that size, each with a picture of its own."""
        images = []
        for number in range(first, first + count):
            picture = png(size_bytes, seed=size_bytes + number)
            images.append(self.plant_picture(picture, width=1024, height=1024))
        return images

    def plant_picture(self, picture: bytes, *, width: int, height: int) -> Planted:
        """An image with this PNG, which is recorded with this size."""
        guid = str(uuid.uuid4())
        image = Planted(guid, f"{guid}.png", hashlib.sha256(picture).hexdigest(), len(picture))
        self._client.put_object(Bucket=self.name, Key=PREFIX + image.filename, Body=picture, ContentType="image/png")
        self._record(image, width=width, height=height)
        return image

    def plant_thumbnails(self, webp: bytes) -> None:
        """These bytes as both thumbnails of every image that is recorded, as if they had been made before."""
        guids = [str(guid) for (guid,) in self.query("SELECT guid FROM images")]
        keys = [PREFIX + key for guid in guids for key in thumbnail_keys(uuid.UUID(guid))]

        def put(key: str) -> None:
            self._client.put_object(Bucket=self.name, Key=key, Body=webp, ContentType=CONTENT_TYPE)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(put, keys))

    def _record(self, image: Planted, *, width: int, height: int) -> None:
        generation = str(uuid.uuid4())
        self.query(
            """
            INSERT INTO generations (guid, api_key_id, request, state, lease_expires_at, created_at, updated_at)
            VALUES (%s, 0, '{"prompt": "a lighthouse at dawn"}', 'succeeded', UTC_TIMESTAMP(6), UTC_TIMESTAMP(6),
                    UTC_TIMESTAMP(6))
            """,
            generation,
        )
        self.query(
            """
            INSERT INTO images (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256,
                                model, created_at, updated_at)
            SELECT %s, id, %s, 'a lighthouse at dawn', 'image/png', %s, %s, %s, %s, 'gpt-image-2', UTC_TIMESTAMP(6),
                   UTC_TIMESTAMP(6)
            FROM generations WHERE guid = %s
            """,
            *(image.guid, image.filename, image.size_bytes, width, height, image.sha256, generation),
        )

    def query(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """The rows of a statement in the store's database."""
        rows: list[tuple[object, ...]] = self.mariadb.query(sql, *parameters, database=self.database)
        return rows

    def rows(self) -> int:
        """Images that are recorded."""
        ((count,),) = self.query("SELECT COUNT(*) FROM images")
        assert isinstance(count, int)
        return count

    def objects(self) -> int:
        """Objects in the bucket, but for the one that names the database."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=PREFIX)
        return sum(each["Key"] != PREFIX + INSTANCE for page in pages for each in page.get("Contents", []))

    def presigned(self, image: Planted) -> str:
        """Path and query of a URL for the object itself, good for six hours."""
        url = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self.name, "Key": PREFIX + image.filename}, ExpiresIn=6 * 3600
        )
        return url.removeprefix(self.seaweedfs.endpoint)

    def drop(self) -> None:
        """Remove database and bucket. The volumes of a SeaweedFS bucket go with it, and it has only so many."""
        self.query(f"DROP DATABASE `{self.database}`")
        self._client.delete_bucket(Bucket=self.name)
