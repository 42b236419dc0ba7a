"""`pixyproxy reconcile --apply` against a wrong, a restored and an older installation's database."""

import asyncio
import contextlib
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from pixyproxy.data.generations import SqlGenerationRepository
from pixyproxy.data.init import open_database
from pixyproxy.service.recovering.findings import Finding
from tests import planted
from tests.examples import a_generation, an_image
from tests.servers import MariaDB, SeaweedFS, free_ports, run_cli
from tests.test_cli import NO_GRACE

MARK = ".pixyproxy-instance"


class Installation:
    """A database and a storage: SQLite and a folder, which other installations may be given too."""

    def __init__(self, folder: Path, *, database: str = "pixyproxy.db", images: str = "images") -> None:
        self.folder = folder
        self.database = folder / database
        self.images = folder / images
        self.environment = {
            "PIXYPROXY_DATABASE_URL": f"sqlite:///{self.database}",
            "PIXYPROXY_STORAGE_URL": f"file:{self.images}",
            "PIXYPROXY_DEMO": "1",
            **NO_GRACE,
        }

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """The exit status and the output of a command."""
        result = run_cli(self.folder, *arguments, environment=self.environment)
        return result.returncode, result.stdout, result.stderr

    def migrate(self) -> "Installation":
        """Make the database."""
        assert self.run("migrate")[0] == 0
        return self

    def draw(self, count: int) -> set[Path]:
        """Images, each with its row and its object."""

        async def record() -> set[Path]:
            database, close = open_database(self.environment["PIXYPROXY_DATABASE_URL"])
            generations = SqlGenerationRepository(database)
            files = set()
            for _ in range(count):
                generation = a_generation()
                image = an_image(generation, size_bytes=4)
                await generations.add(generation, lease=30)
                await generations.succeed(generation, images=(image,))
                files.add(write_object(self.images, image.filename))
            close()
            return files

        return asyncio.run(record())

    @property
    def mark(self) -> str | None:
        """The id that the storage holds."""
        file = self.images / MARK
        return file.read_text().strip() if file.exists() else None


def write_object(images: Path, key: str) -> Path:
    file = images / key[:2] / key[2:4] / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"data")
    return file


def all_exist(files: set[Path]) -> bool:
    return all(file.exists() for file in files)


def test_the_first_command_notes_the_database_in_its_storage_and_no_other_does(tmp_path: Path) -> None:
    first = Installation(tmp_path).migrate()
    noted = first.mark
    assert noted is not None
    assert str(UUID(noted)) == noted
    second = Installation(tmp_path, database="other.db").migrate()
    assert first.mark == noted
    assert first.run("check") == (0, "Database and storage agree.\n", "")
    status, _, said = second.run("check")
    assert status == 1
    assert noted in said


def test_the_objects_of_another_database_are_not_removed(tmp_path: Path) -> None:
    first = Installation(tmp_path).migrate()
    files = first.draw(3)
    second = Installation(tmp_path, database="other.db").migrate()
    status, output, said = second.run("reconcile", "--apply")
    assert (status, output) == (2, "")
    assert "belongs to another database" in said
    assert "Nothing was removed" in said
    assert "--force" in said
    assert len(said.splitlines()) == 1
    assert all_exist(files)
    status, output, said = second.run("reconcile")
    assert (status, f"{Finding.ORPHAN}: 3" in output) == (0, True)
    assert "belongs to another database" in said
    assert first.run("reconcile", "--apply") == (0, "Database and storage agree.\n", "")
    status, output, said = second.run("reconcile", "--apply", "--force")
    assert (status, "of these removed: 3" in output) == (0, True)
    assert not any(file.exists() for file in files)
    assert first.mark == second.mark, "an id is never overwritten"


def test_a_server_does_not_start_with_the_storage_of_another_database(tmp_path: Path) -> None:
    first = Installation(tmp_path).migrate()
    first.draw(3)
    second = Installation(tmp_path, database="other.db").migrate()
    for mark, reason in ((first.mark, "belongs to another database"), (None, "no instance id")):
        if mark is None:
            (first.images / MARK).unlink()
        status, output, said = second.run("serve", "--port", str(free_ports(1)[0]))
        assert (status, output, len(said.splitlines())) == (2, "", 1)
        for part in ("PIXYPROXY_DATABASE_URL", "PIXYPROXY_STORAGE_URL", reason, MARK):
            assert part in said
        assert first.mark == mark
    (ours,) = re.findall(rf"{reason}.* ([0-9a-f-]{{36}})", said)
    (first.images / MARK).write_text(ours)
    assert second.run("migrate")[2] == "", "the storage was given to it"


