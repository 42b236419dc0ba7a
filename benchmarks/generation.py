"""Generation: what PixyProxy adds to the upstream's time, compared with a proxy that stores nothing."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from benchmarks import contestants, names
from benchmarks.contestants import Server, Stub
from benchmarks.load import Gets, Happened, Plan, carried_out
from benchmarks.measuring import cpu_seconds, growth_of, percentile
from benchmarks.pictures import png
from benchmarks.profiling import Rows, profile_missed, sampled
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Store
from benchmarks.upstream_stub import PICTURE_BYTES
from benchmarks.wrk import WrongAnswerError
from tests import planted
from tests.servers import PixyProxy

PART = "generation"
WARM_UP = 12
"""Generations before anything is measured, four at once, of 0.1 s each."""
SURPLUS = 1.25
"""Arrivals, as a multiple of those that run at once: so the load lasts for a while before it falls."""
BURST_ROUNDS = 3
GETS_PER_S = 10.0
BURST_GETS_PER_S = 25.0
PROMPT = {"model": "gpt-image-1", "prompt": "a lighthouse at dawn"}
GROUPS = (("1 × 2 s", "32 × 2 s", "200 × 20 s"), ("1,000 × 20 s",))
"""Cases of one process. The largest has its own: memory that has grown once does not grow again."""
WITH_GETS = ("200 × 20 s", "1,000 × 20 s")


def scaled(case: str, *, quick: bool) -> tuple[int, float]:
    """Generations at once and the delay of a case; a quick run has fewer, and sooner."""
    running, delay = names.RUNNING[case]
    return (max(1, running // 10), min(delay, 4.0)) if quick else (running, delay)


def arrivals(running: int, delay: float) -> list[float]:
    """Moments that are spread evenly, so that `running` run at once when each takes `delay` seconds."""
    count = max(round(running * SURPLUS), 96 if running == 32 else 6)
    return [number * delay / running for number in range(count)]


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    spread = sum(arrivals(*scaled(case, quick=quick))[-1] + scaled(case, quick=quick)[1] + 3 for case in names.RUNNING)
    return rounds * (2 * spread + 2 * 16) + min(rounds, BURST_ROUNDS) * 3 * (5 if quick else 15)


@dataclass(frozen=True)
class Contestant:
    """A contestant: its process, its requests, and the cheap GETs that it answers meanwhile."""

    server: Server | PixyProxy
    port: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, str]
    status: int
    gets: Mapping[str, list[str]]
    store: Store | None

    @property
    def pid(self) -> int:
        """The serving process."""
        return pid_of(self.server)

    def plan(self, moments: Sequence[float], *, gets_per_s: float) -> Plan:
        """POSTs at these moments, and so many GETs of each kind a second beside them."""
        gets = {name: Gets(self.port, paths, gets_per_s) for name, paths in self.gets.items()} if gets_per_s else {}
        return Plan(self.port, self.path, self.headers, json.dumps(self.body), list(moments), gets)


def of_ours(store: Store, stub: Stub, settings: Mapping[str, str], *, workers: int = 1) -> Contestant:
    """PixyProxy over a store with 16 small images for the GETs."""
    images = store.plant(16, size_bytes=names.SIZES["50 KB"])
    store.environment["OPENAI_BASE_URL"] = f"{stub.url}/v1"
    server = store.start(f"ours-{workers}", settings, workers=workers)
    return Contestant(
        server,
        server.port,
        "/image",
        {"Authorization": f"Bearer {planted.API_KEY}"},
        PROMPT,
        201,
        {"details": [f"/image/{image.guid}" for image in images], "content": [image.path for image in images]},
        store,
    )


def of_litellm(run: Run, stub: Stub) -> Contestant:
    """LiteLLM's proxy; its cheapest GET stands for details, at twice the rate because there is no other."""
    server = contestants.litellm(run.next_folder("litellm"), upstream=stub.url)
    key = {"Authorization": f"Bearer {contestants.MASTER_KEY}"}
    gets = {"details": ["/health/liveliness"], "content": ["/health/liveliness"]}
    return Contestant(server, server.port, "/v1/images/generations", key, PROMPT, 200, gets, None)


