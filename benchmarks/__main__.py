"""The command line of the benchmarks."""

import argparse
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from benchmarks import (
    against,
    connects,
    content,
    counts,
    edits,
    front,
    generation,
    ledger,
    lists,
    not_modified,
    page,
    report,
    search,
    slow_readers,
    streams,
    thumbnails,
    workers,
)
from benchmarks.contestants import BENCH_BIN, NGINX_WORDS, ROOT, program
from benchmarks.machine import machine, versions
from benchmarks.results import Results
from benchmarks.run import Progress, Run, warn
from benchmarks.store import known
from benchmarks.targets import TARGETS, evaluate
from tests.browsing import CHROMIUM
from tests.servers import BIN, MYSQL, MariaDB, SeaweedFS

PARTS: dict[str, ModuleType] = {
    part.PART: part
    for part in (
        content,
        front,
        workers,
        counts,
        not_modified,
        lists,
        search,
        generation,
        against,
        ledger,
        edits,
        streams,
        slow_readers,
        connects,
        thumbnails,
        page,
    )
}
ROUNDS, FEWEST = 5, 3
"""The rounds of a run, and the fewest of one whose parts go into the repository's results."""
ROWS = 1_000_000
"""Images of the part `search`, and generations of the part `ledger`, in a full run."""
HERE = Path(__file__).parent
SCRATCH = ROOT / "build" / "benchmarks"
"""The results of a run that is not a full one; git ignores this folder."""
OPEN_FILES = 20_000
NEW_SETTINGS = ("CONTENT_CACHE_MB", "CACHE_TTL", "FINISH_SLOTS")
EXIT_SUCCESS, EXIT_FAILURE, EXIT_COMMAND_LINE = 0, 1, 2


def parser() -> argparse.ArgumentParser:
    """The options."""
    root = argparse.ArgumentParser(
        prog="make bench", description="Measure PixyProxy beside what one would use instead."
    )
    root.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    root.add_argument("--rounds", type=int, default=ROUNDS, help=f"(default: {ROUNDS}; at least {FEWEST} to publish)")
    root.add_argument(
        "--rows", type=int, default=ROWS, help=f"images of the part search, generations of ledger (default: {ROWS:,})"
    )
    root.add_argument(
        "--base",
        default=against.BEFORE_THE_LEDGER,
        metavar="COMMIT",
        help="with which the part against compares (default: the one before the ledger)",
    )
    root.add_argument("--quick", action="store_true", help="everything smaller: does it run at all?")
    root.add_argument(
        "--report", nargs="?", const=HERE / "results.json", type=Path, help="run nothing: report a results.json"
    )
    return root


def main() -> int:
    """Run the requested parts; returns the exit status."""
    options = parser().parse_args()
    if unknown := set(options.parts) - set(PARTS):
        warn(f"No such part: {', '.join(sorted(unknown))}. There are {', '.join(PARTS)}.")
        return EXIT_COMMAND_LINE
    if options.report is not None:
        return EXIT_SUCCESS if publish(Results.load(options.report), options.report) else EXIT_FAILURE
    if missing := missing_programs():
        warn(f"Missing here: {', '.join(missing)}. `make bench` installs them on Debian, as root.")
        return EXIT_COMMAND_LINE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, hard) if hard > 0 else OPEN_FILES, hard))
    os.environ["PATH"] += ":/usr/sbin"  # Debian's folder of nginx and mariadbd; PATH may lack it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    parts = [part for part in PARTS if part in (options.parts or PARTS)]
    results = measure(parts, rounds=options.rounds, quick=options.quick, rows=options.rows, base=options.base)
    full = results.facts["full"]
    folder = HERE if full else SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "results.json"
    if full and file.exists():
        results = Results.load(file).followed_by(results)
    results.save(file)
    drawn = publish(results, file)
    return exit_status(results, drawn=drawn)


def exit_status(results: Results, *, drawn: bool) -> int:
    """1 if a part failed, or if the picture of the results could not be drawn. A missed target is no failure."""
    return EXIT_FAILURE if results.failures or not drawn else EXIT_SUCCESS


