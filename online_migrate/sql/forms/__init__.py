"""The forms in which a DDL statement is sent, so that it blocks no reader and no writer. Pure."""
