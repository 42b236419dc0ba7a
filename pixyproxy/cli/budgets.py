"""`pixyproxy budgets list | set | remove`: what may be spent."""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pixyproxy.bootstrap.alone import open_budgets
from pixyproxy.cli.arguments import Commands
from pixyproxy.cli.key_arguments import budget
from pixyproxy.cli.start import require_data
from pixyproxy.cli.table import format_table
from pixyproxy.core.budgets import Period
from pixyproxy.core.money import amount_of
from pixyproxy.service.keys import ALL_KEYS
from pixyproxy.service.money.budgets import BudgetService
from pixyproxy.settings import Settings

T = TypeVar("T")

OWNER = f"the name of a key, or {ALL_KEYS!r} for all keys together"
HEADINGS = ("owner", "period", "limit", "used", "left", "begins anew")


def add_parser(commands: Commands) -> None:
    """Add the commands."""
    budgets = commands.add_parser("budgets", help="what may be spent").add_subparsers(required=True, metavar="COMMAND")
    budgets.add_parser("list", help="all budgets, in dollars, and what is used").set_defaults(run=run_list)
    setting = budgets.add_parser("set", help="give a key a budget, or all keys together")
    setting.add_argument("owner", metavar="OWNER", help=OWNER)
    setting.add_argument("budget", metavar="USD/PERIOD", type=budget, help="such as 20/month; also /day and /total")
    setting.set_defaults(run=run_set)
    removing = budgets.add_parser("remove", help="take a budget away: there is no limit any more")
    removing.add_argument("owner", metavar="OWNER", help=OWNER)
    removing.add_argument("period", type=period, metavar="PERIOD", help="day, month or total")
    removing.set_defaults(run=run_remove)


def run_list(settings: Settings, _: argparse.Namespace) -> int:
    """Print the budgets as a table."""
    found = with_budgets(settings, lambda budgets: budgets.list())
    rows = [
        (
            each.owner,
            each.spending.budget.period.word,
            amount_of(each.spending.budget.limit),
            amount_of(each.spending.used),
            amount_of(each.spending.budget.limit - each.spending.used),
            "never" if each.spending.resets_at is None else f"{each.spending.resets_at:%Y-%m-%d %H:%MZ}",
        )
        for each in found
    ]
    print(
        format_table(HEADINGS, rows, right=(2, 3, 4)) if rows else "There are no budgets: nothing limits what is spent."
    )
    return 0


def run_set(settings: Settings, options: argparse.Namespace) -> int:
    """Set a budget and show all."""
    limit, chosen = options.budget
    with_budgets(settings, lambda budgets: budgets.set(options.owner, limit=limit, period=chosen))
    return run_list(settings, options)


def run_remove(settings: Settings, options: argparse.Namespace) -> int:
    """Remove a budget and show all that are left."""
    with_budgets(settings, lambda budgets: budgets.remove(options.owner, period=options.period))
    return run_list(settings, options)


def period(text: str) -> Period:
    """The argument for a period."""
    try:
        return Period.of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def with_budgets(settings: Settings, work: Callable[[BudgetService], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on the budgets of a database that exists."""
    require_data(settings)
    with open_budgets(settings) as budgets:
        return asyncio.run(work(budgets))
