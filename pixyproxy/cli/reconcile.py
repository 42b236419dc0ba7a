"""`pixyproxy reconcile`: finishes what processes left behind, and compares database and storage."""

import argparse
import asyncio
from datetime import timedelta

from pixyproxy.cli.arguments import Commands, object_key, positive
from pixyproxy.cli.findings import open_reconciler, show_progress, show_summary
from pixyproxy.settings import Settings


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("reconcile", help="finish what was left behind, and compare database and storage")
    parser.add_argument("--apply", action="store_true", help="make the changes; without this nothing is changed")
    parser.add_argument(
        "--max-deletes", type=positive, default=100, metavar="N", help="objects to remove at most (default: 100)"
    )
    parser.add_argument("--after", type=object_key, metavar="KEY", help="continue after this object key")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Report where database and storage disagree, and fix it with `--apply`."""

    async def work() -> int:
        async with open_reconciler(settings, apply=options.apply) as reconciler:
            grace = timedelta(seconds=settings.orphan_grace)
            with show_summary(reconciler), show_progress() as progress:
                await reconciler.settle()
                rest = await reconciler.compare(
                    after=options.after or "", grace=grace, most=options.max_deletes, progress=progress
                )
            if rest is not None:
                print(
                    f"{options.max_deletes} objects were removed, the most for one run. Continue with: --after {rest}"
                )
            if not options.apply and reconciler.counts:
                print("Nothing was changed: run it with --apply to fix what can be fixed.")
            return 0

    return asyncio.run(work())
