"""What a key may do, how much, and until when; and a row for the key of PIXYPROXY_API_KEY."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import (
    MomentType,
    add_column_once,
    ascii_char,
    ascii_text,
    create_index_once,
)

revision = "0019"
down_revision = "0018"

CONFIGURED = "PIXYPROXY_API_KEY"
NO_DIGEST = "of the setting"
"""Stands where a SHA-256 stands in other rows, and is none."""


def upgrade() -> None:
    """Add the columns, and the row with id 0, so that everything that was drawn has an owner.

    `scopes` are words with spaces between them. NULL, also in the rows that a version without scopes writes: all of
    them. A row with `rotated_from` is a former secret of that key, valid until its own `expires_at`.
    `sessions.key_sha256`: with which secret a session began; NULL: with a login code, or in a version without rotation.
    """
    add_column_once("api_keys", sa.Column("scopes", ascii_text(255)))
    add_column_once("api_keys", sa.Column("expires_at", MomentType))
    add_column_once("api_keys", sa.Column("rotated_from", sa.BigInteger()))
    add_column_once("api_keys", sa.Column("note", sa.String(500)))
    add_column_once("api_keys", sa.Column("rate_per_minute", sa.Integer()))
    add_column_once("api_keys", sa.Column("running_limit", sa.Integer()))
    add_column_once("api_keys", sa.Column("replica_share", sa.Integer()))
    create_index_once("ix_api_keys_rotated_from", "api_keys", "rotated_from")
    add_column_once("sessions", sa.Column("key_sha256", ascii_char(64)))
    add_configured_key(op.get_bind())


def add_configured_key(connection: sa.Connection) -> None:
    """Add the row. It counts as revoked for versions that take it for a key of its own."""
    if connection.execute(sa.text("SELECT 1 FROM api_keys WHERE id = 0")).first() is not None:
        return
    # No version makes a key of this name; a row that was made by hand gives it up.
    connection.execute(
        sa.text("UPDATE api_keys SET name = :other WHERE name = :name"),
        {"name": CONFIGURED, "other": f"{CONFIGURED}-by-hand"},
    )
    with zero_as_it_is(connection):
        connection.execute(
            sa.text(
                """
                INSERT INTO api_keys (id, name, prefix, sha256, created_at, revoked_at)
                VALUES (0, :name, '', :sha256, :now, :now)
                """
            ),
            {"name": CONFIGURED, "sha256": NO_DIGEST, "now": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")},
        )


@contextmanager
def zero_as_it_is(connection: sa.Connection) -> Iterator[None]:
    """An inserted id of 0 stays 0: MySQL and MariaDB take it for the next number, unless the session says otherwise."""
    if connection.dialect.name == "sqlite":
        yield
        return
    mode = connection.execute(sa.text("SELECT @@SESSION.sql_mode")).scalar()
    change = sa.text("SET SESSION sql_mode = :mode")
    connection.execute(change, {"mode": ",".join(filter(None, (mode, "NO_AUTO_VALUE_ON_ZERO")))})
    try:
        yield
    finally:
        connection.execute(change, {"mode": mode})
