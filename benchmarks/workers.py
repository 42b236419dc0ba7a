"""Two workers beside one: cached pictures, and generations."""

from benchmarks import names
from benchmarks.contestants import Stub
from benchmarks.generation import Contestant, of_ours, warm_up
from benchmarks.load import carried_out
from benchmarks.measuring import cpu_seconds
from benchmarks.run import Run, stopping
from benchmarks.wrk import Address, WrongAnswerError, check, load

PART = "workers"
OBJECTS = 16
CONNECTIONS = 64
DRAWN, QUICK_DRAWN = 200, 20
"""Generations that arrive at the same moment."""
DELAY = 0.2
"""Seconds of the upstream."""
WORKERS = {names.ONE_WORKER: 1, names.TWO_WORKERS: 2}


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 20 + rounds * 2 * (5 if quick else 12)


def run(run: Run) -> None:
    """One worker and two over the same store, in turn."""
    with run.store(PART) as store:
        stub = Stub(run.next_folder("stub"), delay=DELAY)
        images = store.plant(OBJECTS, size_bytes=names.SIZES["50 KB"])
        paths = [image.path for image in images]
        everybody = {
            who: of_ours(store, stub, {"MAX_GENERATIONS": str(DRAWN)}, workers=workers)
            for who, workers in WORKERS.items()
        }
        with stopping(stub, *(contestant.server for contestant in everybody.values())):
            for contestant in everybody.values():
                warm_up(contestant, stub)
            stub.set_delay(DELAY)
            run.progress.begin(PART, steps=run.rounds * len(everybody) * 2)
            for number in range(1, run.rounds + 1):
                for who, contestant in everybody.items():
                    measure_pictures(run, number, who, contestant, paths)
                for who, contestant in everybody.items():
                    measure_generations(run, number, who, contestant)


def measure_pictures(run: Run, number: int, who: str, contestant: Contestant, paths: list[str]) -> None:
    """Requests/s of cached pictures, and the CPU of one, all workers together."""
    address = Address(contestant.port, paths * 4, size=names.SIZES["50 KB"])
    case = names.WORKERS_CACHED
    with run.tolerating(PART, f"{case}, {who}"):
        answer = check(address)
        figures = load(
            address, pids={"cpu_ms": contestant.pid}, connections=CONNECTIONS, seconds=run.seconds, answer=answer
        )
        figures["per_s"] = figures["requests_per_s"]
        run.record(PART, case, who, number, **figures)
        run.progress.step(
            f"round {number}/{run.rounds} {case}, {who}: {figures['per_s']:,.0f}/s {figures['cpu_ms']:.3f} ms"
        )


def measure_generations(run: Run, number: int, who: str, contestant: Contestant) -> None:
    """Generations a second, from the moment they all arrive to the last answer, and the CPU of one."""
    count, case = QUICK_DRAWN if run.quick else DRAWN, names.WORKERS_DRAWN
    with run.tolerating(PART, f"{case}, {who}"):
        before = cpu_seconds(contestant.pid)
        posts = carried_out(contestant.plan([0.0] * count, gets_per_s=0))["posts"]
        used = cpu_seconds(contestant.pid) - before
        wrong = [each.status for each in posts if each.status != contestant.status]
        if wrong:
            raise WrongAnswerError(f"POST {contestant.path}: {wrong[0]}")
        figures = {
            "per_s": count / max(each.at + each.seconds for each in posts),
            "cpu_ms": used / count * 1e3,
        }
        run.record(PART, case, who, number, **figures)
        run.progress.step(
            f"round {number}/{run.rounds} {case}, {who}: {figures['per_s']:,.0f}/s {figures['cpu_ms']:.2f} ms"
        )
