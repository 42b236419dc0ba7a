"""The command line."""

import argparse
import asyncio
import contextlib
import logging.config
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pixyproxy import bootstrap
from pixyproxy.core.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    DatabaseUnavailableError,
    PixyProxyException,
    StorageUnavailableError,
)
from pixyproxy.data.init import migrate, require_current_schema
from pixyproxy.service.findings import MENDED, Found
from pixyproxy.service.keys import KeyService, digest, is_well_formed, new_key
from pixyproxy.service.reconciler import Reconciler
from pixyproxy.settings import PREFIX, Settings, read_settings
from pixyproxy.storage.keys import KEY
from pixyproxy.web import server
from pixyproxy.web.log_format import log_config

T = TypeVar("T")

EMBEDDED_KEY_NAME = "first-start"
ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not listened on
EXIT_FAILURE = 1
EXIT_CONFIGURATION = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. The exit status is 0, 1 for a failure, 2 for a wrong command line or configuration."""
    options = parser().parse_args(arguments)
    try:
        settings = read_settings()
        logging.captureWarnings(capture=True)
        logging.config.dictConfig(log_config(form=settings.log_format, level=settings.log_level))
        command: Callable[[Settings, argparse.Namespace], int] = options.command
        return command(settings, options)
    except ConfigurationError as error:
        print(f"pixyproxy: {error.detail}", file=sys.stderr)
        return EXIT_CONFIGURATION
    except DatabaseUnavailableError as error:
        print(f"pixyproxy: {PREFIX}DATABASE_URL: {error.detail}", file=sys.stderr)
        return EXIT_FAILURE
    except PixyProxyException as error:
        print(f"pixyproxy: {error.detail}{cause(error)}", file=sys.stderr)
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE


def cause(error: PixyProxyException) -> str:
    """The type of what lies behind an error; its words might hold a password."""
    return f" ({type(error.__cause__).__name__})" if error.__cause__ else ""


def program() -> str:
    """How this command was called, so that what we say can be typed."""
    return sys.argv[0] if sys.argv[0].endswith("/pixyproxy") else "pixyproxy"


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(
        prog="pixyproxy",
        description="Every image you pay an image model for, kept in your own bucket and database, at a lasting URL.",
        epilog="Everything else is set by environment variables; the README lists them.",
    )
    root.add_argument("--version", action="version", version=bootstrap.version())
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve the API")
    serve.add_argument("--host", help=f"address to listen on (default: {PREFIX}HOST, 127.0.0.1)")
    serve.add_argument("--port", type=port, help=f"port to listen on (default: {PREFIX}PORT, 8000)")
    serve.add_argument("--workers", type=positive, default=1, help="processes (default: 1)")
    serve.set_defaults(command=run_serve)

    migration = commands.add_parser("migrate", help="bring the database's schema to this version")
    migration.add_argument("--create-bucket", action="store_true", help="make the bucket too, unless it exists")
    migration.set_defaults(command=run_migrate)

    keys = commands.add_parser("keys", help="API keys").add_subparsers(required=True, metavar="COMMAND")
    create = keys.add_parser("create", help="make a key and show it, once")
    create.add_argument("name", metavar="NAME", help="who will use it: 1 to 64 of A-Z a-z 0-9 . _ @ -")
    create.set_defaults(command=run_keys_create)
    keys.add_parser("list", help="all keys, without the keys themselves").set_defaults(command=run_keys_list)
    revoke = keys.add_parser("revoke", help="end a key")
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(command=run_keys_revoke)

    reconcile = commands.add_parser("reconcile", help="finish what was left behind, and compare database and storage")
    reconcile.add_argument("--apply", action="store_true", help="do it; without this nothing is changed")
    reconcile.add_argument(
        "--max-deletes", type=positive, default=100, metavar="N", help="objects to remove at most (default: 100)"
    )
    reconcile.add_argument("--after", type=object_key, metavar="KEY", help="go on behind this object key")
    reconcile.set_defaults(command=run_reconcile)
    check = commands.add_parser("check", help="is every row backed by its object, and every object by a row?")
    check.set_defaults(command=run_check)

    upstream = commands.add_parser("demo-upstream", help="the demo upstream over HTTP, for trying and for tests")
    upstream.add_argument("--host", default="127.0.0.1")
    upstream.add_argument("--port", type=port, default=8001, help="(default: 8001)")
    upstream.add_argument("--delay", type=seconds, default=0.0, metavar="SECONDS", help="before each answer")
    upstream.set_defaults(command=run_demo_upstream)
    return root


def port(text: str) -> int:
    """A port's number; 0 takes a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)


