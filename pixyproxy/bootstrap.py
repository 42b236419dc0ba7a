"""The composition root: builds adapters and services from the settings, and the application from them."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.protocols import ImageStorage
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.database import Database
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import open_database, sqlite_url
from pixyproxy.generation import demo
from pixyproxy.generation.upstream import OpenAIImageGenerator, open_client
from pixyproxy.service.generations import GenerationService
from pixyproxy.service.keys import KeyService
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.readiness import Readiness
from pixyproxy.settings import PREFIX, Settings, read_settings
from pixyproxy.storage import s3
from pixyproxy.storage.folder import FolderImageStorage
from pixyproxy.web.app import create_app
from pixyproxy.web.request_log import RequestLog
from pixyproxy.web.services import Services

DEFAULT_MODEL = "gpt-image-2.5-flare"


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
class Parts:
    """What the commands work with."""

    services: Services
    close: Callable[[], Awaitable[None]]


def build(settings: Settings) -> Parts:
    """Adapters and services. Nothing is connected yet."""
    cleanup = AsyncExitStack()
    with naming(f"{PREFIX}DATABASE_URL"):
        database, close_database = open_database(database_url(settings))
    cleanup.callback(close_database)
    storage = open_storage(settings)
    images = SqlImageRepository(database)
    readiness = Readiness(database=database, storage=storage)
    generations = GenerationService(
        generations=SqlGenerationRepository(database),
        storage=storage,
        generator=open_generator(settings, cleanup),
        readiness=readiness,
        deadline=settings.generation_deadline,
        maximum=settings.max_generations,
    )
    services = Services(
        public=PublicImageService(images=images, storage=storage),
        private=PrivateImageService(
            images=images,
            generations=generations,
            model=settings.model or (demo.MODEL if settings.draws_demo else DEFAULT_MODEL),
            quality=settings.quality or None,
        ),
        keys=key_service(settings, database),
        readiness=readiness,
        public_url=settings.public_url,
    )
    return Parts(services=services, close=cleanup.aclose)


def key_service(settings: Settings, database: Database) -> KeyService:
    """The keys of the database, and the one of PIXYPROXY_API_KEY."""
    configured = None if settings.api_key is None else settings.api_key.get_secret_value()
    return KeyService(SqlApiKeyRepository(database), configured_key=configured)


def open_keys(settings: Settings) -> tuple[KeyService, Callable[[], None]]:
    """The keys alone, for the commands that need no more, and what closes them."""
    with naming(f"{PREFIX}DATABASE_URL"):
        database, close = open_database(database_url(settings))
    return key_service(settings, database), close


def open_generator(settings: Settings, cleanup: AsyncExitStack) -> OpenAIImageGenerator:
    """The upstream, or the demo upstream inside this process, reached through the same client."""
    deadline = settings.generation_deadline
    if not settings.embedded and settings.openai_api_key is None and not settings.demo:
        raise ConfigurationError(
            f"OPENAI_API_KEY is not set: set it, or {PREFIX}DEMO=1 for pictures from the demo upstream"
        )
    if settings.demo or settings.openai_api_key is None:
        client = open_client(
            api_key=secrets.token_hex(16),
            base_url="http://demo-upstream/v1",
            deadline=deadline,
            asgi_app=demo.DemoUpstream().app,
        )
    else:
        client = open_client(
            api_key=settings.openai_api_key.get_secret_value(),
            base_url=settings.openai_base_url,
            deadline=deadline,
        )
    cleanup.push_async_callback(client.close)
    return OpenAIImageGenerator(client, deadline=deadline)


def app_from_environment() -> RequestLog:
    """The application of one worker process."""
    logging.captureWarnings(capture=True)
    parts = build(read_settings())
    return create_app(parts.services, version=version(), close=parts.close)
