"""How a worker executes its chunks: one at a time, or two in a pipeline."""
