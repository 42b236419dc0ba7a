"""`pixyproxy reconcile`: finishes what processes left behind, and compares database and storage."""

import argparse
import asyncio
import contextlib
import sys
from datetime import timedelta

from pixyproxy.cli.arguments import Commands, object_key, positive
from pixyproxy.cli.findings import open_reconciler, show_progress, show_summary
from pixyproxy.core.exceptions import ConfigurationError, StorageUnavailableError
from pixyproxy.service.recovering.instance import find_mismatch, record_instance
from pixyproxy.service.recovering.reconciler import Reconciler
from pixyproxy.settings import PREFIX, Settings


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("reconcile", help="finish what was left behind, and compare database and storage")
    parser.add_argument("--apply", action="store_true", help="make the changes; without this nothing is changed")
    parser.add_argument(
        "--max-deletes", type=positive, default=100, metavar="N", help="objects to remove at most (default: 100)"
    )
    parser.add_argument("--after", type=object_key, metavar="KEY", help="continue after this object key")
    parser.add_argument(
        "--force", action="store_true", help="apply, though the storage looks like that of another database"
    )
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Report where database and storage disagree, and fix it with `--apply`."""

    async def work() -> int:
        async with open_reconciler(settings, apply=options.apply) as (reconciler, stores):
            grace = timedelta(seconds=settings.orphan_grace)
            doubt = await find_mismatch(stores)
            if doubt is None and options.apply:
                doubt = await find_too_many_orphans(reconciler, after=options.after or "", grace=grace)
            if doubt is not None and options.apply and not options.force:
                raise ConfigurationError(
                    f"{doubt}. Nothing was removed. Is {PREFIX}DATABASE_URL the database of {PREFIX}STORAGE_URL, and "
                    "not an old copy of it? If you are sure, add --force"
                )
            if doubt is not None:
                print(f"Warning: {doubt}.", file=sys.stderr)
            elif options.apply:
                with contextlib.suppress(StorageUnavailableError):  # its folder is not created yet
                    await record_instance(stores)
            with show_summary(reconciler), show_progress() as progress:
                await reconciler.settle()
                if options.after is None:  # the run before this one has done it
                    await reconciler.audit_usage()
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


async def find_too_many_orphans(reconciler: Reconciler, *, after: str, grace: timedelta) -> str | None:
    """A sentence if `--apply` would remove so many objects that the database is probably the wrong one; else None."""
    orphans = await reconciler.count_orphans(after=after, grace=grace)
    if not orphans.too_many:
        return None
    return f"{orphans.count} of {orphans.objects} objects are not recorded in this database, more than 1 % of them"
