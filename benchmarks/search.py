"""Search: pages over 1,000,000 prompts, beside LIKE and FULLTEXT; and what the words cost a generation."""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode
from uuid import uuid4

import anyio
import httpx2

from benchmarks import names
from benchmarks.lists import BEGUN, INTERVAL
from benchmarks.measuring import median
from benchmarks.run import Run, stopping
from benchmarks.search_rows import fill, guid_of
from benchmarks.wrk import Address, WrongAnswerError, ask
from pixyproxy.core.search import SearchedImage
from pixyproxy.data.conversions import cursor_after
from pixyproxy.data.database import Transaction
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import open_database
from pixyproxy.data.search import SqlImageSearch
from tests import planted
from tests.examples import a_drawing, a_generation, an_image
from tests.servers import BIN, MySQL, PixyProxy, SqlServer, clean_environment

PART = "search"
QUICK_ROWS = 20_000
SHARE_OF_MYSQL = 4
"""MySQL has so many times fewer rows: the table must fit into the time of a run."""
PAGE = 50
BUFFER_POOL = 1024 * names.MB
REQUESTS = 21
"""Of a case in a round, one after the other."""
GENERATIONS = 150
COLUMNS = "guid, filename, prompt, content_type, size_bytes, width, height, sha256, model, created_at, updated_at"
PROMPT = (
    "A watercolour of two foxes in the snow beside an old harbour with fishing boats at dawn, seen from above, in soft "
    "morning light, with deep shadows and warm colours, for the cover of a travel magazine, minimalist, much empty "
    "space, order 4711, no text, no watermark"
)
"""43 words, 31 of which are distinct and searched."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (20 if quick else 480) + rounds * (8 if quick else 40)


def run(run: Run) -> None:
    """Searches on MariaDB beside their alternatives, then on MySQL, then generations with and without their words."""
    rows = QUICK_ROWS if run.quick else run.rows
    run.progress.begin(PART, steps=run.rounds * (4 * len(names.SEARCHES) + 1))  # ours twice, and the alternatives
    run.mariadb.query("SET GLOBAL innodb_buffer_pool_size = %s", BUFFER_POOL)
    with searched(run, run.mariadb, names.OURS, rows) as name:
        for number in range(1, run.rounds + 1):
            measure_commits(run, run.mariadb.url(name), number)
        begun = time.monotonic()
        run.mariadb.query("ALTER TABLE images ADD FULLTEXT INDEX ft_prompt (prompt)", database=f"test_{name}")
        run.progress.say(f"{PART}: FULLTEXT took {time.monotonic() - begun:.0f} s")
        for number in range(1, run.rounds + 1):
            compare(run, f"test_{name}", rows, number)
    mysql = MySQL(run.next_folder("mysql"), f"--innodb-buffer-pool-size={BUFFER_POOL}")
    try:
        with searched(run, mysql, names.OURS_ON_MYSQL, rows // SHARE_OF_MYSQL):
            pass
    finally:
        mysql.process.stop()


@contextmanager
def searched(run: Run, server: SqlServer, who: str, rows: int) -> Iterator[str]:
    """A database with so many images. Its searches are measured before the block; yields its name."""
    name = run.next_folder(PART).name.replace("-", "_")
    environment = {
        "PIXYPROXY_DATABASE_URL": server.create(name),
        "PIXYPROXY_STORAGE_URL": f"file:{run.folder / name / 'images'}",
        "PIXYPROXY_API_KEY": planted.API_KEY,
        "PIXYPROXY_RECONCILE_INTERVAL": "3600",
        "PIXYPROXY_DEMO": "1",
    }
    (run.folder / name / "images").mkdir(parents=True)
    command = [str(BIN / "pixyproxy"), "migrate"]
    subprocess.run(command, env=clean_environment(environment), cwd=run.folder / name, check=True, capture_output=True)
    begun = time.monotonic()
    run.progress.say(f"{PART}: {rows:,} rows are inserted for {who}")
    fill(server, f"test_{name}", rows)
    run.progress.say(f"{PART}: that took {time.monotonic() - begun:.0f} s")
    ours = PixyProxy(run.folder / name / "server", environment, installed=True).start()
    with stopping(ours):
        for number in range(1, run.rounds + 1):
            for case, search in names.SEARCHES.items():
                figures = ask_pages(ours.port, query_of(search.query, rows), finds=search.finds)
                run.record(PART, case, who, number, **figures)
                run.progress.step(f"round {number}/{run.rounds} {who}, {case}: {figures['p50_ms']:.1f} ms")
        run.record(PART, names.NEVER_MEET, who, run.rounds + 1, **ask_to_the_end(ours.port))
    yield name
    server.query(f"DROP DATABASE `test_{name}`")


def query_of(query: Mapping[str, str], rows: int) -> dict[str, str]:
    """The parameters of a search; the page in the middle by its cursor."""
    middle = rows // 2
    cursor = cursor_after(BEGUN + timedelta(seconds=middle * INTERVAL), guid_of(middle))
    return {name: cursor if value == names.MIDDLE else value for name, value in query.items()}


def ask_pages(port: int, query: Mapping[str, str], *, finds: bool) -> dict[str, float]:
    """The latency of a page, one request at a time. `WrongAnswerError` if it finds what it must not, or nothing."""
    address = Address(port, [], headers={"Authorization": f"Bearer {planted.API_KEY}"})
    path = f"/image?{urlencode({'limit': PAGE, **query})}"
    taken = []
    for _ in range(REQUESTS):
        begun = time.perf_counter()
        status, body, _ = ask(address, path)
        taken.append(1000 * (time.perf_counter() - begun))
        if status != 200 or bool(json.loads(body)) != finds:
            raise WrongAnswerError(f"{path}: {status}, {len(json.loads(body))} images")
    return {"p50_ms": median(taken), "worst_ms": max(taken)}


def ask_to_the_end(port: int) -> dict[str, float]:
    """How many requests a search takes that finds nothing in two common words, and how long they take in all."""
    key = {"Authorization": f"Bearer {planted.API_KEY}"}
    url, requests, begun = f"/image?{urlencode({'limit': PAGE, 'q': 'amber azure'})}", 0, time.monotonic()
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=key, timeout=60) as client:
        while url:
            answer = client.get(url)
            if answer.status_code != 200 or answer.json():
                raise WrongAnswerError(f"{url}: {answer.status_code}, and not an empty page")
            url, requests = answer.links.get("next", {}).get("url", ""), requests + 1
    return {"requests": requests, "seconds": time.monotonic() - begun}


def compare(run: Run, database: str, rows: int, number: int) -> None:
    """The same searches by LIKE, as PixyProxy did before, and by FULLTEXT: the statement alone, without HTTP."""
    for case, search in names.SEARCHES.items():
        asked = query_of(search.query, rows)
        moment = BEGUN + timedelta(seconds=INTERVAL * (rows // 2 if "cursor" in asked else rows + 1))
        like = " AND ".join(["prompt LIKE %s"] * len(search.like))
        conditions: dict[str, tuple[str, list[str]]] = {names.LIKE: (like, [f"%{text}%" for text in search.like])}
        if search.fulltext is not None:
            conditions[names.FULLTEXT] = ("MATCH (prompt) AGAINST (%s IN BOOLEAN MODE)", [search.fulltext])
        for who, (condition, values) in conditions.items():
            begun = time.perf_counter()
            found = run.mariadb.query(
                f"SELECT {COLUMNS} FROM images WHERE created_at <= %s AND {condition} AND deleted_at IS NULL "
                f"ORDER BY created_at DESC, guid DESC LIMIT {PAGE + 1}",
                *(f"{moment:%Y-%m-%d %H:%M:%S}", *values),
                database=database,
            )
            taken = 1000 * (time.perf_counter() - begun)
            if bool(found) == search.finds:
                run.record(PART, case, who, number, p50_ms=taken)
            run.progress.step(f"round {number}/{run.rounds} {who}, {case}: {taken:.1f} ms, {len(found)} rows")


class WithoutWords(SqlImageSearch):
    """A search that learns of no image: a commit as it was without the search."""

    def add(self, commit: Transaction, images: Sequence[SearchedImage]) -> None:
        """Nothing."""


def measure_commits(run: Run, url: str, number: int) -> None:
    """CPU of this process for the records of a generation, with the words of its prompt and without."""
    database, close = open_database(url)
    searches = {names.WITHOUT_WORDS: WithoutWords(database), names.WITH_WORDS: SqlImageSearch(database)}
    count = 10 if run.quick else GENERATIONS
    used = {}
    for who, search in searches.items():
        generations = SqlGenerationRepository(database, search=search)
        anyio.run(commit_generations, generations, 5)
        begun = time.process_time()
        anyio.run(commit_generations, generations, count)
        used[who] = 1000 * (time.process_time() - begun) / count
        run.record(PART, names.COMMIT, who, number, cpu_ms=used[who])
    close()
    added = used[names.WITH_WORDS] - used[names.WITHOUT_WORDS]
    run.record(PART, names.COMMIT, names.OURS, number, added_cpu_ms=added)
    run.progress.step(f"round {number}/{run.rounds} {names.COMMIT}: +{added:.2f} ms of CPU")


async def commit_generations(generations: SqlGenerationRepository, count: int) -> None:
    """Reserve and commit so many generations, one after the other."""
    for _ in range(count):
        now = datetime.now(UTC)
        generation = a_generation(guid=uuid4(), created_at=now, updated_at=now)
        await generations.add(generation, lease=60)
        await generations.succeed(
            generation, images=(an_image(generation, prompt=PROMPT, created_at=now),), drawing=a_drawing()
        )
