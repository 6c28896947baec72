"""One data migration in this process: its start, its workers, its end."""
