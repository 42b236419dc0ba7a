"""All stores in one value."""

from dataclasses import dataclass

from pixyproxy.core.protocols.adoption import AdoptionRepository
from pixyproxy.core.protocols.records import (
    GenerationRepository,
    ImageRepository,
    InstanceRepository,
    ParkedImageRepository,
)
from pixyproxy.core.protocols.search import ImageCompletion
from pixyproxy.core.protocols.sessions import SessionRepository
from pixyproxy.core.protocols.storage import ImageStorage, ParkingFolder


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
    storage: ImageStorage
    folder: ParkingFolder
