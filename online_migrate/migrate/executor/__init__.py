"""Execution of a worker's chunks: serially, or two at a time in a pipeline."""
