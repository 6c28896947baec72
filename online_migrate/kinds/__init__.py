"""The kinds of data migration."""
