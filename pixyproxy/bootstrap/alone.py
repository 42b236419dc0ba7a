"""Services alone, each over a database of its own, for the commands that need no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pixyproxy.bootstrap.adapters import database_url, setting_in_errors
from pixyproxy.bootstrap.services import build_key_service
from pixyproxy.core.limits import DATABASE
from pixyproxy.data.api_keys import SqlApiKeyRepository
from pixyproxy.data.budgets import SqlBudgetRepository
from pixyproxy.data.completion import SqlImageCompletion
from pixyproxy.data.database import SqlDatabase
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import open_database
from pixyproxy.data.prices import SqlPriceRepository
from pixyproxy.data.search import SqlImageSearch
from pixyproxy.data.sessions import SqlSessionRepository
from pixyproxy.data.usage import SqlUsageRepository
from pixyproxy.service.callers import Callers
from pixyproxy.service.key_administration import KeyAdministration
from pixyproxy.service.keys import KeyService
from pixyproxy.service.money.budgets import BudgetService
from pixyproxy.service.money.prices import PriceService
from pixyproxy.service.money.usage import UsageService
from pixyproxy.service.recovering.completion import Completion
from pixyproxy.service.sessions import SessionService
from pixyproxy.settings import PREFIX, Settings


@dataclass(frozen=True)
class OpenKeys:
    """Keys, what they may spend, and sessions."""

    keys: KeyService
    administration: KeyAdministration
    budgets: BudgetService
    sessions: SessionService


@contextmanager
def open_keys(settings: Settings) -> Iterator[OpenKeys]:
    """Keys and sessions while the block runs. The command line may remove the last way in."""
    with _database(settings) as database:
        repository = SqlApiKeyRepository(database)
        keys = build_key_service(settings, repository)
        yield OpenKeys(
            keys=keys,
            administration=KeyAdministration(repository, keys=keys, keep_last_way_in=False),
            budgets=BudgetService(SqlBudgetRepository(database), repository),
            sessions=SessionService(SqlSessionRepository(database), keys=keys),
        )


@contextmanager
def open_budgets(settings: Settings) -> Iterator[BudgetService]:
    """The budgets while the block runs."""
    with _database(settings) as database:
        yield BudgetService(SqlBudgetRepository(database), SqlApiKeyRepository(database))


@contextmanager
def open_usage(settings: Settings) -> Iterator[UsageService]:
    """The usage while the block runs."""
    with _database(settings) as database:
        callers = Callers(SqlApiKeyRepository(database), SqlGenerationRepository(database))
        yield UsageService(SqlUsageRepository(database), callers)


@contextmanager
def open_prices(settings: Settings) -> Iterator[PriceService]:
    """The prices while the block runs."""
    with _database(settings) as database:
        yield PriceService(SqlPriceRepository(database))


@contextmanager
def open_completion(settings: Settings) -> Iterator[Completion]:
    """The completion of records while the block runs."""
    with _database(settings) as database:
        yield Completion(SqlImageCompletion(database, search=SqlImageSearch(database)))


@contextmanager
def _database(settings: Settings) -> Iterator[SqlDatabase]:
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        database, close = open_database(database_url(settings), limits=DATABASE)
    try:
        yield database
    finally:
        close()
