"""Runs a project's Alembic environment: the veto on contract steps, applying one revision, stamping."""
