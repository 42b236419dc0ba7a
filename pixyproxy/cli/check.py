"""`pixyproxy check`: is every row backed by its object, every object by a row, and does the ledger add up?"""

import argparse
import asyncio
import sys
from datetime import timedelta

from pixyproxy.cli.arguments import EXIT_FAILURE, Commands
from pixyproxy.cli.findings import open_reconciler, show_progress, show_summary
from pixyproxy.service.recovering.findings import Finding
from pixyproxy.service.recovering.instance import find_mismatch
from pixyproxy.settings import Settings


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("check", help="are rows and objects complete, and does the ledger add up?")
    parser.set_defaults(run=run)


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Report where database and storage disagree, or sums of the ledger or the usage. The exit status is 1 if so."""

    async def work() -> int:
        async with open_reconciler(settings, apply=False) as (reconciler, stores):
            if mismatch := await find_mismatch(stores):
                print(f"Warning: {mismatch}.", file=sys.stderr)
            with show_summary(reconciler), show_progress() as progress:
                await reconciler.settle()
                await reconciler.compare(grace=timedelta(0), most=0, progress=progress)
                await reconciler.audit_ledger()
                await reconciler.audit_usage()
            if reconciler.counts[Finding.USAGE]:
                print("'pixyproxy reconcile --apply' removes these days, and they are added up anew.")
            return EXIT_FAILURE if reconciler.counts or mismatch else 0

    return asyncio.run(work())
