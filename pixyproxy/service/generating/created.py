"""What a request for a picture leads to."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import UUID

from pixyproxy.core.generations import Generation, PartialImage


@dataclass(frozen=True)
class Created:
    """The generation of a request: succeeded, with its images, or still running.

    `replayed`: an earlier request with the same Idempotency-Key began it.
    """

    generation: Generation
    replayed: bool = False


@dataclass(frozen=True)
class Streamed:
    """A generation, and its events: partial images as they arrive, if any, then the end."""

    guid: UUID
    events: AsyncGenerator[PartialImage | Created, None]
