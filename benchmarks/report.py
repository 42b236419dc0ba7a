"""RESULTS.md: the targets first, then every benchmark, each in words and in tables."""

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
    "slow_readers": "Slow readers",
    "connects": "Connects",
}
WORDS = {
    "content": """
wrk (one thread) asks for several pictures of one size in turn; SeaweedFS itself (a presigned URL), nginx as a reverse
proxy before it, the endpoint that one usually writes (`def`, boto3, chunks of 64 KB, behind the same uvicorn), and
PixyProxy without and with its cache of contents, each with one process or worker. «Cache too small»: the default cache
and 96 pictures of 1.5 MB in turn, so that every request is a miss. CPU is that of the serving process and its children.
nginx has {nginx}. Every contestant answered every path rightly before each load; one wrong answer or socket error fails
the run.
""",
    "counts": """
What a GET costs the database and the storage: SQL statements that mention the table of images (MariaDB's general log),
and requests that reach SeaweedFS (a proxy in between counts them). They must come out exact in every round.
""",
    "not_modified": """
`If-None-Match` with the current ETag, against a bare FastAPI endpoint (`async def`, an empty `Response`, no middleware,
no log) and a plain Starlette route behind the same server. The line that counts is PixyProxy with its request log on,
two lines a request into a file.
""",
    "lists": """
1,000,000 images and their generations in MariaDB, with InnoDB's defaults but for a buffer pool of 1 GiB and
`innodb_flush_log_at_trx_commit=2`. Pages of 50, page 10,000 by its cursor; 8 connections.
""",
    "generation": """
Pictures of 1.5 MB (2.1 MB of JSON) from an upstream stub with a fixed delay; PixyProxy with MariaDB and SeaweedFS,
beside LiteLLM's proxy with one worker, which stores nothing. «32 × 2 s»: arrivals are spread evenly over the delay, so
that 32 run at once; both get the same moments, a quarter more than run at once (6 and 96 in the small cases). Added
latency is the time to the whole answer less the delay. Memory is the most that was seen less that after a warm-up, in a
fresh process for the largest case. Beside the large cases come 20 GETs a second, which PixyProxy (details, and a
content of 50 KB) and LiteLLM (`/health/liveliness`, for both) pay for in their CPU, too. After each case the rows and
the objects were counted. A burst is as many requests in the same moment, at 2 s, with 50 GETs a second beside it.
""",
    "connects": """
What a new connection to MySQL with TLS costs the process: the context that connections with the same options share,
against one for each, which is what PyMySQL makes. In both the statements count that PixyProxy sends first.
""",
    "slow_readers": """
200 clients read a content of 4 MB each with 100 KB/s (a receive buffer of 64 KB), while others ask 10 times a second
each for details and for a content of 50 KB. Nobody has named a bound for those: we take that of the generations.
""",
}


def number(value: float) -> str:
    """Three digits that matter; a dash for what was not measured."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; all columns but the first are figures."""
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def shown(verdict: Verdict) -> str:
    """The value, its bound, and by how much it was missed."""
    target, kind = verdict.target, " ×" if verdict.target.is_ratio else f" {verdict.target.unit}".rstrip()
    missed = f", missed by {verdict.missed_by}" if verdict.reached is False else ""
    return f"{number(verdict.value)}{kind}, target {target.sense} {number(target.bound)}{kind}{missed}"


def summary(results: Results) -> str:
    """All targets, the worst case of each; of a part of a run only those of what ran."""
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
    """A table a size."""
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
    """The spread cases of both, then the bursts."""
    latency = {"added_p50_ms": "added p50 ms", "added_p99_ms": "added p99 ms"}
    gets = {"details_p99_ms": "GET details p99 ms", "content_p99_ms": "GET content p99 ms"}
    figures = {**latency, "cpu_ms": "CPU ms", "growth_mb": "memory + MB", **gets, "errors": "errors"}
    spread = cases_and_contestants(results, "generation", figures, names.RUNNING, (names.OURS, names.LITELLM))
    others = {"storage_cpu_ms": "SeaweedFS's CPU ms", "database_cpu_ms": "MariaDB's CPU ms"}
    beside = cases_and_contestants(results, "generation", others, names.RUNNING, (names.OURS,))
    answers = {"created": "201", "refused": "503", "errors": "errors", "bought_for_nothing": "bought for nothing"}
    burst = {**answers, **latency, "growth_mb": "memory + MB", **gets}
    bursts = cases_and_contestants(results, "generation", burst, names.BURSTS, (names.OURS,))
    return f"{spread}\nA generation also costs the servers behind PixyProxy:\n\n{beside}\n{bursts}"


def slow_readers(results: Results) -> str:
    """Memory, and the others before and during that."""
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
    "slow_readers": slow_readers,
    "connects": connects,
}


def profiles(results: Results, part: str) -> str:
    """The profiles of a part, in which a target was missed."""
    texts = []
    for profile in results.profiles:
        if profile.part == part:
            rows = [(f"`{where}`", f"{itself:.1f} %", f"{within:.1f} %") for where, itself, within in profile.rows]
            words = f"Profile of a run that missed a target ({profile.contestant}, {profile.case}):"
            texts.append(f"\n{words}\n\n{table(('function', 'itself', 'with what it calls'), rows)}")
    return "".join(texts)


def notes_of(notes: str, part: str) -> str:
    """What was written by hand about a part, below a heading of its name."""
    found = re.search(rf"^## {part}\n(.*?)(?=^## |\Z)", notes, re.MULTILINE | re.DOTALL)
    return f"\n{found[1].strip()}\n" if found and found[1].strip() else ""


def introduction(results: Results) -> str:
    """What kind of run this was, where, and with what."""
    facts = results.facts
    kind = ""
    if facts["quick"]:
        kind = "**A quick run, to see whether everything runs: no figure here means anything.**\n\n"
    elif not facts["full"]:
        kind = "**Not a full run.**\n\n"
    unknown = facts.get("unknown settings")
    if unknown:
        kind += f"The PixyProxy that ran does not know {', '.join(f'`{each}`' for each in unknown)}.\n\n"
    machine = ", ".join(f"{name}: {value}" for name, value in facts["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in facts["versions"].items())
    return f"""{kind}`make bench` wrote this on {facts["date"]} (commit {facts["commit"]}, {facts["rounds"]} rounds,
{facts.get("minutes", "?")} minutes). Everything ran on one machine, over the loopback: figures of other machines
differ, ratios less. A ratio is taken within each round, and the median of the rounds counts, as for all the
rest. Where a target is about several cases, the worst one counts. CPU is user and system time of the process.

{machine}.

{versions}.
"""


def report(results: Results, *, notes: str = "") -> str:
    """RESULTS.md. `notes` are written by hand: a heading `## part` and why a target of it was missed."""
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