def object_key(text: str) -> str:
    """An object's key, as `reconcile` prints it."""
    if not KEY.fullmatch(text):
        raise argparse.ArgumentTypeError("an object's key is {guid}.{png|webp|jpg}")
    return text


def seconds(text: str) -> float:
    """A time of 0 to 3600 seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3600:
        raise argparse.ArgumentTypeError("must be a number of seconds, 0 to 3600")
    return value


def run_serve(settings: Settings, options: argparse.Namespace) -> int:
    """Check everything that can be checked, say how to begin, and serve."""
    host, number = options.host or settings.host, settings.port if options.port is None else options.port
    parts = bootstrap.build(settings)
    prepare_database(settings)
    number = require_free(host, number, mend=f"{PREFIX}HOST, {PREFIX}PORT, --host or --port")
    key_file = asyncio.run(prepare(settings, parts))
    greet(settings, address=address_of(host, number), key_file=key_file)
    server.serve(
        "pixyproxy.bootstrap:app_from_environment",
        host=host,
        port=number,
        workers=options.workers,
        log_config=log_config(form=settings.log_format, level=settings.log_level),
    )
    return 0


def prepare_database(settings: Settings) -> None:
    """Bring the embedded default's schema to this version; `ConfigurationError` if another one is not at it."""
    url = bootstrap.database_url(settings)
    if settings.embedded:
        bootstrap.make_data_dir(settings)
        migrate(url)
    with bootstrap.naming(f"{PREFIX}DATABASE_URL"):
        require_current_schema(url)


def require_free(host: str, number: int, *, mend: str) -> int:
    """The port, a free one for 0; `ConfigurationError` if it cannot be listened on, before anything else is said."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as uvicorn does
            probe.bind(address)
            bound: int = probe.getsockname()[1]
            return bound
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no address"
        raise ConfigurationError(f"cannot listen on {host}:{number} ({why}): choose another with {mend}") from None


def address_of(host: str, number: int) -> str:
    """The URL that leads to what listens there."""
    if host in ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{number}" if ":" in host else f"http://{host}:{number}"


async def prepare(settings: Settings, parts: bootstrap.Parts) -> Path | None:
    """Warn of parts that do not answer, and make the embedded default's key; the file that holds it."""
    try:
        with contextlib.suppress(PixyProxyException):  # what does not answer is said in the next lines
            await bootstrap.make_storage(parts.adapters)
        for name, failure in (await parts.services.readiness.failures()).items():
            print(f"Warning: the {name} is not ready: {failure.detail}", file=sys.stderr)
        try:
            await parts.adapters.folder.probe()
        except StorageUnavailableError:
            print(
                f"Warning: {PREFIX}DATA_DIR: {settings.data_dir / 'parked'} cannot be written: with storage and "
                "database away, SIGTERM would lose pictures",
                file=sys.stderr,
            )
        return await embedded_key(settings, parts.services.keys)
    finally:
        await parts.adapters.cleanup.aclose()


