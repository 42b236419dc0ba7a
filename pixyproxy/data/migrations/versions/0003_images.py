"""The table of images."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import (
    TABLE,
    IdType,
    MomentType,
    PromptType,
    ascii_char,
    ascii_text,
    create_index_once,
)

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create `images`. The index on (created_at, guid) is the order of the list."""
    op.create_table(
        "images",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("guid", ascii_char(36), nullable=False, unique=True),
        sa.Column("generation_id", IdType, sa.ForeignKey("generations.id"), nullable=False),
        sa.Column("filename", ascii_text(64), nullable=False, unique=True),
        sa.Column("prompt", PromptType, nullable=False),
        sa.Column("content_type", ascii_text(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("sha256", ascii_char(64), nullable=False),
        sa.Column("model", ascii_text(64), nullable=False),
        sa.Column("created_at", MomentType, nullable=False),
        sa.Column("updated_at", MomentType, nullable=False),
        sa.Column("deleted_at", MomentType),
        **TABLE,
    )
    create_index_once("ix_images_newest", "images", "created_at", "guid")
