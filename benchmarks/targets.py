"""The targets, and whether they were reached."""

import math
from dataclasses import dataclass
from typing import Literal

from benchmarks import names
from benchmarks.measuring import median
from benchmarks.results import Results
from benchmarks.upstream_stub import PARTIAL_BYTES, PICTURE_BYTES

Sense = Literal["≤", "≥", "="]


@dataclass(frozen=True)
class Target:
    """A bound for a figure of ours, or for its ratio to the same figure of another contestant or case.

    It holds for every case, and the worst one is shown. `always`: for every round, and not for the median.
    """

    part: str
    what: str
    cases: tuple[str, ...]
    contestant: str
    figure: str
    sense: Sense
    bound: float
    beside: str | None = None
    beside_case: str | None = None
    unit: str = ""
    always: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether the value is a ratio."""
        return self.beside is not None or self.beside_case is not None


@dataclass(frozen=True)
class Verdict:
    """A target, and the value in its worst case; `value` is NaN if it was not measured."""

    target: Target
    case: str
    value: float

    @property
    def reached(self) -> bool | None:
        """None if it was not measured."""
        if math.isnan(self.value):
            return None
        if self.target.sense == "=":
            return self.value == self.target.bound
        return self.excess <= 0

    @property
    def excess(self) -> float:
        """How far the value is on the wrong side of the bound, in the figure's own unit; negative on the right one."""
        if self.target.sense == "=":
            return abs(self.value - self.target.bound)
        return (self.value - self.target.bound) * (1 if self.target.sense == "≤" else -1)

    @property
    def missed_by(self) -> str:
        """By how much it was missed, in words; empty if it was not."""
        if self.reached is not False:
            return ""
        if self.target.sense == "=" or not self.target.bound:
            return f"{self.excess:.3g} {self.target.unit}".strip()
        part = abs(self.excess / self.target.bound)
        return f"a factor of {1 + part:.1f}" if part > 1 else f"{part:.0%} of the bound"


def evaluate(target: Target, results: Results) -> Verdict:
    """The verdict. A ratio is that of the two figures of each round, and then the median of the rounds."""
    verdicts = [Verdict(target, case, value_of(target, case, results)) for case in target.cases]
    unknown = [verdict for verdict in verdicts if verdict.reached is None]
    missed = [verdict for verdict in verdicts if verdict.reached is False]
    return max(missed or unknown or verdicts, key=lambda verdict: verdict.excess)


def value_of(target: Target, case: str, results: Results) -> float:
    """What the target bounds, in a case."""
    ours = results.by_round(target.part, case, target.contestant, target.figure)
    values = list(ours.values())
    if target.is_ratio:
        other_case, other = target.beside_case or case, target.beside or target.contestant
        theirs = results.by_round(target.part, other_case, other, target.figure)
        values = [value / theirs[number] for number, value in ours.items() if theirs.get(number)]
    if not values:
        return math.nan
    if target.always:
        return max(values, key=lambda value: Verdict(target, case, value).excess)
    return median(values)


def content_targets() -> tuple[Target, ...]:
    """The targets for the content of an image."""

    def target(size: str, contestant: str, figure: str, sense: Sense, bound: float, beside: str) -> Target:
        words = {"cpu_ms": "CPU a request", "requests_per_s": "requests/s"}[figure]
        what = f"{size}, {contestant.removeprefix('PixyProxy, ')}: {words}, against {beside}"
        return Target("content", what, names.content_cases(size), contestant, figure, sense, bound, beside=beside)

    return (
        target("1.5 MB", names.UNCACHED, "cpu_ms", "≤", 1.5, names.NGINX),
        target("1.5 MB", names.UNCACHED, "requests_per_s", "≥", 0.55, names.DIRECT),
        target("1.5 MB", names.UNCACHED, "requests_per_s", "≥", 3.5, names.USUAL),
        target("50 KB", names.UNCACHED, "cpu_ms", "≤", 5, names.NGINX),
        target("50 KB", names.UNCACHED, "requests_per_s", "≥", 5, names.USUAL),
        target("1.5 MB", names.CACHED, "requests_per_s", "≥", 2, names.DIRECT),
        target("50 KB", names.CACHED, "requests_per_s", "≥", 1, names.DIRECT),
    )