def test_rows_that_were_moved_to_another_database_serve_when_the_mark_is_removed(tmp_path: Path) -> None:
    first = Installation(tmp_path).migrate()
    first.draw(3)
    shutil.copy(first.database, tmp_path / "moved.db")
    moved = Installation(tmp_path, database="moved.db")
    with contextlib.closing(sqlite3.connect(moved.database)) as connection, connection:
        connection.execute("UPDATE instance SET guid = ?", (str(uuid4()),))
    assert "belongs to another database" in moved.run("migrate")[2]
    (first.images / MARK).unlink()
    assert moved.run("migrate")[2] == ""
    assert moved.run("check")[0] == 0


@pytest.mark.parametrize("first_command", ["reconcile --apply", "migrate"])
def test_an_installation_from_before_there_were_ids_gets_one_and_loses_nothing(
    tmp_path: Path, first_command: str
) -> None:
    first = Installation(tmp_path).migrate()
    files = first.draw(3)
    second = Installation(tmp_path, database="other.db").migrate()
    (first.images / MARK).unlink()
    for command in (["reconcile"], ["check"]):
        first.run(*command)
        assert first.mark is None, "a look changes nothing"
    for command in (["migrate"], ["reconcile", "--apply"]):
        status, _, said = second.run(*command)
        assert status == (2 if "--apply" in command else 0)
        assert "no instance id" in said
        assert first.mark is None
    assert first.run(*first_command.split())[0] == 0
    assert first.mark is not None
    assert first.run("reconcile", "--apply") == (0, "Database and storage agree.\n", "")
    assert all_exist(files)


def test_a_database_that_was_restored_from_an_old_copy_removes_nothing(tmp_path: Path) -> None:
    installation = Installation(tmp_path).migrate()
    old = installation.draw(2)
    shutil.copy(installation.database, tmp_path / "copy.db")
    new = installation.draw(21)
    assert installation.run("reconcile", "--apply")[:2] == (0, "Database and storage agree.\n")
    restored = Installation(tmp_path, database="copy.db")
    status, output, said = restored.run("reconcile", "--apply", "--max-deletes", "1")
    assert (status, output) == (2, "")
    assert "21 of 23 objects are not recorded in this database, more than 1 %" in said
    assert all_exist(old | new)
    status, output, _ = restored.run("reconcile", "--apply", "--force")
    assert (status, "of these removed: 21" in output) == (0, True)
    assert all_exist(old)


def test_a_few_objects_without_a_row_are_removed_without_a_question(tmp_path: Path) -> None:
    installation = Installation(tmp_path).migrate()
    litter = {write_object(installation.images, f"{uuid4()}.png") for _ in range(20)}
    status, output, said = installation.run("reconcile", "--apply")
    assert (status, "of these removed: 20" in output, said) == (0, True, "")
    assert not any(file.exists() for file in litter)


def test_in_a_shared_bucket_the_other_installation_removes_nothing(
    mariadb: MariaDB, seaweedfs: SeaweedFS, unique: Callable[[], str], tmp_path: Path
) -> None:
    bucket = unique()

    def environment() -> dict[str, str]:
        return {
            "PIXYPROXY_DATABASE_URL": mariadb.create(unique()),
            "PIXYPROXY_STORAGE_URL": f"s3://{bucket}/shared",
            "PIXYPROXY_S3_ENDPOINT_URL": seaweedfs.endpoint,
            "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
            "PIXYPROXY_DEMO": "1",
            **NO_GRACE,
        }

    first, second = environment(), environment()
    for each in (first, second):
        assert run_cli(tmp_path, "migrate", "--create-bucket", environment=each).returncode == 0
    key = f"shared/{uuid4()}.png"
    seaweedfs.client().put_object(Bucket=bucket, Key=key, Body=b"data")
    refused = run_cli(tmp_path, "reconcile", "--apply", environment=second)
    assert (refused.returncode, "another database" in refused.stderr) == (2, True)
    assert seaweedfs.client().head_object(Bucket=bucket, Key=key)["ContentLength"] == 4
    removed = run_cli(tmp_path, "reconcile", "--apply", environment=first)
    assert (removed.returncode, "of these removed: 1" in removed.stdout) == (0, True)
    left = [each["Key"] for each in seaweedfs.client().list_objects_v2(Bucket=bucket)["Contents"]]
    assert left == [f"shared/{MARK}"]
