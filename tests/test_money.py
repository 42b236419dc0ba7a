"""Amounts of money: whole nano-dollars, and plain decimals in texts."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixyproxy.core.money import MAX_NANO, Cost, amount_of, nano_of, per_million, per_token

SLOW_MACHINES_TOO = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
AMOUNTS = {
    0: "0",
    1: "0.000000001",
    53_100_000: "0.0531",
    100_000_000: "0.1",
    1_000_000_000: "1",
    1_500_000_000: "1.5",
    20_000_000_000: "20",
    1_000_000_000_000: "1000",
    9_000_000_000_000_000_000: "9000000000",
    9_223_372_036_854_775_807: "9223372036.854775807",
}


@pytest.mark.parametrize(("nano", "text"), AMOUNTS.items())
def test_an_amount_is_a_plain_decimal(nano: int, text: str) -> None:
    assert amount_of(nano) == text
    assert amount_of(-nano) == (f"-{text}" if nano else "0")


@SLOW_MACHINES_TOO
@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_an_amount_is_exact(nano: int) -> None:
    text = amount_of(nano)
    assert Decimal(text) == Decimal(nano) / 10**9
    assert "e" not in text.lower()
    assert not text.endswith(".")
    assert not ("." in text and text.endswith("0"))


@SLOW_MACHINES_TOO
@given(st.integers(min_value=0, max_value=MAX_NANO))
def test_an_amount_is_read_as_it_was_written(nano: int) -> None:
    assert nano_of(amount_of(nano)) == nano


@pytest.mark.parametrize(("text", "nano"), [("0.10", 100_000_000), ("007", 7_000_000_000), ("0.000000000", 0)])
def test_zeros_in_front_and_at_the_end_mean_nothing(text: str, nano: int) -> None:
    assert nano_of(text) == nano


WRONG = {
    "-1": "must not be negative",
    "-0": "must not be negative",
    "0.1234567891": "at most 9 decimals",
    "0.123456789012": "at most 9 decimals",
    "0.1000000000": "at most 9 decimals",
    "9000000000.000000001": "at most 9000000000",
    "9" * 400: "at most 9000000000",
    **dict.fromkeys(
        ("", " ", "1 ", " 1", "+1", "nan", "NaN", "inf", "1e3", "1E-3", "1_000", "1,5", "1.", ".5", "0x1", "$1", "1\n"),
        "plain decimal",
    ),
    "\N{ARABIC-INDIC DIGIT ONE}": "plain decimal",
    "1.\N{ARABIC-INDIC DIGIT FIVE}": "plain decimal",
}


@pytest.mark.parametrize(("text", "said"), WRONG.items(), ids=lambda value: repr(value)[:20])
def test_what_is_no_amount_is_refused_with_a_reason(text: str, said: str) -> None:
    for read in (nano_of, per_token):
        with pytest.raises(ValueError, match=said):
            read(text)


@pytest.mark.parametrize(("text", "nano"), [("30", 30_000), ("1.25", 1250), ("0.625", 625), ("0.001", 1), ("0", 0)])
def test_a_token_costs_a_whole_number_of_nano_dollars(text: str, nano: int) -> None:
    assert per_token(text) == nano
    assert per_million(nano) == text


def test_a_price_that_would_have_to_be_rounded_is_refused() -> None:
    for text in ("0.0001", "1.2345", "0.000000001"):
        with pytest.raises(ValueError, match="at most 3 decimals"):
            per_token(text)


def test_a_cost_says_its_currency_and_its_basis() -> None:
    cost = Cost(nano=53_100_000, basis="usage")
    assert cost.values() == {"amount": "0.0531", "currency": "USD", "basis": "usage"}
