"""Runs the migrations on the connection that `pixyproxy.data.init.migrate` holds, and only there."""

from alembic import context

from pixyproxy.data.schema_version import VERSION_TABLE

connection = context.config.attributes["connection"]
# MySQL commits DDL implicitly: each migration is recorded as it ends, so that a failed one leaves those before it
# recorded. SQLite's connection comes with an open transaction, which Alembic leaves alone: all migrations or none.
context.configure(connection=connection, version_table=VERSION_TABLE, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
