"""All stores in one value."""

from dataclasses import dataclass

from pixyproxy.core.protocols.adoption import AdoptionRepository
from pixyproxy.core.protocols.ledger import BudgetRepository, LedgerRepository
from pixyproxy.core.protocols.money import PriceRepository
from pixyproxy.core.protocols.records import (
    GenerationRepository,
    ImageRepository,
    InstanceRepository,
    ParkedImageRepository,
)
from pixyproxy.core.protocols.search import ImageCompletion
from pixyproxy.core.protocols.sessions import SessionRepository
from pixyproxy.core.protocols.storage import ImageStorage, ParkingFolder
from pixyproxy.core.protocols.usage import UsageRepository


@dataclass(frozen=True)
class Stores:
    """Everything that holds records or bytes."""

    instance: InstanceRepository
    images: ImageRepository
    completion: ImageCompletion
    generations: GenerationRepository
    adoption: AdoptionRepository
    parked: ParkedImageRepository
    sessions: SessionRepository
    prices: PriceRepository
    budgets: BudgetRepository
    ledger: LedgerRepository
    usage: UsageRepository
    storage: ImageStorage
    folder: ParkingFolder
