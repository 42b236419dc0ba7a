"""What an image was edited from."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add `images.sources`: role, guid, SHA-256, type and size of each input; NULL: drawn from the prompt alone."""
    add_column_once("images", sa.Column("sources", sa.JSON(), nullable=True))
