"""Stage 2: the schema expands. Also the home of the engine's own expand scripts."""
