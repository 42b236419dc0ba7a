"""Records that a generation failed, however long the database is unavailable."""

import asyncio
import logging
from typing import Any

import anyio

from pixyproxy.core.exceptions import ConflictError, PixyProxyException
from pixyproxy.core.generations import Generation
from pixyproxy.core.protocols import GenerationRepository
from pixyproxy.service.generating.store import pause_unless, pauses

logger = logging.getLogger(__name__)


async def record_failure(
    generations: GenerationRepository,
    generation: Generation,
    document: dict[str, Any],
    *,
    ending: asyncio.Event,
    patience: float,
) -> None:
    """Record the failure. Tried again for `patience` seconds, or until the process ends.

    If that fails, the lease runs out and a reconciler records the generation as interrupted.
    """
    until = anyio.current_time() + patience
    for pause in pauses():
        try:
            await generations.fail(generation, error=document)
        except ConflictError:
            return  # an earlier try was committed, though its answer was lost; or it was never reserved
        except PixyProxyException as failure:
            logger.warning("generation %s: its failure was not recorded: %s", generation.guid, failure.name)
        else:
            return
        if ending.is_set() or anyio.current_time() > until:
            return
        await pause_unless(ending, pause)
