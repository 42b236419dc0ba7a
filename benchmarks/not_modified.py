"""304: the speed of the answer that most browsers get, compared with a bare endpoint."""

from dataclasses import replace
from functools import partial

from benchmarks import contestants, names
from benchmarks.profiling import Rows, profile_missed, sampled
from benchmarks.run import Run, pid_of, stopping
from benchmarks.wrk import Address, check, load

PART = "not_modified"


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return 10 + rounds * 8 * (1.2 if quick else 3.3)


def run(run: Run) -> None:
    """A bare endpoint, a plain route, and ours with and without its request log, all behind the same server."""
    with run.store("not-modified") as store:
        (image,) = store.plant(1, size_bytes=names.SIZES["50 KB"])
        bare = contestants.uvicorn("benchmarks.bare_endpoint:bare", run.next_folder("bare"))
        plain = contestants.uvicorn("benchmarks.bare_endpoint:plain", run.next_folder("plain"))
        ours, silent = store.serve("ours"), store.serve("silent", LOG_LEVEL="WARNING")
        current = {"If-None-Match": f'"{image.sha256}"'}
        everybody = {
            names.BARE: (bare.pid, Address(bare.port, ["/"])),
            names.PLAIN: (plain.pid, Address(plain.port, ["/"])),
            names.OURS: (pid_of(ours), Address(ours.port, [image.path], status=304, headers=current)),
            names.SILENT: (pid_of(silent), Address(silent.port, [image.path], status=304, headers=current)),
        }
        with stopping(bare, plain, ours, silent):
            run.progress.begin(PART, steps=run.rounds * len(everybody) * len(names.CONNECTIONS))
            for _, address in everybody.values():  # so that the first round is as warm as the others
                load(replace(address, status=200, headers={}), pids={}, connections=16, seconds=1)
            for number in range(1, run.rounds + 1):
                for case, connections in zip(names.connection_cases(), names.CONNECTIONS, strict=True):
                    for who, (pid, address) in everybody.items():
                        with run.tolerating(PART, f"{case}, {who}"):
                            check(address)
                            figures = load(address, pids={"cpu_ms": pid}, connections=connections, seconds=run.seconds)
                            run.record(PART, case, who, number, **figures)
                            said = f"{figures['requests_per_s']:,.0f}/s {figures['cpu_ms']:.3f} ms"
                            run.progress.step(f"round {number}/{run.rounds} {case}, {who}: {said}")

            def profile(case: str, who: str) -> Rows:
                (pid, address), count, seconds = everybody[who], int(case.split()[0]), run.seconds + 2
                work = partial(load, address, pids={}, connections=count, seconds=seconds)
                return sampled(pid, work, seconds=seconds - 1)

            profile_missed(run, PART, profile)
