"""Fakes: the smallest implementations of the Protocols. Each passes the contract suite of the real thing."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, BinaryIO
from uuid import UUID, uuid4

from pixyproxy.core.budgets import EVERYBODY, NO_CHANGE, Budget, BudgetLimits, Period, Spending, exhausted, resets_at
from pixyproxy.core.exceptions import (
    ConflictError,
    DatabaseError,
    GenerationInterruptedError,
    GenerationNotFoundError,
    ImageNotFoundError,
    InvalidRequestError,
    NotFoundError,
    ObjectNotFoundError,
    PriceUnknownError,
    StorageError,
    ThumbnailImpossibleError,
    UploadsFullError,
)
from pixyproxy.core.exceptions.budgets import rate_exceeded, running_taken
from pixyproxy.core.generations import (
    DELETED_PROMPT,
    Drawing,
    Generation,
    GenerationPage,
    GenerationRequest,
    GenerationState,
    Origin,
    PartialImage,
    RecordedRequest,
)
from pixyproxy.core.images import DeletedImage, DeletedImagePage, Image, ImagePage, ObjectFacts, Picture
from pixyproxy.core.inputs import InputFile
from pixyproxy.core.keys import (
    CONFIGURED_NAME,
    EVERYTHING,
    NO_LIMITS,
    RIGHTS_OF_A_NEW_KEY,
    ApiKey,
    KeyLimits,
    KeyRights,
)
from pixyproxy.core.ledger import AuditPage, Imbalance, Kind, cost_of_failure, difference
from pixyproxy.core.limits import ANSWERED_WITHIN
from pixyproxy.core.money import Cost
from pixyproxy.core.price_schedule import is_outdated, place
from pixyproxy.core.prices import Price, PriceTerms, best_price
from pixyproxy.core.protocols import AllowChange, Change, Chunk, EqualGeneration, ParkedFile, PartialSink, Refilled
from pixyproxy.core.search import Search
from pixyproxy.core.sessions import Pass, Session
from pixyproxy.core.thumbnails import SmallPicture
from pixyproxy.core.tokens import tokens_of
from pixyproxy.core.usage import Dimension, Span, Sums
from pixyproxy.core.words import prompt_terms
from pixyproxy.data import conversions
from pixyproxy.service.thumbnails.worker import shrink
from pixyproxy.storage.keys import OBJECT_KEY
from pixyproxy.upstream.demo.drawing import draw_picture

MINUTE = timedelta(seconds=60)


class FakeUpload:
    """An upload in memory."""

    def __init__(self, spool: "FakeUploadSpool") -> None:
        self._spool = spool
        self._file = io.BytesIO()
        spool.files.append(self._file)

    async def write(self, chunk: Chunk) -> None:
        if sum(len(each.getvalue()) for each in self._spool.open_files) + len(chunk) > self._spool.budget:
            raise UploadsFullError
        self._file.write(chunk)

    async def finish(self) -> tuple[BinaryIO, str]:
        self._file.seek(0)
        return self._file, hashlib.sha256(self._file.getvalue()).hexdigest()

    def close(self) -> None:
        self._file.close()


class FakeUploadSpool:
    """Keeps uploads in memory, and knows which are open."""

    def __init__(self, *, budget: int = 1024 * 1024 * 1024) -> None:
        self.budget = budget
        self.files: list[io.BytesIO] = []

    @property
    def open_files(self) -> list[io.BytesIO]:
        return [each for each in self.files if not each.closed]

    async def open(self) -> FakeUpload:
        return FakeUpload(self)


class FakeDatabase:
    """Answers, or raises the error that the test sets."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.before: Callable[[], Awaitable[None]] | None = None
        self.probes = 0

    async def probe(self) -> None:
        self.probes += 1
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure


class FakeInstanceRepository:
    def __init__(self) -> None:
        self.guid = uuid4()

    async def get(self) -> UUID:
        return self.guid


class FakeImageRepository:
    def __init__(self) -> None:
        self.images: dict[UUID, Image] = {}
        self.deleted: dict[UUID, Image] = {}
        self.callers: dict[UUID, int] = {}
        self.unsearched: set[UUID] = set()
        self.after_mark: Callable[[UUID], None] | None = None
        self.failure: Exception | None = None

    async def get(self, guid: UUID, *, fresh: bool = False) -> Image:
        if guid not in self.images:
            raise ImageNotFoundError
        return self.images[guid]

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        pass

    def newest_first(self) -> list[Image]:
        """In the order of the list: of one moment those first that were recorded last."""
        numbered = sorted(enumerate(self.images.values()), key=lambda each: (each[1].created_at, each[0]), reverse=True)
        return [image for _, image in numbered]

    async def search(
        self, *, limit: int, cursor: str | None = None, q: str | None = None, api_key_id: int | None = None
    ) -> ImagePage:
        moment, guid = conversions.position_of(cursor)
        behind = [image for image in self.newest_first() if conversions.time_to_column(image.created_at) <= moment]
        guids = [str(image.guid) for image in behind]
        behind = behind[guids.index(guid) + 1 :] if guid in guids else behind
        search = Search.parse(q)
        found = [
            image
            for image in behind
            if api_key_id in (None, self.callers.get(image.guid))
            and (not search or (image.guid not in self.unsearched and finds(search, image.prompt)))
        ]
        last = found[limit - 1] if len(found) > limit else None
        return ImagePage(
            images=tuple(found[:limit]),
            next_cursor=None if last is None else conversions.cursor_after(last.created_at, last.guid),
        )

    async def mark_deleted(self, guid: UUID) -> DeletedImage:
        if guid not in self.images:
            raise ImageNotFoundError
        self.deleted[guid] = self.images.pop(guid)
        if self.after_mark is not None:
            self.after_mark(guid)
        return DeletedImage(guid=guid, filename=self.deleted[guid].filename)

    async def add_thumbhash(self, guid: UUID, thumbhash: bytes) -> None:
        image = await self.get(guid)
        self.images[guid] = image.model_copy(update={"thumbhash": image.thumbhash or thumbhash})

    async def list_deleted(self, *, limit: int, cursor: str | None = None) -> DeletedImagePage:
        behind = sorted(str(guid) for guid in self.deleted if str(guid) > (cursor or ""))
        page = tuple(
            DeletedImage(guid=UUID(guid), filename=self.deleted[UUID(guid)].filename) for guid in behind[:limit]
        )
        return DeletedImagePage(images=page, next_cursor=behind[limit - 1] if len(behind) > limit else None)

    async def delete(self, guid: UUID) -> None:
        if self.failure is not None:
            raise self.failure
        self.deleted.pop(guid, None)

    async def sizes(self, *, after: str, limit: int) -> dict[str, int]:
        known = {image.filename: image.size_bytes for image in (*self.images.values(), *self.deleted.values())}
        return {name: known[name] for name in sorted(name for name in known if name > after)[:limit]}

    async def has(self, filename: str, *, marked: bool = True) -> bool:
        known = (*self.images.values(), *(self.deleted.values() if marked else ()))
        return filename in {image.filename for image in known}


