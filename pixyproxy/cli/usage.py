"""`pixyproxy usage`: what generations add up to, as a table or as CSV."""

import argparse
import asyncio
import sys

from pydantic import ValidationError

from pixyproxy.bootstrap.alone import open_usage
from pixyproxy.cli.arguments import Commands
from pixyproxy.cli.start import require_data
from pixyproxy.cli.table import format_table
from pixyproxy.core.exceptions import ConfigurationError, InvalidRequestError, UsageNotReadyError
from pixyproxy.core.money import amount_of
from pixyproxy.core.usage import Span, Sums, month_of
from pixyproxy.service.money.usage import UsageQuery, UsageReport, UsageService
from pixyproxy.settings import Settings
from pixyproxy.web.usage.details import csv_of

NUMBERS = ("generations", "images", "failed", "running", "unpriced", "text in", "images in", "out", "cost", "estimated")


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("usage", help="what was drawn, and what it cost")
    span = parser.add_mutually_exclusive_group()
    span.add_argument("--month", metavar="YYYY-MM", type=month, help="a month; the default is the present one (UTC)")
    span.add_argument("--from", dest="since", metavar="DAY", help="the first day, such as 2026-11-30")
    parser.add_argument("--to", dest="until", metavar="DAY", help="the day after the last one")
    parser.add_argument(
        "--by", default="key", help="one or two of day, month, key, model, state, such as key,model (default: key)"
    )
    parser.add_argument("--key", metavar="NAME", help="only that of the key with this name")
    parser.add_argument("--csv", action="store_true", help="as CSV, for a spreadsheet")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the usage of everybody."""
    query = query_of(options)
    require_data(settings)
    try:
        with open_usage(settings) as usage:
            report = asyncio.run(wait_for(usage, query))
    except InvalidRequestError as error:
        (problem, *_) = error.extra["errors"]
        raise ConfigurationError(f"--{problem['pointer'].removeprefix('?')} {problem['detail']}") from None
    print(csv_of(report) if options.csv else table_of(report), end="" if options.csv else "\n")
    return 0


def query_of(options: argparse.Namespace) -> UsageQuery:
    """The query; `ConfigurationError` for one that cannot be."""
    if options.month is not None and options.until is not None:
        raise ConfigurationError("--month and --to exclude each other")
    since, until = options.since, options.until
    if options.month is not None:
        since, until = options.month.since, options.month.until
    try:
        return UsageQuery.model_validate({"from": since, "to": until, "by": options.by, "caller": options.key})
    except ValidationError as error:
        (problem, *_) = error.errors(include_url=False, include_context=False, include_input=False)
        option = {"caller": "key"}.get(str(problem["loc"][0]), problem["loc"][0])
        said = problem["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"--{option}: {said}") from None


async def wait_for(usage: UsageService, query: UsageQuery) -> UsageReport:
    """The report, however long it takes to add up days for the first time."""
    while True:
        try:
            return await usage.everybodys(query)
        except UsageNotReadyError as error:
            print(error.detail, file=sys.stderr)


def table_of(report: UsageReport) -> str:
    """The groups and their total as a table. Amounts are dollars."""
    rows = [
        [*("(unknown)" if value is None else value for value in group.values.values()), *cells(group.sums)]
        for group in report.groups
    ]
    rows.append(["total", *[""] * (len(report.by) - 1), *cells(report.total)])
    headings = [*(each.value for each in report.by), *NUMBERS]
    return format_table(headings, rows, right=range(len(report.by), len(headings)))


def cells(sums: Sums) -> list[str]:
    """The numbers of a line."""
    numbers = (sums.generations, sums.images, sums.failed, sums.running, sums.unpriced)
    tokens = (sums.text_in, sums.image_in, sums.output)
    return [*map(str, (*numbers, *tokens)), amount_of(sums.cost), amount_of(sums.estimated)]


def month(text: str) -> Span:
    """The argument for a month."""
    try:
        return month_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
