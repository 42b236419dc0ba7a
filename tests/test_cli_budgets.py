"""`pixyproxy budgets`, and what `serve` makes of them."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests import planted
from tests.page_stage import KEY
from tests.servers import PixyProxy, run_cli

SETTINGS = {"PIXYPROXY_API_KEY": planted.API_KEY}


def said(folder: Path, *arguments: str, status: int = 0) -> str:
    """What the command prints."""
    ran = run_cli(folder, "budgets", *arguments, environment=SETTINGS)
    assert ran.returncode == status, ran.stderr
    return ran.stdout if status == 0 else ran.stderr


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[PixyProxy]:
    """The service with its demo upstream, whose pictures cost 4 cents here."""
    served = PixyProxy(tmp_path, SETTINGS)
    served.start()
    priced = run_cli(tmp_path, "prices", "set", "*", "--per-image", "0.04", environment=SETTINGS)
    assert priced.returncode == 0, priced.stderr
    yield served
    served.process.stop()


def draw(replica: PixyProxy) -> httpx2.Response:
    """The answer to a request for a small picture."""
    return httpx2.post(f"{replica.url}/image", json={"prompt": "a", "size": "16x16"}, headers=KEY, timeout=30)


def test_a_budget_is_set_and_holds_and_is_removed(replica: PixyProxy, tmp_path: Path) -> None:
    assert said(tmp_path, "list") == "There are no budgets: nothing limits what is spent.\n"
    assert draw(replica).json()["cost"] == {"amount": "0.04", "currency": "USD", "basis": "usage"}
    said(tmp_path, "set", "PIXYPROXY_API_KEY", "0.1/day")
    assert draw(replica).status_code == 201
    refused = draw(replica)
    assert (refused.status_code, refused.json()["used"]) == (402, "0.08")
    said(tmp_path, "set", "PIXYPROXY_API_KEY", "1/day")
    table = said(tmp_path, "set", "everybody", "0.08/total").splitlines()
    assert [line.split()[:5] for line in table] == [
        ["owner", "period", "limit", "used", "left"],
        ["everybody", "total", "0.08", "0.08", "0"],
        ["PIXYPROXY_API_KEY", "day", "1", "0.08", "0.92"],
    ]
    assert draw(replica).json()["everybody"] is True
    assert "everybody" not in said(tmp_path, "remove", "everybody", "total")
    assert draw(replica).status_code == 201
    checked = run_cli(tmp_path, "check", environment=SETTINGS)
    assert checked.stdout == "Database and storage agree.\n"


def test_a_key_is_made_with_budgets(tmp_path: Path) -> None:
    def keys(*arguments: str) -> str:
        ran = run_cli(tmp_path, "keys", *arguments, environment=SETTINGS)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    migrated = run_cli(tmp_path, "migrate", environment=SETTINGS)
    assert migrated.returncode == 0, migrated.stderr
    keys("create", "shop", "--budget", "20/month", "--budget", "1.5/day")
    shown = keys("show", "shop")
    assert "budget (day)          $1.5, used: $0\n" in shown
    assert "budget (month)        $20, used: $0\n" in shown
    changed = keys("set", "shop", "--budget", "none/month", "--budget", "2/total")
    assert "budget (month)" not in changed
    assert "budget (total)        $2, used: $0\n" in changed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("set", "everybody", "20"), "a budget is dollars and a period, such as 20/month"),
        (("set", "everybody", "20/week"), "a period is day, month or total"),
        (("set", "everybody", "--", "-1/day"), "must not be negative"),
        (("set", "everybody", "0.0000000001/day"), "at most 9 decimals"),
        (("set", "everybody", "NaN/day"), "must be a plain decimal number"),
        (("set", "everybody", "1e3/day"), "must be a plain decimal number"),
        (("set", "everybody", "1000000001/day"), "must be at most 1000000000"),
        (("remove", "everybody", "week"), "a period is day, month or total"),
    ],
    ids=["no period", "a week", "negative", "10 decimals", "NaN", "an exponent", "too much", "removing a week"],
)
def test_a_wrong_budget_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in said(tmp_path, *arguments, status=2)


def test_an_owner_must_exist(replica: PixyProxy, tmp_path: Path) -> None:
    assert "No API key has the name 'nobody'" in said(tmp_path, "set", "nobody", "1/day", status=1)
    assert "has no budget of this period" in said(tmp_path, "remove", "everybody", "day", status=1)
