"""Stage 2: the expand branch. Also contains the engine's own expand scripts."""
