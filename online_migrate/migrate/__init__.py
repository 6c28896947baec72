"""Data migrations: rows are migrated in chunks while the old and the new version of the application write."""
