"""`pixyproxy doctor`: what is configured, and does it work? It buys nothing and leaves nothing behind."""

import argparse
import asyncio
import os
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from pixyproxy.bootstrap.adapters import database_url, open_adapters, open_generator, setting_in_errors, upstream_name
from pixyproxy.bootstrap.services import build_catalogue
from pixyproxy.cli.arguments import EXIT_FAILURE, Commands, program_name
from pixyproxy.core.exceptions import PixyProxyException
from pixyproxy.core.limits import FOLDERS
from pixyproxy.core.protocols import ImageStorage, Stores
from pixyproxy.data.facts import facts_of
from pixyproxy.data.urls import sqlite_file
from pixyproxy.service.recovering.instance import find_mismatch
from pixyproxy.settings import PREFIX, Settings
from pixyproxy.storage.folder import FolderImageStorage

CLOCK = 1.0
"""Seconds of difference between two clocks that need no mention."""
DEADLINE = 15.0
"""Seconds for the upstream's list of models."""
OBJECT = b"PixyProxy writes this object, reads a part of it, and removes it."
PART = range(10, 16)
FILES_PER_CONNECTION = 2
"""A client's connection, and what is read or drawn for it."""
MIB = 1024 * 1024


@dataclass(frozen=True)
class Line:
    """What was looked at, and what was found. `todo`: what to do; `fails`: whether PixyProxy cannot work as it is."""

    what: str
    found: str
    todo: str = ""
    fails: bool = False

    def __str__(self) -> str:
        mark = "FAIL" if self.fails else "note" if self.todo else "ok"
        return f"{mark:<5} {self.what:<11} {self.found}" + (f"\n{'':18}→ {self.todo}" if self.todo else "")


def add_parser(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="what is configured, and does it work? Buys nothing")
    parser.set_defaults(run=run)


def run(settings: Settings, _: argparse.Namespace) -> int:
    """Print a line for each part. The exit status is 1 if one fails."""

    async def work() -> int:
        failed = False
        async for line in examined(settings):
            print(line, flush=True)
            failed = failed or line.fails
        return EXIT_FAILURE if failed else 0

    return asyncio.run(work())


async def examined(settings: Settings) -> AsyncIterator[Line]:
    """A line for each part, each as soon as it is known."""
    for part, look in (("database", database), ("storage", storage), ("upstream", upstream)):
        try:
            yield await look(settings)
        except PixyProxyException as error:
            cause = error.__cause__
            yield Line(part, error.detail, _todo(part, type(cause).__name__ if cause else ""), fails=True)
    for line in machine(settings):
        yield line


def _todo(part: str, cause: str) -> str:
    variables = {
        "database": f"{PREFIX}DATABASE_URL",
        "storage": f"{PREFIX}STORAGE_URL, the S3 and AWS variables",
        "upstream": "OPENAI_API_KEY, OPENAI_BASE_URL",
    }
    return f"look at {variables[part]}" + (f" ({cause})" if cause else "")


async def database(settings: Settings) -> Line:
    """The database: its version, TLS, schema and clock."""
    url = database_url(settings)
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        file = sqlite_file(url)
        if file is not None and not file.exists():
            command = "serve" if settings.embedded else "migrate"
            todo = f"'{program_name()} {command}' makes it"
            return Line("database", f"SQLite; {file} does not exist yet", todo, fails=not settings.embedded)
        facts = await asyncio.to_thread(facts_of, url)
    tls = "" if facts.server.startswith("SQLite") else f", {facts.cipher or 'no TLS'}"
    found = f"{facts.server}{tls}, its clock is {_difference(facts.ahead)}"
    if not facts.current:
        todo = f"its schema is not the one of this version: run '{program_name()} migrate'"
        return Line("database", found, todo, fails=True)
    if abs(facts.ahead) > CLOCK:
        return Line("database", found, "set the clocks by NTP: usage is added up by days of both clocks")
    return Line("database", f"{found}, its schema is current")


def _difference(ahead: float) -> str:
    if abs(ahead) <= CLOCK:
        return "ours"
    return f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"


