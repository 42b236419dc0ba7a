"""The prices of models."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, IdType, MomentType, ascii_text

revision = "0017"
down_revision = "0016"

TOKENS = ("text_in", "image_in", "cached_text_in", "cached_image_in", "image_out", "text_out")


def upgrade() -> None:
    """Create `prices`, in nano-dollars: of one token, or of one image as JSON by quality and size.

    No row is ever removed, and the numbers of a row never change: generations were reckoned with them. `shipped`: 1 for
    those that came with PixyProxy. `revision` counts the rows that were to begin at the same moment, so that of two
    processes that record one at once, one fails.
    """
    op.create_table(
        "prices",
        sa.Column("id", IdType, primary_key=True, autoincrement=True),
        sa.Column("upstream", ascii_text(255), nullable=False),
        sa.Column("model", ascii_text(64), nullable=False),
        sa.Column("shipped", sa.SmallInteger(), nullable=False),
        sa.Column("valid_from", MomentType, nullable=False),
        sa.Column("valid_to", MomentType),
        sa.Column("revision", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger()) for name in TOKENS),
        sa.Column("per_image", sa.Text()),
        sa.Column("reserve", sa.Text()),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", MomentType, nullable=False),
        sa.UniqueConstraint("upstream", "model", "shipped", "valid_from", "revision", name="uq_prices"),
        **TABLE,
    )
