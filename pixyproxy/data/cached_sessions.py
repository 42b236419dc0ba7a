"""Keeps records of sessions in memory for a moment: an open page sends many requests a second."""

import time
from collections.abc import Callable
from datetime import datetime

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.limits import DATABASE
from pixyproxy.core.protocols import SessionRepository
from pixyproxy.core.sessions import Pass, Session
from pixyproxy.core.threads import Gate
from pixyproxy.data.cached import too_many
from pixyproxy.data.cached_keys import KEY_TTL
from pixyproxy.data.lookups import Memory

SESSIONS = 2_000
"""Sessions whose records are remembered, at most: 5 MB."""

# Concurrent lookups of tokens, and of login codes, that this process has never found: see `UNSEEN_KEYS`.
UNSEEN_SESSIONS = 1
UNSEEN_CODES = 1


class CachedSessionRepository:
    """A `SessionRepository` in front of another one. A record is valid for `ttl` seconds after its read began.

    What ends through this repository ends at once, what another process ends (a session, or its key) within `ttl`
    seconds; what `forget_all` follows is known at once. Lookups of tokens that were never found here, and of login
    codes, wait only for each other: `DatabaseUnavailableError` after `wait` seconds.
    """

    def __init__(
        self,
        sessions: SessionRepository,
        *,
        ttl: float = KEY_TTL,
        wait: float = DATABASE.read_wait,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._codes = Gate(UNSEEN_CODES, patience=wait, busy=too_many("login codes"))
        self._memory: Memory[str, Session] = Memory(
            lambda sha256: sessions.get(sha256=sha256),
            absent=lambda: NotFoundError("No session has this digest."),
            gate=Gate(UNSEEN_SESSIONS, patience=wait, busy=too_many("sessions")),
            ttl=ttl,
            capacity=SESSIONS,
            size_of=lambda _: 1,
            clock=clock,
        )

    async def add_code(self, code: Pass, *, sha256: str) -> None:
        """Record a login code."""
        await self._sessions.add_code(code, sha256=sha256)

    async def spend_code(self, *, sha256: str, now: datetime) -> Pass:
        """Use a login code up; `NotFoundError` if there is none, if it was used before, or if it has expired."""
        async with self._codes:
            return await self._sessions.spend_code(sha256=sha256, now=now)

    async def add(self, session: Session, *, sha256: str) -> None:
        """Record a session."""
        try:
            await self._sessions.add(session, sha256=sha256)
        finally:
            self._memory.forget(sha256)

    async def get(self, *, sha256: str) -> Session:
        """The session with this digest, expired or not, and its key, revoked or not. `NotFoundError` if none has it."""
        return await self._memory.get(sha256)

    async def renew(self, *, sha256: str, seen_at: datetime, expires_at: datetime) -> None:
        """Move the times of a session forward; nothing happens if there is none, or if it was seen later."""
        try:
            await self._sessions.renew(sha256=sha256, seen_at=seen_at, expires_at=expires_at)
        finally:
            self._memory.forget(sha256)

    async def delete(self, *, sha256: str) -> None:
        """End a session; nothing happens if there is none."""
        try:
            await self._sessions.delete(sha256=sha256)
        finally:
            self._memory.forget(sha256)

    def forget_all(self) -> None:
        """Look every session up again at its next use: keys have changed."""
        self._memory.forget_all()

    async def delete_expired(self, *, before: datetime, limit: int) -> int:
        """Remove login codes and sessions that expired before this time, at most `limit` of each; their number."""
        return await self._sessions.delete_expired(before=before, limit=limit)
