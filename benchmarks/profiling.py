"""Where a process spends its time: a sampling profile of a load that missed its target."""

import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.contestants import BENCH_BIN
from benchmarks.results import Profile
from benchmarks.run import Run, warn
from benchmarks.targets import TARGETS, evaluate
from benchmarks.wrk import WrongAnswerError

RATE = 200
"""Samples a second."""
ROWS = 15
WAITING = ("Condition.wait (threading.py)", "_worker (concurrent/futures/thread.py)")
"""Where threads wait for work, which py-spy does not always see as idle."""

Rows = list[tuple[str, float, float]]


def profile_missed(run: Run, part: str, profile: Callable[[str, str], Rows]) -> None:
    """For each case in which a ratio of the part was missed: what `profile(case, contestant)` finds.

    A profile that cannot be made is not a failure of the benchmark: it is reported, and left out.
    """
    verdicts = [evaluate(target, run.results) for target in TARGETS if target.part == part and target.is_ratio]
    missed = [(each.case, each.target.contestant) for each in verdicts if each.reached is False]
    for case, contestant in dict.fromkeys(missed):
        run.progress.say(f"{part}: a profile of {contestant} in the case '{case}'")
        try:
            rows = profile(case, contestant)
        except (OSError, subprocess.SubprocessError, WrongAnswerError) as error:
            warn(f"no profile of {contestant}: {error}")
        else:
            run.results.profiles.append(Profile(part, case, contestant, rows))


def sampled(pid: int, work: Callable[[], object], *, seconds: float) -> Rows:
    """The rows of a profile of the process while `work` runs, which must last for longer than `seconds`."""
    with tempfile.TemporaryDirectory() as name:
        file = Path(name, "raw")
        options = ["--format", "raw", "--rate", str(RATE), "--duration", f"{seconds:.0f}"]
        profiler = subprocess.Popen(
            [str(BENCH_BIN / "py-spy"), "record", *options, "--output", str(file), "--pid", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            work()
            profiler.wait(seconds + 30)
        finally:
            if profiler.poll() is None:
                profiler.kill()
                profiler.wait()
        return table(file.read_text().splitlines())


def table(lines: Iterable[str]) -> Rows:
    """Function, percent of the samples in itself, and with all that it calls, of stacks with their counts.

    A thread that waits for work counts for nothing.
    """
    itself: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] + ")" if frame.endswith(")") else frame for frame in stack.split(";")]
        if frames[-1] in WAITING:
            continue
        itself[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = sum(itself.values()) or 1
    return [(frame, 100 * count / total, 100 * within[frame] / total) for frame, count in itself.most_common(ROWS)]
