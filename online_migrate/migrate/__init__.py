"""Stage 3: rows move, in chunks, while the old and the new version of the application both write."""
