"""Benchmarks of this engine against the alternatives for moving rows: ``python -m benchmarks --url URL``."""
