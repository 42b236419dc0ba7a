"""Generations by the million for the ledger: a year of them that ends today, as keys of a team would have left them.

Every value follows from the generation's number, so that the sums are known. Every day has equally many, today too:
they are in the part of it that is over.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import UUID

from tests.servers import SqlServer

KEYS = 20
MODELS = ("gpt-image-2", "gpt-image-1.5", "gpt-image-1-mini")
DAYS = 366
REFUSED, INTERRUPTED = 50, 10_000
"""One of so many failed and cost nothing; one of so many was interrupted, and may still be completed."""
BATCH = 100_000
NANO, TEXT, IMAGE = 31_680_000, 5_000, 1056
"""What the image tokens cost, a token of text, and how many tokens an image has."""
COLUMNS = (
    *("id", "guid", "api_key_id", "request", "state", "error", "error_name", "`usage`", "answer", "price_id"),
    *("cost_class", "estimate_nano", "cost_nano", "cost_basis", "counted_nano", "image_nano", "lease_expires_at"),
    *("created_at", "updated_at"),
)
INSERT = f"INSERT INTO generations ({', '.join(COLUMNS)}) "
ANSWER = '{"size": "1024x1024", "quality": "medium", "background": "opaque", "output_format": "png"}'


@dataclass(frozen=True)
class Year:
    """How `rows` generations are spread over the days until `now`."""

    rows: int
    now: datetime

    @property
    def first(self) -> date:
        """The first day."""
        return self.now.date() - timedelta(days=DAYS - 1)

    @property
    def a_day(self) -> int:
        """How many begin in a day."""
        return -(-self.rows // DAYS)

    @property
    def pauses(self) -> tuple[int, int]:
        """Microseconds between two, on days that are over and today."""
        midnight = datetime.combine(self.now.date(), datetime.min.time(), UTC)
        today = (self.now - midnight) // timedelta(microseconds=1)
        return 86_400_000_000 // self.a_day, today // self.a_day

    def moment(self, number: int) -> datetime:
        """When the generation with this number began."""
        day, place = divmod(number, self.a_day)
        pause = self.pauses[day == DAYS - 1]
        began = datetime.combine(self.first, datetime.min.time()) + timedelta(days=day, microseconds=place * pause)
        return began.replace(tzinfo=UTC)


def cost_of(number: int) -> int:
    """What a generation cost."""
    return 0 if number % REFUSED == 7 else NANO + TEXT * (12 + number % 40)


def row_of(year: Year, number: int) -> tuple[object, ...]:
    """The columns of a generation. `select` says the same in SQL."""
    cost, model, moment = cost_of(number), number // KEYS % len(MODELS), f"{year.moment(number):%Y-%m-%d %H:%M:%S.%f}"
    error = "upstream-refused" if number % REFUSED == 7 else None
    error = "generation-interrupted" if number % INTERRUPTED == 13 else error
    text = 12 + number % 40
    details = f'{{"text_tokens": {text}, "image_tokens": 0}}'
    usage = f'{{"input_tokens": {text}, "input_tokens_details": {details}, "output_tokens": {IMAGE}}}'
    return (
        *(number + 1, str(UUID(hashlib.sha256(f"generation-{number}".encode()).hexdigest()[:32])), 1 + number % KEYS),
        f'{{"prompt": "a lighthouse, order {number}", "model": "{MODELS[model]}", "size": "1024x1024"}}',
        *("failed" if error else "succeeded", "{}" if error else None, error, None if error else usage),
        *(None if error else ANSWER, 1, f"{model:032}", 40_000_000, cost),
        "usage" if error is None else "estimate" if error.endswith("interrupted") else "none",
        *(cost, None if error else cost, moment, moment, moment),
    )


def select(year: Year) -> str:
    """`row_of` for the numbers of the table `numbers`, on MariaDB and MySQL."""
    past, today = year.pauses
    pause = f"IF(seq DIV {year.a_day} = {DAYS - 1}, {today}, {past})"
    moment = f"('{year.first}' + INTERVAL seq DIV {year.a_day} DAY + INTERVAL seq % {year.a_day} * {pause} MICROSECOND)"
    digest = "SHA2(CONCAT('generation-', seq), 256)"
    parts = (f"SUBSTR({digest}, {first}, {length})" for first, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12)))
    model = f"seq DIV {KEYS} % {len(MODELS)}"
    text, interrupted, refused = "12 + seq % 40", f"seq % {INTERRUPTED} = 13", f"seq % {REFUSED} = 7"
    cost = f"IF({refused}, 0, {NANO} + {TEXT} * ({text}))"
    failed = f"({interrupted} OR {refused})"
    values = (
        *("seq + 1", f"CONCAT_WS('-', {', '.join(parts)})", f"1 + seq % {KEYS}"),
        f"""CONCAT('{{"prompt": "a lighthouse, order ', seq, '", "model": "', """
        f"""ELT(1 + {model}, {", ".join(map(repr, MODELS))}), '", "size": "1024x1024"}}')""",
        *(f"IF({failed}, 'failed', 'succeeded')", f"IF({failed}, '{{}}', NULL)"),
        f"IF({interrupted}, 'generation-interrupted', IF({refused}, 'upstream-refused', NULL))",
        f"""IF({failed}, NULL, CONCAT('{{"input_tokens": ', {text}, ', "input_tokens_details": {{"text_tokens": ', """
        f"""{text}, ', "image_tokens": 0}}, "output_tokens": {IMAGE}}}'))""",
        *(f"IF({failed}, NULL, '{ANSWER}')", "1", f"LPAD({model}, 32, '0')", "40000000", cost),
        f"IF({interrupted}, 'estimate', IF({refused}, 'none', 'usage'))",
        *(cost, f"IF({failed}, NULL, {cost})", moment, moment, moment),
    )
    return f"SELECT {', '.join(values)} FROM numbers"


def fill_server(server: SqlServer, database: str, year: Year) -> None:
    """The generations and their keys, in a database of MariaDB or MySQL."""

    def run(sql: str, *values: object) -> None:
        server.query(sql, *values, database=database)

    for key in keys():
        run(f"{KEY} VALUES (%s, %s, %s, %s, %s)", *key)
    run("CREATE TABLE numbers (seq BIGINT PRIMARY KEY)")
    digits = "(WITH RECURSIVE d (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM d WHERE n < 999) SELECT n FROM d)"
    for first in range(0, year.rows, BATCH):
        run("DELETE FROM numbers")
        run(
            f"INSERT INTO numbers SELECT a.n * 1000 + b.n FROM {digits} a CROSS JOIN {digits} b "
            f"WHERE a.n * 1000 + b.n >= {first} AND a.n * 1000 + b.n < {min(first + BATCH, year.rows)} ORDER BY 1"
        )
        run(INSERT + select(year))
    run("DROP TABLE numbers")
    run("ANALYZE TABLE generations")


def fill_sqlite(file: Path, year: Year) -> None:
    """The same in a file of SQLite."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            connection.executemany(f"{KEY} VALUES (?, ?, ?, ?, ?)", keys())
            rows = (row_of(year, number) for number in range(year.rows))
            connection.executemany(f"{INSERT}VALUES ({', '.join('?' * len(COLUMNS))})", rows)
        connection.execute("ANALYZE")
    finally:
        connection.close()


KEY = "INSERT INTO api_keys (id, name, prefix, sha256, created_at)"


def keys() -> Iterator[tuple[object, ...]]:
    """The records of the keys."""
    for number in range(1, KEYS + 1):
        digest = hashlib.sha256(f"key-{number}".encode()).hexdigest()
        yield number, f"team-{number}", f"pxp_{number}", digest, "2025-01-01 00:00:00.000000"
