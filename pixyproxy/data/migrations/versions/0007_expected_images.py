"""How many images a generation expects, and how many of its images were deleted."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add `generations.expected_images` and `deleted_images`. The defaults serve rows that older versions insert."""
    add_column_once("generations", sa.Column("expected_images", sa.Integer(), nullable=False, server_default="1"))
    add_column_once("generations", sa.Column("deleted_images", sa.Integer(), nullable=False, server_default="0"))
