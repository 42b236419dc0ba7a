"""Waits for the end of a generation that runs in this process or in another replica."""

import asyncio
from contextlib import suppress
from typing import Any

import anyio

from pixyproxy.core.exceptions import DatabaseUnavailableError
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState
from pixyproxy.core.inputs import InputFiles
from pixyproxy.core.protocols import GenerationRepository
from pixyproxy.service.generating.partials import Partials

NO_INPUTS = InputFiles()
POLLS = (0.25, 0.5, 1.0, 2.0)
"""Seconds between reads of a generation that another replica runs; the last one repeats."""

SHORTEST_PAUSE = 0.001
"""Seconds; a remaining wait below this, such as a rounding error, is too short for another read."""


class RunningGeneration:
    """A generation that this process runs. `outcome` is its record at the end, or the exception that it failed with.

    `inputs` are what it edits. `partials` shows its partial images; None: the upstream is not asked for any.
    """

    def __init__(
        self,
        generation: Generation,
        request: GenerationRequest,
        *,
        inputs: InputFiles = NO_INPUTS,
        partials: Partials | None = None,
    ) -> None:
        self.generation = generation
        self.request = request
        self.inputs = inputs
        self.partials = partials
        self.recorded = asyncio.Event()
        """Set when the end is recorded, or left to a reconciler."""
        self.outcome: asyncio.Future[Generation] = asyncio.get_running_loop().create_future()
        self.outcome.add_done_callback(mark_retrieved)

    async def wait(self, seconds: float | None) -> Generation:
        """The generation after at most so many seconds (None: without a limit). Raises what it failed with."""
        done, _ = await asyncio.wait({self.outcome}, timeout=seconds)
        return self.outcome.result() if done else self.generation


async def poll(
    generations: GenerationRepository, generation: Generation, *, seconds: float | None, ending: asyncio.Event
) -> Generation:
    """A generation that another replica runs: when it has ended, at `ending`, or after so many seconds (None: never).

    While the database does not answer it waits: the generation runs on.
    """
    started, polls = anyio.current_time(), 0
    while not ending.is_set():
        pause = POLLS[min(polls, len(POLLS) - 1)]
        if seconds is not None:
            pause = min(pause, seconds - (anyio.current_time() - started))
        if pause < SHORTEST_PAUSE:
            break
        with anyio.move_on_after(pause):
            await ending.wait()
        polls += 1
        with suppress(DatabaseUnavailableError):
            generation = await generations.get(generation.guid)
        if generation.state is not GenerationState.RUNNING:
            break
    return generation


def mark_retrieved(future: "asyncio.Future[Any]") -> None:
    """Retrieve a future's exception, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()
