"""Sync triggers: the database keeps the old and the new shape of a row in step, whichever is written."""
