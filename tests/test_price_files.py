"""Price files: what they say, and what is said about those that are wrong."""

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pixyproxy.cli.main import build_parser
from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.money import per_token
from pixyproxy.core.price_files import MAX_BYTES, parse_prices, read_text
from pixyproxy.core.prices import INPUT_TOKENS, Price
from pixyproxy.data.prices import shipped_prices
from tests.examples import MOMENT, a_price

WHOLE = """
[[price]]
upstream = "images.example"
model = ["one", "two-*"]
valid_from = 2026-06-01
valid_to = 2026-12-31T23:00:00+01:00
text_in = 5
image_in = "8.00"
cached_text_in = 0.625
image_out = 30.000
source = "their page"
read_on = 2026-05-31
[price.reserve]
low = { "1024x1024" = 0.006, "*" = "0.0123" }
"*" = { "*" = 1 }

[[price]]
upstream = "images.example"
model = "three"
per_image = { "*" = { "*" = 0.000000001 } }
source = "a letter"
"""


def test_a_file_says_prices_as_sources_print_them() -> None:
    (one, read_on), (two, _), (three, unread) = parse_prices(WHOLE, now=MOMENT)
    assert one == a_price(
        upstream="images.example",
        model="one",
        valid_from=datetime(2026, 6, 1, tzinfo=UTC),
        valid_to=datetime(2026, 12, 31, 22, tzinfo=UTC),
        cached_text_in=625,
        cached_image_in=None,
        reserve={"low": {"1024x1024": 6_000_000, "*": 12_300_000}, "*": {"*": 1_000_000_000}},
        source="their page",
    )
    assert two == one.model_copy(update={"model": "two-*"})
    assert three.per_image == {"*": {"*": 1}}
    assert three.valid_from == MOMENT, "now"
    assert (read_on, unread) == (datetime(2026, 5, 31, tzinfo=UTC), MOMENT)


def test_an_amount_is_read_as_it_is_written_and_not_as_a_binary_fraction() -> None:
    text = '[[price]]\nupstream = "x"\nmodel = "m"\nper_image = {"*" = {"*" = 1234567.123456789}}\nsource = "s"\n'
    ((terms, _),) = parse_prices(text, now=MOMENT)
    assert terms.per_image == {"*": {"*": 1_234_567_123_456_789}}


PRICE = {"upstream": '"openai"', "model": '"gpt-image-2"', "image_out": "30", "source": '"a test"'}


def file(**values: str | None) -> str:
    """A file of one price with these values in TOML; None: without."""
    lines = [f"{name} = {value}" for name, value in {**PRICE, **values}.items() if value is not None]
    return "\n".join(["[[price]]", *lines, ""])


