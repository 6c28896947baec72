"""Release 2026.2 of the volume service: sizes in bytes. It runs beside 2026.1 during the upgrade."""
