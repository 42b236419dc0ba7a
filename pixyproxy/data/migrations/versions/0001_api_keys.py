"""The table of API keys."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, ascii_char, ascii_text

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create `api_keys`."""
    op.create_table(
        "api_keys",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("name", ascii_text(64), nullable=False, unique=True),
        sa.Column("prefix", ascii_text(16), nullable=False),
        sa.Column("sha256", ascii_char(64), nullable=False, unique=True),
        sa.Column("created_at", MomentType, nullable=False),
        sa.Column("revoked_at", MomentType),
        **TABLE,
    )
