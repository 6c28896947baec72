"""Release 2026.1 of the volume service: sizes in GiB."""
