"""The services that the routes call, as dependencies."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.types import Scope

from pixyproxy.core import limits
from pixyproxy.service.callers import Callers
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.key_administration import KeyAdministration
from pixyproxy.service.keys import KeyService
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.money.budgets import BudgetService
from pixyproxy.service.money.prices import PriceService
from pixyproxy.service.money.usage import UsageService
from pixyproxy.service.previews import Previews
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.public import PublicImageService
from pixyproxy.service.readiness import Readiness
from pixyproxy.service.sessions import SessionService
from pixyproxy.service.thumbnails.service import Thumbnails
from pixyproxy.service.uploads import Uploads
from pixyproxy.web.http.starts import Starts


@dataclass(frozen=True)
class Services:
    """The parts of the application.

    `quality`: that of requests that name none; None: none is sent. `demo`: whether the demo upstream draws.

    `public_url`: the beginning of URLs in answers; None: the one that the request used.

    `cors_origins`: the origins of scripts that may read the public routes. `client_patience`: seconds that a client has
    to send a body, or to read a chunk of a picture: a stalled client must not keep the process from ending.

    `proxy_ttl`: seconds for which the reverse proxy may keep a picture before it asks again.
    """

    public: PublicImageService
    private: PrivateImageService
    runner: GenerationRunner
    keys: KeyService
    administration: KeyAdministration
    budgets: BudgetService
    prices: PriceService
    sessions: SessionService
    callers: Callers
    usage: UsageService
    readiness: Readiness
    models: ModelCatalogue
    uploads: Uploads
    thumbnails: Thumbnails
    previews: Previews
    quality: str | None = None
    demo: bool = False
    public_url: str | None = None
    cors_origins: tuple[str, ...] = ("*",)
    client_patience: float = limits.CLIENT_WAIT
    proxy_ttl: float = 30
    starts: Starts = field(default_factory=Starts)


def services_of(request: Request) -> Services:
    """The services of the application that serves this request."""
    services: Services = request.app.state.services
    return services


async def _private(request: Request) -> PrivateImageService:
    return services_of(request).private


async def _callers(request: Request) -> Callers:
    return services_of(request).callers


async def _budgets(request: Request) -> BudgetService:
    return services_of(request).budgets


async def _prices(request: Request) -> PriceService:
    return services_of(request).prices


async def _administration(request: Request) -> KeyAdministration:
    return services_of(request).administration


async def _usage(request: Request) -> UsageService:
    return services_of(request).usage


async def _uploads(request: Request) -> Uploads:
    return services_of(request).uploads


async def _readiness(request: Request) -> Readiness:
    return services_of(request).readiness


def base_url(request: Request) -> str:
    """The beginning of the URLs in an answer."""
    return services_of(request).public_url or requested_url(request.scope)


def requested_url(scope: Scope) -> str:
    """The URL that a request used, without its path."""
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    return _url(scope["scheme"], scope.get("server"), scope.get("root_path", ""), host)


@lru_cache(maxsize=64)
def _url(scheme: str, server: tuple[str, int] | None, root_path: str, host: bytes | None) -> str:
    # The same as Starlette's, which parses the Host header each time.
    headers = [] if host is None else [(b"host", host)]
    scope = {"type": "http", "scheme": scheme, "server": server, "root_path": root_path, "headers": headers}
    return str(Request(scope).base_url).rstrip("/")


async def _base_url(request: Request) -> str:
    return base_url(request)


Private = Annotated[PrivateImageService, Depends(_private)]
Known = Annotated[Callers, Depends(_callers)]
Budgeted = Annotated[BudgetService, Depends(_budgets)]
Priced = Annotated[PriceService, Depends(_prices)]
Administered = Annotated[KeyAdministration, Depends(_administration)]
Used = Annotated[UsageService, Depends(_usage)]
Uploaded = Annotated[Uploads, Depends(_uploads)]
Ready = Annotated[Readiness, Depends(_readiness)]
BaseUrl = Annotated[str, Depends(_base_url)]
