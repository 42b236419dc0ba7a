"""`GET /usage`: who sees what of whom, in JSON and as CSV."""

import csv
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx2
import pytest

from pixyproxy.core.exceptions import UsageNotReadyError
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.keys import KeyRights, Scope
from pixyproxy.core.usage import Span, month_of, span_of
from tests.examples import a_price
from tests.stage import Stage

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 30, 19, 40, tzinfo=UTC)


class Office:
    """A service with two keys that drew something, and prices for it."""

    def __init__(self) -> None:
        self.stage = Stage(now=lambda: NOW)
        self.keys: dict[str, str] = {}

    async def prepare(self) -> None:
        await self.stage.prices.add(
            [a_price(per_image={"*": {"*": 40_000_000}}, model="*")], recorded_at=datetime.now(UTC)
        )
        for name, scopes in (
            ("shop", {Scope.DRAW}),
            ("blog", {Scope.DRAW, Scope.READ}),
            ("books", {Scope.READ_ALL}),
            ("boss", {Scope.ADMIN}),
        ):
            self.keys[name] = await self.stage.keys.create(name, KeyRights(scopes=frozenset(scopes)))
        for name, images in (("shop", 2), ("blog", 1), ("blog", 3)):
            caller = await self.stage.keys.authenticate(self.keys[name])
            await self.stage.private.create(GenerationRequest(prompt="a dot", n=images), caller=caller)
        generations = self.stage.generations.generations
        for each in list(generations.values()):
            generations[each.guid] = each.model_copy(update={"created_at": NOW})

    async def ask(self, who: str, query: str = "", **headers: str) -> httpx2.Response:
        """The answer to a key."""
        async with self.stage.client(key=False) as client:
            sent = {"Authorization": f"Bearer {self.keys[who]}", **headers}
            return await client.get(f"/usage{query}", headers=sent)


@pytest.fixture
async def office() -> Office:
    made = Office()
    await made.prepare()
    return made


def groups_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    """The groups of an answer."""
    assert answer.status_code == 200, answer.text
    groups: list[dict[str, Any]] = answer.json()["groups"]
    return groups


async def test_the_usage_has_numbers_tokens_and_amounts(office: Office) -> None:
    answer = await office.ask("books", "?by=key")
    document = answer.json()
    assert document["from"] == "2026-11-01"
    assert (document["by"], document["currency"]) == (["key"], "USD")
    assert [(group["key"], group["generations"], group["images"], group["cost"]) for group in groups_of(answer)] == [
        ("blog", 2, 4, "0.16"),
        ("shop", 1, 2, "0.08"),
    ]
    assert {name: document["total"][name] for name in ("generations", "failed", "running", "unpriced", "cost")} == {
        "generations": 3,
        "failed": 0,
        "running": 0,
        "unpriced": 0,
        "cost": "0.24",
    }
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("who", "query", "keys"),
    [
        ("shop", "", ["shop"]),
        ("blog", "", ["blog"]),
        ("books", "", ["blog", "shop"]),
        ("boss", "", ["blog", "shop"]),
        ("books", "&caller=shop", ["shop"]),
        ("shop", "&caller=shop", ["shop"]),
        ("shop", "&caller=blog", []),
        ("shop", "&caller=nobody", []),
        ("books", "&caller=nobody", []),
        ("boss", "&caller=boss", []),
    ],
)
async def test_every_key_sees_its_own_and_who_may_everybodys(
    office: Office, who: str, query: str, keys: list[str]
) -> None:
    answer = await office.ask(who, f"?by=key{query}")
    assert [group["key"] for group in groups_of(answer)] == keys
    assert answer.json()["total"]["generations"] == sum({"shop": 1, "blog": 2}[key] for key in keys)


async def test_groups_have_the_members_that_were_asked_for(office: Office) -> None:
    today = f"{NOW.date()}"
    (group,) = groups_of(await office.ask("blog", "?by=month,model"))
    assert (group["month"], group["model"]) == (today[:7], "gpt-image-2")
    assert not {"day", "key", "state"} & set(group)
    (group,) = groups_of(await office.ask("blog", "?by=state,day"))
    assert (group["state"], group["day"]) == ("succeeded", today)
    (group,) = groups_of(await office.ask("blog", "?by=day,day"))
    assert not {"month", "key", "model", "state"} & set(group)


