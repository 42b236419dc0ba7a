"""Logging in to the page: codes that are good once, and the sessions that they begin."""

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pixyproxy.core.exceptions import AuthenticationError, DatabaseUnavailableError, LoginCodeError, NotFoundError
from pixyproxy.core.keys import CONFIGURED_CALLER, ApiKey, Caller
from pixyproxy.core.protocols import SessionRepository
from pixyproxy.core.sessions import Pass, Session
from pixyproxy.service.keys import KeyService, digest

SECRET_BYTES = 32
"""256 random bits, which need no slow hash."""
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
"""`SECRET_BYTES` in base64, for URLs: anything else is refused without a look into the database."""

CODE_LIFE = timedelta(minutes=15)
IDLE = timedelta(hours=12)
"""After which a session ends that nobody uses."""
LIFE = timedelta(days=7)
"""After which every session ends."""
RENEW_AFTER = timedelta(minutes=5)
"""A session is renewed once in this time at most: a read must not cost a write each time."""


@dataclass(frozen=True)
class OpenSession:
    """A session that is open. `expires_at`: when it ends if nobody uses it any more, or its key expires before."""

    caller: Caller
    expires_at: datetime


class SessionService:
    """Makes login codes, begins sessions and ends them. A session acts as the caller whose key it stands for.

    A session ends with its key: when the key is revoked or expires, when the secret ends with which it began, and when
    PIXYPROXY_API_KEY is changed or removed. Its scopes are those that the key has now. `clock` is that of this machine:
    replicas agree as far as their clocks do.
    """

    def __init__(
        self,
        sessions: SessionRepository,
        *,
        keys: KeyService,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._sessions = sessions
        self._keys = keys
        self._clock = clock

    async def make_code(self, caller: Caller) -> str:
        """A new login code for this caller; only this call returns it."""
        code = secrets.token_urlsafe(SECRET_BYTES)
        made = Pass(
            api_key_id=caller.api_key_id, expires_at=self._clock() + CODE_LIFE, seal=self._seal_of(caller, code)
        )
        await self._sessions.add_code(made, sha256=digest(code))
        return code

    async def spend_code(self, code: str) -> Caller:
        """Who logs in with this code, which is used up; `LoginCodeError` if it is wrong, used, or too old."""
        if not SECRET.fullmatch(code):
            raise LoginCodeError
        try:
            caller = self._caller_of(await self._sessions.spend_code(sha256=digest(code), now=self._clock()), code)
        except NotFoundError:
            raise LoginCodeError from None
        if caller is None:
            raise LoginCodeError
        return caller

    async def begin(self, caller: Caller, *, key: str | None = None) -> tuple[str, OpenSession]:
        """A new session of this caller, and its token; only this call returns the token.

        `key`: the API key with which the caller logs in; None: it came with a login code.
        """
        recorded = caller.api_key_id != CONFIGURED_CALLER.api_key_id
        token, now = secrets.token_urlsafe(SECRET_BYTES), self._clock()
        session = Session(
            api_key_id=caller.api_key_id,
            created_at=now,
            seen_at=now,
            expires_at=now + IDLE,
            seal=self._seal_of(caller, token),
            key_sha256=digest(key) if recorded and key is not None else None,
        )
        await self._sessions.add(session, sha256=digest(token))
        return token, OpenSession(caller, session.expires_at)

    async def authenticate(self, token: str) -> OpenSession:
        """The session with this token, which is renewed; `AuthenticationError` if it is wrong, or has ended."""
        if not SECRET.fullmatch(token):
            raise AuthenticationError
        sha256, now = digest(token), self._clock()
        try:
            session = await self._sessions.get(sha256=sha256)
        except NotFoundError:
            raise AuthenticationError from None
        caller = self._caller_of(session, token)
        if caller is None or session.expires_at <= now:
            raise AuthenticationError
        if now - session.seen_at < RENEW_AFTER:
            return OpenSession(caller, earliest(session.expires_at, session.key))
        expires_at = min(now + IDLE, session.created_at + LIFE)
        with suppress(DatabaseUnavailableError):  # one of the next requests renews it
            await self._sessions.renew(sha256=sha256, seen_at=now, expires_at=expires_at)
        return OpenSession(caller, earliest(expires_at, session.key))

    async def end(self, token: str) -> None:
        """End the session with this token, if there is one. Other processes refuse it within a second."""
        if SECRET.fullmatch(token):
            await self._sessions.delete(sha256=digest(token))

    def _seal_of(self, caller: Caller, secret: str) -> str | None:
        return self._keys.seal(secret) if caller.api_key_id == CONFIGURED_CALLER.api_key_id else None

    def _caller_of(self, found: Pass, secret: str) -> Caller | None:
        """Who holds the pass; None if its key is no longer in force."""
        if found.api_key_id == CONFIGURED_CALLER.api_key_id:
            return CONFIGURED_CALLER if self._keys.has_sealed(secret, found.seal) else None
        if found.key is None or not found.key.in_force(self._clock()):
            return None
        return found.key.caller()


def earliest(expires_at: datetime, key: ApiKey | None) -> datetime:
    """When a session ends: with its own time, or with the key or the secret that it stands for."""
    ends = () if key is None else (key.rights.expires_at, key.secret_expires_at)
    return min((expires_at, *(end for end in ends if end is not None)))
