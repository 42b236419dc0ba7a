"""Runs the migrations on the connection that `pixyproxy.data.init.migrate` holds, and only there."""

from alembic import context

from pixyproxy.data.schema import VERSION_TABLE

connection = context.config.attributes["connection"]
# DDL commits by itself on MySQL: a failed migration leaves those before it recorded.
context.configure(connection=connection, version_table=VERSION_TABLE, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
