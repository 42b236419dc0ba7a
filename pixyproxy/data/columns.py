"""The column types of the schema, in the subset that MySQL, MariaDB and SQLite share."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_unicode_520_ci",
    "sqlite_autoincrement": True,
}
"""Options of every table. utf8mb4 is said because a plain server may default to latin1 and refuse emoji."""

MomentType = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
PromptType = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
IdType = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def ascii_text(length: int) -> sa.types.TypeEngine[str]:
    """Text of ASCII characters at most, compared byte for byte."""
    return sa.String(length).with_variant(mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql")


def ascii_char(length: int) -> sa.types.TypeEngine[str]:
    """ASCII text of exactly this length: a guid, a digest."""
    return sa.CHAR(length).with_variant(mysql.CHAR(length, charset="ascii", collation="ascii_bin"), "mysql")
