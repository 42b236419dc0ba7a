"""Writes RESULTS.md: the targets first, then every benchmark, in words and in tables."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence

from benchmarks import names
from benchmarks.results import Results
from benchmarks.targets import COUNTS, TARGETS, Verdict, evaluate
from benchmarks.words import TITLES, WORDS


def number(value: float) -> str:
    """The number with three significant digits; a dash if it was not measured."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns except the first are figures."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def shown(verdict: Verdict) -> str:
    """The value, its bound, and the distance to the bound if it was missed."""
    target, kind = verdict.target, " ×" if verdict.target.is_ratio else f" {verdict.target.unit}".rstrip()
    missed = f", missed by {verdict.missed_by}" if verdict.reached is False else ""
    return f"{number(verdict.value)}{kind}, target {target.sense} {number(target.bound)}{kind}{missed}"


def summary(results: Results) -> str:
    """All targets, each with its worst case. After a run of some parts: only the targets of these parts."""
    rows = []
    for target in TARGETS:
        if not results.facts["full"] and target.part not in results.parts():
            continue
        verdict = evaluate(target, results)
        kind = " ×" if target.is_ratio else f" {target.unit}".rstrip()
        said = {True: "reached", False: f"**missed** by {verdict.missed_by}", None: "not measured"}[verdict.reached]
        bound = f"{target.sense} {number(target.bound)}{kind}"
        value = "–" if verdict.reached is None else number(verdict.value) + kind
        where = verdict.case if len(target.cases) > 1 and verdict.reached is not None else ""
        rows.append((f"{TITLES[target.part]}: {target.what}", bound, value, where, said))
    return table(("target", "bound", "measured", "worst case", ""), rows)


def contents(results: Results) -> str:
    """A table for each size."""
    texts = []
    everybody = (names.DIRECT, names.NGINX, names.USUAL, names.UNCACHED, names.CACHED, names.MISSING)
    for size in names.SIZES:
        rows = []
        for who in everybody:
            cells: list[str] = []
            for case in names.content_cases(size):
                speed = results.median("content", case, who, "requests_per_s")
                direct = results.median("content", case, names.DIRECT, "requests_per_s")
                cpu = results.median("content", case, who, "cpu_ms")
                cells += [number(speed), number(speed / direct), number(cpu)]
            if any(cell != "–" for cell in cells):
                rows.append((who, *cells))
        head = [f"{what} ({each})" for each in names.CONNECTIONS for what in ("requests/s", "× direct", "CPU ms")]
        texts.append(f"**{size}** (in brackets: connections)\n\n{table((size, *head), rows)}")
    return "\n".join(texts)


def cases_and_contestants(
    results: Results, part: str, figures: dict[str, str], cases: Iterable[str], everybody: Iterable[str]
) -> str:
    """A row for each case and contestant that was measured, a column for each figure."""
    rows = []
    contestants = list(everybody)
    for case in cases:
        for who in contestants:
            values = [results.median(part, case, who, figure) for figure in figures]
            if not all(math.isnan(value) for value in values):
                rows.append((f"{case}, {who}" if len(contestants) > 1 else case, *map(number, values)))
    return table(("", *figures.values()), rows)


def counts(results: Results) -> str:
    """Statements and requests of every case."""
    figures = {"sql_statements": "SQL statements", "s3_requests": "S3 requests"}
    return cases_and_contestants(results, "counts", figures, COUNTS, (names.CACHED, names.UNCACHED))


def not_modified(results: Results) -> str:
    """Requests/s and CPU."""
    figures = {"requests_per_s": "requests/s", "cpu_ms": "CPU ms", "p50_ms": "p50 ms", "p99_ms": "p99 ms"}
    everybody = (names.BARE, names.PLAIN, names.OURS, names.SILENT)
    return cases_and_contestants(results, "not_modified", figures, names.connection_cases(), everybody)


def lists(results: Results) -> str:
    """CPU of both processes, and latency."""
    figures = {
        "requests_per_s": "requests/s",
        "cpu_ms": "our CPU ms",
        "database_cpu_ms": "MariaDB's CPU ms",
        "p50_ms": "p50 ms",
        "p99_ms": "p99 ms",
    }
    cases = (names.FIRST_PAGE, names.LATE_PAGE, names.COLD_DETAILS, names.WARM_DETAILS)
    return cases_and_contestants(results, "lists", figures, cases, (names.OURS,))


def search(results: Results) -> str:
    """Latency of every search, how long an empty one takes in all, and the CPU of a commit."""
    everybody = (names.OURS, names.OURS_ON_MYSQL, names.LIKE, names.FULLTEXT)
    rows = [
        (case, *(number(results.median("search", case, who, "p50_ms")) for who in everybody)) for case in names.SEARCHES
    ]
    to_the_end = {"requests": "requests to the end", "seconds": "seconds in all"}
    ends = cases_and_contestants(results, "search", to_the_end, (names.NEVER_MEET,), everybody[:2])
    commits = cases_and_contestants(
        results, "search", {"cpu_ms": "CPU ms"}, (names.COMMIT,), (names.WITHOUT_WORDS, names.WITH_WORDS)
    )
    return f"{table(('p50 ms', *everybody), rows)}\n{ends}\n{commits}"


