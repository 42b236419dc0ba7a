"""What happens before a command works: the database's schema, the parts, the first API key."""

import sys
from dataclasses import dataclass
from pathlib import Path

from pixyproxy.bootstrap.adapters import Adapters, database_url, make_data_dir, make_storage, setting_in_errors
from pixyproxy.bootstrap.services import Parts
from pixyproxy.cli.arguments import program_name
from pixyproxy.cli.choosing import choose_caller, embedded_key_file
from pixyproxy.core.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    PixyProxyException,
    StorageMismatchError,
    StorageUnavailableError,
)
from pixyproxy.core.keys import EVERYTHING, KeyRights
from pixyproxy.data.init import migrate, require_current_schema
from pixyproxy.service.keys import KeyService, digest, is_well_formed, new_key
from pixyproxy.service.recovering.instance import require_match
from pixyproxy.settings import PREFIX, Settings
from pixyproxy.storage.instance import NAME as INSTANCE_NAME
from pixyproxy.web.dependencies import Services

EMBEDDED_KEY_NAME = "first-start"


@dataclass(frozen=True)
class Greeting:
    """What `serve` tells a newcomer: the file with the embedded default's key, and a login code, if there are any."""

    key_file: Path | None
    code: str | None


def prepare_database(settings: Settings) -> None:
    """Migrate the database of the embedded default.

    `ConfigurationError` if another database lacks this version's schema.
    """
    url = database_url(settings)
    if settings.embedded:
        make_data_dir(settings)
        migrate(url)
    with setting_in_errors(f"{PREFIX}DATABASE_URL"):
        require_current_schema(url)


def require_data(settings: Settings, *, migrates: bool = True) -> None:
    """Return if the database exists and has this version's schema; `ConfigurationError` if not.

    `migrates`: whether the embedded default's database is migrated first.
    """
    needed = settings.data_dir if migrates else settings.data_dir / "pixyproxy.db"
    if settings.embedded and not needed.exists():
        raise ConfigurationError(
            f"nothing is at {settings.data_dir}: set {PREFIX}DATA_DIR or {PREFIX}DATABASE_URL to where the server "
            f"keeps its data, or start '{program_name()} serve' here once"
        )
    if migrates:
        prepare_database(settings)
    else:
        with setting_in_errors(f"{PREFIX}DATABASE_URL"):
            require_current_schema(database_url(settings))


async def prepare_storage(adapters: Adapters) -> None:
    """At the first start, create the storage folder and write the database's id into the storage.

    `ConfigurationError` if the storage belongs to another database. If a part does not answer, the check is repeated
    before the first picture is drawn.
    """
    try:
        await make_storage(adapters)
        await require_match(adapters.stores)
    except StorageMismatchError as error:
        raise ConfigurationError(
            f"{PREFIX}DATABASE_URL and {PREFIX}STORAGE_URL do not belong together. {error.detail} "
            "Set the two of one installation, or an empty storage. To use this storage all the same, write the id of "
            f"this database into its {INSTANCE_NAME}; docs/operations.md says what that means for its objects"
        ) from error
    except PixyProxyException:
        pass


async def prepare(settings: Settings, parts: Parts, *, with_code: bool) -> Greeting:
    """Warn of parts that do not answer, and make the embedded default's key, and `with_code` a login code.

    `ConfigurationError` if the storage belongs to another database.
    """
    try:
        await prepare_storage(parts.adapters)
        for name, failure in (await parts.services.readiness.failures()).items():
            print(f"Warning: the {name} is not ready: {failure.detail}", file=sys.stderr)
        try:
            if not await parts.adapters.stores.folder.probe():
                print(
                    f"Warning: {PREFIX}DATA_DIR: the disk of {settings.data_dir / 'parked'} has no room to reserve for "
                    "pictures: if it is full when storage and database are unavailable at SIGTERM, they are lost",
                    file=sys.stderr,
                )
        except StorageUnavailableError:
            print(
                f"Warning: {PREFIX}DATA_DIR: {settings.data_dir / 'parked'} cannot be written: if storage and "
                "database are unavailable at SIGTERM, pictures are lost",
                file=sys.stderr,
            )
        key_file = await embedded_key(settings, parts.services.keys)
        return Greeting(key_file, await first_code(settings, parts.services) if with_code else None)
    finally:
        await parts.adapters.cleanup.aclose()


async def first_code(settings: Settings, services: Services) -> str | None:
    """A login code; None if there is no key that it is for, or several, or if the database does not answer."""
    try:
        return await services.sessions.make_code(await choose_caller(settings, services.keys, name=None))
    except PixyProxyException:
        return None


async def embedded_key(settings: Settings, keys: KeyService) -> Path | None:
    """The file with the embedded default's key, made at its first start; None if a key is configured."""
    if not settings.embedded or settings.api_key is not None:
        return None
    file = embedded_key_file(settings)
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
        await keys.add(f"{EMBEDDED_KEY_NAME}-{digest(key)[:8]}", key=key, rights=KeyRights(scopes=EVERYTHING))
    except ConflictError:
        raise ConfigurationError(
            f"the key in {file} is revoked or has expired: delete the file, and the next start makes a new one"
        ) from None
