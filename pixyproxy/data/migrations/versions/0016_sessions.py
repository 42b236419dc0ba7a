"""The sessions of the page, and the codes that begin them."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, MomentType, ascii_char, create_index_once

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Create `login_codes` and `sessions`. Both have the SHA-256 of what the client holds.

    `api_key_id` 0 is the key of PIXYPROXY_API_KEY, which has no row: no foreign key. `seal` ties a row to that key, so
    that it ends when the key is changed. It is NULL for keys with a row.
    """
    options = {name: value for name, value in TABLE.items() if name != "sqlite_autoincrement"}
    op.create_table(
        "login_codes",
        sa.Column("sha256", ascii_char(64), primary_key=True, nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("seal", ascii_char(64)),
        sa.Column("expires_at", MomentType, nullable=False),
        sa.Column("used_at", MomentType),
        **options,
    )
    op.create_table(
        "sessions",
        sa.Column("sha256", ascii_char(64), primary_key=True, nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("seal", ascii_char(64)),
        sa.Column("created_at", MomentType, nullable=False),
        sa.Column("seen_at", MomentType, nullable=False),
        sa.Column("expires_at", MomentType, nullable=False),
        **options,
    )
    create_index_once("ix_login_codes_expires", "login_codes", "expires_at")
    create_index_once("ix_sessions_expires", "sessions", "expires_at")