def generation(results: Results) -> str:
    """The spread cases of both contestants, then the bursts."""
    latency = {"added_p50_ms": "added p50 ms", "added_p99_ms": "added p99 ms"}
    gets = {"details_p99_ms": "GET details p99 ms", "content_p99_ms": "GET content p99 ms"}
    figures = {**latency, "cpu_ms": "CPU ms", "growth_mb": "memory + MB", **gets, "errors": "errors"}
    spread = cases_and_contestants(results, "generation", figures, names.RUNNING, (names.OURS, names.LITELLM))
    others = {"storage_cpu_ms": "SeaweedFS's CPU ms", "database_cpu_ms": "MariaDB's CPU ms"}
    beside = cases_and_contestants(results, "generation", others, names.RUNNING, (names.OURS,))
    answers = {"created": "201", "refused": "503", "errors": "errors", "bought_for_nothing": "bought for nothing"}
    burst = {**answers, **latency, "growth_mb": "memory + MB", **gets}
    bursts = cases_and_contestants(results, "generation", burst, names.BURSTS, (names.OURS,))
    return f"{spread}\nThe cost of a generation in the servers behind PixyProxy:\n\n{beside}\n{bursts}"


def against(results: Results) -> str:
    """Both commits over each database, and by how much ours is more."""
    figures = {
        "cpu_ms": "CPU ms",
        "added_cpu_ms": "more",
        "p50_ms": "p50 ms",
        "added_p50_ms": "more",
        "p99_ms": "p99 ms",
    }
    drawn = (names.drawn_over(database) for database in names.DATABASES)
    asked = (f"{case}, {database}" for case in (names.A_304, names.A_LIST) for database in names.DATABASES)
    return cases_and_contestants(results, "against", figures, (*drawn, *asked), (names.BASE, names.OURS))


def ledger(results: Results) -> str:
    """The latency of each question, and how long the first one took."""
    figures = {"p50_ms": "p50 ms", "worst_ms": "slowest ms", "cpu_ms": "our CPU ms"}
    figures |= {"database_cpu_ms": "the server's CPU ms", "s": "seconds in all"}
    databases = (*names.DATABASES, names.MYSQL)
    cases = [names.usage_over(case, each) for case in (*names.USAGES, names.FIRST_ASKED) for each in databases]
    return cases_and_contestants(results, "ledger", figures, cases, (names.OURS,))


def edits(results: Results) -> str:
    """Growth of memory, how long it took, and the latency of other requests meanwhile."""
    figures = {"growth_mb": "memory + MB", "errors": "errors", "seconds": "seconds to the last answer"}
    figures |= {f"{name}_p99_ms": f"GET {name} p99 ms" for name in ("details", "content")}
    return cases_and_contestants(results, "edits", figures, names.EDITS, (names.OURS,))


def streams(results: Results) -> str:
    """Growth of memory, what the two halves got, and the latency of other requests meanwhile."""
    figures = {"growth_mb": "memory + MB", "errors": "errors"}
    for half in ("fast", "slow"):
        figures |= {f"{half}_seconds": f"{half} half: seconds", f"{half}_partials": "partial images"}
    figures |= {f"{name}_p99_ms": f"GET {name} p99 ms" for name in ("details", "content")}
    return cases_and_contestants(results, "streams", figures, (names.STREAMS,), (names.OURS,))


def slow_readers(results: Results) -> str:
    """Growth of memory, and the latency of other requests before and during the reads."""
    figures = {"growth_mb": "memory + MB", "errors": "errors"}
    for name in ("details", "content"):
        figures |= {f"{name}_p99_ms_before": f"GET {name} p99 ms before", f"{name}_p99_ms": "during"}
    return cases_and_contestants(results, "slow_readers", figures, names.SLOW, (names.OURS,))


def connects(results: Results) -> str:
    """CPU of a connection."""
    everybody = (names.OWN_CONTEXT, names.SHARED_CONTEXT, names.NO_TLS)
    return cases_and_contestants(results, "connects", {"cpu_ms": "CPU ms"}, (names.CONNECT,), everybody)


def thumbnails(results: Results) -> str:
    """Bytes and CPU of both sizes, then the latency of other requests before and meanwhile."""
    cost = {"picture_kb": "picture KB"}
    for size in (400, 800):
        cost |= {f"kb_{size}": f"{size}: KB", f"lighter_{size}": "lighter ×", f"cpu_ms_{size}": "CPU ms"}
        cost |= {f"p50_ms_{size}": "p50 ms"}
    figures = {"made_meanwhile": "made", "errors": "errors"}
    for name in ("details", "content"):
        figures |= {f"{name}_p99_ms_before": f"GET {name} p99 ms before", f"{name}_p99_ms": "meanwhile"}
    tables = [
        cases_and_contestants(results, "thumbnails", each, names.THUMBNAILS, (names.OURS,)) for each in (cost, figures)
    ]
    return "\n".join(tables)


