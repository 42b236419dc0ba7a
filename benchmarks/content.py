"""Content: what it costs to serve the bytes of an image, compared with other servers."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import contestants, names
from benchmarks.profiling import Rows, profile_missed, sampled
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import PREFIX
from benchmarks.wrk import Address, check, load

PART = "content"
OBJECTS = {"50 KB": 16, "1.5 MB": 16, "4 MB": 8}
"""Together 57 MB: they fit into the default cache of 64 MB."""
TOO_MANY = 96
"""Pictures of 1.5 MB that together do not fit: requested in turn, each is evicted before its next turn."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 20 + rounds * len(cases()) * (1.4 if quick else 3.5)


def cases() -> list[tuple[str, int, str]]:
    """Size, connections and contestant of all measurements of a round."""
    everybody = (names.DIRECT, names.NGINX, names.USUAL, names.UNCACHED, names.CACHED)
    return [
        (size, count, who)
        for size in names.SIZES
        for count in names.CONNECTIONS
        for who in (*everybody, *((names.MISSING,) if size == "1.5 MB" else ()))
    ]


@dataclass(frozen=True)
class Contestant:
    """A server: its process, and its paths of each size."""

    pid: int
    port: int
    paths: Mapping[str, list[str]]

    def address(self, size: str) -> Address:
        """The paths that are requested for a size."""
        return Address(self.port, self.paths[size], size=names.SIZES[size])


def run(run: Run) -> None:
    """All contestants over the same objects, each after the other in every round."""
    with run.store(PART) as store:
        images = {size: store.plant(OBJECTS[size], size_bytes=length) for size, length in names.SIZES.items()}
        many = store.plant(TOO_MANY, size_bytes=names.SIZES["1.5 MB"], first=1000)
        proxy = contestants.nginx(run.next_folder("nginx"), storage=run.seaweedfs.port)
        usual = contestants.usual_endpoint(run.next_folder("usual"), seaweedfs=run.seaweedfs, bucket=store.name)
        uncached, cached = store.serve("uncached", CONTENT_CACHE_MB="0"), store.serve("cached")
        missing = store.serve("missing")
        with stopping(proxy, usual, uncached, cached, missing):
            signed = {size: [store.presigned(image) for image in images[size]] for size in images}
            keys = {size: [f"/content/{PREFIX}{image.filename}" for image in images[size]] for size in images}
            ours = {size: [image.path for image in images[size]] for size in images}
            everybody = {
                names.DIRECT: Contestant(run.seaweedfs.process.handle.pid, run.seaweedfs.port, signed),
                names.NGINX: Contestant(proxy.pid, proxy.port, signed),
                names.USUAL: Contestant(usual.pid, usual.port, keys),
                names.UNCACHED: Contestant(pid_of(uncached), uncached.port, ours),
                names.CACHED: Contestant(pid_of(cached), cached.port, ours),
                names.MISSING: Contestant(pid_of(missing), missing.port, {"1.5 MB": [each.path for each in many]}),
            }
            measure(run, everybody)


def measure(run: Run, everybody: Mapping[str, Contestant]) -> None:
    """The rounds, and profiles of what missed its target."""
    plan = cases()
    run.progress.begin(PART, steps=run.rounds * len(plan))
    lengths = {(who, size): check(everybody[who].address(size)) for size, _, who in plan}
    for who, contestant in everybody.items():  # so that the first round is as warm as the others
        load(contestant.address("1.5 MB"), pids={}, connections=16, seconds=1, answer=lengths[who, "1.5 MB"])
    for number in range(1, run.rounds + 1):
        for size, connections, who in plan:
            contestant, case = everybody[who], names.content_case(size, connections)
            with run.tolerating(PART, f"{case}, {who}"):
                check(contestant.address(size))  # and to fill the cache
                figures = load(
                    contestant.address(size),
                    pids={"cpu_ms": contestant.pid},
                    connections=connections,
                    seconds=run.seconds,
                    answer=lengths[who, size],
                )
                run.record(PART, case, who, number, **figures)
                said = f"{figures['requests_per_s']:,.0f}/s {figures['cpu_ms']:.2f} ms"
                run.progress.step(f"round {number}/{run.rounds} {case}, {who}: {said}")

    def profile(case: str, who: str) -> Rows:
        size, _, connections = case.partition(", ")
        contestant, count, seconds = everybody[who], int(connections.split()[0]), run.seconds + 2
        return sampled(
            contestant.pid,
            lambda: load(contestant.address(size), pids={}, connections=count, seconds=seconds),
            seconds=seconds - 1,
        )

    profile_missed(run, PART, profile)
