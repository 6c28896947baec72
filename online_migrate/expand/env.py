"""Alembic's environment for the engine's own tables; used by developers of the engine.

In a user's database :mod:`online_migrate.expand.bootstrap` creates them.
"""

from online_migrate import state
from online_migrate.runtime.env_functions import run_environment

run_environment(state.metadata, version_table=state.VERSION_TABLE)
