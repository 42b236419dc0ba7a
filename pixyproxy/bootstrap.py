"""The composition root: builds adapters and services from the settings, and the application from them."""

import asyncio
import gc
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.protocols import (
    ApiKeyRepository,
    Database,
    GenerationRepository,
    ImageGenerator,
    ImageRepository,
    ImageStorage,
    ParkedImageRepository,
    ParkingFolder,
)
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import open_database, sqlite_url
from pixyproxy.data.parked import SqlParkedImageRepository
from pixyproxy.service.findings import Found, logged
from pixyproxy.service.generations import GenerationService
from pixyproxy.service.keeping import Keeper
from pixyproxy.service.keys import KeyService
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.readiness import Readiness
from pixyproxy.service.reconciler import Reconciler
from pixyproxy.settings import PREFIX, Settings, read_settings
from pixyproxy.storage import s3
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.storage.folder import FolderImageStorage
from pixyproxy.storage.parking import LocalParkingFolder
from pixyproxy.web.app import create_app
from pixyproxy.web.request_log import RequestLog
from pixyproxy.web.services import Services

DEFAULT_MODEL = "gpt-image-2.5-flare"
DEMO_MODEL = "pixyproxy-demo"
GC_THRESHOLDS = (10_000, 20, 20)


def version() -> str:
    """The version that is installed."""
    return installed_version("pixyproxy")


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """A `ConfigurationError` from the block says which setting it is about."""
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(f"{setting}: {error.detail}") from error


