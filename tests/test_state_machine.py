"""A state machine: whatever comes, and whenever processes and parts fail, the promises hold.

Two processes, each a set of services of its own, work over the same fakes. Between a process and the fakes stands a
gate: there failpoints strike, parts are unavailable, and a process that has crashed changes nothing any more.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, cast
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pixyproxy.core.budgets import EVERYBODY, Budget, Period
from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    IdempotencyKeyReusedError,
    ImageDeletedError,
    InternalError,
    PixyProxyException,
    StorageUnavailableError,
    UnavailableError,
    UpstreamRefusedError,
    UpstreamUnavailableError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import Drawing, Generation, GenerationRequest, GenerationState
from pixyproxy.core.images import Image, Picture, image_guid
from pixyproxy.core.keys import CONFIGURED_CALLER, EVERYTHING, Caller
from pixyproxy.core.prices import Price
from pixyproxy.core.protocols import Stores
from pixyproxy.service.callers import Callers
from pixyproxy.service.generating.created import Created
from pixyproxy.service.generating.run import GenerationRunner
from pixyproxy.service.generating.store import Keeper
from pixyproxy.service.models import ModelCatalogue
from pixyproxy.service.money.quotes import Quotes
from pixyproxy.service.private import PrivateImageService
from pixyproxy.service.readiness import Readiness
from pixyproxy.service.recovering.instance import require_match
from pixyproxy.service.recovering.reconciler import Reconciler
from tests.examples import a_price
from tests.fakes import (
    FakeAdoptionRepository,
    FakeApiKeyRepository,
    FakeBudgetRepository,
    FakeDatabase,
    FakeGenerationRepository,
    FakeImageCompletion,
    FakeImageRepository,
    FakeInstanceRepository,
    FakeLedgerRepository,
    FakeParkedImageRepository,
    FakeParkingFolder,
    FakePriceRepository,
    FakeSessionRepository,
    FakeStorage,
    FakeUsageRepository,
    tiny_picture,
)
from tests.virtual_time import VirtualTimeLoop

CALLER = Caller(api_key_id=7, name="laptop", scopes=EVERYTHING)
PROMPTS = ("a fox", "an owl", "a hare")
KEYS = (None, "first", "second", "third")
LEASE = 30.0
DRAWING_SECONDS = 8.0
FOR_EVER = 1e9
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ESTIMATE = 40_000_000
"""Nano-dollars that a picture is expected to cost before one was drawn."""
COSTS_NOTHING = {"refused", "unavailable"}
DATABASE = {"database", "generations", "images", "completion", "instance", "parked", "prices", "ledger"}
CREATING = (
    *("generations.find", "generations.add", "upstream.draw", "storage.put", "generations.succeed"),
    *("generations.fail", "generations.get", "parked.add", "folder.add", "storage.probe", "generations.renew"),
)
DELETING = ("images.mark_deleted", "storage.delete", "images.delete")
RECONCILING = (
    *("generations.expired", "generations.claim", "parked.get", "storage.open", "storage.list", "images.sizes"),
    *("images.has", "images.list_deleted", "folder.list", "folder.get", "folder.delete", "generations.unsettled"),
)

picture = cache(tiny_picture)


def unavailable(part: str) -> UnavailableError:
    return DatabaseUnavailableError("unavailable") if part in DATABASE else StorageUnavailableError("unavailable")


@dataclass
class Post:
    """A POST /image, from the client's side. `known`: what was answered for its key before it came."""

    process: "Process"
    prompt: str
    key: str | None
    task: "asyncio.Task[Created] | None" = None
    known: tuple[str, UUID] | None = None
    generation: UUID | None = None
    collected: bool = False


@dataclass
class Drawn:
    """What the upstream drew, or was asked to draw."""

    post: Post
    process: "Process"
    generation: UUID
    prompt: str
    outcome: str = "cut"

    @property
    def image(self) -> UUID:
        return image_guid(self.generation, 0)


@dataclass(frozen=True)
class Failpoint:
    """Strikes once, before or after a verb: a crash, an answer that is lost, or seconds that pass."""

    verb: str
    after: bool
    what: str


PROCESS: "contextvars.ContextVar[Process | None]" = contextvars.ContextVar("process", default=None)
POST: contextvars.ContextVar[Post | None] = contextvars.ContextVar("post", default=None)


