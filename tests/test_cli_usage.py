"""`pixyproxy usage`: a table, and CSV."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from tests import planted
from tests.page_stage import KEY
from tests.servers import PixyProxy, run_cli

SETTINGS = {"PIXYPROXY_API_KEY": planted.API_KEY}
TODAY = datetime.now(UTC).date()
DAYS = (f"{TODAY - timedelta(days=1)}", f"{TODAY + timedelta(days=3)}")
AROUND_NOW = ("--from", DAYS[0], "--to", DAYS[1])
"""Days that have whatever these tests do, also at midnight."""


def said(folder: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints."""
    ran = run_cli(folder, "usage", *arguments, environment=SETTINGS)
    assert ran.returncode == status, ran.stderr
    return ran.stdout if status == 0 else ran.stderr


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a service whose demo upstream drew two pictures for 4 cents each, and refused one."""
    folder = tmp_path_factory.mktemp("used")
    served = PixyProxy(folder, SETTINGS)
    served.start()
    priced = run_cli(folder, "prices", "set", "*", "--per-image", "0.04", environment=SETTINGS)
    assert priced.returncode == 0, priced.stderr
    for prompt, status in (("a", 201), ("b", 201), ("[refuse]", 422)):
        drawn = httpx2.post(f"{served.url}/image", json={"prompt": prompt, "size": "16x16"}, headers=KEY, timeout=30)
        assert drawn.status_code == status, drawn.text
    span = {"from": DAYS[0], "to": DAYS[1]}
    asked = httpx2.get(f"{served.url}/usage", params=span, headers=KEY, timeout=30).json()
    assert (asked["total"]["generations"], asked["total"]["cost"]) == (3, "0.08")
    yield folder
    served.process.stop()


def test_the_usage_is_a_table_with_a_total(used: Path) -> None:
    headings, line, total = said(used, *AROUND_NOW).splitlines()
    assert headings.split() == [
        *("key", "generations", "images", "failed", "running", "unpriced", "text", "in", "images", "in", "out"),
        *("cost", "estimated"),
    ]
    assert line.split()[:6] == ["PIXYPROXY_API_KEY", "3", "2", "1", "0", "0"]
    assert line.split()[-2:] == ["0.08", "0"]
    assert total.split() == ["total", *line.split()[1:]]
    assert said(used).splitlines()[0].split() == headings.split(), "without a span it is the present month"


def test_spans_keys_and_dimensions(used: Path) -> None:
    lines = said(used, *AROUND_NOW, "--by", "state,model", "--key", "PIXYPROXY_API_KEY").splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["failed", "pixyproxy-demo", "1"],
        ["succeeded", "pixyproxy-demo", "2"],
        ["total", "3", "2"],
    ]
    nothing = said(used, "--month", "2001-02")
    assert (nothing.splitlines()[1].split()[:2], nothing) == (["total", "0"], said(used, "--key", "nobody"))


def test_csv(used: Path) -> None:
    headings, line = said(used, *AROUND_NOW, "--csv", "--by", "key,state", "--key", "PIXYPROXY_API_KEY").splitlines()[
        :2
    ]
    assert headings.startswith("key,state,generations,images,failed,running,unpriced,input_text_tokens,")
    assert line == "PIXYPROXY_API_KEY,failed,1,0,1,0,0,0,0,0,0,0,0"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--month", "2026-13"), "--month"),
        (("--month", "2026-11", "--from", "2026-11-01"), "--from"),
        (("--month", "2026-11", "--to", "2026-11-05"), "--month and --to"),
        (("--from", "yesterday"), "--from"),
        (("--by", "prompt"), "--by"),
        (("--key", "a b"), "--key"),
    ],
)
def test_bad_arguments_are_named(used: Path, arguments: tuple[str, ...], names: str) -> None:
    assert names in said(used, *arguments, status=2)


def test_a_span_without_a_day_is_refused(used: Path) -> None:
    assert "--to" in said(used, "--from", "2026-11-02", "--to", "2026-11-01", status=2)


def test_check_names_a_stored_day_that_is_wrong_and_reconcile_lets_it_be_added_up_anew(tmp_path: Path) -> None:
    def ran(*arguments: str, status: int = 0) -> list[str]:
        done = run_cli(tmp_path, *arguments, environment=SETTINGS)
        assert done.returncode == status, done.stderr
        return done.stdout.splitlines()

    ran("migrate")
    connection = sqlite3.connect(tmp_path / "pixyproxy-data" / "pixyproxy.db")
    with connection:
        connection.execute("INSERT INTO usage_days VALUES ('2026-01-05')")
        values = "('2026-01-05', 0, 'gpt-image-2', 'succeeded', 3, 4, 0, 36, 0, 3168, 95220000, 0)"
        connection.execute(f"INSERT INTO usage_sums VALUES {values}")
    connection.close()
    finding = "stored usage of a day that is not what its generations say"
    found = "2026-01-05 has 3 generations, 4 images and $0.09522, its records 0 generations, 0 images and $0:"
    hint = "'pixyproxy reconcile --apply' removes these days, and they are added up anew."
    assert ran("check", status=1) == [f"{found}  {finding}", f"{finding}: 1", hint]
    assert ran("reconcile")[:2] == [f"{found}  {finding}", f"{finding}: 1"]
    agreed = "Database and storage agree."
    assert ran("reconcile", "--after", f"{UUID(int=1)}.png") == [agreed], "a run that goes on has compared them before"
    fixed = "removed, to be added up anew"
    assert ran("reconcile", "--apply") == [f"{found}  {finding}: {fixed}", f"{finding}: 1, of these {fixed}: 1"]
    assert ran("check") == [agreed]
