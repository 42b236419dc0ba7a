"""The records of login codes and sessions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pixyproxy.core.exceptions import NotFoundError
from pixyproxy.core.keys import CONFIGURED_ID, ApiKey
from pixyproxy.core.sessions import Pass, Session
from pixyproxy.data.api_keys import key_by_digest, key_by_id
from pixyproxy.data.conversions import column_to_time, time_to_column
from pixyproxy.data.database import Row, SqlDatabase, Transaction


def row_to_code(row: Row, key: ApiKey | None) -> Pass:
    """The login code of a row, with the record of its key."""
    return Pass(api_key_id=row["api_key_id"], expires_at=column_to_time(row["expires_at"]), seal=row["seal"], key=key)


def row_to_session(row: Row, key: ApiKey | None) -> Session:
    """The session of a row, with the record of its key."""
    return Session(
        api_key_id=row["api_key_id"],
        created_at=column_to_time(row["created_at"]),
        seen_at=column_to_time(row["seen_at"]),
        expires_at=column_to_time(row["expires_at"]),
        seal=row["seal"],
        key_sha256=row["key_sha256"],
        key=key,
    )


def code_to_row(code: Pass) -> dict[str, Any]:
    """The columns of a login code, without its digest."""
    return {"api_key_id": code.api_key_id, "expires_at": time_to_column(code.expires_at), "seal": code.seal}


def session_to_row(session: Session) -> dict[str, Any]:
    """The columns of a session, without its digest."""
    return {
        **code_to_row(session),
        "created_at": time_to_column(session.created_at),
        "seen_at": time_to_column(session.seen_at),
        "key_sha256": session.key_sha256,
    }


def key_of(transaction: Transaction, row: Row) -> ApiKey | None:
    """The key that a session or a login code names, by the secret with which the session began, if that is known.

    None for PIXYPROXY_API_KEY, whose record says nothing about it.
    """
    if row["api_key_id"] == CONFIGURED_ID:
        return None
    sha256 = row.get("key_sha256")
    return key_by_id(transaction, row["api_key_id"]) if sha256 is None else key_by_digest(transaction, sha256)


class SqlSessionRepository:
    """`SessionRepository` over SQL."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def add_code(self, code: Pass, *, sha256: str) -> None:
        """Record a login code."""
        await self._database.execute(
            """
            INSERT INTO login_codes (sha256, api_key_id, seal, expires_at)
            VALUES (:sha256, :api_key_id, :seal, :expires_at)
            """,
            sha256=sha256,
            **code_to_row(code),
        )

    async def spend_code(self, *, sha256: str, now: datetime) -> Pass:
        """Use a login code up; `NotFoundError` if there is none, if it was used before, or if it has expired.

        An unknown code costs one read. The condition of the update decides between concurrent calls.
        """

        def find(transaction: Transaction) -> Pass | None:
            row = transaction.one(
                "SELECT api_key_id, seal, expires_at FROM login_codes WHERE sha256 = :sha256", sha256=sha256
            )
            return None if row is None else row_to_code(row, key_of(transaction, row))

        code = await self._database.read(find)
        spent = code is not None and await self._database.execute(
            """
            UPDATE login_codes SET used_at = :now
            WHERE sha256 = :sha256 AND used_at IS NULL AND expires_at > :now
            """,
            sha256=sha256,
            now=time_to_column(now),
        )
        if code is None or spent != 1:
            raise NotFoundError("No login code that can be used has this digest.")
        return code

    async def add(self, session: Session, *, sha256: str) -> None:
        """Record a session."""
        await self._database.execute(
            """
            INSERT INTO sessions (sha256, api_key_id, key_sha256, seal, created_at, seen_at, expires_at)
            VALUES (:sha256, :api_key_id, :key_sha256, :seal, :created_at, :seen_at, :expires_at)
            """,
            sha256=sha256,
            **session_to_row(session),
        )

    async def get(self, *, sha256: str) -> Session:
        """The session with this digest, expired or not, and its key, in force or not; `NotFoundError` if none."""

        def find(transaction: Transaction) -> Session | None:
            row = transaction.one(
                """
                SELECT api_key_id, key_sha256, seal, created_at, seen_at, expires_at
                FROM sessions
                WHERE sha256 = :sha256
                """,
                sha256=sha256,
            )
            return None if row is None else row_to_session(row, key_of(transaction, row))

        session = await self._database.read(find)
        if session is None:
            raise NotFoundError("No session has this digest.")
        return session

    async def renew(self, *, sha256: str, seen_at: datetime, expires_at: datetime) -> None:
        """Move the times of a session forward; nothing happens if there is none, or if it was seen later."""
        await self._database.execute(
            """
            UPDATE sessions SET seen_at = :seen_at, expires_at = :expires_at
            WHERE sha256 = :sha256 AND seen_at < :seen_at
            """,
            sha256=sha256,
            seen_at=time_to_column(seen_at),
            expires_at=time_to_column(expires_at),
        )

    async def delete(self, *, sha256: str) -> None:
        """End a session; nothing happens if there is none."""
        await self._database.execute("DELETE FROM sessions WHERE sha256 = :sha256", sha256=sha256)

    async def delete_expired(self, *, before: datetime, limit: int) -> int:
        """Remove login codes and sessions that expired before this time, at most `limit` of each; their number.

        Their digests are read first: a DELETE by time would lock what others add meanwhile.
        """
        found = {"before": time_to_column(before), "limit": limit}
        codes = await self._database.all(
            "SELECT sha256 FROM login_codes WHERE expires_at < :before ORDER BY expires_at LIMIT :limit", **found
        )
        if codes:
            await self._database.execute("DELETE FROM login_codes WHERE sha256 IN :digests", digests=digests_of(codes))
        sessions = await self._database.all(
            "SELECT sha256 FROM sessions WHERE expires_at < :before ORDER BY expires_at LIMIT :limit", **found
        )
        if sessions:
            await self._database.execute(
                "DELETE FROM sessions WHERE sha256 IN :digests AND expires_at < :before",
                digests=digests_of(sessions),
                before=found["before"],
            )
        return len(codes) + len(sessions)


def digests_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The digests of rows."""
    return tuple(row["sha256"] for row in rows)
