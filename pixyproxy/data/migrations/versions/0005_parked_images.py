"""The table of pictures that wait for the storage."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, PartType, ascii_char

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Create `parked_images`: a picture in parts, by its generation and its number in it."""
    op.create_table(
        "parked_images",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("generation_guid", ascii_char(36), nullable=False),
        sa.Column("picture", sa.Integer(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("data", PartType, nullable=False),
        sa.Column("created_at", MomentType, nullable=False),
        sa.UniqueConstraint("generation_guid", "picture", "part", name="uq_parked_images_part"),
        **TABLE,
    )
