"""When a generation was abandoned by its client, and the index that finds generations with an equal request."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import MomentType, add_column_once, create_index_once

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add `generations.abandoned_at`, and an index by what was asked. Older versions leave the column NULL."""
    add_column_once("generations", sa.Column("abandoned_at", MomentType, nullable=True))
    create_index_once("ix_generations_equal", "generations", "api_key_id", "fingerprint", "created_at")
