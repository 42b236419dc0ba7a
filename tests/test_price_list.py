"""The prices that PixyProxy ships, beside those of the package genai-prices: says what is stale."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixyproxy.bootstrap.services import DEFAULT_MODEL, DEMO_MODEL
from pixyproxy.core.prices import TOKEN_PRICES, PriceTerms, cost_of, covers, reserve_of
from pixyproxy.data.prices import shipped_prices
from tests.examples import a_price

SLOW_MACHINES_TOO = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROOT = Path(__file__).parent.parent
SHIPPED = [terms for terms, _ in shipped_prices()]
OURS = {terms.model: terms for terms in SHIPPED if terms.upstream == "openai" and terms.valid_to is None}
PUBLISHED_IN = {
    "text_in": "input_mtok",
    "image_in": "input_image_mtok",
    "cached_text_in": "cache_read_mtok",
    "cached_image_in": "cache_image_read_mtok",
}


def published() -> dict[str, ModelInfo]:
    """OpenAI's models of images in genai-prices."""
    (openai,) = [provider for provider in providers if provider.id == "openai"]
    return {model.id: model for model in openai.models if re.match(r"(gpt|chatgpt)-image", model.id)}


def nano_of_their(prices: ModelPrice) -> dict[str, int | None]:
    """Their prices by our names. If one price is for all output, they do not know one of its text."""

    def nano(name: str) -> int | None:
        found = getattr(prices, name, None)
        return None if found is None else int(Decimal(found) * 1000)

    image_out = nano("output_image_mtok")
    output = {"image_out": image_out, "text_out": nano("output_mtok")}
    if image_out is None:
        output = {"image_out": nano("output_mtok"), "text_out": None}
    return {**{ours: nano(theirs) for ours, theirs in PUBLISHED_IN.items()}, **output}


def standard(model: ModelInfo) -> ModelPrice:
    assert isinstance(model.prices, ModelPrice), "prices by date: compare those that hold"
    return model.prices


def stale() -> list[str]:
    """What differs, in words."""
    found = []
    for name, model in published().items():
        if name not in OURS:
            found.append(f"{name} has no row")
            continue
        theirs = nano_of_their(standard(model))
        ours = OURS[name].numbers()
        found += [
            f"{name}: {field} is {ours[field]} nano-dollars a token here, {theirs[field]} there"
            for field in TOKEN_PRICES
            if ours[field] != theirs[field]
        ]
    return found


def test_our_prices_are_those_of_genai_prices() -> None:
    (pinned,) = re.findall(r"^genai-prices==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.M)
    found = stale()
    if found and version("genai-prices") != pinned:
        pytest.skip(f"genai-prices {version('genai-prices')} is not the pinned {pinned}: {'; '.join(found)}")
    assert found == [], "look at the source, then add a row to pixyproxy/data/prices.toml"


@pytest.mark.parametrize("name", published())
@SLOW_MACHINES_TOO
@given(
    counts=st.tuples(*[st.integers(0, 100_000)] * 5, st.integers(1, 100_000)),
)
def test_a_cost_is_what_genai_prices_reckons(name: str, counts: tuple[int, ...]) -> None:
    prices = standard(published()[name])
    text, cached_text, image, cached_image, text_out, image_out = counts
    text_out = text_out if OURS[name].text_out is not None else 0
    usage = {
        "input_tokens": text + cached_text + image + cached_image,
        "input_tokens_details": {
            "text_tokens": text + cached_text,
            "image_tokens": image + cached_image,
            "cached_tokens": cached_text + cached_image,
            "cached_tokens_details": {"text_tokens": cached_text, "image_tokens": cached_image},
        },
        "output_tokens": text_out + image_out,
        "output_tokens_details": {"text_tokens": text_out, "image_tokens": image_out},
    }
    theirs = prices.calc_price(
        Usage(
            input_tokens=text + cached_text + image + cached_image,
            input_image_tokens=image + cached_image,
            cache_read_tokens=cached_text + cached_image,
            cache_image_read_tokens=cached_image,
            output_tokens=text_out + image_out,
            output_image_tokens=image_out,
        )
    )
    ours = cost_of(OURS[name], usage=usage, answer=None, values={}, images=1)
    assert ours == int(theirs["total_price"] * 10**9)


def test_every_row_says_its_source_and_a_day_that_is_past() -> None:
    for terms, read_on in shipped_prices():
        assert len(terms.source) > 20, terms.model
        assert datetime(2026, 1, 1, tzinfo=UTC) <= read_on <= datetime.now(UTC), terms.model


def prices_of(model: str, *, upstream: str) -> list[PriceTerms]:
    return [terms for terms in SHIPPED if terms.upstream == upstream and covers(terms.model, model)]


def test_the_model_of_requests_that_name_none_has_a_price_and_something_to_reserve() -> None:
    (price,) = prices_of(DEFAULT_MODEL, upstream="openai")
    for quality in ("low", "medium", "high", "xhigh", "max", "auto", None):
        assert reserve_of(price, size="auto", quality=quality, images=1)


@pytest.mark.parametrize("model", [DEMO_MODEL, DEFAULT_MODEL, "whatever"])
def test_the_demo_upstream_costs_nothing_and_that_is_known(model: str) -> None:
    (price,) = prices_of(model, upstream="demo")
    values: dict[str, Any] = {"size": "16x16", "inputs": [{}]}
    assert cost_of(price, usage=None, answer=None, values=values, images=10) == 0
    assert reserve_of(price, size=None, quality=None, images=10, edits=3, partials=3) == 0


def test_partial_images_cost_nothing_where_images_have_a_price() -> None:
    price = a_price(per_image={"*": {"*": 40_000_000}})
    assert reserve_of(price, size=None, quality=None, images=1, partials=3) == 40_000_000


def test_a_model_that_no_source_prices_has_no_row() -> None:
    for model in ("dall-e-2", "dall-e-3", "gpt-image-3", "gpt-image-2.6"):
        assert prices_of(model, upstream="openai") == []
