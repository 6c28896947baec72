"""Moves the size of all volumes. The code of release 2026.2 moves that of the volumes that it uses."""

from volumes_2026_2.data_migrations import volume_bytes

__all__ = ["volume_bytes"]
