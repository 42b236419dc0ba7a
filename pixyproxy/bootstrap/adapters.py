"""Builds the adapters that the settings name. Nothing is connected yet."""

import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.limits import DATABASE, FOLDERS, S3, UPSTREAM_CONNECT
from pixyproxy.core.prices import upstream_of
from pixyproxy.core.protocols import ApiKeyRepository, Database, ImageGenerator, ImageStorage, Stores, UploadSpool
from pixyproxy.data.adoption import SqlAdoptionRepository
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.budgets import SqlBudgetRepository, SqlLedgerRepository
from pixyproxy.data.completion import SqlImageCompletion
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import open_database
from pixyproxy.data.instance import SqlInstanceRepository
from pixyproxy.data.parked import SqlParkedImageRepository
from pixyproxy.data.prices import SqlPriceRepository
from pixyproxy.data.search import SqlImageSearch
from pixyproxy.data.sessions import SqlSessionRepository
from pixyproxy.data.urls import sqlite_url
from pixyproxy.data.usage import SqlUsageRepository
from pixyproxy.settings import PREFIX, Settings
from pixyproxy.storage.folder import FolderImageStorage
from pixyproxy.storage.parking import LocalParkingFolder
from pixyproxy.storage.s3.client import open_s3_storage
from pixyproxy.storage.s3.storage import S3ImageStorage
from pixyproxy.storage.uploads import UploadFolder


@dataclass(frozen=True)
class Adapters:
    """The adapters that the services use, and the stack that closes them. Tests replace some."""

    database: Database
    keys: ApiKeyRepository
    stores: Stores
    spool: UploadSpool
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)


@contextmanager
def setting_in_errors(setting: str) -> Iterator[None]:
    """A `ConfigurationError` from the block names the setting that it is about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {error.detail}") from error


def make_data_dir(settings: Settings) -> None:
    """Make the folder of the embedded default, readable by this user only: it holds the key."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}DATA_DIR: the folder cannot be made ({error.strerror})") from error


def database_url(settings: Settings) -> str:
    """The URL of the database."""
    if settings.database_url is None:
        return sqlite_url(settings.data_dir / "pixyproxy.db")
    return settings.database_url.get_secret_value()


def open_adapters(settings: Settings) -> Adapters:
    """All adapters but the upstream. `ConfigurationError` names the setting that is wrong."""
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        database, close = open_database(database_url(settings), limits=DATABASE)
    storage, search = open_storage(settings), SqlImageSearch(database)
    adapters = Adapters(
        database=database,
        keys=SqlApiKeyRepository(database),
        stores=Stores(
            instance=SqlInstanceRepository(database),
            images=SqlImageRepository(database, search=search),
            completion=SqlImageCompletion(database, search=search),
            generations=SqlGenerationRepository(database, search=search),
            adoption=SqlAdoptionRepository(database),
            parked=SqlParkedImageRepository(database),
            sessions=SqlSessionRepository(database),
            prices=SqlPriceRepository(database),
            budgets=SqlBudgetRepository(database),
            ledger=SqlLedgerRepository(database),
            usage=SqlUsageRepository(database),
            storage=storage,
            folder=LocalParkingFolder(settings.data_dir / "parked", limits=FOLDERS),
        ),
        spool=UploadFolder(settings.data_dir / "uploads", budget=settings.upload_mb * 1024 * 1024, limits=FOLDERS),
    )
    adapters.cleanup.callback(close)
    adapters.cleanup.push_async_callback(storage.aclose)
    return adapters


def open_storage(settings: Settings) -> ImageStorage:
    """The storage; `ConfigurationError` names the setting if it is wrong."""
    if settings.storage_url is None:
        return FolderImageStorage(settings.data_dir / "images", limits=FOLDERS)
    if not settings.storage_url.startswith("file:"):
        return open_bucket(settings)
    folder = settings.storage_url.removeprefix("file:")
    if folder.startswith("//"):
        folder = folder.removeprefix("//")
    elif not folder:
        raise ConfigurationError(f"{PREFIX}STORAGE_URL: it names no folder")
    if not folder.startswith("/") and settings.storage_url.startswith("file://"):
        raise ConfigurationError(f"{PREFIX}STORAGE_URL: a folder is file:relative/path or file:/absolute/path")
    return FolderImageStorage(Path(folder), limits=FOLDERS)


def open_bucket(settings: Settings) -> S3ImageStorage:
    """The storage, which must be a bucket; `ConfigurationError` names the setting if it is not."""
    with setting_in_errors(f"{PREFIX}STORAGE_URL"):
        return open_s3_storage(
            settings.storage_url or "",
            endpoint_url=settings.s3_endpoint_url,
            region=settings.s3_region,
            addressing=settings.s3_addressing,
            limits=S3,
        )


async def make_storage(adapters: Adapters) -> None:
    """Create the storage folder on first start.

    If the database already has images, a missing folder is an unmounted volume: it is not created.
    """
    storage, images = adapters.stores.storage, adapters.stores.images
    if isinstance(storage, FolderImageStorage) and not await images.sizes(after="", limit=1):
        await storage.make()


def upstream_name(settings: Settings) -> str:
    """The name of the upstream in the prices."""
    return upstream_of(settings.openai_base_url, demo=settings.draws_demo)


def open_generator(settings: Settings, cleanup: AsyncExitStack) -> ImageGenerator:
    """The upstream, or the demo upstream inside this process, reached through the same client."""
    # Imported here: importing openai and Pillow takes half a second, and other commands need neither.
    from pixyproxy.upstream.demo.server import DemoUpstream
    from pixyproxy.upstream.openai.client import open_client
    from pixyproxy.upstream.openai.generator import OpenAIImageGenerator

    if not settings.embedded and settings.openai_api_key is None and not settings.demo:
        raise ConfigurationError(
            f"OPENAI_API_KEY is not set: set it, or {PREFIX}DEMO=1 for pictures from the demo upstream"
        )
    if settings.demo or settings.openai_api_key is None:
        client = open_client(
            api_key=secrets.token_hex(16),
            base_url="http://demo-upstream/v1",
            connections=settings.max_generations,
            connect_timeout=UPSTREAM_CONNECT,
            asgi_app=DemoUpstream().app,
        )
    else:
        client = open_client(
            api_key=settings.openai_api_key.get_secret_value(),
            base_url=settings.openai_base_url,
            connections=settings.max_generations,
            connect_timeout=UPSTREAM_CONNECT,
        )
    cleanup.push_async_callback(client.close)
    return OpenAIImageGenerator(client, deadline=settings.generation_deadline)
