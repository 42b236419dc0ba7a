"""`pixyproxy reindex`: makes the search over the prompts anew."""

import argparse
import asyncio
import sys

from pixyproxy.bootstrap.alone import open_completion
from pixyproxy.cli.arguments import Commands
from pixyproxy.cli.progress import Lines
from pixyproxy.cli.start import require_data
from pixyproxy.settings import Settings


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("reindex", help="make the search over the prompts anew")
    parser.add_argument("--after", metavar="CURSOR", help="continue where an interrupted one printed this")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Take all images out of the search, and put them in again. Searches find only these meanwhile."""
    require_data(settings, migrates=False)
    lines = Lines("images are in the search")
    with open_completion(settings) as completion:
        try:
            count = asyncio.run(completion.renew(after=options.after, progress=lines.show))
        except BaseException:  # a part became unavailable, or Ctrl-C
            again = f"Continue with: --after {lines.cursor}" if lines.cursor else "Run it again."
            print(f"The search does not find all images now. {again}", file=sys.stderr)
            raise
    print(f"The search is made anew: {count:,} images.")
    return 0
