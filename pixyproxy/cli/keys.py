"""`pixyproxy keys create | list | show | set | rotate | revoke`: manages API keys."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from pixyproxy.bootstrap.alone import OpenKeys, open_keys
from pixyproxy.cli.arguments import Commands, program_name
from pixyproxy.cli.key_arguments import add_rights, budgets_in, changes_in, key_name, overlap, rights_in
from pixyproxy.cli.start import require_data
from pixyproxy.core.budgets import Spending
from pixyproxy.core.keys import CONFIGURED_ID, EVERYTHING, ApiKey, Caller, in_order
from pixyproxy.core.money import amount_of
from pixyproxy.service.key_administration import OVERLAP
from pixyproxy.settings import Settings

T = TypeVar("T")
OPERATOR = Caller(api_key_id=CONFIGURED_ID, name="pixyproxy keys", scopes=EVERYTHING)
"""Whoever can read the settings can do everything."""
ONCE = "This is the only time that the key is shown."


def add_parser(commands: Commands) -> None:
    """Add the commands and their options."""
    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    create = keys.add_parser("create", help="make a key and show it, once")
    create.add_argument("name", metavar="NAME", help="who will use it: 1 to 64 of A-Z a-z 0-9 . _ @ -")
    add_rights(create, changes=False)
    create.set_defaults(run=run_create)
    keys.add_parser("list", help="all keys, without the keys themselves").set_defaults(run=run_list)
    for name, run, said in (
        ("show", run_show, "what a key may do"),
        ("set", run_set, "change what a key may do"),
        ("rotate", run_rotate, "give a key a new secret and show it, once"),
        ("revoke", run_revoke, "end a key"),
    ):
        parser = keys.add_parser(name, help=said)
        parser.add_argument("name", metavar="NAME")
        parser.set_defaults(run=run)
        if name == "set":
            parser.add_argument("--name", dest="new_name", type=key_name, metavar="NEW", help="another name")
            add_rights(parser, changes=True)
        if name == "rotate":
            parser.add_argument(
                "--overlap",
                type=overlap,
                default=OVERLAP,
                metavar="TIME",
                help="for how long the former secret stays valid: 24h (default), 7d, 0s",
            )


def run_create(settings: Settings, options: argparse.Namespace) -> int:
    """Print a new key on a line of its own."""
    rights, budgets = rights_in(options), budgets_in(options)
    print(with_keys(settings, lambda opened: opened.keys.create(options.name, rights, budgets=budgets)))
    print(ONCE, file=sys.stderr)
    return 0


def run_list(settings: Settings, _: argparse.Namespace) -> int:
    """Print a line a key."""
    now = datetime.now(UTC)
    for key in with_keys(settings, lambda opened: opened.administration.list(caller=OPERATOR)):
        start = f"{key.prefix}…  created {shown(key.created_at)}" if key.prefix else "the setting"
        print(f"{key.name:<40} {start}  {state_of(key, now=now)}  {','.join(in_order(key.rights.scopes)) or 'nothing'}")
    return 0


def run_show(settings: Settings, options: argparse.Namespace) -> int:
    """Print what a key may do, a line each."""
    print_key(*with_keys(settings, lambda opened: shown_key(opened, options.name)))
    return 0


def run_set(settings: Settings, options: argparse.Namespace) -> int:
    """Change a key, and print what it may do now."""
    values = changes_in(options) | ({} if options.new_name is None else {"name": options.new_name})

    async def change(opened: OpenKeys) -> tuple[ApiKey, Sequence[Spending]]:
        changed = await opened.administration.change(options.name, values, caller=OPERATOR, budgets=budgets_in(options))
        await warn_without_way_in(opened)
        return await shown_key(opened, changed.name)

    print_key(*with_keys(settings, change))
    return 0


def run_rotate(settings: Settings, options: argparse.Namespace) -> int:
    """Print the new key on a line of its own."""
    secret, key = with_keys(
        settings, lambda opened: opened.administration.rotate(options.name, caller=OPERATOR, overlap=options.overlap)
    )
    print(secret)
    ends = f"The former one is valid until {shown(key.former_until)}." if key.former_until else ""
    print(f"{ONCE} {ends}".strip(), file=sys.stderr)
    return 0


def run_revoke(settings: Settings, options: argparse.Namespace) -> int:
    """End a key."""

    async def revoke(opened: OpenKeys) -> None:
        await opened.administration.revoke(options.name, caller=OPERATOR)
        await warn_without_way_in(opened)

    with_keys(settings, revoke)
    print(f"{options.name} is revoked.")
    return 0


async def warn_without_way_in(opened: OpenKeys) -> None:
    """Say so if nobody is left who may administer over HTTP."""
    if not await opened.administration.has_way_in():
        print(
            "Warning: no key that is valid has the scope 'admin' now: keys can be managed only here. "
            f"'{program_name()} keys create NAME --scope all' makes one.",
            file=sys.stderr,
        )


async def shown_key(opened: OpenKeys, name: str) -> tuple[ApiKey, Sequence[Spending]]:
    """A key and its budgets."""
    key = await opened.administration.get(name, caller=OPERATOR)
    return key, (await opened.budgets.of_keys([key])).get(key.id, ())


def print_key(key: ApiKey, budgets: Sequence[Spending]) -> None:
    """Print a key's record."""
    limits, now = key.rights.limits, datetime.now(UTC)
    former = key.former_until is not None and key.former_until > now
    rows = {
        "name": key.name,
        "key": f"{key.prefix}…" if key.prefix else "the setting",
        "state": state_of(key, now=now),
        "scopes": ", ".join(in_order(key.rights.scopes)) or "none",
        "created": shown(key.created_at),
        "expires": "never" if key.rights.expires_at is None else shown(key.rights.expires_at),
        "former secret": f"valid until {shown(key.former_until)}" if key.former_until and former else "none",
        "generations a minute": limits.rate_per_minute or "no limit",
        "generations at once": limits.running_limit or "no limit",
        "of one replica": f"{limits.replica_share} %" if limits.replica_share else "no limit",
        **{
            f"budget ({each.budget.period.word})": f"${amount_of(each.budget.limit)}, used: ${amount_of(each.used)}"
            for each in budgets
        },
        "note": key.rights.note or "",
    }
    for name, value in rows.items():
        print(f"{name:<22}{value}".rstrip())


def state_of(key: ApiKey, *, now: datetime) -> str:
    """Whether the key is valid, and if not, since when."""
    if key.revoked_at is not None:
        return f"revoked {shown(key.revoked_at)}"
    return "in force" if key.in_force(now) else f"expired {shown(key.rights.expires_at)}"


def shown(moment: datetime | None) -> str:
    """A time in UTC."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def with_keys(settings: Settings, work: Callable[[OpenKeys], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on the keys of a database that exists."""
    require_data(settings)
    with open_keys(settings) as opened:
        return asyncio.run(work(opened))