def front_targets() -> tuple[Target, ...]:
    """The target for hot pictures behind the shipped nginx."""
    what = "CPU of nginx and PixyProxy together, against nginx's own cache"
    return (Target("front", what, tuple(names.FRONT), names.BEHIND, "cpu_ms", "≤", 1.1, beside=names.NGINX_CACHE),)


def workers_targets() -> tuple[Target, ...]:
    """The targets for two workers beside one."""
    return tuple(
        Target(
            *("workers", f"{case}: a second", (case,), names.TWO_WORKERS, "per_s", "≥", 1.7),
            beside=names.ONE_WORKER,
        )
        for case in (names.WORKERS_CACHED, names.WORKERS_DRAWN)
    )


COUNTS: dict[str, tuple[str, int | None, int | None]] = {
    "first GET": (names.CACHED, 1, 1),
    "second GET": (names.CACHED, 0, 0),
    "second GET, cache off": (names.UNCACHED, 0, 1),
    "100 GETs at once of a cold object": (names.CACHED, None, 1),
    "304": (names.CACHED, None, 0),
    "HEAD": (names.CACHED, None, 0),
    "416": (names.CACHED, None, 0),
}
"""SQL statements about images and requests to S3 that a case may cost, and with which cache."""


def counts_targets() -> tuple[Target, ...]:
    """The targets for what a GET costs the database and the storage: exact in every round."""
    found = []
    for case, (contestant, statements, requests) in COUNTS.items():
        for figure, words, bound in (
            ("sql_statements", "SQL statements", statements),
            ("s3_requests", "S3 requests", requests),
        ):
            if bound is not None:
                target = Target("counts", f"{case}: {words}", (case,), contestant, figure, "=", bound, always=True)
                found.append(target)
    return tuple(found)


def lists_targets() -> tuple[Target, ...]:
    """The targets for the list with 1,000,000 rows."""
    figures = {"cpu_ms": "our CPU", "database_cpu_ms": "MariaDB's CPU", "p50_ms": "latency p50"}
    page = Target("lists", "a page of 50: our CPU", (names.FIRST_PAGE,), names.OURS, "cpu_ms", "≤", 1.5, unit="ms")
    return page, *(
        Target(
            *("lists", f"page 10,000 against page 1: {words}", (names.LATE_PAGE,), names.OURS, figure, "≤", 1.5),
            beside_case=names.FIRST_PAGE,
        )
        for figure, words in figures.items()
    )


def search_targets() -> tuple[Target, ...]:
    """The targets for searches in 1,000,000 prompts, and for what they cost a generation."""
    quick = tuple(case for case in names.SEARCHES if case != names.NEVER_MEET)
    return (
        Target("search", "a page p50", quick, names.OURS, "p50_ms", "≤", 50, unit="ms"),
        Target("search", "a page p50 on MySQL", quick, names.OURS_ON_MYSQL, "p50_ms", "≤", 50, unit="ms"),
        Target("search", "an empty page p50", (names.NEVER_MEET,), names.OURS, "p50_ms", "≤", 60, unit="ms"),
        Target("search", "CPU added to a generation", (names.COMMIT,), names.OURS, "added_cpu_ms", "≤", 1, unit="ms"),
    )


