"""The life of a generation for watchers: its state, its partial images, its end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from pixyproxy.core.generations import Generation, GenerationState, PartialImage
from pixyproxy.service.generating.wait import RunningGeneration

LONGEST_LOOK = 15.0
"""The longest delay in seconds until a change of state is seen; the end is seen sooner."""

Join = Callable[[Generation, float | None], Awaitable[Generation]]
"""The generation when it has ended, or after so many seconds (None: never), or when the process ends."""


async def watch(
    generation: Generation, *, running: RunningGeneration | None, join: Join, ending: asyncio.Event
) -> AsyncGenerator[Generation | PartialImage, None]:
    """The generation now, and whenever it has changed, until it has ended. `running`: as it runs in this process.

    When the process ends before a generation that runs elsewhere, the last item is the generation as it stands then.
    """
    yield generation
    if running is not None and generation.state is GenerationState.RUNNING:
        if running.partials is not None:
            async for partial in running.partials.watch():
                yield partial
        generation = await join(generation, None)
        yield generation
    while generation.state is GenerationState.RUNNING:
        known, generation = generation, await join(generation, LONGEST_LOOK)
        if ending.is_set() or generation != known:
            yield generation
        if ending.is_set():
            return
