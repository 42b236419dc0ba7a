"""Images by the million for the search: rows as generations would have left them, computed by the server.

Every prompt is a row of words, and each word follows from the image's number. So the same expressions write the prompts
and the table of the words, word by word in the order of its key.
"""

import hashlib
from dataclasses import dataclass
from uuid import UUID

from benchmarks.lists import BEGUN, INTERVAL
from benchmarks.wrk import WrongAnswerError
from pixyproxy.core.words import prompt_terms
from tests.servers import SqlServer

STEMS = (
    *("canyon", "desert", "engine", "feather", "garden", "harbour", "island", "jungle", "kettle", "lantern", "meadow"),
    *("needle", "orchard", "pepper", "quarry", "river", "saddle", "temple", "umbrella", "valley"),
)
"""Each stands for words from 00 to 59, of which an image has one."""
VARIANTS = 60
PAIRS = ("狐", "狐狸", "狸")
ASTRON = ("astronaut", "astronauts", "astronomer", "astronomers", "astronomical", "astronomy", "astronavigation")
MOMENT = f"('{BEGUN:%Y-%m-%d %H:%M:%S}' + INTERVAL seq * {INTERVAL} SECOND)"


@dataclass(frozen=True)
class Slot:
    """A place of the prompt: SQL for what stands there, NULL for nothing, and for each of its words."""

    text: str
    terms: tuple[str, ...]


def word(sql: str) -> Slot:
    """A place with one word."""
    return Slot(sql, (sql,))


SLOTS = (
    word("LPAD(seq, 7, '0')"),
    word("IF(seq % 2, 'amber', 'azure')"),
    word(f"ELT(1 + CRC32(CONCAT(seq, 'astron')) % 200, {', '.join(map(repr, ASTRON))})"),
    word("IF(seq DIV 2 % 2, 'bright', 'bleak')"),
    *(word(f"CONCAT('{stem}', LPAD(CRC32(CONCAT(seq, '{stem}')) % {VARIANTS}, 2, '0'))") for stem in STEMS),
    word("IF(seq % 5000 = 17, 'zeppelin', NULL)"),
    Slot(
        "IF(seq % 100 = 7, '狐狸', NULL)", tuple(f"IF(seq % 100 = 7, '{term}', NULL)" for term in ("狐", "狐狸", "狸"))
    ),
    word("IF(seq % 50 = 3, '🦊', NULL)"),
)
"""In the order of their words, so that the table of the words is written in the order of its key."""


def guid_of(number: int) -> UUID:
    """An unguessable guid of an image, which SQL can compute too. MySQL 9 has no MD5."""
    return UUID(hashlib.sha256(f"image-{number}".encode()).hexdigest()[:32])


GUID = (
    "CONCAT_WS('-', "
    + ", ".join(
        f"SUBSTR(SHA2(CONCAT('image-', seq), 256), {first}, {length})"
        for first, length in ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))
    )
    + ")"
)
"""`guid_of` for the number of a row."""


def fill(server: SqlServer, database: str, rows: int) -> None:
    """One generation, and an image of it for each number from 1 to `rows`, the highest the newest."""

    def run(sql: str) -> None:
        server.query(sql, database=database)

    run("CREATE TABLE numbers (seq INT PRIMARY KEY)")
    digits = "(WITH RECURSIVE d (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM d WHERE n < 999) SELECT n FROM d)"
    run(
        f"INSERT INTO numbers SELECT a.n * 1000 + b.n + 1 FROM {digits} a CROSS JOIN {digits} b "
        f"WHERE a.n * 1000 + b.n < {rows} ORDER BY 1"
    )
    run(
        f"""
        INSERT INTO generations (id, guid, api_key_id, request, state, lease_expires_at, created_at, updated_at)
        SELECT 1, {GUID}, 0, '{{}}', 'succeeded', {MOMENT}, {MOMENT}, {MOMENT}
        FROM numbers WHERE seq = 1
        """
    )
    run(
        f"""
        INSERT INTO images (id, guid, generation_id, api_key_id, filename, prompt, content_type, size_bytes, width,
                            height, sha256, model, created_at, updated_at)
        SELECT seq, {GUID}, 1, 0, CONCAT({GUID}, '.png'),
               CONCAT_WS(' ', {", ".join(slot.text for slot in SLOTS)}), 'image/png', 1500000 + seq % 100000, 1024,
               1024, SHA2(seq, 256), 'gpt-image-2', {MOMENT}, {MOMENT}
        FROM numbers ORDER BY seq
        """
    )
    for slot in SLOTS:
        for term in slot.terms:
            run(
                f"""
                INSERT INTO image_terms (term, created_at, image_id)
                SELECT term, moment, seq FROM (SELECT {term} AS term, {MOMENT} AS moment, seq FROM numbers) words
                WHERE term IS NOT NULL ORDER BY term, seq
                """
            )
    run("DROP TABLE numbers")
    run("ANALYZE TABLE images, image_terms")
    check(server, database, rows)


def check(server: SqlServer, database: str, rows: int) -> None:
    """`WrongAnswerError` unless the words of some images are those that PixyProxy itself would have written."""
    for number in (1, 3, 7, 17, rows // 2, rows):
        ((prompt,),) = server.query("SELECT prompt FROM images WHERE id = %s", number, database=database)
        (found,) = zip(
            *server.query("SELECT term FROM image_terms WHERE image_id = %s", number, database=database), strict=True
        )
        if sorted(map(bytes, found)) != sorted(prompt_terms(prompt)):
            raise WrongAnswerError(f"image {number} has other words than its prompt")
