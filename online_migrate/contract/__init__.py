"""Stage 4: the gate and the contract branch. Also contains the engine's own contract scripts."""
