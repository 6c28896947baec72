"""Bulk writers: one statement updates many rows."""
