"""Builds the services over the adapters."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from pixyproxy.bootstrap.adapters import Adapters, upstream_name
from pixyproxy.core.limits import DATABASE
from pixyproxy.core.protocols import ApiKeyRepository, ImageGenerator, Stores
from pixyproxy.data.cached import CachedImageRepository
from pixyproxy.data.cached_keys import KEY_TTL, CachedApiKeyRepository
from pixyproxy.data.cached_sessions import CachedSessionRepository
from pixyproxy.service.callers import Callers
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.generating.store import Keeper
from pixyproxy.service.key_administration import KeyAdministration
from pixyproxy.service.keys import KeyService
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.money.budgets import BudgetService
from pixyproxy.service.money.prices import PriceService
from pixyproxy.service.money.quotes import Quotes
from pixyproxy.service.money.usage import UsageService
from pixyproxy.service.previews import Previews
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.readiness import Readiness
from pixyproxy.service.recovering.findings import Found, log_finding
from pixyproxy.service.recovering.instance import require_match
from pixyproxy.service.recovering.reconciler import Reconciler
from pixyproxy.service.sessions import SessionService
from pixyproxy.service.thumbnails.process import WorkerProcess
from pixyproxy.service.thumbnails.service import Thumbnails
from pixyproxy.service.uploads import Uploads
from pixyproxy.settings import Settings
from pixyproxy.storage.cached import CachedImageStorage
from pixyproxy.web.dependencies import Services

DEFAULT_MODEL = "gpt-image-2.5-flare"
DEMO_MODEL = "pixyproxy-demo"


@dataclass(frozen=True)
class Parts:
    """What `serve` works with."""

    adapters: Adapters
    services: Services
    reconciler: Reconciler
    interval: float

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """Runs the background tasks of a replica. At the end it waits for all generations and closes the adapters."""
        tasks = [
            asyncio.create_task(self.services.runner.renew_leases()),
            asyncio.create_task(self.reconciler.run(interval=self.interval)),
        ]
        try:
            yield
        finally:
            await self.services.runner.drain()
            await self.services.private.drain()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self.services.thumbnails.aclose(), return_exceptions=True)
            await self.adapters.cleanup.aclose()


def build_services(settings: Settings, adapters: Adapters, *, generator: ImageGenerator) -> Parts:
    """The services over these adapters. The public and the private one share the caches."""
    stores, key_ttl = adapters.stores, min(KEY_TTL, settings.cache_ttl)
    sessions = CachedSessionRepository(stores.sessions, ttl=key_ttl, wait=DATABASE.read_wait)
    cached = with_caches(settings, replace(stores, sessions=sessions))
    readiness = Readiness(
        database=adapters.database, storage=stores.storage, require_match=partial(require_match, stores)
    )
    runner = GenerationRunner(
        generations=stores.generations,
        generator=generator,
        quotes=Quotes(stores.prices, stores.ledger, upstream=upstream_name(settings)),
        keeper=Keeper(stores, ending=readiness.ending, patience=settings.store_patience),
        readiness=readiness,
        maximum=settings.max_generations,
        finish_slots=settings.finish_slots,
        lease=settings.lease,
        patience=settings.store_patience,
    )
    models = build_catalogue(settings)
    public, shrinker = PublicImageService(images=cached.images, storage=cached.storage), WorkerProcess()
    key_records = CachedApiKeyRepository(
        adapters.keys, ttl=key_ttl, wait=DATABASE.read_wait, changed=sessions.forget_all
    )
    keys = build_key_service(settings, key_records)
    callers = Callers(key_records, stores.generations)
    services = Services(
        public=public,
        private=PrivateImageService(
            cached,
            callers=callers,
            runner=runner,
            models=models,
            quality=settings.quality or None,
            sync_wait=settings.sync_wait,
            ending=readiness.ending,
            identify_callers=settings.safety_identifier is not None,
        ),
        runner=runner,
        keys=keys,
        administration=KeyAdministration(key_records, keys=keys),
        budgets=BudgetService(stores.budgets, key_records),
        prices=PriceService(stores.prices),
        sessions=SessionService(cached.sessions, keys=keys),
        callers=callers,
        usage=UsageService(stores.usage, callers),
        readiness=readiness,
        models=models,
        uploads=Uploads(adapters.spool, images=cached.images, storage=cached.storage, public_url=settings.public_url),
        quality=settings.quality or None,
        proxy_ttl=settings.cache_ttl,
        demo=settings.draws_demo,
        thumbnails=Thumbnails(
            images=cached.images,
            storage=cached.storage,
            originals=PublicImageService(images=cached.images, storage=stores.storage),
            shrinker=shrinker,
        ),
        previews=Previews(public, shrinker),
        public_url=settings.public_url,
        cors_origins=() if settings.cors_origins == "none" else tuple(settings.cors_origins.split()),
    )
    return Parts(
        adapters=adapters,
        services=services,
        reconciler=build_reconciler(settings, adapters, apply=True),
        interval=settings.reconcile_interval,
    )


def build_catalogue(settings: Settings) -> ModelCatalogue:
    """The models that callers may name. The demo upstream also draws under the name of the default model."""
    default = settings.model or (DEMO_MODEL if settings.draws_demo else DEFAULT_MODEL)
    closed = settings.models is not None
    others = settings.model_list or ((DEFAULT_MODEL,) if settings.draws_demo else ())
    return ModelCatalogue(default, others=others, aliases=settings.alias_map, closed=closed)


def with_caches(settings: Settings, stores: Stores) -> Stores:
    """The stores with the caches of images and bytes. With a `cache_ttl` of 0 every record is read anew."""
    images = CachedImageRepository(stores.images, ttl=settings.cache_ttl, wait=DATABASE.read_wait)
    stores = replace(stores, images=images)
    if settings.content_cache_mb:
        capacity = settings.content_cache_mb * 1024 * 1024
        stores = replace(stores, storage=CachedImageStorage(stores.storage, capacity=capacity))
    return stores


def build_reconciler(
    settings: Settings, adapters: Adapters, *, apply: bool, report: Callable[[Found], None] = log_finding
) -> Reconciler:
    """The reconciler over these adapters."""
    return Reconciler(adapters.stores, lease=settings.lease, apply=apply, report=report)


def build_key_service(settings: Settings, keys: ApiKeyRepository) -> KeyService:
    """The keys of the database, and the one of PIXYPROXY_API_KEY."""
    configured = None if settings.api_key is None else settings.api_key.get_secret_value()
    return KeyService(keys, configured_key=configured)
