"""Which database this is, so that a storage can say to which one its objects belong."""

from datetime import UTC, datetime
from uuid import uuid4

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.conversions import time_to_column
from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, ascii_char

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create `instance` with its one row: an id that stays with the database, its copies included."""
    op.create_table(
        "instance",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("guid", ascii_char(36), nullable=False),
        sa.Column("created_at", MomentType, nullable=False),
        **TABLE,
    )
    connection = op.get_bind()
    if connection.execute(sa.text("SELECT COUNT(*) FROM instance")).scalar() == 0:
        connection.execute(
            sa.text("INSERT INTO instance (id, guid, created_at) VALUES (1, :guid, :now)"),
            {"guid": str(uuid4()), "now": time_to_column(datetime.now(UTC))},
        )
