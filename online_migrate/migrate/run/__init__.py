"""The run of one data migration in this process: its start, its workers, its end."""
