"""`pixyproxy login`: makes an address that logs in to the page, once."""

import argparse
import asyncio
import sys

from pixyproxy.bootstrap.alone import open_keys
from pixyproxy.cli.addresses import login_url, url_of
from pixyproxy.cli.arguments import Commands, port
from pixyproxy.cli.choosing import choose_caller
from pixyproxy.cli.start import require_data
from pixyproxy.core.exceptions import ConfigurationError
from pixyproxy.settings import PREFIX, Settings


def add_parser(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("login", help="make an address that logs in to the page, once")
    parser.add_argument("--key", metavar="NAME", help="whose page it is: the name of an API key in force")
    parser.add_argument("--host", help=f"where the server listens (default: {PREFIX}HOST); without {PREFIX}PUBLIC_URL")
    parser.add_argument("--port", type=port, help=f"its port (default: {PREFIX}PORT); without {PREFIX}PUBLIC_URL")
    parser.set_defaults(run=run)


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Print the address on a line of its own."""
    address = base_url(settings, options)
    require_data(settings)
    with open_keys(settings) as opened:

        async def make() -> str:
            return await opened.sessions.make_code(await choose_caller(settings, opened.keys, name=options.key))

        print(login_url(address, asyncio.run(make())))
    print("Whoever opens it is logged in. It is good once, and for 15 minutes.", file=sys.stderr)
    return 0


def base_url(settings: Settings, options: argparse.Namespace) -> str:
    """The address of the page."""
    chosen = options.host is not None or options.port is not None
    if settings.public_url is not None and not chosen:
        return settings.public_url
    number = settings.port if options.port is None else options.port
    if not number:
        raise ConfigurationError(f"{PREFIX}PORT is 0, a free one: name the server's with --port")
    return url_of(options.host or settings.host, number)
