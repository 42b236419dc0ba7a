"""Whose login code is made."""

from datetime import UTC, datetime
from pathlib import Path

from pixyproxy.cli.arguments import program_name
from pixyproxy.core.exceptions import AuthenticationError, ConfigurationError, NotFoundError
from pixyproxy.core.keys import CONFIGURED_CALLER, ApiKey, Caller
from pixyproxy.service.keys import KeyService
from pixyproxy.settings import PREFIX, Settings

SHOWN = 20
"""Names of keys that a message lists, at most."""


def embedded_key_file(settings: Settings) -> Path:
    """The file with the key of the embedded default."""
    return settings.data_dir / "api-key"


async def choose_caller(settings: Settings, keys: KeyService, *, name: str | None) -> Caller:
    """The caller whose key has this name; None: PIXYPROXY_API_KEY, the embedded default's, or the only one in force.

    `NotFoundError` if no key in force has the name; `ConfigurationError` if none is named and it is not clear which.
    """
    if settings.api_key is not None and name in (None, CONFIGURED_CALLER.name):
        return CONFIGURED_CALLER
    if name is None and (embedded := await embedded_caller(settings, keys)) is not None:
        return embedded
    now = datetime.now(UTC)
    in_force = [key for key in await keys.list() if key.in_force(now)]
    found = [key for key in in_force if name in (None, key.name)]
    if len(found) == 1:
        return found[0].caller()
    if not in_force:
        raise ConfigurationError(
            f"there is no API key to log in with: make one with '{program_name()} keys create NAME', or set "
            f"{PREFIX}API_KEY"
        )
    if name is not None:
        raise NotFoundError(f"No API key in force has the name {name!r}; these are: {names_of(in_force)}.")
    raise ConfigurationError(f"several API keys are in force; choose one with --key NAME: {names_of(in_force)}")


async def embedded_caller(settings: Settings, keys: KeyService) -> Caller | None:
    """The caller with the key of the embedded default, if it is in its file and in force."""
    file = embedded_key_file(settings)
    if not settings.embedded or not file.exists():
        return None
    try:
        return await keys.authenticate(file.read_text(errors="replace").strip())
    except AuthenticationError:
        return None


def names_of(keys: list[ApiKey]) -> str:
    """The names of the newest keys."""
    shown = [key.name for key in reversed(keys[-SHOWN:])]
    return ", ".join(shown) + (f" and {len(keys) - SHOWN} more ('keys list')" if len(keys) > SHOWN else "")
