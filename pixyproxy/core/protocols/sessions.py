"""The records of login codes and sessions."""

from datetime import datetime
from typing import Protocol

from pixyproxy.core.sessions import Pass, Session


class SessionRepository(Protocol):
    """The records of login codes and sessions, found by the SHA-256 of their secret."""

    async def add_code(self, code: Pass, *, sha256: str) -> None:
        """Record a login code."""

    async def spend_code(self, *, sha256: str, now: datetime) -> Pass:
        """Use a login code up; `NotFoundError` if there is none, if it was used before, or if it has expired.

        Of concurrent calls, also of several processes, exactly one succeeds.
        """

    async def add(self, session: Session, *, sha256: str) -> None:
        """Record a session."""

    async def get(self, *, sha256: str) -> Session:
        """The session with this digest, expired or not, and its key, revoked or not. `NotFoundError` if none has it."""

    async def renew(self, *, sha256: str, seen_at: datetime, expires_at: datetime) -> None:
        """Move the times of a session forward; nothing happens if there is none, or if it was seen later."""

    async def delete(self, *, sha256: str) -> None:
        """End a session; nothing happens if there is none."""

    async def delete_expired(self, *, before: datetime, limit: int) -> int:
        """Remove login codes and sessions that expired before this time, at most `limit` of each; their number."""
