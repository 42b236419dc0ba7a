"""What pictures cost, at every door: answers, lists, the log, budgets that refuse, limits of keys."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from pixyproxy.core.budgets import EVERYBODY, Budget, Period
from pixyproxy.core.exceptions import (
    DatabaseUnavailableError,
    RateLimitedError,
    UpstreamAnswerError,
    UpstreamRefusedError,
    UpstreamUnknownOutcomeError,
)
from pixyproxy.core.generations import GenerationRequest
from pixyproxy.core.keys import EVERYTHING, Caller, KeyLimits
from pixyproxy.core.money import DOLLAR
from pixyproxy.service.money.quotes import Quotes, class_of
from tests import planted
from tests.examples import a_price
from tests.listening import listening
from tests.mcp_client import mcp_client
from tests.openai_stage import sdk
from tests.stage import Stage

pytestmark = pytest.mark.anyio

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
    "output_tokens": 1000,
    "total_tokens": 1020,
}
COST = {"amount": "0.0301", "currency": "USD", "basis": "usage"}
"""20 x 5,000 + 1,000 x 30,000 nano-dollars."""
RESERVE = {"*": {"*": 40_000_000}}
ESTIMATE = {"amount": "0.04", "currency": "USD", "basis": "estimate"}
NOTHING = {"amount": "0", "currency": "USD", "basis": "none"}


async def priced(**values: Any) -> Stage:
    """A stage whose model has a price."""
    stage = Stage()
    await stage.prices.add([a_price(model="*", reserve=RESERVE, **values)], recorded_at=datetime.now(UTC))
    stage.generator.usage = USAGE
    return stage


async def draw(stage: Stage, *, status: int = 201, **body: Any) -> Any:
    """The answer to a request for a picture."""
    async with stage.client() as client:
        answer = await client.post("/image", json={"prompt": planted.PROMPT, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


async def the_generation(stage: Stage) -> Any:
    """The newest generation."""
    async with stage.client() as client:
        return (await client.get("/generation")).json()[0]


async def limit(stage: Stage, dollars: float, *, owner: int = 0) -> None:
    """A budget for a day."""
    await stage.budgets.set(Budget(owner=owner, period=Period.DAY, limit=round(dollars * DOLLAR)))


async def test_a_picture_says_what_it_cost_wherever_it_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    stage = await priced()
    with caplog.at_level(logging.INFO):
        image = await draw(stage)
    assert image["cost"] == COST
    assert [line for line in caplog.messages if "REQUEST END" in line and "cost=0.0301" in line]
    generation = await the_generation(stage)
    assert generation["cost"] == COST
    assert [each["cost"] for each in generation["images"]] == [COST]
    async with stage.client() as client:
        assert (await client.get("/image")).json()[0]["cost"] == COST
        assert (await client.get(f"/image/{image['guid']}")).json()["cost"] == COST
    async with stage.client(key=False) as stranger:
        assert "cost" not in (await stranger.get(f"/image/{image['guid']}")).json()


async def test_without_a_price_the_cost_is_null_and_not_zero(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage()
    stage.generator.usage = USAGE
    with caplog.at_level(logging.INFO):
        assert (await draw(stage))["cost"] is None
    assert (await the_generation(stage))["cost"] is None
    assert not [line for line in caplog.messages if "cost=" in line]


async def test_a_usage_that_says_nothing_leaves_the_estimate() -> None:
    stage = await priced()
    stage.generator.usage = None
    assert (await draw(stage))["cost"] == ESTIMATE


@pytest.mark.parametrize(
    ("failure", "status", "cost"),
    [
        (UpstreamRefusedError("no"), 422, NOTHING),
        (UpstreamAnswerError("no picture"), 502, ESTIMATE),
        (UpstreamUnknownOutcomeError("lost"), 502, ESTIMATE),
    ],
    ids=["refused", "billed", "unknown"],
)
async def test_a_failure_costs_what_it_may_have_cost(failure: Exception, status: int, cost: dict[str, str]) -> None:
    stage = await priced()
    stage.generator.failure = failure
    await draw(stage, status=status)
    assert (await the_generation(stage))["cost"] == cost


async def test_a_changed_price_changes_no_cost_of_before_and_none_of_what_runs() -> None:
    stage = await priced()
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    running = asyncio.create_task(draw(stage))
    while not stage.generator.requests:
        await asyncio.sleep(0.001)
    dear = a_price(model="*", image_out=60_000, valid_from=datetime.now(UTC) - timedelta(seconds=1))
    await stage.prices.add([dear], recorded_at=datetime.now(UTC))
    drawing.set()
    first = await running
    assert first["cost"] == COST
    stage.start()  # another replica remembers nothing
    assert (await draw(stage))["cost"]["amount"] == "0.0601"
    async with stage.client() as client:
        assert (await client.get(f"/image/{first['guid']}")).json()["cost"] == COST


async def test_an_estimate_is_the_dearest_of_its_class_and_a_tenth() -> None:
    stage = await priced()
    quotes = Quotes(stage.prices, stage.ledger, upstream="openai")
    asked = GenerationRequest(prompt="a", model=stage.model, quality="medium")
    two = asked.model_copy(update={"n": 2})
    assert [(await quotes.quote(each)).estimate for each in (asked, two)] == [40_000_000, 80_000_000]
    await draw(stage)
    quotes = Quotes(stage.prices, stage.ledger, upstream="openai")  # that there was none is remembered for a while
    assert [(await quotes.quote(each)).estimate for each in (asked, two)] == [33_110_000, 66_220_000]
    assert (await quotes.quote(asked.model_copy(update={"size": "1x1"}))).estimate == 40_000_000
    assert class_of("openai", asked) == class_of("openai", two.model_copy(update={"prompt": "b"}))
    assert class_of("openai", asked) != class_of("demo", asked)


async def test_partial_images_are_in_the_estimate_and_make_a_class_of_their_own() -> None:
    stage = await priced()
    quotes = Quotes(stage.prices, stage.ledger, upstream="openai")
    asked = GenerationRequest(prompt="a", model=stage.model, quality="medium")
    partials = 3 * 100 * 30_000
    assert (await quotes.quote(asked, partials=3)).estimate == 40_000_000 + partials
    async with stage.client() as client:
        body = {"prompt": "a", "quality": "medium", "model": stage.model, "stream": True}
        for streamed in ({}, {"partial_images": 0}, {"partial_images": 3}):
            answer = await client.post("/v1/images/generations", json={**body, **streamed})
            assert "image_generation.completed" in answer.text
    plain, empty, shown = [each.quote for each in stage.generations.generations.values()]
    assert plain is not None and empty is not None and shown is not None
    assert (plain.cost_class, plain.estimate) == (class_of("openai", asked), 40_000_000)
    assert (empty.cost_class, empty.estimate) == (plain.cost_class, plain.estimate)
    assert shown.cost_class == class_of("openai", asked, partials=3) != plain.cost_class
    assert shown.estimate == 40_000_000 + partials
    quotes = Quotes(stage.prices, stage.ledger, upstream="openai")
    cost = 33_110_000  # the fake upstream counts the same tokens with partial images and without
    assert [(await quotes.quote(asked, partials=each)).estimate for each in (0, 3)] == [cost, cost]
    assert (await quotes.quote(asked, partials=1)).estimate == 40_000_000 + partials // 3


async def test_a_replayed_request_is_logged_without_its_cost(caplog: pytest.LogCaptureFixture) -> None:
    stage = await priced()
    with caplog.at_level(logging.INFO):
        async with stage.client() as client:
            for _ in range(2):
                await client.post("/image", json={"prompt": "a"}, headers={"Idempotency-Key": "one"})
    assert sum("cost=0.0301" in line for line in caplog.messages if "REQUEST END" in line) == 1


async def test_a_budget_refuses_what_it_has_no_room_for_and_nothing_is_drawn() -> None:
    stage = await priced()
    await limit(stage, 0.1)
    await draw(stage)
    await draw(stage)
    problem = await draw(stage, status=402, size="512x512")  # of another class: 0.04, and 0.0602 is used
    assert problem["type"] == "urn:pixyproxy:problem:budget-exhausted"
    assert {name: problem[name] for name in ("period", "limit", "used", "estimate", "everybody", "cost")} == {
        "period": "day",
        "limit": "0.1",
        "used": "0.0602",
        "estimate": "0.04",
        "everybody": False,
        "cost": "none",
    }
    midnight = datetime.fromisoformat(problem["resets_at"])
    assert (midnight.hour, midnight.minute, midnight.utcoffset()) == (0, 0, timedelta(0))
    assert "$0.1 a day" in problem["detail"]
    assert len(stage.generator.requests) == 2
    assert len(stage.generations.generations) == 2
    await limit(stage, 0.11)
    await draw(stage, size="512x512")


async def test_clients_of_openai_understand_a_budget() -> None:
    stage = await priced()
    await limit(stage, 0.01, owner=EVERYBODY)
    with sdk(stage, max_retries=3) as client, pytest.raises(openai.RateLimitError) as refused:
        await asyncio.to_thread(client.images.generate, prompt="a", model=stage.model)
    error: Any = refused.value.body
    assert (refused.value.status_code, error["code"], error["type"]) == (
        429,
        "insufficient_quota",
        "insufficient_quota",
    )
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert error["pixyproxy"] == {"problem": "budget-exhausted", "cost": "none"}
    await limit(stage, 1, owner=EVERYBODY)
    with sdk(stage) as client:
        answer = await asyncio.to_thread(client.images.generate, prompt="a", model=stage.model)
    assert answer.data is not None
    assert answer.data[0].model_extra is not None
    assert answer.data[0].model_extra["pixyproxy"]["cost"] == COST


async def test_a_budget_and_a_model_without_a_price() -> None:
    stage = Stage()
    await limit(stage, 100)
    problem = await draw(stage, status=402)
    assert (problem["type"], problem["model"]) == ("urn:pixyproxy:problem:price-unknown", stage.model)
    assert "pixyproxy prices set" in problem["detail"]
    assert "reserve" not in problem["detail"]
    assert stage.generator.requests == []


async def test_a_budget_and_a_price_that_reserves_nothing() -> None:
    stage = Stage()
    await stage.prices.add([a_price(model="*", reserve=None)], recorded_at=datetime.now(UTC))
    await limit(stage, 100)
    problem = await draw(stage, status=402)
    assert problem["type"] == "urn:pixyproxy:problem:price-unknown"
    assert "--reserve" in problem["detail"]
    assert stage.generator.requests == []


async def test_prices_that_cannot_be_read_are_a_503_before_anything_is_spent() -> None:
    stage = await priced()

    async def find(**_: Any) -> Any:
        raise DatabaseUnavailableError

    stage.prices.find = find  # type: ignore[method-assign]
    problem = await draw(stage, status=503)
    assert problem["cost"] == "none"
    assert stage.generator.requests == []


async def test_a_key_takes_no_more_of_a_process_than_its_share() -> None:
    stage = Stage(maximum=4)
    drawing = asyncio.Event()
    stage.generator.before = drawing.wait
    half = Caller(api_key_id=1, name="half", scopes=EVERYTHING, limits=KeyLimits(replica_share=50))
    asked = GenerationRequest(prompt="a")
    running = [asyncio.create_task(stage.private.create(asked, caller=half)) for _ in range(2)]
    while len(stage.generator.requests) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(RateLimitedError, match="2 generations") as refused:
        await stage.private.create(asked, caller=half)
    assert refused.value.cost == "none"
    assert refused.value.headers["RateLimit-Policy"] == '"share";q=2'
    other = asyncio.create_task(
        stage.private.create(asked, caller=Caller(api_key_id=2, name="other", scopes=EVERYTHING))
    )
    while len(stage.generator.requests) < 3:
        await asyncio.sleep(0.001)
    drawing.set()
    await asyncio.gather(*running, other)
    await stage.private.create(asked, caller=half)


async def test_budgets_of_a_key_are_set_with_it_and_shown() -> None:
    stage = await priced()
    async with stage.client() as admin:
        made = await admin.post("/key", json={"name": "shop", "budgets": {"day": "0.1", "total": "20"}})
        assert made.status_code == 201, made.text
        assert [(each["period"], each["limit"], each["used"]) for each in made.json()["budgets"]] == [
            ("day", "0.1", "0"),
            ("total", "20", "0"),
        ]
        shop = {"Authorization": f"Bearer {made.json()['key']}"}
        assert (await admin.post("/image", json={"prompt": "a"}, headers=shop)).json()["cost"] == COST
        own = (await admin.get("/key/self", headers=shop)).json()["budgets"]
        midnight = own[0].pop("resets_at")
        assert midnight.endswith("T00:00:00Z")
        assert own == [
            {"period": "day", "limit": "0.1", "used": "0.0301", "left": "0.0699"},
            {"period": "total", "limit": "20", "used": "0.0301", "left": "19.9699", "resets_at": None},
        ]
        changed = await admin.patch("/key/shop", json={"budgets": {"day": None, "month": "0.02"}})
        assert [(each["period"], each["left"]) for each in changed.json()["budgets"]] == [
            ("month", "-0.0101"),
            ("total", "19.9699"),
        ]
        listed = {each["name"]: len(each["budgets"]) for each in (await admin.get("/key")).json()}
        assert listed == {"PIXYPROXY_API_KEY": 0, "shop": 2}


@pytest.mark.parametrize(
    ("budgets", "detail"),
    [
        ({"day": "-1"}, "must not be negative"),
        ({"day": "1e3"}, "must be a plain decimal number of dollars"),
        ({"day": "NaN"}, "must be a plain decimal number of dollars"),
        ({"day": "0.123456789012"}, "must have at most 9 decimals"),
        ({"day": "1000000000.01"}, "must be at most 1000000000"),
        ({"day": 1}, "valid string"),
        ({"week": "1"}, "'day', 'month' or 'total'"),
    ],
    ids=["negative", "an exponent", "NaN", "12 decimals", "too much", "a number", "a week"],
)
async def test_a_wrong_budget_makes_no_key(budgets: dict[str, Any], detail: str) -> None:
    stage = Stage()
    async with stage.client() as admin:
        refused = await admin.post("/key", json={"name": "shop", "budgets": budgets})
        assert refused.status_code == 422
        assert detail in refused.json()["errors"][0]["detail"]
        assert (await admin.get("/key/shop")).status_code == 404


async def test_an_mcp_call_that_is_repeated_is_logged_without_its_cost(caplog: pytest.LogCaptureFixture) -> None:
    stage = await priced()
    with caplog.at_level(logging.INFO), listening(stage.app) as url:
        async with mcp_client(url) as client:
            for _ in range(2):
                answer = await client.call_tool("generate_image", {"prompt": "a", "idempotency_key": "one"})
                assert answer.structured_content["cost"] == COST
    assert sum("cost=0.0301" in line for line in caplog.messages if "REQUEST END" in line) == 1
