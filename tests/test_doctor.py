"""`pixyproxy doctor`: what works is said to work, what does not is named, and nothing is bought or left behind."""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pixyproxy.cli import doctor
from pixyproxy.settings import Settings
from tests import planted
from tests.fakes import FakeObject, FakeStorage
from tests.listening import listening
from tests.servers import SeaweedFS, SqlServer, run_cli

MODELS = ["gpt-image-2", "gpt-image-2.5-flare"]


@contextmanager
def upstream(status: int = 200, *, models: list[str] = MODELS) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The settings of an upstream that answers its list of models like this, and the requests that it gets."""
    asked: list[str] = []

    async def answer(request: Request) -> JSONResponse:
        asked.append(f"{request.method} {request.url.path}")
        body: dict[str, Any] = {"object": "list", "data": [{"id": each, "object": "model"} for each in models]}
        return JSONResponse(body if status == 200 else {"error": {"message": "no"}}, status_code=status)

    with listening(Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])) as url:
        yield {"OPENAI_API_KEY": planted.UPSTREAM_KEY, "OPENAI_BASE_URL": f"{url}/v1"}, asked


def here(folder: Path) -> dict[str, str]:
    """A database and a storage in this folder, which do not exist yet."""
    return {
        "PIXYPROXY_DATABASE_URL": f"sqlite:///{folder}/pixyproxy.db",
        "PIXYPROXY_STORAGE_URL": f"file:{folder}/images",
    }


def lines_of(folder: Path, environment: Mapping[str, str], *, status: int) -> dict[str, str]:
    """The lines of a run that ends with this status, by what they are about, without the mark's padding."""
    ran = run_cli(folder, "doctor", environment=environment)
    assert ran.returncode == status, ran.stdout + ran.stderr
    assert ran.stderr == ""
    for secret in (planted.UPSTREAM_KEY, planted.S3_SECRET, planted.DATABASE_PASSWORD):
        assert secret not in ran.stdout
    found = re.findall(r"^(ok|note|FAIL) +(\w+(?: files)?) +(.*(?:\n +→ .*)?)$", ran.stdout, re.MULTILINE)
    return {what: f"{mark} {said}" for mark, what, said in found}


def test_before_the_first_start_nothing_fails_and_nothing_is_made(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, {}, status=0)
    assert list(lines) == ["database", "storage", "upstream", "disk", "open files"]
    assert "does not exist yet" in lines["database"]
    assert "does not exist yet" in lines["storage"]
    assert lines["upstream"].startswith("note the demo upstream draws; nothing is bought\n")
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_must_be_migrated_is_not_made_by_looking(tmp_path: Path) -> None:
    settings = {"PIXYPROXY_DEMO": "1", **here(tmp_path)}
    assert lines_of(tmp_path, settings, status=1)["database"].startswith("FAIL SQLite; ")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "images").mkdir()  # those of a backup, perhaps
    assert lines_of(tmp_path, settings, status=1)["storage"].startswith("ok ")
    assert not (tmp_path / "pixyproxy.db").exists()
    assert run_cli(tmp_path, "migrate", environment=settings).returncode == 0
    line = lines_of(tmp_path, settings, status=0)["database"]
    assert re.fullmatch(r"ok SQLite [\d.]+, its clock is ours, its schema is current", line)


