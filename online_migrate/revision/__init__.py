"""Stage 1: what is written. Alembic scripts on two branches, and data migrations beside them."""
