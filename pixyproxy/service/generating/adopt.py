"""A retry without an Idempotency-Key joins the generation that its client's earlier attempt began.

Such a generation has an equal request and the same API key, and its own client has left. Equal requests whose clients
all wait are never merged. `AdoptionRepository` has what other processes know: which generations are abandoned.
"""

import asyncio
import logging
from collections import Counter
from datetime import datetime
from uuid import UUID

import anyio

from pixyproxy.core.exceptions import ClientLeftError, PixyProxyException, ShuttingDownError
from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.generations import Generation, GenerationRequest, GenerationState
from pixyproxy.core.keys import Caller
from pixyproxy.core.protocols import AdoptionRepository, EqualGeneration
from pixyproxy.service.generating.begin import Begin, cost_nothing, fingerprint_of
from pixyproxy.service.generating.client import Client
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.generating.store import pause_unless, pauses
from pixyproxy.service.generating.wait import POLLS, RunningGeneration

WITHIN = 600.0
"""Seconds after its beginning in which a retry may adopt a generation."""
RECORDING = 300.0
"""Seconds for which recording the outcome for a client is tried."""

logger = logging.getLogger(__name__)


class AdoptingBeginner:
    """Begins generations for clients that may leave, or finds the one that a retry adopts.

    Tasks record whether each client got its answer. Once `ending` is set, no request waits for a decision.
    """

    def __init__(self, adoption: AdoptionRepository, *, runner: GenerationRunner, ending: asyncio.Event) -> None:
        self._adoption = adoption
        self._runner = runner
        self._ending = ending
        self._attended: Counter[UUID] = Counter()
        self._recording: dict[UUID, asyncio.Task[None]] = {}

    async def begin(
        self,
        begin: Begin,
        *,
        caller: Caller,
        client: Client,
        asked: GenerationRequest,
    ) -> RunningGeneration | Generation:
        """A new generation that runs here, or, for a retry, the record of the one that it adopts.

        `begin`: `GenerationRunner.begin` with what is drawn: `asked`, with the defaults. Raises what that raises,
        `ClientLeftError` if the client leaves before, and `DatabaseUnavailableError`.
        """
        fingerprint = fingerprint_of(asked)
        begun: RunningGeneration | Generation | None = None
        if client.retry:
            with nothing_spent():
                begun = await self._adopt(client, api_key_id=caller.api_key_id, fingerprint=fingerprint)
        if begun is None:
            if client.left:
                raise ClientLeftError
            begun = await begin(fingerprint=fingerprint)
        self._attend(client, begun.generation.guid if isinstance(begun, RunningGeneration) else begun.guid)
        return begun

    async def _adopt(self, client: Client, *, api_key_id: int, fingerprint: str) -> Generation | None:
        """An abandoned generation, which now belongs to this client; None if there is none.

        Waits while another replica has an equal generation and it is not known whether that one's client still waits:
        the replica may have died. Either its lease is renewed, or a reconciler claims the generation; an answer is
        recorded as delivered, or it is late.
        """
        leases: dict[UUID, datetime] | None = None
        polls = 0
        while not client.left:
            if self._recording:  # clients that left a moment ago
                await asyncio.wait(set(self._recording.values()), timeout=POLLS[-1])
            found = await self._adoption.equal(api_key_id=api_key_id, fingerprint=fingerprint, within=WITHIN)
            equal = {each.generation.guid: each for each in sorted(filter(is_worth_it, found), key=has_failed)}
            if leases is None:
                leases = {guid: each.lease_expires_at for guid, each in equal.items()}
            for guid, each in equal.items():
                if each.abandoned and await self._adoption.adopt(guid):
                    logger.info("generation %s: a retry of its client adopts it", guid)
                    return each.generation
                if each.abandoned or not self._is_undecided(each, lease=leases.get(guid)):
                    leases.pop(guid, None)  # another retry was faster, or its client waits
            if not leases.keys() & equal.keys():
                return None
            if self._ending.is_set():
                raise ShuttingDownError
            await pause_unless(self._ending, POLLS[min(polls, len(POLLS) - 1)])
            polls += 1
        return None

    def _is_undecided(self, each: EqualGeneration, *, lease: datetime | None) -> bool:
        """Whether the generation may still turn out to be abandoned. `lease`: its end at the first reading."""
        guid = each.generation.guid
        if guid in self._recording:
            return True
        if self._attended[guid] or self._runner.get(guid) is not None:
            return False
        if each.generation.state is not GenerationState.RUNNING:
            return True
        return lease is not None and each.lease_expires_at <= lease  # not renewed: a lease that was ended moves back

    def _attend(self, client: Client, guid: UUID) -> None:
        self._attended[guid] += 1

        def end(served: bool) -> None:  # noqa: FBT001 -- called by the client
            self._attended[guid] -= 1
            if self._attended[guid]:
                return
            del self._attended[guid]
            self._record(guid, served=served)

        client.when_it_ends(end)

    def _record(self, guid: UUID, *, served: bool) -> None:
        """Record in a task whether the client got its answer, after the records of earlier clients."""
        before, running = self._recording.get(guid), self._runner.get(guid)

        async def record() -> None:
            if before is not None:
                await asyncio.wait({before})
            if running is not None and served:
                await running.recorded.wait()  # what records the end expects a delivery
            until = anyio.current_time() + RECORDING
            for pause in pauses():
                try:
                    await (self._adoption.deliver(guid) if served else self._adoption.abandon(guid))
                except PixyProxyException as error:
                    logger.warning("generation %s: the state of its client is not recorded: %s", guid, error.name)
                else:
                    return
                if self._ending.is_set() or anyio.current_time() > until:
                    return
                await pause_unless(self._ending, pause)

        task = self._recording[guid] = asyncio.create_task(record())

        def forget(done: "asyncio.Task[None]") -> None:
            if self._recording.get(guid) is done:
                del self._recording[guid]

        task.add_done_callback(forget)

    async def drain(self) -> None:
        """Return when the outcome is recorded for every client that has its answer or has left."""
        while self._recording:
            await asyncio.wait(set(self._recording.values()))


def is_worth_it(each: EqualGeneration) -> bool:
    """Whether the client of the generation would get its picture, or an error that is not to be tried again."""
    generation = each.generation
    if generation.state is GenerationState.SUCCEEDED:
        return bool(generation.images)
    return not cost_nothing(generation)


def has_failed(each: EqualGeneration) -> bool:
    """Whether it ended without a picture: such generations are adopted last."""
    return each.generation.state is GenerationState.FAILED


def require_end(generation: Generation, client: Client) -> None:
    """`ShuttingDownError` for an adopted generation that continues elsewhere: the client's next try adopts it there."""
    if generation.state is GenerationState.RUNNING:
        client.leave()
        known = {"generation": str(generation.guid)}
        raise ShuttingDownError(f"This process ends; generation {generation.guid} goes on.", extra=known)