def missing_programs() -> list[str]:
    """What a run needs and is not installed."""
    found = {
        "wrk": program("wrk"),
        "nginx": program("nginx"),
        "mariadbd": program("mariadbd") or program("mysqld"),
        "chromium": CHROMIUM.exists(),
        "MySQL": MYSQL.exists(),
        **{path.name: path.exists() for path in (BIN / "weed", BENCH_BIN / "litellm", BENCH_BIN / "py-spy")},
    }
    return [name for name, there in found.items() if not there]


def measure(
    parts: list[str], *, rounds: int, quick: bool, rows: int = ROWS, base: str = against.BEFORE_THE_LEDGER
) -> Results:
    """Run the parts. The results report a part that fails, and the next one runs."""
    results = Results()
    progress = Progress({part: PARTS[part].planned_seconds(rounds=rounds, quick=quick) for part in parts})
    progress.say(f"{', '.join(parts)}: {rounds} rounds, about {sum(progress.planned.values()) / 60:.0f} min")
    with TemporaryDirectory(prefix="pixyproxy-bench-") as name:
        folder = Path(name)
        mariadb = MariaDB(folder / "mariadb")
        try:
            seaweedfs = SeaweedFS(folder / "seaweedfs")
            try:
                results.facts = {
                    "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                    "quick": quick,
                    "full": not quick and rounds >= FEWEST and rows >= ROWS and base == against.BEFORE_THE_LEDGER,
                    "parts": {},
                    "machine": machine(),
                    "versions": versions(mariadb.version),
                    "unknown settings": unknown_settings(),
                    "nginx": NGINX_WORDS,
                }
                run = Run(rounds, quick, folder, results, progress, mariadb, seaweedfs, rows, base)
                for part in parts:
                    attempt(part, run)
            finally:
                seaweedfs.process.stop(how=signal.SIGKILL)  # its folder is removed with the run
        finally:
            mariadb.process.stop(how=signal.SIGKILL)
    return results


def attempt(part: str, run: Run) -> None:
    """Run a part."""
    begun = time.monotonic()
    run.results.facts["parts"][part] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit(),
        "rounds": run.rounds,
    }
    run.progress.begin(part, steps=1)
    try:
        PARTS[part].run(run)
    except Exception as error:  # noqa: BLE001 -- whatever it is, the other parts run
        traceback.print_exc()
        run.results.failures[part] = f"{type(error).__name__}: {str(error)[:500]}"
    spent = time.monotonic() - begun
    run.progress.say(f"{part} took {spent:.0f} s" + (" and FAILED" if part in run.results.failures else ""))


def unknown_settings() -> list[str]:
    """Settings that the benchmarks would give, and that the installed PixyProxy does not know."""
    given = {f"PIXYPROXY_{name}": "" for name in NEW_SETTINGS}
    return sorted(set(given) - set(known(given)))


def commit() -> str:
    """The commit that was measured; with a plus if files were changed since."""
    ran = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() or "?"


def publish(results: Results, file: Path) -> bool:
    """Write the report and the picture of results: into the repository if the run was a full one.

    Returns whether the picture could be drawn.
    """
    full = results.facts["full"]
    folder = HERE if full else SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    picture = ROOT / "docs" / "benchmarks.svg" if full else folder / "benchmarks.svg"
    notes = (HERE / "NOTES.md").read_text() if (HERE / "NOTES.md").exists() else ""
    (folder / "RESULTS.md").write_text(report.report(results, notes=notes))
    # matplotlib is installed beside LiteLLM; of our modules the picture needs only the results.
    drawn = subprocess.run(
        [str(BENCH_BIN / "python"), "-m", "benchmarks.picture", str(file), str(picture)], cwd=ROOT, check=False
    )
    verdicts = [evaluate(target, results) for target in TARGETS]
    reached = sum(verdict.reached is True for verdict in verdicts)
    missed = [verdict for verdict in verdicts if verdict.reached is False]
    for verdict in missed:
        print(f"missed: {verdict.target.part}: {verdict.target.what}: {report.shown(verdict)} ({verdict.case})")
    for part, failure in results.failures.items():
        print(f"FAILED: {part}: {failure}")
    kind = "QUICK RUN, no figure means anything. " if results.facts["quick"] else "" if full else "A part of a run. "
    print(f"{kind}{reached} targets reached, {len(missed)} missed. {folder / 'RESULTS.md'}")
    if drawn.returncode:
        warn("The picture could not be drawn.")
    return drawn.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
