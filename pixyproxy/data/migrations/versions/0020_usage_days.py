"""What the generations of each day that is over add up to."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, ascii_text

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add three tables, which are derived from `generations`: emptied, they are filled again.

    A day of `usage_days` is added up: `usage_sums` has its generations whose records never change again, but for the
    few in `usage_open`. Nothing is ever changed in them. An older version does not know them, and need not.
    """
    options = {name: value for name, value in TABLE.items() if name != "sqlite_autoincrement"}
    op.create_table("usage_days", sa.Column("day", sa.Date(), primary_key=True, nullable=False), **options)
    counts = ("generations", "images", "unpriced", "text_in", "image_in", "output", "cost_nano", "estimated_nano")
    op.create_table(
        "usage_sums",
        sa.Column("day", sa.Date(), primary_key=True, nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("model", ascii_text(64), primary_key=True, nullable=False),
        sa.Column("state", ascii_text(16), primary_key=True, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        **options,
    )
    op.create_table(
        "usage_open",
        sa.Column("day", sa.Date(), primary_key=True, nullable=False),
        sa.Column("generation_id", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        **options,
    )