def finds(search: Search, prompt: str) -> bool:
    terms = prompt_terms(prompt)
    return (
        all(word in terms for word in search.words)
        and all(any(term.startswith(prefix) for term in terms) for prefix in search.prefixes)
        and all(phrase.lower() in prompt.lower() for phrase in search.phrases)
    )


class FakeImageCompletion:
    """Over images that a test has made incomplete: without caller, and not searched."""

    def __init__(self, images: FakeImageRepository) -> None:
        self.images = images
        self.incomplete: dict[UUID, int] = {}

    def make_incomplete(self, guid: UUID) -> None:
        """As a version without the search records it."""
        self.incomplete[guid] = self.images.callers.pop(guid)
        self.images.unsearched.add(guid)

    async def count(self, *, most: int) -> int:
        return min(most, len(self.incomplete.keys() & self.images.images.keys()))

    async def complete(self, *, limit: int) -> int:
        found = [image for image in self.images.newest_first() if image.guid in self.incomplete][:limit]
        self._fill(found)
        return len(found)

    async def clear(self) -> bool:
        known = set(self.images.images) - self.images.unsearched
        self.images.unsearched |= known
        return bool(known)

    async def refill(self, *, limit: int, cursor: str | None = None) -> Refilled:
        page = await self.images.search(limit=limit, cursor=cursor)
        self._fill(page.images)
        return Refilled(len(page.images), page.next_cursor)

    def _fill(self, images: Iterable[Image]) -> None:
        for image in images:
            self.images.unsearched.discard(image.guid)
            if image.guid in self.incomplete:
                self.images.callers[image.guid] = self.incomplete.pop(image.guid)


def newest_first(things: Collection[Any]) -> list[Any]:
    return sorted(things, key=lambda thing: (thing.created_at, str(thing.guid)), reverse=True)


def page_of(things: list[Any], *, limit: int, cursor: str | None) -> tuple[tuple[Any, ...], str | None]:
    """A page of a list whose cursors are guids."""
    if cursor is not None:
        at = [index for index, thing in enumerate(things) if str(thing.guid) == cursor]
        if not at:
            raise InvalidRequestError([{"detail": "is not a cursor", "pointer": "?cursor"}])
        things = things[at[0] + 1 :]
    page = tuple(things[:limit])
    return page, str(page[-1].guid) if len(things) > limit else None


