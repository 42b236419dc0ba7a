"""The application over fakes, with a client: the stage of most tests."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx2

from pixyproxy.core.protocols import Stores
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
from pixyproxy.service.thumbnails.service import Thumbnails
from pixyproxy.service.uploads import Uploads
from pixyproxy.web.app import create_app
from pixyproxy.web.dependencies import Services
from pixyproxy.web.log.request_log import RequestLog
from tests import planted
from tests.fakes import (
    FakeAdoptionRepository,
    FakeApiKeyRepository,
    FakeBudgetRepository,
    FakeDatabase,
    FakeGenerationRepository,
    FakeGenerator,
    FakeImageCompletion,
    FakeImageRepository,
    FakeInstanceRepository,
    FakeLedgerRepository,
    FakeParkedImageRepository,
    FakeParkingFolder,
    FakePriceRepository,
    FakeSessionRepository,
    FakeShrinker,
    FakeStorage,
    FakeUploadSpool,
    FakeUsageRepository,
)

BASE_URL = "http://pixy.test"
KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
FOR_CALLERS = ("generation", "caller", "parameters", "cost")
"""Members of an image's details that the public answer does not have."""


def public_part(details: dict[str, Any]) -> dict[str, Any]:
    """What everybody may know of an image without sources, from its details for callers."""
    assert set(FOR_CALLERS) <= set(details)
    return {name: value for name, value in details.items() if name not in FOR_CALLERS}


@dataclass
class Stage:
    """Every fake, and the services over them."""

    database: FakeDatabase = field(default_factory=FakeDatabase)
    instance: FakeInstanceRepository = field(default_factory=FakeInstanceRepository)
    images: FakeImageRepository = field(default_factory=FakeImageRepository)
    storage: FakeStorage = field(default_factory=FakeStorage)
    generator: FakeGenerator = field(default_factory=FakeGenerator)
    folder: FakeParkingFolder = field(default_factory=FakeParkingFolder)
    shrinker: FakeShrinker = field(default_factory=FakeShrinker)
    spool: FakeUploadSpool = field(default_factory=FakeUploadSpool)
    key_records: FakeApiKeyRepository = field(default_factory=FakeApiKeyRepository)
    prices: FakePriceRepository = field(default_factory=FakePriceRepository)
    maximum: int = 64
    finish_slots: int = 8
    lease: float = 30
    patience: float = 600
    sync_wait: float = 50
    model: str = "gpt-image-2"
    models: ModelCatalogue | None = None
    identify_callers: bool = False
    demo: bool = False
    configured_key: str | None = planted.API_KEY
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ("*",)
    client_patience: float = 60
    proxy_ttl: float = 30
    key_ttl: float = KEY_TTL
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def __post_init__(self) -> None:
        self.generations = FakeGenerationRepository(self.images)
        self.completion = FakeImageCompletion(self.images)
        self.adoption = FakeAdoptionRepository(self.generations)
        self.parked = FakeParkedImageRepository(self.generations)
        self.budgets = FakeBudgetRepository(self.generations)
        self.generations.budgets = self.key_records.budgets
        self.ledger = FakeLedgerRepository(self.generations)
        self.usage = FakeUsageRepository(self.generations)
        self.session_records = FakeSessionRepository(self.key_records)
        self.start()

    @property
    def stores(self) -> Stores:
        """The fakes that hold records and bytes, as they are now."""
        return Stores(
            instance=self.instance,
            images=self.images,
            completion=self.completion,
            generations=self.generations,
            adoption=self.adoption,
            parked=self.parked,
            sessions=self.session_records,
            prices=self.prices,
            budgets=self.budgets,
            ledger=self.ledger,
            usage=self.usage,
            storage=self.storage,
            folder=self.folder,
        )

    def start(self) -> None:
        """Services as a new process has them, over the same fakes."""
        self.readiness = Readiness(
            database=self.database,
            storage=self.storage,
            require_match=partial(require_match, self.stores),
            clock=self.clock,
        )
        session_records = CachedSessionRepository(self.session_records, ttl=self.key_ttl, clock=self.clock)
        key_records = CachedApiKeyRepository(
            self.key_records, ttl=self.key_ttl, clock=self.clock, changed=session_records.forget_all
        )
        self.keys = KeyService(key_records, configured_key=self.configured_key, clock=self.now)
        self.administration = KeyAdministration(key_records, keys=self.keys, clock=self.now)
        self.sessions = SessionService(session_records, keys=self.keys, clock=self.now)
        self.callers = Callers(key_records, self.generations)
        self.public = PublicImageService(images=self.images, storage=self.storage)
        self.runner = GenerationRunner(
            generations=self.generations,
            generator=self.generator,
            quotes=Quotes(self.prices, self.ledger, upstream="openai"),
            keeper=Keeper(self.stores, ending=self.readiness.ending, patience=self.patience),
            readiness=self.readiness,
            maximum=self.maximum,
            finish_slots=self.finish_slots,
            lease=self.lease,
            patience=self.patience,
        )
        models = self.models or ModelCatalogue(self.model)
        self.private = PrivateImageService(
            self.stores,
            callers=self.callers,
            runner=self.runner,
            models=models,
            quality="medium",
            sync_wait=self.sync_wait,
            ending=self.readiness.ending,
            identify_callers=self.identify_callers,
        )
        self.thumbnails = Thumbnails(
            images=self.images, storage=self.storage, originals=self.public, shrinker=self.shrinker, clock=self.clock
        )
        self.services = Services(
            public=self.public,
            private=self.private,
            runner=self.runner,
            keys=self.keys,
            administration=self.administration,
            budgets=BudgetService(self.budgets, key_records, clock=self.now),
            prices=PriceService(self.prices, clock=self.now),
            sessions=self.sessions,
            callers=self.callers,
            usage=UsageService(self.usage, self.callers, clock=self.now),
            readiness=self.readiness,
            models=models,
            uploads=Uploads(self.spool, images=self.images, storage=self.storage, public_url=self.public_url),
            quality="medium",
            demo=self.demo,
            thumbnails=self.thumbnails,
            previews=Previews(self.public, self.shrinker),
            public_url=self.public_url,
            cors_origins=self.cors_origins,
            client_patience=self.client_patience,
            proxy_ttl=self.proxy_ttl,
        )
        self.app: RequestLog = create_app(self.services, version="test")

    def replica(self, **values: Any) -> "Stage":
        """Another process over the same fakes, with these settings of its own."""
        other = copy(self)
        for name, value in values.items():
            setattr(other, name, value)
        other.start()
        return other

    def reconciler(self, *, apply: bool = True, report: Callable[[Found], None] = log_finding) -> Reconciler:
        """The reconciler of a replica."""
        return Reconciler(self.stores, lease=self.lease, apply=apply, report=report)

    @asynccontextmanager
    async def client(self, *, key: bool = True) -> AsyncIterator[httpx2.AsyncClient]:
        """A client of the application, with the configured key or with none."""
        transport = httpx2.ASGITransport(app=self.app)
        headers = KEY if key else {}
        async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers=headers) as client:
            yield client

    async def create(self, **body: Any) -> dict[str, Any]:
        """The details of a new image."""
        async with self.client() as client:
            response = await client.post("/image", json={"prompt": planted.PROMPT, **body})
        assert response.status_code == 201, response.text
        details: dict[str, Any] = response.json()
        return details
