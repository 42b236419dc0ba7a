"""Findings: differences between storage and database, counted and reported."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

logger = logging.getLogger(__name__)


class Finding(StrEnum):
    """The kinds of findings. The values are texts for people."""

    COMPLETED = "generation left behind, its pictures are there"
    INTERRUPTED = "generation left behind, no picture of it anywhere"
    WAITING = "generation left behind, it cannot be finished now"
    FILE = "picture parked in a file"
    DELETION = "deletion that was not finished"
    ORPHAN = "object without a row"
    YOUNG = "object without a row, younger than the grace"
    UNREADABLE = "object of a generation whose record this version cannot read"
    THUMBNAIL = "thumbnail without its image"
    LOST = "row without an object"
    BROKEN = "row whose object has another size"
    UNBALANCED = "sum of the ledger that does not add up"
    USAGE = "stored usage of a day that is not what its generations say"


FIXED = {
    Finding.COMPLETED: "completed",
    Finding.INTERRUPTED: "failed as interrupted",
    Finding.FILE: "taken up",
    Finding.DELETION: "finished",
    Finding.ORPHAN: "removed",
    Finding.THUMBNAIL: "removed",
    Finding.USAGE: "removed, to be added up anew",
}
"""The text for a finding that was fixed."""


@dataclass(frozen=True)
class Found:
    """One finding: the guid, key or file that it is about, and whether it was fixed. `str` gives a line for people."""

    finding: Finding
    name: str
    fixed: bool

    def __str__(self) -> str:
        return f"{self.name}  {self.finding}{f': {FIXED[self.finding]}' if self.fixed else ''}"


def log_finding(found: Found) -> None:
    """Report a finding in the log: the default."""
    level = logging.INFO
    if found.finding is Finding.INTERRUPTED:  # it may have cost money
        level = logging.WARNING
    elif found.finding is Finding.DELETION and not found.fixed:  # each run finds it again, and logs one line for all
        level = logging.DEBUG
    logger.log(level, "%s", found)


class Findings:
    """Counts what was found and what was fixed. `report` is called with each finding."""

    def __init__(self, report: Callable[[Found], None] = log_finding) -> None:
        self._report = report
        self.counts: Counter[Finding] = Counter()
        self.fixed: Counter[Finding] = Counter()

    def add(self, finding: Finding, name: str, *, fixed: bool) -> None:
        """Count it, and report it."""
        self.counts[finding] += 1
        self.fixed[finding] += fixed
        self._report(Found(finding, name, fixed))
