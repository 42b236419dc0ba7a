"""What a generation failed with, as a column of its own."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once, ascii_text, create_index_once

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add `generations.error_name`, the problem's name, which SQL can ask for: JSON differs from server to server."""
    add_column_once("generations", sa.Column("error_name", ascii_text(64)))
    create_index_once("ix_generations_error", "generations", "error_name", "updated_at")
