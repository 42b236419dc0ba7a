"""The table of generations."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, ascii_char, ascii_text, create_index_once

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create `generations`. `api_key_id` 0 is the key of PIXYPROXY_API_KEY, which has no row: no foreign key."""
    op.create_table(
        "generations",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("guid", ascii_char(36), nullable=False, unique=True),
        sa.Column("api_key_id", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", ascii_text(255)),
        sa.Column("fingerprint", ascii_char(64)),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", ascii_text(16), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.Column("upstream_request_id", ascii_text(128)),
        sa.Column("usage", sa.JSON()),
        sa.Column("lease_expires_at", MomentType, nullable=False),
        sa.Column("created_at", MomentType, nullable=False),
        sa.Column("updated_at", MomentType, nullable=False),
        sa.UniqueConstraint("api_key_id", "idempotency_key", name="uq_generations_idempotency"),
        **TABLE,
    )
    create_index_once("ix_generations_lease", "generations", "state", "lease_expires_at")
