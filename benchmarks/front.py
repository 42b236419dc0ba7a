"""A hot picture behind the nginx that we ship, compared with nginx's cache straight before the bucket."""

from dataclasses import dataclass

from benchmarks import contestants, names
from benchmarks.run import Run, pid_of, stopping
from benchmarks.wrk import Address, check, load
from tests.nginx import Nginx

PART = "front"
OBJECTS = 16
SIZES = ("50 KB", "1.5 MB")


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 15 + rounds * len(names.FRONT) * 2 * (1.4 if quick else 3.5)


@dataclass(frozen=True)
class Contestant:
    """The processes that serve, by the name of their figure, and the paths of each size."""

    pids: dict[str, int]
    port: int
    paths: dict[str, list[str]]


def run(run: Run) -> None:
    """Both over the same objects, in turn. The CPU of ours is that of nginx and of PixyProxy together."""
    with run.store(PART) as store:
        images = {size: store.plant(OBJECTS, size_bytes=names.SIZES[size]) for size in SIZES}
        own = contestants.caching_nginx(run.next_folder("own-cache"), storage=run.seaweedfs.port)
        ours = store.serve("ours")
        front = Nginx(run.next_folder("front"), ports=[ours.port], limited=False)
        front.start()
        with stopping(own, ours):
            try:
                measure(
                    run,
                    {
                        names.NGINX_CACHE: Contestant(
                            {"nginx_cpu_ms": own.pid},
                            own.port,
                            {size: [store.presigned(each) for each in images[size]] for size in SIZES},
                        ),
                        names.BEHIND: Contestant(
                            {"nginx_cpu_ms": front.process.handle.pid, "our_cpu_ms": pid_of(ours)},
                            front.port,
                            {size: [each.path for each in images[size]] for size in SIZES},
                        ),
                    },
                )
            finally:
                front.process.stop()


def measure(run: Run, everybody: dict[str, Contestant]) -> None:
    """The rounds. Every path is requested before each load, so that the load finds all of them in the cache."""
    run.progress.begin(PART, steps=run.rounds * len(names.FRONT) * len(everybody))
    for number in range(1, run.rounds + 1):
        for case, (size, connections) in names.FRONT.items():
            for who, contestant in everybody.items():
                address = Address(contestant.port, contestant.paths[size], size=names.SIZES[size])
                with run.tolerating(PART, f"{case}, {who}"):
                    answer = check(address)
                    figures = load(
                        address, pids=contestant.pids, connections=connections, seconds=run.seconds, answer=answer
                    )
                    figures["cpu_ms"] = sum(figures[name] for name in contestant.pids)
                    run.record(PART, case, who, number, **figures)
                    said = f"{figures['requests_per_s']:,.0f}/s {figures['cpu_ms']:.3f} ms"
                    run.progress.step(f"round {number}/{run.rounds} {case}, {who}: {said}")
