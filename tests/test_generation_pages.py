"""Pages of generations at many rows: each combination of filters has an index in its order, on both servers."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from pixyproxy.core.generations import GenerationState
from pixyproxy.data.conversions import cursor_after
from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import migrate, open_database
from tests.servers import MySQL, SqlServer

pytestmark = pytest.mark.anyio

STATES = (None, GenerationState.SUCCEEDED, GenerationState.FAILED, GenerationState.RUNNING)
KEYS = (None, 1, 2, 3)
"""1 has nearly all, 2 has few and none of them failed, 3 has none."""


async def test_a_page_of_generations_reads_no_rows_but_its_own(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    depth = "cte_max_recursion_depth" if isinstance(sql_server, MySQL) else "max_recursive_iterations"
    with sql_server.connect(f"test_{name}") as connection, connection.cursor() as statements:
        statements.execute(f"SET SESSION {depth} = 20000")
        statements.execute(
            """
            INSERT INTO generations (guid, api_key_id, request, state, lease_expires_at, created_at, updated_at)
            WITH RECURSIVE numbers (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < 20000)
            SELECT UUID(), IF(seq MOD 200 = 0, 2, 1), '{"prompt": "a dot"}',
                   IF(seq MOD 101 = 0, 'failed', IF(seq MOD 5003 = 0, 'running', 'succeeded')), '2026-01-01',
                   '2026-01-01' + INTERVAL seq DIV 3 SECOND, '2026-01-01'
            FROM numbers
            """
        )
        connection.commit()
    sql_server.query("ANALYZE TABLE generations", database=f"test_{name}")

    def count() -> int:
        return sum(int(value) for _, value in sql_server.query("SHOW GLOBAL STATUS LIKE 'Handler_read%'"))

    await SqlGenerationRepository(database).list(limit=1)  # opens the table, for which MySQL reads its dictionary
    read: dict[tuple[object, ...], int] = {}
    middle = cursor_after(datetime(2026, 1, 1, 0, 55, 33, tzinfo=UTC), uuid4())
    for cursor, state, api_key_id in itertools.product((None, middle), STATES, KEYS):
        noise = -count() + count()
        before = count()
        page = await SqlGenerationRepository(database).list(limit=50, cursor=cursor, state=state, api_key_id=api_key_id)
        # Each generation of a page looks for its images, of which there are none here.
        read[(cursor, state, api_key_id)] = count() - before - noise - len(page.generations)
        if api_key_id == 3 or (api_key_id, state) == (2, GenerationState.FAILED):
            assert page.generations == ()
    close()
    assert max(read.values()) <= 60, read
