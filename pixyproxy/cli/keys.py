"""`pixyproxy keys create | list | revoke`: manages API keys."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from pixyproxy.bootstrap.services import open_keys
from pixyproxy.cli.arguments import Commands
from pixyproxy.cli.start import require_data
from pixyproxy.service.keys import KeyService
from pixyproxy.settings import Settings

T = TypeVar("T")


def add_parser(commands: Commands) -> None:
    """Add the commands and their options."""
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    create = keys.add_parser("create", help="make a key and show it, once")
    create.add_argument("name", metavar="NAME", help="who will use it: 1 to 64 of A-Z a-z 0-9 . _ @ -")
    create.set_defaults(run=run_create)
    keys.add_parser("list", help="all keys, without the keys themselves").set_defaults(run=run_list)
    revoke = keys.add_parser("revoke", help="end a key")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(run=run_revoke)


def run_create(settings: Settings, options: argparse.Namespace) -> int:
    """Print a new key on a line of its own."""
    print(with_keys(settings, lambda keys: keys.create(options.name)))
    print("This is the only time that the key is shown.", file=sys.stderr)
    return 0


def run_list(settings: Settings, _: argparse.Namespace) -> int:
    """Print a line a key."""
    for key in with_keys(settings, lambda keys: keys.list()):
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M:%SZ}" if key.revoked_at else "in force"
        print(f"{key.name:<40} {key.prefix}…  created {key.created_at:%Y-%m-%d %H:%M:%SZ}  {state}")
    return 0


def run_revoke(settings: Settings, options: argparse.Namespace) -> int:
    """End a key."""
    with_keys(settings, lambda keys: keys.revoke(options.name))
    print(f"{options.name} is revoked.")
    return 0


def with_keys(settings: Settings, work: Callable[[KeyService], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on the keys of a database that exists."""
    require_data(settings)
    keys, _, close = open_keys(settings)
    try:
        return asyncio.run(work(keys))
    finally:
        close()