def generation_targets() -> tuple[Target, ...]:
    """The targets for generations that are spread evenly, and for bursts."""
    every, crowd = tuple(names.RUNNING), ("1,000 × 20 s",)
    bursts = tuple(names.BURSTS)

    def ours(cases: tuple[str, ...], what: str, figure: str, sense: Sense, bound: float, unit: str = "") -> Target:
        always = unit == ""
        return Target("generation", what, cases, names.OURS, figure, sense, bound, unit=unit, always=always)

    def beside(what: str, figure: str, bound: float) -> Target:
        return Target("generation", what, every, names.OURS, figure, "≤", bound, beside=names.LITELLM)

    return (
        ours(every, "answers to POST or GET that are errors", "errors", "=", 0),
        ours(every, "rows and objects that are not those of the 201s", "unmatched", "=", 0),
        beside("CPU a generation, against LiteLLM", "cpu_ms", 0.45),
        beside("added latency p50, against LiteLLM", "added_p50_ms", 1),
        ours(crowd, "1,000 × 20 s: growth of memory", "growth_mb", "≤", 150, "MB"),
        ours(crowd, "1,000 × 20 s: GET of details p99", "details_p99_ms", "≤", 250, "ms"),
        ours(crowd, "1,000 × 20 s: GET of content p99", "content_p99_ms", "≤", 250, "ms"),
        ours(bursts, "bursts: POSTs that get neither 201 nor 503, GETs that get no 200", "errors", "=", 0),
        ours(bursts, "bursts: bought, and not answered with 201", "bought_for_nothing", "=", 0),
        ours(bursts, "bursts: rows and objects that are not those of the 201s", "unmatched", "=", 0),
        ours(bursts[:2], "bursts with the default maximum of 64: 201s", "created", "≥", 64),
        ours(bursts[2:], "burst of 200 with a maximum of 200: 201s", "created", "=", 200),
        ours(bursts, "bursts: GET of details p99", "details_p99_ms", "≤", 300, "ms"),
        ours(bursts, "bursts: GET of content p99", "content_p99_ms", "≤", 300, "ms"),
    )


def against_targets() -> tuple[Target, ...]:
    """The targets for a generation beside the commit before the ledger."""
    cases = tuple(names.drawn_over(database) for database in names.DATABASES)
    return (
        Target("against", "a generation: added CPU", cases, names.OURS, "added_cpu_ms", "≤", 1, unit="ms"),
        Target("against", "a generation: added latency p50", cases, names.OURS, "added_p50_ms", "≤", 5, unit="ms"),
    )


def ledger_targets() -> tuple[Target, ...]:
    """The targets for the usage of 1,000,000 generations."""
    cases = tuple(names.usage_over(names.A_YEAR, each) for each in (*names.DATABASES, names.MYSQL))
    return (Target("ledger", "usage by month and key p50", cases, names.OURS, "p50_ms", "≤", 300, unit="ms"),)


def edits_targets() -> tuple[Target, ...]:
    """The targets for 32 edits at once."""
    cases = tuple(names.EDITS)

    def ours(what: str, figure: str, bound: float, unit: str) -> Target:
        return Target("edits", what, cases, names.OURS, figure, "≤", bound, unit=unit)

    return (
        Target("edits", "answers that are errors", cases, names.OURS, "errors", "=", 0, always=True),
        ours("growth of memory", "growth_mb", 150, "MB"),
        ours("GET of details p99 meanwhile", "details_p99_ms", 250, "ms"),
        ours("GET of a 50 KB content p99 meanwhile", "content_p99_ms", 250, "ms"),
    )


def streams_targets() -> tuple[Target, ...]:
    """The targets for 100 streams with partial images at once."""
    cases = (names.STREAMS,)
    # Each stream has its picture and its newest partial image in memory; 64 MB for everything else.
    most = (100 * (PICTURE_BYTES + PARTIAL_BYTES)) / 2**20 + 64

    def ours(what: str, figure: str, bound: float, unit: str) -> Target:
        return Target("streams", what, cases, names.OURS, figure, "≤", bound, unit=unit)

    return (
        Target("streams", "streams without their picture", cases, names.OURS, "errors", "=", 0, always=True),
        ours("growth of memory", "growth_mb", round(most), "MB"),
        ours("GET of details p99 meanwhile", "details_p99_ms", 250, "ms"),
        ours("GET of a 50 KB content p99 meanwhile", "content_p99_ms", 250, "ms"),
    )


