"""Everybody's budgets and the prices over HTTP: who sets them, what is refused, and that they hold."""

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from pixyproxy.core.budgets import EVERYBODY, Budget, Period
from pixyproxy.core.keys import KeyRights, Scope
from pixyproxy.core.money import DOLLAR
from tests.examples import a_price
from tests.stage import KEY, Stage

pytestmark = pytest.mark.anyio

NOW = datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC)


async def prepared() -> Stage:
    """A service of which every picture costs 4 cents."""
    stage = Stage(now=lambda: NOW)
    await stage.prices.add(
        [a_price(per_image={"*": {"*": 40_000_000}}, model="*")], recorded_at=datetime(2026, 11, 30, tzinfo=UTC)
    )
    return stage


async def ask(stage: Stage, method: str, path: str, *, headers: dict[str, str] = KEY, **sent: Any) -> httpx2.Response:
    """The answer to a request."""
    async with stage.client(key=False) as client:
        return await client.request(method, path, headers=headers, **sent)


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """Status and name of a problem."""
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


async def test_a_budget_of_everybody_is_set_and_holds_and_is_removed() -> None:
    stage = await prepared()
    assert (await ask(stage, "GET", "/budget")).json() == []
    made = await ask(stage, "PUT", "/budget/month", json={"limit": "0.05"})
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    month = {"period": "month", "limit": "0.05", "used": "0", "left": "0.05", "resets_at": "2028-03-01T00:00:00Z"}
    assert made.json() == month
    shop = {"Authorization": f"Bearer {await stage.keys.create('shop')}"}
    assert (await ask(stage, "POST", "/image", json={"prompt": "a dot"}, headers=shop)).status_code == 201
    refused = await ask(stage, "POST", "/image", json={"prompt": "a dot"})
    assert problem(refused) == (402, "budget-exhausted")
    assert (refused.json()["everybody"], refused.json()["limit"], refused.json()["used"]) == (True, "0.05", "0.04")
    to_shop = await ask(stage, "POST", "/image", json={"prompt": "a dot"}, headers=shop)
    assert problem(to_shop) == (402, "budget-exhausted")
    assert (to_shop.json()["limit"], to_shop.json()["used"], to_shop.json()["estimate"]) == (None, None, "0.04")
    assert "$0.04. Nothing" in to_shop.json()["detail"]
    assert "0.05" not in to_shop.text, "what others spend is not for every key"
    await ask(stage, "PUT", "/budget/total", json={"limit": "100.000000001"})
    await ask(stage, "PUT", "/budget/day", json={"limit": "0"})
    assert [list(each.values()) for each in (await ask(stage, "GET", "/budget")).json()] == [
        ["day", "0", "0", "0", "2028-03-01T00:00:00Z"],
        ["month", "0.05", "0", "0.05", "2028-03-01T00:00:00Z"],
        ["total", "100.000000001", "0.04", "99.960000001", None],
    ]
    for period in ("day", "month"):
        removed = await ask(stage, "DELETE", f"/budget/{period}")
        assert (removed.status_code, removed.content, removed.headers["cache-control"]) == (204, b"", "no-store")
        assert problem(await ask(stage, "DELETE", f"/budget/{period}")) == (404, "not-found")
    assert (await ask(stage, "POST", "/image", json={"prompt": "a dot"})).status_code == 201
    (left,) = (await ask(stage, "GET", "/budget")).json()
    assert (left["used"], left["left"]) == ("0.08", "99.920000001")


async def test_a_budget_may_be_lowered_below_what_is_used_and_refuses_until_it_is_raised() -> None:
    stage = await prepared()
    for _ in range(2):
        await stage.create()
    lowered = await ask(stage, "PUT", "/budget/total", json={"limit": "0.07"})
    assert (lowered.json()["used"], lowered.json()["left"]) == ("0.08", "-0.01")
    assert problem(await ask(stage, "POST", "/image", json={"prompt": "a dot"})) == (402, "budget-exhausted")
    await ask(stage, "PUT", "/budget/total", json={"limit": "0.12"})
    assert (await ask(stage, "POST", "/image", json={"prompt": "a dot"})).status_code == 201


async def test_a_budget_of_everybody_is_none_of_a_key() -> None:
    stage = await prepared()
    await ask(stage, "PUT", "/budget/day", json={"limit": "1"})
    await ask(stage, "POST", "/key", json={"name": "shop", "budgets": {"day": "2"}})
    assert [each["limit"] for each in (await ask(stage, "GET", "/budget")).json()] == ["1"]
    assert [[each["limit"] for each in key["budgets"]] for key in (await ask(stage, "GET", "/key")).json()] == [
        [],
        ["2"],
    ]
    assert (await ask(stage, "DELETE", "/budget/day")).status_code == 204
    assert (await ask(stage, "GET", "/key/shop")).json()["budgets"][0]["limit"] == "2"


