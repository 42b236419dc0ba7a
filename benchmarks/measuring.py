"""Measurements of a process, and statistics of many figures."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CPU_CLOCK = 2
"""With a process's inverted number before it, the kernel's name of its CPU clock (clock_getcpuclockid(3))."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least so many percent of the values do not exceed; NaN if there is no value."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle; NaN if there is no value."""
    if not values:
        return math.nan
    middle, ordered = len(values) // 2, sorted(values)
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def family(pid: int) -> list[int]:
    """The process and all that it has started."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it has ended
        return [pid]
    return [pid, *(each for child in children for each in family(child))]


def cpu_seconds(pid: int) -> float:
    """User and system time that the process and its living children have used.

    It is what /proc/PID/stat says, but from the process's own clock, which counts nanoseconds and not ticks of 10 ms.
    """
    return sum(time.clock_gettime((~each << 3) | CPU_CLOCK) for each in family(pid))


def resident_mb(pids: Sequence[int]) -> float:
    """MB (10^6 bytes) of memory that the processes hold."""
    total = 0
    for each in pids:
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total / 1e6


@dataclass
class Growth:
    """MB of memory at the beginning, and the most that a look every 50 ms has seen."""

    before: float
    peak: float

    @property
    def mb(self) -> float:
        """By how much it grew."""
        return self.peak - self.before


@contextmanager
def growth_of(pid: int) -> Iterator[Growth]:
    """Watches the memory of a process, and of the children that it has now, while the block runs."""
    pids = family(pid)
    seen = Growth(resident_mb(pids), 0.0)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seen.peak = max(seen.peak, resident_mb(pids))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
