"""Stage 4: the gate opens and the schema contracts. Also the home of the engine's own contract scripts."""
