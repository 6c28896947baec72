"""Alembic's environment for the engine's own tables; used by developers of the engine.

A user's database gets them by online_migrate.expand.bootstrap.
"""

from online_migrate import state
from online_migrate.runtime.environment import run_environment

run_environment(state.metadata, version_table=state.VERSION_TABLE)