def page(results: Results) -> str:
    """What the browser loaded, when it painted first, what moved, and its longest tasks (on a CPU)."""
    figures = {"requests": "requests", "kb": "KB", "lighter": "lighter ×", "first_paint_ms": "first paint ms"}
    figures |= {"layout_shift": "layout shift"}
    loaded = cases_and_contestants(results, "page", figures, (names.FIRST_VIEW, names.WHOLE_GALLERY), (names.OURS,))
    figures = {"nodes": "nodes", "layout_shift": "layout shift"}
    for prefix, words in (("", "scrolling"), ("open_", "opening a picture"), ("resize_", "another width")):
        figures |= {f"{prefix}longest_task_ms": f"longest task ms, {words}", f"{prefix}longest_cpu_ms": "CPU ms"}
    cases = (names.MANY_TILES, names.MANY_DAYS)
    return "\n".join((loaded, cases_and_contestants(results, "page", figures, cases, (names.OURS,))))


def front(results: Results) -> str:
    """Requests/s and CPU, of nginx and of ours."""
    figures = {"requests_per_s": "requests/s", "cpu_ms": "CPU ms", "our_cpu_ms": "PixyProxy's part", "p99_ms": "p99 ms"}
    everybody = (names.NGINX_CACHE, names.BEHIND)
    return cases_and_contestants(results, "front", figures, names.FRONT, everybody)


def workers(results: Results) -> str:
    """Answers a second, and the CPU of one."""
    cases, everybody = (names.WORKERS_CACHED, names.WORKERS_DRAWN), (names.ONE_WORKER, names.TWO_WORKERS)
    return cases_and_contestants(results, "workers", {"per_s": "a second", "cpu_ms": "CPU ms"}, cases, everybody)


TABLES = {
    "content": contents,
    "front": front,
    "workers": workers,
    "counts": counts,
    "not_modified": not_modified,
    "lists": lists,
    "search": search,
    "generation": generation,
    "against": against,
    "ledger": ledger,
    "edits": edits,
    "streams": streams,
    "slow_readers": slow_readers,
    "connects": connects,
    "thumbnails": thumbnails,
    "page": page,
}


def profiles(results: Results, part: str) -> str:
    """The profiles of a part that missed a target."""
    texts = []
    for profile in results.profiles:
        if profile.part == part:
            rows = [(f"`{where}`", f"{itself:.1f} %", f"{within:.1f} %") for where, itself, within in profile.rows]
            words = f"Profile of a run that missed a target ({profile.contestant}, {profile.case}):"
            texts.append(f"\n{words}\n\n{table(('function', 'itself', 'with what it calls'), rows)}")
    return "".join(texts)


def notes_of(notes: str, part: str) -> str:
    """The handwritten notes on a part, from below the heading with its name."""
    found = re.search(rf"^## {part}\n(.*?)(?=^## |\Z)", notes, re.MULTILINE | re.DOTALL)
    return f"\n{found[1].strip()}\n" if found and found[1].strip() else ""


def measured_when(results: Results, part: str) -> str:
    """When the part was measured, and of what."""
    facts = results.facts["parts"].get(part, {"date": "?", "commit": "?", "rounds": "?"})
    return f"Measured on {facts['date']}, commit {facts['commit']}, {facts['rounds']} rounds."


def introduction(results: Results) -> str:
    """The kind of run, the machine, and the versions."""
    facts = results.facts
    kind = ""
    if facts["quick"]:
        kind = "**A quick run, which tests whether everything runs: no figure here means anything.**\n\n"
    elif not facts["full"]:
        kind = "**Not a full run.**\n\n"
    unknown = facts.get("unknown settings")
    if unknown:
        kind += f"The PixyProxy that ran does not know {', '.join(f'`{each}`' for each in unknown)}.\n\n"
    machine = ", ".join(f"{name}: {value}" for name, value in facts["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    return f"""{kind}`make bench` wrote this. Each part says when and at which commit it was measured. Everything ran on
one machine, over the loopback interface. Figures differ between machines, ratios less. Ratios are computed within each
round. Every value is the median of the rounds. A target for several cases counts the worst one. CPU is user and system
time of the process.

{machine}.

{versions}.
"""


def report(results: Results, *, notes: str = "") -> str:
    """The text of RESULTS.md. `notes` are handwritten: a heading `## part`, and why a target of it was missed."""
    texts = [f"# Benchmarks\n\n{introduction(results)}\n## Targets\n\n{summary(results)}"]
    if results.failures:
        failures = "".join(f"* {part}: {failure}\n" for part, failure in results.failures.items())
        texts.append(f"**These parts failed:**\n\n{failures}")
    for part in TITLES:
        if part in results.parts():
            words = textwrap.fill(
                WORDS[part].strip().format(nginx=results.facts.get("nginx", "?"), base=results.facts.get("base", "?")),
                120,
            )
            tables = TABLES[part](results)
            head = f"## {TITLES[part]}\n\n{measured_when(results, part)}\n\n{words}"
            texts.append(f"{head}\n\n{tables}{notes_of(notes, part)}{profiles(results, part)}")
    return "\n".join(texts)