class Gated:
    """A fake, as one process sees it."""

    def __init__(self, name: str, part: Any, *, world: "World", process: "Process") -> None:
        self._name, self._part, self._world, self._process = name, part, world, process

    def mark_existing(self, guids: Iterable[UUID]) -> None:
        self._part.mark_existing(guids)  # it is about this process alone, and no step of another one comes between

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            if (self._name, verb) == ("generations", "add") and (post := POST.get()) is not None:
                post.generation = arguments[0].guid
            await self._world.pass_gate(self._process, self._name, verb, after=False)
            result = await getattr(self._part, verb)(*arguments, **named)
            await self._world.pass_gate(self._process, self._name, verb, after=True)
            return result

        return call


def usage_of(prompt: str) -> dict[str, Any]:
    """What a picture of this prompt uses: some cost more than was expected, some less."""
    return {"input_tokens": 0, "output_tokens": 500 + 1000 * (len(prompt) % 3)}


class Upstream:
    """Draws what it is asked to, slowly, and remembers for whom."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.mode = "picture"

    async def draw(self, request: GenerationRequest, *, turn: Callable[[], Awaitable[None]], **_: Any) -> Drawing:
        post, process, mode = POST.get(), PROCESS.get(), self.mode
        assert post is not None
        assert process is not None
        assert post.generation is not None
        drawn = Drawn(post, process, post.generation, request.prompt)
        bought = [each for each in self.world.drawn if each.post.key == post.key and post.key is not None]
        if any(each.outcome not in COSTS_NOTHING for each in bought):
            self.world.violations.append(f"bought again for {post.key}: {[each.outcome for each in bought]}")
        self.world.drawn.append(drawn)
        await asyncio.sleep(DRAWING_SECONDS)
        drawn.outcome = mode
        if mode == "refused":
            raise UpstreamRefusedError("not this")
        if mode == "unavailable":
            raise UpstreamUnavailableError("not now")
        if mode == "unknown":
            raise UpstreamUnknownOutcomeError("lost")
        await turn()
        data = b"<svg/>" if mode == "no picture" else picture(request.prompt)
        return Drawing(pictures=(Picture.of(data),), usage=usage_of(request.prompt), upstream_request_id="req")


@dataclass(eq=False)
class Process:
    """The services of one process, and every task of it."""

    world: "World"
    patience: float
    alive: bool = True
    tasks: "set[asyncio.Task[Any]]" = field(default_factory=set)

    def __post_init__(self) -> None:
        world = self.world

        def gated(name: str, part: Any) -> Any:
            return cast(Any, Gated(name, part, world=world, process=self))

        self.stores = Stores(
            instance=gated("instance", world.instance),
            images=gated("images", world.images),
            completion=gated("completion", world.completion),
            generations=gated("generations", world.generations),
            adoption=gated("adoption", world.adoption),
            parked=gated("parked", world.parked),
            sessions=world.sessions,
            prices=gated("prices", world.prices),
            budgets=world.budgets,
            ledger=gated("ledger", world.ledger),
            usage=world.usage,
            storage=gated("storage", world.storage),
            folder=gated("folder", world.folder),
        )
        self.readiness = Readiness(
            database=gated("database", world.database),
            storage=self.stores.storage,
            require_match=partial(require_match, self.stores),
            clock=world.loop.time,
        )
        self.runner = GenerationRunner(
            generations=self.stores.generations,
            generator=gated("upstream", world.upstream),
            quotes=Quotes(self.stores.prices, self.stores.ledger, upstream="openai"),
            keeper=Keeper(self.stores, ending=self.readiness.ending, patience=self.patience),
            readiness=self.readiness,
            maximum=2,
            finish_slots=1,
            lease=LEASE,
            patience=self.patience,
        )
        self.private = PrivateImageService(
            self.stores,
            callers=Callers(FakeApiKeyRepository(), self.stores.generations),
            runner=self.runner,
            models=ModelCatalogue("gpt-image-2"),
            quality=None,
            sync_wait=50,
            ending=self.readiness.ending,
        )
        self.renewing = world.spawn(self, self.runner.renew_leases())

    def reconciler(self) -> Reconciler:
        return Reconciler(self.stores, lease=LEASE, apply=True)

    def require_life(self) -> None:
        if not self.alive:
            raise asyncio.CancelledError


class Faults(logging.Handler):
    """The log's lines of which every one is a fault of the product."""

    def __init__(self, violations: list[str]) -> None:
        super().__init__(logging.ERROR)
        self.violations = violations

    def emit(self, record: logging.LogRecord) -> None:
        if "fault of ours" in record.getMessage() or "is lost" in record.getMessage():
            self.violations.append(record.getMessage())


