"""The ledger: what each generation weighs, the entries that say why, budgets and their windows."""

import sqlalchemy as sa
from alembic import op

from pixyproxy.data.migrations.column_types import (
    TABLE,
    MomentType,
    add_column_once,
    ascii_char,
    ascii_text,
    create_index_once,
)

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add the cost of generations, and the tables `ledger`, `budgets` and `windows`. Amounts are nano-dollars.

    Older versions leave all columns of generations NULL, and `counted_nano` 0: what they draw has no cost.
    `budgets.owner` and `windows.owner` are ids of API keys, or -1 for everybody: no foreign key.
    `api_keys.next_at` is the theoretical arrival time of the key's next generation, for its rate.
    """
    add_column_once("generations", sa.Column("price_id", sa.BigInteger(), nullable=True))
    add_column_once("generations", sa.Column("cost_class", ascii_char(32), nullable=True))
    add_column_once("generations", sa.Column("estimate_nano", sa.BigInteger(), nullable=True))
    add_column_once("generations", sa.Column("cost_nano", sa.BigInteger(), nullable=True))
    add_column_once("generations", sa.Column("cost_basis", ascii_text(8), nullable=True))
    add_column_once("generations", sa.Column("counted_nano", sa.BigInteger(), nullable=False, server_default="0"))
    add_column_once("generations", sa.Column("image_nano", sa.BigInteger(), nullable=True))
    add_column_once("api_keys", sa.Column("next_at", MomentType, nullable=True))
    create_index_once("ix_generations_dearest", "generations", "cost_class", "image_nano", "created_at")
    create_index_once("ix_generations_weight", "generations", "created_at", "counted_nano")
    create_index_once("ix_generations_weight_of_key", "generations", "api_key_id", "created_at", "counted_nano")
    options = {name: value for name, value in TABLE.items() if name != "sqlite_autoincrement"}
    op.create_table(
        "ledger",
        sa.Column("generation_id", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("sequence", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("kind", ascii_text(16), nullable=False),
        sa.Column("delta_nano", sa.BigInteger(), nullable=False),
        sa.Column("at", MomentType, nullable=False),
        **options,
    )
    op.create_table(
        "budgets",
        sa.Column("owner", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("period", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", MomentType, nullable=False),
        **options,
    )
    op.create_table(
        "windows",
        sa.Column("period", sa.Integer(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("owner", sa.BigInteger(), primary_key=True, nullable=False, autoincrement=False),
        sa.Column("starts_on", sa.Date(), primary_key=True, nullable=False),
        sa.Column("used_nano", sa.BigInteger(), nullable=False),
        **options,
    )