def slow_readers_targets() -> tuple[Target, ...]:
    """The targets for 200 clients that read slowly."""
    cases = tuple(names.SLOW)
    most = 200 * 0.5 + 64

    def ours(what: str, figure: str, sense: Sense, bound: float, unit: str) -> Target:
        return Target("slow_readers", what, cases, names.OURS, figure, sense, bound, unit=unit)

    return (
        Target(
            "slow_readers", "answers that break off or are errors", cases, names.OURS, "errors", "=", 0, always=True
        ),
        ours("growth of memory (200 × 0.5 MB and the cache)", "growth_mb", "≤", most, "MB"),
        ours("GET of details p99 meanwhile", "details_p99_ms", "≤", 250, "ms"),
        ours("GET of a 50 KB content p99 meanwhile", "content_p99_ms", "≤", 250, "ms"),
    )


def thumbnails_targets() -> tuple[Target, ...]:
    """The targets for thumbnails."""
    cases = tuple(names.THUMBNAILS)

    def ours(what: str, figure: str, sense: Sense, bound: float, unit: str) -> Target:
        return Target("thumbnails", what, cases, names.OURS, figure, sense, bound, unit=unit)

    return (
        Target("thumbnails", "answers that are errors", cases, names.OURS, "errors", "=", 0, always=True),
        ours("400 pixels: lighter than the picture", "lighter_400", "≥", 20, "times"),
        ours("800 pixels: lighter than the picture", "lighter_800", "≥", 20, "times"),
        ours("GET of details p99 meanwhile", "details_p99_ms", "≤", 250, "ms"),
        ours("GET of a 50 KB content p99 meanwhile", "content_p99_ms", "≤", 250, "ms"),
    )


def page_targets() -> tuple[Target, ...]:
    """The targets for the page in Chromium."""
    shown = (names.FIRST_VIEW, names.WHOLE_GALLERY, names.MANY_TILES, names.MANY_DAYS)

    def ours(what: str, cases: tuple[str, ...], figure: str, sense: Sense, bound: float, unit: str = "") -> Target:
        return Target("page", what, cases, names.OURS, figure, sense, bound, unit=unit)

    return (
        ours("first view: requests", shown[:1], "requests", "≤", 60),
        ours("first view: bytes on the wire", shown[:1], "kb", "≤", 900, "KB"),
        ours("first view: first contentful paint", shown[:1], "first_paint_ms", "≤", 500, "ms"),
        ours("layout shift", shown, "layout_shift", "≤", 0.01),
        ours("500 pictures: thumbnails, times lighter than the pictures", shown[1:2], "lighter", "≥", 20),
        ours("10,000 tiles, scrolling: longest task", shown[2:], "longest_task_ms", "≤", 100, "ms"),
        ours("10,000 tiles, scrolling: CPU of the longest task", shown[2:], "longest_cpu_ms", "≤", 100, "ms"),
        ours(
            "10,000 tiles, opening a picture: CPU of the longest task", shown[2:], "open_longest_cpu_ms", "≤", 100, "ms"
        ),
    )


TARGETS = (
    *content_targets(),
    *front_targets(),
    *workers_targets(),
    *counts_targets(),
    Target(
        *("not_modified", "304, log on: requests/s, against a bare endpoint", names.connection_cases(), names.OURS),
        *("requests_per_s", "≥", 1),
        beside=names.BARE,
    ),
    *lists_targets(),
    *search_targets(),
    *generation_targets(),
    *against_targets(),
    *ledger_targets(),
    *edits_targets(),
    *streams_targets(),
    *slow_readers_targets(),
    *thumbnails_targets(),
    *page_targets(),
    Target(
        *("connects", "CPU, against a context of its own", (names.CONNECT,), names.SHARED_CONTEXT, "cpu_ms", "≤", 0.3),
        beside=names.OWN_CONTEXT,
    ),
)
