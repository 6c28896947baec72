"""What moving rows costs, beside what a user would do instead: ``python -m benchmarks --url URL``."""
