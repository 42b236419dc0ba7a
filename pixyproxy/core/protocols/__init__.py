"""What the services need from the outside; the adapters fulfil it, and one contract suite holds each."""

from pixyproxy.core.protocols.adoption import AdoptionRepository, EqualGeneration
from pixyproxy.core.protocols.keys import AllowChange, ApiKeyRepository, Change
from pixyproxy.core.protocols.ledger import BudgetRepository, LedgerRepository
from pixyproxy.core.protocols.money import PriceRepository
from pixyproxy.core.protocols.records import (
    Database,
    GenerationRepository,
    ImageRepository,
    InstanceRepository,
    ParkedImageRepository,
)
from pixyproxy.core.protocols.search import ImageCompletion, ImageSearch, Refilled
from pixyproxy.core.protocols.sessions import SessionRepository
from pixyproxy.core.protocols.storage import Chunk, ImageStorage, ParkedFile, ParkingFolder, StoredObject
from pixyproxy.core.protocols.stores import Stores
from pixyproxy.core.protocols.uploads import Upload, UploadSpool
from pixyproxy.core.protocols.upstream import ImageGenerator, PartialSink
from pixyproxy.core.protocols.usage import UsageRepository

__all__ = [
    "AdoptionRepository",
    "AllowChange",
    "ApiKeyRepository",
    "BudgetRepository",
    "Change",
    "Chunk",
    "Database",
    "EqualGeneration",
    "GenerationRepository",
    "ImageCompletion",
    "ImageGenerator",
    "ImageRepository",
    "ImageSearch",
    "ImageStorage",
    "InstanceRepository",
    "LedgerRepository",
    "ParkedFile",
    "ParkedImageRepository",
    "ParkingFolder",
    "PartialSink",
    "PriceRepository",
    "Refilled",
    "SessionRepository",
    "StoredObject",
    "Stores",
    "Upload",
    "UploadSpool",
    "UsageRepository",
]
