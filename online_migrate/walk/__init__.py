"""Keyset walk of a table in chunks, used to migrate rows and to verify them."""