class FakeGenerationRepository:
    def __init__(self, images: FakeImageRepository) -> None:
        self.images = images
        images.after_mark = self._forget_prompt
        self.generations: dict[UUID, Generation] = {}
        self.leases: dict[UUID, datetime] = {}
        self.made: dict[UUID, list[UUID]] = {}
        self.parked: dict[UUID, tuple[bytes, ...]] = {}
        self.abandoned: dict[UUID, datetime] = {}
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.failure: Exception | None = None
        self.unreadable: set[UUID] = set()
        self.after_add: Callable[[], None] | None = None
        self.after_succeed: Callable[[], None] | None = None
        self.before_fail: Callable[[datetime | None], None] | None = None
        self.budgets: dict[tuple[Period, int], Budget] = {}
        self.entries: dict[UUID, list[tuple[Kind, int]]] = {}
        self.begun: dict[int, list[datetime]] = {}

    def _raise(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def add(
        self,
        generation: Generation,
        *,
        lease: float,
        instead_of: UUID | None = None,
        limits: KeyLimits = NO_LIMITS,
    ) -> None:
        self._raise()
        known = [each for each in self.generations.values() if each.guid != instead_of]
        key = (generation.api_key_id, generation.idempotency_key)
        if generation.guid in self.generations or (
            key[1] is not None and key in [(each.api_key_id, each.idempotency_key) for each in known]
        ):
            raise ConflictError("It exists.")
        self._admit(generation, limits)
        if instead_of is not None:
            old = self.generations.get(instead_of)
            if old is None or old.state is not GenerationState.FAILED or old.idempotency_key != key[1]:
                raise ConflictError("It has no such key.")
            self._update(old, idempotency_key=None, updated_at=old.updated_at)
        self.generations[generation.guid] = generation
        if estimate_of(generation) is not None:
            self._enter(generation, Kind.RESERVE, estimate_of(generation) or 0)
        self.leases[generation.guid] = self.clock() + timedelta(seconds=lease)
        if self.after_add is not None:
            self.after_add()

    async def get(self, guid: UUID) -> Generation:
        self._raise()
        if guid not in self.generations:
            raise GenerationNotFoundError
        if guid in self.unreadable:
            raise DatabaseError(f"This version cannot read the record of generation {guid}.")
        return self._with_images(self.generations[guid])

    async def find(self, *, api_key_id: int, idempotency_key: str) -> Generation | None:
        self._raise()
        for generation in self.generations.values():
            if (generation.api_key_id, generation.idempotency_key) == (api_key_id, idempotency_key):
                return self._with_images(generation)
        return None

    async def list(
        self,
        *,
        limit: int,
        cursor: str | None = None,
        state: GenerationState | None = None,
        api_key_id: int | None = None,
    ) -> GenerationPage:
        self._raise()
        found = [
            self._with_images(each)
            for each in newest_first(self.generations.values())
            if state in (None, each.state) and api_key_id in (None, each.api_key_id)
        ]
        page, next_cursor = page_of(found, limit=limit, cursor=cursor)
        return GenerationPage(generations=page, next_cursor=next_cursor)

    async def origins(self, images: Collection[UUID]) -> dict[UUID, Origin]:
        self._raise()
        recorded = {*self.images.images, *self.images.deleted}
        return {
            image: Origin.of(self.generations[guid])
            for guid, made in self.made.items()
            for image in made
            if image in images and image in recorded
        }

    async def succeed(
        self,
        generation: Generation,
        *,
        images: tuple[Image, ...],
        drawing: Drawing | None = None,
        cost: Cost | None = None,
        parked: bool = True,
    ) -> bool:
        self._raise()
        known = self.generations.get(generation.guid)
        if known is not None and known.state is GenerationState.SUCCEEDED:
            self._complete(known, drawing, cost)
            return self._add_missing(known, images)
        known = self._settleable(generation)
        if drawing is None and len(images) < known.expected_images:
            raise ConflictError("It expects more.")
        self._update(
            known,
            state=GenerationState.SUCCEEDED,
            error=None,
            expected_images=len(images),
            usage=drawing.usage if drawing and drawing.usage else known.usage,
            upstream_request_id=(drawing and drawing.upstream_request_id) or known.upstream_request_id,
            answer=(drawing and drawing.answer) or known.answer,
            cost=cost,
        )
        if cost is not None or estimate_of(known) is not None:
            self._enter(known, Kind.SUCCESS, difference(known.quote, cost))
        self._add(known, images)
        self.made[generation.guid] = [image.guid for image in images]
        self._await_delivery(generation)
        if parked:
            self.parked.pop(generation.guid, None)
        if self.after_succeed is not None:
            self.after_succeed()
        return True

    def _complete(self, known: Generation, drawing: Drawing | None, cost: Cost | None) -> None:
        estimated = known.usage is None and known.cost is not None and known.cost.basis == "estimate"
        if drawing is None or drawing.usage is None or cost is None or cost.basis != "usage" or not estimated:
            return
        names = {"upstream_request_id": drawing.upstream_request_id, "answer": drawing.answer}
        self._update(known, usage=drawing.usage, cost=cost, updated_at=known.updated_at, **names)
        self._enter(known, Kind.CORRECTION, difference(known.quote, cost))

    def _add_missing(self, known: Generation, images: tuple[Image, ...]) -> bool:
        made = self.made.setdefault(known.guid, [])
        missing = [image for image in images if image.guid not in made]
        if not made or len(made) >= max(known.expected_images, len(images)):
            return False
        made += [image.guid for image in missing]
        self._add(known, missing)
        return bool(missing)

    def _add(self, generation: Generation, images: Sequence[Image]) -> None:
        self.images.images |= {image.guid: image for image in images}
        self.images.callers |= dict.fromkeys((image.guid for image in images), generation.api_key_id)

    def _forget_prompt(self, image: UUID) -> None:
        for guid, made in self.made.items():
            if image in made and not any(each in self.images.images for each in made):
                known = self.generations[guid]
                values = {**known.request.values, "prompt": DELETED_PROMPT}
                answer = known.answer and {
                    name: value for name, value in known.answer.items() if name != "revised_prompt"
                }
                self._update(
                    known,
                    request=RecordedRequest(values=values),
                    answer=answer,
                    updated_at=known.updated_at,
                )

    async def expect(self, guid: UUID, *, images: int) -> None:
        self._raise()
        known = self.generations.get(guid)
        if known is not None and known.state is GenerationState.RUNNING:
            self._update(known, expected_images=images, updated_at=known.updated_at)

    async def fail(self, generation: Generation, *, error: dict[str, Any], claimed: datetime | None = None) -> None:
        self._raise()
        known = self.generations.get(generation.guid)
        if self.before_fail is not None:
            self.before_fail(claimed)
        running = known is not None and known.state is GenerationState.RUNNING
        if known is None or not running or claimed not in (None, self.leases[generation.guid]):
            raise ConflictError("It no longer runs.")
        named = error.get("upstream_request_id") or known.upstream_request_id
        cost = cost_of_failure(known.quote, outcome=error.get("cost"))
        self._update(known, state=GenerationState.FAILED, error=error, upstream_request_id=named, cost=cost)
        if cost is not None or estimate_of(known) is not None:
            self._enter(known, Kind.FAILURE, difference(known.quote, cost))
        self._await_delivery(generation)

    async def renew(self, guids: Collection[UUID], *, lease: float) -> None:
        self._raise()
        for guid in guids:
            if guid in self.generations and self.generations[guid].state is GenerationState.RUNNING:
                self.leases[guid] = self.clock() + timedelta(seconds=lease)

    async def expired(self, *, limit: int, cursor: str | None = None) -> GenerationPage:
        self._raise()
        over = {position_of(self.leases[each.guid], each.guid): each for each in self._expired()}
        return self._keyset_page(over, sorted(key for key in over if key > (cursor or "")), limit=limit)

    def _expired(self) -> tuple[Generation, ...]:
        running = [each for each in self.generations.values() if each.state is GenerationState.RUNNING]
        return tuple(each for each in running if self.leases[each.guid] <= self.clock())

    def _keyset_page(self, found: dict[str, Generation], keys: Sequence[str], *, limit: int) -> GenerationPage:
        page = [found[key] for key in keys[:limit] if found[key].guid not in self.unreadable]
        return GenerationPage(generations=tuple(page), next_cursor=keys[limit - 1] if len(keys) > limit else None)

    async def interrupted(self, *, within: float, limit: int, cursor: str | None = None) -> GenerationPage:
        self._raise()
        failed = [each for each in self.generations.values() if each.state is GenerationState.FAILED]
        since = self.clock() - timedelta(seconds=within)
        recent = [each for each in failed if is_unsettled(each) and each.updated_at > since]
        found = {position_of(each.updated_at, each.guid): each for each in recent}
        keys = sorted((key for key in found if key < (cursor or "~")), reverse=True)
        return self._keyset_page(found, keys, limit=limit)

    async def claim(self, guid: UUID, *, lease: float) -> datetime | None:
        self._raise()
        if guid not in {generation.guid for generation in self._expired()}:
            return None
        self.leases[guid] = self.clock() + timedelta(seconds=lease)
        self.abandoned.setdefault(guid, self.clock())
        return self.leases[guid]

    async def unsettled(self) -> dict[UUID, GenerationState]:
        self._raise()
        return {each.guid: each.state for each in self.generations.values() if is_unsettled(each)}

    def _await_delivery(self, generation: Generation) -> None:
        if generation.fingerprint is not None and generation.idempotency_key is None:
            self.abandoned.setdefault(generation.guid, self.clock() + timedelta(seconds=ANSWERED_WITHIN))

    def _admit(self, generation: Generation, limits: KeyLimits) -> None:
        own = [each for each in self.generations.values() if each.api_key_id == generation.api_key_id]
        if limits.running_limit is not None and len([each for each in own if is_running(each)]) >= limits.running_limit:
            raise running_taken(limits.running_limit)
        begun = [each for each in self.begun.get(generation.api_key_id, []) if each > self.clock() - MINUTE]
        if limits.rate_per_minute is not None and len(begun) >= limits.rate_per_minute:
            raise rate_exceeded(limits.rate_per_minute, seconds=1)
        budgets = [self.budgets[key] for key in sorted(self.budgets) if key[1] in (EVERYBODY, generation.api_key_id)]
        estimate = estimate_of(generation)
        for budget in budgets:
            if estimate is None:
                priced = generation.quote is not None and generation.quote.price_id is not None
                raise PriceUnknownError(generation.request.model, priced=priced)
            used = self.weight(budget, generation.created_at)
            if used + estimate > budget.limit:
                raise exhausted(budget, at=generation.created_at, used=used, estimate=estimate)
        self.begun[generation.api_key_id] = [*begun, self.clock()]

    def weight(self, budget: Budget, at: datetime) -> int:
        return sum(
            delta
            for each in self.generations.values()
            if budget.owner in (EVERYBODY, each.api_key_id)
            and budget.period.starts_on(each.created_at) == budget.period.starts_on(at)
            for _, delta in self.entries.get(each.guid, [])
        )

    def _enter(self, generation: Generation, kind: Kind, delta: int) -> None:
        self.entries.setdefault(generation.guid, []).append((kind, delta))

    def _settleable(self, generation: Generation) -> Generation:
        known = self.generations.get(generation.guid)
        if known is None or not is_unsettled(known):
            raise ConflictError("It no longer runs.")
        return known

    def _update(self, generation: Generation, **change: Any) -> None:
        change.setdefault("updated_at", self.clock())
        self.generations[generation.guid] = generation.model_copy(update=change)

    def _with_images(self, generation: Generation) -> Generation:
        images = [self.images.images.get(guid) for guid in self.made.get(generation.guid, [])]
        return generation.model_copy(update={"images": tuple(image for image in images if image)})


def position_of(moment: datetime, guid: UUID) -> str:
    return f"{moment:%Y%m%d%H%M%S%f}|{guid}"


def is_unsettled(generation: Generation) -> bool:
    interrupted = (generation.error or {}).get("type") == GenerationInterruptedError().type
    return generation.state is GenerationState.RUNNING or interrupted


def is_running(generation: Generation) -> bool:
    return generation.state is GenerationState.RUNNING


def estimate_of(generation: Generation) -> int | None:
    return None if generation.quote is None else generation.quote.estimate


class FakeBudgetRepository:
    def __init__(self, generations: FakeGenerationRepository) -> None:
        self.generations = generations

    async def set(self, budget: Budget) -> None:
        self.generations.budgets[budget.period, budget.owner] = budget

    async def remove(self, *, owner: int, period: Period) -> bool:
        return self.generations.budgets.pop((period, owner), None) is not None

    async def spending(self, owners: Collection[int], *, at: datetime) -> tuple[Spending, ...]:
        return tuple(
            Spending(
                budget=budget,
                used=self.generations.weight(budget, at),
                resets_at=resets_at(budget.period, budget.period.starts_on(at)),
            )
            for key, budget in sorted(self.generations.budgets.items())
            if key[1] in owners
        )


class FakeLedgerRepository:
    def __init__(self, generations: FakeGenerationRepository) -> None:
        self.generations = generations

    async def dearest(self, cost_class: str, *, since: datetime) -> int | None:
        found = [
            -(-each.cost.nano // each.expected_images)
            for each in self.generations.generations.values()
            if each.cost is not None and each.cost.basis == "usage" and each.created_at >= since
            if each.state is GenerationState.SUCCEEDED
            if each.quote is not None and each.quote.cost_class == cost_class
        ]
        return max(found, default=None)

    async def audit(self, *, after: int, limit: int) -> AuditPage:
        known = list(self.generations.generations.values())[after : after + limit]
        found = []
        for each in known:
            weight = (estimate_of(each) or 0) if is_running(each) else (each.cost.nano if each.cost else 0)
            entered = sum(delta for _, delta in self.generations.entries.get(each.guid, []))
            if weight != entered:
                found.append(Imbalance(name=f"generation {each.guid}", has=weight, expected=entered))
        return AuditPage(
            compared=len(known), imbalances=tuple(found), next_after=after + limit if len(known) == limit else None
        )

    async def audit_windows(self) -> tuple[Imbalance, ...]:
        return ()


class FakeUsageRepository:
    """Adds up all generations at each question."""

    def __init__(self, generations: FakeGenerationRepository) -> None:
        self.generations = generations
        self.failure: Exception | None = None

    async def sums(
        self, span: Span, *, by: Sequence[Dimension], api_key_id: int | None = None
    ) -> dict[tuple[str | int, ...], Sums]:
        if self.failure is not None:
            raise self.failure
        found: dict[tuple[str | int, ...], Sums] = {}
        for each in self.generations.generations.values():
            day = each.created_at.astimezone(UTC).date()
            if span.since <= day < span.until and api_key_id in (None, each.api_key_id):
                values: dict[Dimension, str | int] = {
                    Dimension.DAY: f"{day}",
                    Dimension.MONTH: f"{day:%Y-%m}",
                    Dimension.KEY: each.api_key_id,
                    Dimension.MODEL: each.request.model,
                    Dimension.STATE: each.state.value,
                }
                sums = found.setdefault(tuple(values[name] for name in by), Sums())
                add_generation(sums, each)
        return found

    async def store(self, *, seconds: float) -> int:
        return 0

    async def days(self) -> tuple[date, ...]:
        return ()

    async def audit(self, day: date) -> None:
        return None

    async def forget(self, day: date) -> None:
        return None


def add_generation(sums: Sums, generation: Generation) -> None:
    """What a generation adds to the usage, said once more and plainly."""
    sums.generations += 1
    sums.failed += generation.state is GenerationState.FAILED
    tokens = tokens_of(generation.usage, edits=bool(generation.request.inputs))
    if tokens is not None:
        sums.text_in += tokens.text_in + tokens.cached_text_in
        sums.image_in += tokens.image_in + tokens.cached_image_in
        sums.output += tokens.image_out + tokens.text_out
    if is_running(generation):
        sums.running += 1
        sums.reserved += estimate_of(generation) or 0
        return
    if generation.state is GenerationState.SUCCEEDED:
        sums.images += generation.expected_images
    if generation.cost is None:
        sums.unpriced += 1
        return
    sums.cost += generation.cost.nano
    if generation.cost.basis == "estimate":
        sums.estimated += generation.cost.nano


class FakeAdoptionRepository:
    def __init__(self, generations: FakeGenerationRepository) -> None:
        self.generations = generations
        self.failure: Exception | None = None

    def _raise(self) -> None:
        if self.failure or self.generations.failure:
            raise self.failure or self.generations.failure or AssertionError

    def _is_abandoned(self, guid: UUID) -> bool:
        return guid in self.generations.abandoned and self.generations.abandoned[guid] <= self.generations.clock()

    async def equal(self, *, api_key_id: int, fingerprint: str, within: float) -> tuple[EqualGeneration, ...]:
        self._raise()
        since = self.generations.clock() - timedelta(seconds=within)
        found = [
            EqualGeneration(
                self.generations._with_images(each),
                abandoned=self._is_abandoned(each.guid),
                lease_expires_at=self.generations.leases[each.guid],
            )
            for each in self.generations.generations.values()
            if (each.api_key_id, each.fingerprint, each.idempotency_key) == (api_key_id, fingerprint, None)
            and each.created_at > since
            and (each.state is GenerationState.RUNNING or each.guid in self.generations.abandoned)
        ]
        return tuple(sorted(found, key=lambda each: each.generation.created_at))

    async def abandon(self, guid: UUID) -> None:
        self._raise()
        if guid in self.generations.generations:
            self.generations.abandoned[guid] = self.generations.clock()

    async def adopt(self, guid: UUID) -> bool:
        self._raise()
        if not self._is_abandoned(guid):
            return False
        del self.generations.abandoned[guid]
        if self.generations.generations[guid].state is not GenerationState.RUNNING:
            self.generations.abandoned[guid] = self.generations.clock() + timedelta(seconds=ANSWERED_WITHIN)
        return True

    async def deliver(self, guid: UUID) -> None:
        self._raise()
        self.generations.abandoned.pop(guid, None)


class FakeParkedImageRepository:
    def __init__(self, generations: FakeGenerationRepository) -> None:
        self.generations = generations
        self.failure: Exception | None = None

    async def add(self, generation: Generation, drawing: Drawing) -> None:
        if self.failure or self.generations.failure:
            raise self.failure or self.generations.failure or AssertionError
        known = self.generations._settleable(generation)
        self.generations._update(
            known,
            state=GenerationState.RUNNING,
            error=None,
            usage=drawing.usage,
            upstream_request_id=drawing.upstream_request_id,
            answer=drawing.answer,
            expected_images=len(drawing.pictures),
            cost=None,
        )
        self.generations.leases[generation.guid] = self.generations.clock()
        self.generations.parked[generation.guid] = tuple(picture.data for picture in drawing.pictures)

    async def get(self, generation: UUID) -> tuple[bytes, ...]:
        return self.generations.parked.get(generation, ())


class FakeParkingFolder:
    def __init__(self) -> None:
        self.files: dict[ParkedFile, bytes] = {}

    async def add(self, file: ParkedFile, data: bytes) -> str:
        self.files[file] = data
        return str(file)

    async def probe(self) -> bool:
        return True

    async def list(self) -> tuple[ParkedFile, ...]:
        return tuple(self.files)

    async def get(self, file: ParkedFile) -> bytes:
        if file not in self.files:
            raise ObjectNotFoundError("There is none.")
        return self.files[file]

    async def delete(self, file: ParkedFile) -> None:
        self.files.pop(file, None)


class FakeApiKeyRepository:
    """`keys`: by the digest of the secret that is theirs now; `former`: earlier secrets, by their digests."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.former: dict[str, tuple[int, datetime]] = {}
        self.configured = ApiKey(
            id=0, name=CONFIGURED_NAME, prefix="", created_at=datetime.now(UTC), rights=KeyRights(scopes=EVERYTHING)
        )
        self.budgets: dict[tuple[Period, int], Budget] = {}
        self.failure: Exception | None = None
        self.asked_for_names = 0
        self.reads = 0

    def everything(self) -> Sequence[ApiKey]:
        return (self.configured, *self.keys.values())

    async def add(
        self,
        *,
        name: str,
        prefix: str,
        sha256: str,
        rights: KeyRights = RIGHTS_OF_A_NEW_KEY,
        budgets: BudgetLimits = NO_CHANGE,
    ) -> ApiKey:
        if sha256 in (*self.keys, *self.former) or any(key.name == name for key in self.everything()):
            raise ConflictError("It exists.")
        self.keys[sha256] = ApiKey(
            id=len(self.keys) + 1, name=name, prefix=prefix, created_at=datetime.now(UTC), rights=rights
        )
        self._change_budgets(self.keys[sha256], budgets)
        return self.keys[sha256]

    def _change_budgets(self, key: ApiKey, budgets: BudgetLimits) -> None:
        for period, limit in budgets.items():
            self.budgets.pop((period, key.id), None)
            if limit is not None:
                self.budgets[period, key.id] = Budget(owner=key.id, period=period, limit=limit)

    async def get(self, *, sha256: str) -> ApiKey:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        if sha256 in self.former:
            owner, until = self.former[sha256]
            return self._by_id(owner).model_copy(update={"secret_expires_at": until})
        if sha256 not in self.keys:
            raise NotFoundError("There is none.")
        return self.keys[sha256]

    async def list(self) -> tuple[ApiKey, ...]:
        return tuple(map(self._with_former, self.keys.values()))

    async def names(self, ids: Collection[int]) -> dict[int, str]:
        self.asked_for_names += 1
        return {key.id: key.name for key in self.everything() if key.id in ids}

    async def find(self, *, name: str) -> ApiKey:
        for key in self.everything():
            if key.name == name:
                return self._with_former(key)
        raise NotFoundError("There is none.")

    async def find_id(self, key_id: int) -> ApiKey:
        return self._with_former(self._by_id(key_id))

    async def change(
        self, *, name: str, change: Change, allow: AllowChange | None = None, budgets: BudgetLimits = NO_CHANGE
    ) -> ApiKey:
        after = change(await self.find(name=name))
        if any(key.name == after.name and key.id != after.id for key in self.everything()):
            raise ConflictError("It exists.")
        self._replace(after, allow=allow)
        self._change_budgets(after, budgets)
        return after

    async def rotate(self, *, name: str, prefix: str, sha256: str, until: datetime) -> ApiKey:
        key = await self._unrevoked(name)
        (old,) = [each for each, known in self.keys.items() if known.id == key.id]
        self.former |= {each: (owner, min(end, until)) for each, (owner, end) in self.former.items() if owner == key.id}
        self.former[old] = (key.id, until)
        renewed = self.keys[old].model_copy(update={"prefix": prefix})
        self.keys = {sha256 if each == old else each: renewed if each == old else k for each, k in self.keys.items()}
        return await self.find(name=name)

    async def revoke(self, *, name: str, allow: AllowChange | None = None) -> None:
        key = await self._unrevoked(name)
        self._replace(key.model_copy(update={"revoked_at": datetime.now(UTC)}), allow=allow)

    def _by_id(self, key_id: int) -> ApiKey:
        found = [key for key in self.everything() if key.id == key_id]
        if not found:
            raise NotFoundError("There is none.")
        return found[0]

    async def _unrevoked(self, name: str) -> ApiKey:
        key = await self.find(name=name)
        if key.revoked_at is not None:
            raise NotFoundError("There is none in force.")
        return key

    def _with_former(self, key: ApiKey) -> ApiKey:
        ends = [end for owner, end in self.former.values() if owner == key.id]
        return key.model_copy(update={"former_until": max(ends, default=None)})

    def _replace(self, after: ApiKey, *, allow: AllowChange | None) -> None:
        keys = {each: after if key.id == after.id else key for each, key in self.keys.items()}
        if allow is not None:
            allow(tuple(self.keys.values()), tuple(keys.values()))
        self.keys = keys


class FakePriceRepository:
    """Prices in a list. `in_use`: the models of the newest images."""

    def __init__(self) -> None:
        self.prices: list[Price] = []
        self.in_use: list[str] = []

    async def find(self, *, upstream: str, model: str, at: datetime) -> Price | None:
        holding = [
            price for price in self.prices if price.valid_from <= at and (price.valid_to is None or price.valid_to > at)
        ]
        return best_price(holding, upstream=upstream, model=model)

    async def get(self, price_id: int) -> Price:
        for price in self.prices:
            if price.id == price_id:
                return price
        raise NotFoundError("There is none.")

    async def list(self) -> tuple[Price, ...]:
        return tuple(
            sorted(
                self.prices, key=lambda price: (price.upstream, price.model, price.shipped, price.valid_from, price.id)
            )
        )

    async def models_in_use(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.in_use)))

    async def add(self, prices: Sequence[PriceTerms], *, recorded_at: datetime) -> tuple[Price, ...]:
        before = list(self.prices)
        try:
            ids = [self._record(terms, recorded_at=recorded_at, shipped=False)[0] for terms in prices]
        except ConflictError:
            self.prices = before
            raise
        return tuple([await self.get(price_id) for price_id in ids])

    async def load_shipped(self, prices: Sequence[tuple[PriceTerms, datetime]]) -> int:
        new = 0
        for terms, read_on in sorted(prices, key=lambda price: price[0].valid_from):
            if is_outdated(terms, read_on, self._of_model(terms, shipped=True)):
                continue
            price_id, is_new = self._record(terms, recorded_at=read_on, shipped=True)
            new += is_new
            self._update(price_id, source=terms.source, recorded_at=read_on)
        return new

    def _of_model(self, terms: PriceTerms, *, shipped: bool) -> Sequence[Price]:
        wanted = (terms.upstream, terms.model, shipped)
        return [price for price in self.prices if (price.upstream, price.model, price.shipped) == wanted]

    def _record(self, terms: PriceTerms, *, recorded_at: datetime, shipped: bool) -> tuple[int, bool]:
        placement = place(terms, self._of_model(terms, shipped=shipped), clip=shipped)
        if placement.same is not None:
            return placement.same.id, False
        for price_id, end in placement.ends.items():
            self._update(price_id, valid_to=end)
        values = {**terms.model_dump(), "valid_to": placement.valid_to}
        self.prices.append(
            Price(id=len(self.prices) + 1, recorded_at=recorded_at, shipped=shipped, **values),
        )
        return len(self.prices), True

    def _update(self, price_id: int, **values: object) -> None:
        self.prices[price_id - 1] = self.prices[price_id - 1].model_copy(update=values)


class FakeSessionRepository:
    def __init__(self, keys: FakeApiKeyRepository) -> None:
        self.keys = keys
        self.codes: dict[str, Pass] = {}
        self.used: set[str] = set()
        self.sessions: dict[str, Session] = {}
        self.failure: Exception | None = None
        self.lookups = 0

    async def _key_of(self, found: Pass) -> ApiKey | None:
        if self.failure is not None:
            raise self.failure
        if found.api_key_id == 0:
            return None
        digest = found.key_sha256 if isinstance(found, Session) else None
        try:
            if digest is not None:
                return await self.keys.get(sha256=digest)
            return await self.keys.find_id(found.api_key_id)
        except NotFoundError:
            return None

    async def add_code(self, code: Pass, *, sha256: str) -> None:
        self.codes[sha256] = code

    async def spend_code(self, *, sha256: str, now: datetime) -> Pass:
        self.lookups += 1
        if self.failure is not None:
            raise self.failure
        code = self.codes.get(sha256)
        if code is None or sha256 in self.used or code.expires_at <= now:
            raise NotFoundError("There is none.")
        self.used.add(sha256)
        return code.model_copy(update={"key": await self._key_of(code)})

    async def add(self, session: Session, *, sha256: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.sessions[sha256] = session

    async def get(self, *, sha256: str) -> Session:
        self.lookups += 1
        if self.failure is not None:
            raise self.failure
        if sha256 not in self.sessions:
            raise NotFoundError("There is none.")
        session = self.sessions[sha256]
        return session.model_copy(update={"key": await self._key_of(session)})

    async def renew(self, *, sha256: str, seen_at: datetime, expires_at: datetime) -> None:
        if self.failure is not None:
            raise self.failure
        session = self.sessions.get(sha256)
        if session is not None and session.seen_at < seen_at:
            self.sessions[sha256] = session.model_copy(update={"seen_at": seen_at, "expires_at": expires_at})

    async def delete(self, *, sha256: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.sessions.pop(sha256, None)

    async def delete_expired(self, *, before: datetime, limit: int) -> int:
        number = 0
        for records in (self.codes, self.sessions):
            expired = sorted((each.expires_at, sha256) for sha256, each in records.items() if each.expires_at < before)
            for _, sha256 in expired[:limit]:
                records.pop(sha256)
                number += 1
        return number


class FakeObject:
    def __init__(self, data: bytes, part: range | None = None) -> None:
        self.size_bytes = len(data)
        self._data = data if part is None else data[part.start : part.stop]
        self.closed = False
        self.failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 65_536):
            yield self._data[start : start + 65_536][: len(self._data) // 2 if self.failure else None]
            if self.failure is not None:
                raise self.failure

    async def aclose(self) -> None:
        self.closed = True


class FakeStorage:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, datetime] = {}
        self.instance: UUID | None = None
        self.failure: Exception | None = None
        self.put_failure: Exception | None = None
        self.before_open: Callable[[str], Awaitable[None]] | None = None
        self.puts = 0
        self.puts_before_failure = 0
        self.probes = 0
        self.asked_for_instance = 0
        self.opened: list[FakeObject] = []
        self.breaks_off: Exception | None = None

    def _check(self, key: str) -> None:
        if self.failure is not None:
            raise self.failure
        if not OBJECT_KEY.fullmatch(key):
            raise StorageError

    async def put(self, key: str, data: bytes, *, content_type: str, sha256: str | None = None) -> None:
        self._check(key)
        self.puts += 1
        if self.put_failure is not None and self.puts > self.puts_before_failure:
            raise self.put_failure
        self.objects[key] = data
        self.written[key] = datetime.now(UTC)

    async def open(self, key: str, *, part: range | None = None) -> FakeObject:
        self._check(key)
        if self.before_open is not None:
            await self.before_open(key)
        if key not in self.objects:
            raise ObjectNotFoundError("There is none.")
        if part is not None and part.stop > len(self.objects[key]):
            raise ObjectNotFoundError("It has no such part.")
        self.opened.append(FakeObject(self.objects[key], part))
        self.opened[-1].failure = self.breaks_off
        return self.opened[-1]

    async def head(self, key: str) -> int:
        return (await self.open(key)).size_bytes

    async def list(self, *, after: str, limit: int) -> tuple[ObjectFacts, ...]:
        if self.failure is not None:
            raise self.failure
        keys = sorted(key for key in self.objects if key > after and OBJECT_KEY.fullmatch(key))
        return tuple(
            ObjectFacts(key=key, size_bytes=len(self.objects[key]), modified_at=self.written[key])
            for key in keys[:limit]
        )

    async def delete(self, key: str) -> None:
        self._check(key)
        self.objects.pop(key, None)

    async def get_instance(self) -> UUID | None:
        self.asked_for_instance += 1
        if self.failure is not None:
            raise self.failure
        return self.instance

    async def add_instance(self, instance: UUID) -> None:
        if self.failure is not None:
            raise self.failure
        self.instance = self.instance or instance

    async def aclose(self) -> None:
        pass

    async def probe(self) -> None:
        self.probes += 1
        if self.failure is not None:
            raise self.failure


def tiny_picture(prompt: str = "a dot", *, output_format: str = "png") -> bytes:
    """A real picture of 32 x 16 pixels."""
    return draw_picture(prompt, width=32, height=16, output_format=output_format)


class FakeShrinker:
    """Makes small pictures in this process, or does what the test sets."""

    def __init__(self) -> None:
        self.edges: list[int] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.failure: Exception | None = None

    async def shrink(self, data: bytes, *, edge: int, most: int = 0) -> SmallPicture:
        self.edges.append(edge)
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure
        found = shrink(data, edge=edge, most=most)
        if found is None:
            raise ThumbnailImpossibleError
        return SmallPicture(*found)

    async def aclose(self) -> None:
        pass


class FakeGenerator:
    """Draws tiny pictures, or does what the test sets."""

    def __init__(self) -> None:
        self.requests: list[GenerationRequest] = []
        self.inputs: list[tuple[bytes, ...]] = []
        self.partials: tuple[bytes, ...] = ()
        self.failure: Exception | None = None
        self.pictures: tuple[bytes, ...] | None = None
        self.usage: dict[str, Any] | None = {"total_tokens": 7}
        self.before: Callable[[], Any] | None = None
        self.after_turn: Callable[[], Any] | None = None

    async def models(self, *, deadline: float) -> list[str] | None:
        """No list."""
        return None

    async def draw(
        self,
        request: GenerationRequest,
        *,
        turn: Callable[[], Awaitable[None]],
        inputs: Sequence[InputFile] = (),
        partials: PartialSink | None = None,
    ) -> Drawing:
        self.requests.append(request)
        self.inputs.append(tuple(each.file.read() for each in inputs))
        if self.before is not None:
            await self.before()
        if self.failure is not None:
            raise self.failure
        await turn()
        if self.after_turn is not None:
            await self.after_turn()
        for index, data in enumerate(self.partials[: partials.wanted] if partials else ()):
            assert partials is not None
            partials.publish(PartialImage(index, data, {"size": "32x16"}))
            await asyncio.sleep(0)
        form = request.output_format or "png"
        drawn = self.pictures or tuple(
            tiny_picture(request.prompt + " again" * number, output_format=form) for number in range(request.n or 1)
        )
        return Drawing(
            pictures=tuple(map(Picture.of, drawn)),
            usage=self.usage,
            upstream_request_id="req_fake",
            answer={"size": "32x16", "quality": "low", "background": "opaque", "output_format": form},
        )