async def storage(settings: Settings) -> Line:
    """The storage: an object is put, read by range, and removed; and whether it is this database's."""
    async with _stores(settings) as stores:
        place = _place(settings, stores.storage)
        if isinstance(stores.storage, FolderImageStorage) and not await asyncio.to_thread(_folder(settings).exists):
            return Line("storage", f"{place} does not exist yet", f"'{program_name()} serve' makes it")
        key = f"{uuid4()}.png"
        try:
            await stores.storage.put(key, OBJECT, content_type="image/png")
            read = await _read(stores.storage, key)
        finally:
            with suppress(PixyProxyException):
                await stores.storage.delete(key)
        if read != OBJECT[PART.start : PART.stop]:
            todo = "the storage, or a proxy before it, must support Range (RFC 9110, section 14)"
            return Line(
                "storage", f"{place}: a part of an object was read as {len(read)} other bytes", todo, fails=True
            )
        found = f"{place}: an object was put, read by range, and removed"
        if not _has_database(settings):
            return Line("storage", found)
        try:
            mismatch = await find_mismatch(stores)
        except PixyProxyException:  # the line of the database says so
            return Line("storage", found)
        if mismatch:
            return Line("storage", f"{place}: {mismatch}", "see docs/operations.md, Backup and recovery", fails=True)
        return Line("storage", found)


def _has_database(settings: Settings) -> bool:
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        file = sqlite_file(database_url(settings))
    return file is None or file.exists()


async def _read(stored: ImageStorage, key: str) -> bytes:
    opened = await stored.open(key, part=PART)
    try:
        return b"".join([bytes(chunk) async for chunk in opened])
    finally:
        await opened.aclose()


@asynccontextmanager
async def _stores(settings: Settings) -> AsyncIterator[Stores]:
    adapters = open_adapters(settings)
    try:
        yield adapters.stores
    finally:
        await adapters.cleanup.aclose()


def _folder(settings: Settings) -> Path:
    named = (settings.storage_url or "").removeprefix("file:")
    return Path(named.removeprefix("//")) if named else settings.data_dir / "images"


def _place(settings: Settings, stored: ImageStorage) -> str:
    if isinstance(stored, FolderImageStorage):
        return f"folder {_folder(settings)}"
    server = settings.s3_endpoint_url or "AWS S3"
    return f"{settings.storage_url} at {server}, region {settings.s3_region}"


async def upstream(settings: Settings) -> Line:
    """The upstream: is it reached, is its key taken, and has it the models?"""
    async with AsyncExitStack() as cleanup:
        generator = open_generator(settings, cleanup)
        if settings.draws_demo:
            todo = "" if settings.demo else "set OPENAI_API_KEY for real pictures"
            return Line("upstream", "the demo upstream draws; nothing is bought", todo)
        place = settings.openai_base_url or upstream_name(settings)
        known = await generator.models(deadline=DEADLINE)
    if known is None:
        return Line("upstream", f"{place}: reached; it has no list of models, so the key was not tried")
    missing = [name for name in build_catalogue(settings).names if name not in known]
    found = f"{place}: reached, the key is taken, {len(known)} models"
    if missing:
        return Line("upstream", found, f"not among them: {', '.join(missing)}; see {PREFIX}MODEL and {PREFIX}MODELS")
    return Line("upstream", f"{found}, ours among them")


def machine(settings: Settings) -> Iterator[Line]:
    """The disk and the limits of this machine."""
    folder = settings.data_dir
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free, needed = shutil.disk_usage(existing).free, settings.upload_mb * MIB + FOLDERS.reserve
    found = f"{free / MIB:,.0f} MiB free at {folder}"
    todo = f"uploads and pictures that wait may need {needed / MIB:,.0f} MiB; see {PREFIX}UPLOAD_MB"
    yield Line("disk", found, "" if free >= needed else todo)
    if not os.access(existing, os.W_OK):
        yield Line("disk", f"{existing} cannot be written", f"see {PREFIX}DATA_DIR", fails=True)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_PER_CONNECTION * settings.max_connections
    enough = hard == resource.RLIM_INFINITY or hard >= wanted
    words = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard:,}"
    todo = f"{PREFIX}MAX_CONNECTIONS={settings.max_connections} may need {wanted:,}: raise the limit (ulimit -Hn)"
    yield Line("open files", f"at most {words}", "" if enough else todo)
