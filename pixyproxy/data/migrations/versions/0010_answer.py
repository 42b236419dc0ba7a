"""What the upstream said about what it drew."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add `generations.answer`: size, quality, background and format as the upstream resolved them, revised prompts."""
    add_column_once("generations", sa.Column("answer", sa.JSON(), nullable=True))
