"""The composition root: builds adapters and services from the settings, and the application from them."""

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path

from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.protocols import ImageStorage
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.database import Database
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.images import SqlImageRepository
from pixyproxy.data.init import CONNECTIONS, open_engine, parse_url
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


def database_url(settings: Settings) -> str:
    """The URL of the database; `ConfigurationError` names the setting if it is wrong."""
    if settings.database_url is None:
        return f"sqlite:///{settings.data_dir}/pixyproxy.db"
    url = settings.database_url.get_secret_value()
    try:
        parse_url(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{PREFIX}DATABASE_URL: {error.detail}") from None
    return url


def open_storage(settings: Settings) -> ImageStorage:
    """The storage; `ConfigurationError` names the setting if it is wrong."""
    url = settings.storage_url or f"file:{settings.data_dir}/images"
    if url.startswith("file:"):
        folder = url.removeprefix("file:")
        if folder.startswith("//"):
            folder = folder.removeprefix("//")
            if not folder.startswith("/"):
                raise ConfigurationError(f"{PREFIX}STORAGE_URL: a folder is file:relative/path or file:/absolute/path")
        if not folder:
            raise ConfigurationError(f"{PREFIX}STORAGE_URL: it names no folder")
        return FolderImageStorage(Path(folder))
    return open_bucket(settings)


def open_bucket(settings: Settings) -> s3.S3ImageStorage:
    """The storage, which must be a bucket; `ConfigurationError` names the setting if it is none."""
    try:
        return s3.open_storage(
            settings.storage_url or "", endpoint_url=settings.s3_endpoint_url, region=settings.s3_region
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"{PREFIX}STORAGE_URL: {error.detail}") from None


@dataclass(frozen=True)
class Parts:
    """What the commands work with."""

    services: Services
    close: Callable[[], Awaitable[None]]


def build(settings: Settings) -> Parts:
    """Adapters and services. Nothing is connected yet."""
    cleanup = AsyncExitStack()
    engine = open_engine(database_url(settings))
    cleanup.callback(engine.dispose)
    database = Database(engine, connections=CONNECTIONS)
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
        keys=open_keys(settings, database),
        readiness=readiness,
        public_url=settings.public_url,
    )
    return Parts(services=services, close=cleanup.aclose)


def open_keys(settings: Settings, database: Database) -> KeyService:
    """The keys of the database, and the one of PIXYPROXY_API_KEY."""
    configured = None if settings.api_key is None else settings.api_key.get_secret_value()
    return KeyService(SqlApiKeyRepository(database), configured_key=configured)


def open_generator(settings: Settings, cleanup: AsyncExitStack) -> OpenAIImageGenerator:
    """The upstream, or the demo upstream inside this process, reached through the same client."""
    deadline = settings.generation_deadline
    if settings.draws_demo or settings.openai_api_key is None:
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
    parts = build(read_settings())
    return create_app(parts.services, version=version(), close=parts.close)