def make_data_dir(settings: Settings) -> None:
    """Make the folder of the embedded default, for nobody else's eyes: it holds the key."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{PREFIX}DATA_DIR: the folder cannot be made ({error.strerror})") from error


def database_url(settings: Settings) -> str:
    """The URL of the database."""
    if settings.database_url is None:
        return sqlite_url(settings.data_dir / "pixyproxy.db")
    return settings.database_url.get_secret_value()


def open_storage(settings: Settings) -> ImageStorage:
    """The storage; `ConfigurationError` names the setting if it is wrong."""
    if settings.storage_url is None:
        return FolderImageStorage(settings.data_dir / "images")
    if not settings.storage_url.startswith("file:"):
        return open_bucket(settings)
    folder = settings.storage_url.removeprefix("file:")
    if folder.startswith("//"):
        folder = folder.removeprefix("//")
    elif not folder:
        raise ConfigurationError(f"{PREFIX}STORAGE_URL: it names no folder")
    if not folder.startswith("/") and settings.storage_url.startswith("file://"):
        raise ConfigurationError(f"{PREFIX}STORAGE_URL: a folder is file:relative/path or file:/absolute/path")
    return FolderImageStorage(Path(folder))


def open_bucket(settings: Settings) -> s3.S3ImageStorage:
    """The storage, which must be a bucket; `ConfigurationError` names the setting if it is none."""
    with naming(f"{PREFIX}STORAGE_URL"):
        return s3.open_storage(
            settings.storage_url or "", endpoint_url=settings.s3_endpoint_url, region=settings.s3_region
        )


@dataclass(frozen=True)
class Adapters:
    """What the services stand on, and what closes it. The tests put other ones into some places."""

    database: Database
    images: ImageRepository
    generations: GenerationRepository
    parked: ParkedImageRepository
    keys: ApiKeyRepository
    storage: ImageStorage
    folder: ParkingFolder
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass(frozen=True)
class Parts:
    """What `serve` works with."""

    adapters: Adapters
    services: Services
    reconciler: Reconciler
    interval: float

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """What runs beside the requests of a replica. It ends when every generation has ended; then all is closed."""
        tasks = [
            asyncio.create_task(self.services.generations.renew_leases()),
            asyncio.create_task(self.reconciler.run(interval=self.interval)),
        ]
        try:
            yield
        finally:
            await self.services.generations.drain()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.adapters.cleanup.aclose()


def open_adapters(settings: Settings) -> Adapters:
    """The adapters that the settings name, but for the upstream. Nothing is connected yet."""
    with naming(f"{PREFIX}DATABASE_URL"):
        database, close = open_database(database_url(settings))
    adapters = Adapters(
        database=database,
        images=SqlImageRepository(database),
        generations=SqlGenerationRepository(database),
        parked=SqlParkedImageRepository(database),
        keys=SqlApiKeyRepository(database),
        storage=open_storage(settings),
        folder=LocalParkingFolder(settings.data_dir / "parked"),
    )
    adapters.cleanup.callback(close)
    if isinstance(adapters.storage, s3.S3ImageStorage):
        adapters.cleanup.push_async_callback(adapters.storage.aclose)
    return adapters


def build(settings: Settings) -> Parts:
    """Adapters and services. Nothing is connected yet."""
    adapters = open_adapters(settings)
    return assemble(settings, adapters, generator=open_generator(settings, adapters.cleanup))


def assemble(settings: Settings, adapters: Adapters, *, generator: ImageGenerator) -> Parts:
    """The services over these adapters. What the public and the private one share has a cache before it."""
    images, storage = adapters.images, adapters.storage
    if settings.cache_ttl:
        images = CachedImageRepository(images, ttl=settings.cache_ttl)
    if settings.content_cache_mb:
        storage = CachedImageStorage(storage, capacity=settings.content_cache_mb * 1024 * 1024)
    readiness = Readiness(database=adapters.database, storage=adapters.storage)
    generations = GenerationService(
        generations=adapters.generations,
        generator=generator,
        keeper=Keeper(
            generations=adapters.generations,
            parked=adapters.parked,
            storage=adapters.storage,
            folder=adapters.folder,
            ending=readiness.ending,
            patience=settings.store_patience,
        ),
        readiness=readiness,
        maximum=settings.max_generations,
        finish_slots=settings.finish_slots,
        lease=settings.lease,
        patience=settings.store_patience,
    )
    services = Services(
        public=PublicImageService(images=images, storage=storage),
        private=PrivateImageService(
            images=images,
            records=adapters.generations,
            storage=storage,
            generations=generations,
            model=settings.model or (DEMO_MODEL if settings.draws_demo else DEFAULT_MODEL),
            quality=settings.quality or None,
            sync_wait=settings.sync_wait,
        ),
        generations=generations,
        keys=key_service(settings, adapters.keys),
        readiness=readiness,
        public_url=settings.public_url,
    )
    return Parts(
        adapters=adapters,
        services=services,
        reconciler=reconciler(settings, adapters, apply=True),
        interval=settings.reconcile_interval,
    )


def reconciler(
    settings: Settings,
    adapters: Adapters,
    *,
    apply: bool,
    tell: Callable[[Found], None] = logged,
) -> Reconciler:
    """The reconciler over these adapters."""
    return Reconciler(
        images=adapters.images,
        generations=adapters.generations,
        parked=adapters.parked,
        storage=adapters.storage,
        folder=adapters.folder,
        lease=settings.lease,
        apply=apply,
        tell=tell,
    )


async def make_storage(adapters: Adapters) -> None:
    """Make the folder of a storage that is one, if no image lies in it: else it is away, and must not be made anew."""
    if isinstance(adapters.storage, FolderImageStorage) and not await adapters.images.sizes(after="", limit=1):
        await adapters.storage.make()


def key_service(settings: Settings, keys: ApiKeyRepository) -> KeyService:
    """The keys of the database, and the one of PIXYPROXY_API_KEY."""
    configured = None if settings.api_key is None else settings.api_key.get_secret_value()
    return KeyService(keys, configured_key=configured)


def open_keys(settings: Settings) -> tuple[KeyService, Callable[[], None]]:
    """The keys alone, for the commands that need no more, and what closes them."""
    with naming(f"{PREFIX}DATABASE_URL"):
        database, close = open_database(database_url(settings))
    return key_service(settings, SqlApiKeyRepository(database)), close


def open_generator(settings: Settings, cleanup: AsyncExitStack) -> ImageGenerator:
    """The upstream, or the demo upstream inside this process, reached through the same client."""
    # Imported by who draws: openai and Pillow take half a second, for which no other command should wait.
    from pixyproxy.generation.demo import DemoUpstream
    from pixyproxy.generation.upstream import OpenAIImageGenerator, open_client

    deadline = settings.generation_deadline
    if not settings.embedded and settings.openai_api_key is None and not settings.demo:
        raise ConfigurationError(
            f"OPENAI_API_KEY is not set: set it, or {PREFIX}DEMO=1 for pictures from the demo upstream"
        )
    if settings.demo or settings.openai_api_key is None:
        client = open_client(
            api_key=secrets.token_hex(16),
            base_url="http://demo-upstream/v1",
            connections=settings.max_generations,
            asgi_app=DemoUpstream().app,
        )
    else:
        client = open_client(
            api_key=settings.openai_api_key.get_secret_value(),
            base_url=settings.openai_base_url,
            connections=settings.max_generations,
        )
    cleanup.push_async_callback(client.close)
    return OpenAIImageGenerator(client, deadline=deadline)


def app_from_environment() -> RequestLog:
    """The application of one worker process."""
    logging.captureWarnings(capture=True)
    parts = build(read_settings())
    app = create_app(parts.services, version=version(), background=parts.background)
    # What is here now stays: looking through it again and again cost about a sixth of a small answer, as measured.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    return app