BAD: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "#/limit"),
    "null": ({"limit": None}, "#/limit"),
    "negative": ({"limit": "-1"}, "#/limit"),
    "NaN": ({"limit": "NaN"}, "#/limit"),
    "endless": ({"limit": "Infinity"}, "#/limit"),
    "12 decimals": ({"limit": "0.000000000001"}, "#/limit"),
    "an exponent": ({"limit": "1e3"}, "#/limit"),
    "a number": ({"limit": 20}, "#/limit"),
    "a sign": ({"limit": "$20"}, "#/limit"),
    "a comma": ({"limit": "20,50"}, "#/limit"),
    "a space": ({"limit": " 20"}, "#/limit"),
    "other digits": ({"limit": "٢٠"}, "#/limit"),
    "empty": ({"limit": ""}, "#/limit"),
    "too much": ({"limit": "1000000000.000000001"}, "#/limit"),
    "very long": ({"limit": "9" * 41}, "#/limit"),
    "an unknown field": ({"limit": "1", "period": "day"}, "#"),
    "a list": ([], "#"),
}


@pytest.mark.parametrize(("body", "pointer"), BAD.values(), ids=BAD.keys())
async def test_a_bad_budget_is_refused_and_changes_nothing(body: Any, pointer: str) -> None:
    stage = await prepared()
    await stage.budgets.set(Budget(owner=EVERYBODY, period=Period.DAY, limit=3 * DOLLAR))
    answer = await ask(stage, "PUT", "/budget/day", json=body)
    assert problem(answer) == (422, "invalid-request")
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert [each["limit"] for each in (await ask(stage, "GET", "/budget")).json()] == ["3"]


@pytest.mark.parametrize("period", ["year", "DAY", "1", "day%20", "%F0%9F%8E%A8", "a" * 1000])
async def test_an_unknown_period_is_not_there(period: str) -> None:
    stage = await prepared()
    for method, sent in (("PUT", {"json": {"limit": "1"}}), ("DELETE", {})):
        answer = await ask(stage, method, f"/budget/{period}", **sent)
        assert problem(answer) == (404, "not-found")
        assert "a period is day, month or total" in answer.json()["detail"]
    assert (await ask(stage, "GET", "/budget")).json() == []


async def test_a_page_of_another_site_sets_no_budget() -> None:
    stage = await prepared()
    async with stage.client(key=False) as client:
        assert (await client.post("/session", json={"key": KEY["Authorization"].split()[1]})).status_code == 201
        foreign = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
        answer = await client.put("/budget/day", json={"limit": "1"}, headers=foreign)
        assert problem(answer)[0] == 403
        assert (await client.get("/budget")).json() == []


async def test_the_prices_in_force_are_shown_in_dollars() -> None:
    stage = Stage(now=lambda: NOW)
    await stage.prices.add([a_price()], recorded_at=datetime(2026, 11, 30, tzinfo=UTC))
    await stage.prices.add(
        [
            a_price(model="flux-*", upstream="images.example", per_image={"*": {"*": 40_000_000}}),
            a_price(model="old", valid_to=datetime(2027, 1, 1, tzinfo=UTC)),
        ],
        recorded_at=datetime(2026, 11, 30, tzinfo=UTC),
    )
    answer = await ask(stage, "GET", "/price")
    assert answer.headers["cache-control"] == "no-store"
    by_model = {each["model"]: each for each in answer.json()}
    assert set(by_model) == {"gpt-image-2", "flux-*"}
    assert by_model["gpt-image-2"] == {
        "upstream": "openai", "model": "gpt-image-2", "valid_from": "2026-04-21T00:00:00Z", "valid_to": None,
        "text_in": "5", "image_in": "8", "cached_text_in": "1.25", "cached_image_in": "2", "image_out": "30",
        "text_out": None, "per_image": None, "reserve": None, "source": "a test",
        "recorded_at": "2026-11-30T00:00:00Z", "shipped": False,
    }  # fmt: skip
    assert by_model["flux-*"]["per_image"] == {"*": {"*": "0.04"}}
    assert by_model["flux-*"]["image_out"] is None


async def test_budgets_and_prices_are_for_administrators_only() -> None:
    stage = await prepared()
    scopes = frozenset(Scope) - {Scope.ADMIN}
    headers = {"Authorization": f"Bearer {await stage.keys.create('shop', KeyRights(scopes=scopes))}"}
    for method, path in (("GET", "/budget"), ("PUT", "/budget/day"), ("DELETE", "/budget/day"), ("GET", "/price")):
        answer = await ask(stage, method, path, headers=headers)
        assert problem(answer) == (403, "not-allowed")
        assert answer.json()["scope"] == "admin"
