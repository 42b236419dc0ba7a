"""`pixyproxy prices list | set | import | check`: what the upstream charges."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pixyproxy.bootstrap.adapters import upstream_name
from pixyproxy.bootstrap.alone import open_prices
from pixyproxy.bootstrap.services import build_catalogue
from pixyproxy.cli.arguments import EXIT_FAILURE, Commands, positive
from pixyproxy.cli.start import require_data
from pixyproxy.cli.table import format_table
from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.core.money import amount_of, per_million
from pixyproxy.core.price_files import IMAGE_PRICES, read_text
from pixyproxy.core.prices import ANY, TOKEN_PRICES, ByQualityAndSize, Price
from pixyproxy.service.money.prices import PriceService
from pixyproxy.settings import Settings

T = TypeVar("T")

STALE_DAYS = 90
SOURCE = "set with pixyproxy prices set"
HEADINGS = ("id", "upstream", "model", "from", "to", *(name.replace("_", " ") for name in TOKEN_PRICES))
UNKNOWN = "-"


def add_parser(commands: Commands) -> None:
    """Add the commands and their options."""
    prices = commands.add_parser("prices", help="what the upstream charges").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = prices.add_parser("list", help="the prices that hold or are to come, in dollars of a million tokens")
    listing.add_argument("--all", action="store_true", help="those that have ended too")
    listing.set_defaults(run=run_list)
    setting = prices.add_parser("set", help="set the price of a model; the one that holds now ends when it begins")
    setting.add_argument("model", metavar="MODEL", help="its name, or a beginning and *")
    setting.add_argument(
        "--upstream", help="openai, demo, or the host of OPENAI_BASE_URL (default: the configured one)"
    )
    setting.add_argument("--from", dest="valid_from", metavar="DAY", help="when it begins (default: now)")
    setting.add_argument("--to", dest="valid_to", metavar="DAY", help="when it ends (default: when the next begins)")
    for name in TOKEN_PRICES:
        words = "image tokens" if "image" in name else "text tokens"
        words = (
            ("cached " if "cached" in name else "") + words + (" of the output" if "out" in name else " of the input")
        )
        setting.add_argument(f"--{name.replace('_', '-')}", metavar="USD", help=f"dollars of a million {words}")
    for name in IMAGE_PRICES:
        setting.add_argument(
            f"--{name.replace('_', '-')}",
            action="append",
            metavar="[QUALITY:SIZE=]USD",
            help="dollars of one image; may be repeated"
            + (", to reserve while nothing is known yet" if name == "reserve" else " (instead of tokens)"),
        )
    setting.add_argument("--source", default=SOURCE, help="where the price stands")
    setting.set_defaults(run=run_set)
    importing = prices.add_parser("import", help="set the prices of a file, all or none")
    importing.add_argument("file", metavar="FILE", type=Path, help="TOML: see docs/costs.md")
    importing.set_defaults(run=run_import)
    checking = prices.add_parser("check", help="which models have no price, and which prices are old")
    checking.add_argument(
        "--days", type=positive, default=STALE_DAYS, help=f"old: looked up longer ago (default: {STALE_DAYS})"
    )
    checking.set_defaults(run=run_check)


def run_list(settings: Settings, options: argparse.Namespace) -> int:
    """Print the prices as a table."""
    print_prices(with_prices(settings, lambda prices: prices.list(ended=options.all)))
    return 0


def run_set(settings: Settings, options: argparse.Namespace) -> int:
    """Set a price and show it."""
    values: dict[str, Any] = {
        "model": options.model,
        "upstream": options.upstream or upstream_name(settings),
        "source": options.source,
    }
    for name in ("valid_from", "valid_to", *TOKEN_PRICES):
        if (value := getattr(options, name)) is not None:
            values[name] = value
    for name in IMAGE_PRICES:
        if (entries := getattr(options, name)) is not None:
            values[name] = by_quality_and_size(name, entries)
    price = with_prices(settings, lambda prices: prices.set(values))
    print_prices([price])
    unknown = [name.replace("_", " ") for name in TOKEN_PRICES if getattr(price, name) is None]
    if unknown and price.per_image is None:
        print(
            f"Unknown: {', '.join(unknown)}. An answer with such tokens has no cost, also if another price has them.",
            file=sys.stderr,
        )
    if price.reserve is None and price.per_image is None:
        print(
            "Nothing to reserve: until an image of a kind was drawn, keys with a budget get none. See --reserve.",
            file=sys.stderr,
        )
    return 0


def by_quality_and_size(name: str, entries: Iterable[str]) -> dict[str, dict[str, str]]:
    """The table of options such as `low:1024x1024=0.011`, or `0.04` for every quality and size."""
    found: dict[str, dict[str, str]] = {}
    for entry in entries:
        kind, equals, amount = entry.rpartition("=")
        quality, colon, size = kind.partition(":")
        if equals and not (colon and quality and size):
            raise ConfigurationError(f"{name}: must be QUALITY:SIZE=USD, such as low:1024x1024=0.011, or USD alone")
        sizes = found.setdefault(quality or ANY, {})
        if (size or ANY) in sizes:
            raise ConfigurationError(f"{name}: is given twice for {quality or ANY}:{size or ANY}")
        sizes[size or ANY] = amount
    return found


def run_import(settings: Settings, options: argparse.Namespace) -> int:
    """Set the prices of a file and show them."""
    data = options.file.read_bytes()
    try:
        prices, new = with_prices(settings, lambda service: service.load(read_text(data)))
    except ConfigurationError as error:
        raise ConfigurationError(f"{options.file}: {error.detail}") from None
    print_prices(prices)
    print(f"{new} new, {len(prices) - new} were set already.", file=sys.stderr)
    return 0


def run_check(settings: Settings, options: argparse.Namespace) -> int:
    """Print what an operator should look at. The exit status is 1 if there is something."""
    catalogue = build_catalogue(settings)
    models = {*catalogue.names, *catalogue.aliases.values()}
    older_than = timedelta(days=options.days)
    found = with_prices(
        settings, lambda prices: prices.check(upstream=upstream_name(settings), models=models, older_than=older_than)
    )
    for finding in found:
        print(finding)
    if not found:
        print("Every model in use has a price, and none is old.")
    return EXIT_FAILURE if found else 0


def with_prices(settings: Settings, work: Callable[[PriceService], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on the prices of a database that exists."""
    require_data(settings)
    with open_prices(settings) as prices:
        return asyncio.run(work(prices))


