"""Details and lists with 1,000,000 rows."""

import hashlib
import json
import random
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from benchmarks import names
from benchmarks.run import Run, pid_of, stopping
from benchmarks.store import Store
from benchmarks.wrk import Address, WrongAnswerError, ask, load
from pixyproxy.data.conversions import cursor_after
from tests import planted

PART = "lists"
ROWS, QUICK_ROWS = 1_000_000, 40_000
BATCH = 100_000
PAGE = 50
PAGE_NUMBER = 10_000
CONNECTIONS = 8
COLD = 40_000
"""Guids a round: more than can be requested while a load lasts."""
BUFFER_POOL = 1024 * names.MB
BEGUN = datetime(2025, 1, 1, tzinfo=UTC)
INTERVAL = 7
"""Seconds between two images."""


def planned_seconds(*, rounds: int, quick: bool) -> float:
    """How long the part should take."""
    return (12 if quick else 90) + rounds * 4 * (1.3 if quick else 3.5)


def guid_of(kind: str, number: int) -> UUID:
    """An unguessable guid, which SQL can compute too."""
    return UUID(hashlib.md5(f"{kind}-{number}".encode(), usedforsecurity=False).hexdigest())


def guid_sql(kind: str) -> str:
    """`guid_of` for the sequence number of a row."""
    digest = f"MD5(CONCAT('{kind}-', seq))"
    return (
        "CONCAT_WS('-', "
        + ", ".join(f"SUBSTR({digest}, {a}, {n})" for a, n in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))
        + ")"
    )


PROMPT = """
CONCAT(ELT(1 + seq % 7, 'A watercolour of ', 'A photograph of ', 'An isometric drawing of ', 'A woodcut of ',
           'A poster with ', 'A studio shot of ', 'A pencil sketch of '),
       ELT(1 + seq DIV 7 % 6, 'a lighthouse at dawn', 'two foxes in the snow', 'a crowded night market',
           'an old harbour with fishing boats', 'a glass of tea beside a window', 'a red bicycle before a blue door'),
       ELT(1 + seq DIV 42 % 5, ', seen from above', ', in soft morning light', ', with deep shadows and warm colours',
           ', for the cover of a travel magazine', ', minimalist, much empty space'),
       ', order ', seq, ', no text, no watermark')
"""


def fill(store: Store, rows: int) -> None:
    """A succeeded generation and its image for each number from 1 to `rows`, the highest the newest."""
    moment = f"'{BEGUN:%Y-%m-%d %H:%M:%S}' + INTERVAL seq * {INTERVAL} SECOND"
    for first in range(1, rows + 1, BATCH):
        numbers = f"seq_{first}_to_{min(first + BATCH - 1, rows)}"
        store.query(
            f"""
            INSERT INTO generations (id, guid, api_key_id, request, state, `usage`, lease_expires_at, created_at,
                                     updated_at)
            SELECT seq, {guid_sql("generation")}, 0, JSON_OBJECT('prompt', {PROMPT}, 'model', 'gpt-image-2'),
                   'succeeded', '{{"total_tokens": 1068}}', {moment}, {moment}, {moment}
            FROM {numbers}
            """
        )
        store.query(
            f"""
            INSERT INTO images (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256,
                                model, created_at, updated_at)
            SELECT {guid_sql("image")}, seq, CONCAT({guid_sql("image")}, '.png'), {PROMPT}, 'image/png',
                   1500000 + seq % 100000, 1024, 1024, SHA2(seq, 256), 'gpt-image-2', {moment}, {moment}
            FROM {numbers}
            """
        )
    store.query("ANALYZE TABLE images, generations")


def run(run: Run) -> None:
    """Two pages of the list, and details that the row cache can and cannot know."""
    rows = QUICK_ROWS if run.quick else ROWS
    page = min(PAGE_NUMBER, rows // PAGE // 2)
    run.mariadb.query("SET GLOBAL innodb_buffer_pool_size = %s", BUFFER_POOL)
    with run.store(PART) as store:
        begun = time.monotonic()
        run.progress.say(f"{PART}: {rows:,} rows are inserted")
        fill(store, rows)
        run.progress.say(f"{PART}: that took {time.monotonic() - begun:.0f} s")
        ours = store.serve("ours")
        with stopping(ours):
            last = rows - (page - 1) * PAGE + 1
            cursor = cursor_after(BEGUN + timedelta(seconds=last * INTERVAL), guid_of("image", last))
            key = {"Authorization": f"Bearer {planted.API_KEY}"}
            pages = {
                names.FIRST_PAGE: Address(ours.port, [f"/image?limit={PAGE}"], headers=key),
                names.LATE_PAGE: Address(ours.port, [f"/image?limit={PAGE}&cursor={cursor}"], headers=key),
            }
            check_page(pages[names.FIRST_PAGE], first=rows)
            check_page(pages[names.LATE_PAGE], first=last - 1)
            measure(run, pid_of(ours), pages, ours.port, rows)


def check_page(address: Address, *, first: int) -> None:
    """`WrongAnswerError` unless the page begins with the image of that number."""
    status, body, _ = ask(address, address.paths[0])
    found = json.loads(body)
    wanted = [str(guid_of("image", number)) for number in range(first, first - PAGE, -1)]
    if status != 200 or [each["guid"] for each in found] != wanted:
        raise WrongAnswerError(f"{address.paths[0]}: {status}, another page than that which begins at {first}")


def measure(run: Run, pid: int, pages: dict[str, Address], port: int, rows: int) -> None:
    """The rounds."""
    numbers = random.Random(0).sample(range(1, rows + 1), min(rows, COLD * run.rounds))  # noqa: S311
    count = len(numbers) // run.rounds
    run.progress.begin(PART, steps=run.rounds * 4)
    for address in pages.values():
        load(address, pids={}, connections=CONNECTIONS, seconds=1)  # so that the first round is as warm as the others
    for number in range(1, run.rounds + 1):
        cold = [f"/image/{guid_of('image', each)}" for each in numbers[(number - 1) * count : number * count]]
        addresses = {
            **pages,
            names.COLD_DETAILS: Address(port, cold),
            names.WARM_DETAILS: Address(port, cold[:1]),
        }
        for case, address in addresses.items():
            figures = load(
                address,
                pids={"cpu_ms": pid, "database_cpu_ms": run.mariadb.process.handle.pid},
                connections=CONNECTIONS,
                seconds=run.seconds,
            )
            run.record(PART, case, names.OURS, number, **figures)
            said = f"{figures['requests_per_s']:,.0f}/s {figures['cpu_ms']:.2f} ms"
            run.progress.step(f"round {number}/{run.rounds} {case}: {said}")