def warm_up(contestant: Contestant, stub: Stub) -> None:
    """A few generations, and a check that the picture is the upstream's; `WrongAnswerError` if it is not."""
    stub.set_delay(0.1)
    plan = contestant.plan([number // 4 * 0.4 for number in range(WARM_UP)], gets_per_s=5)
    refused = [each for each in carried_out(plan)["posts"] if each.status != contestant.status]
    if refused:
        raise WrongAnswerError(f"{contestant.path}: {refused[0].status} while warming up")
    address = f"http://127.0.0.1:{contestant.port}"
    answer = httpx2.post(
        address + contestant.path, json=contestant.body, headers=dict(contestant.headers), timeout=60
    ).json()
    if contestant.store is not None:
        picture = httpx2.get(f"{address}/image/{answer['guid']}/content", timeout=60).content
    else:
        picture = base64.b64decode(answer["data"][0]["b64_json"])
    if hashlib.sha256(picture).digest() != hashlib.sha256(png(PICTURE_BYTES)).digest():
        raise WrongAnswerError(f"{contestant.path}: another picture than the upstream's")


def measured(
    run: Run, contestant: Contestant, stub: Stub, moments: Sequence[float], *, delay: float, gets_per_s: float
) -> dict[str, float]:
    """The figures of generations that arrive at these moments; those of a burst count 503 as an answer, too."""
    burst = len(moments) > 1 and not any(moments)
    stub.set_delay(delay)
    before = {name: cpu_seconds(pid) for name, pid in processes(run, contestant).items()}
    bought = stub.count()
    stored = contestant.store.rows() if contestant.store else 0
    with growth_of(contestant.pid) as growth:
        found = carried_out(contestant.plan(moments, gets_per_s=gets_per_s))
    used = {name: cpu_seconds(pid) - before[name] for name, pid in processes(run, contestant).items()}
    posts = found.pop("posts")
    done = [each for each in posts if each.status == contestant.status and each.size > 100]
    refused = [each for each in posts if burst and each.status == 503]
    gets = [each for stream in found.values() for each in stream]
    expected = (contestant.status, 503) if burst else (contestant.status,)
    wrong_gets = Counter(each.status for each in gets if each.status != 200)
    wrong_posts = Counter(each.status for each in posts if each.status not in expected)
    if wrong_gets or wrong_posts:  # a status of 0 is an answer that never came
        run.progress.say(f"{PART}: errors by status: POST {dict(wrong_posts)}, GET {dict(wrong_gets)}")
    added = [(each.seconds - delay) * 1e3 for each in done]
    figures = {
        "added_p50_ms": percentile(added, 50),
        "added_p99_ms": percentile(added, 99),
        "growth_mb": growth.mb,
        "before_mb": growth.before,
        "created": len(done),
        "refused": len(refused),
        "errors": len(posts) - len(done) - len(refused) + sum(wrong_gets.values()),
        "get_errors": sum(wrong_gets.values()),
        "bought_for_nothing": stub.count() - bought - len(done),
        **{f"{name}_p99_ms": p99_ms(stream) for name, stream in found.items()},
        **{name: seconds / max(1, len(done)) * 1e3 for name, seconds in used.items()},
    }
    if contestant.store is not None:
        rows = contestant.store.rows()
        wrong = abs(rows - stored - len(done)) + abs(contestant.store.objects() - rows)
        figures["unmatched"] = wrong
    return figures


def p99_ms(stream: Sequence[Happened]) -> float:
    """The latency that 99 of 100 do not exceed."""
    return percentile([each.seconds * 1e3 for each in stream], 99)


def processes(run: Run, contestant: Contestant) -> dict[str, int]:
    """The processes whose CPU counts, by the name of the figure."""
    ours = {"cpu_ms": contestant.pid}
    if contestant.store is None:
        return ours
    storage, database = run.seaweedfs.process.handle.pid, run.mariadb.process.handle.pid
    return {**ours, "storage_cpu_ms": storage, "database_cpu_ms": database}


@contextmanager
def serving(run: Run, stub: Stub, who: str, **settings: str) -> Iterator[Contestant]:
    """A fresh process of the contestant, warmed up; ours over a store of its own."""
    if who == names.OURS:
        with run.store(PART) as store:
            contestant = of_ours(store, stub, settings)
            with stopping(contestant.server):
                warm_up(contestant, stub)
                yield contestant
    else:
        contestant = of_litellm(run, stub)
        with stopping(contestant.server):
            warm_up(contestant, stub)
            yield contestant


def run(run: Run) -> None:
    """The spread cases of both in every round, then the bursts of ours, then profiles of what missed."""
    bursts = min(run.rounds, BURST_ROUNDS)
    run.progress.begin(PART, steps=run.rounds * len(names.RUNNING) * 2 + bursts * len(names.BURSTS))
    stub = Stub(run.next_folder("stub"), delay=2.0)
    with stopping(stub):
        for number in range(1, run.rounds + 1):
            both = (names.OURS, names.LITELLM) if number % 2 else (names.LITELLM, names.OURS)
            for cases in GROUPS:
                for who in both:
                    with serving(run, stub, who, MAX_GENERATIONS="2000") as contestant:
                        for case in cases:
                            spread(run, contestant, stub, case, who, number)
        for number in range(1, bursts + 1):
            for case in names.BURSTS:
                burst(run, stub, case, number)

        def profile(case: str, who: str) -> Rows:
            running, delay = scaled(case, quick=run.quick)
            moments = arrivals(running, delay)
            with serving(run, stub, who, MAX_GENERATIONS="2000") as contestant:
                stub.set_delay(delay)
                plan = contestant.plan(moments, gets_per_s=GETS_PER_S if case in WITH_GETS else 0)
                return sampled(contestant.pid, lambda: carried_out(plan), seconds=moments[-1] + delay)

        profile_missed(run, PART, profile)


def spread(run: Run, contestant: Contestant, stub: Stub, case: str, who: str, number: int) -> None:
    """Measure a case in which generations arrive evenly."""
    running, delay = scaled(case, quick=run.quick)
    gets = GETS_PER_S if case in WITH_GETS else 0
    figures = measured(run, contestant, stub, arrivals(running, delay), delay=delay, gets_per_s=gets)
    run.record(PART, case, who, number, **figures)
    said = f"+{figures['added_p50_ms']:,.0f} ms, {figures['cpu_ms']:.1f} ms CPU, +{figures['growth_mb']:.0f} MB"
    run.progress.step(f"round {number}/{run.rounds} {case}, {who}: {said}, {figures['errors']:.0f} errors")


def burst(run: Run, stub: Stub, case: str, number: int) -> None:
    """Measure a case in which all arrive at once."""
    count, maximum = names.BURSTS[case]
    settings = {} if maximum is None else {"MAX_GENERATIONS": str(maximum)}
    with serving(run, stub, names.OURS, **settings) as contestant:
        moments = [0.0] * count
        figures = measured(run, contestant, stub, moments, delay=2.0, gets_per_s=BURST_GETS_PER_S)
    run.record(PART, case, names.OURS, number, **figures)
    said = f"{figures['created']:.0f} × 201, {figures['refused']:.0f} × 503, {figures['errors']:.0f} errors"
    run.progress.step(f"round {number} {case}: {said}, +{figures['growth_mb']:.0f} MB")
