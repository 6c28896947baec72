"""A worker: its lease, its heartbeat, its chunks."""