WRONG = {
    "no TOML": ("price = [[[", "is not TOML"),
    "an empty one": ("", "has no [[price]]"),
    "no list": ("price = 3", "has no [[price]]"),
    "a list of numbers": ("price = [3]", "price 1 is no table"),
    "another table": ("[[prices]]\nmodel = 'x'", "has 'prices'"),
    "a duplicate": (file() + 'model = "again"\n', "is not TOML"),
    "an unknown field": (file(image_output="30"), "image_output: is no field of a price; these are: upstream, model"),
    "negative": (file(image_out="-30"), "image_out: must not be negative"),
    "below zero, slightly": (file(image_out="-0.001"), "image_out: must not be negative"),
    "12 decimals": (file(image_out="1.000000000001"), "image_out: must have at most 9 decimals"),
    "a fraction of a nano-dollar": (file(image_out="0.0001"), "image_out: must have at most 3 decimals"),
    "NaN": (file(image_out="nan"), "image_out: must be a plain decimal"),
    "infinite": (file(image_out="inf"), "image_out: must be a plain decimal"),
    "an exponent": (file(image_out="3e1"), "image_out: must be a plain decimal"),
    "too much": (file(image_out="9000000000001"), "image_out: must be at most 9000000000"),
    "a truth": (file(image_out="true"), "image_out: must be a number of dollars"),
    "a table": (file(image_out="{}"), "image_out: must be a number of dollars"),
    "no amount": (file(image_out='"thirty"'), "image_out: must be a plain decimal"),
    "an end before the beginning": (file(valid_from="2026-02-01", valid_to="2026-01-01"), "must end after it begins"),
    "an end at the beginning": (file(valid_from="2026-02-01", valid_to="2026-02-01"), "must end after it begins"),
    "no day": (file(valid_from='"yesterday"'), "valid_from: must be a day such as 2026-11-30"),
    "a time without a day": (file(valid_from="12:00:00"), "valid_from: must be a day such as 2026-11-30"),
    "a number for a day": (file(valid_from="2026"), "valid_from: must be a day such as 2026-11-30"),
    "a day that is none": (file(valid_from="2026-02-29"), "is not TOML"),
    "another age": (file(valid_from="1999-12-31"), "valid_from: must be a day of the years 2000 to 9998"),
    "the end of time": (file(valid_to="9999-12-31"), "valid_to: must be a day of the years 2000 to 9998"),
    "before the beginning of time": (file(valid_from='"0001-01-01T00:00:00+01:00"'), "no moment of the years"),
    "no day of reading": (file(read_on='"May"'), "read_on: must be a day such as 2026-11-30"),
    "no upstream": (file(upstream=None), "upstream: Field required"),
    "no source": (file(source=None), "source: Field required"),
    "an empty source": (file(source='" "'), "source: "),
    "no model": (file(model=None), "model: "),
    "no models": (file(model="[]"), "model: "),
    "a pattern with * inside": (file(model='"gpt-*-2"'), "model: "),
    "a model with a space": (file(model='"gpt image"'), "model: "),
    "a model too long": (file(model=f'"{"m" * 65}"'), "model: "),
    "an upstream with a path": (file(upstream='"https://api.example/v1"'), "upstream: "),
    "no price": (file(image_out=None), "must have prices of tokens, or per_image"),
    "both": (file(per_image='{"*" = {"*" = 1}}'), "must have prices of tokens, or per_image, and not both"),
    "tokens without images": (file(image_out=None, text_in="1"), "must have image_out"),
    "only a reserve": (file(image_out=None, reserve='{"*" = {"*" = 1}}'), "must have prices of tokens, or per_image"),
    "an empty table": (file(image_out=None, per_image="{}"), "per_image: "),
    "a quality without sizes": (file(reserve="{low = {}}"), "must have a size for each quality"),
    "an amount for a quality": (file(reserve="{low = 1}"), "reserve.low: must be a table"),
    "an amount for all": (file(reserve="1"), "reserve: must be a table"),
    "a negative image": (file(reserve='{low = {"1x1" = -1}}'), "reserve.low.1x1: must not be negative"),
    "an id": (file(id="3"), "id: is no field of a price"),
    "shipped": (file(shipped="true"), "shipped: is no field of a price"),
    "the same twice": (file() + file(), "two prices of 'gpt-image-2' at openai overlap"),
    "the same model twice": (file(model='["a", "a"]'), "two prices of 'a' at openai overlap"),
    "overlapping": (
        file(valid_from="2026-01-01", valid_to="2026-03-01") + file(valid_from="2026-02-28"),
        "overlap: from 2026-01-01 on, and from 2026-02-28 on",
    ),
    "overlapping, the later first": (
        file(valid_from="2026-02-28T12:00:00") + file(valid_from="2026-01-01", valid_to="2026-03-01"),
        "overlap: from 2026-01-01 on, and from 2026-02-28T12:00:00Z on",
    ),
    "the second one": (file(model='"fine"') + file(image_out="-1"), "price 2 ('gpt-image-2'): image_out"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused_and_it_is_said_why(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_prices(text, now=MOMENT)
    assert said in caught.value.detail
    assert len(caught.value.detail) < 400


def test_prices_that_touch_do_not_overlap_and_one_without_an_end_ends_where_the_next_begins() -> None:
    text = (
        file(valid_from="2026-01-01", valid_to="2026-02-28")
        + file(valid_from="2026-02-28")
        + file(valid_from="2026-03-01T00:00:00+01:00")
        + file(model='"gpt-image-2*"', valid_from="2026-01-01")
        + file(upstream='"another"', valid_from="2026-01-01")
    )
    assert len(parse_prices(text, now=MOMENT)) == 5


def test_a_shipped_file_must_say_the_days() -> None:
    with pytest.raises(ConfigurationError, match="read_on"):
        parse_prices(file(valid_from="2026-01-01"))
    with pytest.raises(ConfigurationError, match="valid_from"):
        parse_prices(file(read_on="2026-01-01"))
    assert len(parse_prices(file(valid_from="2026-01-01", read_on="2026-01-02"))) == 1


def test_what_is_no_text_or_far_too_large_is_refused() -> None:
    assert read_text("günstig".encode()) == "günstig"
    for data, said in ((b"\xff\xfe", "not UTF-8"), (b" " * (MAX_BYTES + 1), "larger than 1024 KB")):
        with pytest.raises(ConfigurationError, match=said):
            read_text(data)


PAGE = (Path(__file__).parent.parent / "docs" / "costs.md").read_text()


def test_the_file_in_the_docs_can_be_imported() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    prices = [terms for terms, _ in parse_prices(text, now=MOMENT)]
    assert [terms.model for terms in prices] == ["flux-2-pro", "flux-2-flex", "gpt-image-2"]


def test_the_commands_in_the_docs_can_be_typed() -> None:
    text = "".join(re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S))
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert len(commands) == 9
    for program, *arguments in commands:
        assert program == "pixyproxy"
        options = build_parser().parse_args(arguments)
        assert options.run.__module__ == f"pixyproxy.cli.{arguments[0]}"


def test_every_field_of_a_price_stands_in_the_docs_and_no_other() -> None:
    table = PAGE.split("\n## A price\n", 1)[1].split("\n## ", 1)[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == {*Price.model_fields} - {"id"}


def test_the_docs_show_the_prices_that_we_ship() -> None:
    table = PAGE.split("\n## Ours\n", 1)[1].split("\n## ", 1)[0]
    shown = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            models, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            names = re.findall(r"`([^`]+)`", models)
            numbers = [number for cell in cells for number in re.findall(r"[0-9.]+|–", cell)]
            for name in names:
                whole = name if name[0] != "-" else f"gpt-image{name}"
                shown[whole] = [None if number == "–" else per_token(number) for number in numbers]
    shipped = {}
    for terms, _ in shipped_prices():
        if terms.upstream == "openai" and not re.search(r"-\d\d-\d\d$", terms.model):
            fields = ("text_in", "cached_text_in", "image_in", "cached_image_in", "image_out", "text_out")
            shipped[terms.model] = [getattr(terms, field) for field in fields]
    assert shown == shipped
    assert f"{INPUT_TOKENS:,} tokens" in PAGE