def test_all_parts_of_a_deployment(
    sql_server: SqlServer, seaweedfs: SeaweedFS, unique: Callable[[], str], tmp_path: Path
) -> None:
    name = unique()
    with upstream() as (settings, asked):
        environment = {
            **settings,
            "PIXYPROXY_DATABASE_URL": sql_server.create(name),
            "PIXYPROXY_STORAGE_URL": f"s3://{name}/pictures/",
            "PIXYPROXY_S3_ENDPOINT_URL": seaweedfs.endpoint,
            "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
        }
        before = lines_of(tmp_path, environment, status=1)
        assert before["database"].startswith("FAIL ")
        assert "/pixyproxy migrate'" in before["database"]
        assert before["storage"].startswith("FAIL ")
        assert run_cli(tmp_path, "migrate", "--create-bucket", environment=environment).returncode == 0
        lines = lines_of(tmp_path, environment, status=0)
        assert asked == ["GET /v1/models"] * 2
    assert re.fullmatch(
        r"ok (MySQL|MariaDB) [\d.]+, (TLS_\w+|no TLS), its clock is ours, its schema is current", lines["database"]
    )
    assert lines["storage"].endswith("region us-east-1: an object was put, read by range, and removed")
    assert lines["upstream"].endswith("/v1: reached, the key is taken, 2 models, ours among them")
    assert lines["disk"].startswith("ok ")
    left = seaweedfs.client().list_objects_v2(Bucket=name, Prefix="pictures/").get("Contents", [])
    assert [each["Key"] for each in left if not each["Key"].endswith("instance")] == []


@pytest.mark.parametrize(
    ("status", "models", "mark", "said"),
    [
        (200, ["dall-e-3"], "note", "not among them: gpt-image-2.5-flare"),
        (404, [], "ok", "it has no list of models"),
        (401, [], "FAIL", "The upstream refused PixyProxy's own key (OPENAI_API_KEY)"),
        (500, [], "FAIL", "The upstream failed with status 500"),
    ],
)
def test_the_upstream(status: int, models: list[str], mark: str, said: str, tmp_path: Path) -> None:
    with upstream(status, models=models) as (settings, _):
        line = lines_of(tmp_path, settings, status=int(mark == "FAIL"))["upstream"]
    assert line.startswith(mark)
    assert said in line


@pytest.mark.parametrize(
    ("settings", "what", "said"),
    [
        (
            {"PIXYPROXY_DATABASE_URL": f"mysql+pymysql://u:{planted.DATABASE_PASSWORD}@127.0.0.1:9/x"},
            "database",
            "PIXYPROXY_DATABASE_URL",
        ),
        (
            {
                "PIXYPROXY_STORAGE_URL": "s3://pictures",
                "PIXYPROXY_S3_ENDPOINT_URL": "http://127.0.0.1:9",
                "AWS_ACCESS_KEY_ID": planted.S3_ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": planted.S3_SECRET,
            },
            "storage",
            "PIXYPROXY_STORAGE_URL",
        ),
        (
            {"OPENAI_API_KEY": planted.UPSTREAM_KEY, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"},
            "upstream",
            "OPENAI_BASE_URL",
        ),
    ],
    ids=["database", "bucket", "upstream"],
)
def test_a_part_that_does_not_answer_is_named_and_the_others_are_looked_at(
    settings: dict[str, str], what: str, said: str, tmp_path: Path
) -> None:
    others = {} if what == "upstream" else {"PIXYPROXY_DEMO": "1", **here(tmp_path)}
    lines = lines_of(tmp_path, {**others, **settings}, status=1)
    assert lines[what].startswith("FAIL")
    assert said in lines[what]
    assert {"database", "storage", "upstream", "disk", "open files"} <= set(lines)


def test_a_small_disk_and_few_files_are_said(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, {"PIXYPROXY_UPLOAD_MB": "1000000", "PIXYPROXY_MAX_CONNECTIONS": "1000000"}, status=0)
    assert "uploads and pictures that wait may need 1,000,016 MiB" in lines["disk"]
    assert lines["disk"].startswith("note ")
    assert lines["open files"].startswith("note ") or "unlimited" in lines["open files"]


class WithoutRange(FakeStorage):
    """A storage that ignores ranges."""

    async def open(self, key: str, *, part: range | None = None) -> FakeObject:
        return await super().open(key)


@pytest.mark.anyio
async def test_a_storage_without_ranges_fails_and_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = WithoutRange()

    @asynccontextmanager
    async def stores(_: Settings) -> AsyncIterator[Any]:
        yield SimpleNamespace(storage=storage)

    monkeypatch.setattr(doctor, "_stores", stores)
    line = await doctor.storage(Settings(database_url=SecretStr("sqlite:////none"), storage_url="s3://pictures"))
    assert line.fails
    assert "Range" in line.todo
    assert storage.objects == {}
