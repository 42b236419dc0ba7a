"""How `reconcile` and `check` show what they find."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator

from pixyproxy.bootstrap.adapters import open_adapters
from pixyproxy.bootstrap.services import build_reconciler
from pixyproxy.cli.start import require_data
from pixyproxy.core.protocols import Stores
from pixyproxy.service.recovering.findings import FIXED, Found
from pixyproxy.service.recovering.reconciler import Reconciler
from pixyproxy.settings import Settings


@contextlib.asynccontextmanager
async def open_reconciler(settings: Settings, *, apply: bool) -> AsyncIterator[tuple[Reconciler, Stores]]:
    """The reconciler of a database that exists, and its stores. It prints each finding."""
    require_data(settings, migrates=False)
    adapters = open_adapters(settings)

    def print_finding(found: Found) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)  # overwrites the line of the progress
        print(found, flush=True)

    try:
        yield build_reconciler(settings, adapters, apply=apply, report=print_finding), adapters.stores
    finally:
        await adapters.cleanup.aclose()


@contextlib.contextmanager
def show_progress() -> Iterator[Callable[[int, str], None]]:
    """Yields a function that shows on a terminal how many keys were compared. A failure prints the last key."""
    shown, last = sys.stderr.isatty(), ""

    def progress(count: int, key: str) -> None:
        nonlocal last
        last = key
        if shown:
            part = int(key[:4], 16) / 0x10000 if key else 1
            print(f"\r{count} keys compared, {part:.0%}", end="", file=sys.stderr, flush=True)

    try:
        yield progress
    except BaseException:  # a part became unavailable, or Ctrl-C
        if last:
            print(f"\nThe comparison was not completed. Continue with: --after {last}", file=sys.stderr)
        raise
    if shown:
        print(file=sys.stderr)


@contextlib.contextmanager
def show_summary(reconciler: Reconciler) -> Iterator[None]:
    """Print how many of each finding there were, after a failure too."""
    try:
        yield
        if not reconciler.counts:
            print("Database and storage agree.")
    finally:
        for finding, count in reconciler.counts.items():
            fixed = reconciler.fixed[finding]
            print(f"{finding}: {count}" + (f", of these {FIXED[finding]}: {fixed}" if fixed else ""))
