"""Undoes expand revisions that are not contracted."""