async def test_a_key_whose_record_was_removed_by_hand_has_no_name(office: Office) -> None:
    records = office.stage.key_records.keys
    (digest,) = [digest for digest, key in records.items() if key.name == "shop"]
    del records[digest]
    office.stage = office.stage.replica()  # which remembers no name
    assert [group["key"] for group in groups_of(await office.ask("books", "?by=key"))] == [None, "blog"]


async def test_the_end_of_a_span_is_not_in_it(office: Office) -> None:
    today = NOW.date()
    assert groups_of(await office.ask("books", f"?to={today}&from={today - timedelta(days=3)}")) == []
    assert len(groups_of(await office.ask("books", f"?from={today}"))) == 1
    assert len(groups_of(await office.ask("books", f"?from={today}&to={today + timedelta(days=1)}"))) == 1


async def test_csv_has_a_line_for_each_group(office: Office) -> None:
    answer = await office.ask("books", "?by=key", Accept="text/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.text.endswith("\r\n")
    lines = list(csv.DictReader(answer.text.splitlines()))
    assert [(line["key"], line["images"], line["cost_usd"], line["estimated_usd"]) for line in lines] == [
        ("blog", "4", "0.16", "0"),
        ("shop", "2", "0.08", "0"),
    ]
    refused = await office.ask("books", "?by=key", Accept="text/csv;q=0, */*")
    assert refused.headers["content-type"] == "application/json"
    assert {answer.headers["vary"], refused.headers["vary"]} == {"Accept"}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("by=", "?by"),
        ("by=day,key,model", "?by"),
        ("by=prompt", "?by"),
        ("by=day;DROP", "?by"),
        ("from=2026-11-31", "?from"),
        ("from=1764547200", "?from"),
        ("from=2026-11-30T00:00:00", "?from"),
        ("to=0001-01-01", "?to"),
        ("from=2026-11-30&to=2026-11-30", "?to"),
        ("from=2026-12-01&to=2026-11-30", "?to"),
        ("caller=a%00", "?caller"),
        ("until=2026-11-30", "?"),
    ],
)
async def test_bad_questions_are_refused(office: Office, query: str, pointer: str) -> None:
    answer = await office.ask("books", f"?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


async def test_days_that_are_left_to_be_added_up_are_a_503(office: Office) -> None:
    office.stage.usage.failure = UsageNotReadyError("12 days are left.")
    answer = await office.ask("books")
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "usage-not-ready")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("since", "until", "now", "expected"),
    [
        (None, None, NOW, ("2026-11-01", "2026-12-01")),
        (None, None, datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), ("2026-12-01", "2027-01-01")),
        (None, None, datetime(2028, 2, 29, tzinfo=UTC), ("2028-02-01", "2028-03-01")),
        (None, "2028-03-01", NOW, ("2028-02-01", "2028-03-01")),
        (None, "2026-11-15", NOW, ("2026-11-01", "2026-11-15")),
        ("2026-10-05", None, NOW, ("2026-10-05", "2026-12-01")),
        ("2027-01-01", None, NOW, ("2027-01-01", "2027-01-02")),
        ("2026-11-30", "2026-12-01", NOW, ("2026-11-30", "2026-12-01")),
    ],
)
def test_bounds_that_are_left_out(
    since: str | None, until: str | None, now: datetime, expected: tuple[str, str]
) -> None:
    days = [None if day is None else date.fromisoformat(day) for day in (since, until)]
    assert span_of(*days, now=now) == Span(*map(date.fromisoformat, expected))


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-1", "26-11", "2026-11-01", "", "x"])
def test_a_month_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="a month is written as"):
        month_of(text)


def test_a_month() -> None:
    assert month_of("2028-02") == Span(date(2028, 2, 1), date(2028, 3, 1))
    assert month_of("2026-12") == Span(date(2026, 12, 1), date(2027, 1, 1))
