"""`pixyproxy migrate`: brings the database's schema, and the records that older versions wrote, to this version."""

import argparse
import asyncio
import sys

from pixyproxy.bootstrap.adapters import database_url, make_data_dir, open_adapters, open_bucket, setting_in_errors
from pixyproxy.bootstrap.alone import open_completion
from pixyproxy.cli.arguments import Commands
from pixyproxy.cli.progress import Lines
from pixyproxy.cli.start import prepare_storage
from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.data.init import migrate
from pixyproxy.settings import PREFIX, Settings

COUNTED = 100_000
"""Records that are counted before the work, at most: to count all may take longer than a statement may."""


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("migrate", help="bring the database's schema to this version")
    parser.add_argument("--create-bucket", action="store_true", help="make the bucket too, unless it exists")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Bring schema and records to this version, make a bucket if asked to, write the database's id into the storage."""
    bucket = open_bucket(settings) if options.create_bucket else None
    url = database_url(settings)
    if settings.embedded:
        make_data_dir(settings)
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        migrate(url)
    print("The database's schema is up to date.", flush=True)
    asyncio.run(complete_records(settings))
    if bucket is not None:
        made = asyncio.run(bucket.create_bucket(region=settings.s3_region))
        print("The bucket was made." if made else "The bucket exists.")
    asyncio.run(prepare_if_reachable(settings))
    return 0


async def complete_records(settings: Settings) -> None:
    """Complete the records of images that an older version wrote. A run that is interrupted is continued by the next.

    The replicas do it too, so that nothing has to wait for this command.
    """
    with open_completion(settings) as completion:
        if total := await completion.count(most=COUNTED):
            many = f"{total:,} or more" if total == COUNTED else f"{total:,}"
            print(f"{many} records of images are of an older version. They are completed now.", flush=True)
            lines = Lines("records are complete", total=None if total == COUNTED else total)
            await completion.finish(progress=lines.show)
            print("All records of images are complete.", flush=True)


async def prepare_if_reachable(settings: Settings) -> None:
    """Write the id into the storage. If this command has no access to the storage, the first `serve` does it.

    Warns if the storage belongs to another database.
    """
    try:
        adapters = open_adapters(settings)
    except ConfigurationError:
        return
    try:
        await prepare_storage(adapters)
    except ConfigurationError as error:
        print(f"Warning: {error.detail}", file=sys.stderr)
    finally:
        await adapters.cleanup.aclose()
