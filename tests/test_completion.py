"""Records of a version without the search: completed by commands and by replicas, whatever is interrupted."""

import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from pixyproxy.cli.progress import PERIOD, Lines
from pixyproxy.data.search import SqlImageSearch
from pixyproxy.service.recovering.completion import BATCH, Completion
from tests import planted
from tests.examples import a_drawing, a_generation, an_image
from tests.fakes import FakeGenerationRepository, FakeImageCompletion, FakeImageRepository
from tests.servers import PixyProxy, SqlServer, run_cli, wait_until
from tests.stage import Stage

KEY = {"Authorization": f"Bearer {planted.API_KEY}"}
OLD_IMAGES = """
    INSERT INTO images (guid, generation_id, filename, prompt, content_type, size_bytes, width, height, sha256, model,
                        created_at, updated_at)
    WITH RECURSIVE numbers (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM numbers WHERE seq < {count})
    SELECT {guid}, 1, {guid}, {prompt}, 'image/png', 1, 1, 1, '{digest}', 'm', {moment}, {moment}
    FROM numbers
"""
"""As PixyProxy 0.1.0 records images: without their API key, and without their words."""
MOMENT = "'2026-11-22 10:15:02.000000'"
GUID_OF_NUMBER = "'00000000-0000-4000-8000-' || SUBSTR('000000000000' || seq, -12)"


def plant(file: Path, count: int) -> None:
    """So many images of an older version, each with a word of its own."""
    with sqlite3.connect(file) as connection:
        connection.execute(
            f"""
            INSERT INTO generations (id, guid, api_key_id, request, state, lease_expires_at, created_at, updated_at)
            VALUES (1, '00000000-0000-4000-8000-00000000000a', 0, '{{}}', 'succeeded', {MOMENT}, {MOMENT}, {MOMENT})
            """
        )
        prompt = "'an old fox number' || seq"
        connection.execute(
            OLD_IMAGES.format(count=count, guid=GUID_OF_NUMBER, prompt=prompt, digest="a" * 64, moment=MOMENT)
        )
    connection.close()


