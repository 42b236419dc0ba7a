"""A placeholder for each image."""

import sqlalchemy as sa

from pixyproxy.data.migrations.column_types import add_column_once, byte_text

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add `images.thumbhash`; NULL until the first thumbnail is made."""
    add_column_once("images", sa.Column("thumbhash", byte_text(25), nullable=True))
