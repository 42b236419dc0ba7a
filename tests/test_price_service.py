"""What the check of the prices finds, at a moment of the test's choice."""

from datetime import UTC, datetime, timedelta

import pytest

from pixyproxy.service.money.prices import PriceService
from tests.examples import a_price
from tests.fakes import FakePriceRepository

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 12, 1, tzinfo=UTC)
RESERVE = {"*": {"*": 1}}


async def findings(prices: FakePriceRepository, *models: str, days: int = 90) -> list[str]:
    service = PriceService(prices, clock=lambda: NOW)
    found = await service.check(upstream="openai", models=models, older_than=timedelta(days=days))
    return [str(finding) for finding in found]


async def shipped(prices: FakePriceRepository, *, age: int, **values: object) -> None:
    await prices.load_shipped([(a_price(reserve=RESERVE, **values), NOW - timedelta(days=age))])


async def test_a_price_is_old_from_the_day_after_on() -> None:
    prices = FakePriceRepository()
    await shipped(prices, age=90)
    assert await findings(prices) == []
    assert await findings(prices, days=89) == [
        "gpt-image-2 at openai: its price is of 2026-09-02, 90 days old; source: a test"
    ]


async def test_an_old_price_that_ended_or_has_not_begun_or_is_the_demos_does_not_matter() -> None:
    prices = FakePriceRepository()
    await shipped(prices, age=200, valid_to=NOW)
    await shipped(prices, age=200, model="to-come", valid_from=NOW + timedelta(seconds=1))
    await shipped(prices, age=200, upstream="demo")
    assert await findings(prices) == []


async def test_an_old_shipped_price_does_not_matter_where_the_operators_counts() -> None:
    prices = FakePriceRepository()
    await shipped(prices, age=200)
    await prices.add([a_price(reserve=RESERVE)], recorded_at=NOW)
    assert await findings(prices) == []
    await shipped(prices, age=200, model="gpt-image-2*")
    assert len(await findings(prices)) == 1, "this one is for other models"


async def test_models_of_the_newest_images_are_looked_at_too() -> None:
    prices = FakePriceRepository()
    prices.in_use = ["flux", "gpt-image-2"]
    await shipped(prices, age=1)
    await prices.add([a_price(model="configured")], recorded_at=NOW)
    assert await findings(prices, "configured", "gpt-image-2") == [
        "configured at openai: nothing to reserve: until one was drawn, a key with a budget is refused",
        "flux at openai: no price: what it costs is unknown",
    ]


async def test_the_list_leaves_out_what_has_ended_and_what_was_replaced() -> None:
    prices = FakePriceRepository()
    service = PriceService(prices, clock=lambda: NOW)
    await prices.add([a_price(valid_to=NOW), a_price(valid_from=NOW, image_out=1)], recorded_at=NOW)
    values = {"model": "gpt-image-2", "upstream": "openai", "source": "a test"}
    newest = await service.set({**values, "image_out": "30"})
    later = await service.set({**values, "model": "flux", "image_out": "30", "valid_from": "2027-01-01"})
    assert newest.valid_from == NOW
    assert await service.list() == (later, newest)
    assert len(await service.list(ended=True)) == 4
