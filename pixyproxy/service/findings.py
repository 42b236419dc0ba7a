"""What storage and database disagree about, counted and told."""

import logging
from collections import Counter
from collections.abc import Callable
from enum import StrEnum

logger = logging.getLogger(__name__)


class Finding(StrEnum):
    """What the two stores disagree about. The values are said to people."""

    COMPLETED = "generation left behind, its pictures are there"
    INTERRUPTED = "generation left behind, no picture of it anywhere"
    WAITING = "generation left behind, it cannot be finished now"
    FILE = "picture parked in a file"
    DELETION = "deletion that was not finished"
    ORPHAN = "object without a row"
    YOUNG = "object without a row, younger than the grace"
    LOST = "row without an object"
    BROKEN = "row whose object has another size"


MENDED = {
    Finding.COMPLETED: "completed",
    Finding.INTERRUPTED: "failed as interrupted",
    Finding.FILE: "taken up",
    Finding.DELETION: "finished",
    Finding.ORPHAN: "removed",
}
"""What is said of a finding that was mended."""


def described(finding: Finding, name: str, *, mended: bool) -> str:
    """A line about a finding."""
    return f"{name}  {finding}{f': {MENDED[finding]}' if mended else ''}"


def logged(finding: Finding, name: str, mended: bool) -> None:  # noqa: FBT001 -- as the reconciler calls it
    """Where a finding goes that nobody watches for."""
    lost_money = finding is Finding.INTERRUPTED
    logger.log(logging.WARNING if lost_money else logging.INFO, "%s", described(finding, name, mended=mended))


class Findings:
    """What was found, and how much of it was mended. `found` hears of each, with the guid, key or file it is about."""

    def __init__(self, found: Callable[[Finding, str, bool], None] = logged) -> None:
        self._found = found
        self.counts: Counter[Finding] = Counter()
        self.mended: Counter[Finding] = Counter()

    def note(self, finding: Finding, name: str, *, mended: bool) -> None:
        """Count it, and tell it."""
        self.counts[finding] += 1
        self.mended[finding] += mended
        self._found(finding, name, mended)
