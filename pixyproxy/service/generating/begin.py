"""Begins a generation once for each Idempotency-Key (draft-ietf-httpapi-idempotency-key-header)."""

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from uuid import UUID
from weakref import WeakValueDictionary

from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseUnavailableError,
    GenerationRunningError,
    IdempotencyKeyReusedError,
    InvalidIdempotencyKeyError,
)
from pixyproxy.core.exceptions.costs import nothing_spent
from pixyproxy.core.generations import (
    DELETED_PROMPT,
    Generation,
    GenerationRequest,
    GenerationState,
    RecordedRequest,
)
from pixyproxy.core.keys import Caller
from pixyproxy.core.protocols import GenerationRepository
from pixyproxy.service.generating.wait import RunningGeneration

MAX_IDEMPOTENCY_KEY = 255
POLL_AFTER = 2
"""Seconds after which a client may ask again for a generation that is running."""
TURN = 15.0
"""Seconds that a request waits for other requests of this process with the same Idempotency-Key."""
ATTEMPTS = 3
"""Attempts of a request to begin its generation while other replicas use the same key."""

Begin = Callable[..., Awaitable[RunningGeneration]]
"""`GenerationRunner.begin` with request, caller, inputs and partials already given."""


class IdempotentBeginner:
    """Begins a generation, or finds the one that has the same Idempotency-Key."""

    def __init__(self, generations: GenerationRepository) -> None:
        self._generations = generations
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    async def begin(
        self,
        begin: Begin,
        *,
        caller: Caller,
        key: str,
        asked: GenerationRequest,
        filled: GenerationRequest,
    ) -> RunningGeneration | Generation:
        """A new generation that runs here, or the recorded one, which must not be bought again.

        `filled`: `asked` with the defaults, which is drawn; `begin`: `GenerationRunner.begin` with it. Raises what that
        raises, `IdempotencyKeyReusedError`, `GenerationRunningError` and `DatabaseUnavailableError`.
        """
        lock = self._locks.setdefault((caller.api_key_id, key), asyncio.Lock())
        try:
            async with asyncio.timeout(TURN):
                await lock.acquire()  # requests of this process with one key query the database one after the other
        except TimeoutError:
            raise DatabaseUnavailableError("Other requests with this Idempotency-Key wait for the database.") from None
        try:
            return await self._begin_or_find(begin, caller=caller, key=key, asked=asked, filled=filled)
        finally:
            lock.release()

    async def _begin_or_find(
        self, begin: Begin, *, caller: Caller, key: str, asked: GenerationRequest, filled: GenerationRequest
    ) -> RunningGeneration | Generation:
        own = fingerprint_of(asked)
        for _ in range(ATTEMPTS):
            with nothing_spent():
                known = await self._generations.find(api_key_id=caller.api_key_id, idempotency_key=key)
            fingerprint: str | None = own
            if known is not None:
                if known.fingerprint != own and not is_recorded(filled, known.request):
                    raise IdempotencyKeyReusedError
                if not cost_nothing(known):
                    return known
                fingerprint = known.fingerprint  # the client that sent it first may repeat it too
            replaced: UUID | None = None if known is None else known.guid
            try:
                return await begin(idempotency_key=key, fingerprint=fingerprint, instead_of=replaced)
            except ConflictError:
                continue  # another replica began one with this key: the next turn finds it
        raise GenerationRunningError("Other requests use this Idempotency-Key now.", retry_after=POLL_AFTER)


def parse_idempotency_key(value: str) -> str:
    """The key without the quotes and escapes of an RFC 8941 string (section 3.3.3), which are optional.

    `InvalidIdempotencyKeyError` if it is empty, too long, or not printable ASCII.
    """
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = re.sub(r'\\(["\\])', r"\1", key[1:-1]).strip()
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY or not all(" " <= character <= "~" for character in key):
        raise InvalidIdempotencyKeyError
    return key


def fingerprint_of(request: GenerationRequest) -> str:
    """The SHA-256 of what a client asked for, independent of its spelling.

    Computed before the defaults are filled in, because they change with the settings: a client repeats what it sent.
    """
    return hashlib.sha256(json.dumps(request.values(), sort_keys=True).encode()).hexdigest()


def is_recorded(filled: GenerationRequest, recorded: RecordedRequest) -> bool:
    """Whether a request, with the defaults, is exactly what a generation was to draw, so that details can be repeated.

    Every value must be equal, also those that this version does not know, and so must the inputs; only one image and no
    number of images are the same. The text that stands for a deleted prompt is nobody's prompt.
    """
    if recorded.prompt == DELETED_PROMPT:
        return False
    one, other = ({"n": 1} | values for values in (filled.values(), recorded.values))
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def cost_nothing(generation: Generation) -> bool:
    """Whether the generation failed and certainly cost nothing, so that it may be tried again."""
    return generation.state is GenerationState.FAILED and (generation.error or {}).get("cost") == "none"
