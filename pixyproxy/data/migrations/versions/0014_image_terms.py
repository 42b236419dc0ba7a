"""The words of the prompts."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, byte_text

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Create `image_terms`. Its primary key is its order: the images of a word lie together, by time."""
    options = {name: value for name, value in TABLE.items() if name != "sqlite_autoincrement"}
    op.create_table(
        "image_terms",
        sa.Column("term", byte_text(40), primary_key=True, nullable=False),
        sa.Column("created_at", MomentType, primary_key=True, nullable=False),
        sa.Column("image_id", IdType, primary_key=True, nullable=False, autoincrement=False),
        sqlite_with_rowid=False,
        **options,
    )