async def embedded_key(settings: Settings, keys: KeyService) -> Path | None:
    """The file with the key of the embedded default, made at its first start; None if a key was configured."""
    if not settings.embedded or settings.api_key is not None:
        return None
    file = settings.data_dir / "api-key"
    if file.exists():
        key = file.read_text(errors="replace").strip()
        if not is_well_formed(key):
            raise ConfigurationError(f"{file} holds no API key: delete it, and the next start makes a new one")
    else:
        key = new_key()
        file.touch(mode=0o600)
        file.write_text(key + "\n")
    try:
        await keys.authenticate(key)
    except AuthenticationError:
        await record_key(keys, key, file=file)
        print(f"Your API key (kept in {file}): {key}\n")
    return file


async def record_key(keys: KeyService, key: str, *, file: Path) -> None:
    """Record the key of a first start; `ConfigurationError` if it was revoked since."""
    try:
        await keys.add(f"{EMBEDDED_KEY_NAME}-{digest(key)[:8]}", key=key)
    except ConflictError:
        raise ConfigurationError(
            f"the key in {file} is revoked: delete the file, and the next start makes a new one"
        ) from None


def greet(settings: Settings, *, address: str, key_file: Path | None) -> None:
    """What a newcomer must know, before the log begins."""
    if key_file is not None:
        key = f"$(cat {key_file})"
        print(f"The API key is in {key_file}.")
    else:
        key = f"${PREFIX}API_KEY" if settings.api_key is not None else "$KEY"
        if settings.api_key is None:
            print(f"Make an API key with: {program()} keys create NAME")
    if settings.draws_demo:
        print("Pictures come from the demo upstream, which costs nothing. For real ones set OPENAI_API_KEY.")
    print(
        f"PixyProxy listens on {address} (its API is described at {address}/docs). Try:\n\n"
        f'  curl {address}/image -H "Authorization: Bearer {key}" \\\n'
        "    -H 'Content-Type: application/json' -d '{\"prompt\": \"a lighthouse at dawn\"}'\n",
        flush=True,
    )


def run_migrate(settings: Settings, options: argparse.Namespace) -> int:
    """Bring the schema to this version, and make the bucket if that was asked for."""
    bucket = bootstrap.open_bucket(settings) if options.create_bucket else None
    url = bootstrap.database_url(settings)
    if settings.embedded:
        bootstrap.make_data_dir(settings)
    with bootstrap.naming(f"{PREFIX}DATABASE_URL"):
        migrate(url)
    print("The database's schema is up to date.")
    if bucket is not None:
        made = asyncio.run(bucket.create_bucket(region=settings.s3_region))
        print("The bucket was made." if made else "The bucket exists.")
    return 0


def run_keys_create(settings: Settings, options: argparse.Namespace) -> int:
    """Print a new key on a line of its own."""
    print(with_keys(settings, lambda keys: keys.create(options.name)))
    print("This is the only time that the key is shown.", file=sys.stderr)
    return 0


def run_keys_list(settings: Settings, _: argparse.Namespace) -> int:
    """Print a line a key."""
    for key in with_keys(settings, lambda keys: keys.list()):
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M:%SZ}" if key.revoked_at else "in force"
        print(f"{key.name:<40} {key.prefix}…  created {key.created_at:%Y-%m-%d %H:%M:%SZ}  {state}")
    return 0


def run_keys_revoke(settings: Settings, options: argparse.Namespace) -> int:
    """End a key."""
    with_keys(settings, lambda keys: keys.revoke(options.name))
    print(f"{options.name} is revoked.")
    return 0


def require_data(settings: Settings, *, migrates: bool = True) -> None:
    """Return if the database exists and has this version's schema; `ConfigurationError` if not.

    `migrates`: whether the embedded default's is brought to it.
    """
    needed = settings.data_dir if migrates else settings.data_dir / "pixyproxy.db"
    if settings.embedded and not needed.exists():
        raise ConfigurationError(
            f"nothing is at {settings.data_dir}: set {PREFIX}DATA_DIR or {PREFIX}DATABASE_URL to where the server "
            f"keeps its data, or start '{program()} serve' here once"
        )
    if migrates:
        prepare_database(settings)
    else:
        with bootstrap.naming(f"{PREFIX}DATABASE_URL"):
            require_current_schema(bootstrap.database_url(settings))


