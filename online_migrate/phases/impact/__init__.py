"""What an operation blocks for other sessions, and whether the server reads or rewrites the table. Pure."""
