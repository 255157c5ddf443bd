"""Alembic's environment: runs the migrations on the connection that `Database.migrate` hands over."""

from alembic import context

from mltrainer_pipelines.store.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