def with_keys(settings: Settings, work: Callable[[KeyService], Coroutine[Any, Any, T]]) -> T:
    """The result of `work` on the keys of a database that exists."""
    require_data(settings)
    keys, close = bootstrap.open_keys(settings)
    try:
        return asyncio.run(work(keys))
    finally:
        close()


def run_reconcile(settings: Settings, options: argparse.Namespace) -> int:
    """Say what database and storage disagree about, and mend it if that was asked for."""

    async def work() -> int:
        async with open_reconciler(settings, apply=options.apply) as reconciler:
            grace = timedelta(seconds=settings.orphan_grace)
            with summary(reconciler), progress() as compared:
                await reconciler.settle()
                rest = await reconciler.compare(
                    after=options.after or "", grace=grace, most=options.max_deletes, progress=compared
                )
            if rest is not None:
                print(f"{options.max_deletes} objects were removed, the most for one run. Go on with: --after {rest}")
            if not options.apply and reconciler.counts:
                print("Nothing was changed: run it with --apply to mend what can be mended.")
            return 0

    return asyncio.run(work())


def run_check(settings: Settings, _: argparse.Namespace) -> int:
    """Say what database and storage disagree about; the exit status is 1 if they do."""

    async def work() -> int:
        async with open_reconciler(settings, apply=False) as reconciler:
            with summary(reconciler), progress() as compared:
                await reconciler.settle()
                await reconciler.compare(grace=timedelta(0), most=0, progress=compared)
            return EXIT_FAILURE if reconciler.counts else 0

    return asyncio.run(work())


@contextlib.asynccontextmanager
async def open_reconciler(settings: Settings, *, apply: bool) -> AsyncIterator[Reconciler]:
    """The reconciler of a database that exists; it prints what it finds."""
    require_data(settings, migrates=False)
    adapters = bootstrap.open_adapters(settings)

    def tell(found: Found) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)  # over the line of the progress
        print(found, flush=True)

    try:
        yield bootstrap.reconciler(settings, adapters, apply=apply, tell=tell)
    finally:
        await adapters.cleanup.aclose()


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, str], None]]:
    """Shows on a terminal how many keys were compared, and how far in their order that is; at a failure, the last."""
    shown, last = sys.stderr.isatty(), ""

    def compared(count: int, key: str) -> None:
        nonlocal last
        last = key
        if shown:
            part = int(key[:4], 16) / 0x10000 if key else 1
            print(f"\r{count} keys compared, {part:.0%}", end="", file=sys.stderr, flush=True)

    try:
        yield compared
    except BaseException:  # a part went away, or Ctrl-C
        if last:
            print(f"\nIt did not come to its end. What was not compared is behind: --after {last}", file=sys.stderr)
        raise
    if shown:
        print(file=sys.stderr)


@contextlib.contextmanager
def summary(reconciler: Reconciler) -> Iterator[None]:
    """Prints at the end, whatever it is, how many of what were found."""
    try:
        yield
        if not reconciler.counts:
            print("Database and storage agree.")
    finally:
        summarize(reconciler)


def summarize(reconciler: Reconciler) -> None:
    """Print how many of what were found."""
    for finding, count in reconciler.counts.items():
        mended = reconciler.mended[finding]
        print(f"{finding}: {count}" + (f", of these {MENDED[finding]}: {mended}" if mended else ""))


def run_demo_upstream(settings: Settings, options: argparse.Namespace) -> int:
    """Serve the demo upstream over HTTP."""
    from pixyproxy.generation.demo import DemoUpstream

    number = require_free(options.host, options.port, mend="--host or --port")
    address = f"{address_of(options.host, number)}/v1"
    print(f"The demo upstream listens on {address}: set OPENAI_BASE_URL to it, OPENAI_API_KEY to anything.", flush=True)
    server.serve_plain(
        DemoUpstream(delay=options.delay).app,
        host=options.host,
        port=number,
        log_config=log_config(form=settings.log_format, level=settings.log_level),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
