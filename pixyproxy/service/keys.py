"""API keys: made, kept as digests only, checked, listed and revoked."""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

from pixyproxy.core.budgets import NO_CHANGE, BudgetLimits
from pixyproxy.core.exceptions import AuthenticationError, ConfigurationError, ConflictError, NotFoundError
from pixyproxy.core.keys import (
    CONFIGURED_CALLER,
    CONFIGURED_NAME,
    KEY_NAME,
    RIGHTS_OF_A_NEW_KEY,
    ApiKey,
    Caller,
    KeyRights,
)
from pixyproxy.core.protocols import ApiKeyRepository

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_LENGTH = 43
"""Base62 characters: 256 bits."""
CHECK_LENGTH = 6
"""Base62 characters: the 32 bits of a CRC, which recognizes mistyped keys without a database query."""
API_KEY = re.compile(rf"pxp_[0-9A-Za-z]{{{RANDOM_LENGTH + CHECK_LENGTH}}}")
PREFIX_LENGTH = 8

ALL_KEYS = "everybody"
"""Stands for all keys together, where the name of a key is asked for."""
RESERVED_NAMES = (CONFIGURED_NAME, ALL_KEYS, "self", ".", "..")
"""Names that no new key gets: that of the setting's key, that of all keys, `GET /key/self`, and what clients take out
of a path (RFC 3986, 5.2.4)."""


def new_key() -> str:
    """A fresh key."""
    random = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"pxp_{random}{checksum(random)}"


def checksum(random: str) -> str:
    """The CRC32 of the random part, in base62."""
    value = zlib.crc32(random.encode())
    digits = ""
    for _ in range(CHECK_LENGTH):
        value, digit = divmod(value, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits


def is_well_formed(key: str) -> bool:
    """Whether this can be a key of `new_key`."""
    return bool(API_KEY.fullmatch(key)) and hmac.compare_digest(
        checksum(key[4 : 4 + RANDOM_LENGTH]).encode(), key[-CHECK_LENGTH:].encode()
    )


def digest(key: str) -> str:
    """What is stored of a key: its SHA-256, in hexadecimal. 256 random bits need no slow hash."""
    return hashlib.sha256(key.encode()).hexdigest()


class KeyService:
    """Makes keys and checks those of private requests. `clock` is that of this machine."""

    def __init__(
        self,
        repository: ApiKeyRepository,
        *,
        configured_key: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._repository = repository
        self._clock = clock
        self._configured_digest = None if configured_key is None else digest(configured_key).encode()

    @property
    def is_configured(self) -> bool:
        """Whether PIXYPROXY_API_KEY is set."""
        return self._configured_digest is not None

    async def authenticate(self, key: str) -> Caller:
        """The caller with this key; `AuthenticationError` for one that is wrong, revoked, or has expired."""
        sha256 = digest(key)
        if self._configured_digest is not None and hmac.compare_digest(sha256.encode(), self._configured_digest):
            return CONFIGURED_CALLER
        if not is_well_formed(key):
            raise AuthenticationError
        try:
            api_key = await self._repository.get(sha256=sha256)
        except NotFoundError:
            raise AuthenticationError from None
        if not api_key.in_force(self._clock()):
            raise AuthenticationError
        return api_key.caller()

    def seal(self, secret: str) -> str | None:
        """What ties a secret to the key of PIXYPROXY_API_KEY: the key's HMAC under the secret. None without such a key.

        The key may be short. It cannot be found by trying, because the secret is recorded nowhere.
        """
        if self._configured_digest is None:
            return None
        return hmac.new(secret.encode(), self._configured_digest, "sha256").hexdigest()

    def has_sealed(self, secret: str, seal: str | None) -> bool:
        """Whether the seal ties this secret to the key that PIXYPROXY_API_KEY has now."""
        own = self.seal(secret)
        return own is not None and seal is not None and hmac.compare_digest(own, seal)

    async def create(
        self,
        name: str,
        rights: KeyRights = RIGHTS_OF_A_NEW_KEY,
        *,
        budgets: BudgetLimits = NO_CHANGE,
    ) -> str:
        """A new key; only this call returns it. `ConflictError` if the name is taken."""
        key = new_key()
        await self.add(name, key=key, rights=rights, budgets=budgets)
        return key

    async def add(
        self,
        name: str,
        *,
        key: str,
        rights: KeyRights = RIGHTS_OF_A_NEW_KEY,
        budgets: BudgetLimits = NO_CHANGE,
    ) -> ApiKey:
        """Record a key that was made before; `ConfigurationError` for a name that no key may have."""
        if not KEY_NAME.fullmatch(name):
            raise ConfigurationError("A key's name has 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', '@' and '-'.")
        if name == CONFIGURED_NAME:
            raise ConfigurationError(f"{name} is the name of the key in the setting of this name.")
        if name in RESERVED_NAMES:
            raise ConfigurationError(f"{name!r} is no name for a key: it is reserved.")
        try:
            return await self._repository.add(
                name=name, prefix=key[:PREFIX_LENGTH], sha256=digest(key), rights=rights, budgets=budgets
            )
        except ConflictError:
            raise name_is_taken(name) from None

    async def list(self) -> tuple[ApiKey, ...]:
        """All keys but that of PIXYPROXY_API_KEY, oldest first."""
        return await self._repository.list()

    async def revoke(self, name: str) -> None:
        """Revoke a key: its next request is refused. `NotFoundError` if no unrevoked key has the name."""
        await self._repository.revoke(name=name)


def name_is_taken(name: str) -> ConflictError:
    """The error for a name that a key has."""
    return ConflictError(f"An API key has the name {name!r} already, in force or revoked: a name is used once.")
