"""What is measured of a process, and what becomes of many figures."""

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import sysconf
from pathlib import Path

TICK = 1 / sysconf("SC_CLK_TCK")
"""Seconds of the kernel's unit of CPU time."""


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
    """User and system time that the process and its living children have used."""
    ticks = 0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK


def resident_mb(pid: int) -> float:
    """MB (10^6 bytes) of memory that the process and its children hold."""
    total = 0
    for each in family(pid):
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
    """Watches the memory of a process and its children while the block runs."""
    seen = Growth(resident_mb(pid), 0.0)
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            seen.peak = max(seen.peak, resident_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()
