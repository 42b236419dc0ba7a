"""Writes RESULTS.md: the targets first, then every benchmark, in words and in tables."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence

from benchmarks import names
from benchmarks.results import Results
from benchmarks.targets import COUNTS, TARGETS, Verdict, evaluate

TITLES = {
    "content": "Content",
    "counts": "Counts",
    "not_modified": "304",
    "lists": "Lists",
    "generation": "Generation",
    "edits": "Edits",
    "slow_readers": "Slow readers",
    "connects": "Connects",
}
WORDS = {
    "content": """
wrk (one thread) requests several pictures of one size in turn. The contestants are SeaweedFS itself (a presigned URL),
nginx as its reverse proxy, the usual endpoint (`def`, boto3, chunks of 64 KB, the same uvicorn), and PixyProxy without
and with its content cache. Each has one process or worker. «Cache too small»: the default cache and 96 pictures of
1.5 MB in turn, so every request is a miss. CPU is that of the serving process and its children. nginx has {nginx}.
Before each load every path of every contestant was checked; one wrong answer or socket error fails the run.
""",
    "counts": """
What a GET costs the database and the storage: SQL statements that mention the table of images (MariaDB's general log),
and requests that reach SeaweedFS (a proxy in between counts them). They must be exact in every round.
""",
    "not_modified": """
`If-None-Match` with the current ETag. The contestants are a bare FastAPI endpoint (`async def`, an empty `Response`, no
middleware, no log) and a plain Starlette route behind the same server. The target is for PixyProxy with its request log
on: two lines a request into a file.
""",
    "lists": """
1,000,000 images and their generations in MariaDB, with InnoDB's defaults except a buffer pool of 1 GiB and
`innodb_flush_log_at_trx_commit=2`. Pages of 50; page 10,000 by its cursor; 8 connections.
""",
    "generation": """
Pictures of 1.5 MB (2.1 MB of JSON) come from an upstream stub with a fixed delay. PixyProxy uses MariaDB and SeaweedFS.
LiteLLM's proxy has one worker and stores nothing. «32 × 2 s»: arrivals are spread evenly over the delay, so that 32 run
at the same time. Both get the same moments, and a quarter more requests than run at the same time (6 and 96 in the
small cases). Added latency is the time to the complete answer minus the delay. Memory is the maximum minus the memory
after a warm-up; the largest case has a fresh process. The large cases also get 20 GETs a second. PixyProxy answers
details and a content of 50 KB, LiteLLM `/health/liveliness`; both pay for these in their CPU, too. After each case the
rows and the objects were counted. A burst is as many requests at the same moment, at 2 s, with 50 GETs a second.
""",
    "connects": """
What a new connection to MySQL with TLS costs the process: the context that connections with the same options share,
against one for each, which is what PyMySQL makes. In both the statements count that PixyProxy sends first.
""",
    "edits": """
32 clients send an edit with 4 images of 10 MB each at the same moment, as a form or as JSON with base64. A demo
upstream in a process of its own draws. `PIXYPROXY_UPLOAD_MB` is 2048. Other clients request details and a content of
50 KB, 10 times a second each. Memory is the maximum minus the memory after one small edit; uploads are on the disk.
""",
    "slow_readers": """
200 clients read a content of 4 MB each with 100 KB/s (a receive buffer of 64 KB). Other clients request details and a
content of 50 KB, 10 times a second each. No bound was given for these; the report uses that of the generations.
""",
}


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


def edits(results: Results) -> str:
    """Growth of memory, how long it took, and the latency of other requests meanwhile."""
    figures = {"growth_mb": "memory + MB", "errors": "errors", "seconds": "seconds to the last answer"}
    figures |= {f"{name}_p99_ms": f"GET {name} p99 ms" for name in ("details", "content")}
    return cases_and_contestants(results, "edits", figures, names.EDITS, (names.OURS,))


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


TABLES = {
    "content": contents,
    "counts": counts,
    "not_modified": not_modified,
    "lists": lists,
    "generation": generation,
    "edits": edits,
    "slow_readers": slow_readers,
    "connects": connects,
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
    return f"""{kind}`make bench` wrote this on {facts["date"]} (commit {facts["commit"]}, {facts["rounds"]} rounds,
{facts.get("minutes", "?")} minutes). Everything ran on one machine, over the loopback interface. Figures differ between
machines, ratios less. Ratios are computed within each round. Every value is the median of the rounds. A target for
several cases counts the worst one. CPU is user and system time of the process.

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
            words = textwrap.fill(WORDS[part].strip().format(nginx=results.facts.get("nginx", "?")), 120)
            tables = TABLES[part](results)
            texts.append(f"## {TITLES[part]}\n\n{words}\n\n{tables}{notes_of(notes, part)}{profiles(results, part)}")
    return "\n".join(texts)
