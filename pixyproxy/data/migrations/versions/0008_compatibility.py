"""Which versions of PixyProxy can work with the schema."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import TABLE, ascii_text

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create `schema_compatibility`, with one row, and `alembic_version`, which PixyProxy 0.1.0 reads."""
    options = {name: value for name, value in TABLE.items() if name != "sqlite_autoincrement"}
    op.create_table(
        "schema_compatibility",
        sa.Column("compatible_from", ascii_text(32), primary_key=True, nullable=False),
        **options,
    )
    op.create_table(
        "alembic_version",
        sa.Column("version_num", sa.String(32), primary_key=True, nullable=False),
        if_not_exists=True,
    )
