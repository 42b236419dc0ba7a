"""The column types of the schema, in the subset that MySQL, MariaDB and SQLite share."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_520_ci",
    "sqlite_autoincrement": True,
    "if_not_exists": True,
}
"""Options of every table. utf8mb4 is named because a server may default to latin1 and refuse emoji; `if_not_exists`
because MySQL commits DDL by itself: a migration may be killed before it is recorded."""

MomentType = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
PromptType = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
PartType = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
IdType = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def ascii_text(length: int) -> sa.types.TypeEngine[str]:
    """Text of ASCII characters at most, compared byte for byte."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql")


def ascii_char(length: int) -> sa.types.TypeEngine[str]:
    """ASCII text of exactly this length: a guid, a digest."""
    return sa.CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql")


def byte_text(length: int) -> sa.types.TypeEngine[bytes]:
    """Up to so many bytes, compared byte for byte."""
    return sa.LargeBinary(length).with_variant(mysql.VARBINARY(length), "mysql")


def create_index_once(name: str, table: str, *columns: str) -> None:
    """Create an index that a killed migration may have created already; MySQL has no IF NOT EXISTS for it."""
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, list(columns))


def add_column_once(table: str, column: sa.Column[Any]) -> None:
    """Add a column that a killed migration may have added already."""
    if column.name not in {known["name"] for known in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)
