"""Checks migration scripts and SQL files without a database: locks, rewrites, branches."""