class World:
    """The fakes, the processes over them, and what was promised to whom."""

    def __init__(self) -> None:
        self.loop = VirtualTimeLoop()
        self.loop.set_task_factory(self._task)
        self.violations: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.violations.append(str(context)))
        self.faults = Faults(self.violations)
        logging.getLogger("pixyproxy").addHandler(self.faults)
        self.database = FakeDatabase()
        self.instance = FakeInstanceRepository()
        self.images = FakeImageRepository()
        self.completion = FakeImageCompletion(self.images)
        self.generations = FakeGenerationRepository(self.images)
        self.generations.clock = lambda: EPOCH + timedelta(seconds=self.loop.time())
        self.adoption = FakeAdoptionRepository(self.generations)
        self.parked = FakeParkedImageRepository(self.generations)
        self.sessions = FakeSessionRepository(FakeApiKeyRepository())
        self.prices = FakePriceRepository()
        price = a_price(model="*", reserve={"*": {"*": ESTIMATE}})
        self.prices.prices = [Price(**price.model_dump(), id=1, recorded_at=EPOCH)]
        self.budgets = FakeBudgetRepository(self.generations)
        self.ledger = FakeLedgerRepository(self.generations)
        self.usage = FakeUsageRepository(self.generations)
        self.storage = FakeStorage()
        self.folder = FakeParkingFolder()
        self.upstream = Upstream(self)
        self.unavailable: set[str] = set()
        self.failpoints: list[Failpoint] = []
        self.posts: list[Post] = []
        self.jobs: set[asyncio.Task[Any]] = set()
        self.drawn: list[Drawn] = []
        self.lost: set[UUID] = set()
        self.promised: dict[UUID, str] = {}
        self.answers: dict[str, tuple[str, UUID]] = {}
        self.deleting: set[UUID] = set()
        self.deleted: set[UUID] = set()
        self.gone: set[UUID] = set()
        self.seen: set[UUID] = set()
        self.processes: list[Process] = []

    # Processes

    def _task(self, loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
        process = PROCESS.get()
        if process is not None:
            process.tasks.add(task)
            task.add_done_callback(process.tasks.discard)
        return task

    def spawn(
        self, process: Process, work: Coroutine[Any, Any, Any], *, post: Post | None = None
    ) -> "asyncio.Task[Any]":
        """A task of the process."""

        def start() -> "asyncio.Task[Any]":
            PROCESS.set(process)
            POST.set(post)
            return self.loop.create_task(work)

        return contextvars.copy_context().run(start)

    def advance(self, seconds: float) -> None:
        """Let everything run for so long; then collect the answers of the clients, and replace dead processes."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        for number, process in enumerate(self.processes):
            if not process.alive:
                self.processes[number] = Process(self, process.patience)
        for post in self.posts:
            if not post.collected and post.task is not None and post.task.done():
                post.collected = True
                self._collect(post, post.task)
        for job in [job for job in self.jobs if job.done()]:
            self.jobs.discard(job)
            if not job.cancelled() and (error := job.exception()) is not None:
                raise AssertionError("a job failed") from error

    def crash(self, process: Process) -> None:
        """From now on nothing of the process happens any more. What it alone had is lost."""
        process.alive = False
        safe = {UUID(key[:36]) for key in self.storage.objects} | set(self.images.images) | set(self.images.deleted)
        safe |= {image_guid(guid, 0) for guid in self.generations.parked}
        safe |= {image_guid(file.generation, file.index) for file in self.folder.files}
        safe |= self.gone | self.deleting
        for drawn in self.drawn:
            if drawn.process is process and drawn.outcome == "picture" and drawn.image not in safe:
                self.lost.add(drawn.image)
        for task in tuple(process.tasks):
            task.cancel()

    def end(self, process: Process) -> None:
        """SIGTERM: the process finishes what runs, then it is gone."""
        drained = self.spawn(process, process.runner.drain())
        self.loop.run_until_complete(asyncio.wait({drained}, timeout=500))
        assert drained.done(), "a process that is told to end does so"
        if process.alive:
            before = set(self.lost)
            self.crash(process)
            assert self.lost == before, "a process that ends in good order loses nothing"
        self.advance(0.01)

    async def pass_gate(self, process: Process, part: str, verb: str, *, after: bool) -> None:
        if not after:
            await asyncio.sleep(0)
        process.require_life()
        hit = [each for each in self.failpoints if (each.verb, each.after) == (f"{part}.{verb}", after)]
        for failpoint in hit[:1]:
            self.failpoints.remove(failpoint)
            if failpoint.what == "crash":
                self.crash(process)
                raise asyncio.CancelledError
            if failpoint.what == "unavailable":
                raise unavailable(part)
            await asyncio.sleep(float(failpoint.what))
            process.require_life()
        if not after and part in self.unavailable:
            raise unavailable(part)

    # Clients

    def post(self, process: Process, *, prompt: str, key: str | None, wait: float | None) -> None:
        post = Post(process, prompt, key, known=self.answers.get(key or ""))
        request = GenerationRequest(prompt=prompt)
        work = process.private.create(request, caller=CALLER, idempotency_key=key, wait=wait)
        post.task = self.spawn(process, work, post=post)
        self.posts.append(post)

    def delete(self, process: Process, guid: UUID) -> None:
        async def delete() -> None:
            with contextlib.suppress(PixyProxyException):
                await process.private.delete(guid, caller=CONFIGURED_CALLER)
                self.deleted.add(guid)

        self.deleting.add(guid)
        self.jobs.add(self.spawn(process, delete()))

    def reconcile(self, process: Process, *, compare: bool) -> None:
        async def reconcile() -> None:
            reconciler = process.reconciler()
            with contextlib.suppress(UnavailableError):
                await reconciler.settle()
                if compare:
                    await reconciler.compare(grace=timedelta(0), most=10)

        self.jobs.add(self.spawn(process, reconcile()))

    def _collect(self, post: Post, task: "asyncio.Task[Created]") -> None:
        if task.cancelled():
            return
        known, error = post.known, task.exception()
        if error is not None:
            assert isinstance(error, PixyProxyException), repr(error)
            assert not isinstance(error, InternalError), repr(error)
            if isinstance(error, ImageDeletedError):
                assert self.deleting, "nobody deleted anything"
            elif known is not None and known[0] == post.prompt:
                assert isinstance(error, UnavailableError), f"{post.key} had its image before, now: {error!r}"
            elif known is not None:
                assert isinstance(error, (UnavailableError, IdempotencyKeyReusedError)), repr(error)
            return
        generation: Generation = task.result().generation
        if generation.state is not GenerationState.SUCCEEDED:
            assert generation.state is GenerationState.RUNNING
            assert known is None, f"{post.key} had its image before, now it runs"
            return
        (image,) = generation.images
        assert (image.prompt, image.guid) == (post.prompt, generation.image_guid(0))
        self.promised[image.guid] = image.prompt
        if post.key is not None:
            assert self.answers.setdefault(post.key, (post.prompt, image.guid)) == (post.prompt, image.guid)

    # The promises

    def check(self) -> None:
        assert self.violations == []
        rows = self.images.images
        for guid, prompt in self.promised.items():
            assert guid in rows or guid in self.deleting, "a 201 whose image is gone"
            assert guid not in rows or rows[guid].prompt == prompt
        for image in rows.values():
            self._check_bytes(image)
        assert not self.deleted & set(rows), "a deleted image is back"
        self.gone |= self.seen - set(rows)
        self.seen |= set(rows)
        assert not self.gone & set(rows), "an image that was gone is back"
        assert self.gone <= self.deleting, "an image went, and nobody deleted it"
        self._check_ledger()

    def _check_ledger(self) -> None:
        above = 0
        for guid, generation in self.generations.generations.items():
            assert generation.quote is not None
            estimate = generation.quote.estimate or 0
            cost = 0 if generation.cost is None else generation.cost.nano
            weight = estimate if generation.state is GenerationState.RUNNING else cost
            entries = self.generations.entries[guid]
            assert sum(delta for _, delta in entries) == weight, "the entries say why it weighs what it does"
            if generation.state is GenerationState.FAILED:
                assert generation.error is not None
                assert weight == (0 if generation.error["cost"] == "none" else estimate)
            above += max(weight - estimate, 0)
        for budget in self.generations.budgets.values():
            assert self.generations.weight(budget, EPOCH) <= budget.limit + above, "more was reserved than may be"

    def _check_bytes(self, image: Image) -> None:
        assert image.filename in self.storage.objects, "a row without an object"
        assert self.storage.objects[image.filename] == picture(image.prompt)

    def settle(self) -> None:
        """Everything is back, and time enough passes: the two stores agree, and nothing that was bought is missing."""
        self.failpoints.clear()
        self.unavailable.clear()
        self.advance(LEASE * 6)
        for post in self.posts:
            if post.task is not None:
                post.task.cancel()
        self.advance(0.01)
        self.check()
        for process in self.processes:
            assert process.tasks == {process.renewing}, "something runs still"
        for _ in range(2):
            self.reconcile(self.processes[0], compare=True)
            self.advance(LEASE * 2)
            self.check()
        assert not self.jobs
        states = [each.state for each in self.generations.generations.values()]
        assert GenerationState.RUNNING not in states
        self.loop.run_until_complete(self._find_nothing())
        assert self.generations.parked == {}
        assert self.folder.files == {}
        assert set(self.storage.objects) == {image.filename for image in self.images.images.values()}
        sent = {drawn.image for drawn in self.drawn if drawn.outcome == "picture"}
        assert sent - (set(self.images.images) | self.gone) == self.lost, "the only loss is a crash before the put"

    async def _find_nothing(self) -> None:
        stores = Stores(
            instance=self.instance,
            images=self.images,
            completion=self.completion,
            generations=self.generations,
            adoption=self.adoption,
            parked=self.parked,
            sessions=self.sessions,
            prices=self.prices,
            budgets=self.budgets,
            ledger=self.ledger,
            usage=self.usage,
            storage=self.storage,
            folder=self.folder,
        )
        reconciler = Reconciler(stores, lease=LEASE, apply=False)
        await reconciler.settle()
        await reconciler.compare(grace=timedelta(0), most=10)
        assert reconciler.counts == {}

    def close(self) -> None:
        logging.getLogger("pixyproxy").removeHandler(self.faults)
        for process in self.processes:
            process.alive = False
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self.loop.close()


which = st.integers(0, 1)
some = st.integers(0, 1_000_000)
prompts = st.sampled_from(PROMPTS)
keys = st.sampled_from(KEYS)
waits = st.sampled_from([None, 0.0, 3.0])
outages = st.sampled_from([{"storage"}, DATABASE, {"storage"} | DATABASE])


def failpoints(*verbs: str) -> st.SearchStrategy[Failpoint]:
    """Failpoints at these verbs. What the upstream says is another rule's; behind the folder is no further place."""
    return st.builds(
        Failpoint, st.sampled_from(verbs), st.booleans(), st.sampled_from(["crash", "unavailable", "1", "45"])
    ).filter(lambda point: not (point.what == "unavailable" and point.verb in ("upstream.draw", "folder.add")))


class Life(RuleBasedStateMachine):
    """What clients, operators and misfortune do."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.failed = False

    @initialize(patiences=st.tuples(*[st.sampled_from([0.0, 40.0, FOR_EVER])] * 2))
    def start(self, patiences: tuple[float, float]) -> None:
        self.world.processes = [Process(self.world, patience) for patience in patiences]

    @rule(process=which, prompt=prompts, key=keys, wait=waits, seconds=st.sampled_from([0.01, 2.0, 9.0, 9.0]))
    def post(self, process: int, prompt: str, key: str | None, wait: float | None, seconds: float) -> None:
        self.world.post(self.world.processes[process], prompt=prompt, key=key, wait=wait)
        self.world.advance(seconds)

    @rule(process=which, prompt=prompts, key=keys, failpoint=failpoints(*CREATING))
    def post_into_a_failpoint(self, process: int, prompt: str, key: str | None, failpoint: Failpoint) -> None:
        self.world.failpoints.append(failpoint)
        self.world.post(self.world.processes[process], prompt=prompt, key=key, wait=None)
        self.world.advance(9)

    @rule(process=which, prompt=prompts, key=keys, verb=st.sampled_from(CREATING), after=st.booleans())
    def post_and_hang_up(self, process: int, prompt: str, key: str | None, verb: str, after: bool) -> None:
        self.world.failpoints.append(Failpoint(verb, after, "1"))
        self.world.post(self.world.processes[process], prompt=prompt, key=key, wait=None)
        self.world.advance(0.5)
        self.disconnect(-1)

    @rule(process=which, prompt=prompts, key=keys, parts=outages, seconds=st.sampled_from([1.0, 9.0, 40.0]))
    def post_into_an_outage(self, process: int, prompt: str, key: str | None, parts: set[str], seconds: float) -> None:
        self.world.post(self.world.processes[process], prompt=prompt, key=key, wait=None)
        self.world.advance(1)
        self.world.unavailable |= parts
        self.world.advance(seconds + 7)

    @precondition(lambda self: any(post.key for post in self.world.posts))
    @rule(process=which, which_post=some, wait=st.sampled_from([None, 3.0, 20.0]))
    def retry(self, process: int, which_post: int, wait: float | None) -> None:
        posts = [post for post in self.world.posts if post.key]
        post = posts[which_post % len(posts)]
        self.world.post(self.world.processes[process], prompt=post.prompt, key=post.key, wait=wait)
        self.world.advance(0.01)

    @precondition(lambda self: any(not post.collected for post in self.world.posts))
    @rule(which_post=some)
    def disconnect(self, which_post: int) -> None:
        waiting = [post.task for post in self.world.posts if post.task is not None and not post.collected]
        if waiting:
            waiting[which_post % len(waiting)].cancel()
        self.world.advance(0.01)

    @precondition(lambda self: self.world.images.images)
    @rule(process=which, which_image=some)
    def delete(self, process: int, which_image: int) -> None:
        guids = list(self.world.images.images)
        self.world.delete(self.world.processes[process], guids[which_image % len(guids)])
        self.world.advance(0.01)

    @precondition(lambda self: self.world.images.images)
    @rule(process=which, which_image=some, failpoint=failpoints(*DELETING))
    def delete_into_a_failpoint(self, process: int, which_image: int, failpoint: Failpoint) -> None:
        self.world.failpoints.append(failpoint)
        self.delete(process, which_image)

    @rule(seconds=st.sampled_from([0.3, 2.0, 9.0, 9.0, 20.0, 35.0, 70.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(process=which)
    def crash(self, process: int) -> None:
        self.world.crash(self.world.processes[process])
        self.world.advance(0.01)

    @rule(process=which)
    def end(self, process: int) -> None:
        self.world.end(self.world.processes[process])

    @rule(process=which, compare=st.booleans())
    def reconcile(self, process: int, compare: bool) -> None:
        self.world.reconcile(self.world.processes[process], compare=compare)
        self.world.advance(0.01)

    @rule(process=which, failpoint=failpoints(*RECONCILING, *DELETING, "storage.put", "generations.succeed"))
    def reconcile_into_a_failpoint(self, process: int, failpoint: Failpoint) -> None:
        self.world.failpoints.append(failpoint)
        self.world.advance(LEASE)
        self.reconcile(process, compare=True)

    @rule(parts=outages)
    def go_away(self, parts: set[str]) -> None:
        self.world.unavailable |= parts

    @rule()
    def come_back(self) -> None:
        self.world.unavailable.clear()

    @rule(mode=st.sampled_from(["picture", "picture", "refused", "unavailable", "unknown", "no picture"]))
    def change_upstream(self, mode: str) -> None:
        self.world.upstream.mode = mode

    @rule(room=st.integers(0, 3))
    def set_budget(self, room: int) -> None:
        budget = Budget(owner=EVERYBODY, period=Period.TOTAL, limit=0)
        used = self.world.generations.weight(budget, EPOCH)
        budgets = self.world.generations.budgets
        budgets[Period.TOTAL, EVERYBODY] = budget.model_copy(update={"limit": used + room * ESTIMATE})

    @rule()
    def remove_budget(self) -> None:
        self.world.generations.budgets.clear()

    @rule(failpoint=failpoints(*CREATING, *DELETING, *RECONCILING))
    def set_failpoint(self, failpoint: Failpoint) -> None:
        self.world.failpoints.append(failpoint)

    @invariant()
    def promises_hold(self) -> None:
        self.failed = True
        self.world.check()
        self.failed = False

    def teardown(self) -> None:
        try:
            if not self.failed and self.world.processes:
                self.world.settle()
        finally:
            self.world.close()


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=300,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