def states(file: Path) -> tuple[int, int]:
    """How many images are complete, and how many are found by the word that all have."""
    connection = sqlite3.connect(file, timeout=30)
    try:
        ((complete,),) = connection.execute("SELECT COUNT(*) FROM images WHERE api_key_id = 0")
        ((found,),) = connection.execute("SELECT COUNT(*) FROM image_terms WHERE term = CAST('fox' AS BLOB)")
    finally:
        connection.close()
    return complete, found


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The SQLite file of an embedded default whose images are of an older version."""
    folder = tmp_path / "pixyproxy-data"
    folder.mkdir()
    assert run_cli(tmp_path, "migrate").returncode == 0
    plant(folder / "pixyproxy.db", 20 * BATCH)
    return folder / "pixyproxy.db"


def test_migrate_completes_old_records_and_says_so(old: Path, tmp_path: Path) -> None:
    said = run_cli(tmp_path, "migrate")
    assert said.returncode == 0, said.stderr
    assert "2,000 records of images are of an older version. They are completed now." in said.stdout
    assert "All records of images are complete." in said.stdout
    assert states(old) == (20 * BATCH, 20 * BATCH)
    again = run_cli(tmp_path, "migrate")
    assert (again.returncode, again.stdout) == (0, "The database's schema is up to date.\n")


def test_a_completion_that_is_killed_is_continued_and_no_record_is_half_complete(old: Path, tmp_path: Path) -> None:
    killed = PixyProxy(tmp_path / "killed", {"PIXYPROXY_DATA_DIR": str(old.parent)}, arguments=("migrate",))
    killed.process.command = killed.process.command[:2]
    killed.process.start()
    wait_until(lambda: begun(old), seconds=30, what="the completion")
    killed.process.stop(how=signal.SIGKILL)
    complete, found = states(old)
    assert complete == found
    assert 0 < complete < 20 * BATCH, "it was killed in the middle"
    said = run_cli(tmp_path, "migrate")
    assert f"{20 * BATCH - complete:,} records" in said.stdout
    assert states(old) == (20 * BATCH, 20 * BATCH)


def begun(file: Path) -> None:
    """Something is complete."""
    assert states(file)[0]


def test_a_replica_completes_old_records_and_starts_at_once(old: Path, tmp_path: Path) -> None:
    server = PixyProxy(tmp_path, {"PIXYPROXY_API_KEY": planted.API_KEY, "PIXYPROXY_RECONCILE_INTERVAL": "1"}).start()
    try:
        wait_until(lambda: found_by(server, "number7"), seconds=60, what="the completion")
        wait_until(lambda: found_by(server, "number1999", caller="PIXYPROXY_API_KEY"), seconds=60, what="all of it")
        assert httpx2.get(f"{server.url}/image?q=fox&caller=nobody", headers=KEY).json() == []
    finally:
        server.process.stop()
    assert states(old) == (20 * BATCH, 20 * BATCH)
    assert "records of images that an older version wrote were completed" in server.process.output()


def found_by(server: PixyProxy, q: str, **others: str) -> None:
    """A search finds one image."""
    assert len(httpx2.get(f"{server.url}/image", params={"q": q, **others}, headers=KEY).json()) == 1


def test_reindex_makes_the_search_anew_and_may_be_interrupted_and_repeated(old: Path, tmp_path: Path) -> None:
    assert run_cli(tmp_path, "migrate").returncode == 0
    with sqlite3.connect(old) as connection:
        connection.execute("DELETE FROM image_terms WHERE image_id % 2 = 0")
        connection.execute("INSERT INTO image_terms VALUES (CAST('wrong' AS BLOB), '2026', 1)")
    connection.close()
    killed = PixyProxy(tmp_path / "killed", {"PIXYPROXY_DATA_DIR": str(old.parent)}, arguments=("reindex",))
    killed.process.command = killed.process.command[:2]
    killed.process.start()
    wait_until(lambda: cleared(old), seconds=30, what="the beginning")
    killed.process.stop(how=signal.SIGINT)
    said = killed.process.output()
    if "Continue with: --after " in said:
        after = said.split("Continue with: --after ")[1].split()[0]
        finished = run_cli(tmp_path, "reindex", "--after", after)
    else:
        finished = run_cli(tmp_path, "reindex")
    assert finished.returncode == 0, finished.stderr
    assert "The search is made anew" in finished.stdout
    assert states(old) == (20 * BATCH, 20 * BATCH)
    assert run_cli(tmp_path, "reindex").stdout == "The search is made anew: 2,000 images.\n"
    assert states(old) == (20 * BATCH, 20 * BATCH)
    with sqlite3.connect(old) as connection:
        assert connection.execute("SELECT COUNT(*) FROM image_terms WHERE image_id = 1").fetchall() == [(3,)]
    connection.close()


def cleared(file: Path) -> None:
    """Words were taken out."""
    assert states(file)[1] < 10 * BATCH


def test_reindex_needs_a_database_of_this_version(tmp_path: Path) -> None:
    refused = run_cli(tmp_path, "reindex")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "PIXYPROXY_DATA_DIR" in refused.stderr


@pytest.mark.anyio
async def test_a_commit_that_is_cut_off_leaves_neither_the_image_nor_its_words(
    sql_server: SqlServer, unique: Callable[[], str]
) -> None:
    """Terms and image are one transaction: see also the arrow «in Commit» of tests/test_crash_matrix.py."""
    from pixyproxy.data.database import Transaction
    from pixyproxy.data.generations import SqlGenerationRepository
    from pixyproxy.data.images import SqlImageRepository
    from pixyproxy.data.init import migrate, open_database

    class Broken(SqlImageSearch):
        """Ends the connection after the words were written."""

        def add(self, commit: Transaction, images: object) -> None:
            super().add(commit, images)  # type: ignore[arg-type]
            commit.execute("KILL CONNECTION_ID()")

    url = sql_server.create(name := unique())
    migrate(url)
    database, close = open_database(url)
    generation = a_generation()
    image = an_image(generation, prompt="a fox")
    await SqlGenerationRepository(database).add(generation, lease=30)
    broken = SqlGenerationRepository(database, search=Broken(database))
    with pytest.raises(Exception, match="database"):
        await broken.succeed(generation, images=(image,), drawing=a_drawing())
    assert sql_server.query("SELECT COUNT(*) FROM images", database=f"test_{name}") == [(0,)]
    assert sql_server.query("SELECT COUNT(*) FROM image_terms", database=f"test_{name}") == [(0,)]
    assert await SqlGenerationRepository(database).succeed(generation, images=(image,), drawing=a_drawing())
    assert (await SqlImageRepository(database).search(limit=1, q="fox")).images == (image,)
    close()


@pytest.mark.anyio
async def test_the_reconciler_completes_only_if_it_may_change_something() -> None:
    stage = Stage()
    details = await stage.create(prompt="a fox")
    (guid,) = stage.images.images
    stage.completion.make_incomplete(guid)
    await stage.reconciler(apply=False).settle()
    async with stage.client() as client:
        assert (await client.get("/image?q=fox")).json() == []
        await stage.reconciler().settle()
        assert (await client.get("/image?q=fox&caller=PIXYPROXY_API_KEY")).json() == [details]


@pytest.mark.anyio
async def test_a_run_completes_for_so_long_and_the_next_one_goes_on() -> None:
    images = FakeImageRepository()
    generations, records = FakeGenerationRepository(images), FakeImageCompletion(images)
    for _ in range(3 * BATCH):
        generation = a_generation()
        await generations.add(generation, lease=30)
        await generations.succeed(generation, images=(an_image(generation),), drawing=a_drawing())
    for guid in images.images:
        records.make_incomplete(guid)
    assert await Completion(records).finish(seconds=0) == 0
    seen: list[int] = []
    assert await Completion(records).finish(progress=lambda count, _: seen.append(count)) == 3 * BATCH
    assert seen == [BATCH, 2 * BATCH, 3 * BATCH, 3 * BATCH]


def test_progress_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = time.monotonic()
    lines = Lines("records are complete", total=1_000_000, clock=lambda: now)
    lines.show(1, "cursor")
    now += PERIOD
    lines.show(1234, "cursor")
    lines.show(1235, "cursor")
    assert capsys.readouterr().out == "1,234 of 1,000,000 records are complete.\n"