def print_prices(prices: Sequence[Price]) -> None:
    """Print a table of prices: dollars of a million tokens, or of one image by quality and size."""
    rows = [(*cells(price), remark(price)) for price in prices]
    print(format_table((*HEADINGS, "per image, source"), rows, right=(0, *range(5, 5 + len(TOKEN_PRICES)))))


def cells(price: Price) -> tuple[str, ...]:
    """The cells of a price, but for the last."""
    tokens = [getattr(price, name) for name in TOKEN_PRICES]
    return (
        str(price.id),
        price.upstream,
        price.model,
        moment(price.valid_from),
        moment(price.valid_to),
        *(UNKNOWN if nano is None else per_million(nano) for nano in tokens),
    )


def remark(price: Price) -> str:
    """What an image costs, what is reserved for one, and who says so."""
    parts = [span("costs", price.per_image), span("reserves", price.reserve)]
    origin = f"{'shipped' if price.shipped else 'yours'}, of {moment(price.recorded_at)[:10]}: {price.source}"
    return "; ".join([*filter(None, parts), origin])


def span(verb: str, table: ByQualityAndSize | None) -> str:
    """The lowest and the highest price of an image."""
    if table is None:
        return ""
    amounts = [nano for sizes in table.values() for nano in sizes.values()]
    low, high = (amount_of(nano) for nano in (min(amounts), max(amounts)))
    return f"{verb} {low}" if low == high else f"{verb} {low} to {high}"


def moment(value: datetime | None) -> str:
    """A day, or a moment of a day, in UTC."""
    if value is None:
        return UNKNOWN
    return f"{value:%Y-%m-%d}" if value.time() == time() else f"{value:%Y-%m-%dT%H:%M:%SZ}"
