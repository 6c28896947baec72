"""Running a project's Alembic environment: the veto, applying one revision, stamping."""
