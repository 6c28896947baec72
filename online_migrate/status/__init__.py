"""The reports of ``status`` and ``plan``; read-only."""
