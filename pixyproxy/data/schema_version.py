"""Versions of the schema: which one a database has, and which versions of PixyProxy can work with it.

Migrations expand first and contract a release later, so an older replica works beside a newer schema. `schema_version`
has the revision. `schema_compatibility` has the oldest revision whose code can work with the schema: a migration that
contracts raises `COMPATIBLE_FROM`. PixyProxy 0.1.0 knows only the table `alembic_version`, and works while it names its
own revision.
"""

import logging

import alembic.config
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from pixyproxy.core.exceptions import ConfigurationError

VERSION_TABLE = "schema_version"
COMPATIBLE_FROM = "0006"
"""The oldest revision whose code can work with this version's schema and rows."""
FIRST_RELEASE = "0006"
"""The revision of PixyProxy 0.1.0."""
NEWER = "its schema is of a newer version of PixyProxy, which this one cannot work with: run that version"
OLDER = "its schema is not the one of this version: run 'pixyproxy migrate'"

logger = logging.getLogger(__name__)


def current_revision(connection: Connection) -> str | None:
    """The revision of the schema; None if there is none."""
    revision = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    return revision or MigrationContext.configure(connection).get_current_revision()


def is_current(connection: Connection, config: alembic.config.Config) -> bool:
    """Whether the schema is exactly that of this version."""
    return current_revision(connection) == ScriptDirectory.from_config(config).get_current_head()


def is_usable(connection: Connection, config: alembic.config.Config) -> bool:
    """Whether this version can work with the schema as it is; False if it must be migrated first.

    A newer schema that is compatible is logged. `ConfigurationError` for a newer one that is not.
    """
    scripts = ScriptDirectory.from_config(config)
    known = {script.revision for script in scripts.walk_revisions()}
    current = current_revision(connection)
    if current is None or current in known:
        return current == scripts.get_current_head()
    if not sa.inspect(connection).has_table("schema_compatibility"):
        raise ConfigurationError(NEWER)
    compatible_from = connection.execute(text("SELECT compatible_from FROM schema_compatibility")).scalar()
    if compatible_from not in known:
        raise ConfigurationError(NEWER)
    logger.warning("the database's schema (%s) is of a newer version of PixyProxy; it is compatible", current)
    return True


def adopt_first_release(connection: Connection) -> None:
    """Take over the revision that PixyProxy 0.1.0 recorded, before the first migration of a later version."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    recorded = MigrationContext.configure(connection).get_current_revision()
    if context.get_current_revision() is None and recorded is not None:
        context._ensure_version_table()
        connection.execute(text("DELETE FROM schema_version"))
        connection.execute(text("INSERT INTO schema_version (version_num) VALUES (:revision)"), {"revision": recorded})


def record_compatibility(connection: Connection) -> None:
    """Record which versions can work with the schema, after the last migration."""
    connection.execute(text("DELETE FROM schema_compatibility"))
    connection.execute(
        text("INSERT INTO schema_compatibility (compatible_from) VALUES (:revision)"), {"revision": COMPATIBLE_FROM}
    )
    connection.execute(text("DELETE FROM alembic_version"))
    if COMPATIBLE_FROM <= FIRST_RELEASE:
        connection.execute(
            text("INSERT INTO alembic_version (version_num) VALUES (:revision)"), {"revision": FIRST_RELEASE}
        )
